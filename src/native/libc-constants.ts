/**
 * Numbers of the Linux ABI, as x64 and arm64 have them (both little-endian, both with the generic ioctl layout).
 * @module
 */

/** Flags of `open` that are the same on both architectures. */
export const OpenFlag = { RDONLY: 0, WRONLY: 1, RDWR: 2, NONBLOCK: 0o4000, CLOEXEC: 0o2000000 } as const

export const AddressFamily = { UNIX: 1, INET: 2, INET6: 10, NETLINK: 16, PACKET: 17 } as const

/** Types of `socket`, to be combined with `NONBLOCK` and `CLOEXEC`. */
export const SocketType = { STREAM: 1, DGRAM: 2, RAW: 3, NONBLOCK: 0o4000, CLOEXEC: 0o2000000 } as const

/** Levels of `setsockopt`. */
export const SocketLevel = { SOCKET: 1, IP: 0, TCP: 6, UDP: 17, IPV6: 41 } as const

export const SocketOption = {
  REUSEADDR: 2,
  ERROR: 4,
  SNDBUF: 7,
  RCVBUF: 8,
  REUSEPORT: 15,
  PEERCRED: 17,
  BINDTODEVICE: 25,
  SNDBUFFORCE: 32,
  RCVBUFFORCE: 33,
  MARK: 36
} as const

/** Options of level IP. */
export const IpOption = {
  TOS: 1,
  PKTINFO: 8,
  MTU_DISCOVER: 10,
  RECVERR: 11,
  RECVTOS: 13,
  MTU: 14,
  BIND_ADDRESS_NO_PORT: 24
} as const

/** Options of level IPV6. */
export const Ipv6Option = {
  MTU_DISCOVER: 23,
  MTU: 24,
  RECVERR: 25,
  V6ONLY: 26,
  RECVPKTINFO: 49,
  PKTINFO: 50,
  DONTFRAG: 62,
  RECVTCLASS: 66,
  TCLASS: 67
} as const

/** Values of `IpOption.MTU_DISCOVER` and `Ipv6Option.MTU_DISCOVER`. */
export const MtuDiscover = { DONT: 0, WANT: 1, DO: 2, PROBE: 3, INTERFACE: 4, OMIT: 5 } as const

/** Options of level UDP. */
export const UdpOption = { SEGMENT: 103, GRO: 104 } as const

/** Options of level TCP. */
export const TcpOption = {
  NODELAY: 1,
  MAXSEG: 2,
  INFO: 11,
  CONGESTION: 13,
  USER_TIMEOUT: 18,
  NOTSENT_LOWAT: 25
} as const

/** Flags of `send`, `recv` and their relatives. */
export const MessageFlag = {
  PEEK: 0x2,
  CTRUNC: 0x8,
  TRUNC: 0x20,
  DONTWAIT: 0x40,
  ERRQUEUE: 0x2000,
  NOSIGNAL: 0x4000
} as const

/** Directions of `shutdown`. */
export const Shutdown = { READ: 0, WRITE: 1, BOTH: 2 } as const

/** Commands of `fcntl`. */
export const FileControl = { DUPFD_CLOEXEC: 1030 } as const

export const EpollEvent = { IN: 0x1, OUT: 0x4, ERR: 0x8, HUP: 0x10, RDHUP: 0x2000 } as const
export const EpollOp = { ADD: 1, DEL: 2, MOD: 3 } as const
export const EPOLL_CLOEXEC = 0o2000000
export const EventfdFlag = { CLOEXEC: 0o2000000, NONBLOCK: 0o4000 } as const
export const TimerfdFlag = { CLOEXEC: 0o2000000, NONBLOCK: 0o4000 } as const
export const CLOCK_MONOTONIC = 1

/** Kinds of namespaces for `setns` and `unshare`. */
export const CloneFlag = {
  NEWNS: 0x20000,
  NEWUTS: 0x4000000,
  NEWUSER: 0x10000000,
  NEWNET: 0x40000000
} as const

/** The error numbers that this program tells apart. */
export const Errno = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  EMFILE: 24,
  EPIPE: 32,
  EPROTO: 71,
  EMSGSIZE: 90,
  ENOPROTOOPT: 92,
  EOPNOTSUPP: 95,
  EAFNOSUPPORT: 97,
  EADDRINUSE: 98,
  EADDRNOTAVAIL: 99,
  ENETDOWN: 100,
  ENETUNREACH: 101,
  ECONNRESET: 104,
  ENOBUFS: 105,
  ETIMEDOUT: 110,
  ECONNREFUSED: 111,
  EHOSTDOWN: 112,
  EHOSTUNREACH: 113,
  EINPROGRESS: 115
} as const

const names: ReadonlyMap<number, string> = new Map(
  Object.entries(Errno).map(([name, number]) => [number, name])
)

/** `EAGAIN` and so on; `errno 77` for a number without a name here. */
export function errnoName(errno: number): string {
  return names.get(errno) ?? `errno ${errno}`
}
