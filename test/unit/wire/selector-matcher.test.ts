import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { TrafficSelector } from '../../../src/wire/ike-message.ts'
import { compileSelectors } from '../../../src/wire/selector-matcher.ts'
import { parseTrafficSelector } from '../../../src/wire/traffic-selectors.ts'
import {
  extension,
  fragmentHeader,
  type Ipv4Fields,
  icmp,
  ipv4,
  ipv6,
  tcp,
  udp
} from '../../support/packet-factory.ts'

function ts(...texts: string[]): TrafficSelector[] {
  return texts.map((text) => {
    const selector = parseTrafficSelector(text)
    if (!selector) throw new Error(text)
    return selector
  })
}

/** Puts the packet somewhere into a buffer. */
function matches(
  local: TrafficSelector[],
  remote: TrafficSelector[],
  packet: Uint8Array,
  outbound: boolean
): boolean {
  const buffer = new Uint8Array(packet.length + 30).fill(0x45)
  buffer.set(packet, 17)
  return compileSelectors(local, remote)(buffer, 17, packet.length, outbound)
}

const everything = ts('0.0.0.0/0', '::/0')

describe('addresses', () => {
  const local = ts('10.0.0.0/24', 'fd00::/64')
  const remote = ts('192.168.0.0/16', '10.9.0.5-10.9.0.7', '2001:db8::5-2001:db8::1:0')

  it.each([
    ['10.0.0.9', '192.168.255.255', true],
    ['10.0.0.9', '10.9.0.5', true],
    ['10.0.0.9', '10.9.0.7', true],
    ['10.0.0.9', '10.9.0.8', false],
    ['10.0.0.9', '10.9.0.4', false],
    ['10.0.1.0', '192.168.0.1', false],
    ['192.168.0.1', '10.0.0.9', false],
    ['fd00::1', '2001:db8::5', true],
    ['fd00::1', '2001:db8::1:0', true],
    ['fd00::1', '2001:db8::1:1', false],
    ['fd00::1', '2001:db8::4', false],
    ['fd00:0:0:1::', '2001:db8::5', false]
  ])('from %s to %s outbound: %s, and the other way inbound', (source, destination, expected) => {
    const make = (from: string, to: string) =>
      from.includes(':')
        ? ipv6(udp(1, 2), { source: from, destination: to })
        : ipv4(udp(1, 2), { source: from, destination: to })
    expect(matches(local, remote, make(source, destination), true)).toBe(expected)
    expect(matches(local, remote, make(destination, source), false)).toBe(expected)
    if (expected) expect(matches(local, remote, make(source, destination), false)).toBe(false)
  })

  it('match nothing of a family that has no selector', () => {
    expect(matches(ts('0.0.0.0/0'), ts('0.0.0.0/0'), ipv6(udp(1, 2)), true)).toBe(false)
    expect(matches([], [], ipv4(udp(1, 2)), true)).toBe(false)
  })

  it('compare as unsigned numbers', () => {
    const packet = ipv4(udp(1, 2), { source: '223.255.255.254', destination: '10.0.0.1' })
    expect(matches(ts('128.0.0.0/1'), ts('0.0.0.0/1'), packet, true)).toBe(true)
  })
})

describe('protocols and ports', () => {
  const web = ts('0.0.0.0/0[tcp/443]', '::/0[tcp/443]')

  it('match the remote port of the remote selector, whichever way the packet goes', () => {
    const request = ipv4(tcp(2, []), { protocol: 6 })
    const [source, destination] = ['192.168.1.2', '10.0.0.1']
    const segment = tcp(2, [])
    const reply = ipv4([...segment.slice(2, 4), ...segment.slice(0, 2), ...segment.slice(4)], {
      protocol: 6,
      source,
      destination
    })
    expect(matches(everything, web, request, true)).toBe(true)
    expect(matches(everything, web, request, false)).toBe(false)
    expect(matches(everything, web, reply, false)).toBe(true)
    expect(matches(everything, web, ipv4(udp(40000, 443)), true)).toBe(false)
    expect(matches(everything, web, ipv4(udp(40000, 444)), true)).toBe(false)
  })

  it('are found behind IPv6 extension headers', () => {
    const packet = ipv6([...extension(60), ...extension(6), ...tcp(2, [])], { nextHeader: 0 })
    expect(matches(everything, web, packet, true)).toBe(true)
  })

  it('of fragments are known in the first and match only ANY and OPAQUE in later ones (RFC 4301 section 4.4.1)', () => {
    const fragment = (bits: number) => ipv4(tcp(2, []), { protocol: 6, fragment: bits })
    expect(matches(everything, web, fragment(0x2000), true)).toBe(true)
    expect(matches(everything, web, fragment(0x2005), true)).toBe(false)
    expect(matches(ts('0.0.0.0/0[tcp]'), ts('0.0.0.0/0[tcp]'), fragment(0x2005), true)).toBe(true)
    expect(matches(everything, ts('0.0.0.0/0[tcp/opaque]'), fragment(0x2005), true)).toBe(true)
    expect(matches(everything, ts('0.0.0.0/0[tcp/opaque]'), fragment(0x2000), true)).toBe(false)
    expect(matches(everything, ts('0.0.0.0/0[udp]'), fragment(0x2005), true)).toBe(false)
    // The first two bytes of the IP header must not pass for a port.
    expect(matches(ts('0.0.0.0/0[tcp/17664]'), everything, fragment(0x2005), true)).toBe(false)
    const later6 = ipv6([...fragmentHeader(6, 9, false), 1, 2, 3, 4], { nextHeader: 44 })
    expect(matches(everything, web, later6, true)).toBe(false)
    expect(matches(everything, ts('::/0[tcp]'), later6, true)).toBe(true)
  })

  it('that are cut off do not match', () => {
    expect(matches(everything, web, ipv4([1, 2, 3], { protocol: 6 }), true)).toBe(false)
  })

  it('do not apply to a protocol without any', () => {
    const gre: Ipv4Fields = { protocol: 47 }
    expect(matches(everything, ts('0.0.0.0/0[gre]'), ipv4([0, 0, 0, 0], gre), true)).toBe(true)
    expect(matches(everything, ts('0.0.0.0/0[gre/0-7]'), ipv4([0, 0, 0, 0], gre), true)).toBe(false)
  })
})

