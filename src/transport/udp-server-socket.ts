/**
 * One unconnected UDP socket of a server: tells of each datagram who sent it and to which of our addresses, and
 * answers from that address.
 *
 * Invariants: non-blocking; no method but `open` throws; results are byte counts, or errno negated.
 * @module
 */
import { checked, libc } from '../native/libc.ts'
import {
  AddressFamily,
  IpOption,
  Ipv6Option,
  MtuDiscover,
  SocketLevel,
  SocketOption,
  SocketType,
  UdpOption
} from '../native/libc-constants.ts'
import { addressOf, nativeBuffer } from '../native/memory.ts'
import { MessageHeader } from '../native/message-header.ts'
import {
  decodeSockaddr,
  encodeSockaddr,
  SOCKADDR_IN_LENGTH,
  SOCKADDR_IN6_LENGTH
} from '../native/sockaddr.ts'
import { type EcnControl, ecnControl, receivedEcn } from './udp-ecn.ts'

export interface UdpServerSocketOptions {
  /** 4 or 16 bytes; all zeros: every address of the family. */
  readonly address: Uint8Array
  /** 0 is ephemeral. */
  readonly port: number
  /** UDP_GRO. */
  readonly coalesce: boolean
  /** Wanted for receiving; the kernel's limit holds for those who may not force it. */
  readonly bufferBytes: number
}

/** Where the local address stands in `struct in_pktinfo` and `struct in6_pktinfo`, and how long these are. */
const PACKET_INFO = {
  4: { level: SocketLevel.IP, type: IpOption.PKTINFO, addressAt: 4, addressLength: 4, length: 12 },
  6: { level: SocketLevel.IPV6, type: Ipv6Option.PKTINFO, addressAt: 0, addressLength: 16, length: 20 }
} as const

export class UdpServerSocket {
  readonly fd: number
  readonly port: number
  /** Length of the segments in what `receive` returned last. */
  segmentLength = 0
  /** ECN field of what `receive` returned last. */
  ecn = 0
  readonly #address: Uint8Array
  readonly #info: (typeof PACKET_INFO)[4 | 6]
  readonly #ecnControl: EcnControl
  readonly #out = new MessageHeader(64)
  readonly #in = new MessageHeader(128)
  readonly #packetInfo: Buffer
  readonly #value = nativeBuffer(4)
  readonly #valueAddress = addressOf(this.#value)

  /** @throws SystemCallError, NativeUnavailableError */
  static open(options: UdpServerSocketOptions): UdpServerSocket {
    const ipv6 = options.address.length === 16
    const type = SocketType.DGRAM | SocketType.NONBLOCK | SocketType.CLOEXEC
    const family = ipv6 ? AddressFamily.INET6 : AddressFamily.INET
    const fd = checked('socket', libc().socket(family, type, 0))
    try {
      const socket = new UdpServerSocket(fd, options)
      socket.#configure(options)
      return socket
    } catch (error) {
      libc().close(fd)
      throw error
    }
  }

  private constructor(fd: number, options: UdpServerSocketOptions) {
    const { address } = options
    this.fd = fd
    this.#address = address
    this.#info = PACKET_INFO[address.length === 4 ? 4 : 6]
    this.#packetInfo = Buffer.alloc(this.#info.length)
    const ipv6 = address.length === 16
    this.#ecnControl = ecnControl(ipv6)
    if (ipv6) this.#set(SocketLevel.IPV6, Ipv6Option.V6ONLY, 1)
    const sockaddr = encodeSockaddr({ address, port: options.port })
    checked('bind', libc().bind(fd, addressOf(sockaddr), sockaddr.length))
    this.port = boundPort(fd)
  }

  #configure({ coalesce, bufferBytes }: UdpServerSocketOptions): void {
    const ipv6 = this.#address.length === 16
    if (ipv6) this.#set(SocketLevel.IPV6, Ipv6Option.RECVPKTINFO, 1)
    else this.#set(SocketLevel.IP, IpOption.PKTINFO, 1)
    // IKE may be fragmented, and an ICMP error about one peer must not become a limit for another.
    if (ipv6) this.#set(SocketLevel.IPV6, Ipv6Option.MTU_DISCOVER, MtuDiscover.DONT)
    else this.#set(SocketLevel.IP, IpOption.MTU_DISCOVER, MtuDiscover.DONT)
    this.#set(this.#ecnControl.level, this.#ecnControl.report, 1)
    if (coalesce) this.#set(SocketLevel.UDP, UdpOption.GRO, 1)
    if (!this.#set(SocketLevel.SOCKET, SocketOption.RCVBUFFORCE, bufferBytes))
      this.#set(SocketLevel.SOCKET, SocketOption.RCVBUF, bufferBytes)
  }

