/**
 * One connected UDP socket through the C library: what Node's own datagrams lack is segmentation offload in both
 * directions, control over fragmentation, and the path MTU.
 *
 * Invariants: non-blocking; no method but `open` throws; results are byte counts, or errno negated.
 * @module
 */

import { checked, libc } from '../native/libc.ts'
import {
  AddressFamily,
  Errno,
  errnoName,
  IpOption,
  Ipv6Option,
  MessageFlag,
  MtuDiscover,
  SocketLevel,
  SocketOption,
  SocketType,
  UdpOption
} from '../native/libc-constants.ts'
import { addressOf, nativeBuffer } from '../native/memory.ts'
import { MessageHeader } from '../native/message-header.ts'
import { decodeSockaddr, encodeSockaddr, SOCKADDR_IN6_LENGTH } from '../native/sockaddr.ts'
import { type Facility, IN_USE, notInUse } from '../native/speedups.ts'
import { addressFromBytes, addressToBytes } from '../wire/address.ts'
import type { Endpoint } from '../wire/endpoint.ts'
import { TransportError } from './failure.ts'
import { decodeQueuedError, type IcmpError, type LocalError } from './icmp-error.ts'
import { ECN_CONTROL_LENGTH, type EcnControl, ecnControl, receivedEcn } from './udp-ecn.ts'

export interface UdpSocketOptions {
  readonly remote: Endpoint
  /** Port 0 is ephemeral. */
  readonly local?: Endpoint | undefined
  /** SO_BINDTODEVICE. */
  readonly interface?: string | undefined
  /** Wanted in each direction; the kernel's limit holds for those who may not force it. 0 leaves the default. */
  readonly bufferBytes: number
  /** SO_REUSEADDR: `local` may be in use by a listener that allows it; the kernel then routes by the peer's address. */
  readonly shareLocal?: boolean | undefined
}

const IPV4_UDP_OVERHEAD = 28
const IPV6_UDP_OVERHEAD = 48
/** `struct cmsghdr` and a value of up to 8 bytes. */
const SEGMENT_CONTROL_LENGTH = 24
/** What is received beside a datagram: UDP_GRO, the ECN field; or an ICMP error with the address of its sender. */
const RECEIVE_CONTROL_LENGTH = 128

export class UdpSocket {
  readonly fd: number
  readonly local: Endpoint
  /** Bytes of IP and UDP headers in front of a payload. */
  readonly overhead: number
  /** Length of the segments in what `receive` returned last; the whole of it when nothing was coalesced. */
  segmentLength = 0
  /** ECN field of what `receive` returned last (the kernel coalesces equals only); 0 unless `reportEcn` was called. */
  ecn = 0
  readonly #ipv6: boolean
  readonly #ecnControl: EcnControl
  #reportsEcn = false
  readonly #out = new MessageHeader(SEGMENT_CONTROL_LENGTH + ECN_CONTROL_LENGTH)
  readonly #in = new MessageHeader(RECEIVE_CONTROL_LENGTH)
  readonly #value = nativeBuffer(8)
  readonly #valueAddress = addressOf(this.#value)

  /** @throws SystemCallError, NativeUnavailableError, TransportError (not an IP address) */
  static open(options: UdpSocketOptions): UdpSocket {
    const remote = bytesOf(options.remote.address)
    const family = remote.length === 4 ? AddressFamily.INET : AddressFamily.INET6
    const type = SocketType.DGRAM | SocketType.NONBLOCK | SocketType.CLOEXEC
    const fd = checked('socket', libc().socket(family, type, 0))
    try {
      if (options.interface !== undefined) {
        const name = Buffer.concat([Buffer.from(options.interface), Buffer.alloc(1)])
        const device = nativeBuffer(name.length)
        device.set(name)
        const { SOCKET } = SocketLevel
        checked(
          'setsockopt',
          libc().setsockopt(fd, SOCKET, SocketOption.BINDTODEVICE, addressOf(device), name.length)
        )
      }
      if (options.shareLocal === true) {
        const { SOCKET } = SocketLevel
        const on = nativeBuffer(4)
        on.writeInt32LE(1)
        checked('setsockopt', libc().setsockopt(fd, SOCKET, SocketOption.REUSEADDR, addressOf(on), 4))
      }
      if (options.local !== undefined) {
        const local = encodeSockaddr({ address: bytesOf(options.local.address), port: options.local.port })
        checked('bind', libc().bind(fd, addressOf(local), local.length))
      }
      const peer = encodeSockaddr({ address: remote, port: options.remote.port })
      checked('connect', libc().connect(fd, addressOf(peer), peer.length))
      return new UdpSocket(fd, family === AddressFamily.INET6, options.bufferBytes)
    } catch (error) {
      libc().close(fd)
      throw error
    }
  }

