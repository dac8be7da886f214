/**
 * IP packets for tests, octet by octet from the diagrams of RFC 791, 8200, 9293, 768 and 792, with a checksum that is
 * computed the slow way.
 * @module
 */
import { addressToBytes } from '../../src/wire/address.ts'
import { be, type Octets } from './message-factory.ts'

/** RFC 1071 with one addition at a time. */
export function slowChecksum(octets: Octets): number {
  let sum = 0
  for (let i = 0; i < octets.length; i += 2) {
    sum += (octets[i] ?? 0) * 256 + (octets[i + 1] ?? 0)
    if (sum > 0xffff) sum -= 0xffff
  }
  return 0xffff - sum
}

export function address(text: string): Uint8Array {
  const bytes = addressToBytes(text)
  if (!bytes) throw new Error(`${text} is no address`)
  return bytes
}

export interface Ipv4Fields {
  readonly source?: string
  readonly destination?: string
  readonly protocol?: number
  /** Flags and fragment offset, 16 bits. */
  readonly fragment?: number
  /** A multiple of four. */
  readonly options?: Octets
}

export function ipv4(payload: Octets, fields: Ipv4Fields = {}): Uint8Array {
  const options = fields.options ?? []
  const header = (checksum: number) => [
    0x45 + options.length / 4,
    0,
    ...be(20 + options.length + payload.length, 2),
    ...[0x12, 0x34],
    ...be(fields.fragment ?? 0x4000, 2),
    64,
    fields.protocol ?? 17,
    ...be(checksum, 2),
    ...address(fields.source ?? '10.0.0.1'),
    ...address(fields.destination ?? '192.168.1.2'),
    ...options
  ]
  return Uint8Array.from([...header(slowChecksum(header(0))), ...payload])
}

export interface Ipv6Fields {
  readonly source?: string
  readonly destination?: string
  readonly nextHeader?: number
}

export function ipv6(payload: Octets, fields: Ipv6Fields = {}): Uint8Array {
  return Uint8Array.from([
    ...[0x60, 0, 0, 0],
    ...be(payload.length, 2),
    fields.nextHeader ?? 17,
    64,
    ...address(fields.source ?? '2001:db8::1'),
    ...address(fields.destination ?? '2001:db8::2'),
    ...payload
  ])
}

/** An extension header of `8 * units` bytes (hop-by-hop, routing, destination options). */
export function extension(next: number, units = 1): number[] {
  return [next, units - 1, ...new Array<number>(units * 8 - 2).fill(1)]
}

export function fragmentHeader(next: number, offset: number, more: boolean): number[] {
  return [next, 0, ...be(offset * 8 + (more ? 1 : 0), 2), 0, 0, 0, 1]
}

export function udp(sourcePort: number, destinationPort: number, data: Octets = [1, 2, 3]): number[] {
  return [...be(sourcePort, 2), ...be(destinationPort, 2), ...be(8 + data.length, 2), 0, 0, ...data]
}

export function icmp(type: number, code: number): number[] {
  return [type, code, 0, 0, 0, 1, 0, 1]
}

/** A TCP segment without its checksum; `options` must be a multiple of four. */
export function tcp(flags: number, options: Octets, data: Octets = []): number[] {
  return [
    ...be(40000, 2),
    ...be(443, 2),
    ...be(1000, 4),
    ...be(0, 4),
    (5 + options.length / 4) * 16,
    flags,
    ...be(0xfaf0, 2),
    ...[0, 0, 0, 0],
    ...options,
    ...data
  ]
}

/** Puts the right checksum into an upper layer at `at`, its field `field` bytes further on. */
export function withUpperChecksum(
  packet: Uint8Array,
  at: number,
  field: number,
  protocol: number
): Uint8Array {
  const copy = packet.slice()
  copy.set(be(0, 2), at + field)
  copy.set(be(upperChecksum(copy, at, protocol), 2), at + field)
  return copy
}

/** The checksum over pseudo-header and upper layer; 0 when the field in it is right. */
export function upperChecksum(packet: Uint8Array, at: number, protocol: number): number {
  const upper = packet.subarray(at)
  const addresses = (packet[0] ?? 0) >> 4 === 4 ? packet.subarray(12, 20) : packet.subarray(8, 40)
  return slowChecksum([...addresses, ...be(upper.length, 4), 0, 0, 0, protocol, ...upper])
}
