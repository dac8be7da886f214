/**
 * The data path of a peer that has proved who it is: a connected socket on the server's own address and port. The
 * kernel gives it all datagrams of that peer, with segmentation and coalescing.
 *
 * Invariants: before it is connected the socket may catch datagrams of others, which go back to the server; ICMP
 * errors are hints only. The kernel may fragment what is sent: the peer's own device decides how long inner packets are.
 * @module
 */
import { Errno, errnoName } from '../native/libc-constants.ts'
import { addressOf, nativeBuffer } from '../native/memory.ts'
import { type Watch, watch } from '../native/poller.ts'
import type { Facility } from '../native/speedups.ts'
import type { Endpoint, Path } from '../wire/endpoint.ts'
import {
  classifyDatagram,
  DatagramKind,
  NAT_KEEPALIVE,
  NON_ESP_MARKER_LENGTH
} from '../wire/non-esp-marker.ts'
import { failureOf, formatEndpoint } from './failure.ts'
import type { EspTransmit, Transport, TransportFacts, TransportFailure, TransportHandlers } from './types.ts'
import { enableCoalescing, segmentationWanted, udpFacts } from './udp-offload.ts'
import type { UdpServerPath } from './udp-server-path.ts'
import { sameSockaddr } from './udp-server-socket.ts'
import { isTransient, UdpSocket } from './udp-socket.ts'
import { UdpTransmit } from './udp-transmit.ts'

/** Reads of one readiness event, each up to 64 KiB: bounds how long other peers wait. */
const READS_PER_EVENT = 16
const FALLBACK_MTU = 1500
const MAX_DATAGRAM_BYTES = 65_507

export interface UdpPeerOptions {
  readonly offload: boolean
  readonly socketBufferBytes: number
  /** Shared by all sockets of the server, which are read one after the other. */
  readonly receiveBuffer: Buffer
  /** Datagrams that belong to somebody else: `sockaddr` of the sender, `length` bytes in the receive buffer. */
  onForeign(sockaddr: Buffer, length: number, segmentLength: number, ecn: number): void
}

export class UdpPeer implements Transport {
  readonly kind = 'udp'
  readonly via = null
  readonly path: Path
  readonly outerRemote: Endpoint
  readonly esp: EspTransmit
  readonly maxEspLength: number
  readonly stats = { bytesIn: 0, bytesOut: 0, espDropped: 0, malformed: 0 }
  readonly #options: UdpPeerOptions
  readonly #serverPath: UdpServerPath
  readonly #socket: UdpSocket
  readonly #transmit: UdpTransmit
  readonly #coalescing: Facility
  readonly #receiveAddress: number
  readonly #sendBuffer = nativeBuffer(MAX_DATAGRAM_BYTES)
  readonly #sendAddress = addressOf(this.#sendBuffer)
  /** What came before the socket was connected is not all read yet. */
  #mayHoldForeign = true
  #handlers: TransportHandlers | undefined
  #watch: Watch | undefined
  #failure: TransportFailure | undefined

