/**
 * When something of ours happens: tasks take the window one after the other, deadlines fire
 * (RFC 7296 sections 2.1, 2.4, 2.8).
 * @module
 */
import { ExchangeType, nameOf } from '../wire/ike-constants.ts'
import { requestReauthentication } from './auth-lifetime.ts'
import type { ChildSa } from './child-sa.ts'
import { onDoubtExpired } from './doubt.ts'
import { lifetimeExpired, peerTimeout } from './failures.ts'
import type { IkeSa, Task, TaskOutcome } from './ike-sa.ts'
import { armRetransmission, emitPackets, reliability, sendInitRequest, sendRequest } from './messenger.ts'
import { REKEY_RETRY_MS } from './options.ts'
import type { SessionState } from './session-state.ts'
import { hexSpi } from './tasks/child.ts'
import { ChildCreateTask } from './tasks/child-create.ts'
import { ChildRekeyTask } from './tasks/child-rekey.ts'
import { ChildDeleteTask, closeSession, finishIkeDelete, IkeDeleteTask } from './tasks/delete.ts'
import { IkeRekeyTask } from './tasks/ike-rekey.ts'
import { LivenessTask } from './tasks/liveness.ts'
import { ResumeTask } from './tasks/resume.ts'
import type { Deadline } from './timers.ts'

/** Said when a Child SA's keys have served their time, and nothing has taken its place or its peer has not deleted it. */
export const CHILD_SA_EXPIRED = 'a Child SA could not be rekeyed in time'

/** Lets every IKE SA whose window is free start what waits. */
export function pump(state: SessionState): void {
  for (const sa of [...state.sas]) startNext(state, sa)
}

function startNext(state: SessionState, sa: IkeSa): void {
  while (!state.ended && !sa.isDead && sa.active === undefined && reliability(state) !== undefined) {
    const task = sa.queue.shift()
    if (task === undefined) return
    const isClosing = state.closing !== undefined && sa === state.current
    if (isClosing && task.name !== 'ike-delete') {
      task.dispose?.()
      continue
    }
    start(state, sa, task)
  }
}

function start(state: SessionState, sa: IkeSa, task: Task): void {
  const draft = task.build(sa)
  if (draft === undefined || state.ended) {
    task.dispose?.()
    return
  }
  sa.active = task
  if (task.name === 'init') {
    sa.advance('init')
    task.sentMessage = sendInitRequest(state, sa, draft)
    return
  }
  if (!sa.exchanges.hasMessageIds) {
    state.end('expired', lifetimeExpired('IKE SA'))
    return
  }
  sendRequest(state, sa, draft)
}

/** A task has processed its response, or was resumed. */
export function finishTask(state: SessionState, sa: IkeSa, task: Task, outcome: TaskOutcome): void {
  if (state.ended || sa.isDead || outcome === 'ignore') return
  // IKE_SA_INIT is repeated under the same Message ID 0.
  const isInitRetry = task.name === 'init' && outcome === 'again'
  if (!isInitRetry && sa.exchanges.outstandingId !== undefined) {
    sa.exchanges.complete()
    sa.responseFragments.reset()
    armRetransmission(state, sa)
  }
  if (outcome === 'waiting') return
  sa.active = undefined
  sa.deletedEarly.clear()
  if (outcome === 'again') sa.queue.unshift(task)
  else if (outcome !== 'done') defer(state, sa, task, outcome.laterMs)
}

/** An outside wait is over. */
export function resumeTasks(state: SessionState): void {
  for (const sa of [...state.sas]) {
    const task = sa.active
    if (task?.resume === undefined || sa.exchanges.outstandingId !== undefined) continue
    finishTask(state, sa, task, task.resume(sa))
  }
}

function defer(state: SessionState, sa: IkeSa, task: Task, delayMs: number): void {
  sa.deferred.push({ task, at: state.now + delayMs })
  armDeferred(state, sa)
}

function armDeferred(state: SessionState, sa: IkeSa): void {
  const at = Math.min(...sa.deferred.map((deferred) => deferred.at))
  state.timers.set('task-retry', sa.number, at)
}

// ---- what the timers and the user ask for

export function requestLiveness(state: SessionState): void {
  const sa = state.current
  if (sa === undefined || !state.established || state.closing !== undefined) return
  // Any outstanding request shows as well as an empty one whether the peer lives.
  if (sa.active !== undefined || state.hasTask(sa, ({ name }) => name === 'liveness')) return
  state.enqueue(sa, new LivenessTask(state))
}

export function requestChildRekey(state: SessionState, child: ChildSa): void {
  const isUnderWay = state.hasTask(
    child.owner,
    (task) => task instanceof ChildRekeyTask && task.old === child
  )
  if (child.state !== 'INSTALLED' || isUnderWay) return
  state.timers.clear('child-rekey', child.number)
  state.enqueue(child.owner, new ChildRekeyTask(state, child))
}

export function requestChildDelete(state: SessionState, child: ChildSa, reason: string): void {
  const isUnderWay = state.hasTask(
    child.owner,
    (task) => task instanceof ChildDeleteTask && task.concerns(child)
  )
  if (child.isKnown && !isUnderWay) state.enqueue(child.owner, new ChildDeleteTask(state, [child], reason))
}

export function requestIkeRekey(state: SessionState): void {
  const sa = state.current
  if (sa?.state !== 'ESTABLISHED' || state.hasTask(sa, ({ name }) => name === 'ike-rekey')) return
  state.timers.clear('ike-rekey', sa.number)
  state.enqueue(sa, new IkeRekeyTask(state))
}

