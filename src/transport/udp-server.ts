/**
 * UDP as a responder has it (RFC 7296 section 2.23, RFC 3948): listeners for plain IKE and for NAT traversal on each
 * local address, and a connected socket of its own for each peer that was authenticated.
 *
 * Invariants: descriptors grow with `adopt` only; what a stranger sends costs one entry of a bounded table at most;
 * answers leave from the address that was asked.
 * @module
 */
import { SystemError } from '../errors.ts'
import { SystemCallError } from '../native/libc.ts'
import { Errno } from '../native/libc-constants.ts'
import { addressOf, nativeBuffer } from '../native/memory.ts'
import { type Watch, watch } from '../native/poller.ts'
import {
  decodeSockaddr,
  encodeSockaddr,
  SOCKADDR_IN_LENGTH,
  SOCKADDR_IN6_LENGTH
} from '../native/sockaddr.ts'
import { addressFromBytes, addressToBytes } from '../wire/address.ts'
import type { Endpoint, Path } from '../wire/endpoint.ts'
import { classifyDatagram, DatagramKind, NON_ESP_MARKER_LENGTH } from '../wire/non-esp-marker.ts'
import { formatEndpoint } from './failure.ts'
import { RECEIVE_BYTES, receiveMemory } from './receive-memory.ts'
import { DEFAULT_UDP_BUFFER_BYTES, type SocketSettings } from './socket-settings.ts'
import type { Transport } from './types.ts'
import { coalescingWanted } from './udp-offload.ts'
import { UdpPathTable, UdpServerPath } from './udp-server-path.ts'
import { UdpPeer } from './udp-server-peer.ts'
import { UdpServerSocket } from './udp-server-socket.ts'
import { isTransient } from './udp-socket.ts'

export interface UdpServerOptions {
  /** Local addresses; none: all of both families. */
  readonly addresses: readonly string[]
  readonly ikePort: number
  /** The same as `ikePort` (other than 0): everything on one socket, with the marker from the start. */
  readonly natTPort: number
  readonly sockets?: SocketSettings | undefined
  /** False: never UDP_SEGMENT nor UDP_GRO. */
  readonly offload?: boolean | undefined
  /** Paths of strangers that are remembered. */
  readonly maxPaths?: number | undefined
}

/** What comes through the listeners; the sockets of adopted peers have handlers of their own. */
export interface UdpServerHandlers {
  /** The bytes are only valid during the call. */
  onIke(message: Uint8Array, path: Path): void
  /** See `TransportHandlers.onEsp`. */
  onEsp(buffer: Uint8Array, offset: number, length: number, path: Path, ecn: number): void
  onEspBatchEnd(): void
}

export const DEFAULT_MAX_PATHS = 8192
const READS_PER_EVENT = 32
const MAX_DATAGRAM_BYTES = 65_507

interface Listener {
  readonly socket: UdpServerSocket
  readonly bound: Endpoint
  readonly natT: boolean
  watch: Watch | undefined
}

class ListenerPath extends UdpServerPath {
  readonly listener: Listener
  peer: UdpPeer | undefined

  constructor(listener: Listener, key: string, sockaddr: Buffer, localAddress: Uint8Array) {
    const remote = decodeSockaddr(sockaddr)
    super(key, {
      sockaddr,
      localAddress,
      local: { address: addressFromBytes(localAddress), port: listener.socket.port },
      remote: { address: addressFromBytes(remote?.address ?? new Uint8Array(4)), port: remote?.port ?? 0 }
    })
    this.listener = listener
  }
}

export class UdpServer {
  readonly #listeners: Listener[] = []
  readonly #paths: UdpPathTable<ListenerPath>
  readonly #offload: boolean
  readonly #socketBufferBytes: number
  readonly #receiveBuffer = receiveMemory().buffer
  readonly #receiveAddress = receiveMemory().address
  readonly #sendBuffer = nativeBuffer(MAX_DATAGRAM_BYTES)
  readonly #sendAddress = addressOf(this.#sendBuffer)
  #handlers: UdpServerHandlers | undefined
  #closed = false
  /** Datagrams that were neither IKE nor ESP. */
  malformed = 0

