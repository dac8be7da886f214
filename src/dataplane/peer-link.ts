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
import type { Transport } from '../transport/types.ts'
import { read32 } from '../wire/ip.ts'
import { clampMss } from '../wire/tcp-mss.ts'
import { applyOuterEcn, ecnOf } from './ecn.ts'
import { expectsAnswer } from './expects-answer.ts'
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
  /** What a TCP segment inside may come to with its headers: at most the MTU. */
  readonly segmentMtu: number
  readonly capture: InnerCapture | undefined
}

/** ESP and IPv4 in one: nothing shorter can be opened. */
const MIN_ESP_LENGTH = 8

export class PeerLink {
  readonly sad: Sad
  readonly counters = new PumpCounters()
  inspector: InnerInspector | undefined = undefined
  readonly #around: PeerSurroundings
  readonly #observer: PeerObserver
  #transport: Transport | undefined
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
    if (transport !== undefined) this.#around.writableAgain(this)
  }

  /** Can a packet be sent now, as far as the transport is concerned? */
  get ready(): boolean {
    return this.#transport?.esp.writable === true
  }

  /** Seals one inner packet for the transport. `flushSending` ends the batch. Blocked packets were not touched. */
  send(child: ChildSa, buffer: Uint8Array, offset: number, length: number): SendResult {
    const transport = this.#transport
    if (transport === undefined) return SendResult.blocked
    const { esp } = transport
    const at = esp.reserve(child.outbound.sealedLength(length))
    if (at < 0) return SendResult.blocked
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
    this.#around.writableAgain(this)
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
