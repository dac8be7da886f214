/**
 * Answers to CREATE_CHILD_SA: a new Child SA, or the rekeying of one (RFC 7296 sections 1.3, 2.8, 2.25).
 * @module
 */
import { startKeyExchange } from '../../crypto/key-exchange.ts'
import type { KeyExchange } from '../../crypto/types.ts'
import { NotifyType, PayloadType, ProtocolId } from '../../wire/ike-constants.ts'
import { espSpiFromBytes, findNotify, findPayload, notify } from '../../wire/ike-helpers.ts'
import type { NotifyPayload, Payload } from '../../wire/ike-message.ts'
import type { ChildSa } from '../child-sa.ts'
import type { IkeSa, InboundMessage } from '../ike-sa.ts'
import { MAX_CHILD_SAS, NONCE_LENGTH } from '../options.ts'
import type { SessionState } from '../session-state.ts'
import {
  type ChildAgreement,
  type ChildChoice,
  chooseChild,
  espOffer,
  hexSpi,
  installChild,
  selectorLimits
} from './child.ts'
import { noncesOf } from './child-create.ts'
import { ChildRekeyTask, markReplaced } from './child-rekey.ts'
import { acceptableNonce, sharedSecretOf } from './init-common.ts'

type Accepted = Extract<ChildChoice, { ok: true }>

/** @returns the payloads of the response; the Child SA, if it comes to one, receives from now on */
export function answerCreateChild(state: SessionState, sa: IkeSa, request: InboundMessage): Payload[] {
  // While the IKE SA is being rekeyed nothing else may change (section 2.25.2).
  if (sa.state !== 'ESTABLISHED' || state.closing !== undefined) return [notify(NotifyType.TEMPORARY_FAILURE)]
  const rekeyed = findNotify(request.payloads, NotifyType.REKEY_SA)
  const old = rekeyed === undefined ? undefined : childToRekey(state, sa, rekeyed)
  if (old !== undefined && !('spiIn' in old)) return [old]
  if (state.children.size >= MAX_CHILD_SAS) return [notify(NotifyType.NO_ADDITIONAL_SAS)]
  const nonce = findPayload(request.payloads, PayloadType.NONCE)
  const choice = choose(state, request.payloads, old)
  if (choice === undefined || nonce === undefined || !acceptableNonce(nonce.data)) {
    return [notify(NotifyType.INVALID_SYNTAX)]
  }
  if (!choice.ok) return [choice.error]
  return accept(state, sa, request.payloads, choice, nonce.data, old)
}

/** The Child SA that REKEY_SA names, or the error that answers it (section 2.25.1). */
function childToRekey(state: SessionState, sa: IkeSa, rekeyed: NotifyPayload): ChildSa | NotifyPayload {
  const spi = espSpiFromBytes(rekeyed.spi)
  const child = spi === undefined ? undefined : state.childByPeerSpi(spi)
  if (child === undefined || rekeyed.protocolId !== ProtocolId.ESP) {
    if (sa.isCreatingChild) return notify(NotifyType.TEMPORARY_FAILURE)
    const { protocolId, spi: named } = rekeyed
    return notify(NotifyType.CHILD_SA_NOT_FOUND, undefined, { protocolId, spi: named })
  }
  return child.isLive ? child : notify(NotifyType.TEMPORARY_FAILURE)
}

function choose(
  state: SessionState,
  payloads: readonly Payload[],
  old: ChildSa | undefined
): ChildChoice | undefined {
  const offer = findPayload(payloads, PayloadType.SA)
  const tsI = findPayload(payloads, PayloadType.TSi)
  const tsR = findPayload(payloads, PayloadType.TSr)
  if (offer === undefined || tsI === undefined || tsR === undefined) return undefined
  const ke = findPayload(payloads, PayloadType.KE)
  // A rekeyed Child SA carries what the old one did (section 2.9.2).
  const limits = old ?? selectorLimits(state)
  const selectors = { peerTs: tsI.selectors, ownTs: tsR.selectors }
  return chooseChild(state, { proposals: offer.proposals, ke, ...selectors }, limits, true)
}

function accept(
  state: SessionState,
  sa: IkeSa,
  payloads: readonly Payload[],
  choice: Accepted,
  nonceI: Uint8Array,
  old: ChildSa | undefined
): Payload[] {
  const { chosen, spiOut, localTs, remoteTs, group } = choice
  const exchange = group === undefined ? undefined : startKeyExchange(group, state.environment.random)
  const ke = findPayload(payloads, PayloadType.KE)
  const sharedSecret = exchange && ke ? sharedSecretOf(exchange, ke.data) : undefined
  if (group !== undefined && sharedSecret === undefined) return [notify(NotifyType.INVALID_SYNTAX)]
  const agreement: ChildAgreement = {
    chosen,
    spiIn: state.newEspSpi(),
    spiOut,
    localTs,
    remoteTs,
    nonceI,
    nonceR: state.environment.random.bytes(NONCE_LENGTH),
    sharedSecret,
    isInitiator: false,
    replaces: old
  }
  const child = installChild(state, sa, agreement)
  sa.unconfirmed = { what: 'child', number: child.number, isContested: false }
  if (old === undefined) state.useOutbound(child)
  else noteRekeyed(state, sa, old, child, agreement)
  return responsePayloads(agreement, exchange)
}

/**
 * The peer rekeyed `old`: we go on sending there until it is deleted, however long that takes, because the peer cannot receive on
 * the new one before our answer has reached it (section 2.8).
 */
function noteRekeyed(
  state: SessionState,
  sa: IkeSa,
  old: ChildSa,
  child: ChildSa,
  agreement: ChildAgreement
): void {
  const own = sa.active
  if (own instanceof ChildRekeyTask && own.old === old) {
    own.noteCollision(child, noncesOf(agreement))
    return
  }
  markReplaced(state, old)
  state.emit({ type: 'rekeyed', what: 'child', spi: hexSpi(child.spiIn) })
}

function responsePayloads(agreement: ChildAgreement, exchange: KeyExchange | undefined): Payload[] {
  const { chosen, spiIn, nonceR, localTs, remoteTs } = agreement
  return [
    { type: PayloadType.SA, proposals: espOffer([chosen], spiIn, true) },
    { type: PayloadType.NONCE, data: nonceR },
    ...(exchange === undefined
      ? []
      : [{ type: PayloadType.KE, group: exchange.group, data: exchange.publicValue } as const]),
    { type: PayloadType.TSi, selectors: remoteTs },
    { type: PayloadType.TSr, selectors: localTs }
  ]
}
