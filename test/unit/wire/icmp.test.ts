import { describe, expect, it } from 'vitest'
import {
  MAX_ICMP_ERROR_LENGTH,
  writeAdministrativelyProhibited,
  writePacketTooBig
} from '../../../src/wire/icmp.ts'
import { toHex } from '../../support/message-factory.ts'
import {
  address,
  fragmentHeader,
  icmp,
  ipv4,
  ipv6,
  slowChecksum,
  tcp,
  udp,
  upperChecksum
} from '../../support/packet-factory.ts'

/** Builds at an offset, checks that nothing else was touched, and gives back the error alone. */
function build(
  packet: Uint8Array,
  writer: (out: Uint8Array, at: number, packet: Uint8Array, offset: number) => number
) {
  const out = new Uint8Array(MAX_ICMP_ERROR_LENGTH + 40).fill(0xdd)
  const shifted = Uint8Array.from([7, 7, 7, ...packet])
  const length = writer(out, 20, shifted, 3)
  expect(out.subarray(0, 20).every((byte) => byte === 0xdd)).toBe(true)
  expect(out.subarray(20 + length).every((byte) => byte === 0xdd)).toBe(true)
  return out.slice(20, 20 + length)
}

function tooBig(packet: Uint8Array, mtu = 1400, source?: Uint8Array): Uint8Array {
  return build(packet, (out, at, shifted, offset) =>
    writePacketTooBig(out, at, shifted, offset, packet.length, mtu, source)
  )
}

function prohibited(packet: Uint8Array, source?: Uint8Array): Uint8Array {
  return build(packet, (out, at, shifted, offset) =>
    writeAdministrativelyProhibited(out, at, shifted, offset, packet.length, source)
  )
}

const data = Array.from({ length: 1500 }, (_, i) => i & 0xff)
const big4 = ipv4(udp(1, 2, data))
const big6 = ipv6(udp(1, 2, data))

describe('"fragmentation needed" (RFC 1191)', () => {
  it('quotes as much as fits in 576 bytes, with the MTU and right checksums', () => {
    const error = tooBig(big4, 1400)
    expect(error).toHaveLength(576)
    expect(toHex(error.subarray(0, 4))).toBe('45c00240')
    expect(slowChecksum([...error.subarray(0, 20)])).toBe(0)
    expect(slowChecksum([...error.subarray(20)])).toBe(0)
    expect(toHex(error.subarray(12, 20))).toBe('c0a801020a000001')
    expect(toHex(error.subarray(20, 22))).toBe('0304')
    expect(toHex(error.subarray(24, 28))).toBe('00000578')
    expect(toHex(error.subarray(28))).toBe(toHex(big4.subarray(0, 548)))
  })

  it('quotes a short packet whole', () => {
    const packet = ipv4(udp(1, 2))
    expect(toHex(tooBig(packet).subarray(28))).toBe(toHex(packet))
  })

  it('comes from the address that is given', () => {
    expect(toHex(tooBig(big4, 1400, address('10.9.8.7')).subarray(12, 20))).toBe('0a0908070a000001')
  })

  it('is not sent for a packet that may be fragmented', () => {
    expect(tooBig(ipv4(udp(1, 2), { fragment: 0 }))).toHaveLength(0)
  })
})

describe('"packet too big" (RFC 4443 section 3.2)', () => {
  it('quotes as much as fits in 1280 bytes, with the MTU and the right checksum', () => {
    const error = tooBig(big6, 1380)
    expect(error).toHaveLength(1280)
    expect(toHex(error.subarray(0, 8))).toBe('6000000004d83a40')
    expect(toHex(error.subarray(8, 24))).toBe(toHex(address('2001:db8::2')))
    expect(toHex(error.subarray(24, 40))).toBe(toHex(address('2001:db8::1')))
    expect(toHex(error.subarray(40, 42))).toBe('0200')
    expect(toHex(error.subarray(44, 48))).toBe('00000564')
    expect(upperChecksum(error, 40, 58)).toBe(0)
    expect(toHex(error.subarray(48))).toBe(toHex(big6.subarray(0, 1232)))
  })

  it('may be about a packet to a multicast address, from an address of our own', () => {
    const packet = ipv6(udp(1, 2, data), { destination: 'ff02::1' })
    expect(tooBig(packet)).toHaveLength(0)
    const error = tooBig(packet, 1380, address('2001:db8::9'))
    expect(toHex(error.subarray(8, 24))).toBe(toHex(address('2001:db8::9')))
    expect(upperChecksum(error, 40, 58)).toBe(0)
  })
})

