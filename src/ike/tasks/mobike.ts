/**
 * Moving an IKE SA to another path: UPDATE_SA_ADDRESSES (RFC 4555 section 3.5), or an empty INFORMATIONAL where MOBIKE
 * was not negotiated (RFC 9329 section 6.1), and the responder's answers.
 * @module
 */

import type { Path } from '../../wire/endpoint.ts'
import { ExchangeType, NotifyType, nameOf } from '../../wire/ike-constants.ts'
import { findNotifies, findNotify, notify } from '../../wire/ike-helpers.ts'
import type { Payload } from '../../wire/ike-message.ts'
import { refused } from '../failures.ts'
import type { Draft, IkeSa, InboundMessage, Task, TaskOutcome } from '../ike-sa.ts'
import type { SessionState } from '../session-state.ts'
import { natDetectionPayloads, natVerdict } from './natd.ts'

export class MobikeTask implements Task {
  readonly name = 'mobike'
  readonly #state: SessionState
  /** The path that the outstanding request tells the peer about. */
  #toldPath: Path | undefined

  constructor(state: SessionState) {
    this.#state = state
  }

  build(sa: IkeSa): Draft | undefined {
    const { path, features } = this.#state
    if (path === undefined) return undefined
    this.#toldPath = path
    const update = features.mobike
      ? [notify(NotifyType.UPDATE_SA_ADDRESSES), ...natDetectionPayloads(sa.spiI, sa.spiR, path)]
      : []
    return { exchangeType: ExchangeType.INFORMATIONAL, payloads: update }
  }

  process(sa: IkeSa, response: InboundMessage): TaskOutcome {
    const state = this.#state
    const path = this.#toldPath
    // The path changed again while the answer was on its way: it is about the past (RFC 4555 section 3.5).
    if (path === undefined || path.id !== state.path?.id) return 'again'
    const refusal = findNotifies(response.payloads).find(({ notifyType }) =>
      MOBIKE_ERRORS.includes(notifyType)
    )
    if (refusal !== undefined) {
      state.log('warn', `the peer refused our new address: ${nameOf(NotifyType, refusal.notifyType)}`)
      state.end('rejected', refused('our new address', refusal.notifyType))
      return 'done'
    }
    const nat = natVerdict(response.payloads, sa.spiI, sa.spiR, path)
    if (nat !== undefined) {
      state.natLocal = nat.local
      state.natRemote = nat.remote
    }
    sa.seenAddressHash = findNotify(response.payloads, NotifyType.NAT_DETECTION_DESTINATION_IP)?.data
    if (state.confirmedPathId !== path.id) state.emit({ type: 'path-changed', path })
    state.confirmedPathId = path.id
    return 'done'
  }

  interrupted(): boolean {
    return true
  }
}

const MOBIKE_ERRORS: readonly number[] = [
  NotifyType.UNACCEPTABLE_ADDRESSES,
  NotifyType.UNEXPECTED_NAT_DETECTED
]

/** What a response to any INFORMATIONAL has to repeat: COOKIE2 word for word, NAT detection for the path at hand. */
export function mobikeAnswers(sa: IkeSa, request: readonly Payload[], path: Path): Payload[] {
  const cookies = findNotifies(request, NotifyType.COOKIE2).map(({ data }) =>
    notify(NotifyType.COOKIE2, data)
  )
  const detects = findNotify(request, NotifyType.NAT_DETECTION_SOURCE_IP) !== undefined
  return [...(detects ? natDetectionPayloads(sa.spiI, sa.spiR, path) : []), ...cookies]
}
