/**
 * How long an authentication holds (RFC 4478): the responder says so, and ends the IKE SA when the time is up; before that, the initiator
 * sets up a fresh one, authenticated anew. Rekeying changes nothing about it.
 * @module
 */
import { NotifyType } from '../wire/ike-constants.ts'
import { findNotify, notify } from '../wire/ike-helpers.ts'
import type { Payload } from '../wire/ike-message.ts'
import type { SessionState } from './session-state.ts'

/** Authentication anew begins this part of the lifetime before its end, within these bounds. */
const MARGIN = 0.1
const LEAST_MARGIN_MS = 10_000
const MOST_MARGIN_MS = 300_000
/** Gateways exist that allow less time than their own margin: nobody is authenticated to more often than this. */
const LEAST_WAIT_MS = 10_000
/** A responder waits a little longer than it said, in case the fresh IKE SA is only just coming up. */
export const AUTH_LIFETIME_GRACE_MS = 5_000

/** For the last IKE_AUTH response. */
export function authLifetimeNotify(state: SessionState): Payload[] {
  const leftMs = authenticationLeftMs(state)
  if (leftMs === undefined) return []
  const seconds = new Uint8Array(4)
  new DataView(seconds.buffer).setUint32(0, Math.floor(leftMs / 1000))
  return [notify(NotifyType.AUTH_LIFETIME, seconds)]
}

/** The peer's authentication holds from now on. */
export function limitAuthentication(state: SessionState): void {
  const leftMs = authenticationLeftMs(state)
  if (leftMs === undefined) return
  state.authenticatedUntilMs = state.environment.wallClockMs() + leftMs
  state.after('auth-expire', 0, leftMs + AUTH_LIFETIME_GRACE_MS)
}

/** A session that was resumed was not authenticated anew: what its ticket says still holds. */
function authenticationLeftMs({ config, environment, resumedFrom }: SessionState): number | undefined {
  if (config.role !== 'responder') return undefined
  const untilMs = resumedFrom?.authenticatedUntilMs ?? 0
  return untilMs > 0 ? Math.max(0, untilMs - environment.wallClockMs()) : config.authLifetimeMs
}

/** In an IKE_AUTH response, or in a request of its own. */
export function noteAuthLifetime(state: SessionState, payloads: readonly Payload[]): void {
  const data = findNotify(payloads, NotifyType.AUTH_LIFETIME)?.data
  if (state.config.role !== 'initiator' || data?.length !== 4) return
  const lifetimeMs = new DataView(data.buffer, data.byteOffset, 4).getUint32(0) * 1000
  const marginMs = Math.min(Math.max(lifetimeMs * MARGIN, LEAST_MARGIN_MS), MOST_MARGIN_MS, lifetimeMs / 2)
  // Many clients that connected at the same time shall not come back at the same time.
  const earlierMs = (marginMs / 2) * state.randomFraction()
  state.log('info', 'this authentication holds for a while only', { seconds: lifetimeMs / 1000 })
  state.after('reauth', 0, Math.max(LEAST_WAIT_MS, lifetimeMs - marginMs - earlierMs))
}

/** Asks the driver for a fresh IKE SA, and again a little later should this one still be here. */
export function requestReauthentication(state: SessionState): void {
  if (state.closing !== undefined) return
  state.emit({ type: 'reauthenticate' })
  state.after('reauth', 0, LEAST_WAIT_MS)
}
