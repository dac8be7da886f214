/**
 * Everything one IKE session knows, and the few operations that keep it consistent. Tasks and responders change a
 * session only through here; `session.ts` drives it.
 *
 * Invariants: every Child SA belongs to exactly one living IKE SA; an ESP SPI of ours is used once; after `end`
 * nothing is emitted but what stands in the queue.
 * @module
 */
import type { IkestreamError } from '../errors.ts'
import type { LogFields, LogLevel } from '../log.ts'
import type { Path } from '../wire/endpoint.ts'
import type { ChildSa } from './child-sa.ts'
import type { FragmentRoom } from './fragments.ts'
import { IkeSa, type MadeByAnswer, type Task } from './ike-sa.ts'
import { CHILD_GRACE_MS, MAX_QUEUED_TASKS } from './options.ts'
import { Queue } from './queue.ts'
import type { TicketContents } from './ticket-vault.ts'
import { type TimerKind, Timers } from './timers.ts'
import type {
  AssignedConfig,
  Identity,
  IkeCloseReason,
  IkeEnvironment,
  IkeOutput,
  InitiatorConfig,
  ResponderConfig
} from './types.ts'

/** What both ends support, as told in IKE_SA_INIT and IKE_AUTH. */
export interface PeerFeatures {
  fragmentation: boolean
  mobike: boolean
  messageIdSync: boolean
  replayCounterSync: boolean
  childless: boolean
  /** The peer's SIGNATURE_HASH_ALGORITHMS; undefined: none sent. */
  signatureHashes: readonly number[] | undefined
}

/** Timers whose subject is an IKE SA. */
const IKE_SA_TIMERS = [
  'retransmit',
  'resume-silence',
  'puzzle',
  'task-retry',
  'ike-rekey',
  'ike-expire',
  'ike-replaced',
  'doubt'
] as const
/** Ends of a session that its peer may want to resume. */
const LOST_WITHOUT_PURPOSE: readonly IkeCloseReason[] = ['timeout', 'replaced', 'handed-over']
/** ESP SPIs below this are reserved (RFC 4303 section 2.1). */
const FIRST_ESP_SPI = 256

export class SessionState {
  readonly config: InitiatorConfig | ResponderConfig
  readonly environment: IkeEnvironment
  readonly logKeys: boolean
  readonly fragmentRoom: FragmentRoom
  readonly timers = new Timers()
  readonly children = new Map<number, ChildSa>()
  readonly features: PeerFeatures = {
    fragmentation: false,
    mobike: false,
    messageIdSync: false,
    replayCounterSync: false,
    childless: false,
    signatureHashes: undefined
  }
  now = 0
  /** Where messages go; undefined before the first. */
  path: Path | undefined
  /** The path is broken: nothing is sent until there is another. */
  pathLost = false
  /** A responder's path is another than the data plane was told. */
  pathUntold = false
  /** The path that the peer has last agreed to move to. */
  confirmedPathId: number | undefined
  /** Path of the first IKE_AUTH, which the peer takes for our address (RFC 4555 section 3.2). */
  authPath: Path | undefined
  sas: IkeSa[] = []
  /** The IKE SA that new exchanges use. */
  current: IkeSa | undefined
  natLocal = false
  natRemote = false
  /** Responder: what the peer's session is resumed from (RFC 5723). */
  resumedFrom: TicketContents | undefined
  /** Responder: how the peer has proved who it is, and the serial of the ticket that it has. */
  peerMethod: TicketContents['method'] = 'psk'
  ticketSerial: Uint8Array | undefined
  /** Responder: when the peer's authentication ends, in milliseconds since 1970; 0: never. */
  authenticatedUntilMs = 0
  /** The IKE SA was resumed with a ticket. */
  isByTicket = false
  /** Initiator: the responder gives tickets. */
  hasTickets = false
  /**
   * Responder that has taken over: sequence numbers that the peer was asked to leave out (RFC 6311 section 5.2) and has not agreed to, those
   * of earlier takeovers included.
   */
  pendingReplayDelta = 0n
  /** Responder: the peer follows redirections (RFC 5685). */
  followsRedirects = false
  localIdentity: Identity | undefined
  remoteIdentity: Identity | undefined
  /** For the address pool: the name that was proved, by EAP or by the ID payload. */
  peerName = ''
  assigned: AssignedConfig | undefined
  established = false
  /** The peer says that it has no other IKE SA with us (RFC 7296 section 2.4). */
  initialContact = false
  /** Set when the last DELETE is on its way: what `closed` will say. */
  closing: { readonly reason: IkeCloseReason; readonly error: IkestreamError | undefined } | undefined
  /** What an unauthenticated answer to IKE_SA_INIT said, while a genuine one may still come. */
  doubt: IkestreamError | undefined
  ended = false
  /** When something authentic was last received, IKE or ESP. */
  lastReceivedAt = 0
  lastSentAt = 0
  /** The last round trip that was measured. */
  rttMs: number | undefined
  /** The first packet sent after that. */
  unansweredSince: number | undefined
  /** What is sent on, by childId. */
  readonly #sendingOn = new Map<number, ChildSa>()
  readonly #outputs = new Queue<IkeOutput>()
  #lastNumber = 0

