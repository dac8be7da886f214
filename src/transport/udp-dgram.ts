/**
 * IKE and ESP over UDP with Node's own datagrams: for machines where the C library cannot be called. No segmentation
 * offload, no path MTU from the kernel; everything else is as in `udp.ts`.
 *
 * Invariant: an outgoing packet's memory is not reused before the kernel has taken it.
 * @module
 */
import { createSocket, type Socket } from 'node:dgram'
import { isIPv6 } from 'node:net'
import { notInUse } from '../native/speedups.ts'
import type { Endpoint, Path } from '../wire/endpoint.ts'
import { classifyDatagram, DatagramKind, NAT_KEEPALIVE, withNonEspMarker } from '../wire/non-esp-marker.ts'
import { abortedError, failureOf, formatEndpoint, systemCode, wrapSystemError } from './failure.ts'
import { nextPathId } from './path-id.ts'
import { plainAddress } from './plain-address.ts'
import {
  type EspTransmit,
  NO_FACTS,
  type Transport,
  type TransportFacts,
  type TransportFailure,
  type TransportHandlers
} from './types.ts'
import { DEFAULT_IKE_PORT, DEFAULT_NAT_T_PORT, type UdpOptions } from './udp-options.ts'

const IPV4_OVERHEAD = 28
const IPV6_OVERHEAD = 48
/** Ethernet: Node does not tell the path's. */
const ASSUMED_MTU = 1500
const SLOT_BYTES = 2048
const SLOTS = 128
const MAX_DATAGRAM_BYTES = 65507
const NO_OFFLOAD = notInUse("Node's own datagrams do without, where the C library cannot be called")
const FACTS: TransportFacts = { ...NO_FACTS, udpSegmentation: NO_OFFLOAD, udpCoalescing: NO_OFFLOAD }

/** @throws TransportError */
export async function openUdpDatagram(options: UdpOptions): Promise<Transport> {
  const ikePort = options.ikePort ?? DEFAULT_IKE_PORT
  const natTPort = options.natTPort ?? DEFAULT_NAT_T_PORT
  const natT = await openPort(options, natTPort, true, undefined)
  try {
    const ike = ikePort === natTPort ? natT : await openPort(options, ikePort, false, natT.path)
    if (options.signal?.aborted === true) {
      if (ike !== natT) ike.socket.close()
      throw abortedError(`${formatEndpoint(options.remoteAddress, ikePort)} over UDP`)
    }
    return new DatagramTransport(ike, natT)
  } catch (error) {
    natT.socket.close()
    throw error
  }
}

interface Port {
  readonly socket: Socket
  readonly path: Path
  readonly natT: boolean
  heard: boolean
}

async function openPort(
  options: UdpOptions,
  port: number,
  natT: boolean,
  natTPath: Path | undefined
): Promise<Port> {
  const remote: Endpoint = { address: options.remoteAddress, port }
  const what = `${formatEndpoint(remote.address, port)} over UDP`
  const socket = createSocket(isIPv6(remote.address) ? 'udp6' : 'udp4')
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject)
      const connect = () => socket.connect(port, remote.address, resolve)
      if (options.localAddress === undefined) connect()
      else socket.bind(0, options.localAddress, connect)
    })
  } catch (error) {
    socket.close()
    throw wrapSystemError(error, what, true)
  }
  socket.removeAllListeners('error')
  // Until handlers are set, an ICMP error must not end the process.
  socket.on('error', () => undefined)
  const { address, port: localPort } = socket.address()
  const path: Path = {
    id: nextPathId(),
    transport: 'udp',
    reliable: false,
    local: { address: plainAddress(address), port: localPort },
    remote,
    ...(natTPath === undefined ? {} : { natT: natTPath })
  }
  return { socket, path, natT, heard: false }
}

class DatagramTransport implements Transport {
  readonly kind = 'udp'
  readonly via = null
  readonly path: Path
  readonly outerRemote: Endpoint
  readonly maxEspLength: number
  readonly facts = FACTS
  readonly stats = { bytesIn: 0, bytesOut: 0, espDropped: 0, malformed: 0 }
  readonly esp: EspTransmit
  readonly #transmit: SlotTransmit
  readonly #ports: readonly Port[]
  readonly #natT: Port
  #handlers: TransportHandlers | undefined
  #failure: TransportFailure | undefined
  #batchOpen = false

