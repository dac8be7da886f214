/**
 * TCP segments and super-packets for tests, built the slow way from plain arrays.
 * @module
 */
import type { Octets } from './message-factory.ts'
import { be } from './message-factory.ts'
import { address, extension, slowChecksum, upperChecksum } from './packet-factory.ts'

export interface SegmentFields {
  readonly family: 4 | 6
  readonly source?: string
  readonly destination?: string
  readonly sourcePort?: number
  readonly sequence?: number
  readonly acknowledgement?: number
  readonly flags?: number
  /** Low four bits of the byte with the data offset. */
  readonly reserved?: number
  readonly window?: number
  readonly urgent?: number
  /** TCP options, a multiple of four bytes. */
  readonly options?: Octets
  /** IPv4 options, a multiple of four bytes. */
  readonly ipOptions?: Octets
  /** IPv6: units of 8 bytes of a hop-by-hop header in between; 0: none. */
  readonly extensionUnits?: number
  readonly identification?: number
  /** Flags and fragment offset of IPv4. */
  readonly fragment?: number
  readonly tos?: number
  readonly ttl?: number
  readonly flowLabel?: number
  /** `tcp` by default. */
  readonly upper?: 'tcp' | 'udp'
  readonly payload: Octets
}

/** Where the TCP or UDP header begins. */
export function upperAt(fields: SegmentFields): number {
  return fields.family === 4 ? 20 + (fields.ipOptions?.length ?? 0) : 40 + 8 * (fields.extensionUnits ?? 0)
}

/** All headers up to the payload. */
export function headersLength(fields: SegmentFields): number {
  return upperAt(fields) + (fields.upper === 'udp' ? 8 : 20 + (fields.options?.length ?? 0))
}

/** The packet with every checksum right. */
export function segment(fields: SegmentFields): Uint8Array {
  const isUdp = fields.upper === 'udp'
  const protocol = isUdp ? 17 : 6
  const upper = isUdp ? udpHeader(fields) : tcpHeader(fields)
  const body = [...upper, ...fields.payload]
  const packet = fields.family === 4 ? ipv4(fields, protocol, body) : ipv6(fields, protocol, body)
  const at = upperAt(fields)
  const sum = upperChecksum(packet, at, protocol)
  packet.set(be(isUdp && sum === 0 ? 0xffff : sum, 2), at + (isUdp ? 6 : 16))
  return packet
}

function tcpHeader(fields: SegmentFields): number[] {
  const options = fields.options ?? []
  return [
    ...be(fields.sourcePort ?? 40_000, 2),
    ...be(443, 2),
    ...be(fields.sequence ?? 1000, 4),
    ...be(fields.acknowledgement ?? 77, 4),
    (5 + options.length / 4) * 16 + (fields.reserved ?? 0),
    fields.flags ?? 0x10,
    ...be(fields.window ?? 0xfaf0, 2),
    0,
    0,
    ...be(fields.urgent ?? 0, 2),
    ...options
  ]
}

function udpHeader(fields: SegmentFields): number[] {
  return [...be(fields.sourcePort ?? 40_000, 2), ...be(443, 2), ...be(8 + fields.payload.length, 2), 0, 0]
}

function ipv4(fields: SegmentFields, protocol: number, body: Octets): Uint8Array {
  const options = fields.ipOptions ?? []
  const packet = Uint8Array.from([
    0x45 + options.length / 4,
    fields.tos ?? 0,
    ...be(20 + options.length + body.length, 2),
    ...be(fields.identification ?? 0, 2),
    ...be(fields.fragment ?? 0x4000, 2),
    fields.ttl ?? 64,
    protocol,
    0,
    0,
    ...address(fields.source ?? '10.0.0.1'),
    ...address(fields.destination ?? '10.0.0.2'),
    ...options,
    ...body
  ])
  packet.set(be(slowChecksum([...packet.subarray(0, 20 + options.length)]), 2), 10)
  return packet
}

function ipv6(fields: SegmentFields, protocol: number, body: Octets): Uint8Array {
  const units = fields.extensionUnits ?? 0
  const between = units > 0 ? extension(protocol, units) : []
  const tos = fields.tos ?? 0
  return Uint8Array.from([
    0x60 | (tos >> 4),
    ((tos & 15) << 4) | ((fields.flowLabel ?? 0) >> 16),
    ...be((fields.flowLabel ?? 0) & 0xffff, 2),
    ...be(between.length + body.length, 2),
    units > 0 ? 0 : protocol,
    fields.ttl ?? 64,
    ...address(fields.source ?? 'fd00::1'),
    ...address(fields.destination ?? 'fd00::2'),
    ...between,
    ...body
  ])
}

/** A frame as the kernel hands it over: virtio-net header, then the packet with the sum of its pseudo-header only. */
export function superFrame(fields: SegmentFields, segmentSize: number): Uint8Array {
  const packet = segment(fields)
  const isUdp = fields.upper === 'udp'
  const gsoType = isUdp ? 5 : fields.family === 4 ? 1 : 4
  const little = (value: number) => [value & 255, value >> 8]
  const header = [
    1,
    gsoType | ((fields.flags ?? 0) & 0x80),
    ...little(headersLength(fields)),
    ...little(segmentSize),
    ...little(upperAt(fields)),
    ...little(isUdp ? 6 : 16)
  ]
  return Uint8Array.from([...header, ...packet])
}

/** The packets that the super-packet stands for, each built on its own. */
export function segmentsOf(fields: SegmentFields, segmentSize: number): Uint8Array[] {
  const packets: Uint8Array[] = []
  for (let at = 0; at < fields.payload.length; at += segmentSize) {
    const payload = fields.payload.slice(at, at + segmentSize)
    const isLast = at + segmentSize >= fields.payload.length
    const flags = (fields.flags ?? 0x10) & (isLast ? 0xff : ~0x09) & (at === 0 ? 0xff : ~0x80)
    const sequence = ((fields.sequence ?? 1000) + at) % 0x1_0000_0000
    const identification = ((fields.identification ?? 0) + packets.length) & 0xffff
    packets.push(segment({ ...fields, payload, flags, sequence, identification }))
  }
  return packets
}
