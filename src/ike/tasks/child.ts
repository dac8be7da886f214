/**
 * What every exchange that makes a Child SA shares: the offer, the choice, narrowing, keys
 * (RFC 7296 sections 1.3, 2.9, 2.17).
 * @module
 */
import {
  chooseProposal,
  proposalGroups,
  suiteOf,
  transformOf,
  withoutKeyExchange,
  withSpi
} from '../../crypto/proposal.ts'
import { InternalError } from '../../errors.ts'
import type { ChildSaParameters, EspSaParameters } from '../../esp/types.ts'
import { addressToBytes, familyOf } from '../../wire/address.ts'
import { EsnId, KeyExchangeId, NotifyType, ProtocolId, TransformType } from '../../wire/ike-constants.ts'
import { espSpiFromBytes, espSpiToBytes, notify } from '../../wire/ike-helpers.ts'
import type {
  KePayload,
  NotifyPayload,
  Proposal,
  TrafficSelector,
  Transform
} from '../../wire/ike-message.ts'
import { intersectSelectors, selectorFromCidr, selectorsContain } from '../../wire/traffic-selectors.ts'
import { ChildSa } from '../child-sa.ts'
import type { IkeSa } from '../ike-sa.ts'
import { deriveChildKeys } from '../keymat.ts'
import type { SessionState } from '../session-state.ts'
import type { AssignedConfig } from '../types.ts'
import { rekeyAfterMs } from './ike-lifetime.ts'
import { uint16Bytes } from './init-common.ts'

/** Everything that two ends have agreed on about a Child SA. */
export interface ChildAgreement {
  readonly chosen: Proposal
  readonly spiIn: number
  readonly spiOut: number
  readonly localTs: readonly TrafficSelector[]
  readonly remoteTs: readonly TrafficSelector[]
  /** Nonces of the exchange's initiator and responder. */
  readonly nonceI: Uint8Array
  readonly nonceR: Uint8Array
  /** g^ir of this exchange, overwritten once used; undefined: no PFS. */
  readonly sharedSecret: Uint8Array | undefined
  /** We sent the request. */
  readonly isInitiator: boolean
  readonly replaces?: ChildSa | undefined
  /** Stays the same when a Child SA is made anew without being rekeyed; default: a new one. */
  readonly childId?: number | undefined
}

/** The ESP proposals with our inbound SPI; without groups where the exchange has no KE of its own (IKE_AUTH). */
export function espOffer(proposals: readonly Proposal[], spiIn: number, withGroups: boolean): Proposal[] {
  const spi = espSpiToBytes(spiIn)
  return proposals.map((proposal) => withSpi(withGroups ? proposal : withoutKeyExchange(proposal), spi))
}

/** The SPI that the peer gave its half of a chosen proposal; undefined when it is no ESP SPI. */
export function peerEspSpi(chosen: Proposal): number | undefined {
  const spi = espSpiFromBytes(chosen.spi)
  return spi === 0 ? undefined : spi
}

export interface SelectorLimits {
  readonly localTs: readonly TrafficSelector[]
  readonly remoteTs: readonly TrafficSelector[]
}

/** What a Child SA of this session may carry at most. */
export function selectorLimits(state: SessionState): SelectorLimits {
  const { config, assigned } = state
  const hosts = assigned === undefined ? undefined : hostSelectors(assigned)
  if (config.role === 'initiator') {
    const narrowed = hosts === undefined ? [] : intersectSelectors(config.localTs, hosts)
    return { localTs: narrowed.length > 0 ? narrowed : config.localTs, remoteTs: config.remoteTs }
  }
  return { localTs: config.policy.localTs, remoteTs: hosts ?? config.policy.remoteTs ?? [] }
}

/** The answered selectors lie within what was offered, and there are some (section 2.9). */
export function acceptableSelectors(
  offered: readonly TrafficSelector[],
  answered: readonly TrafficSelector[]
): boolean {
  return answered.length > 0 && selectorsContain(offered, answered)
}

export interface ChildOffer {
  readonly proposals: readonly Proposal[]
  readonly ke: KePayload | undefined
  /** The peer's side and ours, whatever they are called in the message. */
  readonly peerTs: readonly TrafficSelector[]
  readonly ownTs: readonly TrafficSelector[]
}

export type ChildChoice =
  | {
      readonly ok: true
      readonly chosen: Proposal
      readonly spiOut: number
      readonly localTs: readonly TrafficSelector[]
      readonly remoteTs: readonly TrafficSelector[]
      /** Undefined: no PFS. */
      readonly group: number | undefined
    }
  | { readonly ok: false; readonly error: NotifyPayload }

