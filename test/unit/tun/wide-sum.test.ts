import fc from 'fast-check'
import { expect, it } from 'vitest'
import { wideSum } from '../../../src/tun/wide-sum.ts'
import { finishChecksum, sum16 } from '../../../src/wire/checksum.ts'

it('gives the same checksum as the sum of 16-bit words, at any offset, in any order of buffers', () => {
  const buffers = [1, 2, 3].map((seed) =>
    Uint8Array.from({ length: 3000 }, (_, index) => (index * index * seed) & 255)
  )
  fc.assert(
    fc.property(fc.nat(2), fc.nat(1500), fc.nat(1500), (which, offset, length) => {
      const buffer = buffers[which] ?? new Uint8Array(0)
      expect(finishChecksum(wideSum(buffer, offset, length))).toBe(
        finishChecksum(sum16(buffer, offset, length))
      )
    }),
    { numRuns: 500, seed: 1071 }
  )
  const most = new Uint8Array(65_535).fill(255)
  expect(finishChecksum(wideSum(most, 0, most.length))).toBe(finishChecksum(sum16(most, 0, most.length)))
  expect(() => wideSum(most, 65_000, 600)).toThrow(RangeError)
})
