import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { dnsQuery, echoRequest, readDnsAnswer, readEchoReply } from '../../../src/check/inner-packets.ts'
import {
  finishChecksum,
  internetChecksum,
  pseudoHeaderSum4,
  pseudoHeaderSum6,
  sum16
} from '../../../src/wire/checksum.ts'
import { findUpperLayer, ipPacketLength, upperOffset, upperProtocol } from '../../../src/wire/ip.ts'

const V4 = { source: '10.99.0.2', destination: '10.99.0.1' }
const V6 = { source: 'fd00:99::2', destination: 'fd00:99::1' }

/** What the other end makes of a request: a reply with both ends swapped. */
function reflect(packet: Uint8Array, reply: number): Uint8Array {
  const answer = Uint8Array.from(packet)
  const isIpv4 = (packet[0] ?? 0) >>> 4 === 4
  const [at, size] = isIpv4 ? [12, 4] : [8, 16]
  answer.set(packet.slice(at + size, at + 2 * size), at)
  answer.set(packet.slice(at, at + size), at + size)
  if (reply >= 0) answer[isIpv4 ? 20 : 40] = reply
  return answer
}

describe('packets that are put into a tunnel by hand', () => {
  it.each([
    ['IPv4', V4, 84, 0],
    ['IPv4', V4, 1200, 0],
    ['IPv6', V6, 84, 129],
    ['IPv6', V6, 1281, 129]
  ] as const)(
    'is an echo request over %s of the wanted length with right checksums',
    (_family, ends, length, reply) => {
      const packet = echoRequest(ends, 0xbeef, 7, length)
      expect(packet).toHaveLength(length)
      expect(ipPacketLength(packet, 0, packet.length)).toBe(length)
      const upper = findUpperLayer(packet, 0, packet.length)
      const at = upperOffset(upper)
      if (reply === 0) {
        expect(internetChecksum(packet, 0, 20)).toBe(0)
        expect(internetChecksum(packet, at, length - at)).toBe(0)
      } else {
        const sum = pseudoHeaderSum6(packet, 0, 58, length - at) + sum16(packet, at, length - at)
        expect(finishChecksum(sum)).toBe(0)
      }
      expect(readEchoReply(packet)).toBeUndefined()
      expect(readEchoReply(reflect(packet, reply))).toEqual({
        from: ends.destination,
        identifier: 0xbeef,
        sequence: 7,
        lengthBytes: length
      })
    }
  )

  it.each([
    ['IPv4', V4],
    ['IPv6', V6]
  ] as const)('is a DNS question over %s that a name server can read', (_family, ends) => {
    const packet = dnsQuery(ends, 20_053)
    const upper = findUpperLayer(packet, 0, packet.length)
    const at = upperOffset(upper)
    expect(upperProtocol(upper)).toBe(17)
    const length = packet.length - at
    const pseudo =
      ends === V4 ? pseudoHeaderSum4(packet, 0, 17, length) : pseudoHeaderSum6(packet, 0, 17, length)
    expect(finishChecksum(pseudo + sum16(packet, at, length))).toBe(0)
    const answer = reflect(packet, -1)
    answer.set(packet.slice(at, at + 2), at + 2)
    answer.set(packet.slice(at + 2, at + 4), at)
    expect(readDnsAnswer(answer, 20_053)).toBe(ends.destination)
    expect(readDnsAnswer(answer, 20_054)).toBeUndefined()
    expect(readDnsAnswer(packet, 20_053)).toBeUndefined()
  })

  it('are not seen in whatever else comes out of a tunnel', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 4, maxLength: 120 }), fc.boolean(), (bytes, isIpv4) => {
        const packet = Uint8Array.from(bytes)
        // As long as it says that it is: else most of it would not be looked at.
        if (isIpv4) packet.set([0x45, 0, 0, packet.length])
        else packet.set([0x60, 0, 0, 0, 0, Math.max(0, packet.length - 40)].slice(0, packet.length))
        const reply = readEchoReply(packet)
        expect(reply === undefined || reply.lengthBytes === packet.length).toBe(true)
        readDnsAnswer(packet, 1)
      })
    )
  })
})
