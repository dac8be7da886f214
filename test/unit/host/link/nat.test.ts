import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { LinkNat } from '../../../../src/host/link/nat.ts'
import { internetChecksum } from '../../../../src/wire/checksum.ts'
import { icmp, ipv4, tcp, udp, upperChecksum, withUpperChecksum } from '../../../support/packet-factory.ts'

const [INSIDE, OUTSIDE, FAR] = ['10.66.0.2', '10.66.0.3', '198.18.0.1']
const PLAN = { inside: INSIDE, outside: OUTSIDE, timeoutMs: 5000, tcpTimeoutMs: 60_000 }
const [ICMP, TCP, UDP] = [1, 6, 17]

const port = (packet: Uint8Array, at: number): number => ((packet[at] ?? 0) << 8) | (packet[at + 1] ?? 0)
const sourcePort = (packet: Uint8Array): number => port(packet, 20)
const destinationPort = (packet: Uint8Array): number => port(packet, 22)
const addressAt = (packet: Uint8Array, at: number): string => [...packet.subarray(at, at + 4)].join('.')

function datagram(from: string, fromPort: number, to: string, toPort: number): Uint8Array {
  const packet = ipv4(udp(fromPort, toPort), { source: from, destination: to, protocol: UDP })
  return withUpperChecksum(packet, 20, 6, UDP)
}

function isSound(packet: Uint8Array, protocol: number): boolean {
  return internetChecksum(packet, 0, 20) === 0 && upperChecksum(packet, 20, protocol) === 0
}

