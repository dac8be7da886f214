/**
 * ICMP errors about packets that the tunnel cannot take (RFC 792, RFC 1191, RFC 4443), built into a given buffer.
 *
 * Each builder first asks whether an error may be sent at all (RFC 1122 section 3.2.2, RFC 1812 section 4.3.2.7,
 * RFC 4443 section 2.4): never about an ICMP error, a fragment after the first, or a packet from or to what is not one
 * host. Nothing is allocated. The offending packet must have passed `ipPacketLength`.
 * @module
 */
import { finishChecksum, internetChecksum, pseudoHeaderSum6, sum16 } from './checksum.ts'
import {
  destinationOffset,
  findUpperLayer,
  IPV4_CHECKSUM_OFFSET,
  IPV4_DESTINATION_OFFSET,
  IPV4_DONT_FRAGMENT,
  IPV4_FRAGMENT_OFFSET,
  IPV4_HEADER_LENGTH,
  IPV4_PROTOCOL_OFFSET,
  IPV4_SOURCE_OFFSET,
  IPV4_TOS_OFFSET,
  IPV4_TOTAL_LENGTH_OFFSET,
  IPV4_TTL_OFFSET,
  IPV6_DESTINATION_OFFSET,
  IPV6_HEADER_LENGTH,
  IPV6_HOP_LIMIT_OFFSET,
  IPV6_NEXT_HEADER_OFFSET,
  IPV6_PAYLOAD_LENGTH_OFFSET,
  IPV6_SOURCE_OFFSET,
  IpProtocol,
  read16,
  sourceOffset,
  upperOffset,
  upperProtocol,
  write16
} from './ip.ts'

/** Room that a builder may need behind its offset. */
export const MAX_ICMP_ERROR_LENGTH = 1280

/** RFC 1812 section 4.3.2.3: as much of the packet as fits in 576 bytes. */
const MAX_ICMPV4_ERROR_LENGTH = 576
const ICMP_HEADER_LENGTH = 8
const ICMP_CHECKSUM_AT = 2
/** RFC 1191 section 4: the low half of the second word. RFC 4443 section 3.2: all of it. */
const ICMPV4_MTU_AT = 6
const ICMPV6_MTU_AT = 4

const ICMPV4_UNREACHABLE = 3
const CODE_FRAGMENTATION_NEEDED = 4
const CODE_PROHIBITED_V4 = 13
const ICMPV6_UNREACHABLE = 1
const CODE_PROHIBITED_V6 = 1
const ICMPV6_PACKET_TOO_BIG = 2
const ICMPV6_FIRST_INFORMATIONAL = 128
const ICMPV6_REDIRECT = 137
/** Internetwork control, as RFC 1812 section 4.3.2.5 asks of ICMP errors. */
const PRECEDENCE_INTERNETWORK_CONTROL = 0xc0
const HOP_LIMIT = 64

/**
 * "Fragmentation needed and DF set" (RFC 1191) or ICMPv6 "packet too big" about `packet[offset, offset + length)`.
 * @param mtu largest packet that passes, in bytes
 * @param source who says so, 4 or 16 bytes; without it the destination of the offending packet
 * @returns bytes written at `outOffset`, or 0 when no error may be sent (IPv4: also when DF is not set)
 */
