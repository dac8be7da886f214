/**
 * How much may wait inside a stream. What waits there cannot be overtaken by a packet that is more urgent; it should wait in front
 * of the tunnel (`dataplane/flow-queue.ts`). A stream that has nothing left when its turn comes wastes the line.
 *
 * So: 10 ms of what the line takes, more where that turns out to be too little, within bounds.
 * @module
 */

const HOLD_MS = 10
/** Below, packets are too few for an even flow: a dozen. */
const LEAST_BYTES = 16 * 1024
const GROW = 2
const SHRINK = 0.75
/** A change that is not worth a system call. */
const NOTICEABLE = 0.2

export class UnsentLimit {
  readonly #mostBytes: number
  #bytes: number

  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes
    this.#bytes = mostBytes
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Is it lower than it would be on a fast line? */
  get inForce(): boolean {
    return this.#bytes < this.#mostBytes
  }

  /**
   * @param bytesPerMs what the line took, while more was waiting than it took
   * @param ranDry nothing was left unsent when the stream took more
   * @returns true when `bytes` has changed
   */
  adapt(bytesPerMs: number, ranDry: boolean): boolean {
    const wanted = ranDry ? this.#bytes * GROW : Math.max(bytesPerMs * HOLD_MS, this.#bytes * SHRINK)
    const next = Math.round(Math.min(this.#mostBytes, Math.max(LEAST_BYTES, wanted)))
    if (Math.abs(next - this.#bytes) < this.#bytes * NOTICEABLE && next !== this.#mostBytes) return false
    const changed = next !== this.#bytes
    this.#bytes = next
    return changed
  }
}
