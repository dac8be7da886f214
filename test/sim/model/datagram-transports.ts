/**
 * UDP at both ends of a simulated network: the client's transport with its two ports, and what the gateway has instead of a `UdpServer`.
 * @module
 */

import type { UdpService } from '../../../src/gateway/listeners.ts'
import { nativeBuffer } from '../../../src/native/memory.ts'
import { failureOf } from '../../../src/transport/failure.ts'
import { nextPathId } from '../../../src/transport/path-id.ts'
import {
  type EspTransmit,
  NO_FACTS,
  type Transport,
  type TransportFailure,
  type TransportHandlers
} from '../../../src/transport/types.ts'
import type { UdpServerHandlers } from '../../../src/transport/udp-server.ts'
import { UdpPathTable, UdpServerPath } from '../../../src/transport/udp-server-path.ts'
import { addressToBytes } from '../../../src/wire/address.ts'
import type { Endpoint, Path } from '../../../src/wire/endpoint.ts'
import {
  classifyDatagram,
  DatagramKind,
  NAT_KEEPALIVE,
  NON_ESP_MARKER_LENGTH,
  withNonEspMarker
} from '../../../src/wire/non-esp-marker.ts'
import { type ClientSocket, GATEWAY_ADDRESS, keyOf, type Network } from './network.ts'

const MAX_ESP_BYTES = 1472
/** One for all: what is committed is copied out at once. */
const sendBuffer = nativeBuffer(65_536)
/** Packets are decrypted in place, one at a time. */
const receiveBuffer = nativeBuffer(65_536)

class DatagramTransmit implements EspTransmit {
  readonly buffer = sendBuffer
  writable = true
  readonly #send: (packet: Uint8Array) => void
  readonly #queue: Uint8Array[] = []

  constructor(send: (packet: Uint8Array) => void) {
    this.#send = send
  }

  reserve(maxLength: number): number {
    return this.writable && maxLength <= sendBuffer.length ? 0 : -1
  }

  commit(length: number): void {
    this.#queue.push(Uint8Array.prototype.slice.call(this.buffer, 0, length))
  }

  flush(): void {
    for (const packet of this.#queue.splice(0)) this.#send(packet)
  }

  close(): void {
    this.writable = false
    this.#queue.length = 0
  }
}

/** The client's UDP: ports 500 and 4500 of one gateway. */
export class ClientDatagrams implements Transport {
  readonly kind = 'udp'
  readonly via = null
  readonly path: Path
  readonly outerRemote: Endpoint
  readonly maxEspLength = MAX_ESP_BYTES
  readonly facts = NO_FACTS
  readonly stats = { bytesIn: 0, bytesOut: 0, espDropped: 0, malformed: 0 }
  readonly esp: DatagramTransmit
  readonly #network: Network
  readonly #natT: ClientSocket
  readonly #ike: ClientSocket
  readonly #heard = new Set<number>()
  #handlers: TransportHandlers | undefined
  #failure: TransportFailure | undefined
  #told = false

  /** @returns undefined where no way leads out */
  static open(network: Network, deliver: (receive: () => void) => void): ClientDatagrams | undefined {
    return network.clientAddress === undefined ? undefined : new ClientDatagrams(network, deliver)
  }

