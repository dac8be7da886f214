/**
 * Where the peer is: following it as a responder, moving as an initiator (RFC 7296 section 2.23, RFC 4555 section 3.8,
 * RFC 9329 section 6.1).
 * @module
 */
import type { Path } from '../../wire/endpoint.ts'
import type { IkeSa } from '../ike-sa.ts'
import { armRetransmission, emitPackets, reliability } from '../messenger.ts'
import type { SessionState } from '../session-state.ts'
import { RoutabilityTask } from './mobike.ts'

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
