/**
 * The gateway's authenticated clients: what the engine says about them becomes SAs, ranges and paths, and ESP finds the
 * client that it belongs to.
 *
 * Invariants: a client exists from `established` to `closed` of its session; outbound ESP goes where the last fresh
 * authentic message came from (RFC 9329 section 6.1), with IKE having the last word.
 * @module
 */
import type { RandomSource } from '../crypto/types.ts'
import { espFate } from '../dataplane/esp-fate.ts'
import type { GatewayPump } from '../dataplane/gateway-pump.ts'
import { type ChildSa, Sad, type SoftLimits } from '../esp/sad.ts'
import type { ChildSaParameters } from '../esp/types.ts'
import type { IkeSession } from '../ike/session.ts'
import type { IkeTimers } from '../ike/types.ts'
import type { Logger } from '../log.ts'
import { formatEndpoint } from '../transport/failure.ts'
import type { Path } from '../wire/endpoint.ts'
import { FrameFate } from '../wire/frame-fate.ts'
import { read32 } from '../wire/ip.ts'
import type { Carrier, Carriers } from './carriers.ts'
import type { GatewayEvent } from './events.ts'
import { espMoves, Peer } from './peer.ts'
import type { ResponderDriver, SessionEvent } from './responder-driver.ts'
import { SpiTable } from './spi-table.ts'

/** SPI and sequence number. */
const MIN_ESP_LENGTH = 8
/** Unauthenticated hints lead to at most one liveness check in this time (RFC 7296 section 2.21.4). */
const TROUBLE_INTERVAL_MS = 10_000

export interface ClientsSurroundings {
  readonly pump: GatewayPump
  readonly carriers: Carriers
  readonly driver: ResponderDriver
  readonly random: RandomSource
  readonly timers: IkeTimers
  readonly idleLivenessMs: number
  readonly log: Logger
  now(): number
  onEvent(event: GatewayEvent): void
}

export class Clients {
  readonly #around: ClientsSurroundings
  readonly #peers = new Map<IkeSession, Peer>()
  readonly #bySpi = new SpiTable<Peer>()
  readonly #softLimits: SoftLimits
  /** Peers that got ESP in this batch. */
  readonly #received: Peer[] = []
  #lastNumber = 0
  /** ESP of nobody that we know. */
  unknownSpi = 0
  /** Called when the last client has gone. */
  onEmpty: () => void = () => undefined

