/**
 * One peer relation: the current IKE SA, a rekeyed predecessor until it is deleted, and the Child SAs that it owns
 * (RFC 7296). Both roles; no sockets, timers, clocks or randomness of its own.
 *
 * Every method takes the time and puts its effects into the queue that `poll` drains. Bytes of a peer never throw.
 * @module
 */
import type { Path } from '../wire/endpoint.ts'
import { FrameFate } from '../wire/frame-fate.ts'
import type { TrafficSelector } from '../wire/ike-message.ts'
import { Dispatcher } from './dispatcher.ts'
import { MAX_MESSAGE_ID } from './exchange-manager.ts'
import { peerTimeout } from './failures.ts'
import { FragmentRoom } from './fragments.ts'
import { beginSession } from './initiation.ts'
import type { IkeSaState } from './lifecycle.ts'
import { type RestoreInputs, restoreState } from './restore.ts'
import {
  onDeadline,
  pump,
  requestChildDelete,
  requestChildRekey,
  requestIkeRekey,
  requestLiveness,
  resumeTasks
} from './scheduler.ts'
import { type SessionInfo, sessionInfo } from './session-info.ts'
import { SessionState } from './session-state.ts'
import { type SessionSnapshot, takeSnapshot } from './snapshot.ts'
import { ChildCreateTask } from './tasks/child-create.ts'
import { closeSession } from './tasks/delete.ts'
import { losePath, movePath, peerSeenOn } from './tasks/path.ts'
import { RedirectTask } from './tasks/redirect.ts'
import type { IkeEnvironment, IkeOutput, InitiatorConfig, ResponderConfig } from './types.ts'

export { DEFAULT_TIMERS } from './options.ts'
export type { SessionInfo } from './session-info.ts'

export interface IkeSessionOptions {
  /** Emit `keys` for Wireshark whenever an IKE SA gets its keys. */
  readonly logKeys?: boolean
  /** Where fragments wait for the rest of their message; shared by the sessions of a responder. */
  readonly fragmentRoom?: FragmentRoom
}

/** What the data plane has seen since it last told. */
export interface TrafficNote {
  /** Authentic packets of the peer came in. */
  readonly received?: boolean
  readonly sent?: boolean
}

/** Where an IKE SA's two counters are. */
export interface MessageIds {
  readonly number: number
  readonly nextRequestId: number
  readonly expectedRequestId: number
}

/** Deadlines handled in one call of `timeout`; more wait for the next. */
const MAX_DEADLINES_AT_ONCE = 1000

export class IkeSession {
  readonly #state: SessionState
  readonly #dispatcher: Dispatcher

