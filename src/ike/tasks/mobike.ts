/**
 * Moving an IKE SA to another path: UPDATE_SA_ADDRESSES (RFC 4555 section 3.5), or an empty INFORMATIONAL where MOBIKE
 * was not negotiated (RFC 9329 section 6.1), and the responder's answers.
 * @module
 */

import type { Path } from '../../wire/endpoint.ts'
import { ExchangeType, NotifyType, nameOf } from '../../wire/ike-constants.ts'
import { findNotifies, findNotify, notify } from '../../wire/ike-helpers.ts'
import type { Payload } from '../../wire/ike-message.ts'
import { protocolViolation, refused } from '../failures.ts'
import type { Draft, IkeSa, InboundMessage, Task, TaskOutcome } from '../ike-sa.ts'
import type { SessionState } from '../session-state.ts'
import { equalBytes, natDetectionPayloads, natVerdict } from './natd.ts'

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

/**
 * Return routability check of a responder: the peer really is where its UPDATE_SA_ADDRESSES came from
 * (RFC 4555 section 3.7). A stream proves that by itself (RFC 9329 section 7.1).
 */
export class RoutabilityTask implements Task {
  readonly name = 'routability'
  readonly #state: SessionState
  #cookie: Uint8Array = new Uint8Array(0)
  #path: Path | undefined

  constructor(state: SessionState) {
    this.#state = state
  }

  build(): Draft | undefined {
    const { path, environment } = this.#state
    if (path === undefined || path.reliable) return undefined
    this.#path = path
    this.#cookie = environment.random.bytes(COOKIE2_LENGTH)
    return {
      exchangeType: ExchangeType.INFORMATIONAL,
      payloads: [notify(NotifyType.COOKIE2, this.#cookie)]
    }
  }

  process(_sa: IkeSa, response: InboundMessage): TaskOutcome {
    // Sent to several addresses it proves nothing about any of them.
    if (this.#path?.id !== this.#state.path?.id) return 'again'
    const cookie = findNotify(response.payloads, NotifyType.COOKIE2)?.data
    if (cookie === undefined || !equalBytes(cookie, this.#cookie)) {
      this.#state.end('protocol-error', protocolViolation('COOKIE2 came back changed, or not at all'))
    }
    return 'done'
  }

  interrupted(): boolean {
    return true
  }
}

/** 8 to 64 octets (RFC 4555 section 4.2.5). */
const COOKIE2_LENGTH = 16

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