  /** Sets `segmentLength` and `ecn`; `senderKey`, `sender` and `localAddress` then speak of this datagram. */
  receive(address: number, capacity: number): number {
    this.#in.setData(address, capacity)
    this.#in.prepareReceive()
    const result = libc().recvmsg(this.fd, this.#in.address, 0)
    if (result < 0) return -libc().errno()
    const at = this.#in.findControl(SocketLevel.UDP, UdpOption.GRO)
    const segment = at < 0 ? result : this.#in.control.readInt32LE(at)
    this.segmentLength = segment > 0 ? segment : result
    this.ecn = receivedEcn(this.#in, this.#ecnControl)
    return result
  }

  /** The same for all datagrams between the same two addresses and ports, and different for others. */
  get senderKey(): string {
    const { control } = this.#in
    const at = this.#localAt()
    const local = at < 0 ? '' : control.toString('latin1', at, at + this.#info.addressLength)
    return this.#in.name.toString('latin1', 0, this.#in.nameLength) + local
  }

  /** `struct sockaddr` of the sender, a copy. */
  get sender(): Buffer {
    return Buffer.from(this.#in.name.subarray(0, this.#in.nameLength))
  }

  /** Our address that the datagram was sent to, a copy. */
  get localAddress(): Uint8Array {
    const at = this.#localAt()
    if (at < 0) return this.#address
    return Uint8Array.from(this.#in.control.subarray(at, at + this.#info.addressLength))
  }

  /** @param to `struct sockaddr` @param from one of our addresses */
  send(address: number, length: number, to: Uint8Array, from: Uint8Array): number {
    const { level, type, addressAt } = this.#info
    this.#out.name.set(to)
    this.#out.nameLength = to.length
    this.#out.setData(address, length)
    this.#out.clearControl()
    this.#packetInfo.fill(0)
    this.#packetInfo.set(from, addressAt)
    this.#out.addControl(level, type, this.#packetInfo)
    const result = libc().sendmsg(this.fd, this.#out.address, 0)
    return result < 0 ? -libc().errno() : result
  }

  /**
   * While `open` runs, another socket may be bound to the same address and port. At all other times that is refused, so
   * that no other program can take datagrams away.
   */
  whileShared<T>(open: () => T): T {
    this.#set(SocketLevel.SOCKET, SocketOption.REUSEADDR, 1)
    try {
      return open()
    } finally {
      this.#set(SocketLevel.SOCKET, SocketOption.REUSEADDR, 0)
    }
  }

  close(): void {
    libc().close(this.fd)
  }

  #localAt(): number {
    const { level, type, addressAt } = this.#info
    const at = this.#in.findControl(level, type)
    return at < 0 ? -1 : at + addressAt
  }

  #set(level: number, option: number, value: number): boolean {
    this.#value.writeInt32LE(value, 0)
    return libc().setsockopt(this.fd, level, option, this.#valueAddress, 4) === 0
  }
}

function boundPort(fd: number): number {
  const name = nativeBuffer(SOCKADDR_IN6_LENGTH + 4)
  name.writeUInt32LE(SOCKADDR_IN6_LENGTH, SOCKADDR_IN6_LENGTH)
  const address = addressOf(name)
  checked('getsockname', libc().getsockname(fd, address, address + SOCKADDR_IN6_LENGTH))
  return decodeSockaddr(name)?.port ?? 0
}

/** Do both name the same address and port? */
export function sameSockaddr(a: Buffer, b: Buffer): boolean {
  const length = a.readUInt16LE(0) === AddressFamily.INET ? SOCKADDR_IN_LENGTH : SOCKADDR_IN6_LENGTH
  // Family, port and IPv4 address; for IPv6 the flow label in between is nobody's identity.
  if (length === SOCKADDR_IN_LENGTH) return a.compare(b, 0, 8, 0, 8) === 0
  return a.compare(b, 0, 4, 0, 4) === 0 && a.compare(b, 8, 24, 8, 24) === 0
}
