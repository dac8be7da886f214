/**
 * A transport over a byte stream, plain TCP or TLS: IKE and ESP in frames (RFC 9329 sections 3, 4 and 6).
 *
 * Invariants: the originator's prefix leaves in one piece with its first message; IKE is never dropped; everything
 * that came before the end of the stream is delivered before `onClose`; nothing is read before handlers are set.
 * @module
 */
import { isIPv6 } from 'node:net'
import type { Duplex } from 'node:stream'
import { type Clock, monotonicClock } from '../clock.ts'
import { InternalError } from '../errors.ts'
import type { Endpoint, Path } from '../wire/endpoint.ts'
import type { StreamFaults } from '../wire/frame-fate.ts'
import { DeframeStatus, type FrameSink, frameIke, StreamDeframer } from '../wire/stream-framing.ts'
import { failureOf, formatEndpoint, systemCode } from './failure.ts'
import { nextPathId } from './path-id.ts'
import type { AppliedTuning } from './socket-tuning.ts'
import { StreamTransmit } from './stream-transmit.ts'
import {
  type EspTransmit,
  NO_FACTS,
  type Transport,
  type TransportFacts,
  type TransportFailure,
  type TransportHandlers
} from './types.ts'

export interface StreamTransportOptions {
  /** Connected, not yet read from; owned by the transport from here on. */
  readonly stream: Duplex
  readonly kind: 'tcp' | 'tls'
  /** The originator sends the prefix (RFC 9329 section 4); the responder's has been read already. */
  readonly role: 'originator' | 'responder'
  readonly local: Endpoint
  readonly remote: Endpoint
  readonly outerRemote?: Endpoint | undefined
  readonly via?: string | null | undefined
  /** Bytes of the stream that were read before, behind the prefix. */
  readonly head?: Uint8Array | undefined
  readonly tuning?: AppliedTuning | undefined
  readonly clock?: Clock | undefined
  /** Where what was wrong with the stream is counted, together with others. */
  readonly faults?: StreamFaults | undefined
}

const DEFAULT_CLOSE_GRACE_MS = 1000
/**
 * Longest ESP packet that is put into a stream: what UDP-encapsulated ESP has room for over Ethernet (RFC 9329
 * section 3 recommends the same size), so that a session can move back to UDP with the inner MTU that it has.
 */
const ESP_LENGTH = { ipv4: 1472, ipv6: 1452 } as const
/**
 * Bytes that may wait inside Node before packets are refused. A TCP write that the kernel takes leaves nothing, so
 * that anything left means a full socket. TLS always takes a turn of the event loop: there this bounds the queue.
 */
const PENDING_LIMIT = { tcp: 0, tls: 131072 } as const

export class StreamTransport implements Transport {
  readonly kind: 'tcp' | 'tls'
  readonly via: string | null
  readonly path: Path
  readonly outerRemote: Endpoint
  readonly esp: EspTransmit
  readonly maxEspLength: number
  readonly facts: TransportFacts
  readonly #stream: Duplex
  readonly #clock: Clock
  readonly #transmit: StreamTransmit
  readonly #deframer: StreamDeframer
  readonly #stats = { bytesIn: 0, bytesOut: 0, espDropped: 0 }
  #head: Uint8Array | undefined
  #handlers: TransportHandlers | undefined
  #sink: FrameSink | undefined
  #espSeen = false
  #error: TransportFailure | undefined
  #failure: TransportFailure | undefined
  #told = false
  #reading = false

