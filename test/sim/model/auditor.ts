/**
 * Watches both ends and the wire between them, and says when something holds no longer that always must.
 *
 * Invariants (the names are those in reports):
 * - `keys`: the two halves of a Child SA that live have the same keys, and what one end seals the other can open.
 * - `message-ids`: no Message ID is used for two different messages, no ESP sequence number twice with one SA.
 * - `no-loss`: what the network delivers in time is taken, whatever is being rekeyed.
 * - `no-duplicates`: an inner packet is handed over once.
 * - `authentic`: a message that the peer did not send, or that has come before, changes nothing.
 * - `spis`: what a session claimed or set up is gone when it is.
 * - `beliefs`: an SA that only one end knows is given up within its bound.
 * - `memory`: nothing grows without bound.
 * @module
 */
import type { ChildSaParameters, EspSaParameters } from '../../../src/esp/types.ts'
import { CHILD_SA_EXPIRED } from '../../../src/ike/scheduler.ts'
import type { IkeSession } from '../../../src/ike/session.ts'
import type { IkeOutput } from '../../../src/ike/types.ts'
import { ExchangeType, PayloadType } from '../../../src/wire/ike-constants.ts'
import { readMessageHeader } from '../../../src/wire/ike-header.ts'
import { read16, read32 } from '../../../src/wire/ip.ts'
import { arePaired } from '../../support/ike-pair.ts'
import type { TransportObserver } from './observed-transport.ts'
import type { World } from './world.ts'

export type Side = 'client' | 'gateway'

/** A packet that was under way for longer than this may come too late: SAs do not stay for ever. */
const TIMELY_MS = 2_000
/** How an SA ends that nobody could rekey. */
const ENDS_OF_LIFE: readonly string[] = ['expired', 'timeout']
/** Why a Child SA may go while packets are under way: nothing has taken its place. */
const FINAL: readonly string[] = [...ENDS_OF_LIFE, 'requested']
/** By then the other end has said why, too. */
const JUDGED_AFTER_MS = 8_000
/** Retransmissions included. */
const EXCUSED_MS = 10_000

export interface WatchedChild {
  readonly owner: WatchedSession
  readonly parameters: ChildSaParameters
  isUp: boolean
  /** Sent on, by this end. */
  isActive: boolean
  downReason: string | undefined
  /** Its keys had served their time before both ends knew what replaces it. */
  isWornOut: boolean
}

export interface WatchedSession {
  readonly side: Side
  readonly session: IkeSession
  /** Which process of that machine. */
  readonly life: number
  isEstablished: boolean
  isClosed: boolean
  readonly children: Map<number, WatchedChild>
  readonly claimed: Set<bigint>
  /** Counts what the engine said because something had changed. */
  effects: number
}

interface SentPacket {
  readonly bytes: Uint8Array
  readonly at: number
  hasArrived: boolean
  /** It was handed over. */
  isTaken: boolean
}

/** What the auditor asks of an end. */
export interface End {
  /** Inner packets that were handed over so far. */
  handedOver(): number
  /** Counts those, and whatever else this end did because of a message. */
  effects(): number
  /** Whose ESP is taken now. */
  takes(session: IkeSession): boolean
}

