/**
 * Tickets as they travel, and the proof that both ends know one (RFC 5723 sections 4.1, 4.2, 4.3.3).
 *
 * A ticket belongs to one IKE SA: its SK_d is what the keys of the resumed one are made from.
 * @module
 */
import { equalInConstantTime } from '../crypto/legacy-hash.ts'
import { AuthMethod, NotifyType, PayloadType } from '../wire/ike-constants.ts'
import { findNotify, notify } from '../wire/ike-helpers.ts'
import type { AuthPayload, NotifyPayload, Payload } from '../wire/ike-message.ts'
import type { IkeSa } from './ike-sa.ts'
import { concat } from './keymat.ts'
import { MAX_TICKET_LENGTH, MAX_TICKET_LIFETIME_MS } from './options.ts'
import type { SessionState } from './session-state.ts'
import { authKey, localOctets, remoteOctets, secured } from './tasks/auth-common.ts'
import { securityOf } from './tasks/init-common.ts'
import type { Identity } from './types.ts'

const LIFETIME_LENGTH = 4

export function sameIdentity(one: Identity, other: Identity): boolean {
  return one.idType === other.idType && Buffer.compare(one.data, other.data) === 0
}

/** `AUTH = prf(SK_px, <message octets>)`: SK_pi or SK_pr of the new IKE SA, and no key pad. */
export function resumedAuth(sa: IkeSa, identity: Identity): AuthPayload {
  const { prf } = secured(sa).security
  const data = prf.compute(authKey(sa, true), localOctets(sa, identity))
  return { type: PayloadType.AUTH, method: AuthMethod.SHARED_KEY_MIC, data }
}

/** Whether the other end knows the keys that only the ticket gives. */
export function isResumedAuth(
  sa: IkeSa,
  identity: Identity,
  { method, data }: { readonly method: number; readonly data: Uint8Array }
): boolean {
  const { prf } = secured(sa).security
  const expected = prf.compute(authKey(sa, false), remoteOctets(sa, identity))
  return method === AuthMethod.SHARED_KEY_MIC && equalInConstantTime(expected, data)
}

// ---- the initiator's side

export function ticketRequest({ config }: SessionState): NotifyPayload[] {
  const wants = config.role === 'initiator' && config.resumption !== undefined
  return wants ? [notify(NotifyType.TICKET_REQUEST)] : []
}

/** In the last IKE_AUTH response, or in the answer to a request of its own. */
export function noteTicket(state: SessionState, sa: IkeSa, payloads: readonly Payload[]): void {
  const { config, localIdentity, remoteIdentity } = state
  if (config.role !== 'initiator' || config.resumption === undefined) return
  if (findNotify(payloads, NotifyType.TICKET_ACK) !== undefined) state.hasTickets = true
  const data = findNotify(payloads, NotifyType.TICKET_LT_OPAQUE)?.data
  const length = data === undefined ? 0 : data.length - LIFETIME_LENGTH
  if (data === undefined || length <= 0 || length > MAX_TICKET_LENGTH) return
  if (localIdentity === undefined || remoteIdentity === undefined) return
  const lifetimeMs = new DataView(data.buffer, data.byteOffset, LIFETIME_LENGTH).getUint32(0) * 1000
  if (lifetimeMs === 0) return
  const { chosen, keys } = securityOf(sa)
  state.hasTickets = true
  state.emit({
    type: 'ticket',
    ticket: {
      opaque: data.slice(LIFETIME_LENGTH),
      expiresAt: state.now + Math.min(lifetimeMs, MAX_TICKET_LIFETIME_MS),
      localIdentity,
      remoteIdentity,
      chosen,
      skD: Uint8Array.from(keys.skD)
    }
  })
}

// ---- the responder's side

/** The answer to TICKET_REQUEST, if there is one (section 4.1). A new ticket takes the place of the one before. */
export function ticketAnswer(state: SessionState, sa: IkeSa, asked: readonly Payload[]): NotifyPayload[] {
  const { config } = state
  if (config.role !== 'responder' || findNotify(asked, NotifyType.TICKET_REQUEST) === undefined) return []
  const { tickets } = config
  if (tickets === undefined) return []
  const { localIdentity, remoteIdentity, environment, authenticatedUntilMs } = state
  const nowMs = environment.wallClockMs()
  const lifetimeMs = Math.min(
    config.timers.ikeLifetimeMs > 0 ? config.timers.ikeLifetimeMs : MAX_TICKET_LIFETIME_MS,
    authenticatedUntilMs > 0 ? authenticatedUntilMs - nowMs : MAX_TICKET_LIFETIME_MS,
    MAX_TICKET_LIFETIME_MS
  )
  const seconds = Math.floor(lifetimeMs / 1000)
  if (localIdentity === undefined || remoteIdentity === undefined || seconds <= 0)
    return [notify(NotifyType.TICKET_NACK)]
  if (state.ticketSerial !== undefined) tickets.spend(state.ticketSerial)
  const serial = tickets.newSerial()
  const { chosen, keys } = securityOf(sa)
  const ticket = tickets.seal({
    serial,
    expiresAtMs: nowMs + seconds * 1000,
    authenticatedUntilMs,
    method: state.peerMethod,
    initiator: remoteIdentity,
    responder: localIdentity,
    peerName: state.peerName,
    chosen,
    skD: keys.skD,
    spiR: sa.localSpi
  })
  if (ticket.length > MAX_TICKET_LENGTH) return [notify(NotifyType.TICKET_NACK)]
  state.ticketSerial = serial
  const lifetime = new Uint8Array(LIFETIME_LENGTH)
  new DataView(lifetime.buffer).setUint32(0, seconds)
  return [notify(NotifyType.TICKET_LT_OPAQUE, concat(lifetime, ticket))]
}