  constructor(
    config: InitiatorConfig | ResponderConfig,
    environment: IkeEnvironment,
    logKeys: boolean,
    fragmentRoom: FragmentRoom
  ) {
    this.config = config
    this.environment = environment
    this.logKeys = logKeys
    this.fragmentRoom = fragmentRoom
  }

  // ---- outputs

  emit(output: IkeOutput): void {
    this.#outputs.add(output)
  }

  poll(): IkeOutput | undefined {
    return this.#outputs.take()
  }

  log(level: LogLevel, message: string, fields?: LogFields): void {
    this.emit(
      fields === undefined ? { type: 'log', level, message } : { type: 'log', level, message, fields }
    )
  }

  /** Responder: tells the data plane where the peer is, if that has changed. */
  tellPath(): void {
    const { path, pathUntold } = this
    this.pathUntold = false
    if (pathUntold && path !== undefined) this.emit({ type: 'path-changed', path })
  }

  // ---- numbers and timers

  nextNumber(): number {
    return ++this.#lastNumber
  }

  get lastNumber(): number {
    return this.#lastNumber
  }

  /** Numbers up to this one are taken. */
  continueNumbers(last: number): void {
    this.#lastNumber = Math.max(this.#lastNumber, last)
  }

  after(kind: TimerKind, subject: number, delayMs: number): void {
    this.timers.set(kind, subject, this.now + delayMs)
  }

  /** A fraction in [0, 1). */
  randomFraction(): number {
    const [high = 0, low = 0] = this.environment.random.bytes(2)
    return (high * 256 + low) / 65_536
  }

