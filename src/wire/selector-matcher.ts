/**
 * Traffic selectors compiled for the packet path (RFC 4301 sections 4.4.1 and 5, RFC 7296 section 3.13.1).
 *
 * A packet passes when its local side is in one of the local selectors and its remote side in one of the remote
 * ones. For TCP, UDP and the like each side has its own port. For ICMP and the Mobility Header the "port" is the
 * message type and belongs to the sender's side alone (RFC 4301 section 4.4.1.3). What has no known port, such as a
 * fragment after the first, is only passed by ANY and OPAQUE ports. Nothing is allocated for a packet.
 * @module
 */
import type { TrafficSelector } from './ike-message.ts'
import {
  findUpperLayer,
  hasPorts,
  IPV4_DESTINATION_OFFSET,
  IPV4_SOURCE_OFFSET,
  IPV6_DESTINATION_OFFSET,
  IPV6_SOURCE_OFFSET,
  IpProtocol,
  ipPacketLength,
  read16,
  read32,
  upperOffset,
  upperProtocol
} from './ip.ts'

/** True when the packet at `buffer[offset, offset + length)` may travel in this direction. */
export type PacketMatcher = (buffer: Uint8Array, offset: number, length: number, outbound: boolean) => boolean

/** No port can be told: a later fragment, or a protocol without ports. */
const PORT_UNKNOWN = -1
/** Ports do not apply to this side: the receiver's side of an ICMP message. */
const PORT_IRRELEVANT = -2

/** Protocol, start and end port, then start and end address in 32-bit words. */
interface CompiledSelectors {
  readonly table: Uint32Array
  readonly count: number
  /** One of them selects every packet of the family. */
  readonly selectsAll: boolean
}

/**
 * Compiles the selectors of a Child SA, as seen from this end. Malformed packets, and those that are no IP at all,
 * match nothing.
 */
export function compileSelectors(
  localTs: readonly TrafficSelector[],
  remoteTs: readonly TrafficSelector[]
): PacketMatcher {
  const local4 = compileFamily(localTs, 4)
  const local6 = compileFamily(localTs, 6)
  const remote4 = compileFamily(remoteTs, 4)
  const remote6 = compileFamily(remoteTs, 6)
  const all4 = local4.selectsAll && remote4.selectsAll
  const all6 = local6.selectsAll && remote6.selectsAll

  return (buffer, offset, length, outbound) => {
    const packetLength = ipPacketLength(buffer, offset, length)
    if (packetLength < 0) return false
    const isIpv4 = buffer[offset]! >>> 4 === 4
    if (isIpv4 ? all4 : all6) return true
    const upper = findUpperLayer(buffer, offset, packetLength)
    if (upper < 0) return false
    const protocol = upperProtocol(upper)
    const sourcePort = senderPort(buffer, offset, packetLength, upper)
    const destinationPort = receiverPort(buffer, offset, packetLength, upper)
    const match = isIpv4 ? matches4 : matches6
    const source = offset + (isIpv4 ? IPV4_SOURCE_OFFSET : IPV6_SOURCE_OFFSET)
    const destination = offset + (isIpv4 ? IPV4_DESTINATION_OFFSET : IPV6_DESTINATION_OFFSET)
    const local = isIpv4 ? local4 : local6
    const remote = isIpv4 ? remote4 : remote6
    return (
      match(outbound ? local : remote, buffer, source, protocol, sourcePort) &&
      match(outbound ? remote : local, buffer, destination, protocol, destinationPort)
    )
  }
}

function compileFamily(selectors: readonly TrafficSelector[], family: 4 | 6): CompiledSelectors {
  const ofFamily = selectors.filter((selector) => selector.family === family)
  const words = ofFamily.flatMap((selector) => [
    selector.protocol,
    selector.startPort,
    selector.endPort,
    ...toWords(selector.startAddress),
    ...toWords(selector.endAddress)
  ])
  return { table: Uint32Array.from(words), count: ofFamily.length, selectsAll: ofFamily.some(selectsAll) }
}

function selectsAll(selector: TrafficSelector): boolean {
  return (
    selector.protocol === 0 &&
    selector.startPort === 0 &&
    selector.endPort === 0xffff &&
    selector.startAddress.every((byte) => byte === 0) &&
    selector.endAddress.every((byte) => byte === 0xff)
  )
}

function toWords(address: Uint8Array): number[] {
  return Array.from({ length: address.length / 4 }, (_, index) => read32(address, index * 4))
}

function senderPort(buffer: Uint8Array, offset: number, length: number, upper: number): number {
  const at = upperOffset(upper)
  if (at === 0) return PORT_UNKNOWN
  const protocol = upperProtocol(upper)
  // The first 16 bits: the source port, or ICMP's type and code.
  if (hasPorts(protocol) || protocol === IpProtocol.ICMP || protocol === IpProtocol.ICMPV6) {
    return at + 2 <= length ? read16(buffer, offset + at) : PORT_UNKNOWN
  }
  if (protocol === IpProtocol.MOBILITY) return at + 3 <= length ? buffer[offset + at + 2]! << 8 : PORT_UNKNOWN
  return PORT_UNKNOWN
}

function receiverPort(buffer: Uint8Array, offset: number, length: number, upper: number): number {
  const at = upperOffset(upper)
  if (at === 0) return PORT_UNKNOWN
  const protocol = upperProtocol(upper)
  if (hasPorts(protocol)) return at + 4 <= length ? read16(buffer, offset + at + 2) : PORT_UNKNOWN
  const isTyped =
    protocol === IpProtocol.ICMP || protocol === IpProtocol.ICMPV6 || protocol === IpProtocol.MOBILITY
  return isTyped ? PORT_IRRELEVANT : PORT_UNKNOWN
}

function matches4(
  set: CompiledSelectors,
  buffer: Uint8Array,
  at: number,
  protocol: number,
  port: number
): boolean {
  if (set.selectsAll) return true
  const address = read32(buffer, at)
  const table = set.table
  // Five words a selector; `!` because the table is exactly as long as `count` says.
  for (let row = 0, i = 0; row < set.count; row++, i += 5) {
    if (address < table[i + 3]! || address > table[i + 4]!) continue
    if (matchesPort(table, i, protocol, port)) return true
  }
  return false
}

function matches6(
  set: CompiledSelectors,
  buffer: Uint8Array,
  at: number,
  protocol: number,
  port: number
): boolean {
  if (set.selectsAll) return true
  // Eleven words a selector.
  for (let row = 0, i = 0; row < set.count; row++, i += 11) {
    if (compare6(buffer, at, set.table, i + 3) < 0 || compare6(buffer, at, set.table, i + 7) > 0) continue
    if (matchesPort(set.table, i, protocol, port)) return true
  }
  return false
}

function compare6(buffer: Uint8Array, at: number, table: Uint32Array, row: number): number {
  for (let word = 0; word < 4; word++) {
    const difference = read32(buffer, at + word * 4) - table[row + word]!
    if (difference !== 0) return difference
  }
  return 0
}

function matchesPort(table: Uint32Array, row: number, protocol: number, port: number): boolean {
  const wanted = table[row]!
  if (wanted !== 0 && wanted !== protocol) return false
  const start = table[row + 1]!
  const end = table[row + 2]!
  if (port >= 0) return port >= start && port <= end
  if (port === PORT_IRRELEVANT) return true
  return (start === 0 && end === 0xffff) || (start === 0xffff && end === 0)
}