  /** Binds all sockets, or none. @throws SystemError `listen-failed`, NativeUnavailableError */
  constructor(options: UdpServerOptions) {
    this.#offload = options.offload ?? true
    this.#socketBufferBytes = options.sockets?.bufferBytes ?? DEFAULT_UDP_BUFFER_BYTES
    this.#paths = new UdpPathTable(options.maxPaths ?? DEFAULT_MAX_PATHS)
    const { ikePort, natTPort } = options
    try {
      for (const address of wanted(options.addresses)) {
        if (ikePort !== natTPort || ikePort === 0) this.#listen(address, ikePort, false)
        this.#listen(address, natTPort, true)
      }
    } catch (error) {
      void this.close()
      throw error
    }
  }

  /** Where it listens. */
  get listening(): readonly (Endpoint & { readonly natT: boolean })[] {
    return this.#listeners.map(({ bound, natT }) => ({ ...bound, natT }))
  }

  /** Begins to receive. */
  setHandlers(handlers: UdpServerHandlers): void {
    this.#handlers = handlers
    for (const listener of this.#listeners)
      listener.watch ??= watch(listener.socket.fd, { readable: true }, () => this.#receive(listener))
  }

  /** Is this one of our paths? */
  owns(path: Path): boolean {
    return path instanceof ListenerPath
  }

  /** Can ESP travel on it? Not on the port of plain IKE. */
  carriesEsp(path: Path): boolean {
    return path instanceof ListenerPath && path.listener.natT
  }

  /**
   * The path between two ends that it has never heard from: another machine had the address before.
   * @returns undefined when nothing listens there for NAT traversal
   */
  pathBetween(local: Endpoint, remote: Endpoint): Path | undefined {
    const localAddress = addressToBytes(local.address)
    const remoteAddress = addressToBytes(remote.address)
    if (localAddress === undefined || remoteAddress?.length !== localAddress.length) return undefined
    const listener = this.#listeners.find(
      ({ natT, socket, bound }) =>
        natT && socket.port === local.port && isWithin(addressToBytes(bound.address), localAddress)
    )
    if (listener === undefined) return undefined
    const sockaddr = encodeSockaddr({ address: remoteAddress, port: remote.port })
    return this.#pathOf(listener, sockaddr, localAddress)
  }

  sendIke(message: Uint8Array, path: Path): void {
    if (!(path instanceof ListenerPath) || this.#closed) return
    if (path.peer !== undefined) {
      path.peer.sendIke(message, path)
      return
    }
    const { natT, socket } = path.listener
    const at = natT ? NON_ESP_MARKER_LENGTH : 0
    if (at + message.length > MAX_DATAGRAM_BYTES) return
    this.#sendBuffer.fill(0, 0, at)
    this.#sendBuffer.set(message, at)
    // What cannot be sent is lost like any datagram: the initiator asks again.
    socket.send(this.#sendAddress, at + message.length, path.sockaddr, path.localAddress)
  }

  /**
   * Gives the path a connected socket; the one that it has, if it was adopted before. One `release` closes it.
   * @throws SystemCallError when the system refuses another socket
   */
  adopt(path: Path): Transport | undefined {
    if (!(path instanceof ListenerPath) || !path.listener.natT || this.#closed) return undefined
    if (path.peer === undefined) {
      path.peer = path.listener.socket.whileShared(
        () =>
          new UdpPeer(path, {
            offload: this.#offload,
            socketBufferBytes: this.#socketBufferBytes,
            receiveBuffer: this.#receiveBuffer,
            onForeign: (sockaddr, length, segment, ecn) =>
              this.#onForeign(path, sockaddr, length, segment, ecn)
          })
      )
      this.#paths.keep(path)
    }
    return path.peer
  }

  /** The path goes on without a socket of its own. */
  release(path: Path): void {
    if (!(path instanceof ListenerPath) || path.peer === undefined) return
    const { peer } = path
    path.peer = undefined
    this.#paths.release(path)
    // It reads what it holds into the buffer whose contents may be in the caller's hands right now.
    setImmediate(() => void peer.close())
  }

  /** Closes everything; adopted sockets too. */
  close(): Promise<void> {
    if (this.#closed) return Promise.resolve()
    this.#closed = true
    for (const listener of this.#listeners) {
      listener.watch?.close()
      listener.socket.close()
    }
    for (const { peer } of this.#paths.kept) if (peer !== undefined) setImmediate(() => void peer.close())
    this.#paths.clear()
    return Promise.resolve()
  }

  #listen(address: Uint8Array, port: number, natT: boolean): void {
    const isAll = address.every((byte) => byte === 0)
    try {
      const socket = UdpServerSocket.open({
        address,
        port,
        coalesce: natT && coalescingWanted(this.#offload),
        bufferBytes: this.#socketBufferBytes
      })
      const bound = { address: addressFromBytes(address), port: socket.port }
      this.#listeners.push({ socket, bound, natT, watch: undefined })
    } catch (error) {
      // A machine without IPv6 listens on IPv4 alone.
      const noIpv6 = error instanceof SystemCallError && error.errno === Errno.EAFNOSUPPORT
      if (noIpv6 && isAll && address.length === 16) return
      throw listenError(address, port, error)
    }
  }

  #receive(listener: Listener): void {
    let espSeen = false
    for (let reads = 0; reads < READS_PER_EVENT && !this.#closed; reads++) {
      const { socket } = listener
      const length = socket.receive(this.#receiveAddress, RECEIVE_BYTES)
      if (length < 0) {
        if (isTransient(-length)) break
        continue
      }
      const path = this.#paths.of(
        `${socket.port}/${socket.senderKey}`,
        () =>
          new ListenerPath(listener, `${socket.port}/${socket.senderKey}`, socket.sender, socket.localAddress)
      )
      if (!listener.natT) this.#handlers?.onIke(this.#receiveBuffer.subarray(0, length), path)
      else if (this.#demultiplex(path, length, socket.segmentLength, socket.ecn)) espSeen = true
    }
    if (espSeen) this.#handlers?.onEspBatchEnd()
  }

  #demultiplex(path: Path, total: number, segment: number, ecn: number): boolean {
    let espSeen = false
    for (let at = 0; at < total && !this.#closed; at += segment) {
      const length = Math.min(segment, total - at)
      const kind = classifyDatagram(this.#receiveBuffer, at, length)
      if (kind === DatagramKind.ESP) {
        espSeen = true
        this.#handlers?.onEsp(this.#receiveBuffer, at, length, path, ecn)
      } else if (kind === DatagramKind.IKE)
        this.#handlers?.onIke(this.#receiveBuffer.subarray(at + NON_ESP_MARKER_LENGTH, at + length), path)
      else if (kind === DatagramKind.MALFORMED) this.malformed++
    }
    return espSeen
  }

  /** The same key as `UdpServerSocket.senderKey` gives a datagram. */
  #pathOf(listener: Listener, sockaddr: Buffer, localAddress: Uint8Array): ListenerPath {
    const key = `${listener.socket.port}/${sockaddr.toString('latin1')}${Buffer.from(localAddress).toString('latin1')}`
    return this.#paths.of(key, () => new ListenerPath(listener, key, sockaddr, localAddress))
  }

  /** Datagrams of another peer that a socket caught before it was connected. */
  #onForeign(caught: ListenerPath, sockaddr: Buffer, length: number, segment: number, ecn: number): void {
    const { listener, localAddress } = caught
    const end = localAddress.length === 4 ? SOCKADDR_IN_LENGTH : SOCKADDR_IN6_LENGTH
    const path = this.#pathOf(listener, Buffer.from(sockaddr.subarray(0, end)), localAddress)
    if (this.#demultiplex(path, length, segment, ecn)) this.#handlers?.onEspBatchEnd()
  }
}

/** Does a socket bound to `bound` get what is sent to `address`? */
function isWithin(bound: Uint8Array | undefined, address: Uint8Array): boolean {
  if (bound?.length !== address.length) return false
  return bound.every((byte) => byte === 0) || bound.every((byte, index) => byte === address[index])
}

function wanted(addresses: readonly string[]): Uint8Array[] {
  if (addresses.length === 0) return [new Uint8Array(4), new Uint8Array(16)]
  return addresses.map((text) => {
    const bytes = addressToBytes(text)
    if (bytes === undefined) throw new SystemError('listen-failed', `${text} is not an IP address.`)
    return bytes
  })
}

const HINTS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'Another program (an IKE daemon, say) listens there already: end it, or choose another port.',
  EACCES: 'Ports below 1024 need root or CAP_NET_BIND_SERVICE.',
  EADDRNOTAVAIL: 'This machine does not have that address.'
}

function listenError(address: Uint8Array, port: number, cause: unknown): unknown {
  if (!(cause instanceof SystemCallError)) return cause
  const where = formatEndpoint(addressFromBytes(address), port)
  return new SystemError('listen-failed', `Cannot listen on ${where} UDP: ${cause.code}.`, {
    hint: HINTS[cause.code],
    cause
  })
}
