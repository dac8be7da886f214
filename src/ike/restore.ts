/**
 * Goes on with a session that another member of the cluster had (RFC 6311): puts a snapshot to use, tells the data plane
 * what there is, and begins to synchronise counters with the peer.
 *
 * Invariants: no IV and no Message ID is used that the other member may have used; before Message IDs are synchronised
 * nothing else is asked of the peer.
 * @module
 */
import { prfById } from '../crypto/prf.ts'
import { suiteOf, transformOf } from '../crypto/proposal.ts'
import type { CipherSuite, Prf } from '../crypto/types.ts'
import type { EspSaParameters } from '../esp/types.ts'
import type { Path } from '../wire/endpoint.ts'
import { TransformType } from '../wire/ike-constants.ts'
import { ChildSa } from './child-sa.ts'
import { raiseDoubt } from './doubt.ts'
import type { IkeKeys } from './keymat.ts'
import { IKE_IV_JUMP, LOST_PATH_PATIENCE_MS } from './options.ts'
import type { SessionState } from './session-state.ts'
import type { ChildSaSnapshot, IkeSaSnapshot, SessionSnapshot } from './snapshot.ts'
import { announceEstablished, espSuiteOf } from './tasks/auth-common.ts'
import { ChildRekeyTask } from './tasks/child-rekey.ts'
import { MessageIdSyncTask, type ReplayDelta, ReplaySyncTask } from './tasks/counter-sync.ts'
import { ChildDeleteTask, IkeDeleteTask } from './tasks/delete.ts'
import { IkeRekeyTask } from './tasks/ike-rekey.ts'
import { secureIkeSa } from './tasks/init-common.ts'

/** Both directions of a Child SA, as the data plane of the other member had them. */
export interface RestoredEsp {
  readonly inbound: EspSaParameters
  readonly outbound: EspSaParameters
}

export interface RestoreInputs {
  /** Its keys become the session's. */
  readonly snapshot: SessionSnapshot
  /** By inbound SPI. */
  readonly esp: ReadonlyMap<number, RestoredEsp>
  /** Where the peer was last. */
  readonly path: Path
  /** False: a stream, which ended with the other member; the peer has to come back. */
  readonly isOpen: boolean
  /** Since the snapshot was made. */
  readonly ageMs: number
  /** What the peer is asked to add to its outgoing ESP sequence numbers, for earlier takeovers too. */
  readonly replayDelta: bigint
}

/**
 * Whether the peer can be asked to skip sequence numbers: it knows how, and its Child SAs are all of one kind
 * (RFC 6311 section 6.4).
 */
export function canSkipSequences(
  { features }: Pick<SessionSnapshot, 'features'>,
  esp: ReadonlyMap<number, RestoredEsp>
): boolean {
  const kinds = new Set([...esp.values()].map(({ inbound }) => inbound.esn))
  return features.replayCounterSync && kinds.size === 1
}

/** Fills a fresh session's state. @returns false when the snapshot makes no sense: nothing can be done with it */
export function restoreState(state: SessionState, inputs: RestoreInputs): boolean {
  const { snapshot, path, isOpen } = inputs
  adoptFacts(state, snapshot)
  state.path = path
  state.pathLost = !isOpen
  state.authPath = path
  state.continueNumbers(snapshot.lastNumber)
  for (const sa of snapshot.sas) if (!restoreIkeSa(state, sa)) return false
  for (const { number, successor } of snapshot.sas) {
    const old = state.ikeSaByNumber(number)
    if (old !== undefined && successor !== undefined) old.successor = state.ikeSaByNumber(successor)
  }
  state.current = state.ikeSaByNumber(snapshot.current)
  const { current } = state
  if (current === undefined) return false
  state.established = true
  state.lastReceivedAt = state.now
  state.lastSentAt = state.now
  const known = snapshot.children.filter(({ spiIn }) => inputs.esp.has(spiIn))
  const children = known.flatMap((child) => restoreChild(state, child))
  const sending = children.find(({ isLive }) => isLive)
  announceEstablished(state, current, sending && espSuiteOf(sending), true)
  for (const child of known) announceChild(state, child, inputs.esp)
  restoreDeadlines(state, inputs)
  pursue(state, inputs)
  if (!isOpen) state.after('lost-path', 0, LOST_PATH_PATIENCE_MS)
  return true
}

function adoptFacts(state: SessionState, snapshot: SessionSnapshot): void {
  Object.assign(state.features, snapshot.features)
  state.natLocal = snapshot.natLocal
  state.natRemote = snapshot.natRemote
  state.localIdentity = snapshot.localIdentity
  state.remoteIdentity = snapshot.remoteIdentity
  state.peerName = snapshot.peerName
  state.assigned = snapshot.assigned
}