  constructor(around: ClientsSurroundings) {
    this.#around = around
    const { childLifetimeBytes, childLifetimePackets, rekeyMargin } = around.timers
    this.#softLimits = {
      bytes: childLifetimeBytes * (1 - rekeyMargin),
      packets: childLifetimePackets * (1 - rekeyMargin)
    }
  }

  get size(): number {
    return this.#peers.size
  }

  /** A session's Child SAs, and a number that changes with every packet. */
  dataOf(session: IkeSession): { readonly children: readonly ChildSa[]; readonly activity: number } {
    const peer = this.#peers.get(session)
    if (peer === undefined) return { children: [], activity: 0 }
    const { packetsIn, packetsOut, dummies } = peer.link.counters
    return { children: peer.sad.children, activity: packetsIn + packetsOut + dummies }
  }

  // ---- what the engine says

  onSessionEvent(session: IkeSession, event: SessionEvent): void {
    if (event.type === 'established') {
      this.#add(session, event)
      return
    }
    const peer = this.#peers.get(session)
    if (peer === undefined) return
    switch (event.type) {
      case 'child-up':
        this.#install(peer, event.child)
        return
      case 'child-outbound':
        peer.sad.activateOutbound(event.spiIn)
        // Packets may wait for it.
        peer.link.handleWritable()
        return
      case 'child-down':
        this.#uninstall(peer, event.spiIn)
        return
      case 'path-changed':
        this.#move(peer, event.path, 'ike')
        return
      case 'replay-counter-sync':
        peer.sad.addToSequences(event.delta)
        return
      case 'closed':
        this.#remove(peer, event)
        return
      default:
    }
  }

  #add(session: IkeSession, event: Extract<SessionEvent, { type: 'established' }>): void {
    const { pump, carriers, random, onEvent, log } = this.#around
    const sad = new Sad({ random, softLimits: this.#softLimits })
    const link = pump.addPeer(sad, { onSoftLimit: (child) => this.#onSoftLimit(session, child) })
    const peer = new Peer(++this.#lastNumber, session, { ...event, atMs: this.#around.now() }, { sad, link })
    this.#peers.set(session, peer)
    carriers.attach(peer, event.path)
    const { ikeSuite, espSuite } = event.info
    log.log('info', 'a client is up', { identity: peer.identity, ikeSuite, espSuite })
    onEvent({
      event: 'client-up',
      peer: peer.number,
      identity: peer.identity,
      virtualIps: peer.virtualIps,
      transport: event.path.transport,
      remote: remoteOf(event.path),
      resumed: event.info.resumed,
      ticket: event.info.byTicket
    })
  }

  #install(peer: Peer, parameters: ChildSaParameters): void {
    peer.sad.install(parameters)
    this.#bySpi.add(parameters.inbound.spi, peer)
    this.#around.pump.setRanges(peer.link, peer.ranges)
  }

  #uninstall(peer: Peer, spiIn: number): void {
    peer.sad.remove(spiIn)
    this.#bySpi.remove(spiIn, peer)
    this.#around.pump.setRanges(peer.link, peer.ranges)
  }

  #remove(peer: Peer, { reason, error }: Extract<SessionEvent, { type: 'closed' }>): void {
    const { pump, carriers, onEvent, log } = this.#around
    for (const { parameters } of peer.sad.children) this.#bySpi.remove(parameters.inbound.spi, peer)
    const { bytesIn, bytesOut } = peer.link.counters
    carriers.detach(peer)
    pump.removePeer(peer.link)
    peer.sad.clear()
    this.#peers.delete(peer.session)
    log.log('info', 'a client is gone', { identity: peer.identity, reason, error: error?.message })
    onEvent({
      event: 'client-down',
      peer: peer.number,
      identity: peer.identity,
      reason,
      bytesIn,
      bytesOut
    })
    if (this.#peers.size === 0) this.onEmpty()
  }

  #move(peer: Peer, path: Path, by: 'ike' | 'esp'): void {
    const { carriers, onEvent, log } = this.#around
    const before = peer.path
    if (by === 'ike') peer.movedByIke(path)
    else peer.movedByEsp(path)
    carriers.attach(peer, path)
    if (before.id === path.id) return
    log.log('info', 'a client moved', { identity: peer.identity, to: path.transport, by })
    onEvent({
      event: 'client-moved',
      peer: peer.number,
      identity: peer.identity,
      from: before.transport,
      to: path.transport,
      remote: remoteOf(path)
    })
  }

  #onSoftLimit(session: IkeSession, child: ChildSa): void {
    const { bytes } = this.#softLimits
    const carried = Math.max(child.inbound.bytes, child.outbound.bytes)
    const limit = bytes > 0 && carried >= bytes ? 'bytes' : 'packets'
    this.#around.driver.input(session, (one, now) =>
      one.childLimitReached(now, child.parameters.inbound.spi, limit)
    )
  }

  // ---- ESP from the network

  /** Could an ESP packet of a client of ours begin with these eight bytes? */
  recognisesEsp(buffer: Uint8Array, offset: number, path: Path): boolean {
    const peer = this.#bySpi.find(read32(buffer, offset), path)
    return peer?.sad.mayComeNext(buffer, offset) === true
  }

  /**
   * One ESP packet from any path; it is decrypted in place. `endEspBatch` ends the batch.
   * @returns what it says about a stream that it came on
   */
  receiveEsp(buffer: Uint8Array, offset: number, length: number, path: Path, ecn?: number): FrameFate {
    if (length < MIN_ESP_LENGTH) return FrameFate.BROKEN
    const spi = read32(buffer, offset)
    const peer = this.#bySpi.find(spi, path)
    if (peer === undefined) {
      this.unknownSpi++
      this.#around.driver.unknownEsp(spi, path)
      return FrameFate.STRANGE
    }
    if (!this.#received.includes(peer)) this.#received.push(peer)
    if (path.id === peer.path.id) return espFate(peer.link.handleEsp(buffer, offset, length, ecn))
    const window = peer.sad.find(spi)?.inbound.window
    const newest = window?.top
    const result = peer.link.handleEsp(buffer, offset, length, ecn)
    // A packet that was overtaken says nothing about where the peer is now.
    if (result >= 0 && window?.top !== newest) this.#followEsp(peer, path)
    return espFate(result)
  }

  endEspBatch(): void {
    while (this.#received.length > 0) this.#received.pop()?.link.handleEspBatchEnd()
  }

  #followEsp(peer: Peer, candidate: Path): void {
    const { carriers } = this.#around
    if (!carriers.carriesEsp(candidate)) return
    const moves = espMoves({
      current: peer.path,
      candidate,
      left: peer.hasLeft(candidate),
      currentIsOpen: carriers.isOpen(peer.path),
      behindNat: peer.session.info().natRemote
    })
    if (!moves) return
    this.#move(peer, candidate, 'esp')
    this.#around.driver.input(peer.session, (one, now) => one.peerSeenOn(now, candidate))
  }

  // ---- now and then

  /** A stream ended: its session waits for the client to come back on another (RFC 9329 section 6.1). */
  onStreamLost(path: Path, session: IkeSession | undefined): void {
    const { driver } = this.#around
    const concerned = new Set([...this.#peers.values()].filter((peer) => peer.path.id === path.id))
    for (const peer of concerned) driver.input(peer.session, (one, now) => one.pathLost(now, path))
    if (session !== undefined && !this.#peers.has(session))
      driver.input(session, (one, now) => one.pathLost(now, path))
  }

  onTrouble(carrier: Carrier): void {
    const now = this.#around.now()
    for (const peer of this.#peers.values()) {
      if (peer.carrier !== carrier || now - peer.lastTroubleMs < TROUBLE_INTERVAL_MS) continue
      peer.lastTroubleMs = now
      this.#around.driver.input(peer.session, (one, at) => one.checkLiveness(at))
    }
  }

  /** Tells the engine about traffic, asks silent clients whether they live, and keeps NAT bindings alive. Once a second. */
  tick(): void {
    const now = this.#around.now()
    for (const peer of this.#peers.values()) {
      this.#noteTraffic(peer, now)
      this.#keepBindingAlive(peer, now)
    }
  }

  #noteTraffic(peer: Peer, now: number): void {
    const { driver, idleLivenessMs } = this.#around
    const { counters } = peer.link
    const packetsIn = counters.packetsIn + counters.dummies
    const received = packetsIn !== peer.notedIn
    const sent = counters.packetsOut !== peer.notedOut
    peer.notedIn = packetsIn
    peer.notedOut = counters.packetsOut
    if (sent) peer.lastKeepaliveMs = now
    if (received) peer.lastHeardMs = now
    if (received || sent) driver.input(peer.session, (one, at) => one.noteTraffic(at, { received, sent }))
    if (idleLivenessMs === 0 || now - peer.lastHeardMs < idleLivenessMs) return
    peer.lastHeardMs = now
    driver.input(peer.session, (one, at) => one.checkLiveness(at))
  }

  /** RFC 3948 section 4: the end behind a NAT keeps the binding. */
  #keepBindingAlive(peer: Peer, now: number): void {
    const { natKeepaliveMs } = this.#around.timers
    if (!peer.info.natLocal || natKeepaliveMs === 0 || now - peer.lastKeepaliveMs < natKeepaliveMs) return
    peer.lastKeepaliveMs = now
    peer.carrier?.transport.sendNatKeepalive()
  }
}

function remoteOf(path: Path): string {
  return formatEndpoint(path.remote.address, path.remote.port)
}