export class Auditor {
  readonly sessions: WatchedSession[] = []
  /** When numbers were skipped, or a Child SA taken away, on purpose: what is under way then does not count. */
  excusedAt = Number.NEGATIVE_INFINITY
  /** An SA came to its end for want of a rekeying in time. */
  sawExpiry = false
  /** Genuine first arrivals, and those of them that were refused for a good reason. */
  espDelivered = 0
  espExcused = 0
  readonly lives: Record<Side, number> = { client: 0, gateway: 0 }
  readonly #world: World
  readonly #ends: Record<Side, End | undefined> = { client: undefined, gateway: undefined }
  readonly #bySession = new Map<IkeSession, WatchedSession>()
  /** By inbound SPI. */
  readonly #children: Record<Side, Map<number, WatchedChild>> = { client: new Map(), gateway: new Map() }
  readonly #byOutbound: Record<Side, Map<number, WatchedChild>> = { client: new Map(), gateway: new Map() }
  readonly #espSent: Record<Side, Map<number, Map<number, SentPacket>>> = {
    client: new Map(),
    gateway: new Map()
  }
  readonly #highest: Record<Side, Map<number, number>> = { client: new Map(), gateway: new Map() }
  readonly #ikeSent: Record<Side, Set<string>> = { client: new Set(), gateway: new Set() }
  readonly #refused: { readonly child: WatchedChild; readonly what: string; readonly at: number }[] = []
  #isTakeoverUnheard = false
  readonly #byMessageId = new Map<string, string>()

  constructor(world: World) {
    this.#world = world
  }

  setEnd(side: Side, end: End): void {
    this.#ends[side] = end
  }

  /** Another node goes on with the sessions. */
  takenOver(): void {
    this.excusedAt = this.#world.now
    this.#isTakeoverUnheard = true
  }

  /** A process of this machine ended without a word; another one may begin. */
  died(side: Side): void {
    this.lives[side]++
    for (const watched of this.sessions) if (watched.side === side) watched.isClosed = true
  }

  of(session: IkeSession): WatchedSession | undefined {
    return this.#bySession.get(session)
  }

  living(side: Side): WatchedSession[] {
    return this.sessions.filter((one) => one.side === side && one.isEstablished && !one.isClosed)
  }

  /** Child SAs of an end that are set up, as its engine has told. */
  childrenOf(side: Side): WatchedChild[] {
    return this.living(side).flatMap((one) => [...one.children.values()].filter(({ isUp }) => isUp))
  }

  /** The other end's half, if that lives. */
  otherHalf({ owner, parameters }: WatchedChild): WatchedChild | undefined {
    const other = this.#children[opposite(owner.side)].get(parameters.outbound.spi)
    if (other === undefined || !other.isUp || other.owner.isClosed) return undefined
    return other.parameters.outbound.spi === parameters.inbound.spi ? other : undefined
  }

  // ---- engines

  watch(side: Side, session: IkeSession): WatchedSession {
    const known = this.#bySession.get(session)
    if (known !== undefined) return known
    const watched: WatchedSession = {
      ...{ side, session, life: this.lives[side], isEstablished: false, isClosed: false },
      ...{ children: new Map(), claimed: new Set(), effects: 0 }
    }
    this.#bySession.set(session, watched)
    this.sessions.push(watched)
    return watched
  }

  /** Everything that an engine says. */
  output(side: Side, session: IkeSession, output: IkeOutput): void {
    const watched = this.watch(side, session)
    if (!HARMLESS.includes(output.type)) watched.effects++
    const now = this.#world.now
    switch (output.type) {
      case 'established':
        watched.isEstablished = true
        this.#world.note(`${side} established`, output.info.ikeSuite)
        return
      case 'child-up':
        this.#childUp(watched, output.child)
        return
      case 'child-outbound': {
        const child = watched.children.get(output.spiIn)
        this.#world.note(
          `${side} sends on`,
          `${hex(output.spiIn)}/${hex(child?.parameters.outbound.spi ?? 0)}`
        )
        for (const one of watched.children.values())
          if (one.parameters.childId === child?.parameters.childId) one.isActive = one === child
        return
      }
      case 'child-down': {
        const child = watched.children.get(output.spiIn)
        if (child === undefined || !child.isUp)
          this.#world.broken('spis', `${side} took a Child SA down that was not up`)
        else {
          child.isUp = child.isActive = false
          child.downReason = output.reason
        }
        if (ENDS_OF_LIFE.includes(output.reason)) this.sawExpiry = true
        this.#world.note(`${side} child-down`, `${hex(output.spiIn)} ${output.reason}`)
        return
      }
      case 'log':
        if (output.message === CHILD_SA_EXPIRED)
          this.#childExpired(watched, Number.parseInt(String(output.fields?.['spiIn']), 16))
        return
      case 'replay-counter-sync':
        this.#isTakeoverUnheard = false
        return
      case 'spi-claimed':
        watched.claimed.add(output.spi)
        return
      case 'spi-released':
        if (!watched.claimed.delete(output.spi))
          this.#world.broken('spis', `${side} released an IKE SPI that it had not claimed`)
        return
      case 'closed':
        this.#closed(watched, output.reason)
        return
      case 'rekeyed':
      case 'liveness':
      case 'hint':
        this.#world.note(`${side} ${output.type}`, 'what' in output ? output.what : '')
        return
      case 'path-changed':
        this.#world.note(`${side} path-changed`, `${output.path.transport} at ${now}`)
        return
      default:
    }
  }

  #childUp(watched: WatchedSession, child: ChildSaParameters): void {
    const { side } = watched
    const { spi } = child.inbound
    const known = this.#children[side].get(spi)
    if (known?.isUp && !known.owner.isClosed)
      this.#world.broken('spis', `${side} uses the inbound SPI ${hex(spi)} twice`)
    const others = [...watched.children.values()].filter(({ isUp }) => isUp)
    if (others.some(({ parameters }) => parameters.childId !== child.childId)) this.sawExpiry = true
    const parameters = { ...child, inbound: copyOf(child.inbound), outbound: copyOf(child.outbound) }
    const one = {
      owner: watched,
      parameters,
      isUp: true,
      isActive: false,
      downReason: undefined,
      isWornOut: false
    }
    watched.children.set(spi, one)
    this.#children[side].set(spi, one)
    this.#byOutbound[side].set(child.outbound.spi, one)
    this.#world.note(`${side} child-up`, hex(spi))
    const other = this.otherHalf(one)
    if (other !== undefined && !arePaired(parameters, other.parameters))
      this.#world.broken('keys', `the two ends have different keys for ${hex(spi)}`)
  }

  /**
   * The keys are not used any longer, even where the peer has not learnt of the Child SA that replaces this one, since each answer to
   * its rekeying got lost: until one arrives there is none that both ends have.
   */
  #childExpired({ children }: WatchedSession, spiIn: number): void {
    const expired = children.get(spiIn)
    const isReplaced = [...children.values()].some(
      (one) =>
        one !== expired &&
        one.isUp &&
        one.parameters.childId === expired?.parameters.childId &&
        this.otherHalf(one) !== undefined
    )
    if (expired === undefined || isReplaced) return
    expired.isWornOut = true
    this.sawExpiry = true
  }

  #closed(watched: WatchedSession, reason: string): void {
    const { side } = watched
    watched.isClosed = true
    if (ENDS_OF_LIFE.includes(reason)) this.sawExpiry = true
    this.#world.note(`${side} closed`, reason)
    if (watched.claimed.size > 0)
      this.#world.broken('spis', `${side} ended a session and kept ${watched.claimed.size} IKE SPIs`)
    const left = [...watched.children.values()].filter(({ isUp }) => isUp)
    // A responder's data plane goes with its session; the engine need not name its SAs one by one.
    for (const child of left) child.isUp = child.isActive = false
  }

  // ---- the wire

  observer(side: Side): TransportObserver {
    return {
      ikeSent: (message) => this.#ikeLeft(side, message),
      espSent: (packet) => this.#espLeft(side, packet),
      ikeReceived: (message, receive) => this.#ikeArrived(side, message, receive),
      espReceived: (packet, receive) => this.#espArrived(side, packet, receive)
    }
  }

  #ikeLeft(side: Side, message: Uint8Array): void {
    const text = Buffer.from(message.buffer, message.byteOffset, message.length).toString('latin1')
    this.#ikeSent[side].add(text)
    const { header, firstPayload } = headerOf(message)
    const isProtected = firstPayload === PayloadType.SK || firstPayload === PayloadType.SKF
    this.#world.note(
      `${side} says`,
      `${header.exchangeType} ${header.isResponse ? 'response' : 'request'} ${header.messageId}`
    )
    if (!isProtected || header.exchangeType === ExchangeType.IKE_SA_INIT) return
    // Synchronisation of a cluster has no number (RFC 6311 section 5).
    if (header.messageId === 0 && header.exchangeType === ExchangeType.INFORMATIONAL) return
    const fragment = firstPayload === PayloadType.SKF ? read16(message, 32) : 0
    const key = [side, header.spiI, header.spiR, header.isResponse, header.messageId, fragment].join()
    const before = this.#byMessageId.get(key)
    if (before === undefined) this.#byMessageId.set(key, text)
    else if (before !== text)
      this.#world.broken(
        'message-ids',
        `${side} used Message ID ${header.messageId} for two ${header.isResponse ? 'responses' : 'requests'}`
      )
  }

  #espLeft(side: Side, packet: Uint8Array): void {
    const spi = read32(packet, 0)
    const sequence = read32(packet, 4)
    const highest = this.#highest[side].get(spi)
    if (highest !== undefined && sequence <= highest)
      this.#world.broken('message-ids', `${side} used ESP sequence number ${sequence} of ${hex(spi)} twice`)
    this.#highest[side].set(spi, sequence)
    let sent = this.#espSent[side].get(spi)
    if (sent === undefined) {
      sent = new Map()
      this.#espSent[side].set(spi, sent)
    }
    sent.set(sequence, {
      bytes: Uint8Array.from(packet),
      at: this.#world.now,
      hasArrived: false,
      isTaken: false
    })
  }

  #ikeArrived(side: Side, message: Uint8Array, receive: () => void): void {
    const text = Buffer.from(message.buffer, message.byteOffset, message.length).toString('latin1')
    if (this.#ikeSent[opposite(side)].has(text)) receive()
    else this.#mustChangeNothing(side, 'an IKE message that the peer did not send', receive)
  }

  #espArrived(side: Side, packet: Uint8Array, receive: () => void): void {
    const spi = packet.length < 8 ? 0 : read32(packet, 0)
    const sequence = packet.length < 8 ? 0 : read32(packet, 4)
    const sent = this.#espSent[opposite(side)].get(spi)?.get(sequence)
    const isGenuine = sent !== undefined && sameBytes(sent.bytes, packet)
    if (!isGenuine || sent.isTaken) {
      const what = isGenuine
        ? 'an ESP packet that had come before'
        : 'an ESP packet that the peer did not send'
      this.#mustChangeNothing(side, what, receive)
      return
    }
    const end = this.#ends[side]
    const before = end?.handedOver() ?? 0
    const child = this.#children[side].get(spi)
    const isTaken = child !== undefined && end?.takes(child.owner.session) === true
    receive()
    if (!isTaken && (end?.handedOver() ?? 0) === before) {
      // Nobody listens there yet, or any more: it may come again by another path.
      if (child !== undefined && !child.owner.isClosed) return
    }
    sent.isTaken = (end?.handedOver() ?? 0) > before
    // What was refused once may be refused again.
    if (!sent.hasArrived) this.espDelivered++
    if (sent.isTaken || sent.hasArrived) return
    sent.hasArrived = true
    const ageMs = this.#world.now - sent.at
    const problem = child === undefined ? this.#whyUnknown(side, spi) : this.#whyRefused(side, child, ageMs)
    const what = `${side} refused ESP ${hex(spi)}/${sequence} of ${Math.round(ageMs)} ms`
    this.#world.note(`${side} refuses`, `${hex(spi)}/${sequence} ${child === undefined ? 'unknown' : ''}`)
    if (problem === undefined) this.espExcused++
    else if (problem === 'keys' || child === undefined) this.#world.broken(problem, what)
    else this.#refused.push({ child, what, at: this.#world.now })
  }

  /** Packets that were refused because their SA had gone: was it replaced, or at its end? */
  look(): void {
    const { now } = this.#world
    while ((this.#refused[0]?.at ?? now) < now - JUDGED_AFTER_MS) {
      const { child, what } = this.#refused.shift() ?? {}
      if (child === undefined || what === undefined) return
      const other = this.#children[opposite(child.owner.side)].get(child.parameters.outbound.spi)
      const reasons = [child, other].map((one) => one?.downReason ?? '')
      const isWornOut = child.isWornOut || other?.isWornOut === true
      const isExcused = isWornOut || child.owner.isClosed || reasons.some((reason) => FINAL.includes(reason))
      if (isExcused || this.#world.now - this.excusedAt < EXCUSED_MS + JUDGED_AFTER_MS) this.espExcused++
      else this.#world.broken('no-loss', `${what}: ${reasons.join(', ')}`)
    }
  }

  /** Has this end taken this ESP packet before? */
  hasArrived(side: Side, packet: Uint8Array): boolean {
    const sent = this.#espSent[opposite(side)].get(read32(packet, 0))?.get(read32(packet, 4))
    return sent?.isTaken === true
  }

  /** @returns the invariant that is broken; undefined: it had a reason */
  #whyRefused(side: Side, child: WatchedChild, ageMs: number): 'keys' | 'no-loss' | undefined {
    // SAs of a process that has gone, or of a session that was replaced.
    if (child.owner.isClosed || ageMs > TIMELY_MS) return undefined
    if (this.#world.now - this.excusedAt < EXCUSED_MS) return undefined
    // Before the client has heard of a takeover, what it sends counts as sent again (RFC 6311 section 5).
    if (side === 'gateway' && this.#isTakeoverUnheard) return undefined
    if (this.#ends[side]?.takes(child.owner.session) !== true) return undefined
    return child.isUp ? 'keys' : 'no-loss'
  }

  /** Nobody sends on an SA that its peer has not yet, as long as there is an older one. */
  #whyUnknown(side: Side, spi: number): 'no-loss' | undefined {
    const sender = this.#byOutbound[opposite(side)].get(spi)
    if (sender === undefined || sender.owner.isClosed) return undefined
    if (this.#world.now - this.excusedAt < EXCUSED_MS) return undefined
    const { childId } = sender.parameters
    const family = [...sender.owner.children.values()].filter((one) => one.parameters.childId === childId)
    return family.some((child) => this.otherHalf(child) !== undefined) ? 'no-loss' : undefined
  }

  #mustChangeNothing(side: Side, what: string, receive: () => void): void {
    const before = this.#digest(side)
    receive()
    const after = this.#digest(side)
    if (before !== after) this.#world.broken('authentic', `${what} changed the ${side}: ${before} / ${after}`)
  }

  /** Whatever of an end must not change without its peer. A peer that is being asked whether it lives may be. */
  #digest(side: Side): string {
    const sessions = this.living(side).map(({ session, effects }) => {
      const expected = session
        .messageIds()
        .map(({ number, expectedRequestId }) => `${number}:${expectedRequestId}`)
      return [session.state, session.lastHeardAt, effects, ...expected].join(' ')
    })
    return [this.#ends[side]?.effects() ?? 0, ...sessions].join('; ')
  }
}

/** What an engine may say without anything having changed. */
const HARMLESS: readonly IkeOutput['type'][] = [
  ...(['send', 'log', 'hint', 'asking', 'wait', 'keys', 'init-answered'] as const)
]

function opposite(side: Side): Side {
  return side === 'client' ? 'gateway' : 'client'
}

function headerOf(message: Uint8Array): {
  header: ReturnType<typeof readMessageHeader>['header']
  firstPayload: number
} {
  return { header: readMessageHeader(message).header, firstPayload: message[16] ?? 0 }
}

function copyOf(half: EspSaParameters): EspSaParameters {
  return {
    ...half,
    encryptionKey: Uint8Array.from(half.encryptionKey),
    integrityKey: Uint8Array.from(half.integrityKey)
  }
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0
}

export function hex(spi: number): string {
  return spi.toString(16).padStart(8, '0')
}
