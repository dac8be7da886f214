import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { copyBytes, packetBuffer, vectorSum } from '../../../src/native/packet-memory.ts'
import { finishChecksum, sum16 } from '../../../src/wire/checksum.ts'

const SIZE = 70_000
const inside = packetBuffer(SIZE)
const outside = new Uint8Array(SIZE)
for (let index = 0; index < SIZE; index++) inside[index] = outside[index] = (index * index + 7) & 255

describe('packet memory', () => {
  it('gives buffers that begin with zeros and do not overlap', () => {
    const [left, right] = [packetBuffer(100), packetBuffer(100)]
    left.fill(1)
    expect([...right]).toEqual(new Array(100).fill(0))
    expect(right.length).toBe(100)
  })

  it('gives ordinary memory when it is used up, for which there is no vector code', () => {
    const large = packetBuffer(64 * 1024 * 1024)
    expect(large).toHaveLength(64 * 1024 * 1024)
    expect(vectorSum(large, 0, 10)).toBe(-1)
    expect(vectorSum(outside, 0, 10)).toBe(-1)
  })

  it('sums as the naive twin does, at any place and of any length', () => {
    fc.assert(
      fc.property(fc.nat(3000), fc.nat(3000), (offset, length) => {
        const sum = vectorSum(inside, offset, length)
        expect(sum).toBeLessThanOrEqual(0xffff)
        expect(finishChecksum(sum)).toBe(finishChecksum(sum16(outside, offset, length)))
      }),
      { numRuns: 2000, seed: 1071 }
    )
  })

  it('sums the most that there can be, and the least', () => {
    const ones = packetBuffer(65_535).fill(255)
    expect(finishChecksum(vectorSum(ones, 0, 65_535))).toBe(finishChecksum(sum16(ones, 0, 65_535)))
    expect(vectorSum(inside, 5, 0)).toBe(0)
  })

  it('copies between any two kinds of memory, overlapping or not', () => {
    const buffers = [inside, outside, packetBuffer(4000), new Uint8Array(4000)]
    fc.assert(
      fc.property(
        fc.nat(3),
        fc.nat(3),
        fc.nat(1000),
        fc.nat(1000),
        fc.nat(3000),
        (from, to, fromOffset, toOffset, length) => {
          const source = buffers[from] ?? inside
          const target = buffers[to] ?? inside
          const expected = Uint8Array.from(target)
          expected.set(source.slice(fromOffset, fromOffset + length), toOffset)
          copyBytes(source, fromOffset, target, toOffset, length)
          expect(Buffer.compare(target, expected)).toBe(0)
        }
      ),
      { numRuns: 300, seed: 5 }
    )
  })

  it('refuses what lies beyond a buffer, although the memory goes on', () => {
    const small = packetBuffer(100)
    for (const [offset, length] of [
      [0, 101],
      [90, 11],
      [-1, 5],
      [5, -1]
    ] as const) {
      expect(() => vectorSum(small, offset, length)).toThrow(RangeError)
      expect(() => copyBytes(small, offset, inside, 0, length)).toThrow(RangeError)
      expect(() => copyBytes(inside, 0, small, offset, length)).toThrow(RangeError)
    }
  })
})
