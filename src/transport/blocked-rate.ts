/**
 * The rate at which something takes bytes that is blocked now and then: what leaves in between says how fast the line behind it is.
 * What is never blocked says nothing.
 * @module
 */

/** Long enough to tell a slow line from a processor that was busy. */
const OVER_MS = 50

export class BlockedRate {
  /** Bytes per millisecond; undefined: not known yet. */
  bytesPerMs: number | undefined
  #sinceMs = 0
  #fromBytes = 0
  /** When it was looked at last. */
  #seenMs = Number.NEGATIVE_INFINITY

  /** Nothing more is taken. @param bytes taken so far, ever */
  blocked(nowMs: number, bytes: number): void {
    // Before a pause, it took whatever there was.
    if (nowMs - this.#seenMs > OVER_MS) this.#begin(nowMs, bytes)
  }

  /** More is taken. @returns true: `bytesPerMs` was measured anew */
  writable(nowMs: number, bytes: number): boolean {
    this.#seenMs = nowMs
    const forMs = nowMs - this.#sinceMs
    if (forMs < OVER_MS) return false
    this.bytesPerMs = (bytes - this.#fromBytes) / forMs
    this.#begin(nowMs, bytes)
    return true
  }

  #begin(nowMs: number, bytes: number): void {
    this.#sinceMs = this.#seenMs = nowMs
    this.#fromBytes = bytes
  }
}
