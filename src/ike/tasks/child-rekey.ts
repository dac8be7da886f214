/**
 * Rekeying a Child SA (RFC 7296 sections 1.3.3, 2.8, 2.8.1, 2.25.1).
 *
 * When both ends rekey at once, each answers as usual; the Child SA whose exchange holds the lowest of the four nonces
 * is deleted by the end that asked for it, and the other end deletes the old one.
 * @module
 */
import { ExchangeType, NotifyType, ProtocolId } from '../../wire/ike-constants.ts'
import { espSpiToBytes, notify } from '../../wire/ike-helpers.ts'
import type { NotifyPayload } from '../../wire/ike-message.ts'
import type { ChildSa } from '../child-sa.ts'
import type { Draft, IkeSa, InboundMessage, MadeByAnswer, Task, TaskOutcome } from '../ike-sa.ts'
import { REKEY_RETRY_MS, REPLACED_PATIENCE_MS } from '../options.ts'
import type { SessionState } from '../session-state.ts'
import { hexSpi, installChild } from './child.ts'
import { ChildCreateTask, ChildProposal, groupOf, noncesOf } from './child-create.ts'
import {
  isRedundant,
  logRefusal,
  type NoncePair,
  refusalIn,
  waitOutTemporaryFailure
} from './create-child-common.ts'
import { ChildDeleteTask, OrphanDeleteTask } from './delete.ts'

/** Another Child SA took its place at the peer's request; the peer deletes it, or in the end we do. */
export function markReplaced(state: SessionState, old: ChildSa): void {
  if (!old.advance('replaced')) return
  state.timers.clear('child-rekey', old.number)
  state.after('child-replaced', old.number, REPLACED_PATIENCE_MS)
}

/** The peer's rekeying of the same Child SA, which we have answered. */
interface ChildCollision {
  readonly child: ChildSa
  readonly nonces: NoncePair
}

export class ChildRekeyTask implements Task {
  readonly name = 'child-rekey'
  readonly old: ChildSa
  readonly #state: SessionState
  #proposal: ChildProposal | undefined
  #collision: ChildCollision | undefined

  constructor(state: SessionState, old: ChildSa) {
    this.#state = state
    this.old = old
  }

  build(): Draft | undefined {
    const { old } = this
    if (old.state !== 'REKEYING' && !old.advance('rekey-started')) return undefined
    this.#proposal ??= new ChildProposal(this.#state, old.localTs, old.remoteTs, groupOf(old.chosen))
    const about = { protocolId: ProtocolId.ESP, spi: espSpiToBytes(old.spiIn) }
    return {
      exchangeType: ExchangeType.CREATE_CHILD_SA,
      payloads: [notify(NotifyType.REKEY_SA, undefined, about), ...this.#proposal.payloads()]
    }
  }

  /** The peer asked for the same, and got it. */
  noteCollision(child: ChildSa, nonces: NoncePair): void {
    this.#collision = { child, nonces }
  }

  process(sa: IkeSa, response: InboundMessage): TaskOutcome {
    const proposal = this.#proposal
    if (proposal === undefined) return 'done'
    const refusal = refusalIn(response.payloads)
    if (refusal === undefined) return this.#succeed(sa, response, proposal)
    if (refusal.notifyType === NotifyType.INVALID_KE_PAYLOAD && proposal.key.changeGroup(refusal))
      return 'again'
    this.dispose()
    return this.#refused(sa, refusal)
  }

  interrupted(): boolean {
    this.dispose()
    this.old.advance('rekey-refused')
    return this.old.isLive
  }

  dispose(): void {
    this.#proposal?.key.dispose()
    this.#proposal = undefined
  }

  #succeed(sa: IkeSa, response: InboundMessage, proposal: ChildProposal): TaskOutcome {
    const state = this.#state
    const { old } = this
    sa.temporaryFailureSince = undefined
    // The peer let us rekey what it had rekeyed itself: of that it has no knowledge any more.
    for (const made of sa.doubted) if (this.#isAbout(made)) state.dropDoubted(sa, made)
    const agreement = proposal.agreement(response)
    if (typeof agreement === 'string') {
      state.log('warn', `the answer to the rekeying of a Child SA does not fit: ${agreement}`)
      state.enqueue(sa, new OrphanDeleteTask(proposal.spiIn))
      return this.#retryLater()
    }
    if (sa.deletedEarly.has(agreement.spiOut)) {
      // The peer has closed the new one already, and with it what the old one was for.
      state.enqueue(sa, new ChildDeleteTask(state, [old], 'deleted by the peer'), true)
      return 'done'
    }
    const collision = this.#livingCollision()
    const lost = collision !== undefined && isRedundant(noncesOf(agreement), collision.nonces)
    const child = installChild(state, sa, { ...agreement, replaces: old })
    if (lost) {
      state.log('info', 'both ends rekeyed the Child SA; ours is the redundant one')
      child.advance('replaced')
      markReplaced(state, old)
      state.enqueue(sa, new ChildDeleteTask(state, [child], 'redundant'), true)
      return 'done'
    }
    state.useOutbound(child)
    // The peer deletes its own redundant one.
    if (collision !== undefined) markReplaced(state, collision.child)
    state.emit({ type: 'rekeyed', what: 'child', spi: hexSpi(child.spiIn) })
    old.advance('replaced')
    state.enqueue(sa, new ChildDeleteTask(state, [old], 'rekeyed'), true)
    return 'done'
  }

  #refused(sa: IkeSa, refusal: NotifyPayload): TaskOutcome {
    const state = this.#state
    const { old } = this
    // The peer has rekeyed it already (section 2.8.1), or it was deleted meanwhile: nothing is left to do.
    if (this.#livingCollision() !== undefined || !old.isLive) {
      markReplaced(state, old)
      return 'done'
    }
    old.advance('rekey-refused')
    if (refusal.notifyType === NotifyType.TEMPORARY_FAILURE) return waitOutTemporaryFailure(state, sa)
    sa.temporaryFailureSince = undefined
    logRefusal(state, 'the rekeying of a Child SA', refusal)
    if (refusal.notifyType !== NotifyType.CHILD_SA_NOT_FOUND) return this.#retryLater()
    // "Silently delete the Child SA and create a new Child SA from scratch" (section 2.25).
    const { localTs, remoteTs } = old
    state.enqueue(sa, new ChildCreateTask(state, localTs, remoteTs, old), true)
    state.removeChild(old, 'unknown to the peer')
    return 'done'
  }

  /** A failover left it open whether the peer knows of this; it would replace the same Child SA. */
  #isAbout({ what, number }: MadeByAnswer): boolean {
    return what === 'child' && this.#state.childByNumber(number)?.replaces === this.old
  }

  #retryLater(): TaskOutcome {
    this.dispose()
    this.old.advance('rekey-refused')
    return this.old.isLive ? { laterMs: REKEY_RETRY_MS } : 'done'
  }

  #livingCollision(): ChildCollision | undefined {
    return this.#collision?.child.isKnown ? this.#collision : undefined
  }
}