  private constructor(fd: number, ipv6: boolean, bufferBytes: number) {
    this.fd = fd
    this.#ipv6 = ipv6
    this.#ecnControl = ecnControl(ipv6)
    this.overhead = ipv6 ? IPV6_UDP_OVERHEAD : IPV4_UDP_OVERHEAD
    this.local = localEndpoint(fd)
    if (bufferBytes > 0) {
      this.#setBuffer(SocketOption.RCVBUFFORCE, SocketOption.RCVBUF, bufferBytes)
      this.#setBuffer(SocketOption.SNDBUFFORCE, SocketOption.SNDBUF, bufferBytes)
    }
    this.#out.nameLength = 0
  }

  /** UDP_GRO. */
  enableCoalescing(): Facility {
    if (this.#set(SocketLevel.UDP, UdpOption.GRO, 1)) return IN_USE
    return notInUse(`the kernel refuses UDP_GRO (${errnoName(libc().errno())})`)
  }

  /** As granted; the kernel counts its own bookkeeping too, and doubles every figure for it. */
  get bufferBytes(): { readonly send: number; readonly receive: number } {
    return {
      send: this.#get(SocketLevel.SOCKET, SocketOption.SNDBUF) / 2,
      receive: this.#get(SocketLevel.SOCKET, SocketOption.RCVBUF) / 2
    }
  }

  /** From now on `receive` sets `ecn`; false where the kernel does not tell. */
  reportEcn(): boolean {
    this.#reportsEcn = this.#set(this.#ecnControl.level, this.#ecnControl.report, 1)
    return this.#reportsEcn
  }

  /**
   * Whether the kernel may fragment what is sent from now on. Where it may not (DF), a datagram larger than the path
   * MTU is refused with EMSGSIZE.
   */
  allowFragmentation(allowed: boolean): void {
    const value = allowed ? MtuDiscover.DONT : MtuDiscover.DO
    if (this.#ipv6) this.#set(SocketLevel.IPV6, Ipv6Option.MTU_DISCOVER, value)
    else this.#set(SocketLevel.IP, IpOption.MTU_DISCOVER, value)
  }

  /** From now on nothing is fragmented, and what the kernel has learnt of the path is no reason to refuse a datagram. */
  ignorePathMtu(): void {
    if (this.#ipv6) this.#set(SocketLevel.IPV6, Ipv6Option.MTU_DISCOVER, MtuDiscover.PROBE)
    else this.#set(SocketLevel.IP, IpOption.MTU_DISCOVER, MtuDiscover.PROBE)
  }

  /** From now on errors can be had from `takeQueuedError`, also those that a socket otherwise keeps to itself. */
  queueErrors(): void {
    if (this.#ipv6) this.#set(SocketLevel.IPV6, Ipv6Option.RECVERR, 1)
    else this.#set(SocketLevel.IP, IpOption.RECVERR, 1)
  }

  /** The oldest error that was not taken yet, an ICMP message or the kernel's own; undefined: none. */
  takeQueuedError(): IcmpError | LocalError | undefined {
    const level = this.#ipv6 ? SocketLevel.IPV6 : SocketLevel.IP
    const type = this.#ipv6 ? Ipv6Option.RECVERR : IpOption.RECVERR
    for (;;) {
      this.#in.setData(this.#valueAddress, 8)
      this.#in.prepareReceive()
      if (libc().recvmsg(this.fd, this.#in.address, MessageFlag.ERRQUEUE | MessageFlag.DONTWAIT) < 0)
        return undefined
      const at = this.#in.findControl(level, type)
      const error = at < 0 ? undefined : decodeQueuedError(this.#in, at)
      if (error !== undefined) return error
    }
  }

  /** What the kernel knows of the path, in bytes of IP packet; 0 when it does not tell. */
  pathMtu(): number {
    return this.#ipv6 ? this.#get(SocketLevel.IPV6, Ipv6Option.MTU) : this.#get(SocketLevel.IP, IpOption.MTU)
  }

  /** @param ecn ECN field of the IP header */
  send(address: number, length: number, ecn = 0): number {
    if (ecn !== 0) {
      this.#out.setData(address, length)
      this.#out.clearControl()
      return this.#sendMessage(ecn)
    }
    const result = libc().send(this.fd, address, length, 0)
    return result < 0 ? -libc().errno() : result
  }

  /**
   * One call for a run of datagrams of `segmentLength` bytes each (the last may be shorter): UDP_SEGMENT.
   * @param ecn ECN field of their IP headers
   */
  sendSegmented(address: number, length: number, segmentLength: number, ecn = 0): number {
    this.#out.setData(address, length)
    this.#out.clearControl()
    this.#out.addControl16(SocketLevel.UDP, UdpOption.SEGMENT, segmentLength)
    return this.#sendMessage(ecn)
  }

  #sendMessage(ecn: number): number {
    if (ecn !== 0) this.#out.addControl32(this.#ecnControl.level, this.#ecnControl.type, ecn)
    const result = libc().sendmsg(this.fd, this.#out.address, 0)
    return result < 0 ? -libc().errno() : result
  }

  /** Sets `segmentLength` and `ecn`. An empty datagram gives 0. */
  receive(address: number, capacity: number): number {
    this.#in.setData(address, capacity)
    this.#in.prepareReceive()
    const result = libc().recvmsg(this.fd, this.#in.address, 0)
    if (result < 0) return -libc().errno()
    const at = this.#in.findControl(SocketLevel.UDP, UdpOption.GRO)
    const segment = at < 0 ? result : this.#in.control.readInt32LE(at)
    this.segmentLength = segment > 0 ? segment : result
    if (this.#reportsEcn) this.ecn = receivedEcn(this.#in, this.#ecnControl)
    return result
  }

  /** Whence the datagram came that `receive` returned last (`struct sockaddr`). */
  get source(): Buffer {
    return this.#in.name
  }

  close(): void {
    libc().close(this.fd)
  }

  #setBuffer(force: number, ask: number, bytes: number): void {
    // Forcing needs CAP_NET_ADMIN; without it the kernel caps silently at net.core.rmem_max and wmem_max.
    if (!this.#set(SocketLevel.SOCKET, force, bytes)) this.#set(SocketLevel.SOCKET, ask, bytes)
  }

  #set(level: number, option: number, value: number): boolean {
    this.#value.writeInt32LE(value, 0)
    return libc().setsockopt(this.fd, level, option, this.#valueAddress, 4) === 0
  }

  #get(level: number, option: number): number {
    this.#value.writeInt32LE(0, 0)
    this.#value.writeUInt32LE(4, 4)
    const failed = libc().getsockopt(this.fd, level, option, this.#valueAddress, this.#valueAddress + 4) !== 0
    return failed ? 0 : this.#value.readInt32LE(0)
  }
}

/** Errors that a later call may not meet: nothing is wrong with the socket or the path. */
export function isTransient(errno: number): boolean {
  return errno === Errno.EAGAIN || errno === Errno.EINTR || errno === Errno.ENOBUFS || errno === Errno.ENOMEM
}

function localEndpoint(fd: number): Endpoint {
  const name = nativeBuffer(SOCKADDR_IN6_LENGTH + 4)
  name.writeUInt32LE(SOCKADDR_IN6_LENGTH, SOCKADDR_IN6_LENGTH)
  const address = addressOf(name)
  checked('getsockname', libc().getsockname(fd, address, address + SOCKADDR_IN6_LENGTH))
  const decoded = decodeSockaddr(name)
  if (decoded === undefined) throw new TransportError('io-error', 'The local address is of an unknown family')
  return { address: addressFromBytes(decoded.address), port: decoded.port }
}

function bytesOf(address: string): Uint8Array {
  const bytes = addressToBytes(address)
  if (bytes === undefined) throw new TransportError('io-error', `${address} is not an IP address`)
  return bytes
}
