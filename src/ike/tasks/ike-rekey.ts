/**
 * Rekeying the IKE SA (RFC 7296 sections 1.3.2, 2.8.2, 2.18, 2.25.2), both halves.
 *
 * The new IKE SA inherits every Child SA; who asked for the surviving one deletes the old one. When both ends rekey at
 * once, the IKE SA whose exchange holds the lowest of the four nonces is deleted by the end that asked for it.
 * @module
 */
import { startKeyExchange } from '../../crypto/key-exchange.ts'
import { chooseProposal, proposalGroups, verifyChosen, withSpi } from '../../crypto/proposal.ts'
import { ExchangeType, NotifyType, PayloadType, ProtocolId } from '../../wire/ike-constants.ts'
import { findPayload, notify, spiFromBytes, spiToBytes } from '../../wire/ike-helpers.ts'
import type { Payload, Proposal } from '../../wire/ike-message.ts'
import type { Draft, IkeSa, InboundMessage, Task, TaskOutcome } from '../ike-sa.ts'
import { rekeySkeyseed } from '../keymat.ts'
import { DOUBT_PATIENCE_MS, NONCE_LENGTH, REKEY_RETRY_MS, REPLACED_PATIENCE_MS } from '../options.ts'
import type { SessionState } from '../session-state.ts'
import { groupOf } from './child-create.ts'
import {
  ExchangeKey,
  isRedundant,
  logRefusal,
  type NoncePair,
  refusalIn,
  waitOutTemporaryFailure
} from './create-child-common.ts'
import { IkeDeleteTask } from './delete.ts'
import { scheduleIkeSa } from './ike-lifetime.ts'
import {
  acceptableNonce,
  deriveSecurity,
  type IkeKeyInputs,
  secureIkeSa,
  securityOf,
  sharedSecretOf,
  uint16Bytes
} from './init-common.ts'
import { ticketOutdated } from './ticket.ts'

/** The peer's rekeying of the same IKE SA, which we have answered. */
interface IkeCollision {
  readonly sa: IkeSa
  readonly nonces: NoncePair
}

export class IkeRekeyTask implements Task {
  readonly name = 'ike-rekey'
  readonly #state: SessionState
  readonly #nonce: Uint8Array
  #key: ExchangeKey | undefined
  #next: IkeSa | undefined
  #collision: IkeCollision | undefined

  constructor(state: SessionState) {
    this.#state = state
    this.#nonce = state.environment.random.bytes(NONCE_LENGTH)
  }

  /** The peer's new IKE SA, if it rekeyed at the same time. */
  get collidingSa(): IkeSa | undefined {
    const sa = this.#collision?.sa
    return sa === undefined || sa.isDead ? undefined : sa
  }

  noteCollision(sa: IkeSa, nonces: NoncePair): void {
    this.#collision = { sa, nonces }
  }

