/**
 * IKE and ESP over UDP (RFC 7296 section 2.23, RFC 3948): one socket to port 500 for plain IKE, one to port 4500 for
 * IKE behind the non-ESP marker, ESP and NAT-keepalives.
 *
 * Invariants: both sockets are connected, so that the kernel filters by peer and tells of ICMP errors. An ICMP error
 * ends the transport only as long as nothing was ever heard on that port; later it is a hint, since nobody
 * authenticates it (RFC 7296 section 2.4). IKE may be fragmented by the kernel, ESP may not.
 * @module
 */

import { NativeUnavailableError } from '../native/libc.ts'
import { Errno, errnoName } from '../native/libc-constants.ts'
import { addressOf, nativeBuffer } from '../native/memory.ts'
import { type Watch, watch } from '../native/poller.ts'
import type { Facility } from '../native/speedups.ts'
import type { Endpoint, Path } from '../wire/endpoint.ts'
import { classifyDatagram, DatagramKind, NON_ESP_MARKER_LENGTH } from '../wire/non-esp-marker.ts'
import { abortedError, failureOf, formatEndpoint, wrapSystemError } from './failure.ts'
import { nextPathId } from './path-id.ts'
import { RECEIVE_BYTES, receiveMemory } from './receive-memory.ts'
import { DEFAULT_UDP_BUFFER_BYTES } from './socket-settings.ts'
import type { EspTransmit, Transport, TransportFacts, TransportFailure, TransportHandlers } from './types.ts'
import { openUdpDatagram } from './udp-dgram.ts'
import { enableCoalescing, segmentationWanted, udpFacts } from './udp-offload.ts'
import { DEFAULT_IKE_PORT, DEFAULT_NAT_T_PORT, type UdpOptions } from './udp-options.ts'
import { isTransient, UdpSocket } from './udp-socket.ts'
import { UdpTransmit } from './udp-transmit.ts'

/** RFC 3948 section 2.3. */
const NAT_KEEPALIVE = 0xff
/** Reads of one readiness event, each up to 64 KiB: bounds how long other work waits. */
const READS_PER_EVENT = 32
/** When the kernel does not tell: Ethernet. */
const FALLBACK_MTU = 1500
/** Largest UDP payload (RFC 768). */
const MAX_DATAGRAM_BYTES = 65507

/**
 * Opens both sockets; nothing is sent. Falls back to Node's own datagrams where the C library cannot be called.
 * @throws TransportError
 */
export async function openUdp(options: UdpOptions): Promise<Transport> {
  const what = formatEndpoint(options.remoteAddress, options.ikePort ?? DEFAULT_IKE_PORT)
  if (options.signal?.aborted === true) throw abortedError(`${what} over UDP`)
  try {
    return new UdpTransport(options)
  } catch (error) {
    if (error instanceof NativeUnavailableError) return openUdpDatagram(options)
    throw wrapSystemError(error, `${what} over UDP`, true)
  }
}

/** One of the two sockets, with what is known about its port. */
interface Port {
  readonly socket: UdpSocket
  readonly path: Path
  readonly remote: Endpoint
  /** Non-ESP marker in front of IKE, ESP beside it. */
  readonly natT: boolean
  heard: boolean
  watch: Watch | undefined
}

class UdpTransport implements Transport {
  readonly kind = 'udp'
  readonly via = null
  readonly path: Path
  readonly outerRemote: Endpoint
  readonly esp: EspTransmit
  readonly stats = { bytesIn: 0, bytesOut: 0, espDropped: 0, malformed: 0 }
  readonly #ports: readonly Port[]
  readonly #natT: Port
  readonly #transmit: UdpTransmit
  readonly #coalescing: Facility
  readonly #receiveBuffer = receiveMemory().buffer
  readonly #receiveAddress = receiveMemory().address
  readonly #sendBuffer = nativeBuffer(RECEIVE_BYTES)
  readonly #sendAddress = addressOf(this.#sendBuffer)
  #maxEspLength: number
  #handlers: TransportHandlers | undefined
  #failure: TransportFailure | undefined
  #told = false

