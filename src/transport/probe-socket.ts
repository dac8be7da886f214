/**
 * A UDP socket for asking questions: one peer, datagrams with and without fragmentation, and every ICMP error with its
 * sender. Where the C library cannot be called, Node's own datagrams, which tell of port-unreachable alone.
 *
 * Invariant: nothing is thrown after opening, and nothing is told after `close`.
 * @module
 */
import { createSocket, type Socket } from 'node:dgram'
import { isIPv6 } from 'node:net'
import { NativeUnavailableError } from '../native/libc.ts'
import { Errno, errnoName } from '../native/libc-constants.ts'
import { addressOf, nativeBuffer } from '../native/memory.ts'
import { type Watch, watch } from '../native/poller.ts'
import type { Endpoint } from '../wire/endpoint.ts'
import { failureOf, formatEndpoint, systemCode, wrapSystemError } from './failure.ts'
import type { IcmpError } from './icmp-error.ts'
import { plainAddress } from './plain-address.ts'
import type { TransportFailure } from './types.ts'
import { isTransient, UdpSocket } from './udp-socket.ts'

export interface ProbeSocketOptions {
  readonly remote: Endpoint
  /** Local address and port, shared with other sockets of this kind; absent: the kernel chooses. */
  readonly local?: Endpoint | undefined
}

/** How a datagram may travel: in one piece or not at all, or in fragments if need be. */
export type Fragmentation = 'never' | 'allowed'

export interface ProbeSocketHandlers {
  /** The bytes are only valid during the call. */
  onDatagram(bytes: Uint8Array): void
  /** Nothing came through, and somebody says so; or the system refused to send. */
  onError(failure: TransportFailure, icmp: IcmpError | undefined): void
}

export interface ProbeSocket {
  readonly local: Endpoint
  readonly remote: Endpoint
  /** Bytes of IP and UDP header. */
  readonly overhead: number
  /** MTU of the own link on this path, in bytes of IP packet. */
  readonly linkMtu: number
  setHandlers(handlers: ProbeSocketHandlers): void
  /** @returns false when the datagram is too long for the own link */
  send(bytes: Uint8Array, fragmentation: Fragmentation): boolean
  close(): void
}

const RECEIVE_BYTES = 65_536
/** Largest IP packet; a link that takes so much (the loopback) is not asked for its limit. */
const MAX_DATAGRAM_BYTES = 65_535
const IPV4_OVERHEAD = 28
const IPV6_OVERHEAD = 48
/** When the kernel does not tell: Ethernet. */
const ASSUMED_MTU = 1500

/** @throws TransportError */
export async function openProbeSocket(options: ProbeSocketOptions): Promise<ProbeSocket> {
  try {
    return new NativeProbeSocket(options)
  } catch (error) {
    if (error instanceof NativeUnavailableError) return openDatagramProbe(options)
    throw wrapSystemError(error, nameOf(options.remote), true)
  }
}

function nameOf({ address, port }: Endpoint): string {
  return `${formatEndpoint(address, port)} over UDP`
}

function anyPort(address: string): Endpoint {
  return { address: isIPv6(address) ? '::' : '0.0.0.0', port: 0 }
}

class NativeProbeSocket implements ProbeSocket {
  readonly local: Endpoint
  readonly remote: Endpoint
  readonly overhead: number
  readonly linkMtu: number
  readonly #socket: UdpSocket
  readonly #buffer = nativeBuffer(RECEIVE_BYTES)
  readonly #address = addressOf(this.#buffer)
  #watch: Watch | undefined
  #handlers: ProbeSocketHandlers | undefined
  #closed = false

  constructor({ remote, local }: ProbeSocketOptions) {
    this.remote = remote
    const socket = UdpSocket.open({
      remote,
      local: local ?? anyPort(remote.address),
      shareLocal: true,
      bufferBytes: 0
    })
    this.#socket = socket
    this.local = socket.local
    this.overhead = socket.overhead
    socket.queueErrors()
    this.linkMtu = this.#measureLink()
  }

  setHandlers(handlers: ProbeSocketHandlers): void {
    this.#handlers = handlers
    this.#watch ??= watch(this.#socket.fd, { readable: true }, () => this.#ready())
  }

