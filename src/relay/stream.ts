/**
 * One client stream of a relay, behind its prefix: frames and deadlines on one side, a UDP socket of its own on the other.
 *
 * The relay has no keys. It never changes a byte of a message and never answers for the server: it strips and adds Length,
 * and drops what neither side has a use for (NAT-keepalives, empty frames). Where an SA lives is the server's decision, by
 * source port (RFC 7296 section 2.23; RFC 9329 section 10 says why guessing is unsafe). SPIs tell it one thing alone: a
 * stream on which every message has another one is corrupted, and closed, so that the client opens a new one.
 * @module
 */
import type { Logger } from '../log.ts'
import type { Endpoint } from '../wire/endpoint.ts'
import { FrameFate } from '../wire/frame-fate.ts'
import { read32 } from '../wire/ip.ts'
import { NON_ESP_MARKER_LENGTH } from '../wire/non-esp-marker.ts'
import { DeframeStatus, type FrameSink, StreamDeframer } from '../wire/stream-framing.ts'
import { ClientQueue, QueueOutcome } from './client-queue.ts'
import { FamiliarSpis } from './familiar-spis.ts'
import type { Lane, LaneEvents } from './lane.ts'
import type { RelayMetrics, StreamEnd } from './metrics.ts'
import { formatEndpoint, type RelayLimits } from './options.ts'
import type { UdpLeg, UdpLegHandlers } from './udp-leg.ts'

export interface RelayStreamContext {
  readonly limits: RelayLimits
  readonly metrics: RelayMetrics
  readonly log: Logger
  readonly now: () => number
  /** @throws or rejects when there is no socket to be had */
  readonly openLeg: (client: Endpoint, handlers: UdpLegHandlers) => UdpLeg | Promise<UdpLeg>
}

/** Errors of the target in a row, with nothing heard from it in between, after which the stream is closed. */
const MAX_TARGET_ERRORS = 5
/** ESP packets in a row, each with an SPI that was never seen: no client has so many new SAs at once. */
const TOLERATED_STRANGERS = 16
/** Ends after which what is queued may still be of use to the client. */
const GRACEFUL: ReadonlySet<StreamEnd> = new Set(['client-closed', 'target-unreachable', 'shutdown'])

export class RelayStream implements FrameSink, UdpLegHandlers {
  readonly client: Endpoint
  readonly #lane: Lane
  readonly #context: RelayStreamContext
  readonly #onDone: () => void
  readonly #deframer = new StreamDeframer({ toleratedMessages: TOLERATED_STRANGERS })
  readonly #familiar = new FamiliarSpis()
  readonly #queue: ClientQueue
  /** When the stream was ended from here; it closes once the client has done the same. */
  #endedMs: number | undefined
  #leg: UdpLeg | undefined
  /** What came while the leg was being opened; undefined when it is not. */
  #early: Buffer[] | undefined
  readonly #startedMs: number
  /** When IKE or ESP last passed in either direction. */
  #activeMs: number
  /** When the frame that is incomplete now began. */
  #frameBeganMs: number | undefined
  /** A frame was completed just now: the next one has its own time. */
  #relayed = false
  #heardClient = false
  #targetErrors = 0
  #countedKeepalives = 0
  #countedMalformed = 0

  /**
   * @param openLane tells nothing before it is started
   * @param onDone called once: the stream is closed
   */
  constructor(
    openLane: (events: LaneEvents) => Lane,
    client: Endpoint,
    context: RelayStreamContext,
    onDone: () => void
  ) {
    this.client = client
    this.#context = context
    this.#onDone = onDone
    this.#startedMs = this.#activeMs = context.now()
    this.#lane = openLane(this.#fromClient)
    this.#queue = new ClientQueue(this.#lane, context.limits, context.now)
  }

  /** Begins to relay. Call once. */
  start(): void {
    this.#lane.start()
  }

