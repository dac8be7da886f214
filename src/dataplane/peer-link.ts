/**
 * One peer of the data plane: its SAs, the transport that reaches it now, and what was counted. Packets are sealed
 * straight into the transport's memory, and opened in place.
 *
 * Invariant: per packet nothing is allocated and nothing thrown; results are numbers.
 * @module
 */
import type { InboundSa } from '../esp/inbound-sa.ts'
import { OpenResult } from '../esp/inbound-sa.ts'
import { NextHeader, SEAL_REFUSED } from '../esp/outbound-sa.ts'
import type { ChildSa, Sad } from '../esp/sad.ts'
import { BlockedRate } from '../transport/blocked-rate.ts'
import type { Transport } from '../transport/types.ts'
import { read32 } from '../wire/ip.ts'
import { clampMss } from '../wire/tcp-mss.ts'
import { applyOuterEcn, ecnOf } from './ecn.ts'
import { expectsAnswer } from './expects-answer.ts'
import { FlowQueue, type QueueMemory } from './flow-queue.ts'
import { mssFor } from './mtu.ts'
import { PumpCounters } from './stats.ts'

/** What `send` did with a packet. */
export const SendResult = { sent: 0, blocked: 1, dropped: 2 } as const
export type SendResult = (typeof SendResult)[keyof typeof SendResult]

/** Both ends of an inner packet's way; `outbound` as seen from this end. */
export type InnerCapture = (buffer: Uint8Array, offset: number, length: number, outbound: boolean) => void

/** What a peer's owner wants to know. */
export interface PeerObserver {
  /** Authentic ESP came in; told once per batch. */
  onInboundActivity?(): void
  /** This Child SA has carried its soft limit, or nearly used up its sequence numbers: rekey it. Told once per SA. */
  onSoftLimit?(child: ChildSa): void
}

/** Looks at inner packets as they pass; must be quick, and must not keep the buffer. */
export interface InnerInspector {
  /** Came out of the tunnel. */
  inbound(buffer: Uint8Array, offset: number, length: number): void
  /** Goes into the tunnel, and a living peer would answer it. */
  outbound(buffer: Uint8Array, offset: number, length: number): void
}

/** What a peer needs of the side of the TUN device. */
export interface PeerSurroundings {
  /** Hands an inner packet to the TUN device; the bytes in front of it are overwritten. */
  deliver(buffer: Uint8Array, offset: number, length: number): void
  flushDelivery(): void
  /** A transport takes packets again, or there is a new one. */
  writableAgain(peer: PeerLink): void
  now(): number
  /** Of the tunnel. */
  readonly mtu: number
  /** What a TCP segment inside may come to with its headers: at most the MTU. */
  readonly segmentMtu: number
  readonly capture: InnerCapture | undefined
  /** Of all peers' queues. */
  readonly queueMemory: QueueMemory
}

/** Of the queue: more than a super-packet on top of what is read ahead. */
const QUEUE_PACKETS = 4096
const QUEUE_BYTES = 2 * 1024 * 1024
/** With so much waiting, the kernel may keep the rest: 20 ms at 200 Mbit/s. */
const READ_AHEAD_BYTES = QUEUE_BYTES / 4
const READ_AHEAD_PACKETS = QUEUE_PACKETS / 4
/** On a line so slow that even that is old, what waits in the kernel would be worse off than here: it is read, and the queue drops. */
const SLOW_LINE_MS = 30
/** A line that lets us wait is slow below 200 Mbit/s. What a faster one makes wait is gone soon, and queues of ours would only cost. */
const SLOW_BYTES_PER_MS = 25_000
/** A slot of the queue at least; more where the tunnel's MTU is larger. */
const QUEUE_SLOT_BYTES = 2048
/** ESP and IPv4 in one: nothing shorter can be opened. */
const MIN_ESP_LENGTH = 8

export class PeerLink {
  readonly sad: Sad
  readonly counters = new PumpCounters()
  inspector: InnerInspector | undefined = undefined
  readonly #around: PeerSurroundings
  readonly #observer: PeerObserver
  #transport: Transport | undefined
  #queue: FlowQueue | undefined
  /** The transport takes nothing just now. */
  #blocked = false
  /** Of what the transport takes. */
  readonly #rate = new BlockedRate()
  #received = false
  #sent = false
  /** SAs that carried something since limits were checked last; few at any time. */
  readonly #used: ChildSa[] = []

