/**
 * A byte stream on a descriptor, without Node's streams in between: those allocate memory for every chunk, copy, and come a turn
 * of the event loop later.
 * @module
 */

/** No method throws. Memory is given as addresses. */
export interface DirectStream {
  /** To wait for. */
  readonly fd: number
  /**
   * Fills the memory as far as there is something; less than `capacity` means that nothing is left for now.
   * @returns bytes; 0: the peer's end; negative: an errno, EAGAIN for nothing there
   */
  read(address: number, capacity: number): number
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
