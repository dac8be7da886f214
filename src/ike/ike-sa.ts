/**
 * One IKE SA: SPIs, keys, Message IDs, and the tasks that want to use its window (RFC 7296 section 2).
 *
 * `isInitiator` is about this IKE SA: who sent its IKE_SA_INIT, or the CREATE_CHILD_SA that made it. Every exchange of
 * ours is a task, which builds the request and processes the response. A task is not tied to the IKE SA that it was
 * queued on: when that is rekeyed, waiting tasks move to its successor.
 * @module
 */
import type { CipherSuite, Prf, RandomSource } from '../crypto/types.ts'
import type { IkeHeader, Payload, Proposal } from '../wire/ike-message.ts'
import { ExchangeManager, type Packets } from './exchange-manager.ts'
import { FragmentReassembler, type FragmentRoom } from './fragments.ts'
import { disposeIkeKeys, type IkeKeys } from './keymat.ts'
import { type IkeSaInput, type IkeSaState, nextIkeSaState } from './lifecycle.ts'
import { Protection } from './protection.ts'
import type { IkeTimers } from './types.ts'

/** A message that was opened and decoded. */
export interface InboundMessage {
  readonly header: IkeHeader
  readonly payloads: readonly Payload[]
  /** As it came, for IKE_SA_INIT only: AUTH signs it. */
  readonly raw: Uint8Array
}

/** The request of an exchange, before it is sealed. */
export interface Draft {
  readonly exchangeType: number
  /** A synchronisation of Message IDs (RFC 6311): sent with Message ID 0, never fragmented (RFC 7383 section 3). */
  readonly isSync?: boolean
  readonly payloads: readonly Payload[]
  /** In front of SK, authenticated and not encrypted. */
  readonly outer?: readonly Payload[]
}

export type TaskOutcome =
  /** The task is over. */
  | 'done'
  /** Call `build` again for the next request. */
  | 'again'
  /** Something outside must finish first; `resume` will be called. The window stays taken. */
  | 'waiting'
  /** As if the message had not come: IKE_SA_INIT, and answers to another synchronisation. */
  | 'ignore'
  /** Put the task off and build it again later. */
  | { readonly laterMs: number }

export type TaskName =
  | 'init'
  | 'auth'
  | 'child-create'
  | 'child-rekey'
  | 'child-delete'
  | 'ike-rekey'
  | 'ike-delete'
  | 'mobike'
  | 'redirect'
  | 'ticket'
  | 'routability'
  | 'liveness'
  | 'counter-sync'
  | 'replay-sync'

export interface Task {
  readonly name: TaskName
  /** @returns the request, or undefined: there is nothing to do any more */
  build(sa: IkeSa): Draft | undefined
  process(sa: IkeSa, response: InboundMessage): TaskOutcome
  resume?(sa: IkeSa): TaskOutcome
  /** A slice of work that it has asked for with the timer `puzzle`; undefined: there is more. */
  work?(sa: IkeSa): TaskOutcome | undefined
  /** The answer to its outstanding request may make an SA at the peer. */
  readonly isDecisive?: boolean
  /** The outstanding request will never be answered (RFC 6311): true to queue the task anew. */
  interrupted?(sa: IkeSa): boolean
  dispose?(): void
  /** IKE_SA_INIT, or what stands for it: the request as it was sent, which AUTH signs. */
  sentMessage?: Uint8Array
}

/** What a finished negotiation gives an IKE SA. */
export interface IkeSecurity {
  readonly chosen: Proposal
  readonly prf: Prf
  readonly suite: CipherSuite
  readonly keys: IkeKeys
}

/** What AUTH signs: our and the peer's half of IKE_SA_INIT (RFC 7296 section 2.15). */
export interface InitRecord {
  readonly localMessage: Uint8Array
  readonly remoteMessage: Uint8Array
  readonly localNonce: Uint8Array
  readonly remoteNonce: Uint8Array
}

/** A Child SA or an IKE SA by its local number. */
export interface MadeByAnswer {
  readonly what: 'child' | 'ike'
  readonly number: number
  /** Not in use yet: both ends rekeyed at once, and it is open which of the two goes. */
  readonly isContested: boolean
}

export interface DeferredTask {
  readonly task: Task
  readonly at: number
}

