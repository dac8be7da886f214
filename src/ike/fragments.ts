/**
 * Reassembly of IKE fragments after each was opened (RFC 7383 section 2.6).
 *
 * Invariants: one message is put together at a time; its parts never exceed `MAX_REASSEMBLED_LENGTH` bytes and
 * `MAX_FRAGMENTS` pieces; a set with more fragments replaces the one being collected.
 * @module
 */
import { MAX_FRAGMENTS, MAX_REASSEMBLED_LENGTH, REASSEMBLY_TIMEOUT_MS } from './options.ts'

/** One opened fragment: its place and the plaintext without padding. */
export interface Fragment {
  readonly messageId: number
  readonly fragmentNumber: number
  readonly totalFragments: number
  /** Meaningful in fragment 1 only. */
  readonly firstInner: number
  readonly plaintext: Uint8Array
}

export interface Reassembled {
  readonly firstInner: number
  readonly plaintext: Uint8Array
}

/** The checks of RFC 7383 section 2.6 that need no key: numbers in range and within our bounds. */
export function plausibleFragment(fragmentNumber: number, totalFragments: number): boolean {
  return fragmentNumber >= 1 && fragmentNumber <= totalFragments && totalFragments <= MAX_FRAGMENTS
}

export class FragmentReassembler {
  #messageId = -1
  #total = 0
  #length = 0
  #startedAt = 0
  #parts = new Map<number, Fragment>()

  /** Message ID of what is being put together; -1: nothing is. */
  get messageId(): number {
    return this.#messageId
  }

  /** True when this fragment could still be of use: worth the work of opening it. */
  wants(messageId: number, fragmentNumber: number, totalFragments: number): boolean {
    if (!plausibleFragment(fragmentNumber, totalFragments)) return false
    if (messageId !== this.#messageId) return true
    if (totalFragments < this.#total) return false
    return totalFragments > this.#total || !this.#parts.has(fragmentNumber)
  }

  /**
   * Takes an authentic fragment.
   * @returns the whole message when this was the last piece
   */
  add(now: number, fragment: Fragment): Reassembled | undefined {
    const { messageId, fragmentNumber, totalFragments } = fragment
    if (!this.wants(messageId, fragmentNumber, totalFragments)) return undefined
    const isStale = now - this.#startedAt > REASSEMBLY_TIMEOUT_MS
    if (messageId !== this.#messageId || totalFragments > this.#total || isStale) {
      this.#start(now, messageId, totalFragments)
    }
    if (this.#length + fragment.plaintext.length > MAX_REASSEMBLED_LENGTH) {
      this.reset()
      return undefined
    }
    this.#parts.set(fragmentNumber, fragment)
    this.#length += fragment.plaintext.length
    return this.#parts.size === this.#total ? this.#join() : undefined
  }

  reset(): void {
    for (const { plaintext } of this.#parts.values()) plaintext.fill(0)
    this.#parts.clear()
    this.#messageId = -1
    this.#total = 0
    this.#length = 0
  }

  #start(now: number, messageId: number, totalFragments: number): void {
    this.reset()
    this.#messageId = messageId
    this.#total = totalFragments
    this.#startedAt = now
  }

  #join(): Reassembled {
    const plaintext = new Uint8Array(this.#length)
    let offset = 0
    for (let number = 1; number <= this.#total; number++) {
      const part = this.#parts.get(number)?.plaintext ?? new Uint8Array(0)
      plaintext.set(part, offset)
      offset += part.length
    }
    const firstInner = this.#parts.get(1)?.firstInner ?? 0
    this.reset()
    return { firstInner, plaintext }
  }
}