  build(sa: IkeSa): Draft | undefined {
    const state = this.#state
    if (sa !== state.current || (sa.state !== 'REKEYING' && !sa.advance('rekey-started'))) return undefined
    const { ikeProposals } = state.config
    this.#key ??= new ExchangeKey(state, proposalGroups(ikeProposals), groupOf(securityOf(sa).chosen))
    this.#next ??= state.addIkeSa(true)
    const exchange = this.#key.current
    if (exchange === undefined) return undefined
    const spi = spiToBytes(this.#next.localSpi)
    return {
      exchangeType: ExchangeType.CREATE_CHILD_SA,
      payloads: [
        { type: PayloadType.SA, proposals: ikeProposals.map((proposal) => withSpi(proposal, spi)) },
        { type: PayloadType.NONCE, data: this.#nonce },
        { type: PayloadType.KE, group: exchange.group, data: exchange.publicValue }
      ]
    }
  }

  process(sa: IkeSa, response: InboundMessage): TaskOutcome {
    const state = this.#state
    const refusal = refusalIn(response.payloads)
    if (refusal === undefined) return this.#succeed(sa, response)
    if (refusal.notifyType === NotifyType.INVALID_KE_PAYLOAD && this.#key?.changeGroup(refusal))
      return 'again'
    this.dispose()
    const colliding = this.collidingSa
    if (colliding !== undefined) {
      // The peer refused ours because its own is through (section 2.8.2).
      adoptIkeSa(state, sa, colliding)
      return 'done'
    }
    sa.advance('rekey-refused')
    if (refusal.notifyType === NotifyType.TEMPORARY_FAILURE) return waitOutTemporaryFailure(state, sa)
    sa.temporaryFailureSince = undefined
    logRefusal(state, 'the rekeying of the IKE SA', refusal)
    return { laterMs: REKEY_RETRY_MS }
  }

  interrupted(sa: IkeSa): boolean {
    this.dispose()
    sa.advance('rekey-refused')
    return sa.isUsable
  }

  dispose(): void {
    this.#key?.dispose()
    this.#key = undefined
    // One that came to nothing; an adopted one is no longer ours to drop.
    if (this.#next?.state === 'CREATED') this.#state.destroyIkeSa(this.#next)
    this.#next = undefined
  }

  #succeed(sa: IkeSa, response: InboundMessage): TaskOutcome {
    const state = this.#state
    const next = this.#next
    const nonces = next === undefined ? 'there is no new IKE SA' : this.#complete(sa, next, response)
    if (next === undefined || typeof nonces === 'string') {
      state.log('warn', `the answer to the rekeying of the IKE SA does not fit: ${String(nonces)}`)
      this.dispose()
      sa.advance('rekey-refused')
      return { laterMs: REKEY_RETRY_MS }
    }
    sa.temporaryFailureSince = undefined
    // The peer let us rekey what it had rekeyed itself: of that it has no knowledge any more.
    for (const made of sa.doubted) if (made.what === 'ike') state.dropDoubted(sa, made)
    const colliding = this.collidingSa
    const isLost = this.#collision !== undefined && isRedundant(nonces, this.#collision.nonces)
    // The peer may have shown already that it goes on with its own (see `followCollision`).
    if (colliding !== undefined && (isLost || sa.state === 'REKEYED')) {
      state.log('info', 'both ends rekeyed the IKE SA; ours is the redundant one')
      adoptIkeSa(state, sa, colliding)
      state.enqueue(next, new IkeDeleteTask(state))
      return 'done'
    }
    adoptIkeSa(state, sa, next)
    state.timers.clear('ike-replaced', sa.number)
    state.enqueue(sa, new IkeDeleteTask(state), true)
    // The peer deletes its own redundant one; if it forgets, we do.
    if (colliding !== undefined) state.after('ike-replaced', colliding.number, REPLACED_PATIENCE_MS)
    return 'done'
  }

  /** Makes the keys of the new IKE SA; @returns the nonces, or what is wrong with the answer */
  #complete(sa: IkeSa, next: IkeSa, response: InboundMessage): NoncePair | string {
    const answer = findPayload(response.payloads, PayloadType.SA)
    const nonce = findPayload(response.payloads, PayloadType.NONCE)
    const ke = findPayload(response.payloads, PayloadType.KE)
    if (!answer || !nonce || !ke || !acceptableNonce(nonce.data)) return 'something is missing'
    const verdict = verifyChosen(answer.proposals, this.#state.config.ikeProposals)
    if (!verdict.ok) return verdict.reason
    const peerSpi = spiFromBytes(verdict.proposal.spi)
    const exchange = this.#key?.current
    if (peerSpi === undefined || peerSpi === 0n) return 'the SPI is not one'
    const [group] = proposalGroups([verdict.proposal])
    if (exchange?.group !== group || ke.group !== group) return 'the KE payload is not of the chosen group'
    const secret = exchange === undefined ? undefined : sharedSecretOf(exchange, ke.data)
    if (secret === undefined) return 'the KE payload holds an impossible public value'
    next.remoteSpi = peerSpi
    const nonces = { nonceI: this.#nonce, nonceR: nonce.data }
    const inputs = { chosen: verdict.proposal, ...nonces, spiI: next.spiI, spiR: next.spiR }
    return secureRekeyed(this.#state, sa, next, inputs, secret) ? nonces : 'it makes no suite'
  }
}

/**
 * The peer uses the IKE SA that it made while we were making one: for it the collision is decided, although the answer
 * that would decide it for us has not come.
 */
export function followCollision(state: SessionState, sa: IkeSa): void {
  const old = state.current
  if (old === undefined || old === sa || !(old.active instanceof IkeRekeyTask)) return
  if (old.active.collidingSa === sa) adoptIkeSa(state, old, sa)
}

export type IkeRekeyAnswer = { readonly payloads: readonly Payload[]; readonly afterSending?: () => void }

/** Answers the peer's request to rekey the IKE SA. */
export function answerIkeRekey(state: SessionState, sa: IkeSa, request: InboundMessage): IkeRekeyAnswer {
  const offer = findPayload(request.payloads, PayloadType.SA)
  const nonce = findPayload(request.payloads, PayloadType.NONCE)
  const ke = findPayload(request.payloads, PayloadType.KE)
  if (!sa.isUsable || state.closing !== undefined || isBusyWithChild(sa))
    return refuse(NotifyType.TEMPORARY_FAILURE)
  if (!offer || !nonce || !ke || !acceptableNonce(nonce.data)) return refuse(NotifyType.INVALID_SYNTAX)
  const { ikeProposals } = state.config
  const chosen = chooseProposal(offer.proposals, ikeProposals, 'ike', { preferredGroup: ke.group })
  const peerSpi = chosen === undefined ? undefined : spiFromBytes(chosen.spi)
  if (chosen === undefined || peerSpi === undefined || peerSpi === 0n)
    return refuse(NotifyType.NO_PROPOSAL_CHOSEN)
  const [group] = proposalGroups([chosen])
  if (group === undefined) return refuse(NotifyType.NO_PROPOSAL_CHOSEN)
  if (group !== ke.group) return { payloads: [notify(NotifyType.INVALID_KE_PAYLOAD, uint16Bytes(group))] }
  const exchange = startKeyExchange(group, state.environment.random)
  const secret = exchange === undefined ? undefined : sharedSecretOf(exchange, ke.data)
  if (exchange === undefined || secret === undefined) return refuse(NotifyType.INVALID_SYNTAX)
  const next = state.addIkeSa(false)
  next.remoteSpi = peerSpi
  const nonces = { nonceI: nonce.data, nonceR: state.environment.random.bytes(NONCE_LENGTH) }
  const inputs = { chosen, ...nonces, spiI: next.spiI, spiR: next.spiR }
  if (!secureRekeyed(state, sa, next, inputs, secret)) {
    state.destroyIkeSa(next)
    return refuse(NotifyType.NO_PROPOSAL_CHOSEN)
  }
  const payloads: Payload[] = [
    { type: PayloadType.SA, proposals: [ownHalf(chosen, next)] },
    { type: PayloadType.NONCE, data: nonces.nonceR },
    { type: PayloadType.KE, group, data: exchange.publicValue }
  ]
  sa.unconfirmed = { what: 'ike', number: next.number, isContested: false }
  const own = sa.active
  if (own instanceof IkeRekeyTask) {
    own.noteCollision(next, nonces)
    return { payloads }
  }
  return { payloads, afterSending: () => adoptIkeSa(state, sa, next) }
}

/** The new IKE SA takes over: Child SAs, waiting tasks, and every new exchange. */
export function adoptIkeSa(state: SessionState, old: IkeSa, next: IkeSa): void {
  if (!old.advance('replaced')) return
  old.successor = next
  state.inheritChildren(old, next)
  inheritDoubt(state, old, next)
  for (const task of [...old.queue, ...old.deferred.map(({ task }) => task)]) {
    if (task.name === 'ike-rekey') task.dispose?.()
    else next.queue.push(task)
  }
  old.queue = []
  old.deferred = []
  state.timers.clear('task-retry', old.number)
  state.timers.clear('ike-rekey', old.number)
  state.timers.clear('ike-expire', old.number)
  // Who asked for the new one deletes the old one.
  state.after('ike-replaced', old.number, REPLACED_PATIENCE_MS)
  state.current = next
  scheduleIkeSa(state, next)
  ticketOutdated(state, next)
  state.emit({ type: 'rekeyed', what: 'ike', spi: next.localSpi.toString(16).padStart(16, '0') })
}

/** Doubt about a Child SA outlives its IKE SA; an IKE SA that was in doubt and is not the one is to go. */
function inheritDoubt(state: SessionState, old: IkeSa, next: IkeSa): void {
  for (const made of old.doubted) {
    state.settleDoubt(old, made)
    if (made.what === 'child') {
      next.doubted.push(made)
      state.after('doubt', next.number, DOUBT_PATIENCE_MS)
    } else if (made.number !== next.number) state.after('ike-replaced', made.number, REPLACED_PATIENCE_MS)
  }
}

function secureRekeyed(
  state: SessionState,
  old: IkeSa,
  next: IkeSa,
  inputs: IkeKeyInputs,
  sharedSecret: Uint8Array
): boolean {
  const { prf, keys } = securityOf(old)
  const security = deriveSecurity(inputs, () =>
    rekeySkeyseed(prf, keys.skD, sharedSecret, inputs.nonceI, inputs.nonceR)
  )
  sharedSecret.fill(0)
  if (security === undefined) return false
  secureIkeSa(state, next, security)
  return next.advance('authenticated')
}

function ownHalf(chosen: Proposal, next: IkeSa): Proposal {
  return withSpi({ ...chosen, protocolId: ProtocolId.IKE }, spiToBytes(next.localSpi))
}

/** Creating, rekeying or closing a Child SA right now (section 2.25.1). */
function isBusyWithChild(sa: IkeSa): boolean {
  const name = sa.active?.name
  return name === 'child-create' || name === 'child-rekey' || name === 'child-delete'
}

function refuse(notifyType: number): IkeRekeyAnswer {
  return { payloads: [notify(notifyType)] }
}
