/**
 * IKE_SA_INIT from the responder's side (RFC 7296 sections 1.2, 2.7). Refusals leave no state behind.
 * @module
 */
import { startKeyExchange } from '../../crypto/key-exchange.ts'
import { chooseProposal, proposalGroups, withSpi } from '../../crypto/proposal.ts'
import type { Path } from '../../wire/endpoint.ts'
import { CertEncoding, NotifyType, PayloadType } from '../../wire/ike-constants.ts'
import { findPayload, notify } from '../../wire/ike-helpers.ts'
import type { NotifyPayload, Payload } from '../../wire/ike-message.ts'
import { certificateRequest } from '../auth/authenticator.ts'
import type { IkeSa, InboundMessage } from '../ike-sa.ts'
import { followsRedirects, redirectNotify } from '../redirect.ts'
import type { SessionState } from '../session-state.ts'
import {
  acceptableNonce,
  deriveInitialSecurity,
  finishResponder,
  openResponderSa,
  sharedSecretOf,
  supportNotifies,
  uint16Bytes
} from './init-common.ts'
import { natDetectionPayloads } from './natd.ts'

export type InitAnswer =
  /** Answer with this error and forget the message. */
  | { readonly kind: 'refuse'; readonly error: NotifyPayload }
  /**
   * Send the payloads as the response, then call `complete` with it and with the request: it makes the keys.
   */
  | {
      readonly kind: 'accept'
      readonly sa: IkeSa
      readonly payloads: readonly Payload[]
      complete(response: Uint8Array, request: Uint8Array): void
    }

/** Judges an IKE_SA_INIT request that has the right payloads. */
export function answerInit(state: SessionState, request: InboundMessage, path: Path): InitAnswer {
  const offer = findPayload(request.payloads, PayloadType.SA)
  const ke = findPayload(request.payloads, PayloadType.KE)
  const nonce = findPayload(request.payloads, PayloadType.NONCE)
  if (offer === undefined || ke === undefined || nonce === undefined || !acceptableNonce(nonce.data)) {
    return refuse(notify(NotifyType.INVALID_SYNTAX))
  }
  const { config } = state
  state.followsRedirects = followsRedirects(request.payloads)
  if (config.role === 'responder' && config.redirect?.at === 'init' && state.followsRedirects)
    return refuse(redirectNotify(config.redirect.to, nonce.data))
  const { ikeProposals } = config
  const chosen = chooseProposal(offer.proposals, ikeProposals, 'ike', { preferredGroup: ke.group })
  const [group] = chosen === undefined ? [] : proposalGroups([chosen])
  if (chosen === undefined || group === undefined) return refuse(notify(NotifyType.NO_PROPOSAL_CHOSEN))
  if (group !== ke.group) return refuse(notify(NotifyType.INVALID_KE_PAYLOAD, uint16Bytes(group)))
  const exchange = startKeyExchange(group, state.environment.random)
  const sharedSecret = exchange === undefined ? undefined : sharedSecretOf(exchange, ke.data)
  if (exchange === undefined || sharedSecret === undefined) {
    exchange?.dispose()
    return refuse(notify(NotifyType.INVALID_SYNTAX))
  }
  const { sa, nonceR } = openResponderSa(state, request, path)
  const inputs = { chosen, nonceI: nonce.data, nonceR, spiI: sa.spiI, spiR: sa.spiR }
  return {
    kind: 'accept',
    sa,
    payloads: [
      { type: PayloadType.SA, proposals: [withSpi(chosen, new Uint8Array(0))] },
      { type: PayloadType.KE, group, data: exchange.publicValue },
      { type: PayloadType.NONCE, data: nonceR },
      ...natDetectionPayloads(sa.spiI, sa.spiR, path),
      ...supportNotifies(),
      notify(NotifyType.CHILDLESS_IKEV2_SUPPORTED),
      ...certificateRequests(state.config)
    ],
    complete(response, requestBytes) {
      const security = deriveInitialSecurity(inputs, sharedSecret)
      finishResponder(state, sa, security, {
        localMessage: response,
        remoteMessage: requestBytes,
        localNonce: nonceR,
        remoteNonce: nonce.data
      })
    }
  }
}

function certificateRequests(config: SessionState['config']): Payload[] {
  const trust = config.role === 'responder' ? config.policy.clientTrust : undefined
  if (trust === undefined || trust.anchors.length === 0) return []
  return [
    {
      type: PayloadType.CERTREQ,
      encoding: CertEncoding.X509_SIGNATURE,
      authorities: certificateRequest(trust)
    }
  ]
}

function refuse(error: NotifyPayload): InitAnswer {
  return { kind: 'refuse', error }
}
