/**
 * Answers to INFORMATIONAL: deletes, address updates, liveness, and notifies that need no answer
 * (RFC 7296 sections 1.4, 1.4.1, 2.25; RFC 4555).
 * @module
 */

import type { Path } from '../../wire/endpoint.ts'
import { NotifyType, nameOf, PayloadType, ProtocolId } from '../../wire/ike-constants.ts'
import {
  espSpiFromBytes,
  espSpiToBytes,
  findNotifies,
  findNotify,
  findPayloads
} from '../../wire/ike-helpers.ts'
import type { DeletePayload, Payload } from '../../wire/ike-message.ts'
import { noteAuthLifetime } from '../auth-lifetime.ts'
import { errorOfNotify, rejectedByInitiator, unreadable } from '../failures.ts'
import type { IkeSa, InboundMessage, TaskName } from '../ike-sa.ts'
import { MAX_CHILD_SAS } from '../options.ts'
import { protectedRedirect } from '../redirect.ts'
import { ticketAnswer } from '../resumption.ts'
import type { SessionState } from '../session-state.ts'
import { isIkeDelete } from './delete.ts'
import { adoptIkeSa, IkeRekeyTask } from './ike-rekey.ts'
import { noteReplayCounterSync } from './message-id-sync.ts'
import { mobikeAnswers } from './mobike.ts'

export interface InformationalAnswer {
  readonly payloads: readonly Payload[]
  /** What the request means for the session, once the answer is on its way. */
  readonly afterSending?: () => void
}

export function answerInformational(
  state: SessionState,
  sa: IkeSa,
  request: InboundMessage,
  path: Path
): InformationalAnswer {
  const { payloads } = request
  const deletes = findPayloads(payloads, PayloadType.DELETE)
  if (isIkeDelete(payloads)) {
    return { payloads: [], afterSending: () => ikeSaDeleted(state, sa) }
  }
  const fatal = findNotifies(payloads).find(({ notifyType }) => FATAL_NOTIFIES.includes(notifyType))
  if (fatal !== undefined) {
    return { payloads: [], afterSending: () => peerGaveUp(state, fatal.notifyType) }
  }
  noteReplayCounterSync(state, payloads)
  noteRedirect(state, payloads)
  noteAuthLifetime(state, payloads)
  noteUnknown(state, payloads)
  return {
    payloads: [
      ...deleteChildren(state, sa, deletes),
      ...mobikeAnswers(sa, payloads, path),
      ...ticketAnswer(state, sa, payloads)
    ]
  }
}

function noteRedirect(state: SessionState, payloads: readonly Payload[]): void {
  const to = protectedRedirect(state, payloads)
  if (to !== undefined && state.closing === undefined) state.emit({ type: 'redirect', to })
}

/** The peer says where it is now (RFC 4555 section 3.5). */
export function isAddressUpdate(payloads: readonly Payload[]): boolean {
  return findNotify(payloads, NotifyType.UPDATE_SA_ADDRESSES) !== undefined
}

/** Errors after which the peer has no IKE SA any more, without a DELETE (RFC 7296 section 2.21.2). */
const FATAL_NOTIFIES: readonly number[] = [NotifyType.AUTHENTICATION_FAILED, NotifyType.INVALID_SYNTAX]

function peerGaveUp(state: SessionState, notifyType: number): void {
  const isAuthentication = notifyType === NotifyType.AUTHENTICATION_FAILED
  const { config } = state
  const asResponder = isAuthentication ? rejectedByInitiator() : unreadable()
  const error = config.role === 'responder' ? asResponder : errorOfNotify(notifyType, config)
  state.end(isAuthentication ? 'authentication-failed' : 'protocol-error', error)
}

/**
 * Takes down the halves that the peer no longer receives on; the answer names the other halves, except those of
 * Child SAs that we are deleting ourselves (section 1.4.1).
 */
function deleteChildren(state: SessionState, sa: IkeSa, deletes: readonly DeletePayload[]): Payload[] {
  const named = deletes
    .filter(({ protocolId }) => protocolId === ProtocolId.ESP)
    .flatMap(({ spis }) => spis.map(espSpiFromBytes))
  const answered: Uint8Array[] = []
  for (const spi of named) {
    const child = spi === undefined ? undefined : state.childByPeerSpi(spi)
    if (child === undefined) {
      if (spi !== undefined && sa.isCreatingChild && sa.deletedEarly.size < MAX_CHILD_SAS)
        sa.deletedEarly.add(spi)
      continue
    }
    if (child.state !== 'DELETING') answered.push(espSpiToBytes(child.spiIn))
    for (const successor of state.children.values()) {
      if (successor.replaces === child) state.useOutbound(successor)
    }
    state.retireChild(child, 'deleted by the peer')
  }
  return answered.length === 0
    ? []
    : [{ type: PayloadType.DELETE, protocolId: ProtocolId.ESP, spis: answered }]
}

function ikeSaDeleted(state: SessionState, sa: IkeSa): void {
  if (sa !== state.current) {
    keepTasks(sa)
    state.destroyIkeSa(sa)
    return
  }
  // The peer did not see our own rekeying and goes on with its own (section 2.25.2).
  const colliding = sa.active instanceof IkeRekeyTask ? sa.active.collidingSa : undefined
  if (colliding !== undefined && state.closing === undefined) {
    adoptIkeSa(state, sa, colliding)
    state.destroyIkeSa(sa)
    return
  }
  const { closing } = state
  if (closing !== undefined) state.end(closing.reason, closing.error)
  else state.end('deleted-by-peer', undefined)
}

/** An address update was sent on both IKE SAs; the rekeying has had its result; and it is this IKE SA that was to be deleted. */
const SETTLED_BY_DELETE: readonly TaskName[] = ['mobike', 'ike-rekey', 'ike-delete']

/** What was under way on a replaced IKE SA is pursued on its successor. */
function keepTasks(sa: IkeSa): void {
  const { active, successor } = sa
  if (active === undefined || successor === undefined || successor.isDead) return
  sa.active = undefined
  if (!SETTLED_BY_DELETE.includes(active.name) && active.interrupted?.(successor))
    successor.queue.unshift(active)
  else active.dispose?.()
}

function noteUnknown(state: SessionState, payloads: readonly Payload[]): void {
  const known: readonly number[] = [
    NotifyType.NAT_DETECTION_SOURCE_IP,
    NotifyType.NAT_DETECTION_DESTINATION_IP,
    NotifyType.AUTH_LIFETIME,
    NotifyType.REDIRECT,
    NotifyType.TICKET_REQUEST,
    NotifyType.COOKIE2,
    NotifyType.UPDATE_SA_ADDRESSES
  ]
  for (const { notifyType } of findNotifies(payloads)) {
    if (known.includes(notifyType)) continue
    state.log('debug', `ignored notify ${nameOf(NotifyType, notifyType, 'NOTIFY')}`)
  }
}