  send(bytes: Uint8Array, fragmentation: Fragmentation): boolean {
    if (this.#closed) return true
    if (fragmentation === 'allowed') this.#socket.allowFragmentation(true)
    else this.#socket.ignorePathMtu()
    const message = nativeBuffer(bytes.length)
    message.set(bytes)
    // A pending ICMP error is reported instead of sending; the second call then sends.
    for (let attempt = 0; attempt < 2 && !this.#closed; attempt++) {
      const result = this.#socket.send(addressOf(message), bytes.length)
      if (result >= 0 || isTransient(-result)) return true
      // Too long for the own link; unless it is a router that once said so about another datagram.
      if (-result === Errno.EMSGSIZE && !this.#tellIcmp()) return false
      if (-result !== Errno.EMSGSIZE) this.#failed(-result)
    }
    return true
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#watch?.close()
    this.#socket.close()
  }

  /**
   * What was learnt of the path earlier is what is to be found out here; the device's own MTU is told to whoever sends more
   * than that, and nothing leaves.
   */
  #measureLink(): number {
    const known = this.#socket.pathMtu()
    if (known === 0) return ASSUMED_MTU
    this.#socket.ignorePathMtu()
    if (known >= MAX_DATAGRAM_BYTES) return known
    this.#socket.send(this.#address, MAX_DATAGRAM_BYTES - this.overhead)
    const error = this.#socket.takeQueuedError()
    return error !== undefined && !('type' in error) ? error.mtu : known
  }

  #ready(): void {
    while (!this.#closed) {
      const length = this.#socket.receive(this.#address, RECEIVE_BYTES)
      if (length >= 0) this.#handlers?.onDatagram(this.#buffer.subarray(0, length))
      else if (-length === Errno.EAGAIN) break
      else if (!isTransient(-length)) this.#failed(-length)
    }
    // An error may stand in the queue alone, after the socket's own error was taken.
    this.#tellIcmp()
  }

  #failed(errno: number): void {
    if (this.#tellIcmp() || errno === Errno.EMSGSIZE) return
    this.#handlers?.onError(failureOf(errnoName(errno), nameOf(this.remote), true), undefined)
  }

  #tellIcmp(): boolean {
    let told = false
    for (let error = this.#takeIcmp(); error !== undefined; error = this.#takeIcmp()) {
      told = true
      this.#handlers?.onError(failureOf(errnoName(error.errno), nameOf(this.remote), true), error)
    }
    return told
  }

  #takeIcmp(): IcmpError | undefined {
    for (;;) {
      const error = this.#closed ? undefined : this.#socket.takeQueuedError()
      if (error === undefined || 'type' in error) return error
    }
  }
}

async function openDatagramProbe(options: ProbeSocketOptions): Promise<ProbeSocket> {
  const { remote } = options
  const local = options.local ?? anyPort(remote.address)
  const socket = createSocket({ type: isIPv6(remote.address) ? 'udp6' : 'udp4', reuseAddr: true })
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject)
      socket.bind(local.port, local.address, () => socket.connect(remote.port, remote.address, resolve))
    })
  } catch (error) {
    socket.close()
    throw wrapSystemError(error, nameOf(remote), true)
  }
  socket.removeAllListeners('error')
  socket.on('error', () => undefined)
  return new DatagramProbeSocket(socket, remote)
}

class DatagramProbeSocket implements ProbeSocket {
  readonly local: Endpoint
  readonly remote: Endpoint
  readonly overhead: number
  readonly linkMtu = ASSUMED_MTU
  readonly #socket: Socket
  #handlers: ProbeSocketHandlers | undefined
  #closed = false

  constructor(socket: Socket, remote: Endpoint) {
    this.#socket = socket
    this.remote = remote
    this.overhead = isIPv6(remote.address) ? IPV6_OVERHEAD : IPV4_OVERHEAD
    const { address, port } = socket.address()
    this.local = { address: plainAddress(address), port }
  }

  setHandlers(handlers: ProbeSocketHandlers): void {
    const first = this.#handlers === undefined
    this.#handlers = handlers
    if (!first) return
    this.#socket.on('message', (bytes) => this.#handlers?.onDatagram(bytes))
    this.#socket.on('error', (error) => this.#failed(error))
  }

  /** Node leaves fragmentation to the kernel: in one piece where it fits, else in fragments. */
  send(bytes: Uint8Array, fragmentation: Fragmentation): boolean {
    if (this.#closed) return true
    if (fragmentation === 'never' && bytes.length + this.overhead > this.linkMtu) return false
    this.#socket.send(Uint8Array.from(bytes), (error) => {
      if (error !== null) this.#failed(error)
    })
    return true
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#socket.close()
  }

  #failed(error: unknown): void {
    if (this.#closed) return
    this.#handlers?.onError(failureOf(systemCode(error), nameOf(this.remote), true), undefined)
  }
}
