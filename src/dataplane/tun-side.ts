/**
 * The side of the data plane that faces the TUN device, whatever the number of peers: reads frames in batches, cuts
 * them into packets, finds each packet's peer and Child SA; and delivers inner packets through coalescing.
 *
 * Backpressure: what a blocked transport does not take waits in a queue of its peer, one line for each flow (`flow-queue.ts`). With
 * one peer, on a fast line, that would be work for nothing: reading stops, and the packet in hand is kept and goes first.
 * @module
 */
import type { ChildSa, Sad } from '../esp/sad.ts'
import type { Logger } from '../log.ts'
import { Coalescer } from '../tun/coalescing.ts'
import { Segmenter } from '../tun/segmentation.ts'
import { MAX_PACKET_LENGTH, type Tun } from '../tun/types.ts'
import { clearVnetHeader, VNET_HEADER_LENGTH } from '../tun/vnet-header.ts'
import { MAX_ICMP_ERROR_LENGTH, writeAdministrativelyProhibited, writePacketTooBig } from '../wire/icmp.ts'
import { IPV4_DONT_FRAGMENT, IPV4_FRAGMENT_OFFSET, ipPacketLength, read16 } from '../wire/ip.ts'
import { compileSoon } from './compile-soon.ts'
import { QueueMemory } from './flow-queue.ts'
import { Ipv4Fragmenter } from './ipv4-fragmenter.ts'
import { MIN_IPV6_MTU } from './mtu.ts'
import {
  type InnerCapture,
  PeerLink,
  type PeerObserver,
  type PeerSurroundings,
  SendResult
} from './peer-link.ts'
import { PumpCounters } from './stats.ts'

/** Frames per turn of the event loop: up to 1 MiB, so that the other direction gets its turn too. */
const FRAMES_PER_TURN = 16
/** All peers' queues together: several slow peers in full, or hundreds that are slow now and then. */
const QUEUE_MEMORY_BYTES = 64 * 1024 * 1024
/** Of what waits in a peer's queue, in one turn. */
const QUEUED_PER_TURN = 1024
/** A transport that is ready again as soon as it was blocked still has to leave the event loop to others. */
const MAX_TURNS = 4
/** ICMP errors about packets outside the selectors, per second (RFC 1812 section 4.3.2.8). */
const PROHIBITED_PER_SECOND = 10

/** Chooses peers for outbound packets. */
export interface PeerRouter {
  /** The peer for this sound IP packet; undefined: none. */
  peerFor(buffer: Uint8Array, offset: number, length: number): PeerLink | undefined
  /** The only peer: while it cannot send, nothing is read from the TUN device. Undefined: none, or several. */
  readonly sole: PeerLink | undefined
}

export interface TunSideOptions {
  readonly tun: Tun
  readonly logger: Logger
  /** Of the tunnel, in bytes. */
  readonly mtu: number
  /** A monotonic clock, milliseconds. */
  readonly now: () => number
  readonly capture?: InnerCapture | undefined
  /** The device is gone. */
  readonly onTunGone?: ((reason: string) => void) | undefined
}

export class TunSide implements PeerSurroundings {
  readonly capture: InnerCapture | undefined
  readonly now: () => number
  /** What belongs to no peer. */
  readonly counters = new PumpCounters()
  readonly queueMemory = new QueueMemory(QUEUE_MEMORY_BYTES)
  readonly #tun: Tun
  readonly #logger: Logger
  readonly #router: PeerRouter
  readonly #segmenter = new Segmenter()
  readonly #coalescer: Coalescer
  readonly #fragmenter = new Ipv4Fragmenter(MAX_PACKET_LENGTH)
  readonly #icmp = new Uint8Array(new ArrayBuffer(VNET_HEADER_LENGTH + MAX_ICMP_ERROR_LENGTH))
  /** Peers that were sent something in this turn. */
  readonly #toFlush: PeerLink[] = []
  /** Peers for whose transport packets wait. */
  readonly #backlogged: PeerLink[] = []
  segmentMtu: number
  #mtu: number
  #segmentLimit = Number.POSITIVE_INFINITY
  #paused = true
  #inTurn = false
  #turnAgain = false
  #stopped = false
  /** The segmenter's current packet waits for its peer's transport. */
  #held = false
  /** Where the current frame's packets go, once its first one was looked at. */
  #framePeer: PeerLink | undefined
  #frameChild: ChildSa | undefined
  #prohibitedSecond = 0
  #prohibitedCount = 0

