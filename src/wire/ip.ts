/**
 * IPv4 and IPv6 headers in place (RFC 791, RFC 8200): named offsets, lengths, and the way to the upper layer.
 *
 * A packet is `buffer[offset, offset + length)`. Per-packet code: nothing is allocated, and what is wrong is told by
 * -1, never thrown. Functions that take no `length` are for packets that `ipPacketLength` has accepted.
 * @module
 */

export const IPV4_HEADER_LENGTH = 20
export const IPV6_HEADER_LENGTH = 40
export const IPV4_TOS_OFFSET = 1
export const IPV4_TOTAL_LENGTH_OFFSET = 2
export const IPV4_IDENTIFICATION_OFFSET = 4
export const IPV4_FRAGMENT_OFFSET = 6
export const IPV4_TTL_OFFSET = 8
export const IPV4_PROTOCOL_OFFSET = 9
export const IPV4_CHECKSUM_OFFSET = 10
export const IPV4_SOURCE_OFFSET = 12
export const IPV4_DESTINATION_OFFSET = 16
export const IPV6_PAYLOAD_LENGTH_OFFSET = 4
export const IPV6_NEXT_HEADER_OFFSET = 6
export const IPV6_HOP_LIMIT_OFFSET = 7
export const IPV6_SOURCE_OFFSET = 8
export const IPV6_DESTINATION_OFFSET = 24

/** IPv4: Don't Fragment, in the 16 bits at `IPV4_FRAGMENT_OFFSET`. */
export const IPV4_DONT_FRAGMENT = 0x4000
const IPV4_MORE_FRAGMENTS_AND_OFFSET = 0x3fff
const IPV4_OFFSET_BITS = 0x1fff
const IPV6_OFFSET_BITS = 0xfff8

export const IpProtocol = {
  HOP_BY_HOP: 0,
  ICMP: 1,
  TCP: 6,
  UDP: 17,
  DCCP: 33,
  ROUTING: 43,
  FRAGMENT: 44,
  ESP: 50,
  AH: 51,
  ICMPV6: 58,
  NO_NEXT_HEADER: 59,
  DESTINATION_OPTIONS: 60,
  SCTP: 132,
  MOBILITY: 135,
  UDPLITE: 136
} as const

/** No sane packet has more; a longer chain is made to cost time. */
const MAX_EXTENSION_HEADERS = 16

/** 4, 6, or another nibble for what is no IP packet; -1 when there is no byte. */
export function ipVersion(buffer: Uint8Array, offset: number, length: number): number {
  return length < 1 ? -1 : buffer[offset]! >>> 4
}

/**
 * The packet's own length, at most `length`, when its header is sound; else -1. Bytes behind it are padding
 * (RFC 4303 section 2.7).
 */
export function ipPacketLength(buffer: Uint8Array, offset: number, length: number): number {
  const version = ipVersion(buffer, offset, length)
  if (version === 4) {
    if (length < IPV4_HEADER_LENGTH) return -1
    const headerLength = ipv4HeaderLength(buffer, offset)
    const totalLength = read16(buffer, offset + IPV4_TOTAL_LENGTH_OFFSET)
    const isSound = headerLength >= IPV4_HEADER_LENGTH && headerLength <= totalLength && totalLength <= length
    return isSound ? totalLength : -1
  }
  if (version !== 6 || length < IPV6_HEADER_LENGTH) return -1
  const totalLength = IPV6_HEADER_LENGTH + read16(buffer, offset + IPV6_PAYLOAD_LENGTH_OFFSET)
  return totalLength <= length ? totalLength : -1
}

/** Bytes of the IPv4 header with its options. */
export function ipv4HeaderLength(buffer: Uint8Array, offset: number): number {
  return (buffer[offset]! & 0x0f) * 4
}

/**
 * Finds the upper layer of a sound packet, over any IPv6 extension headers.
 *
 * The answer is one number: `upperProtocol` and `upperOffset` take it apart. -1 when the chain of headers is broken
 * or overlong.
 */
