/**
 * Finds the next boundary of frames in a stream whose Length fields cannot be believed any more (RFC 9329 section 10):
 * where a message of ours may begin, the two bytes in front of it are taken for its Length, and its integrity check
 * decides.
 *
 * Invariants: at most `SEARCH_LIMIT` bytes are kept and looked at, and at most `MAX_CANDIDATES` messages are checked;
 * the bytes that are kept are never changed.
 * @module
 */

/** Bytes behind Length that tell whether a message may be ours: the non-ESP marker and two IKE SPIs are the longest. */
export const RECOGNISABLE_LENGTH = 20
/** Room for the longest frame several times over, since the message that is found may be cut off by a broken one. */
const SEARCH_LIMIT = 262_144
/** Each costs an integrity check of up to 64 KiB. By chance hardly any bytes look like a known SPI. */
const MAX_CANDIDATES = 64
const LENGTH_SIZE = 2

/** Anything else that `find` returns is where the frame ends that was found. */
export const SearchOutcome = { MORE: -1, GIVEN_UP: -2 } as const

export interface CandidateJudge {
  /** Could a message of ours begin here? There are `RECOGNISABLE_LENGTH` bytes. */
  recognise(buffer: Uint8Array, offset: number): boolean
  /** @returns whether the frame (a copy, Length included) holds an authentic message */
  verify(frame: Uint8Array): boolean
}

export class BoundarySearch {
  readonly #bytes = new Uint8Array(SEARCH_LIMIT)
  #length = 0
  /** Everything in front of it was looked at. */
  #next = 0
  /** Where frames may begin that are not whole yet. */
  #pending: number[] = []
  #candidates = 0

  /** @returns how many of the bytes there was room for */
  add(bytes: Uint8Array): number {
    const count = Math.min(bytes.length, SEARCH_LIMIT - this.#length)
    this.#bytes.set(bytes.subarray(0, count), this.#length)
    this.#length += count
    return count
  }

  /** @returns the offset behind the first authentic frame, or one of `SearchOutcome` */
  find(judge: CandidateJudge): number {
    for (const at of this.#pending.filter((start) => this.#isWhole(start))) {
      this.#pending = this.#pending.filter((other) => other !== at)
      if (this.#verify(at, judge)) return this.#endOf(at)
    }
    for (; this.#next + LENGTH_SIZE + RECOGNISABLE_LENGTH <= this.#length; this.#next++) {
      const at = this.#next
      if (!judge.recognise(this.#bytes, at + LENGTH_SIZE)) continue
      if (++this.#candidates > MAX_CANDIDATES) return SearchOutcome.GIVEN_UP
      if (!this.#isWhole(at)) this.#pending.push(at)
      else if (this.#verify(at, judge)) return this.#endOf(at)
    }
    return this.#length === SEARCH_LIMIT ? SearchOutcome.GIVEN_UP : SearchOutcome.MORE
  }

  /** What came behind `offset`. */
  rest(offset: number): Uint8Array {
    return this.#bytes.subarray(offset, this.#length)
  }

  #verify(at: number, judge: CandidateJudge): boolean {
    // A failed check may leave anything behind where it worked.
    return judge.verify(this.#bytes.slice(at, this.#endOf(at)))
  }

  #isWhole(at: number): boolean {
    return this.#endOf(at) <= this.#length
  }

  #endOf(at: number): number {
    const length = ((this.#bytes[at] ?? 0) << 8) | (this.#bytes[at + 1] ?? 0)
    // Too short for what was recognised in it: let it be checked, and fail.
    return at + Math.max(length, LENGTH_SIZE + RECOGNISABLE_LENGTH)
  }
}
