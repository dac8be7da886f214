import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { InboundSa, OpenResult } from '../../../src/esp/inbound-sa.ts'
import { NextHeader, OutboundSa, SEAL_REFUSED } from '../../../src/esp/outbound-sa.ts'
import type { EspSaParameters } from '../../../src/esp/types.ts'
import { ALL_SUITES, GCM_128, saParameters, seededRandom } from '../../support/esp-parameters.ts'
import { ipv4, ipv6, udp } from '../../support/packet-factory.ts'

const random = seededRandom('esp')
const INNER4 = ipv4(udp(1000, 2000, new Array<number>(50).fill(7)))
const INNER6 = ipv6(udp(1000, 2000, new Array<number>(51).fill(9)))

function pair(parameters: () => EspSaParameters, window?: number): { out: OutboundSa; in: InboundSa } {
  return { out: new OutboundSa(parameters(), random), in: new InboundSa(parameters(), window) }
}

function sealed(sa: OutboundSa, inner: Uint8Array, nextHeader: number = NextHeader.IPV4): Uint8Array {
  const packet = new Uint8Array(sa.sealedLength(inner.length) + 3)
  const length = sa.seal(inner, 0, inner.length, nextHeader, packet, 3)
  if (length < 0) throw new Error('refused')
  return packet.slice(3, 3 + length)
}

function opened(sa: InboundSa, packet: Uint8Array): number | Uint8Array {
  const buffer = new Uint8Array(packet.length + 16)
  buffer.set(packet, 5)
  const length = sa.open(buffer, 5, packet.length)
  return length < 0 ? length : buffer.slice(sa.innerOffset, sa.innerOffset + length)
}

describe.each(ALL_SUITES)('ESP with %s', (_name, ids) => {
  it.each([true, false])('carries packets of every length (ESN %s)', (esn) => {
    const sa = pair(() => saParameters(ids, { esn }))
    for (let size = 0; size <= 40; size++) {
      const inner =
        size % 2 === 0
          ? ipv4(udp(1, 2, new Array<number>(size).fill(size)))
          : ipv6(udp(1, 2, new Array<number>(size).fill(size)))
      const packet = sealed(sa.out, inner, size % 2 === 0 ? NextHeader.IPV4 : NextHeader.IPV6)
      expect(packet.length).toBe(sa.out.sealedLength(inner.length))
      expect(opened(sa.in, packet)).toEqual(inner)
      expect(sa.in.nextHeader).toBe(size % 2 === 0 ? 4 : 41)
    }
    expect(sa.out.packets).toBe(41)
    expect(sa.in.packets).toBe(41)
    expect(sa.in.bytes).toBe(sa.out.bytes)
  })
})

describe('outbound SA', () => {
  it('numbers packets from one, puts the number into header and AEAD IV, and pads 1, 2, 3', () => {
    const sa = new OutboundSa(saParameters(GCM_128, { spi: 0xcafe0001 }), random)
    const first = sealed(sa, INNER4)
    expect([...first.subarray(0, 16)]).toEqual([0xca, 0xfe, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1])
    expect([...sealed(sa, INNER4).subarray(4, 8)]).toEqual([0, 0, 0, 2])
    expect(first.length % 4).toBe(0)
  })

  it('refuses to wrap without ESN', () => {
    const sa = new OutboundSa(saParameters(GCM_128), random)
    sa.addToSequence(0xffff_fffdn)
    expect(sa.remaining).toBe(2)
    expect(sealed(sa, INNER4).subarray(4, 8)).toEqual(Uint8Array.of(255, 255, 255, 254))
    expect(sealed(sa, INNER4).subarray(4, 8)).toEqual(Uint8Array.of(255, 255, 255, 255))
    expect(sa.seal(INNER4, 0, INNER4.length, 4, new Uint8Array(200), 0)).toBe(SEAL_REFUSED)
    expect(sa.remaining).toBe(0)
    expect(sa.packets).toBe(2)
  })

  it('passes 2^32 with ESN, in step with the receiver, and ends at 2^64', () => {
    const sa = pair(() => saParameters(GCM_128, { esn: true }))
    sa.out.addToSequence(0xffff_fffdn)
    sa.in.window.advanceTo(0xffff_fffdn)
    for (let count = 0; count < 5; count++) expect(opened(sa.in, sealed(sa.out, INNER4))).toEqual(INNER4)
    expect(sa.out.sequence).toBe(0x1_0000_0002n)
    sa.out.addToSequence(0xffff_ffff_ffff_ffffn - 0x1_0000_0002n - 1n)
    sa.in.window.advanceTo(sa.out.sequence)
    expect(opened(sa.in, sealed(sa.out, INNER4))).toEqual(INNER4)
    expect(sa.out.seal(INNER4, 0, INNER4.length, 4, new Uint8Array(200), 0)).toBe(SEAL_REFUSED)
  })

  it('never repeats an IV, whatever a takeover adds (RFC 6311)', () => {
    for (const [, ids] of ALL_SUITES.filter((_, index) => [0, 4].includes(index))) {
      const sa = new OutboundSa(saParameters(ids, { esn: true }), random)
      const seen = new Set<string>()
      for (let count = 0; count < 600; count++) {
        const ivLength = ids.integrityId === 0 ? 8 : 16
        const iv = Buffer.from(sealed(sa, INNER4).subarray(8, 8 + ivLength)).toString('hex')
        expect(seen.has(iv)).toBe(false)
        seen.add(iv)
        if (count % 100 === 99) sa.addToSequence(BigInt(count))
      }
    }
  })

  it('overwrites its keys and sends nothing once disposed of', () => {
    const parameters = saParameters(GCM_128)
    const sa = new OutboundSa(parameters, random)
    sa.dispose()
    expect(parameters.encryptionKey.every((byte) => byte === 0)).toBe(true)
    expect(sa.seal(INNER4, 0, INNER4.length, 4, new Uint8Array(200), 0)).toBe(SEAL_REFUSED)
  })
})

