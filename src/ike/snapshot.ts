/**
 * What another member of a cluster has to know to go on with an established session (RFC 6311): plain data, without the keys
 * of Child SAs, which belong to the data plane. Taken by `takeSnapshot`, put to use by `restore.ts`, as bytes in
 * `snapshot-codec.ts`.
 *
 * What is under way is not in it: exchanges of ours that wait for their answer are begun anew by whoever takes over.
 * Clocks of two machines differ, hence times are relative.
 * @module
 */
import type { Endpoint, TransportKind } from '../wire/endpoint.ts'
import type { Proposal, TrafficSelector } from '../wire/ike-message.ts'
import type { ChildSa } from './child-sa.ts'
import { MAX_MESSAGE_ID, type Packets } from './exchange-manager.ts'
import type { IkeSa, MadeByAnswer } from './ike-sa.ts'
import type { IkeKeys } from './keymat.ts'
import type { PeerFeatures, SessionState } from './session-state.ts'
import { ChildRekeyTask } from './tasks/child-rekey.ts'
import { ChildDeleteTask } from './tasks/delete.ts'
import type { TimerKind } from './timers.ts'
import type { AssignedConfig, Identity } from './types.ts'

export interface SessionSnapshot {
  readonly features: PeerFeatures
  readonly path: SnapshotPath
  readonly natLocal: boolean
  readonly natRemote: boolean
  readonly localIdentity: Identity | undefined
  readonly remoteIdentity: Identity | undefined
  readonly peerName: string
  readonly assigned: AssignedConfig | undefined
  /** Left out of the peer's sequence numbers by a takeover that the peer may not have heard of: the next one asks for it as well. */
  readonly pendingReplayDelta: bigint
  /** Local numbers are used up to here. */
  readonly lastNumber: number
  /** Number of the IKE SA that new exchanges use. */
  readonly current: number
  readonly sas: readonly IkeSaSnapshot[]
  readonly children: readonly ChildSaSnapshot[]
  readonly deadlines: readonly SnapshotDeadline[]
}

export interface SnapshotPath {
  readonly transport: TransportKind
  readonly local: Endpoint
  readonly remote: Endpoint
}

export interface SnapshotDeadline {
  readonly kind: SnapshotTimer
  readonly subject: number
  /** From the moment of the snapshot. */
  readonly inMs: number
}

/** The deadlines that matter to whoever takes over, and their numbers in bytes. */
export const SNAPSHOT_TIMERS = [
  'ike-rekey',
  'ike-expire',
  'ike-replaced',
  'child-rekey',
  'child-expire',
  'child-replaced'
] as const satisfies readonly TimerKind[]
export type SnapshotTimer = (typeof SNAPSHOT_TIMERS)[number]

export interface IkeSaSnapshot {
  readonly number: number
  readonly isInitiator: boolean
  readonly localSpi: bigint
  readonly remoteSpi: bigint
  readonly isReplaced: boolean
  /** It is to be deleted, or to be rekeyed, by us. */
  readonly isDeleting: boolean
  readonly isRekeying: boolean
  readonly chosen: Proposal
  readonly keys: IkeKeys
  /** Counter of the AEAD's IVs, 0 for CBC. */
  readonly nextIv: bigint
  /** Announced in a synchronisation: used, whatever `nextRequestId` says. */
  readonly announcedId: number | undefined
  readonly nextRequestId: number
  readonly expectedRequestId: number
  /** The answer to the request before the expected one. */
  readonly response: Packets
  readonly ageMs: number
  /** Number of the IKE SA that took over from this one. */
  readonly successor: number | undefined
  /** See `doubt.ts`. */
  readonly unconfirmed: MadeByAnswer | undefined
  readonly doubted: readonly MadeByAnswer[]
}

export interface ChildSaSnapshot {
  readonly number: number
  readonly childId: number
  /** Number of its IKE SA. */
  readonly owner: number
  readonly spiIn: number
  readonly spiOut: number
  readonly localTs: readonly TrafficSelector[]
  readonly remoteTs: readonly TrafficSelector[]
  readonly chosen: Proposal
  readonly isInitiator: boolean
  readonly ageMs: number
  readonly isReplaced: boolean
  readonly isDeleting: boolean
  readonly isRekeying: boolean
  readonly isSending: boolean
  /** Number of the Child SA that it replaces. */
  readonly replaces: number | undefined
}

/**
 * A copy of the session's state; the caller owns it, keys included, and overwrites them when it is done.
 * @returns undefined for a session that is not authenticated yet, or ends: nobody can go on with it
 */
