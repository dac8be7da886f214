/**
 * IKE_SESSION_RESUME from the responder's side (RFC 5723 section 4.3.2). A refusal is TICKET_NACK, and leaves no state behind.
 * @module
 */
import type { Path } from '../../wire/endpoint.ts'
import { NotifyType, PayloadType } from '../../wire/ike-constants.ts'
import { findNotify, findPayload, notify } from '../../wire/ike-helpers.ts'
import type { InboundMessage } from '../ike-sa.ts'
import { resumptionSkeyseed } from '../keymat.ts'
import { followsRedirects, redirectNotify } from '../redirect.ts'
import type { SessionState } from '../session-state.ts'
import {
  acceptableNonce,
  deriveSecurity,
  finishResponder,
  openResponderSa,
  supportNotifies
} from './init-common.ts'
import type { InitAnswer } from './init-response.ts'
import { natDetectionPayloads } from './natd.ts'

/** Judges a request that has the right payloads. */
export function answerResume(state: SessionState, request: InboundMessage, path: Path): InitAnswer {
  const { config, environment } = state
  const nonceI = findPayload(request.payloads, PayloadType.NONCE)?.data
  const opaque = findNotify(request.payloads, NotifyType.TICKET_OPAQUE)?.data
  if (nonceI === undefined || !acceptableNonce(nonceI) || opaque === undefined)
    return { kind: 'refuse', error: notify(NotifyType.INVALID_SYNTAX) }
  const tickets = config.role === 'responder' ? config.tickets : undefined
  const ticket = tickets?.open(opaque, environment.wallClockMs())
  if (ticket === undefined) return { kind: 'refuse', error: notify(NotifyType.TICKET_NACK) }
  state.followsRedirects = followsRedirects(request.payloads)
  if (config.role === 'responder' && config.redirect?.at === 'init' && state.followsRedirects)
    return { kind: 'refuse', error: redirectNotify(config.redirect.to, nonceI) }
  const { sa, nonceR } = openResponderSa(state, request, path)
  const inputs = { chosen: ticket.chosen, nonceI, nonceR, spiI: sa.spiI, spiR: sa.spiR }
  state.resumedFrom = ticket
  return {
    kind: 'accept',
    sa,
    payloads: [
      { type: PayloadType.NONCE, data: nonceR },
      ...natDetectionPayloads(sa.spiI, sa.spiR, path),
      ...supportNotifies()
    ],
    complete(response, requestBytes) {
      const security = deriveSecurity(inputs, (prf) => resumptionSkeyseed(prf, ticket.skD, nonceI, nonceR))
      ticket.skD.fill(0)
      finishResponder(state, sa, security, {
        localMessage: response,
        remoteMessage: requestBytes,
        localNonce: nonceR,
        remoteNonce: nonceI
      })
    }
  }
}
