import { describe, expect, it } from 'vitest'
import { pcapFileHeader, writePcapRecordHeader } from '../../../src/wire/pcap.ts'
import { DatagramFlow, SegmentFlow, TcpFlag } from '../../../src/wire/synthetic-flow.ts'

const V4 = [
  { address: '10.0.0.2', port: 40_000 },
  { address: '203.0.113.1', port: 4500 }
] as const
const V6 = [
  { address: '2001:db8::2', port: 40_000 },
  { address: '2001:db8::1', port: 4500 }
] as const
const BODY = Uint8Array.from({ length: 301 }, (_, index) => (index * 7) & 0xff)
const MARKER = new Uint8Array(4)

/** One's complement sum over 16-bit words, as slowly as RFC 1071 says it. */
function naiveSum(bytes: Uint8Array): number {
  let sum = 0
  for (let at = 0; at < bytes.length; at += 2) {
    sum += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)
    sum = (sum & 0xffff) + (sum >>> 16)
  }
  return sum
}

/** The sum over pseudo-header and upper layer, which is 0xffff where the checksum is right. */
function upperSum(packet: Uint8Array): number {
  const isIpv4 = (packet[0] ?? 0) >>> 4 === 4
  const ipLength = isIpv4 ? 20 : 40
  const protocol = packet[isIpv4 ? 9 : 6] ?? 0
  const addresses = isIpv4 ? packet.subarray(12, 20) : packet.subarray(8, 40)
  const length = packet.length - ipLength
  return naiveSum(
    Buffer.concat([addresses, Uint8Array.of(0, protocol, length >>> 8, length), packet.subarray(ipLength)])
  )
}

function whole(flow: DatagramFlow | SegmentFlow, headLength: number, body: Uint8Array): Buffer {
  return Buffer.concat([flow.head.subarray(0, headLength), body])
}

describe('a made-up UDP datagram', () => {
  it('has headers whose lengths and checksums are right (IPv4)', () => {
    const flow = new DatagramFlow(...V4)
    const packet = whole(flow, flow.build(true, MARKER, BODY, 0, BODY.length, 2), BODY)
    expect(packet.length).toBe(20 + 8 + 4 + 301)
    expect([packet[0], packet[1], packet.readUInt16BE(2), packet[9]]).toEqual([0x45, 2, packet.length, 17])
    expect([...packet.subarray(12, 20)]).toEqual([10, 0, 0, 2, 203, 0, 113, 1])
    expect([packet.readUInt16BE(20), packet.readUInt16BE(22)]).toEqual([40_000, 4500])
    expect(packet.readUInt16BE(24)).toBe(8 + 4 + 301)
    expect(naiveSum(packet.subarray(0, 20))).toBe(0xffff)
    expect(upperSum(packet)).toBe(0xffff)
    expect(packet.subarray(28)).toEqual(Buffer.concat([MARKER, BODY]))
  })

  it('has headers whose lengths and checksums are right (IPv6)', () => {
    const flow = new DatagramFlow(...V6)
    const body = BODY.subarray(1, 201)
    const packet = whole(flow, flow.build(false, new Uint8Array(0), BODY, 1, 200, 3), body)
    expect([packet[0], packet[1], packet.readUInt16BE(4), packet[6]]).toEqual([0x60, 0x30, 208, 17])
    expect(packet.subarray(8, 24)[15]).toBe(1)
    expect([packet.readUInt16BE(40), packet.readUInt16BE(42)]).toEqual([4500, 40_000])
    expect(upperSum(packet)).toBe(0xffff)
  })
})

describe('a made-up TCP connection', () => {
  it('has sequence numbers that count what was sent', () => {
    const flow = new SegmentFlow(...V4)
    const numbers = (headLength: number) => {
      const head = Buffer.from(flow.head.subarray(0, headLength))
      return [head.readUInt32BE(24), head.readUInt32BE(28), head[33]]
    }
    const { SYN, ACK, PSH, FIN } = TcpFlag
    expect(numbers(flow.buildEmpty(true, SYN))).toEqual([1, 0, SYN])
    expect(numbers(flow.buildEmpty(false, SYN | ACK))).toEqual([1, 2, SYN | ACK])
    expect(numbers(flow.buildEmpty(true, ACK))).toEqual([2, 2, ACK])
    expect(numbers(flow.build(true, MARKER, BODY, 0, 300, PSH | ACK))).toEqual([2, 2, PSH | ACK])
    expect(numbers(flow.build(false, MARKER, BODY, 0, 10, PSH | ACK))).toEqual([2, 306, PSH | ACK])
    expect(numbers(flow.buildEmpty(true, FIN | ACK))).toEqual([306, 16, FIN | ACK])
    expect(numbers(flow.buildEmpty(false, FIN | ACK))).toEqual([16, 307, FIN | ACK])
  })

  it.each([
    ['IPv4', V4],
    ['IPv6', V6]
  ] as const)('has right checksums (%s)', (_family, [local, remote]) => {
    const flow = new SegmentFlow(local, remote)
    const packet = whole(flow, flow.build(true, MARKER, BODY, 0, 301, TcpFlag.ACK), BODY)
    expect(upperSum(packet)).toBe(0xffff)
    expect(upperSum(whole(flow, flow.buildEmpty(false, TcpFlag.ACK), new Uint8Array(0)))).toBe(0xffff)
  })
})

describe('the ends of a conversation', () => {
  it('are addresses of one family', () => {
    expect(() => new DatagramFlow(V4[0], V6[1])).toThrow(RangeError)
    expect(() => new SegmentFlow(V4[0], { address: 'gw.example.com', port: 1 })).toThrow(RangeError)
  })
})

describe('a capture file', () => {
  it('begins with the header of bare IP packets, in microseconds', () => {
    const header = Buffer.from(pcapFileHeader())
    expect(header.toString('hex')).toBe('d4c3b2a102000400000000000000000000000400' + '65000000')
  })

  it('has records with the time to the microsecond', () => {
    const record = Buffer.alloc(20)
    writePcapRecordHeader(new DataView(record.buffer, record.byteOffset), 4, 1_700_000_000_123.456, 77)
    expect([4, 8, 12, 16].map((at) => record.readUInt32LE(at))).toEqual([1_700_000_000, 123_456, 77, 77])
  })
})