  constructor(ike: Port, natT: Port) {
    this.#ports = ike === natT ? [natT] : [ike, natT]
    this.#natT = natT
    this.path = ike.path
    this.outerRemote = natT.path.remote
    this.maxEspLength = ASSUMED_MTU - (isIPv6(natT.path.remote.address) ? IPV6_OVERHEAD : IPV4_OVERHEAD)
    this.#transmit = this.esp = new SlotTransmit(natT.socket, {
      onSent: (bytes) => {
        this.stats.bytesOut += bytes
      },
      onFailed: (error) => {
        this.stats.espDropped++
        this.#socketError(natT, error)
      },
      onRoom: () => this.#handlers?.onWritable()
    })
  }

  setHandlers(handlers: TransportHandlers): void {
    const first = this.#handlers === undefined
    this.#handlers = handlers
    if (!first) return
    for (const port of this.#ports) {
      port.socket.on('message', (message) => this.#receive(port, message))
      port.socket.on('error', (error) => this.#socketError(port, error))
    }
  }

  sendIke(message: Uint8Array, path: Path): void {
    const port = this.#ports.find((candidate) => candidate.path.id === path.id)
    if (port === undefined || message.length > MAX_DATAGRAM_BYTES - 4) return
    // Node keeps a reference until the datagram has left, the caller's bytes may change before.
    this.#send(port, port.natT ? withNonEspMarker(message) : Uint8Array.from(message))
  }

  sendNatKeepalive(): void {
    this.#send(this.#natT, NAT_KEEPALIVE)
  }

  close(): Promise<void> {
    this.#transmit.flush()
    this.#end({ code: 'closed', message: 'Closed' })
    return Promise.resolve()
  }

  #send(port: Port, datagram: Uint8Array): void {
    if (this.#failure !== undefined) return
    port.socket.send(datagram, (error) => {
      if (error !== null) this.#socketError(port, error)
      else this.stats.bytesOut += datagram.length
    })
  }

  #receive(port: Port, message: Buffer): void {
    if (this.#failure !== undefined) return
    port.heard = true
    this.stats.bytesIn += message.length
    if (!port.natT) {
      this.#handlers?.onIke(message, port.path)
      return
    }
    switch (classifyDatagram(message, 0, message.length)) {
      case DatagramKind.IKE:
        this.#handlers?.onIke(message.subarray(4), port.path)
        return
      case DatagramKind.ESP:
        this.#handlers?.onEsp(message, 0, message.length, port.path)
        this.#endBatchLater()
        return
      case DatagramKind.MALFORMED:
        this.stats.malformed++
    }
  }

  /** Node delivers datagrams one at a time: what came in one turn of the event loop is a batch. */
  #endBatchLater(): void {
    if (this.#batchOpen) return
    this.#batchOpen = true
    setImmediate(() => {
      this.#batchOpen = false
      if (this.#failure === undefined) this.#handlers?.onEspBatchEnd()
    })
  }

  #socketError(port: Port, error: unknown): void {
    if (this.#failure !== undefined) return
    const { address, port: number } = port.path.remote
    const failure = failureOf(systemCode(error), `${formatEndpoint(address, number)} over UDP`, true)
    if (port.heard) this.#handlers?.onTrouble?.(failure)
    else this.#end(failure)
  }

  #end(failure: TransportFailure): void {
    if (this.#failure !== undefined) return
    this.#failure = failure
    this.#transmit.close()
    for (const port of this.#ports) port.socket.close()
    queueMicrotask(() => this.#handlers?.onClose(failure))
  }
}

interface SlotEvents {
  onSent(bytes: number): void
  onFailed(error: Error): void
  onRoom(): void
}

/** Fixed slots of one buffer, each free again when its datagram has left. */
class SlotTransmit implements EspTransmit {
  readonly buffer = new Uint8Array(SLOT_BYTES * SLOTS)
  readonly #socket: Socket
  readonly #events: SlotEvents
  readonly #free: number[] = Array.from({ length: SLOTS }, (_, index) => index)
  #reserved = -1
  #starved = false
  #closed = false

  constructor(socket: Socket, events: SlotEvents) {
    this.#socket = socket
    this.#events = events
  }

  get writable(): boolean {
    if (this.#free.length > 0) return !this.#closed
    this.#starved = true
    return false
  }

  reserve(maxLength: number): number {
    if (this.#closed || maxLength > SLOT_BYTES) return -1
    if (this.#reserved < 0) {
      const slot = this.#free.pop()
      if (slot === undefined) {
        this.#starved = true
        return -1
      }
      this.#reserved = slot
    }
    return this.#reserved * SLOT_BYTES
  }

  commit(length: number): void {
    const slot = this.#reserved
    this.#reserved = -1
    if (this.#closed || slot < 0) return
    this.#socket.send(this.buffer, slot * SLOT_BYTES, length, (error) => {
      this.#free.push(slot)
      if (error !== null) this.#events.onFailed(error)
      else this.#events.onSent(length)
      if (!this.#starved || this.#free.length < SLOTS / 2 || this.#closed) return
      this.#starved = false
      this.#events.onRoom()
    })
  }

  flush(): void {}

  close(): void {
    this.#closed = true
  }
}
