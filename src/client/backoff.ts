/**
 * Growing pauses: doubling from the first to the longest, each shortened by up to a quarter so that clients do not march in step.
 * @module
 */
export class Backoff {
  readonly #firstMs: number
  readonly #maxMs: number
  readonly #random: () => number
  #nextMs: number

  /** @param random uniform in [0, 1) */
  constructor(firstMs: number, maxMs: number, random: () => number) {
    this.#firstMs = firstMs
    this.#maxMs = maxMs
    this.#random = random
    this.#nextMs = firstMs
  }

  next(): number {
    const delayMs = this.#nextMs * (1 - this.#random() / 4)
    this.#nextMs = Math.min(this.#nextMs * 2, this.#maxMs)
    return delayMs
  }

  /** The next pause is the longest. */
  exhaust(): void {
    this.#nextMs = this.#maxMs
  }

  reset(): void {
    this.#nextMs = this.#firstMs
  }
}