export function writePacketTooBig(
  out: Uint8Array,
  outOffset: number,
  packet: Uint8Array,
  offset: number,
  length: number,
  mtu: number,
  source?: Uint8Array
): number {
  if (packet[offset]! >>> 4 === 4) {
    if ((read16(packet, offset + IPV4_FRAGMENT_OFFSET) & IPV4_DONT_FRAGMENT) === 0) return 0
    if (!mayAnswer4(packet, offset, length)) return 0
    const written = writeError4(out, outOffset, packet, offset, length, CODE_FRAGMENTATION_NEEDED, source)
    write16(out, outOffset + IPV4_HEADER_LENGTH + ICMPV4_MTU_AT, Math.min(mtu, 0xffff))
    finishError4(out, outOffset, written)
    return written
  }
  // RFC 4443 section 2.4 (e.3): this one error may be about a packet to a multicast address.
  if (!mayAnswer6(packet, offset, length, true)) return 0
  if (source === undefined && isMulticast6(packet, offset + IPV6_DESTINATION_OFFSET)) return 0
  const written = writeError6(out, outOffset, packet, offset, length, ICMPV6_PACKET_TOO_BIG, 0, source)
  write16(out, outOffset + IPV6_HEADER_LENGTH + ICMPV6_MTU_AT, mtu >>> 16)
  write16(out, outOffset + IPV6_HEADER_LENGTH + ICMPV6_MTU_AT + 2, mtu & 0xffff)
  finishError6(out, outOffset, written)
  return written
}

/**
 * "Communication administratively prohibited" (RFC 1812 section 5.2.7.1, RFC 4443 section 3.1): for packets outside
 * the traffic selectors (RFC 4301 section 5.1.1). Parameters and result as of `writePacketTooBig`.
 */
export function writeAdministrativelyProhibited(
  out: Uint8Array,
  outOffset: number,
  packet: Uint8Array,
  offset: number,
  length: number,
  source?: Uint8Array
): number {
  if (packet[offset]! >>> 4 === 4) {
    if (!mayAnswer4(packet, offset, length)) return 0
    const written = writeError4(out, outOffset, packet, offset, length, CODE_PROHIBITED_V4, source)
    finishError4(out, outOffset, written)
    return written
  }
  if (!mayAnswer6(packet, offset, length, false)) return 0
  const type = ICMPV6_UNREACHABLE
  const written = writeError6(out, outOffset, packet, offset, length, type, CODE_PROHIBITED_V6, source)
  finishError6(out, outOffset, written)
  return written
}

function mayAnswer4(packet: Uint8Array, offset: number, length: number): boolean {
  const source = packet[offset + IPV4_SOURCE_OFFSET]!
  // "This network", loopback, multicast, class E with the broadcast address.
  if (source === 0 || source === 127 || source >= 224) return false
  if (packet[offset + IPV4_DESTINATION_OFFSET]! >= 224) return false
  const upper = findUpperLayer(packet, offset, length)
  const at = upperOffset(upper)
  if (at === 0) return false
  if (upperProtocol(upper) !== IpProtocol.ICMP) return true
  return at < length && !isIcmpv4Error(packet[offset + at]!)
}

/** Unreachable, source quench, redirect, time exceeded, parameter problem (RFC 1122 section 3.2.2). */
function isIcmpv4Error(type: number): boolean {
  return type === 3 || type === 4 || type === 5 || type === 11 || type === 12
}

function mayAnswer6(packet: Uint8Array, offset: number, length: number, mayBeMulticast: boolean): boolean {
  const source = offset + IPV6_SOURCE_OFFSET
  if (isMulticast6(packet, source) || sum16(packet, source, 16) === 0) return false
  if (!mayBeMulticast && isMulticast6(packet, offset + IPV6_DESTINATION_OFFSET)) return false
  const upper = findUpperLayer(packet, offset, length)
  if (upper < 0) return false
  const at = upperOffset(upper)
  if (upperProtocol(upper) !== IpProtocol.ICMPV6) return at !== 0
  if (at === 0 || at >= length) return false
  const type = packet[offset + at]!
  return type >= ICMPV6_FIRST_INFORMATIONAL && type !== ICMPV6_REDIRECT
}

function isMulticast6(buffer: Uint8Array, at: number): boolean {
  return buffer[at] === 0xff
}