  private constructor(network: Network, deliver: (receive: () => void) => void) {
    this.#network = network
    const bind = (port: number): ClientSocket => {
      const socket = network.bind((local) => ({
        local,
        datagram: (bytes) => deliver(() => this.#receive(bytes, port)),
        unreachable: (at) => deliver(() => this.#unreachable(at))
      }))
      if (socket === undefined) throw new Error('no way leads out')
      return socket
    }
    this.#ike = bind(500)
    this.#natT = bind(4500)
    this.outerRemote = { address: GATEWAY_ADDRESS, port: 4500 }
    const common = { transport: 'udp', reliable: false } as const
    const natT = { ...common, id: nextPathId(), local: this.#natT.local, remote: this.outerRemote }
    const remote = { address: GATEWAY_ADDRESS, port: 500 }
    this.path = { ...common, id: nextPathId(), local: this.#ike.local, remote, natT }
    this.esp = new DatagramTransmit((packet) => this.#send(this.#natT, 4500, packet))
  }

  setHandlers(handlers: TransportHandlers): void {
    this.#handlers = handlers
    if (this.#failure !== undefined) queueMicrotask(() => this.#tellEnd())
  }

  sendIke(message: Uint8Array, path: Path): void {
    if (path.id === this.path.id) this.#send(this.#ike, 500, message)
    else if (path.id === this.path.natT?.id) this.#send(this.#natT, 4500, withNonEspMarker(message))
  }

  sendNatKeepalive(): void {
    this.#send(this.#natT, 4500, NAT_KEEPALIVE)
  }

  close(): Promise<void> {
    this.esp.flush()
    this.#end({ code: 'closed', message: 'Closed' })
    return Promise.resolve()
  }

  #send(socket: ClientSocket, port: number, bytes: Uint8Array): void {
    if (this.#failure !== undefined) return
    this.stats.bytesOut += bytes.length
    this.#network.fromClient(socket, port, bytes)
  }

  #receive(bytes: Uint8Array, port: number): void {
    const handlers = this.#handlers
    if (handlers === undefined || this.#failure !== undefined) return
    this.#heard.add(port)
    this.stats.bytesIn += bytes.length
    if (port === 500) handlers.onIke(bytes, this.path)
    else if (!demultiplex(bytes, this.path.natT ?? this.path, handlers)) this.stats.malformed++
  }

  /** As on a connected socket: an end as long as nobody was heard there, else a hint. */
  #unreachable(port: number): void {
    if (this.#failure !== undefined) return
    const failure = failureOf('ECONNREFUSED', `${GATEWAY_ADDRESS}:${port} over UDP`, true)
    if (this.#heard.has(port)) this.#handlers?.onTrouble?.(failure)
    else this.#end(failure)
  }

  #end(failure: TransportFailure): void {
    if (this.#failure !== undefined) return
    this.#failure = failure
    this.esp.close()
    this.#network.unbind(this.#ike)
    this.#network.unbind(this.#natT)
    queueMicrotask(() => this.#tellEnd())
  }

  #tellEnd(): void {
    if (this.#told || this.#handlers === undefined || this.#failure === undefined) return
    this.#told = true
    this.#handlers.onClose(this.#failure)
  }
}

class ServicePath extends UdpServerPath {
  peer: PeerDatagrams | undefined
}

/** The socket of a client that was authenticated. */
class PeerDatagrams implements Transport {
  readonly kind = 'udp'
  readonly via = null
  readonly path: Path
  readonly outerRemote: Endpoint
  readonly maxEspLength = MAX_ESP_BYTES
  readonly facts = NO_FACTS
  readonly stats = { bytesIn: 0, bytesOut: 0, espDropped: 0, malformed: 0 }
  readonly esp: DatagramTransmit
  handlers: TransportHandlers | undefined
  readonly #service: GatewayDatagrams

  constructor(path: Path, service: GatewayDatagrams) {
    this.path = path
    this.outerRemote = path.remote
    this.#service = service
    this.esp = new DatagramTransmit((packet) => service.send(packet, path))
  }

  setHandlers(handlers: TransportHandlers): void {
    this.handlers = handlers
  }

  sendIke(message: Uint8Array, path: Path): void {
    this.#service.send(withNonEspMarker(message), path)
  }

  sendNatKeepalive(): void {
    this.#service.send(NAT_KEEPALIVE, this.path)
  }

  close(): Promise<void> {
    this.esp.flush()
    this.esp.close()
    queueMicrotask(() => this.handlers?.onClose({ code: 'closed', message: 'Closed' }))
    return Promise.resolve()
  }
}

/** Everything that the gateway has on UDP. */
export class GatewayDatagrams implements UdpService {
  readonly #network: Network
  readonly #paths = new UdpPathTable<ServicePath>(8_192)
  readonly #observe: (transport: Transport) => Transport
  readonly #adopted = new Map<ServicePath, Transport>()
  #handlers: UdpServerHandlers | undefined
  #closed = false
  malformed = 0

  constructor(network: Network, observe: (transport: Transport) => Transport) {
    this.#network = network
    this.#observe = observe
  }

  get pathCount(): number {
    return this.#paths.size
  }

  setHandlers(handlers: UdpServerHandlers): void {
    this.#handlers = handlers
  }

  carriesEsp(path: Path): boolean {
    return path instanceof ServicePath && path.local.port === 4500
  }

  pathBetween(local: Endpoint, remote: Endpoint): Path | undefined {
    return local.port === 4500 ? this.#pathOf(local.port, remote) : undefined
  }

  sendIke(message: Uint8Array, path: Path): void {
    if (!(path instanceof ServicePath)) return
    this.send(path.local.port === 4500 ? withNonEspMarker(message) : message, path)
  }

  adopt(path: Path): Transport | undefined {
    if (!(path instanceof ServicePath) || path.local.port !== 4500 || this.#closed) return undefined
    if (path.peer === undefined) {
      path.peer = new PeerDatagrams(path, this)
      this.#adopted.set(path, this.#observe(path.peer))
      this.#paths.keep(path)
    }
    return this.#adopted.get(path)
  }

  release(path: Path): void {
    if (!(path instanceof ServicePath) || path.peer === undefined) return
    const { peer } = path
    path.peer = undefined
    this.#adopted.delete(path)
    this.#paths.release(path)
    void peer.close()
  }

  /** From the network. */
  datagram(localPort: number, remote: Endpoint, bytes: Uint8Array): void {
    if (this.#closed) return
    const path = this.#pathOf(localPort, remote)
    const handlers = path.peer?.handlers ?? this.#handlers
    if (handlers === undefined) return
    if (localPort === 500) handlers.onIke(bytes, path)
    else if (!demultiplex(bytes, path, handlers)) this.malformed++
  }

  send(bytes: Uint8Array, path: Path): void {
    if (!this.#closed) this.#network.fromGateway(path.local.port, path.remote, bytes)
  }

  close(): void {
    this.#closed = true
    this.#adopted.clear()
    this.#paths.clear()
  }

  #pathOf(localPort: number, remote: Endpoint): ServicePath {
    const key = `${localPort}/${keyOf(remote)}`
    const local = { address: GATEWAY_ADDRESS, port: localPort }
    const localAddress = addressToBytes(GATEWAY_ADDRESS) ?? new Uint8Array(4)
    return this.#paths.of(
      key,
      () => new ServicePath(key, { local, remote, sockaddr: Buffer.alloc(0), localAddress })
    )
  }
}

type Receiver = Pick<UdpServerHandlers, 'onIke' | 'onEsp' | 'onEspBatchEnd'>

/** @returns false when it is neither IKE nor ESP nor a keepalive */
function demultiplex(bytes: Uint8Array, path: Path, handlers: Receiver): boolean {
  switch (classifyDatagram(bytes, 0, bytes.length)) {
    case DatagramKind.ESP:
      receiveBuffer.set(bytes)
      handlers.onEsp(receiveBuffer, 0, bytes.length, path, 0)
      handlers.onEspBatchEnd()
      return true
    case DatagramKind.IKE:
      handlers.onIke(bytes.subarray(NON_ESP_MARKER_LENGTH), path)
      return true
    case DatagramKind.KEEPALIVE:
      return true
    default:
      return false
  }
}
