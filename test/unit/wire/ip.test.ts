import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  addressLengthOf,
  destinationOffset,
  findUpperLayer,
  ipPacketLength,
  ipVersion,
  isFragment,
  sourceOffset,
  upperOffset,
  upperProtocol
} from '../../../src/wire/ip.ts'
import { extension, fragmentHeader, ipv4, ipv6, udp } from '../../support/packet-factory.ts'

const SEED = 8200

function upperOf(packet: Uint8Array): { protocol: number; at: number } | undefined {
  const buffer = new Uint8Array(packet.length + 11)
  buffer.set(packet, 11)
  const upper = findUpperLayer(buffer, 11, packet.length)
  return upper < 0 ? undefined : { protocol: upperProtocol(upper), at: upperOffset(upper) }
}

describe('the length of a packet', () => {
  it('is its own, without the padding behind it', () => {
    for (const packet of [ipv4(udp(1, 2)), ipv6(udp(1, 2)), ipv4([], { options: [1, 1, 1, 0] })]) {
      const padded = Uint8Array.from([9, 9, ...packet, 0, 0, 0])
      expect(ipPacketLength(padded, 2, packet.length + 3)).toBe(packet.length)
      expect(ipPacketLength(padded, 2, packet.length)).toBe(packet.length)
    }
  })

  it('is -1 when the packet is cut anywhere', () => {
    for (const packet of [ipv4(udp(1, 2)), ipv6(udp(1, 2))]) {
      for (let length = 0; length < packet.length; length++)
        expect(ipPacketLength(packet, 0, length)).toBe(-1)
    }
  })

  it.each([
    ['another version', 0, 0x55],
    ['a header shorter than 20 bytes', 0, 0x44],
    ['a header longer than the packet', 0, 0x4f],
    ['a total length below the header', 3, 19]
  ])('is -1 for %s', (_, at, value) => {
    const packet = ipv4(udp(1, 2))
    packet[at] = value
    expect(ipPacketLength(packet, 0, packet.length)).toBe(-1)
  })

  it('is -1 for nothing, which has no version either', () => {
    expect(ipPacketLength(new Uint8Array(0), 0, 0)).toBe(-1)
    expect(ipVersion(new Uint8Array(0), 0, 0)).toBe(-1)
    expect(ipVersion(ipv6([]), 0, 40)).toBe(6)
  })
})

describe('the way to the upper layer', () => {
  it('steps over IPv4 options', () => {
    expect(upperOf(ipv4(udp(1, 2), { options: [1, 1, 1, 1, 1, 1, 1, 0] }))).toEqual({ protocol: 17, at: 28 })
  })

  it('steps over IPv6 extension headers', () => {
    const payload = [
      ...extension(60, 1),
      ...extension(43, 2),
      ...extension(51, 1),
      ...[17, 4],
      ...new Array(22).fill(0),
      ...udp(1, 2)
    ]
    // hop-by-hop, destination options, routing, AH of (4 + 2) * 4 bytes, UDP
    expect(upperOf(ipv6(payload, { nextHeader: 0 }))).toEqual({ protocol: 17, at: 40 + 8 + 16 + 8 + 24 })
  })

  it('ends at ESP, at "no next header", and at what it does not know', () => {
    for (const protocol of [50, 59, 139, 253]) {
      expect(upperOf(ipv6([1, 2, 3], { nextHeader: protocol }))).toEqual({ protocol, at: 40 })
    }
  })

  it('tells first fragments from later ones', () => {
    expect(upperOf(ipv4(udp(1, 2), { fragment: 0x2000 }))).toEqual({ protocol: 17, at: 20 })
    expect(upperOf(ipv4(udp(1, 2), { fragment: 0x0001 }))).toEqual({ protocol: 17, at: 0 })
    const first = ipv6([...fragmentHeader(17, 0, true), ...udp(1, 2)], { nextHeader: 44 })
    const later = ipv6([...fragmentHeader(17, 5, false), ...udp(1, 2)], { nextHeader: 44 })
    expect(upperOf(first)).toEqual({ protocol: 17, at: 48 })
    expect(upperOf(later)).toEqual({ protocol: 17, at: 0 })
  })

  it('breaks off a chain that is cut, or longer than any sane one', () => {
    expect(upperOf(ipv6([60], { nextHeader: 0 }))).toBeUndefined()
    expect(upperOf(ipv6([17, 200, 0, 0, 0, 0, 0, 0], { nextHeader: 0 }))).toBeUndefined()
    const long = (count: number) => {
      const headers = Array.from({ length: count }, (_, i) => extension(i === count - 1 ? 17 : 60)).flat()
      return upperOf(ipv6([...headers, ...udp(1, 2)], { nextHeader: 60 }))
    }
    expect(long(16)).toEqual({ protocol: 17, at: 40 + 16 * 8 })
    expect(long(17)).toBeUndefined()
  })

  it('never leaves the packet, whatever its bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), fc.constantFrom(0x45, 0x60, 0x4f), (bytes, first) => {
        const packet = Uint8Array.from([first, ...bytes])
        const length = ipPacketLength(packet, 0, packet.length)
        if (length < 0) return
        const upper = findUpperLayer(packet, 0, length)
        if (upper >= 0) expect(upperOffset(upper)).toBeLessThanOrEqual(length)
      }),
      { seed: SEED, numRuns: 3000 }
    )
  })
})

it('finds fragments of both families', () => {
  const fragmentOf = (packet: Uint8Array) => isFragment(packet, 0, packet.length)
  expect(fragmentOf(ipv4(udp(1, 2)))).toBe(false)
  expect(fragmentOf(ipv4(udp(1, 2), { fragment: 0x2000 }))).toBe(true)
  expect(fragmentOf(ipv4(udp(1, 2), { fragment: 0x0010 }))).toBe(true)
  expect(fragmentOf(ipv6(udp(1, 2)))).toBe(false)
  expect(fragmentOf(ipv6([...extension(44), ...fragmentHeader(17, 0, true)], { nextHeader: 0 }))).toBe(true)
  expect(fragmentOf(ipv6([...extension(17), ...udp(1, 2)], { nextHeader: 60 }))).toBe(false)
})

it('knows where the addresses are', () => {
  const v4 = ipv4([])
  const v6 = ipv6([])
  expect([addressLengthOf(v4, 0), sourceOffset(v4, 0), destinationOffset(v4, 0)]).toEqual([4, 12, 16])
  expect([addressLengthOf(v6, 0), sourceOffset(v6, 0), destinationOffset(v6, 0)]).toEqual([16, 8, 24])
})
