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
import { errnoName } from '../native/libc-constants.ts'
import type { Facility } from '../native/speedups.ts'
import type { Endpoint, Path } from '../wire/endpoint.ts'
import type { StreamFaults } from '../wire/frame-fate.ts'
import { DeframeStatus, type FrameSink, frameIke, StreamDeframer } from '../wire/stream-framing.ts'
import type { Channel, ChannelEvents } from './channel.ts'
import { DirectChannel } from './direct-channel.ts'
import { failureOf, formatEndpoint, systemCode } from './failure.ts'
import { NodeChannel } from './node-channel.ts'
import { nextPathId } from './path-id.ts'
import type { SocketSettings } from './socket-settings.ts'
import { type AppliedTuning, governed } from './socket-tuning.ts'
import type { StreamGovernor } from './stream-governor.ts'
import { facilityOf, takeOver } from './takeover.ts'
import type { TakenOver } from './tcp-takeover.ts'
import {
  type EspTransmit,
  NO_FACTS,
  type Transport,
  type TransportFacts,
  type TransportFailure,
  type TransportFailureCode,
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
  /** With which the connection was tuned, for what is adapted later on; absent: nothing is. */
  readonly sockets?: SocketSettings | undefined
  readonly clock?: Clock | undefined
  /** Where what was wrong with the stream is counted, together with others. */
  readonly faults?: StreamFaults | undefined
  /** Reads and writes instead of `stream`, which lives on as the owner of the connection; default: taken over if possible. */
  readonly direct?: TakenOver | Facility | undefined
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
  readonly #facts: TransportFacts
  readonly #governor: StreamGovernor | undefined
  readonly #channel: Channel
  readonly #deframer: StreamDeframer
  readonly #stats = { bytesIn: 0, bytesOut: 0, espDropped: 0 }
  #head: Uint8Array | undefined
  #handlers: TransportHandlers | undefined
  #sink: FrameSink | undefined
  #espSeen = false
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
    this.#deframer = new StreamDeframer({ faults: options.faults })
    const clock = options.clock ?? monotonicClock
    const direct = options.direct ?? takeOver(stream)
    this.#facts = streamFacts(options.tuning, facilityOf(direct))
    const originator = options.role === 'originator'
    if ('inUse' in direct) {
      this.#head = options.head
      this.#channel = new NodeChannel(stream, originator, PENDING_LIMIT[kind], this.#events, clock, (error) =>
        this.#describe(error)
      )
    } else {
      this.#head = Buffer.concat([options.head ?? new Uint8Array(0), direct.head])
      this.#governor = options.sockets && governed(direct.stream, options.sockets, clock)
      const describe = (errno: number) => this.#describeErrno(direct, errno)
      this.#channel = new DirectChannel(
        ...([direct.stream, originator, this.#events, clock] as const),
        ...([describe, this.#governor] as const)
      )
    }
    this.esp = this.#channel.esp
  }

  /** As it is now: what is adapted to the path changes. */
  get facts(): TransportFacts {
    const { congestionControl, unsentBytes } = this.#facts
    return {
      ...this.#facts,
      congestionControl: this.#governor?.congestionControl ?? congestionControl,
      unsentBytes: this.#governor?.unsentBytes ?? unsentBytes
    }
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
      if (head !== undefined && head.length > 0) {
        this.#receive(head, 0, head.length)
        this.#endBatch()
      }
      this.#channel.start()
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
    this.#channel.sendFrame(frame)
  }

  sendNatKeepalive(): void {}

  async close(graceMs: number = DEFAULT_CLOSE_GRACE_MS): Promise<void> {
    if (this.#failure === undefined) {
      this.esp.flush()
      this.#end({ code: 'closed', message: 'Closed' })
    }
    await this.#channel.close(graceMs)
  }

  #receive(buffer: Uint8Array, start: number, end: number): void {
    if (this.#failure !== undefined || this.#sink === undefined) return
    this.#stats.bytesIn += end - start
    const status = this.#deframer.push(buffer, this.#sink, start, end)
    if (status === DeframeStatus.BAD_LENGTH)
      this.#abandon('framing-error', `${this.#name()} sent a frame with an impossible length`)
    else if (status === DeframeStatus.CORRUPTED)
      this.#abandon('stream-corrupted', `What ${this.#name()} sent makes no sense any more`)
  }

  #abandon(code: TransportFailureCode, message: string): void {
    this.#endBatch()
    this.#end({ code, message })
    this.#channel.destroy()
  }

  #endBatch(): void {
    if (!this.#espSeen) return
    this.#espSeen = false
    if (this.#failure === undefined) this.#handlers?.onEspBatchEnd()
  }

  readonly #events: ChannelEvents = {
    onBytes: (buffer, start, end) => this.#receive(buffer, start, end),
    onBatchEnd: () => this.#endBatch(),
    onWritable: () => this.#handlers?.onWritable(),
    onSent: (bytes) => {
      this.#stats.bytesOut += bytes
    },
    onEnd: (failure) => this.#end(failure ?? CLOSED_BY_PEER)
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

  #describeErrno({ stream }: TakenOver, errno: number): TransportFailure {
    const said = stream.describe(errno)
    if (said !== undefined) return { code: 'tls-error', message: `${this.#name()}: ${said}` }
    return failureOf(errnoName(errno), this.#name())
  }

  #name(): string {
    const { address, port } = this.path.remote
    return `${formatEndpoint(address, port)} over ${this.kind.toUpperCase()}`
  }

  #end(failure: TransportFailure): void {
    if (this.#failure !== undefined) return
    this.#failure = failure
    this.#deframer.stop()
    this.#channel.stop()
    // The peer's FIN is answered by ours; after an error there is nothing left to close.
    if (failure === CLOSED_BY_PEER) void this.#channel.close(DEFAULT_CLOSE_GRACE_MS)
    queueMicrotask(() => this.#tellEnd())
  }

  #tellEnd(): void {
    if (this.#told || this.#handlers === undefined || this.#failure === undefined) return
    this.#told = true
    this.#handlers.onClose(this.#failure)
  }
}

const CLOSED_BY_PEER: TransportFailure = { code: 'closed-by-peer', message: 'The peer closed the connection' }

function streamFacts(tuning: AppliedTuning | undefined, directStream: Facility): TransportFacts {
  return {
    ...NO_FACTS,
    directStream,
    congestionControl: tuning?.congestionControl ?? null,
    unsentBytes: tuning?.unsentBytes ?? null
  }
}