describe('inbound SA', () => {
  it('tells apart why a packet is refused, and counts it', () => {
    const sa = pair(() => saParameters(GCM_128), 64)
    const first = sealed(sa.out, INNER4)
    expect(opened(sa.in, first)).toEqual(INNER4)
    expect(opened(sa.in, first)).toBe(OpenResult.replay)
    const other = new InboundSa(saParameters(GCM_128, { spi: 7 }))
    expect(opened(other, first)).toBe(OpenResult.wrongSpi)
    const second = sealed(sa.out, INNER4)
    second[20] = (second[20] ?? 0) ^ 1
    expect(opened(sa.in, second)).toBe(OpenResult.authenticationFailed)
    expect(opened(sa.in, second.subarray(0, 20))).toBe(OpenResult.malformed)
    sa.out.addToSequence(100n)
    expect(opened(sa.in, sealed(sa.out, INNER4))).toEqual(INNER4)
    expect(opened(sa.in, first)).toBe(OpenResult.tooOld)
    expect(sa.in).toMatchObject({
      packets: 2,
      replays: 1,
      tooOld: 1,
      authenticationFailures: 1,
      malformed: 1
    })
  })

  it('does not move the window for what is not authentic', () => {
    const sa = pair(() => saParameters(GCM_128), 64)
    const good = sealed(sa.out, INNER4)
    sa.out.addToSequence(1_000_000n)
    const forged = sealed(sa.out, INNER4)
    forged[forged.length - 1] = (forged.at(-1) ?? 0) ^ 0x80
    expect(opened(sa.in, forged)).toBe(OpenResult.authenticationFailed)
    expect(sa.in.window.top).toBe(0n)
    expect(opened(sa.in, good)).toEqual(INNER4)
  })

  it('drops dummy packets but counts them as received, and trims padding behind the inner packet', () => {
    const sa = pair(() => saParameters(GCM_128))
    const buffer = new Uint8Array(300)
    const dummy = sa.out.sealDummy(77, buffer, 0)
    expect(opened(sa.in, buffer.slice(0, dummy))).toBe(OpenResult.dummy)
    const padded = new Uint8Array(INNER6.length + 33).fill(0x5a)
    padded.set(INNER6)
    expect(opened(sa.in, sealed(sa.out, padded, NextHeader.IPV6))).toEqual(INNER6)
    expect(sa.in).toMatchObject({ packets: 2, dummies: 1 })
  })

  it('refuses authentic contents that make no sense', () => {
    const sa = pair(() => saParameters(GCM_128))
    expect(opened(sa.in, sealed(sa.out, INNER6, NextHeader.IPV4))).toBe(OpenResult.malformed)
    expect(opened(sa.in, sealed(sa.out, INNER4, NextHeader.IPV6))).toBe(OpenResult.malformed)
    expect(opened(sa.in, sealed(sa.out, INNER4.subarray(0, 40)))).toBe(OpenResult.malformed)
    expect(opened(sa.in, sealed(sa.out, new Uint8Array(0)))).toBe(OpenResult.malformed)
    expect(opened(sa.in, sealed(sa.out, INNER4, 6))).toBe(OpenResult.unsupported)
  })

  it('never throws, whatever it is given', () => {
    const sas = ALL_SUITES.map(([, ids]) => new InboundSa(saParameters(ids, { spi: 1, esn: true })))
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        fc.nat(sas.length - 1),
        fc.boolean(),
        (bytes, which, rightSpi) => {
          if (rightSpi && bytes.length >= 4) bytes.set([0, 0, 0, 1])
          expect(sas[which]?.open(bytes, 0, bytes.length)).toBeLessThan(0)
        }
      ),
      { numRuns: 500, seed: 99 }
    )
  })
})
