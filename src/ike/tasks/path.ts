/**
 * Where the peer is: following it as a responder, moving as an initiator (RFC 7296 section 2.23, RFC 4555 section 3.8,
 * RFC 9329 section 6.1).
 * @module
 */
import type { Path } from '../../wire/endpoint.ts'
import type { IkeSa } from '../ike-sa.ts'
import { armRetransmission, emitPackets, reliability } from '../messenger.ts'
import { LOST_PATH_PATIENCE_MS } from '../options.ts'
import type { SessionState } from '../session-state.ts'
import { MobikeTask, RoutabilityTask } from './mobike.ts'

/**
 * A fresh authentic request came on `path`. A responder follows it: on streams always, on UDP only without MOBIKE or
 * when the peer says so, because with MOBIKE a request may merely test a path.
 */
export function followPath(state: SessionState, path: Path, isUpdate: boolean): void {
  if (state.config.role !== 'responder' || state.path === undefined) return
  if (path.id === state.path.id && !state.pathLost) return
  const follows = path.reliable || state.pathLost || isUpdate || !state.features.mobike
  if (!follows) return
  usePath(state, path)
  state.pathUntold = true
  state.tellPath()
  const sa = state.current
  if (sa === undefined || !isUpdate || path.reliable) return
  if (!state.hasTask(sa, ({ name }) => name === 'routability')) state.enqueue(sa, new RoutabilityTask(state))
}

/**
 * After a failover, before Message IDs are synchronised: the peer may be where this authentic message came from, or
 * somebody repeats what it said before. On streams the synchronisation goes there, and its answer will tell; on UDP it
 * goes there too.
 */
export function syncPath(state: SessionState, sa: IkeSa, path: Path): void {
  if (path.id === state.path?.id && !state.pathLost) return
  if (path.reliable || state.pathLost || state.path === undefined) {
    usePath(state, path)
    state.pathUntold = true
  } else emitPackets(state, sa.exchanges.outstandingPackets, path)
}

/** From now on everything goes over `path`; outstanding requests at once, bit for bit (RFC 4555 section 3.5). */
export function usePath(state: SessionState, path: Path): void {
  state.path = path
  state.pathLost = false
  state.timers.clear('lost-path', 0)
  for (const sa of state.sas) {
    sa.exchanges.pathChanged(state.now, reliability(state))
    emitPackets(state, sa.exchanges.outstandingPackets, path)
    armRetransmission(state, sa)
  }
}

/**
 * Initiator: everything goes over `path` from now on, and the peer is told, with UPDATE_SA_ADDRESSES or an empty INFORMATIONAL;
 * `path-changed` says when it has answered.
 */
export function movePath(state: SessionState, path: Path): void {
  const sa = state.current
  if (sa === undefined) return
  const isPastInit = state.established || sa.init !== undefined
  // Also a path that was in use before has to be answered on anew.
  state.confirmedPathId = undefined
  usePath(state, isPastInit ? (path.natT ?? path) : path)
  if (state.established) announcePath(state)
}

/**
 * Responder: authentic ESP of the peer comes from there now, since a NAT has given it another port. Our requests would not reach it
 * where it was; it has no reason to tell as long as its own are answered.
 */
export function peerSeenOn(state: SessionState, path: Path): void {
  const current = state.path
  if (state.config.role !== 'responder' || current === undefined || !state.natRemote) return
  if (!path.reliable && !current.reliable && path.id !== current.id) usePath(state, path)
}

/** Nothing is sent there any more, and outstanding requests wait for the next path. */
export function losePath(state: SessionState, path: Path): void {
  const current = state.path
  if (current === undefined || (current.id !== path.id && current.id !== path.natT?.id)) return
  state.pathLost = true
  for (const sa of state.sas) {
    sa.exchanges.pathChanged(state.now, undefined)
    armRetransmission(state, sa)
  }
  // The initiator's driver knows whether there will be another path; a responder can only wait.
  if (state.config.role === 'responder') state.after('lost-path', 0, LOST_PATH_PATIENCE_MS)
}

/**
 * Tells the peer on every living IKE SA: of a rekeying that we answered we cannot know whether the answer arrived, and
 * until it has the peer knows the old IKE SA only.
 */
export function announcePath(state: SessionState): void {
  if (state.closing !== undefined) return
  for (const sa of state.sas) {
    const isTold = state.hasTask(sa, ({ name }) => name === 'mobike')
    if ((sa.isUsable || sa.state === 'REKEYED') && !isTold) state.enqueue(sa, new MobikeTask(state), true)
  }
}
