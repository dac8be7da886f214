import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  finishChecksum,
  internetChecksum,
  pseudoHeaderSum4,
  pseudoHeaderSum6,
  sum16,
  updateChecksum
} from '../../../src/wire/checksum.ts'
import { be, fromHex } from '../../support/message-factory.ts'
import { ipv4, ipv6, slowChecksum, udp, upperChecksum } from '../../support/packet-factory.ts'

const SEED = 1071

describe('the internet checksum', () => {
  it('is that of the example in RFC 1071 section 3', () => {
    expect(finishChecksum(sum16(fromHex('0001f203f4f5f6f7'), 0, 8))).toBe(0xffff - 0xddf2)
  })

  it('agrees with a naive twin at every length and place', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(20), fc.nat(20), (bytes, before, after) => {
        const buffer = new Uint8Array(before + bytes.length + after).fill(0xc3)
        buffer.set(bytes, before)
        expect(internetChecksum(buffer, before, bytes.length)).toBe(slowChecksum([...bytes]))
      }),
      { seed: SEED, numRuns: 1000 }
    )
  })

  it('does not overflow over the largest packet', () => {
    const bytes = new Uint8Array(65_535).fill(0xff)
    expect(internetChecksum(bytes, 0, bytes.length)).toBe(slowChecksum([...bytes]))
  })

  it('of a header with its right checksum is 0', () => {
    expect(internetChecksum(ipv4(udp(1, 2)), 0, 20)).toBe(0)
  })

  it('over pseudo-headers agrees with the slow way', () => {
    const upper = udp(1000, 2000, [1, 2, 3, 4, 5])
    const packet4 = ipv4(upper)
    const sum4 = pseudoHeaderSum4(packet4, 0, 17, upper.length) + sum16(packet4, 20, upper.length)
    expect(finishChecksum(sum4)).toBe(upperChecksum(packet4, 20, 17))
    const packet6 = ipv6(upper)
    const sum6 = pseudoHeaderSum6(packet6, 0, 17, upper.length) + sum16(packet6, 40, upper.length)
    expect(finishChecksum(sum6)).toBe(upperChecksum(packet6, 40, 17))
  })
})

describe('the incremental update', () => {
  it('is that of the example in RFC 1624 section 4', () => {
    expect(updateChecksum(0xdd2f, 0x5555, 0x3285)).toBe(0x0000)
  })

  it('equals a full computation for any word that changes', () => {
    const word = fc.integer({ min: 0, max: 0xffff })
    // A first word that is not zero: RFC 1624 assumes a sum that is not all zeros, as no header's is.
    fc.assert(
      fc.property(fc.array(word, { minLength: 1, maxLength: 20 }), fc.nat(), word, (words, where, value) => {
        const before = [0x4500, ...words]
        const index = 1 + (where % words.length)
        const after = before.with(index, value)
        const octets = (list: number[]) => list.flatMap((item) => be(item, 2))
        const checksum = slowChecksum(octets(before))
        expect(updateChecksum(checksum, before[index] ?? 0, value)).toBe(slowChecksum(octets(after)))
      }),
      { seed: SEED + 1, numRuns: 2000 }
    )
  })
})
