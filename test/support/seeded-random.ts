/**
 * Randomness that repeats: xoshiro128** seeded through splitmix32. For tests and the simulator only.
 * @module
 */
import type { RandomSource } from '../../src/crypto/types.ts'

export class SeededRandom implements RandomSource {
  readonly #state: Uint32Array

  constructor(seed: number) {
    let x = seed >>> 0
    this.#state = Uint32Array.from({ length: 4 }, () => {
      x = (x + 0x9e3779b9) >>> 0
      let z = x
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad)
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97)
      return (z ^ (z >>> 15)) >>> 0
    })
  }

  uint32(): number {
    const s = this.#state
    const [s0 = 0, s1 = 0, s2 = 0, s3 = 0] = s
    const result = Math.imul(rotate(Math.imul(s1, 5), 7), 9) >>> 0
    const t = s1 << 9
    s[2] = s2 ^ s0
    s[3] = s3 ^ s1
    s[1] = s1 ^ (s[2] ?? 0)
    s[0] = s0 ^ (s[3] ?? 0)
    s[2] = (s[2] ?? 0) ^ t
    s[3] = rotate(s[3] ?? 0, 11)
    return result
  }

  /** In [0, 1). */
  fraction(): number {
    return this.uint32() / 2 ** 32
  }

  /** In [0, limit). */
  integer(limit: number): number {
    return Math.floor(this.fraction() * limit)
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.uint32() & 0xff)
  }
}

function rotate(value: number, bits: number): number {
  return ((value << bits) | (value >>> (32 - bits))) >>> 0
}
