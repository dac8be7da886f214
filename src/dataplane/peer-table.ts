/**
 * Which peer has which inner address: the smallest range that contains it wins (longest match, for prefixes).
 *
 * Single addresses, the rule for clients with an assigned address, are found by a hash; wider ranges are searched in order. A lookup
 * allocates nothing.
 * @module
 */
import type { TrafficSelector } from '../wire/ike-message.ts'
import { read32 } from '../wire/ip.ts'

interface Range<T> {
  /** 32-bit words, one or four. */
  readonly start: Uint32Array
  readonly end: Uint32Array
  /** Number of addresses. */
  readonly size: bigint
  readonly value: T
}

export class PeerTable<T> {
  /** By the last word of the address. */
  readonly #single4 = new Map<number, Range<T>[]>()
  readonly #single6 = new Map<number, Range<T>[]>()
  /** Wider ranges, smallest first. */
  #wide4: Range<T>[] = []
  #wide6: Range<T>[] = []
  #count = 0

  /** Ranges in the table. */
  get size(): number {
    return this.#count
  }

  /** Adds the address ranges of a peer's traffic selectors. Of equal ranges the one added last wins. */
  add(selectors: readonly TrafficSelector[], value: T): void {
    for (const selector of selectors) {
      const start = toWords(selector.startAddress)
      const end = toWords(selector.endAddress)
      const range = { start, end, size: toNumber(end) - toNumber(start) + 1n, value }
      if (range.size <= 0n) continue
      this.#count++
      if (range.size === 1n) {
        const singles = selector.family === 4 ? this.#single4 : this.#single6
        const key = start[start.length - 1] ?? 0
        singles.set(key, [range, ...(singles.get(key) ?? [])])
      } else if (selector.family === 4) this.#wide4 = inserted(this.#wide4, range)
      else this.#wide6 = inserted(this.#wide6, range)
    }
  }

  /** Removes everything of this peer. */
  remove(value: T): void {
    for (const singles of [this.#single4, this.#single6])
      for (const [key, ranges] of singles) {
        const left = ranges.filter((range) => range.value !== value)
        this.#count -= ranges.length - left.length
        if (left.length === 0) singles.delete(key)
        else if (left.length < ranges.length) singles.set(key, left)
      }
    const before = this.#wide4.length + this.#wide6.length
    this.#wide4 = this.#wide4.filter((range) => range.value !== value)
    this.#wide6 = this.#wide6.filter((range) => range.value !== value)
    this.#count -= before - this.#wide4.length - this.#wide6.length
  }

  /** The peer that has the address at `buffer[offset]`. */
  find(family: 4 | 6, buffer: Uint8Array, offset: number): T | undefined {
    const key = read32(buffer, family === 4 ? offset : offset + 12)
    const singles = (family === 4 ? this.#single4 : this.#single6).get(key)
    return search(singles, buffer, offset) ?? search(family === 4 ? this.#wide4 : this.#wide6, buffer, offset)
  }
}

function search<T>(
  ranges: readonly Range<T>[] | undefined,
  buffer: Uint8Array,
  offset: number
): T | undefined {
  if (ranges === undefined) return undefined
  for (let index = 0; index < ranges.length; index++) {
    const range = ranges[index]
    if (range === undefined) continue
    if (compare(buffer, offset, range.start) >= 0 && compare(buffer, offset, range.end) <= 0)
      return range.value
  }
  return undefined
}

function compare(buffer: Uint8Array, offset: number, words: Uint32Array): number {
  for (let index = 0; index < words.length; index++) {
    const difference = read32(buffer, offset + index * 4) - (words[index] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}

function inserted<T>(ranges: readonly Range<T>[], range: Range<T>): Range<T>[] {
  const at = ranges.findIndex((one) => one.size >= range.size)
  return at < 0 ? [...ranges, range] : [...ranges.slice(0, at), range, ...ranges.slice(at)]
}

function toWords(address: Uint8Array): Uint32Array {
  return Uint32Array.from({ length: address.length / 4 }, (_, index) => read32(address, index * 4))
}

function toNumber(words: Uint32Array): bigint {
  return words.reduce((sum, word) => (sum << 32n) | BigInt(word), 0n)
}