  /** Ends the stream if it has missed a deadline. */
  checkDeadlines(nowMs: number): void {
    const { limits } = this.#context
    const late = (sinceMs: number, timeoutMs: number): boolean => nowMs - sinceMs > timeoutMs
    if (this.#endedMs !== undefined) {
      if (late(this.#endedMs, limits.closeGraceMs)) this.#lane.destroy()
    } else if (this.#frameBeganMs !== undefined && late(this.#frameBeganMs, limits.frameTimeoutMs)) {
      this.end('frame-timeout')
    } else if (!this.#heardClient && late(this.#startedMs, limits.firstMessageTimeoutMs)) {
      this.end('first-message-timeout')
    } else if (limits.idleTimeoutMs > 0 && late(this.#activeMs, limits.idleTimeoutMs)) {
      this.end('idle')
    } else if (
      this.#queue.stalledSinceMs !== undefined &&
      late(this.#queue.stalledSinceMs, limits.stallTimeoutMs)
    ) {
      this.end('stalled')
    }
  }

  destroy(): void {
    this.#lane.destroy()
  }

  end(reason: StreamEnd): void {
    if (this.#endedMs !== undefined) return
    this.#finish(reason)
    // a lost client is not waited for
    if (GRACEFUL.has(reason)) this.#lane.end()
    else this.#lane.destroy()
  }

  // --- what the client says

  readonly #fromClient: LaneEvents = {
    onBytes: (buffer, start, end) => this.#onBytes(buffer, start, end),
    onTaken: () => this.#queue.taken(),
    onEnd: () => this.end('client-closed'),
    onError: (message) => {
      const { log } = this.#context
      log.log('debug', 'stream failed', { client: formatEndpoint(this.client), message })
    },
    onClosed: () => {
      this.#finish('client-reset')
      this.#onDone()
    }
  }

  #onBytes(buffer: Uint8Array, start: number, end: number): void {
    const status = this.#deframer.push(buffer, this, start, end)
    this.#leg?.flush()
    if (this.#endedMs !== undefined) return
    if (this.#relayed) this.#activeMs = this.#context.now()
    this.#countIgnored()
    if (status === DeframeStatus.BAD_LENGTH) this.end('bad-frame-length')
    else if (status === DeframeStatus.CORRUPTED) this.end('corrupted')
    else if (!this.#deframer.isMidFrame) this.#frameBeganMs = undefined
    else if (this.#relayed) this.#frameBeganMs = this.#activeMs
    else this.#frameBeganMs ??= this.#context.now()
    this.#relayed = false
    if (this.#leg?.blocked === true) this.#lane.pause()
  }

  onIke(buffer: Uint8Array, offset: number, length: number): FrameFate {
    this.#context.metrics.toServer.ike.value++
    // the marker in front of the message goes along
    this.#relay(buffer, offset - NON_ESP_MARKER_LENGTH, length + NON_ESP_MARKER_LENGTH)
    // The Length of its own was right.
    return FrameFate.GOOD
  }

  onEsp(buffer: Uint8Array, offset: number, length: number): FrameFate {
    this.#context.metrics.toServer.esp.value++
    this.#relay(buffer, offset, length)
    return this.#familiar.judge(read32(buffer, offset))
  }

  #relay(buffer: Uint8Array, offset: number, length: number): void {
    this.#relayed = true
    this.#context.metrics.toServer.bytes.value += length
    if (!this.#heardClient) this.#openLeg()
    this.#heardClient = true
    if (this.#leg !== undefined) this.#leg.queue(buffer, offset, length)
    else this.#early?.push(Buffer.from(buffer.subarray(offset, offset + length)))
  }

  /** On the first message, not before: an address that only connects costs no UDP port. */
  #openLeg(): void {
    try {
      const leg = this.#context.openLeg(this.client, this)
      if (!(leg instanceof Promise)) {
        this.#begin(leg)
        return
      }
      this.#early = []
      this.#lane.pause()
      leg.then(
        (opened) => this.#begin(opened),
        (error: unknown) => this.#noLeg(error)
      )
    } catch (error) {
      this.#noLeg(error)
    }
  }

  #begin(leg: UdpLeg): void {
    if (this.#endedMs !== undefined) {
      leg.close()
      return
    }
    this.#leg = leg
    const { log } = this.#context
    log.log('info', 'stream relayed', { client: formatEndpoint(this.client), udp: formatEndpoint(leg.local) })
    for (const datagram of this.#early ?? []) leg.queue(datagram, 0, datagram.length)
    if (this.#early !== undefined) {
      leg.flush()
      this.#lane.resume()
    }
    this.#early = undefined
  }

  #noLeg(error: unknown): void {
    const message = error instanceof Error ? error.message : String(error)
    this.#context.log.log('error', 'no UDP socket for a stream', {
      client: formatEndpoint(this.client),
      message
    })
    this.end('no-socket')
  }

  #countIgnored(): void {
    const { toServer } = this.#context.metrics
    toServer.keepalives.value += this.#deframer.keepalives - this.#countedKeepalives
    toServer.malformed.value += this.#deframer.malformed - this.#countedMalformed
    this.#countedKeepalives = this.#deframer.keepalives
    this.#countedMalformed = this.#deframer.malformed
  }

  // --- what the server says

  onDatagram(buffer: Uint8Array, offset: number, length: number): void {
    const { toClient } = this.#context.metrics
    this.#targetErrors = 0
    const outcome = this.#queue.push(buffer, offset, length)
    switch (outcome) {
      case QueueOutcome.QUEUED_IKE:
      case QueueOutcome.QUEUED_ESP:
        if (outcome === QueueOutcome.QUEUED_IKE) toClient.ike.value++
        else toClient.esp.value++
        toClient.bytes.value += length
        break
      case QueueOutcome.DROPPED_ESP:
        toClient.espDropped.value++
        break
      case QueueOutcome.KEEPALIVE:
        toClient.keepalives.value++
        break
      case QueueOutcome.MALFORMED:
        toClient.malformed.value++
        break
      case QueueOutcome.FULL:
        this.end('queue-full')
        break
    }
  }

  onBatchEnd(): void {
    if (this.#queue.flush()) this.#activeMs = this.#context.now()
  }

  onWritable(): void {
    this.#lane.resume()
  }

  onError(code: string): void {
    this.#context.metrics.targetError(code)
    this.#targetErrors++
    const fields = { client: formatEndpoint(this.client), code }
    this.#context.log.log('debug', 'the target cannot be reached', fields)
    // a server that restarts is unreachable for a moment: one error is not yet the end
    if (this.#targetErrors < MAX_TARGET_ERRORS) return
    this.#context.log.log('warn', 'stream closed: the target cannot be reached', fields)
    this.end('target-unreachable')
  }

  // --- the end

  #finish(reason: StreamEnd): void {
    if (this.#endedMs !== undefined) return
    const { log, metrics, now } = this.#context
    this.#endedMs = now()
    metrics.ended(reason)
    const udp = this.#leg === undefined ? undefined : formatEndpoint(this.#leg.local)
    log.log('info', 'stream ended', { client: formatEndpoint(this.client), udp, reason })
    this.#deframer.stop()
    this.#queue.flush()
    this.#leg?.close()
    this.#leg = undefined
    this.#early = undefined
  }
}
