/**
 * Packets that a check sends through a tunnel by itself, without a TUN device: echo requests (RFC 792, RFC 4443 section 4) and one DNS
 * question. Pure functions over bytes.
 * @module
 */
import { addressFromBytes, addressToBytes, familyOf } from '../wire/address.ts'
import {
  finishChecksum,
  internetChecksum,
  pseudoHeaderSum4,
  pseudoHeaderSum6,
  sum16
} from '../wire/checksum.ts'
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
  IPV4_TOTAL_LENGTH_OFFSET,
  IPV4_TTL_OFFSET,
  IPV6_DESTINATION_OFFSET,
  IPV6_HEADER_LENGTH,
  IPV6_HOP_LIMIT_OFFSET,
  IPV6_NEXT_HEADER_OFFSET,
  IPV6_PAYLOAD_LENGTH_OFFSET,
  IPV6_SOURCE_OFFSET,
  IpProtocol,
  ipPacketLength,
  read16,
  sourceOffset,
  upperOffset,
  upperProtocol,
  write16
} from '../wire/ip.ts'

const HOP_LIMIT = 64
const ICMP_HEADER_LENGTH = 8
const UDP_HEADER_LENGTH = 8
const DNS_PORT = 53
/** Echo request and reply, by family. */
const ECHO = { 4: { request: 8, reply: 0 }, 6: { request: 128, reply: 129 } } as const
/** Asks for the root's name servers: header (RD, one question), root name, type NS, class IN (RFC 1035 section 4.1). */
const DNS_QUESTION = Uint8Array.from([0x69, 0x6b, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1])

export interface InnerEnds {
  readonly source: string
  readonly destination: string
}

/** An echo request of exactly `lengthBytes`, IP header included. */
export function echoRequest(
  ends: InnerEnds,
  identifier: number,
  sequence: number,
  lengthBytes: number
): Uint8Array {
  const { packet, family, upper } = ipPacket(ends, lengthBytes, {
    4: IpProtocol.ICMP,
    6: IpProtocol.ICMPV6
  })
  packet[upper] = ECHO[family].request
  write16(packet, upper + 4, identifier)
  write16(packet, upper + 6, sequence)
  const length = packet.length - upper
  const checksum =
    family === 4
      ? internetChecksum(packet, upper, length)
      : finishChecksum(pseudoHeaderSum6(packet, 0, IpProtocol.ICMPV6, length) + sum16(packet, upper, length))
  write16(packet, upper + 2, checksum)
  return packet
}

export interface EchoReply {
  readonly from: string
  readonly identifier: number
  readonly sequence: number
  readonly lengthBytes: number
}

/** @returns undefined for every other packet */
export function readEchoReply(packet: Uint8Array): EchoReply | undefined {
  const found = upperLayerOf(packet)
  if (found === undefined) return undefined
  const { family, protocol, at } = found
  if (protocol !== (family === 4 ? IpProtocol.ICMP : IpProtocol.ICMPV6)) return undefined
  if (packet.length < at + ICMP_HEADER_LENGTH || packet[at] !== ECHO[family].reply) return undefined
  return {
    from: found.source,
    identifier: read16(packet, at + 4),
    sequence: read16(packet, at + 6),
    lengthBytes: packet.length
  }
}

/** A question that every name server answers, if only to refuse it. */
export function dnsQuery(ends: InnerEnds, sourcePort: number): Uint8Array {
  const length = UDP_HEADER_LENGTH + DNS_QUESTION.length
  const header = (addressToBytes(ends.source)?.length ?? 4) === 4 ? IPV4_HEADER_LENGTH : IPV6_HEADER_LENGTH
  const { packet, family, upper } = ipPacket(ends, header + length, { 4: IpProtocol.UDP, 6: IpProtocol.UDP })
  write16(packet, upper, sourcePort)
  write16(packet, upper + 2, DNS_PORT)
  write16(packet, upper + 4, length)
  packet.set(DNS_QUESTION, upper + UDP_HEADER_LENGTH)
  const pseudo =
    family === 4
      ? pseudoHeaderSum4(packet, 0, IpProtocol.UDP, length)
      : pseudoHeaderSum6(packet, 0, IpProtocol.UDP, length)
  const checksum = finishChecksum(pseudo + sum16(packet, upper, length))
  // Zero would mean that there is none (RFC 768).
  write16(packet, upper + 6, checksum === 0 ? 0xffff : checksum)
  return packet
}

/** @returns who answered a question that came from this port */
export function readDnsAnswer(packet: Uint8Array, ownPort: number): string | undefined {
  const found = upperLayerOf(packet)
  if (found?.protocol !== IpProtocol.UDP || packet.length < found.at + UDP_HEADER_LENGTH) return undefined
  const isOurs = read16(packet, found.at) === DNS_PORT && read16(packet, found.at + 2) === ownPort
  return isOurs ? found.source : undefined
}

function upperLayerOf(
  packet: Uint8Array
):
  | { readonly family: 4 | 6; readonly protocol: number; readonly at: number; readonly source: string }
  | undefined {
  if (ipPacketLength(packet, 0, packet.length) !== packet.length) return undefined
  const upper = findUpperLayer(packet, 0, packet.length)
  if (upper < 0) return undefined
  const [source, destination] = [sourceOffset(packet, 0), destinationOffset(packet, 0)]
  const bytes = packet.slice(source, destination)
  return {
    family: familyOf(bytes),
    protocol: upperProtocol(upper),
    at: upperOffset(upper),
    source: addressFromBytes(bytes)
  }
}

function ipPacket(
  { source, destination }: InnerEnds,
  lengthBytes: number,
  protocols: Readonly<Record<4 | 6, number>>
): { readonly packet: Uint8Array; readonly family: 4 | 6; readonly upper: number } {
  const packet = new Uint8Array(new ArrayBuffer(lengthBytes))
  const [from, to] = [addressToBytes(source), addressToBytes(destination)]
  if (from === undefined || to === undefined || from.length !== to.length)
    throw new RangeError('Both ends of a packet are of one family')
  const family = familyOf(from)
  if (family === 4) {
    packet[0] = 0x45
    write16(packet, IPV4_TOTAL_LENGTH_OFFSET, lengthBytes)
    write16(packet, IPV4_FRAGMENT_OFFSET, IPV4_DONT_FRAGMENT)
    packet[IPV4_TTL_OFFSET] = HOP_LIMIT
    packet[IPV4_PROTOCOL_OFFSET] = protocols[4]
    packet.set(from, IPV4_SOURCE_OFFSET)
    packet.set(to, IPV4_DESTINATION_OFFSET)
    write16(packet, IPV4_CHECKSUM_OFFSET, internetChecksum(packet, 0, IPV4_HEADER_LENGTH))
    return { packet, family, upper: IPV4_HEADER_LENGTH }
  }
  packet[0] = 0x60
  write16(packet, IPV6_PAYLOAD_LENGTH_OFFSET, lengthBytes - IPV6_HEADER_LENGTH)
  packet[IPV6_NEXT_HEADER_OFFSET] = protocols[6]
  packet[IPV6_HOP_LIMIT_OFFSET] = HOP_LIMIT
  packet.set(from, IPV6_SOURCE_OFFSET)
  packet.set(to, IPV6_DESTINATION_OFFSET)
  return { packet, family, upper: IPV6_HEADER_LENGTH }
}
