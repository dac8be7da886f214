/**
 * The SPIs that a client has used lately. A relay has no keys, but a client has few SAs: when one SPI after the other was
 * never seen, what comes is not cut where its frames end (RFC 9329 section 6.1).
 * @module
 */
import { FrameFate } from '../wire/frame-fate.ts'

/** Far more SAs than a client has at a time, rekeyings included. */
const REMEMBERED = 64

export class FamiliarSpis {
  readonly #spis = new Uint32Array(REMEMBERED)
  #next = 0

  judge(spi: number): FrameFate {
    if (this.#spis.includes(spi)) return FrameFate.GOOD
    this.#spis[this.#next] = spi
    this.#next = (this.#next + 1) % REMEMBERED
    return FrameFate.STRANGE
  }
}
