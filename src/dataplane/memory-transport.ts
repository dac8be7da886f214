/**
 * Two transports that are each other's far end, without a network: for tests, and for running both ends of a tunnel in one process.
 * @module
 */
import {
  type EspTransmit,
  NO_FACTS,
  type Transport,
  type TransportFailure,
  type TransportHandlers,
  type TransportStats
} from '../transport/types.ts'
import type { Endpoint, Path, TransportKind } from '../wire/endpoint.ts'

export interface MemoryTransportOptions {
  readonly kind?: TransportKind
  /** Bytes on their way to the other end above which `reserve` refuses. */
  readonly queueLimit?: number
  /** When what was flushed arrives: called with the delivery. Default: in the next turn of the event loop. */
  readonly schedule?: (deliver: () => void) => void
  /** Says of every ESP packet whether it gets lost, and may change it. */
  readonly lose?: (packet: Uint8Array) => boolean
}

const BUFFER_LENGTH = 1 << 20
const DEFAULT_QUEUE_LIMIT = 256 * 1024
const MAX_ESP_LENGTH = 65_533

const noHandlers: TransportHandlers = {
  onIke() {},
  onEsp() {},
  onEspBatchEnd() {},
  onWritable() {},
  onClose() {}
}

interface Sent {
  readonly packet: Uint8Array
  readonly ecn: number
}

export class MemoryTransport implements Transport, EspTransmit {
  readonly kind: TransportKind
  readonly via = null
  readonly path: Path
  readonly outerRemote: Endpoint
  readonly maxEspLength = MAX_ESP_LENGTH
  readonly facts = NO_FACTS
  readonly buffer = new Uint8Array(new ArrayBuffer(BUFFER_LENGTH))
  /** Bytes that left and have not arrived. */
  inFlight = 0
  readonly #options: MemoryTransportOptions
  readonly #stats = { bytesIn: 0, bytesOut: 0, espDropped: 0, malformed: 0 }
  #peer: MemoryTransport | undefined
  #handlers = noHandlers
  #at = 0
  #batch: Sent[] = []
  #blocked = false
  #closed = false

  /** Use `memoryTransportPair`. */
  constructor(id: number, local: Endpoint, remote: Endpoint, options: MemoryTransportOptions) {
    this.kind = options.kind ?? 'udp'
    this.path = { id, transport: this.kind, reliable: this.kind !== 'udp', local, remote }
    this.outerRemote = remote
    this.#options = options
  }

  attach(peer: MemoryTransport): void {
    this.#peer = peer
  }

  get esp(): EspTransmit {
    return this
  }
  get stats(): TransportStats {
    return this.#stats
  }
  get writable(): boolean {
    return !this.#closed && !this.#blocked
  }

  setHandlers(handlers: TransportHandlers): void {
    this.#handlers = handlers
  }

  reserve(maxLength: number): number {
    if (this.#closed || maxLength > MAX_ESP_LENGTH) return -1
    if (this.inFlight >= (this.#options.queueLimit ?? DEFAULT_QUEUE_LIMIT)) this.#blocked = true
    if (this.#blocked) return -1
    if (this.#at + maxLength > BUFFER_LENGTH) this.flush()
    return this.#at
  }

  commit(length: number, ecn = 0): void {
    const packet = this.buffer.slice(this.#at, this.#at + length)
    this.#at += length
    this.#batch.push({ packet, ecn })
    this.inFlight += length
    this.#stats.bytesOut += length
  }

  flush(): void {
    this.#at = 0
    if (this.#batch.length === 0) return
    const batch = this.#batch
    this.#batch = []
    const deliver = (): void => {
      this.#peer?.receive(batch.filter(({ packet }) => this.#options.lose?.(packet) !== true))
      this.inFlight -= batch.reduce((sum, { packet }) => sum + packet.length, 0)
      if (!this.#blocked || this.#closed) return
      this.#blocked = false
      this.#handlers.onWritable()
    }
    if (this.#options.schedule === undefined) setImmediate(deliver)
    else this.#options.schedule(deliver)
  }

  sendIke(message: Uint8Array, _path: Path): void {
    const copy = Uint8Array.from(message)
    const deliver = (): void => this.#peer?.receiveIke(copy)
    if (this.#options.schedule === undefined) setImmediate(deliver)
    else this.#options.schedule(deliver)
  }

  sendNatKeepalive(): void {}

  close(): Promise<void> {
    this.end({ code: 'closed', message: 'closed' })
    this.#peer?.end({ code: 'closed-by-peer', message: 'closed by the other end' })
    return Promise.resolve()
  }

  /** What the other end sent arrives here. */
  receive(batch: readonly Sent[]): void {
    if (this.#closed) return
    for (const { packet, ecn } of batch) {
      this.#stats.bytesIn += packet.length
      this.#handlers.onEsp(packet, 0, packet.length, this.path, ecn)
    }
    this.#handlers.onEspBatchEnd()
  }

  receiveIke(message: Uint8Array): void {
    if (!this.#closed) this.#handlers.onIke(message, this.path)
  }

  end(failure: TransportFailure): void {
    if (this.#closed) return
    this.#closed = true
    this.#handlers.onClose(failure)
  }
}

/** A connected pair, the same options for both directions. */
export function memoryTransportPair(
  options: MemoryTransportOptions = {}
): [MemoryTransport, MemoryTransport] {
  const left = { address: '127.0.0.1', port: 4500 }
  const right = { address: '127.0.0.2', port: 4500 }
  const pair: [MemoryTransport, MemoryTransport] = [
    new MemoryTransport(1, left, right, options),
    new MemoryTransport(2, right, left, options)
  ]
  pair[0].attach(pair[1])
  pair[1].attach(pair[0])
  return pair
}
