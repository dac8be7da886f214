/**
 * A new IP packet of one's own: a header without options or extensions (RFC 791, RFC 8200), and zeros where the upper layer goes.
 * Not for the packets of others, which are worked on in place (`ip.ts`).
 * @module
 */
import { internetChecksum } from './checksum.ts'
import {
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
  write16
} from './ip.ts'

export interface IpEnds {
  /** 4 or 16 bytes each, of one family. */
  readonly source: Uint8Array
  readonly destination: Uint8Array
}

const DEFAULT_HOP_LIMIT = 64

/**
 * @param upperLength bytes behind the header
 * @throws RangeError for ends that are not of one family
 */
export function newIpPacket(
  { source, destination }: IpEnds,
  protocol: number,
  upperLength: number,
  hopLimit = DEFAULT_HOP_LIMIT
): Uint8Array {
  if (source.length !== destination.length) throw new RangeError('Both ends of a packet are of one family')
  const isIpv4 = source.length === 4
  const packet = new Uint8Array((isIpv4 ? IPV4_HEADER_LENGTH : IPV6_HEADER_LENGTH) + upperLength)
  if (isIpv4) {
    packet[0] = 0x45
    write16(packet, IPV4_TOTAL_LENGTH_OFFSET, packet.length)
    // Without an identification, a packet must not be fragmented (RFC 6864 section 4.1).
    write16(packet, IPV4_FRAGMENT_OFFSET, IPV4_DONT_FRAGMENT)
    packet[IPV4_TTL_OFFSET] = hopLimit
    packet[IPV4_PROTOCOL_OFFSET] = protocol
    packet.set(source, IPV4_SOURCE_OFFSET)
    packet.set(destination, IPV4_DESTINATION_OFFSET)
    write16(packet, IPV4_CHECKSUM_OFFSET, internetChecksum(packet, 0, IPV4_HEADER_LENGTH))
    return packet
  }
  packet[0] = 0x60
  write16(packet, IPV6_PAYLOAD_LENGTH_OFFSET, upperLength)
  packet[IPV6_NEXT_HEADER_OFFSET] = protocol
  packet[IPV6_HOP_LIMIT_OFFSET] = hopLimit
  packet.set(source, IPV6_SOURCE_OFFSET)
  packet.set(destination, IPV6_DESTINATION_OFFSET)
  return packet
}
