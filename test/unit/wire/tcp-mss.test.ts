import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ipPacketLength } from '../../../src/wire/ip.ts'
import { clampMss } from '../../../src/wire/tcp-mss.ts'
import { be, toHex } from '../../support/message-factory.ts'
import { extension, ipv4, ipv6, tcp, upperChecksum, withUpperChecksum } from '../../support/packet-factory.ts'

const SYN = 0x02
const SYN_ACK = 0x12
const ACK = 0x10
const CHECKSUM = 16

const mssOption = (mss: number) => [2, 4, ...be(mss, 2)]

/** The packets that carry a segment: over IPv4, with options, over IPv6, and behind an extension header. */
function carriers(segment: number[]): { name: string; packet: Uint8Array; at: number }[] {
  return [
    { name: 'IPv4', packet: ipv4(segment, { protocol: 6 }), at: 20 },
    { name: 'IPv4 with options', packet: ipv4(segment, { protocol: 6, options: [1, 1, 1, 0] }), at: 24 },
    { name: 'IPv6', packet: ipv6(segment, { nextHeader: 6 }), at: 40 },
    {
      name: 'IPv6 with destination options',
      packet: ipv6([...extension(6), ...segment], { nextHeader: 60 }),
      at: 48
    }
  ].map(({ name, packet, at }) => ({ name, packet: withUpperChecksum(packet, at, CHECKSUM, 6), at }))
}

function clamp(packet: Uint8Array, mss: number): boolean {
  return clampMss(packet, 0, packet.length, mss)
}

describe('clamping the MSS', () => {
  it.each(carriers(tcp(SYN, mssOption(1460))))(
    'lowers it in a SYN over $name and keeps the checksum right',
    ({ packet, at }) => {
      const before = toHex(packet)
      expect(clamp(packet, 1300)).toBe(true)
      const after = toHex(packet)
      expect(after.slice((at + 20) * 2, (at + 24) * 2)).toBe('02040514')
      expect(upperChecksum(packet, at, 6)).toBe(0)
      const outside = (hex: string) => hex.slice(0, (at + 16) * 2) + hex.slice((at + 18) * 2, (at + 22) * 2)
      expect(outside(after)).toBe(outside(before))
    }
  )

  it('works at any place in a buffer', () => {
    for (const { packet, at } of carriers(tcp(SYN_ACK, mssOption(9000)))) {
      const buffer = new Uint8Array(packet.length + 20)
      buffer.set(packet, 13)
      expect(clampMss(buffer, 13, packet.length, 1240)).toBe(true)
      expect(upperChecksum(buffer.slice(13, 13 + packet.length), at, 6)).toBe(0)
    }
  })

  it.each([
    ['an MSS that is low enough', tcp(SYN, mssOption(1300))],
    ['a segment that is no SYN', tcp(ACK, mssOption(1460))],
    ['a SYN without options', tcp(SYN, [])],
    ['an MSS behind the end of options', tcp(SYN, [0, 0, 0, 0, ...mssOption(1460)])],
    ['an option of length 0', tcp(SYN, [3, 0, 0, 0, ...mssOption(1460)])],
    ['an option of length 1', tcp(SYN, [3, 1, 0, 0, ...mssOption(1460)])],
    ['an option past the end', tcp(SYN, [8, 10, 0, 0])],
    ['an MSS option of another length', tcp(SYN, [2, 3, 0xff, 0])],
    ['an option without its length', tcp(SYN, [1, 1, 1, 8])]
  ])('leaves %s alone', (_, segment) => {
    for (const { packet } of carriers(segment)) {
      const before = toHex(packet)
      expect(clamp(packet, 1300)).toBe(false)
      expect(toHex(packet)).toBe(before)
    }
  })

  it('leaves later fragments, other protocols and cut headers alone', () => {
    const segment = tcp(SYN, mssOption(1460))
    for (const packet of [
      ipv4(segment, { protocol: 6, fragment: 0x0002 }),
      ipv4(segment, { protocol: 17 }),
      ipv4(segment.slice(0, 19), { protocol: 6 }),
      ipv4(segment.slice(0, 22), { protocol: 6 }),
      ipv6([6], { nextHeader: 60 })
    ]) {
      const before = toHex(packet)
      expect(clamp(packet, 1300)).toBe(false)
      expect(toHex(packet)).toBe(before)
    }
  })

  it('takes nothing behind the options, or behind the packet, for an option', () => {
    const straddling = tcp(SYN, [1, 1, 2, 4], [0xff, 0xff, 0xff, 0xff])
    for (const { packet } of carriers(straddling)) expect(clamp(packet, 1300)).toBe(false)
    const cutInOptions = ipv4(tcp(SYN, mssOption(1460)).slice(0, 22), { protocol: 6 })
    const buffer = Uint8Array.from([...cutInOptions, 0xff, 0xff, 0xff, 0xff])
    expect(clampMss(buffer, 0, cutInOptions.length, 1300)).toBe(false)
  })

  it('keeps the checksum right among any options, and a wrong checksum wrong', () => {
    const option = fc.oneof(
      fc.constant([1]),
      fc.uint8Array({ maxLength: 6 }).map((data) => [8, data.length + 2, ...data])
    )
    fc.assert(
      fc.property(
        fc.array(option, { maxLength: 4 }),
        fc.integer({ min: 1301, max: 65535 }),
        fc.uint8Array({ maxLength: 9 }),
        fc.boolean(),
        (before, mss, data, isWrong) => {
          const options = [...before.flat(), ...mssOption(mss)]
          while (options.length % 4 !== 0) options.push(1)
          if (options.length > 40) return
          for (const { packet, at } of carriers(tcp(SYN, options, [...data]))) {
            if (isWrong) packet[at + CHECKSUM] = (packet[at + CHECKSUM] ?? 0) ^ 0x40
            expect(clamp(packet, 1300)).toBe(true)
            expect(upperChecksum(packet, at, 6) === 0).toBe(!isWrong)
          }
        }
      ),
      { seed: 9293, numRuns: 300 }
    )
  })

  it('stays inside the packet, whatever its bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 20, maxLength: 90 }), (bytes) => {
        const packet = Uint8Array.from([...bytes, 0xee, 0xee, 0xee, 0xee])
        packet[0] = 0x45
        packet.set([0, bytes.length], 2)
        packet[9] = 6
        if (ipPacketLength(packet, 0, bytes.length) < 0) return
        clampMss(packet, 0, bytes.length, 0)
        expect(toHex(packet.subarray(bytes.length))).toBe('eeeeeeee')
      }),
      { seed: 9294, numRuns: 2000 }
    )
  })
})