  /** @throws SystemCallError, NativeUnavailableError, TransportError */
  constructor(options: UdpOptions) {
    const natTPort = options.natTPort ?? DEFAULT_NAT_T_PORT
    const ikePort = options.ikePort ?? DEFAULT_IKE_PORT
    const bufferBytes = options.sockets?.bufferBytes ?? DEFAULT_UDP_BUFFER_BYTES
    const natT = openPort(options, natTPort, true, bufferBytes, undefined)
    this.#natT = natT
    try {
      const ike = ikePort === natTPort ? natT : openPort(options, ikePort, false, 0, natT.path)
      this.#ports = ike === natT ? [natT] : [ike, natT]
      this.path = ike.path
    } catch (error) {
      natT.socket.close()
      throw error
    }
    this.outerRemote = natT.remote
    const offload = options.offload ?? true
    this.#coalescing = enableCoalescing(natT.socket, offload)
    natT.socket.reportEcn()
    for (const port of this.#ports) port.socket.allowFragmentation(port !== natT)
    this.#maxEspLength = espLengthFor(natT.socket)
    this.#transmit = this.esp = new UdpTransmit(natT.socket, segmentationWanted(offload), {
      onSocketError: (errno) => this.#socketError(natT, errno),
      onPathMtuExceeded: () => this.#updateMtu(),
      onBlocked: () => natT.watch?.modify({ readable: true, writable: true }),
      onDropped: (packets) => {
        this.stats.espDropped += packets
      },
      onSent: (bytes) => {
        this.stats.bytesOut += bytes
      }
    })
  }

  get facts(): TransportFacts {
    return udpFacts(this.#natT.socket, this.#transmit.segmentation, this.#coalescing)
  }

  get maxEspLength(): number {
    return this.#maxEspLength
  }

  setHandlers(handlers: TransportHandlers): void {
    this.#handlers = handlers
    if (this.#failure !== undefined) {
      queueMicrotask(() => this.#tellEnd())
      return
    }
    for (const port of this.#ports)
      port.watch ??= watch(port.socket.fd, { readable: true }, (readable, writable) =>
        this.#ready(port, readable, writable)
      )
  }

  sendIke(message: Uint8Array, path: Path): void {
    if (this.#failure !== undefined) return
    const port = this.#ports.find((candidate) => candidate.path.id === path.id)
    if (port === undefined) return
    const at = port.natT ? NON_ESP_MARKER_LENGTH : 0
    const length = at + message.length
    if (length > MAX_DATAGRAM_BYTES) {
      this.#handlers?.onTrouble?.({ code: 'io-error', message: 'An IKE message is too long for UDP' })
      return
    }
    this.#sendBuffer.fill(0, 0, at)
    this.#sendBuffer.set(message, at)
    if (port.natT) port.socket.allowFragmentation(true)
    this.#sendDatagram(port, length)
    if (port.natT && this.#failure === undefined) port.socket.allowFragmentation(false)
  }

  sendNatKeepalive(): void {
    if (this.#failure !== undefined) return
    this.#sendBuffer[0] = NAT_KEEPALIVE
    this.#sendDatagram(this.#natT, 1)
  }

  close(): Promise<void> {
    if (this.#failure === undefined) {
      this.#transmit.flush()
      this.#end({ code: 'closed', message: 'Closed' })
    }
    return Promise.resolve()
  }

  #sendDatagram(port: Port, length: number): void {
    // A pending ICMP error is reported instead of sending; the second call then sends.
    for (let attempt = 0; attempt < 2 && this.#failure === undefined; attempt++) {
      const result = port.socket.send(this.#sendAddress, length)
      if (result >= 0) {
        this.stats.bytesOut += length
        return
      }
      // A datagram that found no room is lost like any other: IKE retransmits.
      if (isTransient(-result)) return
      this.#socketError(port, -result)
    }
  }

  #ready(port: Port, readable: boolean, writable: boolean): void {
    if (readable) this.#receive(port)
    if (writable && port === this.#natT && this.#failure === undefined && this.#transmit.resume()) {
      port.watch?.modify({ readable: true })
      this.#handlers?.onWritable()
    }
  }

  #receive(port: Port): void {
    let espSeen = false
    for (let reads = 0; reads < READS_PER_EVENT && this.#failure === undefined; reads++) {
      const length = port.socket.receive(this.#receiveAddress, RECEIVE_BYTES)
      if (length < 0) {
        if (-length === Errno.EAGAIN) break
        if (!isTransient(-length)) this.#socketError(port, -length)
        continue
      }
      port.heard = true
      this.stats.bytesIn += length
      if (!port.natT) this.#handlers?.onIke(this.#receiveBuffer.subarray(0, length), port.path)
      else if (this.#demultiplex(port, length)) espSeen = true
    }
    if (espSeen && this.#failure === undefined) this.#handlers?.onEspBatchEnd()
  }

  /** @returns whether there was ESP among the datagrams of one coalesced read */
  #demultiplex(port: Port, total: number): boolean {
    const { segmentLength: segment, ecn } = port.socket
    let espSeen = false
    if (total === 0) this.stats.malformed++
    for (let at = 0; at < total && this.#failure === undefined; at += segment) {
      const length = Math.min(segment, total - at)
      const kind = classifyDatagram(this.#receiveBuffer, at, length)
      if (kind === DatagramKind.ESP) {
        espSeen = true
        this.#handlers?.onEsp(this.#receiveBuffer, at, length, port.path, ecn)
      } else if (kind === DatagramKind.IKE) {
        this.#handlers?.onIke(
          this.#receiveBuffer.subarray(at + NON_ESP_MARKER_LENGTH, at + length),
          port.path
        )
      } else if (kind === DatagramKind.MALFORMED) this.stats.malformed++
    }
    return espSeen
  }

  #socketError(port: Port, errno: number): void {
    if (errno === Errno.EMSGSIZE) {
      this.#updateMtu()
      return
    }
    const what = `${formatEndpoint(port.remote.address, port.remote.port)} over UDP`
    const failure = failureOf(errnoName(errno), what, true)
    if (port.heard) this.#handlers?.onTrouble?.(failure)
    else this.#end(failure)
  }

  #updateMtu(): void {
    const length = espLengthFor(this.#natT.socket)
    if (length === this.#maxEspLength) return
    this.#maxEspLength = length
    this.#handlers?.onMaxEspLength?.(length)
  }

  #end(failure: TransportFailure): void {
    if (this.#failure !== undefined) return
    this.#failure = failure
    this.#transmit.close()
    for (const port of this.#ports) {
      port.watch?.close()
      port.socket.close()
    }
    // Not from inside the caller's own sendIke: it may be in the middle of changing its state.
    queueMicrotask(() => this.#tellEnd())
  }

  #tellEnd(): void {
    if (this.#told || this.#handlers === undefined || this.#failure === undefined) return
    this.#told = true
    this.#handlers.onClose(this.#failure)
  }
}

function openPort(
  options: UdpOptions,
  portNumber: number,
  natT: boolean,
  bufferBytes: number,
  natTPath: Path | undefined
): Port {
  const remote: Endpoint = { address: options.remoteAddress, port: portNumber }
  const local = options.localAddress === undefined ? undefined : { address: options.localAddress, port: 0 }
  const socket = UdpSocket.open({ remote, local, interface: options.interface, bufferBytes })
  const path: Path = {
    id: nextPathId(),
    transport: 'udp',
    reliable: false,
    local: socket.local,
    remote,
    ...(natTPath === undefined ? {} : { natT: natTPath })
  }
  return { socket, path, remote, natT, heard: false, watch: undefined }
}

function espLengthFor(socket: UdpSocket): number {
  const mtu = socket.pathMtu()
  return Math.min((mtu > 0 ? mtu : FALLBACK_MTU) - socket.overhead, MAX_DATAGRAM_BYTES)
}