function writeError4(
  out: Uint8Array,
  outOffset: number,
  packet: Uint8Array,
  offset: number,
  length: number,
  code: number,
  source: Uint8Array | undefined
): number {
  const headers = IPV4_HEADER_LENGTH + ICMP_HEADER_LENGTH
  const quoted = Math.min(length, MAX_ICMPV4_ERROR_LENGTH - headers)
  copy(packet, offset, out, outOffset + headers, quoted)
  out.fill(0, outOffset, outOffset + headers)
  out[outOffset] = 0x45
  out[outOffset + IPV4_TOS_OFFSET] = PRECEDENCE_INTERNETWORK_CONTROL
  write16(out, outOffset + IPV4_TOTAL_LENGTH_OFFSET, headers + quoted)
  write16(out, outOffset + IPV4_FRAGMENT_OFFSET, IPV4_DONT_FRAGMENT)
  out[outOffset + IPV4_TTL_OFFSET] = HOP_LIMIT
  out[outOffset + IPV4_PROTOCOL_OFFSET] = IpProtocol.ICMP
  writeAddresses(out, outOffset + IPV4_SOURCE_OFFSET, 4, packet, offset, source)
  out[outOffset + IPV4_HEADER_LENGTH] = ICMPV4_UNREACHABLE
  out[outOffset + IPV4_HEADER_LENGTH + 1] = code
  return headers + quoted
}

function finishError4(out: Uint8Array, outOffset: number, length: number): void {
  const icmp = outOffset + IPV4_HEADER_LENGTH
  write16(out, icmp + ICMP_CHECKSUM_AT, internetChecksum(out, icmp, length - IPV4_HEADER_LENGTH))
  write16(out, outOffset + IPV4_CHECKSUM_OFFSET, internetChecksum(out, outOffset, IPV4_HEADER_LENGTH))
}

function writeError6(
  out: Uint8Array,
  outOffset: number,
  packet: Uint8Array,
  offset: number,
  length: number,
  type: number,
  code: number,
  source: Uint8Array | undefined
): number {
  const headers = IPV6_HEADER_LENGTH + ICMP_HEADER_LENGTH
  const quoted = Math.min(length, MAX_ICMP_ERROR_LENGTH - headers)
  copy(packet, offset, out, outOffset + headers, quoted)
  out.fill(0, outOffset, outOffset + headers)
  out[outOffset] = 0x60
  write16(out, outOffset + IPV6_PAYLOAD_LENGTH_OFFSET, ICMP_HEADER_LENGTH + quoted)
  out[outOffset + IPV6_NEXT_HEADER_OFFSET] = IpProtocol.ICMPV6
  out[outOffset + IPV6_HOP_LIMIT_OFFSET] = HOP_LIMIT
  writeAddresses(out, outOffset + IPV6_SOURCE_OFFSET, 16, packet, offset, source)
  out[outOffset + IPV6_HEADER_LENGTH] = type
  out[outOffset + IPV6_HEADER_LENGTH + 1] = code
  return headers + quoted
}

function finishError6(out: Uint8Array, outOffset: number, length: number): void {
  const icmp = outOffset + IPV6_HEADER_LENGTH
  const icmpLength = length - IPV6_HEADER_LENGTH
  const pseudoHeader = pseudoHeaderSum6(out, outOffset, IpProtocol.ICMPV6, icmpLength)
  write16(out, icmp + ICMP_CHECKSUM_AT, finishChecksum(pseudoHeader + sum16(out, icmp, icmpLength)))
}

/** Source and destination of the error: from `source` or the offending packet's destination, to its source. */
function writeAddresses(
  out: Uint8Array,
  at: number,
  addressLength: number,
  packet: Uint8Array,
  offset: number,
  source: Uint8Array | undefined
): void {
  if (source === undefined) copy(packet, destinationOffset(packet, offset), out, at, addressLength)
  else out.set(source, at)
  copy(packet, sourceOffset(packet, offset), out, at + addressLength, addressLength)
}

/** Byte by byte: a view for `set` would be an allocation. */
function copy(from: Uint8Array, start: number, to: Uint8Array, at: number, length: number): void {
  for (let i = 0; i < length; i++) to[at + i] = from[start + i]!
}
