/**
 * The gateway's addresses, as they were found first and as they are found again.
 *
 * While a tunnel is up but dead, the name servers may be behind it: then a lookup only times out. So once an address is known, no
 * lookup is waited for longer than `AGAIN_TIMEOUT_MS`, and none of its failures matters.
 * @module
 */
import type { Clock } from './ike-driver.ts'

const AGAIN_TIMEOUT_MS = 1_000
/** Two attempts in quick succession ask once. */
const FRESH_MS = 5_000
/** More addresses than this make no ladder better. */
const MAX_ADDRESSES = 16

export class GatewayAddresses {
  readonly #lookUp: (signal: AbortSignal) => Promise<readonly string[]>
  readonly #clock: Clock
  #known: readonly string[] = []
  #foundAt = Number.NEGATIVE_INFINITY

  constructor(lookUp: (signal: AbortSignal) => Promise<readonly string[]>, clock: Clock) {
    this.#lookUp = lookUp
    this.#clock = clock
  }

  /** Found last, best first; empty before the first lookup. */
  get known(): readonly string[] {
    return this.#known
  }

  /**
   * Looks the name up. With addresses known already, those are the answer when the lookup fails or takes long.
   * @throws ResolveError when nothing is known
   */
  async find(signal: AbortSignal): Promise<readonly string[]> {
    if (this.#clock.now() - this.#foundAt < FRESH_MS) return this.#known
    if (this.#known.length === 0) {
      this.#known = await this.#lookUp(signal)
      this.#foundAt = this.#clock.now()
      return this.#known
    }
    const limit = new AbortController()
    const timer = this.#clock.setTimer(AGAIN_TIMEOUT_MS, () => limit.abort())
    try {
      const found = await this.#lookUp(AbortSignal.any([signal, limit.signal]))
      this.#foundAt = this.#clock.now()
      // What worked before stays a candidate: a name may have several addresses of which each answer shows a few.
      this.#known = [...new Set([...found, ...this.#known])].slice(0, MAX_ADDRESSES)
    } catch {
      signal.throwIfAborted()
    } finally {
      timer.cancel()
    }
    return this.#known
  }
}