describe('"administratively prohibited"', () => {
  it('is type 3 code 13 over IPv4 and type 1 code 1 over IPv6', () => {
    const error4 = prohibited(ipv4(tcp(2, [])))
    expect(toHex(error4.subarray(20, 22))).toBe('030d')
    expect(toHex(error4.subarray(24, 28))).toBe('00000000')
    expect(slowChecksum([...error4.subarray(20)])).toBe(0)
    const error6 = prohibited(ipv6(tcp(2, []), { nextHeader: 6 }))
    expect(toHex(error6.subarray(40, 42))).toBe('0101')
    expect(upperChecksum(error6, 40, 58)).toBe(0)
  })

  it('is also sent for packets that may be fragmented, and for first fragments', () => {
    expect(prohibited(ipv4(udp(1, 2), { fragment: 0 })).length).toBeGreaterThan(0)
    expect(prohibited(ipv4(udp(1, 2), { fragment: 0x2000 })).length).toBeGreaterThan(0)
  })
})

describe('no error is sent (RFC 1122 section 3.2.2, RFC 4443 section 2.4)', () => {
  it.each([
    ['destination unreachable', ipv4(icmp(3, 1), { protocol: 1 })],
    ['source quench', ipv4(icmp(4, 0), { protocol: 1 })],
    ['redirect', ipv4(icmp(5, 0), { protocol: 1 })],
    ['time exceeded', ipv4(icmp(11, 0), { protocol: 1 })],
    ['parameter problem', ipv4(icmp(12, 0), { protocol: 1 })],
    ['ICMP without a type', ipv4([], { protocol: 1 })],
    ['a fragment after the first', ipv4(udp(1, 2), { fragment: 0x4001 })],
    ['a packet to a multicast address', ipv4(udp(1, 2), { destination: '224.0.0.1' })],
    ['a broadcast packet', ipv4(udp(1, 2), { destination: '255.255.255.255' })],
    ['a packet from nowhere', ipv4(udp(1, 2), { source: '0.0.0.0' })],
    ['a packet from loopback', ipv4(udp(1, 2), { source: '127.0.0.1' })],
    ['a packet from a multicast address', ipv4(udp(1, 2), { source: '239.1.2.3' })],
    ['a packet from the broadcast address', ipv4(udp(1, 2), { source: '255.255.255.255' })],
    ['an ICMPv6 error', ipv6(icmp(1, 0), { nextHeader: 58 })],
    ['an ICMPv6 redirect', ipv6(icmp(137, 0), { nextHeader: 58 })],
    ['an ICMPv6 message that is not there', ipv6([], { nextHeader: 58 })],
    ['a later fragment of ICMPv6', ipv6([...fragmentHeader(58, 3, false), 1, 2], { nextHeader: 44 })],
    ['a later fragment over IPv6', ipv6([...fragmentHeader(17, 3, false), 1, 2], { nextHeader: 44 })],
    ['an IPv6 packet from nowhere', ipv6(udp(1, 2), { source: '::' })],
    ['an IPv6 packet from a multicast address', ipv6(udp(1, 2), { source: 'ff02::2' })],
    ['a broken chain of extension headers', ipv6([17], { nextHeader: 60 })]
  ])('about %s', (_, packet) => {
    expect(prohibited(packet)).toHaveLength(0)
    expect(
      tooBig(packet, 1280, address((packet[0] ?? 0) >> 4 === 4 ? '10.9.8.7' : '2001:db8::9'))
    ).toHaveLength(0)
  })

  it('"prohibited" about an IPv6 packet to a multicast address', () => {
    expect(prohibited(ipv6(udp(1, 2), { destination: 'ff02::1' }), address('2001:db8::9'))).toHaveLength(0)
  })

  it('but echo requests do get one', () => {
    expect(prohibited(ipv4(icmp(8, 0), { protocol: 1 })).length).toBeGreaterThan(0)
    expect(prohibited(ipv6(icmp(128, 0), { nextHeader: 58 })).length).toBeGreaterThan(0)
  })
})
