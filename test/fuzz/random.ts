/**
 * Chance for the fuzzer: the same numbers for the same target, seed and iteration, and cheap to begin anew (sfc32).
 * @module
 */

export class FuzzRandom {
  #a = 0
  #b = 0
  #c = 0
  #counter = 0

  /** Begins anew. The words before say nothing about the words after. */
  reseed(salt: number, seed: number, iteration: number): void {
    this.#a = salt | 0
    this.#b = seed | 0
    // Iterations beyond 2^32 are other ones, too.
    this.#c = (iteration | 0) ^ Math.imul(Math.floor(iteration / 2 ** 32) | 0, 0x9e3779b9)
    this.#counter = 1
    for (let round = 0; round < 12; round++) this.uint32()
  }

  uint32(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0
    this.#counter = (this.#counter + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum
    return sum >>> 0
  }

  /** In [0, limit); 0 when the limit is 0. */
  below(limit: number): number {
    return Math.floor((this.uint32() / 2 ** 32) * limit)
  }

  bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length)
    for (let index = 0; index < length; index++) bytes[index] = this.uint32()
    return bytes
  }
}

/** A number for a name, so that two targets never see the same mutations. */
export function saltOf(name: string): number {
  let hash = 0x811c9dc5
  for (let index = 0; index < name.length; index++)
    hash = Math.imul(hash ^ name.charCodeAt(index), 0x01000193)
  return hash >>> 0
}
