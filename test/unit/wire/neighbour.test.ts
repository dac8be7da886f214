import { describe, expect, it } from 'vitest'
import { addressToBytes } from '../../../src/wire/address.ts'
import { finishChecksum, pseudoHeaderSum6, sum16 } from '../../../src/wire/checksum.ts'
import { announcementFrame } from '../../../src/wire/neighbour.ts'

const MAC = Uint8Array.of(2, 0x42, 0xc6, 0x12, 0, 0x0a)
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
const address = (text: string) => addressToBytes(text) ?? new Uint8Array(0)

describe('an announcement', () => {
  it('of an IPv4 address is an ARP request for itself, to all (RFC 5227 section 3)', () => {
    expect(hex(announcementFrame(MAC, address('198.18.0.10')))).toBe(
      ['ffffffffffff', '0242c612000a', '0806', '0001', '0800', '06', '04', '0001'].join('') +
        ['0242c612000a', 'c612000a', '000000000000', 'c612000a'].join('')
    )
  })

  it('of an IPv6 address is an unsolicited Neighbor Advertisement that overrides (RFC 4861 section 7.2.6)', () => {
    const frame = announcementFrame(MAC, address('2001:db8::10'))
    const text = hex(frame)
    expect(text.slice(0, 28)).toBe('3333000000010242c612000a86dd')
    expect(text.slice(28, 44)).toBe('6000000000203aff')
    expect(text.slice(44, 108)).toBe('20010db8000000000000000000000010ff020000000000000000000000000001')
    // Type, code; after the checksum the flags, the target, and its link-layer address.
    expect(text.slice(108, 112)).toBe('8800')
    expect(text.slice(116)).toBe('2000000020010db800000000000000000000001002010242c612000a')
    expect(finishChecksum(pseudoHeaderSum6(frame, 14, 58, 32) + sum16(frame, 54, 32))).toBe(0)
  })
})