export function findUpperLayer(buffer: Uint8Array, offset: number, length: number): number {
  if (buffer[offset]! >>> 4 === 4) {
    const isLaterFragment = (read16(buffer, offset + IPV4_FRAGMENT_OFFSET) & IPV4_OFFSET_BITS) !== 0
    const protocol = buffer[offset + IPV4_PROTOCOL_OFFSET]!
    return packUpper(protocol, isLaterFragment ? 0 : ipv4HeaderLength(buffer, offset))
  }
  let protocol = buffer[offset + IPV6_NEXT_HEADER_OFFSET]!
  let at = IPV6_HEADER_LENGTH
  for (let count = 0; count <= MAX_EXTENSION_HEADERS; count++) {
    if (!isExtensionHeader(protocol)) return packUpper(protocol, at)
    if (at + 8 > length) return -1
    const next = buffer[offset + at]!
    if (protocol === IpProtocol.FRAGMENT) {
      const isLaterFragment = (read16(buffer, offset + at + 2) & IPV6_OFFSET_BITS) !== 0
      // What follows a later fragment's header is the middle of something: its first header stays unknown.
      if (isLaterFragment) return packUpper(next, 0)
      at += 8
    } else if (protocol === IpProtocol.AH) {
      at += (buffer[offset + at + 1]! + 2) * 4
    } else {
      at += (buffer[offset + at + 1]! + 1) * 8
    }
    if (at > length) return -1
    protocol = next
  }
  return -1
}

/** The IP protocol number in an answer of `findUpperLayer`. */
export function upperProtocol(upper: number): number {
  return upper >>> 16
}

/** Where the upper layer begins, relative to the packet; 0: a fragment after the first, which has none. */
export function upperOffset(upper: number): number {
  return upper & 0xffff
}

/** True for any fragment, the first one too. IPv6: looks at the whole chain of extension headers. */
export function isFragment(buffer: Uint8Array, offset: number, length: number): boolean {
  if (buffer[offset]! >>> 4 === 4) {
    return (read16(buffer, offset + IPV4_FRAGMENT_OFFSET) & IPV4_MORE_FRAGMENTS_AND_OFFSET) !== 0
  }
  let protocol = buffer[offset + IPV6_NEXT_HEADER_OFFSET]!
  let at = IPV6_HEADER_LENGTH
  for (let count = 0; count < MAX_EXTENSION_HEADERS && at + 8 <= length; count++) {
    if (protocol === IpProtocol.FRAGMENT) return true
    if (!isExtensionHeader(protocol) || protocol === IpProtocol.AH) return false
    protocol = buffer[offset + at]!
    at += (buffer[offset + at + 1]! + 1) * 8
  }
  return false
}

/** True for protocols whose header begins with a source and a destination port. */
export function hasPorts(protocol: number): boolean {
  return (
    protocol === IpProtocol.TCP ||
    protocol === IpProtocol.UDP ||
    protocol === IpProtocol.SCTP ||
    protocol === IpProtocol.DCCP ||
    protocol === IpProtocol.UDPLITE
  )
}

/** Bytes of an address in this packet: 4 or 16. */
export function addressLengthOf(buffer: Uint8Array, offset: number): number {
  return buffer[offset]! >>> 4 === 4 ? 4 : 16
}

/** Absolute offset of the source address. */
export function sourceOffset(buffer: Uint8Array, offset: number): number {
  return offset + (buffer[offset]! >>> 4 === 4 ? IPV4_SOURCE_OFFSET : IPV6_SOURCE_OFFSET)
}

/** Absolute offset of the destination address. */
export function destinationOffset(buffer: Uint8Array, offset: number): number {
  return offset + (buffer[offset]! >>> 4 === 4 ? IPV4_DESTINATION_OFFSET : IPV6_DESTINATION_OFFSET)
}

/** 16 bits, big-endian. The caller has checked the bounds. */
export function read16(buffer: Uint8Array, at: number): number {
  return (buffer[at]! << 8) | buffer[at + 1]!
}

/** 32 bits, big-endian, unsigned. The caller has checked the bounds. */
export function read32(buffer: Uint8Array, at: number): number {
  return ((buffer[at]! << 24) | (buffer[at + 1]! << 16) | (buffer[at + 2]! << 8) | buffer[at + 3]!) >>> 0
}

export function write16(buffer: Uint8Array, at: number, value: number): void {
  buffer[at] = value >>> 8
  buffer[at + 1] = value
}

function isExtensionHeader(protocol: number): boolean {
  return (
    protocol === IpProtocol.HOP_BY_HOP ||
    protocol === IpProtocol.ROUTING ||
    protocol === IpProtocol.FRAGMENT ||
    protocol === IpProtocol.AH ||
    protocol === IpProtocol.DESTINATION_OPTIONS
  )
}

function packUpper(protocol: number, at: number): number {
  return (protocol << 16) | at
}