  constructor(sad: Sad, around: PeerSurroundings, observer: PeerObserver) {
    this.sad = sad
    this.#around = around
    this.#observer = observer
  }

  get transport(): Transport | undefined {
    return this.#transport
  }

  /** Where ESP goes from now on; undefined: nowhere. What was committed to the old one is sent first. */
  setTransport(transport: Transport | undefined): void {
    if (transport === this.#transport) return
    this.#transport?.esp.flush()
    this.#transport = transport
    this.#blocked = false
    if (transport !== undefined) this.#around.writableAgain(this)
  }

  /** Can a packet be sent now, as far as the transport is concerned? */
  get ready(): boolean {
    return this.#transport?.esp.writable === true
  }

  /** Packets that wait for the transport. */
  get queued(): number {
    return this.#queue?.packets ?? 0
  }

  /** May more be read for this peer than its transport takes? On slow lines, as long as not too much of it waits. */
  get takesAhead(): boolean {
    const { bytesPerMs } = this.#rate
    if (this.#transport === undefined || bytesPerMs === undefined) return false
    if (bytesPerMs >= SLOW_BYTES_PER_MS) return false
    const queue = this.#queue
    if (queue === undefined || (queue.bytes < READ_AHEAD_BYTES && queue.packets < READ_AHEAD_PACKETS))
      return true
    return queue.oldestMs(this.#around.now()) >= SLOW_LINE_MS
  }

  /** Keeps a copy of a packet that the transport did not take. `sendQueued` sends it. */
  enqueue(buffer: Uint8Array, offset: number, length: number): void {
    const queue = this.#roomFor(Math.max(QUEUE_SLOT_BYTES, this.#around.mtu))
    if (!queue.push(this.#around.now(), buffer, offset, length)) this.counters.dropped.tooBig++
    this.#countQueueDrops(queue)
  }

  /** Sends what waits, for as long as the transport takes it, at most this many packets. @returns true when something was sent */
  sendQueued(maxPackets: number): boolean {
    const queue = this.#queue
    if (queue === undefined || queue.packets === 0) return false
    const now = this.#around.now()
    let sent = 0
    while (sent < maxPackets && this.ready && queue.front(now)) {
      const { buffer, offset, length } = queue
      // SAs may have been replaced while it waited.
      const child = this.sad.select(buffer, offset, length)
      if (child === undefined) this.counters.dropped.outsideSelectors++
      else if (this.send(child, buffer, offset, length) === SendResult.blocked) break
      queue.pop()
      sent++
    }
    this.#countQueueDrops(queue)
    return sent > 0
  }

  /** What waits is not worth sending any more. */
  forgetQueued(): void {
    this.#queue?.clear()
    this.#queue = undefined
  }

  /** Seals one inner packet for the transport. `flushSending` ends the batch. Blocked packets were not touched. */
  send(child: ChildSa, buffer: Uint8Array, offset: number, length: number): SendResult {
    const transport = this.#transport
    if (transport === undefined) return SendResult.blocked
    const { esp } = transport
    const at = esp.reserve(child.outbound.sealedLength(length))
    if (at < 0) {
      if (!this.#blocked) this.#rate.blocked(this.#around.now(), this.counters.bytesOut)
      this.#blocked = true
      return SendResult.blocked
    }
    const isIpv4 = (buffer[offset] ?? 0) >>> 4 === 4
    clampMss(buffer, offset, length, mssFor(this.#around.segmentMtu, isIpv4 ? 4 : 6))
    this.#around.capture?.(buffer, offset, length, true)
    const next = isIpv4 ? NextHeader.IPV4 : NextHeader.IPV6
    // Asked before sealing, which may work in place.
    const expects = expectsAnswer(buffer, offset, length)
    if (expects) this.inspector?.outbound(buffer, offset, length)
    const sealed = child.outbound.seal(buffer, offset, length, next, esp.buffer, at)
    if (sealed === SEAL_REFUSED) {
      this.counters.dropped.sequenceExhausted++
      this.#use(child)
      return SendResult.dropped
    }
    esp.commit(sealed, transport.kind === 'udp' ? ecnOf(buffer, offset) : 0)
    this.counters.packetsOut++
    this.counters.bytesOut += length
    if (expects) this.counters.expectingOut++
    this.#sent = true
    this.#use(child)
    return SendResult.sent
  }

  /**
   * Sends an inner packet of our own.
   * @returns false when nothing can be sent now, or no Child SA is meant for it
   */
  inject(packet: Uint8Array): boolean {
    const child = this.sad.select(packet, 0, packet.length)
    if (child === undefined) return false
    const sent = this.send(child, packet, 0, packet.length) === SendResult.sent
    this.flushSending()
    return sent
  }

  /** Ends a batch of `send`. */
  flushSending(): void {
    this.#transport?.esp.flush()
    if (this.#sent) this.counters.lastSentMs = this.#around.now()
    this.#sent = false
    this.#checkLimits()
  }

  /**
   * Takes one ESP packet from the transport, decrypts it in place and delivers what is inside. `handleEspBatchEnd` ends the batch.
   *
   * @param ecn ECN field of the outer header, if known
   * @returns length of the inner packet when ESP was authentic (0: nothing to deliver), else one of `OpenResult`
   */
  handleEsp(buffer: Uint8Array, offset: number, length: number, ecn = 0): number {
    const { dropped } = this.counters
    if (length < MIN_ESP_LENGTH) {
      dropped.malformedEsp++
      return OpenResult.malformed
    }
    const child = this.sad.find(read32(buffer, offset))
    if (child === undefined) {
      dropped.unknownSpi++
      return OpenResult.wrongSpi
    }
    const innerLength = child.inbound.open(buffer, offset, length)
    if (innerLength < 0) return this.#refuse(child, innerLength)
    this.#receive(child)
    this.#deliver(child.inbound, child, buffer, innerLength, ecn)
    return innerLength
  }

  /** Ends a batch of `handleEsp`. */
  handleEspBatchEnd(): void {
    this.#around.flushDelivery()
    if (!this.#received) return
    this.#received = false
    this.counters.lastReceivedMs = this.#around.now()
    this.#checkLimits()
    this.#observer.onInboundActivity?.()
  }

  /** The transport takes packets again. */
  handleWritable(): void {
    if (this.#blocked) this.#rate.writable(this.#around.now(), this.counters.bytesOut)
    this.#blocked = false
    this.#around.writableAgain(this)
  }

  #roomFor(slotBytes: number): FlowQueue {
    const queue = this.#queue
    // The tunnel's MTU may grow.
    if (queue !== undefined && (queue.packets > 0 || queue.slotBytes >= slotBytes)) return queue
    this.forgetQueued()
    const memory = this.#around.queueMemory
    this.#queue = new FlowQueue({ memory, slotBytes, maxPackets: QUEUE_PACKETS, maxBytes: QUEUE_BYTES })
    return this.#queue
  }

  #countQueueDrops(queue: FlowQueue): void {
    const { dropped } = this.counters
    dropped.queueFull += queue.counters.full
    dropped.queueLate += queue.counters.late
    queue.counters.full = queue.counters.late = 0
  }

  #deliver(inbound: InboundSa, child: ChildSa, buffer: Uint8Array, length: number, ecn: number): void {
    const { dropped } = this.counters
    const at = inbound.innerOffset
    if (!child.matches(buffer, at, length, false)) {
      dropped.wrongSelectors++
      return
    }
    if (ecn !== 0 && !applyOuterEcn(buffer, at, ecn)) {
      dropped.congestion++
      return
    }
    clampMss(
      buffer,
      at,
      length,
      mssFor(this.#around.segmentMtu, inbound.nextHeader === NextHeader.IPV4 ? 4 : 6)
    )
    this.#around.capture?.(buffer, at, length, false)
    this.inspector?.inbound(buffer, at, length)
    this.counters.packetsIn++
    this.counters.bytesIn += length
    this.#around.deliver(buffer, at, length)
  }

  #refuse(child: ChildSa, result: number): number {
    const { dropped } = this.counters
    switch (result) {
      case OpenResult.dummy:
        this.counters.dummies++
        this.#receive(child)
        return 0
      case OpenResult.replay:
      case OpenResult.tooOld:
        dropped.replayed++
        return result
      case OpenResult.authenticationFailed:
        dropped.notAuthentic++
        return result
      default:
        dropped.malformedEsp++
        return result
    }
  }

  #receive(child: ChildSa): void {
    this.#received = true
    this.#use(child)
  }

  #use(child: ChildSa): void {
    if (!child.limitReported && !this.#used.includes(child)) this.#used.push(child)
  }

  #checkLimits(): void {
    while (this.#used.length > 0) {
      const child = this.#used.pop()
      if (child !== undefined && this.sad.takeSoftLimit(child)) this.#observer.onSoftLimit?.(child)
    }
  }
}
