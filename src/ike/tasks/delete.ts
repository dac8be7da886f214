/**
 * Closing Child SAs and IKE SAs (RFC 7296 sections 1.4.1 and 2.25).
 * @module
 */
import type { IkestreamError } from '../../errors.ts'
import { ExchangeType, PayloadType, ProtocolId } from '../../wire/ike-constants.ts'
import { espSpiToBytes, findPayloads } from '../../wire/ike-helpers.ts'
import type { Payload } from '../../wire/ike-message.ts'
import type { ChildSa } from '../child-sa.ts'
import type { Draft, IkeSa, Task, TaskOutcome } from '../ike-sa.ts'
import { CLOSE_PATIENCE_MS } from '../options.ts'
import type { SessionState } from '../session-state.ts'
import type { IkeCloseReason } from '../types.ts'

/** One DELETE for any number of Child SAs, named by the SPIs that we receive on. */
export class ChildDeleteTask implements Task {
  readonly name = 'child-delete'
  readonly #state: SessionState
  readonly #children: readonly ChildSa[]
  readonly #reason: string

  constructor(state: SessionState, children: readonly ChildSa[], reason: string) {
    this.#state = state
    this.#children = children
    this.#reason = reason
  }

  concerns(child: ChildSa): boolean {
    return this.#children.includes(child)
  }

  build(): Draft | undefined {
    const known = this.#children.filter((child) => child.isKnown)
    if (known.length === 0) return undefined
    for (const child of known) child.advance('delete-sent')
    const spis = known.map(({ spiIn }) => espSpiToBytes(spiIn))
    return {
      exchangeType: ExchangeType.INFORMATIONAL,
      payloads: [{ type: PayloadType.DELETE, protocolId: ProtocolId.ESP, spis }]
    }
  }

  process(): TaskOutcome {
    for (const child of this.#children) this.#state.retireChild(child, this.#reason)
    return 'done'
  }

  interrupted(): boolean {
    return true
  }
}

/** Takes back a Child SA that the peer made and we could not use (section 2.21). */
export class OrphanDeleteTask implements Task {
  readonly name = 'child-delete'
  readonly #spiIn: number

  constructor(spiIn: number) {
    this.#spiIn = spiIn
  }

  build(): Draft {
    const spis = [espSpiToBytes(this.#spiIn)]
    return {
      exchangeType: ExchangeType.INFORMATIONAL,
      payloads: [{ type: PayloadType.DELETE, protocolId: ProtocolId.ESP, spis }]
    }
  }

  process(): TaskOutcome {
    return 'done'
  }

  interrupted(): boolean {
    return true
  }
}

/** The last request on an IKE SA. */
export class IkeDeleteTask implements Task {
  readonly name = 'ike-delete'
  readonly #state: SessionState

  constructor(state: SessionState) {
    this.#state = state
  }

  build(sa: IkeSa): Draft | undefined {
    if (sa.state !== 'DELETING' && !sa.advance('delete-sent')) return undefined
    return {
      exchangeType: ExchangeType.INFORMATIONAL,
      payloads: [{ type: PayloadType.DELETE, protocolId: ProtocolId.IKE, spis: [] }]
    }
  }

  process(sa: IkeSa): TaskOutcome {
    finishIkeDelete(this.#state, sa)
    return 'done'
  }

  interrupted(): boolean {
    return true
  }
}

/** The last request on an IKE SA. */
export function isIkeDelete(payloads: readonly Payload[]): boolean {
  return findPayloads(payloads, PayloadType.DELETE).some(({ protocolId }) => protocolId === ProtocolId.IKE)
}

/** An IKE SA that we wanted to delete is gone; with the current one goes the session. */
export function finishIkeDelete(state: SessionState, sa: IkeSa): void {
  if (sa !== state.current) {
    state.destroyIkeSa(sa)
    return
  }
  state.end(state.closing?.reason ?? 'requested', state.closing?.error)
}

/**
 * Deletes the current IKE SA and ends with `error` when that is answered, or not in time. Where the peer's last word in IKE_AUTH is still
 * on its way, that comes first: there may be something to delete then.
 */
export function closeSession(
  state: SessionState,
  reason: IkeCloseReason,
  error: IkestreamError | undefined
): void {
  if (state.ended || state.closing !== undefined) return
  const sa = state.current
  if (sa === undefined || (!state.established && sa.active?.isDecisive !== true)) {
    state.end(reason, error)
    return
  }
  state.closing = { reason, error }
  state.after('close', 0, CLOSE_PATIENCE_MS)
  if (state.established) deleteCurrent(state, sa)
}

/** Closing began before the peer had agreed to anything; now it has. */
export function establishedWhileClosing(state: SessionState): boolean {
  const sa = state.current
  if (state.closing === undefined || sa === undefined) return false
  deleteCurrent(state, sa)
  return true
}

function deleteCurrent(state: SessionState, sa: IkeSa): void {
  for (const task of sa.queue) task.dispose?.()
  sa.queue = []
  state.enqueue(sa, new IkeDeleteTask(state))
}
