/**
 * A byte stream on a descriptor, without Node's streams in between: those allocate memory for every chunk, copy, and come a turn
 * of the event loop later.
 * @module
 */
import type { ReceiveMemory } from './receive-memory.ts'

/** No method throws. Memory is given as addresses. */
export interface DirectStream {
  /** To wait for. */
  readonly fd: number
  /**
   * Fills the memory from its beginning, or from `at`, as far as there is something.
   * @returns bytes; 0: the peer's end; negative: an errno, EAGAIN for nothing there
   */
  read(memory: ReceiveMemory, at?: number): number
  /** After a read: there may be more already. */
  readonly more: boolean
  /** After a read: there is more, and the descriptor may not tell of it. */
  readonly pending: boolean
  /** @returns bytes taken, less than `length` when there is no room for more; negative: an errno, EAGAIN for none taken */
  write(address: number, length: number): number
  /** Bytes that were taken have not left yet: call `push` when the descriptor is writable. */
  readonly unsent: boolean
  /** Sends what is unsent, as far as there is room. @returns 0, or an errno, negative */
  push(): number
  /** Ends our direction in good order; everything written before leaves first. Call when nothing is unsent. */
  end(): void
  /** Closes at once, and gives everything back. */
  destroy(): void
  /** Somebody else closes the stream: nothing can be read or written any more, and `destroy` follows. */
  onGone: (() => void) | undefined
  /** What the stream itself says about an errno: undefined where that is an errno of the system. */
  describe(errno: number): string | undefined
}