function restoreIkeSa(state: SessionState, snapshot: IkeSaSnapshot): boolean {
  const { chosen, keys } = snapshot
  const prf = prfById(transformOf(chosen, TransformType.PRF)?.id ?? 0)
  const suite = suiteOf(chosen)
  if (prf === undefined || suite === undefined || !areWhole(keys, prf, suite)) return false
  const sa = state.claimIkeSa(snapshot.number, snapshot.isInitiator, snapshot.localSpi)
  sa.remoteSpi = snapshot.remoteSpi
  secureIkeSa(state, sa, { chosen, prf, suite, keys }, snapshot.nextIv + IKE_IV_JUMP)
  const next = Math.max(snapshot.nextRequestId, snapshot.announcedId ?? 0)
  sa.exchanges.resumeAt(next, snapshot.expectedRequestId, snapshot.response)
  sa.announcedId = snapshot.announcedId
  sa.establishedAt = state.now - snapshot.ageMs
  sa.unconfirmed = snapshot.unconfirmed
  sa.doubted = [...snapshot.doubted]
  sa.advance('authenticated')
  if (snapshot.isReplaced) sa.advance('replaced')
  return true
}

/** Each key has the length that its algorithm has (RFC 7296 section 2.14). */
function areWhole(keys: IkeKeys, prf: Prf, suite: CipherSuite): boolean {
  return (
    [keys.skD, keys.skPi, keys.skPr].every(({ length }) => length === prf.outputLength) &&
    [keys.skEi, keys.skEr].every(({ length }) => length === suite.encryptionKeyLength) &&
    [keys.skAi, keys.skAr].every(({ length }) => length === suite.integrityKeyLength)
  )
}

function restoreChild(state: SessionState, snapshot: ChildSaSnapshot): ChildSa[] {
  const owner = state.ikeSaByNumber(snapshot.owner) ?? state.current
  if (owner === undefined) return []
  const child = new ChildSa(owner, { ...snapshot, installedAt: state.now - snapshot.ageMs })
  state.addChild(child)
  return [child]
}

/** To the data plane, then everything that depends on its being there. */
function announceChild(
  state: SessionState,
  snapshot: ChildSaSnapshot,
  esp: ReadonlyMap<number, RestoredEsp>
): void {
  const child = state.childByNumber(snapshot.number)
  const keys = esp.get(snapshot.spiIn)
  if (child === undefined || keys === undefined) return
  const { childId, localTs, remoteTs } = child
  if (snapshot.replaces !== undefined) child.replaces = state.childByNumber(snapshot.replaces)
  state.emit({
    type: 'child-up',
    child: { childId, localTs, remoteTs, ...keys },
    replaces: child.replaces?.spiIn
  })
  if (snapshot.isSending) state.useOutbound(child)
  if (snapshot.isReplaced) child.advance('replaced')
}

function restoreDeadlines(state: SessionState, { snapshot, ageMs }: RestoreInputs): void {
  const subjects = new Set([...state.sas, ...state.children.values()].map(({ number }) => number))
  for (const { kind, subject, inMs } of snapshot.deadlines)
    if (subjects.has(subject)) state.after(kind, subject, Math.max(0, inMs - ageMs))
}

/** Counters first; then what the other member had begun or was about to do. */
function pursue(state: SessionState, inputs: RestoreInputs): void {
  const { snapshot, esp, replayDelta } = inputs
  const [first] = esp.values()
  const replay: ReplayDelta | undefined =
    canSkipSequences(snapshot, esp) && first !== undefined
      ? { delta: replayDelta, esn: first.inbound.esn }
      : undefined
  for (const sa of [...state.sas]) raiseDoubt(state, sa)
  for (const sa of state.sas) {
    if (state.features.messageIdSync) {
      sa.awaitsSync = true
      if (replay !== undefined) state.pendingReplayDelta = replay.delta
      sa.queue.push(new MessageIdSyncTask(state, replay))
    } else if (replay !== undefined && sa === state.current) sa.queue.push(new ReplaySyncTask(replay))
  }
  for (const sa of snapshot.sas) pursueIkeSa(state, sa)
  for (const child of snapshot.children) pursueChild(state, child)
}

function pursueIkeSa(state: SessionState, { number, isDeleting, isRekeying }: IkeSaSnapshot): void {
  const sa = state.ikeSaByNumber(number)
  if (sa === undefined) return
  if (isDeleting) state.enqueue(sa, new IkeDeleteTask(state))
  else if (isRekeying && sa === state.current) state.enqueue(sa, new IkeRekeyTask(state))
}

function pursueChild(state: SessionState, { number, isDeleting, isRekeying }: ChildSaSnapshot): void {
  const child = state.childByNumber(number)
  if (child === undefined) return
  const { owner } = child
  if (isDeleting) state.enqueue(owner, new ChildDeleteTask(state, [child], 'rekeyed'))
  else if (isRekeying && child.isLive) state.enqueue(owner, new ChildRekeyTask(state, child))
}
