import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { espSuite } from '../../../src/crypto/packet-cipher.ts'
import { applyOuterEcn, ecnOf } from '../../../src/dataplane/ecn.ts'
import { Ipv4Fragmenter } from '../../../src/dataplane/ipv4-fragmenter.ts'
import {
  maxInnerLength,
  maxUdpEspLength,
  mssFor,
  STREAM_TUNNEL_MTU,
  tunnelMtu
} from '../../../src/dataplane/mtu.ts'
import { OutboundSa } from '../../../src/esp/outbound-sa.ts'
import { ALL_SUITES, GCM_128, saParameters, seededRandom } from '../../support/esp-parameters.ts'
import { ipv4, slowChecksum } from '../../support/packet-factory.ts'
import { segment } from '../../support/tcp-segments.ts'

describe('ECN on leaving the tunnel', () => {
  // RFC 6040 figure 4; rows are the inner, columns the outer field, -1: drop. Order: Not-ECT, ECT(1), ECT(0), CE.
  const figure4 = [
    [0, 0, 0, -1],
    [1, 1, 1, 3],
    [2, 1, 2, 3],
    [3, 3, 3, 3]
  ]
  it.each([4, 6] as const)('combines inner and outer field as RFC 6040 figure 4 says (IPv%i)', (family) => {
    figure4.forEach((row, inner) => {
      row.forEach((wanted, outer) => {
        const packet = segment({ family, tos: 0xb8 | inner, payload: [1, 2] })
        expect(ecnOf(packet, 0)).toBe(inner)
        const kept = applyOuterEcn(packet, 0, outer)
        expect(kept).toBe(wanted >= 0)
        if (kept) expect(packet).toEqual(segment({ family, tos: 0xb8 | wanted, payload: [1, 2] }))
      })
    })
  })
})

describe('tunnel MTU', () => {
  const random = seededRandom('mtu')

  it.each(ALL_SUITES)('is the largest inner packet that fits, with %s', (_name, ids) => {
    const suite = espSuite(ids)
    const sa = new OutboundSa(saParameters(ids), random)
    for (let espLength = 100; espLength < 300; espLength++) {
      const inner = maxInnerLength(espLength, suite)
      expect(sa.sealedLength(inner)).toBeLessThanOrEqual(espLength)
      expect(sa.sealedLength(inner + 1)).toBeGreaterThan(espLength)
    }
    expect(maxInnerLength(10, suite)).toBe(0)
  })

  it('follows the path on UDP, stays above what IPv6 needs, and does not depend on the path on streams', () => {
    const suite = espSuite(GCM_128)
    const base = { transport: 'udp', outerFamily: 4, pathMtu: 1500, suite, innerIpv6: true } as const
    expect(maxUdpEspLength(1500, 4)).toBe(1472)
    expect(tunnelMtu(base)).toBe(1438)
    expect(tunnelMtu({ ...base, outerFamily: 6 })).toBe(1418)
    expect(tunnelMtu({ ...base, pathMtu: 1300 })).toBe(1280)
    expect(tunnelMtu({ ...base, pathMtu: 1300, innerIpv6: false })).toBe(1238)
    expect(tunnelMtu({ ...base, pathMtu: 100, innerIpv6: false })).toBe(576)
    expect(tunnelMtu({ ...base, transport: 'tls', pathMtu: 576 })).toBe(STREAM_TUNNEL_MTU)
    for (const [, ids] of ALL_SUITES)
      expect(tunnelMtu({ ...base, suite: espSuite(ids), outerFamily: 6 })).toBeGreaterThanOrEqual(1374)
    expect([mssFor(1400, 4), mssFor(1400, 6)]).toEqual([1360, 1340])
  })
})

describe('IPv4 fragmenter', () => {
  const options = fc.constantFrom(
    [],
    [1, 1, 1, 0],
    // Router alert (copied), then record route (not copied).
    [148, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0],
    [131, 3, 4, 1],
    [1, 148, 4, 0, 0, 0, 0, 0],
    [68, 0, 0, 0]
  )

  it('makes pieces that fit and add up to the packet, also of a fragment', () => {
    const fragmenter = new Ipv4Fragmenter(65_535)
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 8, maxLength: 2000 }),
        fc.integer({ min: 68, max: 700 }),
        options,
        fc.constantFrom(0, 0x2000, 0x2005, 0x0100),
        (payload, mtu, ipOptions, fragment) => {
          const whole = payload.subarray(0, (fragment & 0x2000) !== 0 ? payload.length & ~7 : payload.length)
          const packet = ipv4([...whole], { fragment, options: ipOptions, protocol: 99 })
          expect(fragmenter.begin(packet, 0, packet.length, mtu)).toBe(true)
          const data: number[] = []
          let place = fragment & 0x1fff
          let more = true
          while (fragmenter.next()) {
            const piece = fragmenter.buffer.slice(0, fragmenter.length)
            expect(piece.length).toBeLessThanOrEqual(mtu)
            const headerLength = ((piece[0] ?? 0) & 15) * 4
            expect(slowChecksum([...piece.subarray(0, headerLength)])).toBe(0)
            expect((piece[2] ?? 0) * 256 + (piece[3] ?? 0)).toBe(piece.length)
            expect(piece.subarray(12, 20)).toEqual(packet.subarray(12, 20))
            const field = (piece[6] ?? 0) * 256 + (piece[7] ?? 0)
            expect(field & 0x1fff).toBe(place)
            expect(more).toBe(true)
            more = (field & 0x2000) !== 0
            data.push(...piece.subarray(headerLength))
            place += (piece.length - headerLength) / 8
          }
          expect(data).toEqual([...whole])
          expect(more).toBe((fragment & 0x2000) !== 0)
        }
      ),
      { numRuns: 300, seed: 791 }
    )
  })

  it('leaves a fragment alone that ends behind the end of any packet: its pieces would claim other places', () => {
    const fragmenter = new Ipv4Fragmenter(2000)
    // Offset 0x1ff0 * 8 = 65408: 120 bytes fit behind it, 200 do not.
    const packet = (length: number) =>
      Uint8Array.from(ipv4(new Array<number>(length).fill(1), { fragment: 0x1ff0 }))
    expect(fragmenter.begin(packet(120), 0, 140, 100)).toBe(true)
    expect(fragmenter.begin(packet(200), 0, 220, 100)).toBe(false)
  })

  it('puts only those options into later pieces that belong there', () => {
    const fragmenter = new Ipv4Fragmenter(2000)
    const packet = ipv4(new Array<number>(100).fill(1), {
      fragment: 0,
      options: [7, 7, 4, 0, 0, 0, 0, 148, 4, 0, 0, 0]
    })
    fragmenter.begin(packet, 0, packet.length, 84)
    fragmenter.next()
    expect((fragmenter.buffer[0] ?? 0) & 15).toBe(8)
    fragmenter.next()
    expect([...fragmenter.buffer.subarray(0, 1), ...fragmenter.buffer.subarray(20, 24)]).toEqual([
      0x46, 148, 4, 0, 0
    ])
  })

  it('gives up where not even eight bytes fit', () => {
    const packet = ipv4(new Array<number>(100).fill(1), { fragment: 0 })
    expect(new Ipv4Fragmenter(2000).begin(packet, 0, packet.length, 27)).toBe(false)
  })
})
