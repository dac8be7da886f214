/**
 * ICMP errors about datagrams of ours, as Linux hands them out: the error queue of a socket (ip(7), IP_RECVERR), with the
 * type, the code and the address of whoever sent them. Nobody authenticates any of it (RFC 7296 section 2.4).
 * @module
 */
import type { MessageHeader } from '../native/message-header.ts'
import { decodeSockaddr } from '../native/sockaddr.ts'
import { addressFromBytes } from '../wire/address.ts'

/** `struct sock_extended_err`, behind which the offender's `struct sockaddr` follows. */
const EXTENDED_ERROR_LENGTH = 16
const Origin = { LOCAL: 1, ICMP: 2, ICMP6: 3 } as const

export interface IcmpError {
  readonly family: 4 | 6
  readonly type: number
  readonly code: number
  /** Stable name, such as `port-unreachable`. */
  readonly name: string
  /** Who sent it; null where the kernel does not tell. */
  readonly from: string | null
  /** "Too big" only: what fits, in bytes of IP packet. */
  readonly mtu: number | undefined
  readonly errno: number
}

/** Destination unreachable (RFC 792, RFC 1122 section 3.2.2.1, RFC 1812 section 5.2.7.1), by code. */
const UNREACHABLE_V4: readonly string[] = [
  'network-unreachable',
  'host-unreachable',
  'protocol-unreachable',
  'port-unreachable',
  'too-big',
  'source-route-failed',
  'network-unknown',
  'host-unknown',
  'source-isolated',
  'network-prohibited',
  'host-prohibited',
  'network-unreachable-for-tos',
  'host-unreachable-for-tos',
  'administratively-prohibited',
  'host-precedence-violation',
  'precedence-cutoff'
]
/** RFC 4443 section 3.1, by code. */
const UNREACHABLE_V6: readonly string[] = [
  'network-unreachable',
  'administratively-prohibited',
  'beyond-scope',
  'host-unreachable',
  'port-unreachable',
  'source-address-refused',
  'route-rejected'
]

export function icmpErrorName(family: 4 | 6, type: number, code: number): string {
  const unknown = `icmp-${type}-${code}`
  if (family === 4) {
    if (type === 3) return UNREACHABLE_V4[code] ?? unknown
    return type === 11 ? 'time-exceeded' : unknown
  }
  if (type === 1) return UNREACHABLE_V6[code] ?? unknown
  return type === 2 ? 'too-big' : type === 3 ? 'time-exceeded' : unknown
}

/** The kernel itself refused: what would have fitted. */
export interface LocalError {
  readonly name: 'local'
  readonly errno: number
  /** MTU of the route or of the device, in bytes of IP packet. */
  readonly mtu: number
}

/**
 * @param at offset in `header.control` of the extended error
 * @returns undefined when the error comes from elsewhere (time stamps and the like)
 */
export function decodeQueuedError(header: MessageHeader, at: number): IcmpError | LocalError | undefined {
  const { control } = header
  if (at + EXTENDED_ERROR_LENGTH > control.length) return undefined
  const errno = control.readUInt32LE(at)
  const origin = control.readUInt8(at + 4)
  if (origin === Origin.LOCAL) return { name: 'local', errno, mtu: control.readUInt32LE(at + 8) }
  if (origin !== Origin.ICMP && origin !== Origin.ICMP6) return undefined
  const family = origin === Origin.ICMP ? 4 : 6
  const type = control.readUInt8(at + 5)
  const code = control.readUInt8(at + 6)
  const name = icmpErrorName(family, type, code)
  const offender = decodeSockaddr(control, at + EXTENDED_ERROR_LENGTH)
  return {
    family,
    type,
    code,
    name,
    from: offender === undefined ? null : addressFromBytes(offender.address),
    mtu: name === 'too-big' ? control.readUInt32LE(at + 8) : undefined,
    errno
  }
}