  constructor(
    config: InitiatorConfig | ResponderConfig,
    environment: IkeEnvironment,
    options: IkeSessionOptions = {}
  ) {
    this.#state = new SessionState(
      config,
      environment,
      options.logKeys ?? false,
      options.fragmentRoom ?? new FragmentRoom()
    )
    this.#dispatcher = new Dispatcher(this.#state)
  }

  /**
   * A session that another member of the cluster had (RFC 6311): goes on with it, beginning with the counters.
   * @returns undefined when the snapshot makes no sense
   */
  static restore(
    now: number,
    config: InitiatorConfig | ResponderConfig,
    environment: IkeEnvironment,
    inputs: RestoreInputs,
    options: IkeSessionOptions = {}
  ): IkeSession | undefined {
    const session = new IkeSession(config, environment, options)
    let isSound = false
    session.#at(now, (state) => {
      isSound = restoreState(state, inputs)
    })
    return isSound ? session : undefined
  }

  /** What another member of the cluster needs to go on with it; undefined: it is not established, or ends. */
  snapshot(now: number): SessionSnapshot | undefined {
    return takeSnapshot(this.#state, now)
  }

  /** Message IDs of each IKE SA by its number: what changes with every message. */
  messageIds(): MessageIds[] {
    return this.#state.sas.map(({ number, exchanges }) => ({
      number,
      nextRequestId: Math.min(exchanges.highestUsedId + 1, MAX_MESSAGE_ID),
      expectedRequestId: exchanges.expectedRequestId
    }))
  }

  /** Initiator: starts IKE_SA_INIT on `path`, a path on UDP port 500 (with its `natT`) or any other. */
  connect(now: number, path: Path): void {
    const { config } = this.#state
    if (config.role !== 'initiator' || this.#state.current !== undefined) return
    this.#at(now, (state) => beginSession(state, config, path, config.resumption?.ticket))
  }

  /**
   * One IKE message as it came, without non-ESP marker or stream length.
   * @returns what it says about a stream that it came on
   */
  receive(now: number, message: Uint8Array, path: Path): FrameFate {
    let fate: FrameFate = FrameFate.UNKNOWN
    this.#at(now, () => {
      fate = this.#dispatcher.receive(message, path)
    })
    return fate
  }

  /** True for the two SPIs of an IKE SA of this session, as they stand in a header. */
  knowsSpis(spiI: bigint, spiR: bigint): boolean {
    return this.#state.sas.some((sa) => sa.spiI === spiI && sa.spiR === spiR)
  }

  /** Call when `nextTimeout` has come. */
  timeout(now: number): void {
    this.#at(now, (state) => {
      for (let count = 0; count < MAX_DEADLINES_AT_ONCE; count++) {
        const deadline = state.timers.takeDue(now)
        if (deadline === undefined) return
        onDeadline(state, deadline)
      }
    })
  }

  /** The promise of a `wait` output has settled. */
  resume(now: number): void {
    this.#at(now, (state) => {
      resumeTasks(state)
      this.#dispatcher.resume()
    })
  }

  /**
   * Initiator: everything goes over `path` from now on. What is outstanding is sent there at once, bit for bit; then
   * the peer is told, with UPDATE_SA_ADDRESSES or an empty INFORMATIONAL, and `path-changed` says when it has answered.
   */
  movePath(now: number, path: Path): void {
    this.#at(now, (state) => movePath(state, path))
  }

  /** Responder: authentic ESP of the peer comes from there now, since a NAT has given it another port. */
  peerSeenOn(now: number, path: Path): void {
    this.#at(now, (state) => peerSeenOn(state, path))
  }

  /** The path is broken: nothing is sent there any more, and outstanding requests wait for the next one. */
  pathLost(now: number, path: Path): void {
    this.#at(now, (state) => losePath(state, path))
  }

  /** Gives up a session that is not authenticated yet, without a word to a peer that may not be there. */
  abandon(now: number): void {
    this.#at(now, (state) => state.end('timeout', peerTimeout('IKE_AUTH')))
  }

  /** Deletes the IKE SA; `closed` comes with the peer's answer, or without it after a few seconds. */
  close(now: number): void {
    this.#at(now, (state) => closeSession(state, 'requested', undefined))
  }

  /**
   * Responder: asks the peer to go to another gateway (RFC 5685 section 5).
   * @returns false when it does not follow
   */
  redirect(now: number, to: string): boolean {
    const { current, established, followsRedirects } = this.#state
    if (!established || !followsRedirects || current?.isUsable !== true) return false
    this.#at(now, (state) => state.enqueue(current, new RedirectTask(to)))
    return true
  }

  checkLiveness(now: number): void {
    this.#at(now, requestLiveness)
  }

  rekeyIke(now: number): void {
    this.#at(now, requestIkeRekey)
  }

  rekeyChild(now: number, spiIn: number): void {
    this.#at(now, (state) => {
      const child = state.children.get(spiIn)
      if (child !== undefined) requestChildRekey(state, child)
    })
  }

  /** A further Child SA with these selectors, seen from this end. */
  createChild(now: number, localTs: readonly TrafficSelector[], remoteTs: readonly TrafficSelector[]): void {
    this.#at(now, (state) => {
      const sa = state.current
      if (sa?.isUsable) state.enqueue(sa, new ChildCreateTask(state, localTs, remoteTs))
    })
  }

  /** The peer is being asked for a Child SA, or will be as soon as it is its turn: also for one that it turned out to have lost. */
  get isAskingForChild(): boolean {
    const state = this.#state
    const sa = state.current
    return sa !== undefined && state.hasTask(sa, (task) => task instanceof ChildCreateTask)
  }

  deleteChild(now: number, spiIn: number): void {
    this.#at(now, (state) => {
      const child = state.children.get(spiIn)
      if (child !== undefined) requestChildDelete(state, child, 'requested')
    })
  }

  /** Called by the data plane now and then: drives liveness checks (RFC 7296 section 2.4, RFC 9329 section 7.4). */
  noteTraffic(now: number, note: TrafficNote): void {
    this.#at(now, (state) => state.noteTraffic(note.received ?? false, note.sent ?? false))
  }

  /** The data plane has used up what the Child SA's keys are good for: rekeys it. */
  childLimitReached(now: number, spiIn: number, limit: 'bytes' | 'packets'): void {
    this.#at(now, (state) => {
      const child = state.children.get(spiIn)
      if (child?.state !== 'INSTALLED') return
      state.log('info', `a Child SA is rekeyed because of its ${limit}`)
      requestChildRekey(state, child)
    })
  }

  /** The next effect, or undefined: call after every other method until it is. */
  poll(): IkeOutput | undefined {
    return this.#state.poll()
  }

  /** When to call `timeout`, in the time of `now`; undefined: never. */
  nextTimeout(): number | undefined {
    return this.#state.timers.next()
  }

  /** The current IKE SA's state; `DESTROYED` once the session has ended, `CREATED` before it began. */
  get state(): IkeSaState {
    if (this.#state.ended) return 'DESTROYED'
    return this.#state.current?.state ?? 'CREATED'
  }

  /** When the peer was last heard: IKE that is authentic, or ESP that the data plane has told of. */
  get lastHeardAt(): number {
    return this.#state.lastReceivedAt
  }

  /** A snapshot for `status`. */
  info(now: number = this.#state.now): SessionInfo {
    return sessionInfo(this.#state, now)
  }

  /** The initiator said that it has no other IKE SA with us (RFC 7296 section 2.4). */
  get initialContact(): boolean {
    return this.#state.initialContact
  }

  /** Responder: our SPI of the IKE SA from which this session was resumed (RFC 5723). */
  get resumedSpi(): bigint | undefined {
    return this.#state.resumedFrom?.spiR
  }

  /** What the peer has proved to be: with EAP its user, else its IDi. Empty before it is authenticated. */
  get provenPeer(): string {
    return this.#state.established ? this.#state.peerName : ''
  }

  /** Ends the session without a word: the peer has forgotten it and begun another, or another node goes on with it. */
  replaced(reason: 'replaced' | 'handed-over' = 'replaced'): void {
    this.#state.end(reason, undefined)
    this.#dispatcher.dispose()
  }

  #at(now: number, apply: (state: SessionState) => void): void {
    const state = this.#state
    if (state.ended) return
    state.now = now
    apply(state)
    pump(state)
    if (state.ended) this.#dispatcher.dispose()
  }
}
