/**
 * Links that are not wanted any more are not just dropped: the gateway is told (DELETE, RFC 7296 section 1.4.1), and where its last word in
 * IKE_AUTH is still on its way, that is waited for first. Otherwise it would keep an SA, and an address, for nobody.
 * @module
 */
import type { Transport } from '../transport/types.ts'
import type { Clock, IkeDriver } from './ike-driver.ts'
import { ikeOnlyHandlers } from './link.ts'

/** How long a gateway's answers are worth waiting for. */
export const FAREWELL_MS = 1_500

export class Farewells {
  readonly #clock: Clock
  readonly #pending = new Set<Promise<void>>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Takes both over: they are closed when the gateway knows, or does not answer. */
  say(driver: IkeDriver, transport: Transport): void {
    const over = new Promise<void>((resolve) => {
      let isOver = false
      const finish = (): void => {
        if (isOver) return
        isOver = true
        timer.cancel()
        driver.dispose()
        void transport.close(0)
        resolve()
      }
      const timer = this.#clock.setTimer(FAREWELL_MS, finish)
      driver.onEvent = (event) => {
        if (event.type === 'closed') finish()
      }
      transport.setHandlers(ikeOnlyHandlers((message, path) => driver.receive(message, path), finish))
      driver.input((session, now) => session.close(now))
    })
    this.#pending.add(over)
    void over.then(() => this.#pending.delete(over))
  }

  /** Resolves when nothing is left to be said. */
  async settled(): Promise<void> {
    await Promise.all(this.#pending)
  }
}
