/**
 * Reassembly of IKE fragments after each was opened (RFC 7383 section 2.6).
 *
 * Invariants: one message is put together at a time; its parts never exceed `MAX_REASSEMBLED_LENGTH` bytes and
 * `MAX_FRAGMENTS` pieces; a set with more fragments replaces the one being collected. All that share a `FragmentRoom` hold no more
 * than it has bytes: the message that was begun first is given up for a new one, since the pieces of an honest one come close together.
 * @module
 */
import {
  FRAGMENT_OVERHEAD_BYTES,
  MAX_FRAGMENTS,
  MAX_HELD_FRAGMENT_BYTES,
  MAX_REASSEMBLED_LENGTH,
  REASSEMBLY_TIMEOUT_MS
} from './options.ts'

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

/** Memory that several reassemblers share: all of a session, or of a responder. */
export class FragmentRoom {
  readonly #maxBytes: number
  /** Those that hold something, by when they began. */
  readonly #holders = new Map<FragmentReassembler, number>()
  #heldBytes = 0

  constructor(maxBytes: number = MAX_HELD_FRAGMENT_BYTES) {
    this.#maxBytes = maxBytes
  }

  get heldBytes(): number {
    return this.#heldBytes
  }

  /** Makes room where there is none. @returns false: the piece is larger than all of it */
  take(holder: FragmentReassembler, bytes: number): boolean {
    while (this.#heldBytes + bytes > this.#maxBytes) {
      const [oldest] = this.#holders.keys()
      if (oldest === undefined || (oldest === holder && this.#holders.size === 1)) return false
      oldest.reset()
    }
    this.#holders.set(holder, (this.#holders.get(holder) ?? 0) + bytes)
    this.#heldBytes += bytes
    return true
  }

  /** Everything that it had taken. */
  give(holder: FragmentReassembler): void {
    this.#heldBytes -= this.#holders.get(holder) ?? 0
    this.#holders.delete(holder)
  }
}

export class FragmentReassembler {
  readonly #room: FragmentRoom
  #messageId = -1
  #total = 0
  #length = 0
  #startedAt = 0
  #parts = new Map<number, Fragment>()

  constructor(room: FragmentRoom = new FragmentRoom()) {
    this.#room = room
  }

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
    const { length } = fragment.plaintext
    if (
      this.#length + length > MAX_REASSEMBLED_LENGTH ||
      !this.#room.take(this, length + FRAGMENT_OVERHEAD_BYTES) ||
      this.#messageId !== messageId
    ) {
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
    this.#room.give(this)
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