export class IkeSa {
  /** Local number; subject of this SA's timers. */
  readonly number: number
  readonly isInitiator: boolean
  readonly localSpi: bigint
  readonly exchanges: ExchangeManager
  readonly requestFragments: FragmentReassembler
  readonly responseFragments: FragmentReassembler
  remoteSpi = 0n
  state: IkeSaState = 'CREATED'
  security: IkeSecurity | undefined
  protection: Protection | undefined
  init: InitRecord | undefined
  /** What the first IKE_AUTH has to carry in the clear (RFC 8019 section 7.2.2). */
  puzzleSolution: Uint8Array | undefined
  /** Waiting for the window, first come first served. */
  queue: Task[] = []
  /** Its request is outstanding, or it waits for something outside. */
  active: Task | undefined
  /** Put off by TEMPORARY_FAILURE or a failed rekeying. */
  deferred: DeferredTask[] = []
  establishedAt: number | undefined
  /** Since when the peer has answered TEMPORARY_FAILURE only (RFC 7296 section 2.25). */
  temporaryFailureSince: number | undefined
  temporaryFailureAt = 0
  /** NAT_DETECTION_DESTINATION_IP as the peer told it last: a change means a new NAT mapping (RFC 4555 section 3.8). */
  seenAddressHash: Uint8Array | undefined
  /** The last RFC 6311 request and the answer to it. */
  lastSync: { readonly request: Uint8Array; readonly response: Packets } | undefined
  /** The highest Message ID that the cluster announced in such a request. */
  syncedTo: number | undefined
  /** Taken over from another member of our cluster: Message IDs are uncertain until they are synchronised. */
  awaitsSync = false
  /** The Message ID that we announced to the peer when we took over: whoever takes over from us must announce more. */
  announcedId: number | undefined
  /** What our answer to the peer's last request made: the peer may not know of it before its next one. */
  unconfirmed: MadeByAnswer | undefined
  /** The same, where a failover has come in between; see `doubt.ts`. */
  doubted: MadeByAnswer[] = []
  /** SPIs that the peer deleted while the answer that would have told us of them was still on its way. */
  readonly deletedEarly = new Set<number>()
  /** The IKE SA that took over from this one. */
  successor: IkeSa | undefined

  constructor(
    number: number,
    isInitiator: boolean,
    localSpi: bigint,
    timers: IkeTimers,
    random: RandomSource,
    fragmentRoom: FragmentRoom
  ) {
    this.number = number
    this.isInitiator = isInitiator
    this.localSpi = localSpi
    this.exchanges = new ExchangeManager(timers, random)
    this.requestFragments = new FragmentReassembler(fragmentRoom)
    this.responseFragments = new FragmentReassembler(fragmentRoom)
  }

  get spiI(): bigint {
    return this.isInitiator ? this.localSpi : this.remoteSpi
  }

  get spiR(): bigint {
    return this.isInitiator ? this.remoteSpi : this.localSpi
  }

  get isDead(): boolean {
    return this.state === 'DESTROYED'
  }

  /** Authenticated and not on its way out: new exchanges about Child SAs may use it. */
  get isUsable(): boolean {
    return this.state === 'ESTABLISHED' || this.state === 'REKEYING'
  }

  /** The peer may know a Child SA that we shall only learn of from the answer to our CREATE_CHILD_SA. */
  get isCreatingChild(): boolean {
    return this.active?.name === 'child-create' || this.active?.name === 'child-rekey'
  }

  /** @returns false when the state does not allow this input; nothing has changed then */
  advance(input: IkeSaInput): boolean {
    const next = nextIkeSaState(this.state, input)
    if (next === undefined) return false
    this.state = next
    return true
  }

  secure(security: IkeSecurity, random: RandomSource, firstIv = 0n): void {
    this.security = security
    this.protection = new Protection(security.suite, security.keys, this.isInitiator, random, firstIv)
  }

  header(exchangeType: number, isResponse: boolean, messageId: number): IkeHeader {
    return {
      spiI: this.spiI,
      spiR: this.spiR,
      majorVersion: 2,
      minorVersion: 0,
      exchangeType,
      fromInitiator: this.isInitiator,
      isResponse,
      messageId
    }
  }

  /** Overwrites keys and forgets everything that waits. */
  dispose(): void {
    this.protection?.dispose()
    if (this.security !== undefined) disposeIkeKeys(this.security.keys)
    for (const task of [...this.queue, ...this.deferred.map(({ task }) => task)]) task.dispose?.()
    this.active?.dispose?.()
    this.queue = []
    this.deferred = []
    this.active = undefined
    this.requestFragments.reset()
    this.responseFragments.reset()
    this.exchanges.abandon()
    this.init = undefined
  }
}
