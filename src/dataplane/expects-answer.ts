/**
 * Would a living peer answer this inner packet? True for TCP, echo requests and DNS queries: what is sent without an
 * answer for a while says something about the path. Allocation-free; looks at plain headers only.
 * @module
 */
const PROTOCOL_ICMP = 1
const PROTOCOL_TCP = 6
const PROTOCOL_UDP = 17
const PROTOCOL_ICMPV6 = 58
const ECHO_REQUEST = 8
const ECHO_REQUEST_V6 = 128
const DNS_PORT = 53
const TCP_RST = 0x04
const IPV6_HEADER_LENGTH = 40

/** `buffer[offset, offset + length)` is a sound IP packet. */
export function expectsAnswer(buffer: Uint8Array, offset: number, length: number): boolean {
  const first = buffer[offset] ?? 0
  const isIpv4 = first >>> 4 === 4
  const headerLength = isIpv4 ? (first & 0x0f) * 4 : IPV6_HEADER_LENGTH
  const protocol = buffer[offset + (isIpv4 ? 9 : 6)]
  const at = offset + headerLength
  const left = length - headerLength
  switch (protocol) {
    case PROTOCOL_TCP:
      return left >= 20 && ((buffer[at + 13] ?? 0) & TCP_RST) === 0
    case PROTOCOL_UDP:
      return left >= 8 && buffer[at + 2] === 0 && buffer[at + 3] === DNS_PORT
    case PROTOCOL_ICMP:
      return isIpv4 && left >= 8 && buffer[at] === ECHO_REQUEST
    case PROTOCOL_ICMPV6:
      return !isIpv4 && left >= 8 && buffer[at] === ECHO_REQUEST_V6
    default:
      return false
  }
}
