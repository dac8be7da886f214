/**
 * The first Child SA in the answer to IKE_AUTH, checked against what was offered (RFC 7296 sections 1.2, 2.7, 2.9,
 * 2.21.2).
 * @module
 */
import { verifyChosen } from '../../crypto/proposal.ts'
import type { IkestreamError } from '../../errors.ts'
import { FIRST_STATUS_NOTIFY, NotifyType, nameOf, PayloadType } from '../../wire/ike-constants.ts'
import { findNotifies, findPayload } from '../../wire/ike-helpers.ts'
import type { Payload, Proposal } from '../../wire/ike-message.ts'
import {
  errorOfNotify,
  internalAddressFailure,
  invalidChoice,
  protocolViolation,
  trafficSelectorsUnacceptable
} from '../failures.ts'
import type { IkeSa } from '../ike-sa.ts'
import type { SessionState } from '../session-state.ts'
import type { InitiatorConfig } from '../types.ts'
import { secured } from './auth-common.ts'
import { acceptableSelectors, type ChildAgreement, peerEspSpi } from './child.ts'

/** @returns what was agreed on, or why there is no Child SA although both ends are authenticated */
export function readFirstChild(
  state: SessionState,
  config: InitiatorConfig,
  sa: IkeSa,
  payloads: readonly Payload[],
  offer: readonly Proposal[],
  spiIn: number
): ChildAgreement | IkestreamError {
  const error = findNotifies(payloads).find(({ notifyType }) => notifyType < FIRST_STATUS_NOTIFY)
  if (error !== undefined) {
    const name = nameOf(NotifyType, error.notifyType, 'NOTIFY')
    state.log('warn', `the gateway made no Child SA: ${name}`)
    return errorOfNotify(error.notifyType, config)
  }
  const wantsAddress = config.configRequest?.ipv4 || config.configRequest?.ipv6
  if (wantsAddress && (state.assigned?.addresses.length ?? 0) === 0) return internalAddressFailure()
  const answer = findPayload(payloads, PayloadType.SA)
  const tsI = findPayload(payloads, PayloadType.TSi)
  const tsR = findPayload(payloads, PayloadType.TSr)
  if (answer === undefined || tsI === undefined || tsR === undefined) {
    return protocolViolation('IKE_AUTH was answered without a Child SA and without a reason')
  }
  const verdict = verifyChosen(answer.proposals, offer)
  if (!verdict.ok) return invalidChoice(verdict.reason)
  const spiOut = peerEspSpi(verdict.proposal)
  if (spiOut === undefined) return invalidChoice('its ESP SPI is not one')
  const isNarrowed =
    acceptableSelectors(config.localTs, tsI.selectors) && acceptableSelectors(config.remoteTs, tsR.selectors)
  if (!isNarrowed) return trafficSelectorsUnacceptable(config)
  const { init } = secured(sa)
  return {
    chosen: verdict.proposal,
    spiIn,
    spiOut,
    localTs: tsI.selectors,
    remoteTs: tsR.selectors,
    nonceI: init.localNonce,
    nonceR: init.remoteNonce,
    sharedSecret: undefined,
    isInitiator: true
  }
}