  constructor(options: StreamTransportOptions) {
    const { stream, kind } = options
    this.kind = kind
    this.via = options.via ?? null
    this.outerRemote = options.outerRemote ?? options.remote
    this.path = {
      id: nextPathId(),
      transport: kind,
      reliable: true,
      local: options.local,
      remote: options.remote
    }
    this.maxEspLength = isIPv6(options.local.address) ? ESP_LENGTH.ipv6 : ESP_LENGTH.ipv4
    this.facts = streamFacts(options.tuning)
    this.#deframer = new StreamDeframer({ faults: options.faults })
    this.#stream = stream
    this.#clock = options.clock ?? monotonicClock
    this.#head = options.head
    this.#transmit = this.esp = new StreamTransmit(
      stream,
      options.role === 'originator',
      PENDING_LIMIT[kind],
      {
        onWritable: () => this.#handlers?.onWritable(),
        onSent: (bytes) => {
          this.#stats.bytesOut += bytes
        }
      }
    )
    stream.on('error', (error) => {
      this.#error = this.#describe(error)
    })
    stream.on('end', () => this.#end(CLOSED_BY_PEER))
    stream.on('close', () => this.#end(this.#error ?? CLOSED_BY_PEER))
    if (stream.readableEnded || stream.destroyed) this.#end(CLOSED_BY_PEER)
  }

  get stats() {
    return { ...this.#stats, malformed: this.#deframer.malformed }
  }

  setHandlers(handlers: TransportHandlers): void {
    this.#handlers = handlers
    this.#sink = this.#sinkFor(handlers)
    if (this.#reading) return
    this.#reading = true
    if (this.#failure !== undefined) {
      queueMicrotask(() => this.#tellEnd())
      return
    }
    const head = this.#head
    this.#head = undefined
    // Not from inside setHandlers: the caller is not done setting up.
    queueMicrotask(() => {
      if (head !== undefined && head.length > 0) this.#receive(head)
      this.#stream.on('data', (chunk: Buffer) => this.#receive(chunk))
      // Whoever had the stream before may have paused it.
      this.#stream.resume()
    })
  }

  sendIke(message: Uint8Array, path: Path): void {
    if (this.#failure !== undefined || path.id !== this.path.id) return
    let frame: Uint8Array
    try {
      frame = frameIke(message)
    } catch (error) {
      if (!(error instanceof InternalError)) throw error
      this.#handlers?.onTrouble?.({ code: 'io-error', message: error.message })
      return
    }
    const prefix = this.#transmit.takePrefix()
    const bytes = prefix === undefined ? frame : Buffer.concat([prefix, frame])
    this.#stats.bytesOut += bytes.length
    this.#stream.write(bytes, () => this.#transmit.drained())
  }

  sendNatKeepalive(): void {}

  async close(graceMs: number = DEFAULT_CLOSE_GRACE_MS): Promise<void> {
    if (this.#failure === undefined) {
      this.#transmit.flush()
      this.#end({ code: 'closed', message: 'Closed' })
    }
    await closeStream(this.#stream, graceMs, this.#clock)
  }

  #receive(chunk: Uint8Array): void {
    if (this.#failure !== undefined || this.#sink === undefined) return
    this.#stats.bytesIn += chunk.length
    const status = this.#deframer.push(chunk, this.#sink)
    if (this.#espSeen) {
      this.#espSeen = false
      if (this.#failure === undefined) this.#handlers?.onEspBatchEnd()
    }
    if (status === DeframeStatus.BAD_LENGTH) {
      this.#end({ code: 'framing-error', message: `${this.#name()} sent a frame with an impossible length` })
      this.#stream.destroy()
    } else if (status === DeframeStatus.CORRUPTED) {
      this.#end({ code: 'stream-corrupted', message: `What ${this.#name()} sent makes no sense any more` })
      this.#stream.destroy()
    }
  }

  #sinkFor(handlers: TransportHandlers): FrameSink {
    const { path } = this
    return {
      onIke: (buffer, offset, length) => handlers.onIke(buffer.subarray(offset, offset + length), path),
      onEsp: (buffer, offset, length) => {
        this.#espSeen = true
        return handlers.onEsp(buffer, offset, length, path)
      },
      recognise:
        handlers.recognise === undefined
          ? undefined
          : (buffer, offset) => handlers.recognise?.(buffer, offset, path) === true
    }
  }

  #describe(error: Error): TransportFailure {
    const name = systemCode(error)
    // OpenSSL's own errors, and Node's about TLS, have no errno.
    if (this.kind === 'tls' && !/^E[A-Z]+$/.test(name))
      return { code: 'tls-error', message: `${this.#name()}: ${error.message}` }
    return failureOf(name === '' ? error.message : name, this.#name())
  }

  #name(): string {
    const { address, port } = this.path.remote
    return `${formatEndpoint(address, port)} over ${this.kind.toUpperCase()}`
  }

  #end(failure: TransportFailure): void {
    if (this.#failure !== undefined) return
    this.#failure = failure
    this.#deframer.stop()
    this.#transmit.close()
    // The peer's FIN is answered by ours; after an error there is nothing left to close.
    if (failure === CLOSED_BY_PEER) void closeStream(this.#stream, DEFAULT_CLOSE_GRACE_MS, this.#clock)
    queueMicrotask(() => this.#tellEnd())
  }

  #tellEnd(): void {
    if (this.#told || this.#handlers === undefined || this.#failure === undefined) return
    this.#told = true
    this.#handlers.onClose(this.#failure)
  }
}

const CLOSED_BY_PEER: TransportFailure = { code: 'closed-by-peer', message: 'The peer closed the connection' }

function streamFacts(tuning: AppliedTuning | undefined): TransportFacts {
  return {
    ...NO_FACTS,
    congestionControl: tuning?.congestionControl ?? null,
    unsentBytes: tuning?.unsentBytes ?? null
  }
}

/** Ends a stream: what was written, TLS close_notify, FIN; destroyed when the peer has not done so in `graceMs`. */
function closeStream(stream: Duplex, graceMs: number, clock: Clock): Promise<void> {
  if (stream.closed) return Promise.resolve()
  return new Promise((resolve) => {
    const timer = clock.setTimer(graceMs, () => stream.destroy())
    stream.once('close', () => {
      timer.cancel()
      resolve()
    })
    stream.on('error', () => undefined)
    stream.end()
    // The peer's FIN is only seen when everything in front of it is read.
    stream.resume()
  })
}