// ---- deadlines

export function onDeadline(state: SessionState, deadline: Deadline): void {
  const { kind, subject } = deadline
  switch (kind) {
    case 'retransmit':
    case 'task-retry':
    case 'ike-rekey':
    case 'ike-expire':
    case 'ike-replaced':
    case 'doubt': {
      const sa = state.ikeSaByNumber(subject)
      if (sa !== undefined) onIkeSaDeadline(state, sa, kind)
      return
    }
    case 'child-rekey':
    case 'child-expire':
    case 'child-replaced':
    case 'child-grace': {
      const child = state.childByNumber(subject)
      if (child !== undefined) onChildDeadline(state, child, kind)
      return
    }
    case 'resume-silence': {
      const task = state.ikeSaByNumber(subject)?.active
      if (task instanceof ResumeTask) task.giveUp('it is not answered')
      return
    }
    case 'puzzle': {
      const sa = state.ikeSaByNumber(subject)
      const task = sa?.active
      const outcome = sa === undefined ? undefined : task?.work?.(sa)
      if (sa !== undefined && task !== undefined && outcome !== undefined)
        finishTask(state, sa, task, outcome)
      return
    }
    case 'liveness':
      requestLiveness(state)
      return
    case 'cluster-liveness':
      onClusterIdle(state)
      return
    case 'half-open':
      state.end('timeout', peerTimeout('IKE_AUTH'))
      return
    case 'init-doubt':
      state.end('rejected', state.doubt)
      return
    case 'close':
      state.end(state.closing?.reason ?? 'requested', state.closing?.error)
      return
    case 'reauth':
      requestReauthentication(state)
      return
    case 'auth-expire':
      closeSession(state, 'expired', lifetimeExpired('authentication'))
      return
    case 'lost-path':
      state.end('timeout', peerTimeout('on any path'))
  }
}

/** A cluster hears of us even when there is nothing to say, so that a failover is noticed (RFC 9329 section 7.4). */
function onClusterIdle(state: SessionState): void {
  const { clusterLivenessMs } = state.config.timers
  const idleAt = Math.max(state.lastReceivedAt, state.lastSentAt) + clusterLivenessMs
  if (idleAt <= state.now) requestLiveness(state)
  state.timers.set('cluster-liveness', 0, idleAt <= state.now ? state.now + clusterLivenessMs : idleAt)
}

function onIkeSaDeadline(
  state: SessionState,
  sa: IkeSa,
  kind: 'retransmit' | 'task-retry' | 'ike-rekey' | 'ike-expire' | 'ike-replaced' | 'doubt'
): void {
  switch (kind) {
    case 'retransmit':
      onRetransmit(state, sa)
      return
    case 'task-retry': {
      const due = sa.deferred.filter(({ at }) => at <= state.now)
      sa.deferred = sa.deferred.filter(({ at }) => at > state.now)
      sa.queue.push(...due.map(({ task }) => task))
      if (sa.deferred.length > 0) armDeferred(state, sa)
      return
    }
    case 'ike-rekey':
      if (sa === state.current) requestIkeRekey(state)
      return
    case 'ike-expire':
      if (sa === state.current) closeSession(state, 'expired', lifetimeExpired('IKE SA'))
      else state.destroyIkeSa(sa)
      return
    case 'ike-replaced':
      if (sa !== state.current) state.enqueue(sa, new IkeDeleteTask(state), true)
      return
    case 'doubt':
      onDoubtExpired(state, sa)
  }
}

function onRetransmit(state: SessionState, sa: IkeSa): void {
  const action = sa.exchanges.timeout(state.now, reliability(state))
  armRetransmission(state, sa)
  if (action === 'retransmit') emitPackets(state, sa.exchanges.outstandingPackets, state.path)
  if (action === 'failed') onUnanswered(state, sa)
}

function onUnanswered(state: SessionState, sa: IkeSa): void {
  if (sa.active?.name === 'ike-delete') {
    finishIkeDelete(state, sa)
    return
  }
  if (sa !== state.current && sa.state !== 'CREATED') {
    state.destroyIkeSa(sa)
    return
  }
  const exchange = nameOf(ExchangeType, sa.exchanges.outstandingExchange ?? 0)
  if (state.established) state.emit({ type: 'liveness', outcome: 'dead', rttMs: undefined })
  state.end('timeout', state.doubt ?? peerTimeout(exchange))
}

function onChildDeadline(
  state: SessionState,
  child: ChildSa,
  kind: 'child-rekey' | 'child-expire' | 'child-replaced' | 'child-grace'
): void {
  switch (kind) {
    case 'child-rekey':
      if (child.owner.state === 'REKEYING') state.after('child-rekey', child.number, REKEY_RETRY_MS / 10)
      else requestChildRekey(state, child)
      return
    case 'child-expire':
      onChildExpired(state, child)
      return
    case 'child-replaced':
      requestChildDelete(state, child, 'replaced')
      return
    case 'child-grace':
      state.removeChild(child, 'rekeyed')
  }
}

/** The hard end of a lifetime: the keys are not used any longer. An initiator asks for a new Child SA in its place. */
function onChildExpired(state: SessionState, child: ChildSa): void {
  state.log('warn', CHILD_SA_EXPIRED, { spiIn: hexSpi(child.spiIn) })
  if (child.isLive && state.config.role === 'initiator') {
    const { localTs, remoteTs, owner } = child
    state.enqueue(owner, new ChildCreateTask(state, localTs, remoteTs, child))
  }
  requestChildDelete(state, child, 'expired')
}