describe('the translator of an emulated link', () => {
  it('hides the host inside, and brings the answer back, with right checksums', () => {
    const nat = new LinkNat(PLAN)
    const out = datagram(INSIDE, 4500, FAR, 500)
    expect(nat.outward(0, out, 0, out.length)).toBe(true)
    expect([addressAt(out, 12), addressAt(out, 16), destinationPort(out)]).toEqual([OUTSIDE, FAR, 500])
    expect(sourcePort(out)).not.toBe(4500)
    expect(isSound(out, UDP)).toBe(true)
    const back = datagram(FAR, 500, OUTSIDE, sourcePort(out))
    expect(nat.inward(10, back, 0, back.length)).toBe(true)
    expect([addressAt(back, 16), destinationPort(back)]).toEqual([INSIDE, 4500])
    expect(isSound(back, UDP)).toBe(true)
  })

  it('leaves out a UDP checksum that is not there', () => {
    const nat = new LinkNat(PLAN)
    const out = ipv4(udp(4500, 4500), { source: INSIDE, destination: FAR, protocol: UDP })
    expect(port(out, 26)).toBe(0)
    expect(nat.outward(0, out, 0, out.length)).toBe(true)
    expect(port(out, 26)).toBe(0)
  })

  it('forgets a binding that only the far end has used, and gives another port then', () => {
    const nat = new LinkNat(PLAN)
    const send = (nowMs: number): number => {
      const out = datagram(INSIDE, 4500, FAR, 4500)
      expect(nat.outward(nowMs, out, 0, out.length)).toBe(true)
      return sourcePort(out)
    }
    const arrives = (nowMs: number, at: number): boolean => {
      const back = datagram(FAR, 4500, OUTSIDE, at)
      return nat.inward(nowMs, back, 0, back.length)
    }
    const first = send(0)
    expect(send(4999)).toBe(first)
    expect(arrives(9998, first)).toBe(true)
    expect(arrives(9999, first)).toBe(false)
    const second = send(10_000)
    expect(second).not.toBe(first)
    expect(arrives(10_001, first)).toBe(false)
    expect(arrives(10_001, second)).toBe(true)
    expect([nat.bindings, nat.dropped]).toEqual([2, 2])
  })

  it('keeps TCP for longer than UDP', () => {
    const nat = new LinkNat(PLAN)
    const segment = () =>
      withUpperChecksum(ipv4(tcp(0x10, []), { source: INSIDE, destination: FAR, protocol: TCP }), 20, 16, TCP)
    const [one, other] = [segment(), segment()]
    expect(nat.outward(0, one, 0, one.length)).toBe(true)
    expect(nat.outward(30_000, other, 0, other.length)).toBe(true)
    expect(sourcePort(other)).toBe(sourcePort(one))
    expect(isSound(other, TCP)).toBe(true)
  })

  it('lets pings out and their answers in', () => {
    const nat = new LinkNat(PLAN)
    const echo = (type: number, source: string, destination: string, identifier: number): Uint8Array => {
      const packet = ipv4([...icmp(type, 0)], { source, destination, protocol: ICMP })
      packet[24] = identifier >>> 8
      packet[25] = identifier
      packet[22] = packet[23] = 0
      const sum = internetChecksum(packet, 20, packet.length - 20)
      packet[22] = sum >>> 8
      packet[23] = sum
      return packet
    }
    const out = echo(8, INSIDE, FAR, 77)
    expect(nat.outward(0, out, 0, out.length)).toBe(true)
    const back = echo(0, FAR, OUTSIDE, port(out, 24))
    expect(nat.inward(0, back, 0, back.length)).toBe(true)
    expect([addressAt(back, 16), port(back, 24)]).toEqual([INSIDE, 77])
    expect(internetChecksum(back, 20, back.length - 20)).toBe(0)
  })

  it('translates what an ICMP error quotes, so that the host inside knows which packet is meant', () => {
    const nat = new LinkNat(PLAN)
    const out = datagram(INSIDE, 4500, FAR, 4500)
    nat.outward(0, out, 0, out.length)
    const error = ipv4([...icmp(3, 4), ...out.subarray(0, 28)], {
      source: '198.18.0.254',
      destination: OUTSIDE,
      protocol: ICMP
    })
    expect(nat.inward(0, error, 0, error.length)).toBe(true)
    const quoted = error.subarray(28)
    expect([addressAt(error, 16), addressAt(quoted, 12), sourcePort(quoted)]).toEqual([INSIDE, INSIDE, 4500])
    expect(internetChecksum(error, 20, error.length - 20)).toBe(0)
    expect(internetChecksum(quoted, 0, 20)).toBe(0)
  })

  it('drops what has no binding, other addresses, and IPv6', () => {
    const nat = new LinkNat(PLAN)
    const stranger = datagram(FAR, 500, OUTSIDE, 20_000)
    expect(nat.inward(0, stranger, 0, stranger.length)).toBe(false)
    const spoofed = datagram('10.66.0.9', 1, FAR, 2)
    expect(nat.outward(0, spoofed, 0, spoofed.length)).toBe(false)
    const six = new Uint8Array(60).fill(0x60)
    expect(nat.outward(0, six, 0, six.length)).toBe(false)
  })

  it('never throws and never writes outside of the packet, whatever comes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 0, maxLength: 80 }), fc.boolean(), (bytes, isOut) => {
        const buffer = new Uint8Array(bytes.length + 8).fill(0xa5)
        buffer.set(bytes, 4)
        // Half-way plausible, or little would get past the first check.
        if (bytes.length > 20) {
          buffer[4] = 0x45
          buffer.set([10, 66, 0, isOut ? 2 : 3], 4 + (isOut ? 12 : 16))
          buffer[6] = 0
          buffer[7] = bytes.length
        }
        const nat = new LinkNat(PLAN)
        if (isOut) nat.outward(0, buffer, 4, bytes.length)
        else nat.inward(0, buffer, 4, bytes.length)
        const around = [...buffer.subarray(0, 4), ...buffer.subarray(buffer.length - 4)]
        expect(around.every((byte) => byte === 0xa5)).toBe(true)
      }),
      { seed: 7, numRuns: 500 }
    )
  })
})