describe('ICMP type and code (RFC 4301 section 4.4.1.3)', () => {
  // Echo request: type 8 code 0 is 2048.
  const request = ipv4(icmp(8, 0), { protocol: 1 })
  const reply = ipv4(icmp(0, 0), { protocol: 1, source: '192.168.1.2', destination: '10.0.0.1' })

  it('belong to the side that sends them', () => {
    const mayPing = [ts('0.0.0.0/0[icmp/2048]'), ts('0.0.0.0/0[icmp/0]')] as const
    expect(matches(...mayPing, request, true)).toBe(true)
    expect(matches(...mayPing, reply, false)).toBe(true)
    expect(matches(...mayPing, request, false)).toBe(false)
    expect(matches(...mayPing, reply, true)).toBe(false)
  })

  it('are not sent where the sender has OPAQUE', () => {
    const receiveOnly = [ts('0.0.0.0/0[icmp/opaque]'), ts('0.0.0.0/0[icmp/2048]')] as const
    expect(matches(...receiveOnly, request, true)).toBe(false)
    expect(matches(...receiveOnly, request, false)).toBe(true)
  })

  it('are ranges of codes for ICMPv6 too', () => {
    const echo = ipv6(icmp(128, 0), { nextHeader: 58 })
    expect(matches(ts('::/0[icmpv6/32768-33023]'), everything, echo, true)).toBe(true)
    expect(matches(ts('::/0[icmpv6/33024-33279]'), everything, echo, true)).toBe(false)
  })

  it('of the Mobility Header are its MH Type, high byte', () => {
    const binding = ipv6([59, 0, 5, 0, 0, 0, 0, 0], { nextHeader: 135 })
    expect(matches(ts('::/0[135/1280]'), everything, binding, true)).toBe(true)
    expect(matches(ts('::/0[135/1281]'), everything, binding, true)).toBe(false)
  })
})

describe('what is no sound packet', () => {
  it('matches nothing, not even selectors for everything', () => {
    const cutShort = ipv4(udp(1, 2)).subarray(0, 24)
    const versionFive = Uint8Array.from([0x50, ...ipv4(udp(1, 2)).subarray(1)])
    for (const packet of [new Uint8Array(0), cutShort, versionFive]) {
      expect(matches(everything, everything, packet, true)).toBe(false)
    }
  })

  it('never throws, whatever its bytes', () => {
    const matcher = compileSelectors(ts('10.0.0.0/8[tcp/1-5]', 'fd00::/8'), ts('0.0.0.0/0[udp]', '::/0[58]'))
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.constantFrom(0x45, 0x60, 0x4f, 0), (bytes, first) => {
        const packet = Uint8Array.from([first, ...bytes])
        expect(typeof matcher(packet, 0, packet.length, true)).toBe('boolean')
      }),
      { seed: 4301, numRuns: 2000 }
    )
  })
})

it('agrees with a naive twin on IPv4 packets', () => {
  const bound = fc.tuple(fc.nat(7), fc.nat(7))
  const selector = fc.tuple(fc.constantFrom(0, 6, 17), bound, bound).map(
    ([protocol, hosts, ports]): TrafficSelector => ({
      family: 4,
      protocol,
      startPort: Math.min(...ports),
      endPort: Math.max(...ports),
      startAddress: Uint8Array.of(10, 0, 0, Math.min(...hosts)),
      endAddress: Uint8Array.of(10, 0, 0, Math.max(...hosts))
    })
  )
  const list = fc.array(selector, { maxLength: 3 })
  const side = (selectors: TrafficSelector[], host: number, protocol: number, port: number) =>
    selectors.some(
      (s) =>
        (s.protocol === 0 || s.protocol === protocol) &&
        (s.startAddress[3] ?? 0) <= host &&
        host <= (s.endAddress[3] ?? 0) &&
        s.startPort <= port &&
        port <= s.endPort
    )
  fc.assert(
    fc.property(
      list,
      list,
      bound,
      bound,
      fc.constantFrom(6, 17),
      fc.boolean(),
      (local, remote, hosts, ports, protocol, outbound) => {
        const [sourceHost, destinationHost] = hosts
        const [sourcePort, destinationPort] = ports
        const packet = ipv4(udp(sourcePort, destinationPort), {
          protocol,
          source: `10.0.0.${sourceHost}`,
          destination: `10.0.0.${destinationHost}`
        })
        const expected =
          side(outbound ? local : remote, sourceHost, protocol, sourcePort) &&
          side(outbound ? remote : local, destinationHost, protocol, destinationPort)
        expect(matches(local, remote, packet, outbound)).toBe(expected)
      }
    ),
    { seed: 4302, numRuns: 2000 }
  )
})
