/**
 * CREATE_CHILD_SA for a further Child SA, and the half of it that rekeying shares (RFC 7296 sections 1.3.1, 1.3.3).
 * @module
 */
import { proposalGroups, transformOf, verifyChosen } from '../../crypto/proposal.ts'
import { ExchangeType, NotifyType, PayloadType, TransformType } from '../../wire/ike-constants.ts'
import { findPayload } from '../../wire/ike-helpers.ts'
import type { Payload, Proposal, TrafficSelector } from '../../wire/ike-message.ts'
import type { ChildSa } from '../child-sa.ts'
import type { Draft, IkeSa, InboundMessage, Task, TaskOutcome } from '../ike-sa.ts'
import { NONCE_LENGTH } from '../options.ts'
import type { SessionState } from '../session-state.ts'
import { acceptableSelectors, type ChildAgreement, espOffer, installChild, peerEspSpi } from './child.ts'
import {
  ExchangeKey,
  logRefusal,
  type NoncePair,
  refusalIn,
  waitOutTemporaryFailure
} from './create-child-common.ts'
import { OrphanDeleteTask } from './delete.ts'
import { acceptableNonce, sharedSecretOf } from './init-common.ts'

/** The offer of one CREATE_CHILD_SA and the reading of its answer. */
export class ChildProposal {
  readonly #localTs: readonly TrafficSelector[]
  readonly #remoteTs: readonly TrafficSelector[]
  readonly #offer: Proposal[]
  readonly spiIn: number
  readonly nonce: Uint8Array
  readonly key: ExchangeKey

  constructor(
    state: SessionState,
    localTs: readonly TrafficSelector[],
    remoteTs: readonly TrafficSelector[],
    firstGroup?: number
  ) {
    const { espProposals } = state.config
    this.#localTs = localTs
    this.#remoteTs = remoteTs
    this.spiIn = state.newEspSpi()
    this.#offer = espOffer(espProposals, this.spiIn, true)
    this.nonce = state.environment.random.bytes(NONCE_LENGTH)
    this.key = new ExchangeKey(state, proposalGroups(espProposals), firstGroup)
  }

  payloads(): Payload[] {
    const exchange = this.key.current
    return [
      { type: PayloadType.SA, proposals: this.#offer },
      { type: PayloadType.NONCE, data: this.nonce },
      ...(exchange === undefined
        ? []
        : [{ type: PayloadType.KE, group: exchange.group, data: exchange.publicValue } as const]),
      { type: PayloadType.TSi, selectors: this.#localTs },
      { type: PayloadType.TSr, selectors: this.#remoteTs }
    ]
  }

  /** What was agreed on, or one sentence about what is wrong with the answer. */
  agreement(response: InboundMessage): ChildAgreement | string {
    const { payloads } = response
    const answer = findPayload(payloads, PayloadType.SA)
    const nonce = findPayload(payloads, PayloadType.NONCE)
    const tsI = findPayload(payloads, PayloadType.TSi)
    const tsR = findPayload(payloads, PayloadType.TSr)
    if (!answer || !nonce || !tsI || !tsR || !acceptableNonce(nonce.data)) return 'something is missing'
    const verdict = verifyChosen(answer.proposals, this.#offer)
    if (!verdict.ok) return verdict.reason
    const spiOut = peerEspSpi(verdict.proposal)
    if (spiOut === undefined) return 'the ESP SPI is not one'
    if (!acceptableSelectors(this.#localTs, tsI.selectors)) return 'TSi is not within what was offered'
    if (!acceptableSelectors(this.#remoteTs, tsR.selectors)) return 'TSr is not within what was offered'
    const secret = this.#sharedSecret(verdict.proposal, payloads)
    if (typeof secret === 'string') return secret
    return {
      chosen: verdict.proposal,
      spiIn: this.spiIn,
      spiOut,
      localTs: tsI.selectors,
      remoteTs: tsR.selectors,
      nonceI: this.nonce,
      nonceR: nonce.data,
      sharedSecret: secret,
      isInitiator: true
    }
  }

  #sharedSecret(chosen: Proposal, payloads: readonly Payload[]): Uint8Array | undefined | string {
    const [group] = proposalGroups([chosen])
    if (group === undefined) return undefined
    const exchange = this.key.current
    const ke = findPayload(payloads, PayloadType.KE)
    if (exchange?.group !== group || ke?.group !== group) return 'the KE payload is not of the chosen group'
    return sharedSecretOf(exchange, ke.data) ?? 'the KE payload holds an impossible public value'
  }
}

/** The group that an existing SA was made with: most likely to be taken again. */
export function groupOf(chosen: Proposal): number | undefined {
  return transformOf(chosen, TransformType.KE)?.id
}

export function noncesOf(agreement: ChildAgreement): NoncePair {
  return { nonceI: agreement.nonceI, nonceR: agreement.nonceR }
}

export class ChildCreateTask implements Task {
  readonly name = 'child-create'
  readonly #state: SessionState
  readonly #localTs: readonly TrafficSelector[]
  readonly #remoteTs: readonly TrafficSelector[]
  readonly #lost: ChildSa | undefined
  #proposal: ChildProposal | undefined

  /** @param lost the Child SA whose place it takes, unless a rekeying that was under way does so after all */
  constructor(
    state: SessionState,
    localTs: readonly TrafficSelector[],
    remoteTs: readonly TrafficSelector[],
    lost?: ChildSa
  ) {
    this.#state = state
    this.#localTs = localTs
    this.#remoteTs = remoteTs
    this.#lost = lost
  }

  build(sa: IkeSa): Draft | undefined {
    if (!sa.isUsable || this.#isReplaced()) return undefined
    this.#proposal ??= new ChildProposal(this.#state, this.#localTs, this.#remoteTs)
    return { exchangeType: ExchangeType.CREATE_CHILD_SA, payloads: this.#proposal.payloads() }
  }

  process(sa: IkeSa, response: InboundMessage): TaskOutcome {
    const state = this.#state
    const proposal = this.#proposal
    if (proposal === undefined) return 'done'
    const refusal = refusalIn(response.payloads)
    if (refusal?.notifyType === NotifyType.TEMPORARY_FAILURE) {
      return waitOutTemporaryFailure(state, sa)
    }
    sa.temporaryFailureSince = undefined
    if (refusal?.notifyType === NotifyType.INVALID_KE_PAYLOAD && proposal.key.changeGroup(refusal))
      return 'again'
    if (refusal !== undefined) {
      logRefusal(state, 'a Child SA', refusal)
      return 'done'
    }
    const agreement = proposal.agreement(response)
    if (typeof agreement === 'string') {
      state.log('warn', `the answer to CREATE_CHILD_SA does not fit: ${agreement}`)
      state.enqueue(sa, new OrphanDeleteTask(proposal.spiIn))
      return 'done'
    }
    if (sa.deletedEarly.has(agreement.spiOut)) return 'done'
    state.useOutbound(installChild(state, sa, { ...agreement, childId: this.#lost?.childId }))
    return 'done'
  }

  interrupted(): boolean {
    this.dispose()
    return true
  }

  #isReplaced(): boolean {
    const lost = this.#lost
    if (lost === undefined) return false
    return [...this.#state.children.values()].some(
      (other) => other !== lost && other.childId === lost.childId && other.isLive
    )
  }

  dispose(): void {
    this.#proposal?.key.dispose()
    this.#proposal = undefined
  }
}
