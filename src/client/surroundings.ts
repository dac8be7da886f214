/**
 * Finds out whether the network around is another one than before, as far as the gateway is concerned: which way its packets go, and which
 * address of ours they carry. Hints come in bursts; looks are taken one at a time, and one more when a hint came during the last.
 * @module
 */
import type { Link } from './link.ts'
import type { SessionEnvironment } from './session-environment.ts'

export type Look =
  /** Packets to the gateway go another way now, or carry another address than the transport in use has. */
  | 'changed'
  /** No way leads to the gateway. */
  | 'cut-off'
  | 'same'

export class Surroundings {
  readonly #environment: SessionEnvironment
  readonly #link: () => Link | undefined
  readonly #onLook: (look: Look, isNews: boolean) => void
  #isLooking = false
  #again = false
  #closed = false
  #lastSource: string | undefined

  /** @param onLook `isNews`: it was otherwise at the last look */
  constructor(
    environment: SessionEnvironment,
    link: () => Link | undefined,
    onLook: (look: Look, isNews: boolean) => void
  ) {
    this.#environment = environment
    this.#link = link
    this.#onLook = onLook
  }

  /** Something may have changed. */
  hint(): void {
    if (this.#closed) return
    this.#again = true
    if (!this.#isLooking) void this.#lookAround()
  }

  close(): void {
    this.#closed = true
  }

  /** Does the transport in use still have the address that packets to the gateway would carry? */
  isOurs({ transport }: Link): boolean {
    const source = this.#environment.sourceFor(transport.outerRemote.address)
    return source === undefined || source === transport.path.local.address
  }

  async #lookAround(): Promise<void> {
    this.#isLooking = true
    while (this.#again && !this.#closed) {
      this.#again = false
      await this.#look()
    }
    this.#isLooking = false
  }

  async #look(): Promise<void> {
    const { tunnel, sourceFor, log } = this.#environment
    // Pins decide about the way: they come first.
    const isRepinned = await tunnel.repin().catch((error: unknown) => {
      log.log('warn', 'The way to the gateway cannot be pinned anew', { error: String(error) })
      return false
    })
    const link = this.#link()
    if (link === undefined || this.#closed) return
    const source = sourceFor(link.transport.outerRemote.address)
    const isNews = isRepinned || source !== this.#lastSource
    this.#lastSource = source
    if (source === 'none') this.#onLook('cut-off', isNews)
    else this.#onLook(isRepinned || !this.isOurs(link) ? 'changed' : 'same', isNews)
  }
}
