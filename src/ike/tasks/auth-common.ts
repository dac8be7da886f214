/**
 * What both halves of IKE_AUTH share: octets to sign, announced abilities, and the moment of establishment
 * (RFC 7296 sections 1.2 and 2.15, RFC 4555 section 3.1, RFC 6311 section 6).
 * @module
 */
import { formatChosenSuite } from '../../crypto/proposal.ts'
import { InternalError } from '../../errors.ts'
import { CertEncoding, NotifyType, PayloadType } from '../../wire/ike-constants.ts'
import { findNotify, findPayloads, notify } from '../../wire/ike-helpers.ts'
import type { NotifyPayload, Payload } from '../../wire/ike-message.ts'
import { formatIdentity } from '../auth/identity.ts'
import { signedOctets } from '../auth/signed-octets.ts'
import type { ChildSa } from '../child-sa.ts'
import type { IkeSa, IkeSecurity, InitRecord } from '../ike-sa.ts'
import type { SessionState } from '../session-state.ts'
import type { Identity } from '../types.ts'
import { scheduleIkeSa } from './ike-lifetime.ts'
import { securityOf } from './init-common.ts'

export interface SecuredIkeSa {
  readonly security: IkeSecurity
  readonly init: InitRecord
}

/** Keys and IKE_SA_INIT messages, which are there from IKE_SA_INIT on. */
export function secured(sa: IkeSa): SecuredIkeSa {
  const { init } = sa
  if (init === undefined) {
    throw new InternalError('auth-without-init', 'IKE_AUTH was processed before IKE_SA_INIT was complete')
  }
  return { security: securityOf(sa), init }
}

/** SK_pi for the initiator's AUTH, SK_pr for the responder's. */
export function authKey(sa: IkeSa, ofLocal: boolean): Uint8Array {
  const { keys } = secured(sa).security
  return sa.isInitiator === ofLocal ? keys.skPi : keys.skPr
}

export function localOctets(sa: IkeSa, identity: Identity): Uint8Array {
  const { security, init } = secured(sa)
  return signedOctets({
    message: init.localMessage,
    nonce: init.remoteNonce,
    prf: security.prf,
    skP: authKey(sa, true),
    identity
  })
}

export function remoteOctets(sa: IkeSa, identity: Identity): Uint8Array {
  const { security, init } = secured(sa)
  return signedOctets({
    message: init.remoteMessage,
    nonce: init.localNonce,
    prf: security.prf,
    skP: authKey(sa, false),
    identity
  })
}

/** X.509 certificates in the order in which they came: the leaf is the first (section 3.6). */
export function certificatesIn(payloads: readonly Payload[]): Uint8Array[] {
  return findPayloads(payloads, PayloadType.CERT)
    .filter(({ encoding }) => encoding === CertEncoding.X509_SIGNATURE)
    .map(({ data }) => data)
}

/** @param asked for a responder what the initiator asserted: nothing else may be (RFC 6311 section 5) */
export function abilityNotifies(state: SessionState, asked: readonly Payload[] | undefined): NotifyPayload[] {
  const { config } = state
  const wanted = [
    ...(config.mobike ? [NotifyType.MOBIKE_SUPPORTED] : []),
    ...(syncsMessageIds(config) ? [NotifyType.IKEV2_MESSAGE_ID_SYNC_SUPPORTED] : []),
    ...(syncsReplayCounters(config) ? [NotifyType.IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED] : [])
  ]
  return wanted
    .filter((type) => asked === undefined || findNotify(asked, type) !== undefined)
    .map((type) => notify(type))
}

export function noteAbilities(state: SessionState, payloads: readonly Payload[]): void {
  const { config, features } = state
  const has = (type: number) => findNotify(payloads, type) !== undefined
  features.mobike = config.mobike && has(NotifyType.MOBIKE_SUPPORTED)
  features.messageIdSync = syncsMessageIds(config) && has(NotifyType.IKEV2_MESSAGE_ID_SYNC_SUPPORTED)
  features.replayCounterSync =
    syncsReplayCounters(config) && has(NotifyType.IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED)
}

function syncsMessageIds({ haSync }: SessionState['config']): boolean {
  return haSync === true || haSync === 'message-ids'
}

function syncsReplayCounters({ haSync }: SessionState['config']): boolean {
  return haSync === true || haSync === 'replay-counters'
}

/** Both ends have proved who they are. */
export function markAuthenticated(state: SessionState, sa: IkeSa): void {
  sa.advance('authenticated')
  state.timers.clear('half-open', 0)
  state.established = true
  state.lastReceivedAt = state.now
  state.lastSentAt = state.now
  scheduleIkeSa(state, sa)
  const { role, timers } = state.config
  if (role === 'initiator' && state.features.messageIdSync && timers.clusterLivenessMs > 0) {
    state.after('cluster-liveness', 0, timers.clusterLivenessMs)
  }
}

/** Says `established`; the Child SA, if there is one, is told of right after. */
export function announceEstablished(
  state: SessionState,
  sa: IkeSa,
  espSuite: string | undefined,
  resumed = false
): void {
  const { path, features, localIdentity, remoteIdentity } = state
  if (path === undefined) return
  state.emit({
    type: 'established',
    path,
    info: {
      spiI: sa.spiI,
      spiR: sa.spiR,
      localIdentity: localIdentity === undefined ? '' : formatIdentity(localIdentity),
      // An EAP user may claim any IDi: to a responder the peer is who it has proved to be.
      remoteIdentity:
        state.config.role === 'responder'
          ? state.peerName
          : remoteIdentity === undefined
            ? ''
            : formatIdentity(remoteIdentity),
      ikeSuite: formatChosenSuite(securityOf(sa).chosen, 'ike'),
      espSuite,
      config: state.assigned,
      cluster: features.messageIdSync,
      mobike: features.mobike,
      natLocal: state.natLocal,
      natRemote: state.natRemote,
      resumed,
      byTicket: state.isByTicket
    }
  })
}

export function espSuiteOf(child: Pick<ChildSa, 'chosen'>): string {
  return formatChosenSuite(child.chosen, 'esp')
}