  constructor(options: TunSideOptions, router: PeerRouter) {
    this.#tun = options.tun
    this.#logger = options.logger
    this.#router = router
    this.#mtu = this.segmentMtu = options.mtu
    this.now = options.now
    this.capture = options.capture
    this.#coalescer = new Coalescer((buffer, offset, length) => this.#write(buffer, offset, length), {
      tcp: options.tun.offloads.tcp.inUse,
      udp: options.tun.offloads.udp.inUse
    })
    this.#tun.setHandlers({
      onReadable: () => this.#turn(),
      onGone: (reason) => {
        this.#logger.log('error', reason)
        this.#stopped = true
        options.onTunGone?.(reason)
      }
    })
  }

  get mtu(): number {
    return this.#mtu
  }

  /** From now on packets of at most this many bytes go through the tunnel (IPv6: never less than 1280). */
  setMtu(mtu: number): void {
    this.#mtu = mtu
    this.segmentMtu = Math.min(mtu, this.#segmentLimit)
  }

  /** TCP segments come to no more than this with their headers; undefined: to no more than the MTU. */
  setSegmentLimit(packetBytes: number | undefined): void {
    this.#segmentLimit = packetBytes ?? Number.POSITIVE_INFINITY
    this.segmentMtu = Math.min(this.#mtu, this.#segmentLimit)
  }

  addPeer(sad: Sad, observer: PeerObserver): PeerLink {
    return new PeerLink(sad, this, observer)
  }

  /** Starts or goes on reading the TUN device. */
  resume(): void {
    compileSoon()
    this.#paused = false
    this.#turn()
  }

  /** Stops reading; packets queue up in the kernel. */
  pause(): void {
    this.#paused = true
    this.#updateReading()
  }

  /** Stops for good. The TUN device is its owner's to release. */
  stop(): void {
    this.#stopped = true
    this.#held = false
    this.#updateReading()
  }

  writableAgain(peer: PeerLink): void {
    if (!this.#held || this.#framePeer === peer) this.#turn()
  }

  /** Peers came or went: a packet that waits for one of them may have to make way. */
  peersChanged(): void {
    this.#turn()
  }

  /** What waits for this peer is not worth sending any more. */
  forget(peer: PeerLink): void {
    peer.forgetQueued()
    const at = this.#backlogged.indexOf(peer)
    if (at >= 0) this.#backlogged.splice(at, 1)
  }

  deliver(buffer: Uint8Array, offset: number, length: number): void {
    if (!this.#stopped) this.#coalescer.push(buffer, offset, length)
  }

  flushDelivery(): void {
    if (!this.#stopped) this.#coalescer.flush()
  }

  #write(buffer: Uint8Array, offset: number, length: number): void {
    if (!this.#tun.write(buffer, offset, length)) this.counters.dropped.tunRefused++
  }

  #updateReading(): void {
    this.#tun.setReading(!this.#paused && !this.#stopped && !this.#held && !this.#mustWait())
  }

  /** With one peer only: wait in the kernel while there is no transport, or enough that waits for it. */
  #mustWait(): boolean {
    const peer = this.#router.sole
    return peer !== undefined && (peer.queued > 0 || !peer.ready) && !peer.takesAhead
  }

  /** One batch, from the TUN device to the transports. */
  #turn(): void {
    // What waits is looked at again by `resume`.
    if (this.#paused || this.#stopped) return
    this.#turnAgain = true
    if (this.#inTurn) return
    this.#inTurn = true
    // A transport may say that it takes packets again while it is being flushed: then what waits gets its turn at once.
    for (let turns = 0; this.#turnAgain && turns < MAX_TURNS && !this.#paused && !this.#stopped; turns++) {
      this.#turnAgain = false
      this.#sendQueued()
      this.#readFrames()
      while (this.#toFlush.length > 0) this.#toFlush.pop()?.flushSending()
    }
    this.#inTurn = false
    const more = this.#turnAgain && this.#held
    if (more || this.#backlogged.some(({ ready }) => ready)) setImmediate(() => this.#turn())
    this.#updateReading()
  }

  #sendQueued(): void {
    for (let index = this.#backlogged.length - 1; index >= 0; index--) {
      const peer = this.#backlogged[index]
      if (peer === undefined) continue
      if (peer.sendQueued(QUEUED_PER_TURN)) this.#flushLater(peer)
      if (peer.queued === 0) this.#backlogged.splice(index, 1)
    }
  }

  #flushLater(peer: PeerLink): void {
    if (!this.#toFlush.includes(peer)) this.#toFlush.push(peer)
  }

  #readFrames(): void {
    // An SA may have been replaced while a packet waited.
    this.#frameChild = undefined
    let frames = FRAMES_PER_TURN
    while (this.#finishFrame() && frames-- > 0 && !this.#mustWait()) {
      const length = this.#tun.read()
      if (length <= 0) break
      this.#framePeer = this.#frameChild = undefined
      if (!this.#segmenter.load(this.#tun.readBuffer, 0, length)) this.counters.dropped.malformed++
    }
  }

  /** Sends what is left of the frame in hand. @returns false when it has to wait */
  #finishFrame(): boolean {
    const segmenter = this.#segmenter
    while (this.#held || segmenter.next()) {
      const result = this.#sendPacket(this.#tun.readBuffer, segmenter.offset, segmenter.length)
      this.#held = result === SendResult.blocked
      if (this.#held) return false
    }
    return true
  }

  #sendPacket(buffer: Uint8Array, offset: number, length: number): SendResult {
    if (this.#frameChild === undefined) {
      if (ipPacketLength(buffer, offset, length) !== length) {
        this.counters.dropped.malformed++
        return SendResult.dropped
      }
      if (!this.#route(buffer, offset, length)) return SendResult.dropped
    }
    const peer = this.#framePeer
    const child = this.#frameChild
    if (peer === undefined || child === undefined) return SendResult.dropped
    const isIpv6 = (buffer[offset] ?? 0) >>> 4 === 6
    const mtu = isIpv6 ? Math.max(this.#mtu, MIN_IPV6_MTU) : this.#mtu
    if (length > mtu) return this.#tooBig(peer, child, buffer, offset, length, mtu)
    return this.#sendTo(peer, child, buffer, offset, length)
  }

  /** Finds peer and Child SA for the first packet of a frame; the others of it have the same headers. */
  #route(buffer: Uint8Array, offset: number, length: number): boolean {
    const peer = this.#router.peerFor(buffer, offset, length)
    const child = peer?.sad.select(buffer, offset, length)
    if (peer === undefined || child === undefined) {
      const counters = peer?.counters ?? this.counters
      counters.dropped.outsideSelectors++
      this.#answerProhibited(buffer, offset, length)
      return false
    }
    this.#framePeer = peer
    this.#frameChild = child
    return true
  }

  #sendTo(peer: PeerLink, child: ChildSa, buffer: Uint8Array, offset: number, length: number): SendResult {
    if (peer.queued === 0) {
      const result = peer.send(child, buffer, offset, length)
      if (result === SendResult.sent) this.#flushLater(peer)
      if (result !== SendResult.blocked) return result
      const alone = this.#router.sole === peer
      if (alone && !peer.takesAhead) return SendResult.blocked
      if (!alone && peer.transport === undefined) {
        peer.counters.dropped.noPath++
        return SendResult.dropped
      }
      this.#backlogged.push(peer)
    }
    peer.enqueue(buffer, offset, length)
    return SendResult.sent
  }

  #tooBig(
    peer: PeerLink,
    child: ChildSa,
    buffer: Uint8Array,
    offset: number,
    length: number,
    mtu: number
  ): SendResult {
    const isIpv4 = (buffer[offset] ?? 0) >>> 4 === 4
    if (isIpv4 && (read16(buffer, offset + IPV4_FRAGMENT_OFFSET) & IPV4_DONT_FRAGMENT) === 0) {
      const pieces = this.#fragmenter
      if (pieces.begin(buffer, offset, length, mtu)) {
        while (pieces.next()) {
          // All of a packet's pieces or none are of use: what follows a blocked one is not worth keeping.
          const result = this.#sendTo(peer, child, pieces.buffer, 0, pieces.length)
          if (result === SendResult.blocked) peer.counters.dropped.noPath++
          if (result !== SendResult.sent) return SendResult.dropped
        }
        return SendResult.sent
      }
    }
    peer.counters.dropped.tooBig++
    const answer = writePacketTooBig(this.#icmp, VNET_HEADER_LENGTH, buffer, offset, length, mtu)
    this.#writeIcmp(answer)
    return SendResult.dropped
  }

  #answerProhibited(buffer: Uint8Array, offset: number, length: number): void {
    const second = Math.floor(this.now() / 1000)
    if (second !== this.#prohibitedSecond) this.#prohibitedCount = 0
    this.#prohibitedSecond = second
    if (this.#prohibitedCount++ >= PROHIBITED_PER_SECOND) return
    this.#writeIcmp(writeAdministrativelyProhibited(this.#icmp, VNET_HEADER_LENGTH, buffer, offset, length))
  }

  #writeIcmp(length: number): void {
    if (length <= 0) return
    clearVnetHeader(this.#icmp, 0)
    this.#write(this.#icmp, 0, VNET_HEADER_LENGTH + length)
  }
}
