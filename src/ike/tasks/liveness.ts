/**
 * Liveness checks: an empty INFORMATIONAL (RFC 7296 section 2.4), with NAT detection where MOBIKE lets the initiator
 * notice a changed mapping (RFC 4555 section 3.8).
 * @module
 */
import { ExchangeType, NotifyType } from '../../wire/ike-constants.ts'
import { findNotify } from '../../wire/ike-helpers.ts'
import type { Draft, IkeSa, InboundMessage, Task, TaskOutcome } from '../ike-sa.ts'
import type { SessionState } from '../session-state.ts'
import { MobikeTask } from './mobike.ts'
import { equalBytes, natDetectionPayloads } from './natd.ts'

export class LivenessTask implements Task {
  readonly name = 'liveness'
  readonly #state: SessionState

  constructor(state: SessionState) {
    this.#state = state
  }

  build(sa: IkeSa): Draft | undefined {
    const { path, features, config } = this.#state
    this.#state.emit({ type: 'asking' })
    const detects = features.mobike && config.role === 'initiator' && path !== undefined && !path.reliable
    return {
      exchangeType: ExchangeType.INFORMATIONAL,
      payloads: detects ? natDetectionPayloads(sa.spiI, sa.spiR, path) : []
    }
  }

  process(sa: IkeSa, response: InboundMessage): TaskOutcome {
    const state = this.#state
    const rttMs = sa.exchanges.roundTripMs(state.now)
    state.rttMs = rttMs ?? state.rttMs
    state.emit({ type: 'liveness', outcome: 'alive', rttMs })
    const seen = findNotify(response.payloads, NotifyType.NAT_DETECTION_DESTINATION_IP)
    if (seen === undefined) return 'done'
    if (sa.seenAddressHash !== undefined && !equalBytes(sa.seenAddressHash, seen.data)) {
      state.log('info', 'our address changed in the eyes of the peer')
      state.enqueue(sa, new MobikeTask(state), true)
    }
    sa.seenAddressHash = seen.data
    return 'done'
  }

  /** Whatever interrupts it comes from the peer, which therefore lives. */
  interrupted(): boolean {
    this.#state.emit({ type: 'liveness', outcome: 'alive', rttMs: undefined })
    return false
  }
}
