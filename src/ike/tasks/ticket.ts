/**
 * Asks for a ticket outside of IKE_AUTH: after the IKE SA was rekeyed, or because the responder could not give one at
 * once (RFC 5723 sections 4.1 and 6.2).
 * @module
 */
import { ExchangeType, NotifyType } from '../../wire/ike-constants.ts'
import { notify } from '../../wire/ike-helpers.ts'
import type { Draft, IkeSa, InboundMessage, Task, TaskOutcome } from '../ike-sa.ts'
import { noteTicket } from '../resumption.ts'
import type { SessionState } from '../session-state.ts'

export class TicketTask implements Task {
  readonly name = 'ticket'
  readonly #state: SessionState

  constructor(state: SessionState) {
    this.#state = state
  }

  build(sa: IkeSa): Draft | undefined {
    if (sa !== this.#state.current || !sa.isUsable) return undefined
    return { exchangeType: ExchangeType.INFORMATIONAL, payloads: [notify(NotifyType.TICKET_REQUEST)] }
  }

  process(sa: IkeSa, response: InboundMessage): TaskOutcome {
    noteTicket(this.#state, sa, response.payloads)
    return 'done'
  }

  interrupted(): boolean {
    return true
  }
}

/** The IKE SA was rekeyed: the ticket is worth nothing any more, and another one is asked for. */
export function ticketOutdated(state: SessionState, next: IkeSa): void {
  if (!state.hasTickets) return
  state.emit({ type: 'ticket', ticket: undefined })
  state.enqueue(next, new TicketTask(state))
}
