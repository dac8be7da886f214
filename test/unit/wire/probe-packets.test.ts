import { describe, expect, it } from 'vitest'
import { addressToBytes } from '../../../src/wire/address.ts'
import {
  finishChecksum,
  internetChecksum,
  pseudoHeaderSum4,
  pseudoHeaderSum6,
  sum16
} from '../../../src/wire/checksum.ts'
import { writePacketTooBig } from '../../../src/wire/icmp.ts'
import { ipPacketLength } from '../../../src/wire/ip.ts'
import { dnsRootQuery, echoRequest, ProbeAnswer, probeAnswerIn } from '../../../src/wire/probe-packets.ts'

const bytes = (text: string): Uint8Array => addressToBytes(text) ?? new Uint8Array(0)
const FAMILIES = [
  ['IPv4', bytes('10.9.0.5'), bytes('10.9.0.1'), 20, 1],
  ['IPv6', bytes('fd09::5'), bytes('fd09::1'), 40, 58]
] as const

/** The same packet as its receiver would send it back. */
function reply(request: Uint8Array, headerLength: number): Uint8Array {
  const packet = Uint8Array.from(request)
  const [from, to, length] = headerLength === 20 ? [12, 16, 4] : [8, 24, 16]
  packet.copyWithin(from, to, to + length)
  packet.set(request.subarray(from, from + length), to)
  return packet
}

describe.each(FAMILIES)('probe packets over %s', (_, source, destination, headerLength, icmp) => {
  it('hold a sound echo request with the hop limit that was asked for', () => {
    const packet = echoRequest({ source, destination, identifier: 0xbeef, sequence: 3, hopLimit: 1 })
    expect(ipPacketLength(packet, 0, packet.length)).toBe(packet.length)
    expect(packet[headerLength === 20 ? 8 : 7]).toBe(1)
    expect(packet[headerLength === 20 ? 9 : 6]).toBe(icmp)
    expect([...packet.subarray(headerLength, headerLength + 2)]).toEqual([headerLength === 20 ? 8 : 128, 0])
    expect([...packet.subarray(headerLength + 4, headerLength + 8)]).toEqual([0xbe, 0xef, 0, 3])
    const length = packet.length - headerLength
    const sum = headerLength === 20 ? 0 : pseudoHeaderSum6(packet, 0, icmp, length)
    expect(finishChecksum(sum + sum16(packet, headerLength, length))).toBe(0)
    if (headerLength === 20) expect(internetChecksum(packet, 0, 20)).toBe(0)
  })

  it('hold a question for the root name servers', () => {
    const packet = dnsRootQuery({ source, destination, identifier: 0x9c40 })
    expect(ipPacketLength(packet, 0, packet.length)).toBe(packet.length)
    const udp = headerLength
    expect([...packet.subarray(udp, udp + 6)]).toEqual([0x9c, 0x40, 0, 53, 0, 25])
    expect(Buffer.from(packet.subarray(udp + 8)).toString('hex')).toBe('9c40010000010000000000000000020001')
    const pseudo = headerLength === 20 ? pseudoHeaderSum4 : pseudoHeaderSum6
    expect(finishChecksum(pseudo(packet, 0, 17, 25) + sum16(packet, udp, 25))).toBe(0)
  })

  it('know an echo reply again', () => {
    const answer = reply(
      echoRequest({ source, destination, identifier: 0xbeef, sequence: 3, hopLimit: 1 }),
      headerLength
    )
    expect(probeAnswerIn(answer, 0, answer.length)).toBe(ProbeAnswer.NONE)
    answer[headerLength] = headerLength === 20 ? 0 : 129
    const inBuffer = new Uint8Array(answer.length + 7)
    inBuffer.set(answer, 7)
    expect(probeAnswerIn(inBuffer, 7, answer.length)).toBe(ProbeAnswer.ECHO | 0xbeef)
  })

  it('know an answer to the question again, also that nobody answers there', () => {
    const query = dnsRootQuery({ source, destination, identifier: 0x9c40 })
    const answer = reply(query, headerLength)
    answer.set([0, 53, 0x9c, 0x40], headerLength)
    expect(probeAnswerIn(answer, 0, answer.length)).toBe(ProbeAnswer.DNS | 0x9c40)
    expect(probeAnswerIn(query, 0, query.length)).toBe(ProbeAnswer.NONE)
  })

  it('know an error about one of them again', () => {
    const request = echoRequest({ source, destination, identifier: 0xbeef, sequence: 0, hopLimit: 1 })
    const error = new Uint8Array(headerLength + 8 + request.length)
    error.set(request.subarray(0, headerLength))
    error[headerLength === 20 ? 9 : 6] = icmp
    if (headerLength === 20) error.set([0, error.length], 2)
    else error.set([0, error.length - 40], 4)
    error[headerLength] = headerLength === 20 ? 11 : 3
    error.set(request, headerLength + 8)
    expect(probeAnswerIn(error, 0, error.length)).toBe(ProbeAnswer.ECHO | 0xbeef)
    error[headerLength] = headerLength === 20 ? 3 : 1
    expect(probeAnswerIn(error, 0, error.length)).toBe(ProbeAnswer.ECHO | 0xbeef)
    const query = dnsRootQuery({ source, destination, identifier: 0x9c40 })
    // Eight bytes of UDP are all that RFC 792 promises.
    error.set(query.subarray(0, headerLength + 8), headerLength + 8)
    expect(probeAnswerIn(error, 0, error.length)).toBe(ProbeAnswer.DNS | 0x9c40)
  })

  it('say nothing about packets that are cut off or about something else', () => {
    const request = echoRequest({ source, destination, identifier: 1, sequence: 0, hopLimit: 1 })
    const answer = reply(request, headerLength)
    answer[headerLength] = headerLength === 20 ? 0 : 129
    for (let length = 0; length < headerLength + 8; length++)
      expect(probeAnswerIn(answer, 0, length)).toBe(ProbeAnswer.NONE)
    const out = new Uint8Array(1280)
    const big = Uint8Array.from(request)
    if (headerLength === 20) big[6] = 0x40
    const written = writePacketTooBig(out, 0, big, 0, big.length, 1280)
    expect(written).toBeGreaterThan(0)
    for (let length = 0; length <= written; length++) probeAnswerIn(out, 0, length)
  })
})
