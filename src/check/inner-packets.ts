/**
 * Packets that a check sends through a tunnel by itself, without a TUN device, and what is read from the answers: echo requests (RFC 792,
 * RFC 4443 section 4) and one DNS question. Pure functions over bytes.
 * @module
 */
import { addressFromBytes, addressToBytes, familyOf } from '../wire/address.ts'
import {
  destinationOffset,
  findUpperLayer,
  IPV4_HEADER_LENGTH,
  IPV6_HEADER_LENGTH,
  IpProtocol,
  ipPacketLength,
  read16,
  sourceOffset,
  upperOffset,
  upperProtocol
} from '../wire/ip.ts'
import type { IpEnds } from '../wire/ip-packet.ts'
import { dnsRootQuery, echoRequest as smallEchoRequest } from '../wire/probe-packets.ts'

const ICMP_HEADER_LENGTH = 8
const UDP_HEADER_LENGTH = 8
const DNS_PORT = 53
/** Echo reply, by family. */
const ECHO_REPLY = { 4: 0, 6: 129 } as const

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
  const addresses = inBytes(ends)
  const headers = addresses.source.length === 4 ? IPV4_HEADER_LENGTH : IPV6_HEADER_LENGTH
  const dataBytes = lengthBytes - headers - ICMP_HEADER_LENGTH
  return smallEchoRequest({ ...addresses, identifier, sequence, dataBytes })
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
  if (packet.length < at + ICMP_HEADER_LENGTH || packet[at] !== ECHO_REPLY[family]) return undefined
  return {
    from: found.source,
    identifier: read16(packet, at + 4),
    sequence: read16(packet, at + 6),
    lengthBytes: packet.length
  }
}

/** A question that every name server answers, if only to refuse it. */
export function dnsQuery(ends: InnerEnds, sourcePort: number): Uint8Array {
  return dnsRootQuery({ ...inBytes(ends), identifier: sourcePort })
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

function inBytes({ source, destination }: InnerEnds): IpEnds {
  const [from, to] = [addressToBytes(source), addressToBytes(destination)]
  if (from === undefined || to === undefined)
    throw new RangeError('A packet goes from one address to another')
  return { source: from, destination: to }
}