export function takeSnapshot(state: SessionState, now: number): SessionSnapshot | undefined {
  const { path, current } = state
  if (!state.established || state.ended || state.closing !== undefined) return undefined
  if (path === undefined || current === undefined) return undefined
  const sas = state.sas.flatMap((sa) => ikeSaSnapshot(state, sa, now))
  return {
    features: { ...state.features },
    path: { transport: path.transport, local: path.local, remote: path.remote },
    natLocal: state.natLocal,
    natRemote: state.natRemote,
    localIdentity: state.localIdentity,
    remoteIdentity: state.remoteIdentity,
    peerName: state.peerName,
    assigned: state.assigned,
    pendingReplayDelta: state.pendingReplayDelta,
    lastNumber: state.lastNumber,
    current: current.number,
    sas,
    children: [...state.children.values()].flatMap((child) => childSnapshot(state, child, now)),
    deadlines: deadlinesOf(state, now)
  }
}

/** Overwrites the keys of a snapshot that is no longer needed. */
export function disposeSnapshot(snapshot: SessionSnapshot): void {
  for (const { keys } of snapshot.sas) for (const key of Object.values(keys)) key.fill(0)
}

function ikeSaSnapshot(state: SessionState, sa: IkeSa, now: number): IkeSaSnapshot[] {
  const { security, protection, exchanges } = sa
  // One that our rekeying is only about to make is none yet.
  if (security === undefined || protection === undefined || sa.state === 'CREATED' || sa.isDead) return []
  const { keys } = security
  return [
    {
      number: sa.number,
      isInitiator: sa.isInitiator,
      localSpi: sa.localSpi,
      remoteSpi: sa.remoteSpi,
      isReplaced: sa.state === 'REKEYED' || (sa.state === 'DELETING' && sa !== state.current),
      isDeleting: state.hasTask(sa, ({ name }) => name === 'ike-delete'),
      isRekeying: state.hasTask(sa, ({ name }) => name === 'ike-rekey'),
      chosen: security.chosen,
      keys: {
        skD: Uint8Array.from(keys.skD),
        skAi: Uint8Array.from(keys.skAi),
        skAr: Uint8Array.from(keys.skAr),
        skEi: Uint8Array.from(keys.skEi),
        skEr: Uint8Array.from(keys.skEr),
        skPi: Uint8Array.from(keys.skPi),
        skPr: Uint8Array.from(keys.skPr)
      },
      nextIv: protection.nextIv,
      announcedId: sa.announcedId,
      nextRequestId: Math.min(exchanges.highestUsedId + 1, MAX_MESSAGE_ID),
      expectedRequestId: exchanges.expectedRequestId,
      response: exchanges.storedResponse,
      ageMs: Math.round(now - (sa.establishedAt ?? now)),
      successor: sa.successor?.number,
      unconfirmed: sa.unconfirmed,
      doubted: sa.doubted
    }
  ]
}

function childSnapshot(state: SessionState, child: ChildSa, now: number): ChildSaSnapshot[] {
  // The peer has agreed that it is gone, and only stragglers are received on it.
  if (!child.isKnown) return []
  return [
    {
      number: child.number,
      childId: child.childId,
      owner: child.owner.number,
      spiIn: child.spiIn,
      spiOut: child.spiOut,
      localTs: child.localTs,
      remoteTs: child.remoteTs,
      chosen: child.chosen,
      isInitiator: child.isInitiator,
      ageMs: Math.round(now - child.installedAt),
      isReplaced: child.state === 'REKEYED',
      isDeleting: hasTask(state, (task) => task instanceof ChildDeleteTask && task.concerns(child)),
      isRekeying: hasTask(state, (task) => task instanceof ChildRekeyTask && task.old === child),
      isSending: state.sendsOn(child),
      replaces: child.replaces?.isKnown === true ? child.replaces.number : undefined
    }
  ]
}

function hasTask(state: SessionState, matches: Parameters<SessionState['hasTask']>[1]): boolean {
  return state.sas.some((sa) => state.hasTask(sa, matches))
}

function deadlinesOf(state: SessionState, now: number): SnapshotDeadline[] {
  const subjects = [...state.sas, ...state.children.values()].map(({ number }) => number)
  return SNAPSHOT_TIMERS.flatMap((kind) =>
    subjects.flatMap((subject) => {
      const at = state.timers.at(kind, subject)
      return at === undefined ? [] : [{ kind, subject, inMs: Math.max(0, Math.round(at - now)) }]
    })
  )
}