  newIkeSpi(): bigint {
    for (;;) {
      const bytes = this.environment.random.bytes(8)
      const spi = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0)
      if (spi !== 0n && !this.sas.some(({ localSpi }) => localSpi === spi)) return spi
    }
  }

  /** An ESP SPI that no Child SA of this session uses. */
  newEspSpi(): number {
    for (;;) {
      const bytes = this.environment.random.bytes(4)
      const spi = new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0)
      if (spi >= FIRST_ESP_SPI && !this.children.has(spi)) return spi
    }
  }

  // ---- IKE SAs

  addIkeSa(isInitiator: boolean): IkeSa {
    return this.claimIkeSa(this.nextNumber(), isInitiator, this.newIkeSpi())
  }

  /** One with a number and an SPI that it has already. */
  claimIkeSa(number: number, isInitiator: boolean, localSpi: bigint): IkeSa {
    const { config, environment, fragmentRoom } = this
    const sa = new IkeSa(number, isInitiator, localSpi, config.timers, environment.random, fragmentRoom)
    this.sas.push(sa)
    this.emit({ type: 'spi-claimed', spi: sa.localSpi })
    return sa
  }

  ikeSaByNumber(number: number): IkeSa | undefined {
    return this.sas.find((sa) => sa.number === number)
  }

  /** Forgets an IKE SA; its Child SAs must have moved or ended before. */
  destroyIkeSa(sa: IkeSa): void {
    if (sa.isDead) return
    sa.advance('end')
    if (this.current !== undefined && this.current !== sa) this.inheritChildren(sa, this.current)
    for (const kind of IKE_SA_TIMERS) this.timers.clear(kind, sa.number)
    sa.dispose()
    this.sas = this.sas.filter((other) => other !== sa)
    this.emit({ type: 'spi-released', spi: sa.localSpi })
  }

  enqueue(sa: IkeSa, task: Task, first = false): void {
    if (sa.isDead) return
    if (sa.queue.length >= MAX_QUEUED_TASKS) {
      this.log('warn', 'too many IKE exchanges are waiting; one was dropped', { task: task.name })
      task.dispose?.()
      return
    }
    if (first) sa.queue.unshift(task)
    else sa.queue.push(task)
  }

  /** True when a task of one of these kinds waits or runs on this IKE SA. */
  hasTask(sa: IkeSa, matches: (task: Task) => boolean): boolean {
    const active = sa.active === undefined ? [] : [sa.active]
    return [...active, ...sa.queue, ...sa.deferred.map(({ task }) => task)].some(matches)
  }

  /** The peer does not know of what a failover left in doubt (see `doubt.ts`): it vanishes without a word. */
  dropDoubted(sa: IkeSa, made: MadeByAnswer): void {
    this.settleDoubt(sa, made)
    this.log('info', 'the peer did not learn of what its last request made', { what: made.what })
    const child = made.what === 'child' ? this.childByNumber(made.number) : undefined
    const next = made.what === 'ike' ? this.ikeSaByNumber(made.number) : undefined
    if (child !== undefined) this.removeChild(child, 'unknown to the peer')
    if (next === undefined) return
    // What was begun on it is pursued where the peer hears of it.
    const { active } = next
    next.active = undefined
    if (active?.interrupted?.(sa)) sa.queue.push(active)
    else active?.dispose?.()
    this.destroyIkeSa(next)
  }

  settleDoubt(sa: IkeSa, made: MadeByAnswer): void {
    sa.doubted = sa.doubted.filter((other) => other !== made)
    if (sa.doubted.length === 0) this.timers.clear('doubt', sa.number)
  }

  // ---- Child SAs

  addChild(child: ChildSa): void {
    this.children.set(child.spiIn, child)
  }

  childByNumber(number: number): ChildSa | undefined {
    for (const child of this.children.values()) if (child.number === number) return child
    return undefined
  }

  /**
   * The Child SA that the peer names by the SPI it receives on, under whichever of the session's IKE SAs: the two ends
   * do not move Child SAs to a new IKE SA at the same moment.
   */
  childByPeerSpi(spiOut: number): ChildSa | undefined {
    for (const child of this.children.values()) if (child.spiOut === spiOut && child.isKnown) return child
    return undefined
  }

  childrenOf(sa: IkeSa): ChildSa[] {
    return [...this.children.values()].filter((child) => child.owner === sa)
  }

  /** Tells the data plane to send on this Child SA from now on. */
  useOutbound(child: ChildSa): void {
    if (this.#sendingOn.get(child.childId) === child || !child.isLive) return
    this.#sendingOn.set(child.childId, child)
    this.emit({ type: 'child-outbound', spiIn: child.spiIn })
  }

  sendsOn(child: ChildSa): boolean {
    return this.#sendingOn.get(child.childId) === child
  }

  /** The peer and we agree that it is gone; what is still on its way is received a little longer. */
  retireChild(child: ChildSa, reason: string): void {
    if (!child.advance('deleted')) return
    this.#clearChildTimers(child)
    this.#stopSendingOn(child)
    // Without a successor there is nothing to wait for: whoever deletes the only one wants it closed.
    const hasSuccessor = [...this.children.values()].some(
      (other) => other !== child && other.childId === child.childId && other.isKnown
    )
    if (hasSuccessor) this.after('child-grace', child.number, CHILD_GRACE_MS)
    else this.removeChild(child, reason)
  }

  removeChild(child: ChildSa, reason: string): void {
    if (!child.advance('end')) return
    this.#clearChildTimers(child)
    this.children.delete(child.spiIn)
    this.#stopSendingOn(child)
    for (const other of this.children.values()) if (other.replaces === child) other.replaces = undefined
    this.emit({ type: 'child-down', spiIn: child.spiIn, spiOut: child.spiOut, reason })
  }

  /** Moves every Child SA to the IKE SA that takes over (RFC 7296 section 2.8). */
  inheritChildren(from: IkeSa, to: IkeSa): void {
    for (const child of this.childrenOf(from)) child.owner = to
  }

  // ---- liveness

  /** Something authentic of the peer came, IKE or ESP. */
  noteReceived(): void {
    this.lastReceivedAt = this.now
    this.unansweredSince = undefined
    this.timers.clear('liveness', 0)
  }

  /** The data plane's report; a check is due only when traffic goes out and none comes back (RFC 7296 section 2.4). */
  noteTraffic(received: boolean, sent: boolean): void {
    if (received) this.noteReceived()
    if (!sent) return
    this.lastSentAt = this.now
    if (this.unansweredSince !== undefined || !this.established) return
    this.unansweredSince = this.now
    const { livenessMs } = this.config.timers
    if (livenessMs > 0) this.after('liveness', 0, livenessMs)
  }

  // ---- the end

  /** Takes everything down and says `closed`. */
  end(reason: IkeCloseReason, error: IkestreamError | undefined): void {
    if (this.ended) return
    this.ended = true
    for (const child of [...this.children.values()]) this.removeChild(child, reason)
    for (const sa of [...this.sas]) this.destroyIkeSa(sa)
    this.current = undefined
    this.timers.clearAll()
    this.#releaseAddresses()
    this.#revokeTicket(reason)
    this.emit({ type: 'closed', reason, error })
  }

  /** Whoever ended the session on purpose has to be authenticated for the next one (RFC 5723 section 6.2). */
  #revokeTicket(reason: IkeCloseReason): void {
    const { config, ticketSerial } = this
    if (config.role !== 'responder' || ticketSerial === undefined) return
    if (!LOST_WITHOUT_PURPOSE.includes(reason)) config.tickets?.spend(ticketSerial)
  }

  #releaseAddresses(): void {
    if (this.config.role === 'responder' && this.assigned !== undefined) {
      this.config.policy.release(this.peerName, this.assigned)
    }
  }

  /** Whatever carries the traffic next must be told, lest nothing does. */
  #stopSendingOn(child: ChildSa): void {
    if (this.#sendingOn.get(child.childId) !== child) return
    this.#sendingOn.delete(child.childId)
    const siblings = [...this.children.values()].filter(({ childId }) => childId === child.childId)
    const newest = siblings.findLast((other) => other !== child && other.isLive)
    if (newest !== undefined) this.useOutbound(newest)
  }

  #clearChildTimers(child: ChildSa): void {
    const kinds = ['child-rekey', 'child-expire', 'child-replaced', 'child-grace'] as const
    for (const kind of kinds) this.timers.clear(kind, child.number)
  }
}
