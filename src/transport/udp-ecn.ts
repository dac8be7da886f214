/**
 * The ECN field of outer IP headers (RFC 3168 section 5) as ancillary data of datagrams: IP_TOS and IPV6_TCLASS.
 *
 * Nothing but these two bits ever crosses the tunnel: DSCP outside is 0, and DSCP that comes is not looked at (RFC 4301
 * section 5.1.2 leaves both to policy; copying would show everybody outside what kind of traffic is inside). Set per
 * datagram and not on the socket: each change there makes the kernel forget route and path MTU until the next datagram.
 * @module
 */
import { IpOption, Ipv6Option, SocketLevel } from '../native/libc-constants.ts'
import type { MessageHeader } from '../native/message-header.ts'

/** `struct cmsghdr` and a value of up to 8 bytes. */
export const ECN_CONTROL_LENGTH = 24
const ECN_MASK = 3

/** Where the field is for one address family: `type` for each datagram, `report` to be told of it. */
export interface EcnControl {
  readonly level: number
  readonly type: number
  readonly report: number
}

const IPV4: EcnControl = { level: SocketLevel.IP, type: IpOption.TOS, report: IpOption.RECVTOS }
const IPV6: EcnControl = { level: SocketLevel.IPV6, type: Ipv6Option.TCLASS, report: Ipv6Option.RECVTCLASS }

export function ecnControl(ipv6: boolean): EcnControl {
  return ipv6 ? IPV6 : IPV4
}

/** The field of what was received last, 0..3; 0 when the kernel did not tell. */
export function receivedEcn(header: MessageHeader, { level, type }: EcnControl): number {
  const at = header.findControl(level, type)
  // One byte on IPv4, an int on IPv6: the lowest byte comes first in both.
  return at < 0 ? 0 : (header.control[at] ?? 0) & ECN_MASK
}
