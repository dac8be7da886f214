/**
 * Anti-replay for one inbound SA (RFC 4303 section 3.4.3 and appendix A): a ring bitmap of the sequence numbers seen,
 * with the inference of the high half of extended sequence numbers.
 *
 * Invariants: sequence numbers are pairs of unsigned 32-bit halves, so that no arithmetic on a packet needs a BigInt.
 * `check` never changes anything; `update` is only called for packets that were authenticated after `check` let them pass.
 * The ring has at least one word more than the window, so that the words in advance of the newest packet can be cleared whole.
 * @module
 */

export const MIN_REPLAY_WINDOW = 64
export const DEFAULT_REPLAY_WINDOW = 1024

export const ReplayVerdict = { fresh: 0, replay: 1, tooOld: 2 } as const
export type ReplayVerdict = (typeof ReplayVerdict)[keyof typeof ReplayVerdict]

const TWO_32 = 0x1_0000_0000

export class ReplayWindow {
  readonly size: number
  readonly #esn: boolean
  readonly #words: Uint32Array
  readonly #bitMask: number
  #topHigh = 0
  #topLow = 0

  /** @param size packets; at least `MIN_REPLAY_WINDOW` */
  constructor(size: number, esn: boolean) {
    this.size = Math.max(MIN_REPLAY_WINDOW, Math.floor(size))
    this.#esn = esn
    let bits = 128
    while (bits < this.size + 32) bits *= 2
    this.#words = new Uint32Array(bits / 32)
    this.#bitMask = bits - 1
  }

  /** The highest sequence number that was authenticated. */
  get top(): bigint {
    return (BigInt(this.#topHigh) << 32n) | BigInt(this.#topLow)
  }

  /**
   * The high half that a packet with this low half must have (RFC 4303 appendix A2.1). Always 0 without ESN.
   * May be -1 (before the first packets) or 2^32 (after the last): such a packet cannot exist.
   */
  inferHigh(low: number): number {
    if (!this.#esn) return 0
    const bottom = this.#topLow - this.size + 1
    // Case A: the window lies in one subspace; what is below it belongs to the next one.
    if (bottom >= 0) return low >= bottom ? this.#topHigh : this.#topHigh + 1
    // Case B: the window begins in the subspace before.
    return low >= bottom + TWO_32 ? this.#topHigh - 1 : this.#topHigh
  }

  /** Before authentication: may this packet be looked at? */
  check(high: number, low: number): ReplayVerdict {
    if (high < 0 || high >= TWO_32 || (high === 0 && low === 0)) return ReplayVerdict.tooOld
    // Exact whenever it matters: differences of the halves are small near the window, and huge ones only need their sign.
    const behind = (this.#topHigh - high) * TWO_32 + (this.#topLow - low)
    if (behind < 0) return ReplayVerdict.fresh
    if (behind >= this.size) return ReplayVerdict.tooOld
    const bit = low & this.#bitMask
    const word = this.#words[bit >>> 5] ?? 0
    return ((word >>> (bit & 31)) & 1) === 1 ? ReplayVerdict.replay : ReplayVerdict.fresh
  }

  /** After authentication. */
  update(high: number, low: number): void {
    const ahead = (high - this.#topHigh) * TWO_32 + (low - this.#topLow)
    if (ahead > 0) {
      this.#clear(low, ahead)
      this.#topHigh = high
      this.#topLow = low
    }
    const bit = low & this.#bitMask
    const index = bit >>> 5
    this.#words[index] = (this.#words[index] ?? 0) | (1 << (bit & 31))
  }

  /** Everything up to and including this number counts as seen (a cluster member takes over, RFC 6311). */
  advanceTo(sequence: bigint): void {
    if (sequence <= this.top) return
    this.#topHigh = Number((sequence >> 32n) & 0xffff_ffffn)
    this.#topLow = Number(sequence & 0xffff_ffffn)
    this.#words.fill(0xffff_ffff)
    // The words that the numbers to come will use are cleared as they are reached.
    this.#clearAhead()
  }

  /** Clears the words that come into the ring when the top moves from its present place to `low`, `ahead` numbers on. */
  #clear(low: number, ahead: number): void {
    const words = this.#words
    if (ahead > this.#bitMask) {
      words.fill(0)
      return
    }
    const last = (low & this.#bitMask) >>> 5
    let index = (this.#topLow & this.#bitMask) >>> 5
    // Without leaving its word the top stays among bits that are still clear; see the invariant for `ahead` of a whole ring.
    if (index === last && ahead < 32) return
    do {
      index = (index + 1) % words.length
      words[index] = 0
    } while (index !== last)
  }

  /** Clears the bits above the top in its own word: numbers that have not been seen. */
  #clearAhead(): void {
    const bit = this.#topLow & this.#bitMask
    const index = bit >>> 5
    const seen = 0xffff_ffff >>> (31 - (bit & 31))
    this.#words[index] = (this.#words[index] ?? 0) & seen
  }
}