/** The responder's choice. `withGroups` is false in IKE_AUTH, whose Child SA has no KE of its own. */
export function chooseChild(
  state: SessionState,
  offer: ChildOffer,
  limits: SelectorLimits,
  withGroups: boolean
): ChildChoice {
  const strip = (proposals: readonly Proposal[]) =>
    withGroups ? proposals : proposals.map(withoutKeyExchange)
  const configured = withGroups ? withOptionalGroups(state) : strip(state.config.espProposals)
  const preferredGroup = offer.ke?.group ?? KeyExchangeId.NONE
  const offered = strip(offer.proposals.filter(({ protocolId }) => protocolId === ProtocolId.ESP))
  const chosen = chooseProposal(offered, configured, 'esp', { preferredGroup })
  const spiOut = chosen === undefined ? undefined : peerEspSpi(chosen)
  if (chosen === undefined || spiOut === undefined) return refuse(notify(NotifyType.NO_PROPOSAL_CHOSEN))
  const [group] = proposalGroups([chosen])
  if (group !== undefined && group !== offer.ke?.group) {
    return refuse(notify(NotifyType.INVALID_KE_PAYLOAD, uint16Bytes(group)))
  }
  const localTs = intersectSelectors(offer.ownTs, limits.localTs)
  const remoteTs = intersectSelectors(offer.peerTs, limits.remoteTs)
  if (localTs.length === 0 || remoteTs.length === 0) return refuse(notify(NotifyType.TS_UNACCEPTABLE))
  return { ok: true, chosen, spiOut, localTs, remoteTs, group }
}

/** Makes the keys and hands both directions to the data plane, which receives on them from now on. */
export function installChild(state: SessionState, sa: IkeSa, agreement: ChildAgreement): ChildSa {
  const { chosen, replaces, isInitiator } = agreement
  const number = state.nextNumber()
  const childId = replaces?.childId ?? agreement.childId ?? number
  const child = new ChildSa(sa, { ...agreement, number, childId, installedAt: state.now })
  child.replaces = replaces
  state.addChild(child)
  state.emit({ type: 'child-up', child: parametersOf(sa, agreement, childId), replaces: replaces?.spiIn })
  scheduleChild(state, child)
  state.log('info', 'Child SA installed', {
    spiIn: hexSpi(child.spiIn),
    spiOut: hexSpi(child.spiOut),
    exchange: isInitiator ? 'ours' : "peer's",
    group: proposalGroups([chosen])[0] ?? 'none'
  })
  return child
}

export function hexSpi(spi: number): string {
  return spi.toString(16).padStart(8, '0')
}

function scheduleChild(state: SessionState, child: ChildSa): void {
  const { childLifetimeMs } = state.config.timers
  if (childLifetimeMs <= 0) return
  state.after('child-rekey', child.number, rekeyAfterMs(state, childLifetimeMs))
  state.after('child-expire', child.number, childLifetimeMs)
}

function parametersOf(sa: IkeSa, agreement: ChildAgreement, childId: number): ChildSaParameters {
  const { chosen, sharedSecret, nonceI, nonceR, isInitiator } = agreement
  const suite = suiteOf(chosen)
  const { security } = sa
  if (suite === undefined || security === undefined) {
    throw new InternalError('child-without-suite', 'a Child SA was agreed on without a suite or an IKE SA')
  }
  const keys = deriveChildKeys(security.prf, suite, security.keys.skD, sharedSecret, nonceI, nonceR)
  sharedSecret?.fill(0)
  const common = {
    encryptionId: suite.encryptionId,
    encryptionKeyBits: suite.encryptionKeyBits,
    integrityId: suite.integrityId,
    esn: transformOf(chosen, TransformType.ESN)?.id === EsnId.ESN
  }
  const fromInitiator = { encryptionKey: keys.initiatorEncryption, integrityKey: keys.initiatorIntegrity }
  const fromResponder = { encryptionKey: keys.responderEncryption, integrityKey: keys.responderIntegrity }
  const outbound: EspSaParameters = {
    ...common,
    spi: agreement.spiOut,
    ...(isInitiator ? fromInitiator : fromResponder)
  }
  const inbound: EspSaParameters = {
    ...common,
    spi: agreement.spiIn,
    ...(isInitiator ? fromResponder : fromInitiator)
  }
  return { childId, inbound, outbound, localTs: agreement.localTs, remoteTs: agreement.remoteTs }
}

/**
 * Our ESP proposals for a peer's CREATE_CHILD_SA. Without groups of our own any that we would use for IKE is welcome:
 * PFS that the peer wants costs us nothing.
 */
function withOptionalGroups(state: SessionState): readonly Proposal[] {
  const { espProposals, ikeProposals } = state.config
  if (proposalGroups(espProposals).length > 0) return espProposals
  const none: Transform = { type: TransformType.KE, id: KeyExchangeId.NONE }
  const groups = proposalGroups(ikeProposals).map((id): Transform => ({ type: TransformType.KE, id }))
  return espProposals.map((proposal) => {
    const bare = withoutKeyExchange(proposal)
    return { ...bare, transforms: [...bare.transforms, none, ...groups] }
  })
}

function hostSelectors(assigned: AssignedConfig): TrafficSelector[] {
  return assigned.addresses.flatMap(({ address }) => {
    const bytes = addressToBytes(address)
    if (bytes === undefined) return []
    return [selectorFromCidr({ family: familyOf(bytes), address: bytes, prefixLength: bytes.length * 8 })]
  })
}

function refuse(error: NotifyPayload): ChildChoice {
  return { ok: false, error }
}
