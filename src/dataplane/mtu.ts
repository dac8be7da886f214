/**
 * How long an inner packet may be (RFC 4301 section 8, RFC 8200 section 5).
 *
 * On UDP it follows from the path MTU, so that no outer packet is fragmented. A stream has no such limit per packet, but
 * a relay or a gateway may forward each ESP packet in a datagram of its own: the same size is kept as over UDP on an Ethernet path, less some room.
 * @module
 */
import { ESP_HEADER_LENGTH } from '../crypto/packet-cipher-types.ts'
import type { CipherSuite } from '../crypto/types.ts'
import type { TransportKind } from '../wire/endpoint.ts'

/** Links carry at least this with IPv6 (RFC 8200 section 5): a tunnel with IPv6 inside must, too. */
export const MIN_IPV6_MTU = 1280
/** Inner MTU on streams: what fits in UDP of either family on a path of 1500 bytes, with every suite. */
export const STREAM_TUNNEL_MTU = 1400
/** Smallest inner MTU without IPv6: any IPv4 host takes this much (RFC 791). */
const MIN_IPV4_MTU = 576
/** Largest: what an IPv4 header can say. */
const MAX_MTU = 65_535

const OUTER_HEADER = { 4: 20, 6: 40 } as const
const UDP_HEADER_LENGTH = 8
const TRAILER_LENGTH = 2
const ESP_ALIGNMENT = 4

export interface TunnelMtuInput {
  readonly transport: TransportKind
  /** Bytes of a whole outer IP packet that pass; only matters on UDP. */
  readonly pathMtu: number
  readonly outerFamily: 4 | 6
  readonly suite: CipherSuite
  /** IPv6 travels inside. */
  readonly innerIpv6: boolean
}

/** The MTU for the TUN device, in bytes. */
export function tunnelMtu(input: TunnelMtuInput): number {
  const least = input.innerIpv6 ? MIN_IPV6_MTU : MIN_IPV4_MTU
  if (input.transport !== 'udp') return STREAM_TUNNEL_MTU
  const espLength = maxUdpEspLength(input.pathMtu, input.outerFamily)
  return Math.min(MAX_MTU, Math.max(least, maxInnerLength(espLength, input.suite)))
}

/** Largest ESP packet that UDP encapsulation (RFC 3948) carries in one outer packet of `pathMtu` bytes. */
export function maxUdpEspLength(pathMtu: number, outerFamily: 4 | 6): number {
  return pathMtu - OUTER_HEADER[outerFamily] - UDP_HEADER_LENGTH
}

/** Largest inner packet whose ESP packet has at most `espLength` bytes. */
export function maxInnerLength(espLength: number, suite: CipherSuite): number {
  const alignment = Math.max(ESP_ALIGNMENT, suite.blockSize)
  const body = espLength - ESP_HEADER_LENGTH - suite.ivLength - suite.icvLength
  return Math.max(0, body - (((body % alignment) + alignment) % alignment) - TRAILER_LENGTH)
}

/** The MSS that keeps a TCP segment with plain headers within `mtu` (RFC 6691). */
export function mssFor(mtu: number, family: 4 | 6): number {
  return mtu - (family === 4 ? 40 : 60)
}
