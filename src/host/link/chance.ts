/**
 * Randomness that repeats, for emulated networks: xoshiro128** seeded through splitmix32 (Blackman and Vigna). Never
 * for anything that has to be secret.
 * @module
 */

/** Gives numbers in [0, 1). */
export type Chance = () => number

/** @param stream keeps the sequences of one seed apart, so that using one of them does not shift another */
export function seededChance(seed: number, stream = 0): Chance {
  let x = (seed ^ Math.imul(stream + 1, 0x85ebca6b)) >>> 0
  const next = (): number => {
    x = (x + 0x9e3779b9) >>> 0
    let z = Math.imul(x ^ (x >>> 16), 0x21f0aaad)
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97)
    return (z ^ (z >>> 15)) >>> 0
  }
  let [a, b, c, d] = [next(), next(), next(), next()]
  return () => {
    const result = Math.imul(rotate(Math.imul(b, 5), 7), 9) >>> 0
    const shifted = b << 9
    c ^= a
    d ^= b
    b ^= c
    a ^= d
    c ^= shifted
    d = rotate(d, 11)
    return result / 2 ** 32
  }
}

function rotate(value: number, bits: number): number {
  return ((value << bits) | (value >>> (32 - bits))) >>> 0
}