  /** Call while the listener's address is shared. @throws SystemCallError */
  constructor(path: UdpServerPath, options: UdpPeerOptions) {
    this.#options = options
    this.#serverPath = path
    this.path = path
    this.outerRemote = path.remote
    this.#receiveAddress = addressOf(options.receiveBuffer)
    this.#socket = UdpSocket.open({
      remote: path.remote,
      local: path.local,
      bufferBytes: options.socketBufferBytes,
      shareLocal: true
    })
    this.#coalescing = enableCoalescing(this.#socket, options.offload)
    this.#socket.reportEcn()
    this.#socket.allowFragmentation(true)
    const mtu = this.#socket.pathMtu()
    this.maxEspLength = Math.min((mtu > 0 ? mtu : FALLBACK_MTU) - this.#socket.overhead, MAX_DATAGRAM_BYTES)
    this.#transmit = this.esp = new UdpTransmit(this.#socket, segmentationWanted(options.offload), {
      onSocketError: (errno) => this.#trouble(errno),
      onPathMtuExceeded: () => undefined,
      onBlocked: () => this.#watch?.modify({ readable: true, writable: true }),
      onDropped: (packets) => {
        this.stats.espDropped += packets
      },
      onSent: (bytes) => {
        this.stats.bytesOut += bytes
      }
    })
  }

  get facts(): TransportFacts {
    return udpFacts(this.#socket, this.#transmit.segmentation, this.#coalescing)
  }

  setHandlers(handlers: TransportHandlers): void {
    this.#handlers = handlers
    if (this.#failure !== undefined) return
    this.#watch ??= watch(this.#socket.fd, { readable: true }, (readable, writable) => {
      if (readable) this.#receive(READS_PER_EVENT)
      if (writable && this.#failure === undefined && this.#transmit.resume()) {
        this.#watch?.modify({ readable: true })
        this.#handlers?.onWritable()
      }
    })
  }

  sendIke(message: Uint8Array, path: Path): void {
    const length = NON_ESP_MARKER_LENGTH + message.length
    if (this.#failure !== undefined || path.id !== this.path.id || length > MAX_DATAGRAM_BYTES) return
    this.#sendBuffer.fill(0, 0, NON_ESP_MARKER_LENGTH)
    this.#sendBuffer.set(message, NON_ESP_MARKER_LENGTH)
    this.#sendDatagram(length)
  }

  sendNatKeepalive(): void {
    if (this.#failure !== undefined) return
    this.#sendBuffer.set(NAT_KEEPALIVE)
    this.#sendDatagram(NAT_KEEPALIVE.length)
  }

  /** From then on the peer's datagrams go to the listener again; those that are here already are delivered first. */
  close(): Promise<void> {
    if (this.#failure !== undefined) return Promise.resolve()
    this.#transmit.flush()
    if (this.#handlers !== undefined) this.#receive(Number.POSITIVE_INFINITY)
    const failure: TransportFailure = { code: 'closed', message: 'Closed' }
    this.#failure = failure
    this.#transmit.close()
    this.#watch?.close()
    this.#socket.close()
    queueMicrotask(() => this.#handlers?.onClose(failure))
    return Promise.resolve()
  }

  #sendDatagram(length: number): void {
    // A pending ICMP error is reported instead of sending; the second call then sends.
    for (let attempt = 0; attempt < 2; attempt++) {
      const result = this.#socket.send(this.#sendAddress, length)
      if (result >= 0) {
        this.stats.bytesOut += length
        return
      }
      if (isTransient(-result)) return
      this.#trouble(-result)
    }
  }

  #receive(maxReads: number): void {
    let espSeen = false
    for (let reads = 0; reads < maxReads && this.#failure === undefined; reads++) {
      const length = this.#socket.receive(this.#receiveAddress, this.#options.receiveBuffer.length)
      if (length < 0) {
        if (-length === Errno.EAGAIN) {
          this.#mayHoldForeign = false
          break
        }
        if (!isTransient(-length)) this.#trouble(-length)
        continue
      }
      const { segmentLength, ecn } = this.#socket
      if (this.#mayHoldForeign && !sameSockaddr(this.#socket.source, this.#serverPath.sockaddr)) {
        this.#options.onForeign(Buffer.from(this.#socket.source), length, segmentLength, ecn)
        continue
      }
      this.stats.bytesIn += length
      if (this.#demultiplex(length, segmentLength, ecn)) espSeen = true
    }
    if (espSeen) this.#handlers?.onEspBatchEnd()
  }

  #demultiplex(total: number, segment: number, ecn: number): boolean {
    const { receiveBuffer } = this.#options
    let espSeen = false
    for (let at = 0; at < total && this.#failure === undefined; at += segment) {
      const length = Math.min(segment, total - at)
      const kind = classifyDatagram(receiveBuffer, at, length)
      if (kind === DatagramKind.ESP) {
        espSeen = true
        this.#handlers?.onEsp(receiveBuffer, at, length, this.path, ecn)
      } else if (kind === DatagramKind.IKE)
        this.#handlers?.onIke(receiveBuffer.subarray(at + NON_ESP_MARKER_LENGTH, at + length), this.path)
      else if (kind === DatagramKind.MALFORMED) this.stats.malformed++
    }
    return espSeen
  }

  #trouble(errno: number): void {
    if (errno === Errno.EMSGSIZE) return
    const { address, port } = this.path.remote
    const what = `${formatEndpoint(address, port)} over UDP`
    this.#handlers?.onTrouble?.(failureOf(errnoName(errno), what, true))
  }
}
