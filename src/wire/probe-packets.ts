/**
 * Small inner packets that ask for an answer, and how such an answer is known again: ICMP echo requests (RFC 792, RFC 4443 section 4) and a
 * DNS query for the root name servers (RFC 1035). Errors about them are answers, too.
 * @module
 */
import { finishChecksum, pseudoHeaderSum4, pseudoHeaderSum6, sum16 } from './checksum.ts'
import {
  findUpperLayer,
  IPV4_HEADER_LENGTH,
  IPV4_PROTOCOL_OFFSET,
  IPV6_HEADER_LENGTH,
  IPV6_NEXT_HEADER_OFFSET,
  IpProtocol,
  ipPacketLength,
  read16,
  upperOffset,
  upperProtocol,
  write16
} from './ip.ts'
import { type IpEnds, newIpPacket } from './ip-packet.ts'

const ICMP_HEADER_LENGTH = 8
const UDP_HEADER_LENGTH = 8
const DNS_PORT = 53
/** Header behind the identifier (RD, one question), root name, type NS, class IN. */
const ROOT_QUERY = Uint8Array.of(0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1)

const ECHO = { request4: 8, reply4: 0, request6: 128, reply6: 129 } as const
/** Destination unreachable and time exceeded. */
const ERRORS4: readonly number[] = [3, 11]
const ERRORS6: readonly number[] = [1, 3]

/** @param wanted `dataBytes`: zeros behind the header of the request (none) */
export function echoRequest(
  wanted: IpEnds & {
    readonly identifier: number
    readonly sequence: number
    readonly hopLimit?: number | undefined
    readonly dataBytes?: number | undefined
  }
): Uint8Array {
  const isIpv4 = wanted.source.length === 4
  const protocol = isIpv4 ? IpProtocol.ICMP : IpProtocol.ICMPV6
  const length = ICMP_HEADER_LENGTH + (wanted.dataBytes ?? 0)
  const packet = newIpPacket(wanted, protocol, length, wanted.hopLimit)
  const at = headerLength(isIpv4)
  packet[at] = isIpv4 ? ECHO.request4 : ECHO.request6
  write16(packet, at + 4, wanted.identifier)
  write16(packet, at + 6, wanted.sequence)
  const pseudoHeader = isIpv4 ? 0 : pseudoHeaderSum6(packet, 0, protocol, length)
  write16(packet, at + 2, finishChecksum(pseudoHeader + sum16(packet, at, length)))
  return packet
}

/** @param wanted the identifier is the source port, too: the shortest errors quote no more than the ports */
export function dnsRootQuery(wanted: IpEnds & { readonly identifier: number }): Uint8Array {
  const isIpv4 = wanted.source.length === 4
  const length = UDP_HEADER_LENGTH + ROOT_QUERY.length
  const packet = newIpPacket(wanted, IpProtocol.UDP, length)
  const at = headerLength(isIpv4)
  write16(packet, at, wanted.identifier)
  write16(packet, at + 2, DNS_PORT)
  write16(packet, at + 4, length)
  packet.set(ROOT_QUERY, at + UDP_HEADER_LENGTH)
  write16(packet, at + UDP_HEADER_LENGTH, wanted.identifier)
  const pseudoHeader = (isIpv4 ? pseudoHeaderSum4 : pseudoHeaderSum6)(packet, 0, IpProtocol.UDP, length)
  // A sum of zero is sent as all ones (RFC 768).
  write16(packet, at + 6, finishChecksum(pseudoHeader + sum16(packet, at, length)) || 0xffff)
  return packet
}

/** What a packet answers; added to the identifier of the question. */
export const ProbeAnswer = { NONE: 0, ECHO: 0x1_0000, DNS: 0x2_0000 } as const

/**
 * Is this packet an answer to a probe, or an error about one?
 * @returns `ProbeAnswer.NONE`, or the kind of the question and its identifier in one number
 */
export function probeAnswerIn(buffer: Uint8Array, offset: number, length: number): number {
  const upper = upperIn(buffer, offset, length)
  if (upper <= 0) return ProbeAnswer.NONE
  const at = offset + upperOffset(upper)
  const left = length - upperOffset(upper)
  switch (upperProtocol(upper)) {
    case IpProtocol.UDP:
      if (left < UDP_HEADER_LENGTH || read16(buffer, at) !== DNS_PORT) return ProbeAnswer.NONE
      return ProbeAnswer.DNS | read16(buffer, at + 2)
    case IpProtocol.ICMP:
      return icmpAnswer(buffer, at, left, ECHO.reply4, ERRORS4)
    case IpProtocol.ICMPV6:
      return icmpAnswer(buffer, at, left, ECHO.reply6, ERRORS6)
    default:
      return ProbeAnswer.NONE
  }
}

function icmpAnswer(
  buffer: Uint8Array,
  at: number,
  left: number,
  reply: number,
  errors: readonly number[]
): number {
  if (left < ICMP_HEADER_LENGTH) return ProbeAnswer.NONE
  const type = buffer[at] ?? 0
  if (type === reply) return ProbeAnswer.ECHO | read16(buffer, at + 4)
  return errors.includes(type)
    ? questionIn(buffer, at + ICMP_HEADER_LENGTH, left - ICMP_HEADER_LENGTH)
    : ProbeAnswer.NONE
}

/** Which of our questions an error quotes; the quotation may be cut off anywhere behind the first bytes of the upper layer. */
function questionIn(buffer: Uint8Array, offset: number, length: number): number {
  const isIpv4 = (buffer[offset] ?? 0) >>> 4 === 4
  const headers = headerLength(isIpv4)
  const at = offset + headers
  if (length < headers + ICMP_HEADER_LENGTH) return ProbeAnswer.NONE
  const protocol = buffer[offset + (isIpv4 ? IPV4_PROTOCOL_OFFSET : IPV6_NEXT_HEADER_OFFSET)]
  if (protocol === (isIpv4 ? IpProtocol.ICMP : IpProtocol.ICMPV6)) {
    const request = isIpv4 ? ECHO.request4 : ECHO.request6
    return buffer[at] === request ? ProbeAnswer.ECHO | read16(buffer, at + 4) : ProbeAnswer.NONE
  }
  const isDns = protocol === IpProtocol.UDP && read16(buffer, at + 2) === DNS_PORT
  return isDns ? ProbeAnswer.DNS | read16(buffer, at) : ProbeAnswer.NONE
}

function upperIn(buffer: Uint8Array, offset: number, length: number): number {
  if (ipPacketLength(buffer, offset, length) < 0) return -1
  const upper = findUpperLayer(buffer, offset, length)
  return upper < 0 || upperOffset(upper) === 0 || upperOffset(upper) > length ? -1 : upper
}

function headerLength(isIpv4: boolean): number {
  return isIpv4 ? IPV4_HEADER_LENGTH : IPV6_HEADER_LENGTH
}
