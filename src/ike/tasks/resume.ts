/**
 * IKE_SESSION_RESUME from the initiator's side: stands for IKE_SA_INIT where there is a ticket (RFC 5723 section 4.3.2).
 *
 * What anybody could have said against it, and silence, lead to IKE_SA_INIT: that costs an authentication, and proves nothing
 * to whoever is on the way.
 * @module
 */
import { ExchangeType, FIRST_STATUS_NOTIFY, NotifyType, PayloadType } from '../../wire/ike-constants.ts'
import { findNotifies, findNotify, findPayload, notify } from '../../wire/ike-helpers.ts'
import type { Draft, IkeSa, InboundMessage, Task, TaskOutcome } from '../ike-sa.ts'
import { resumptionSkeyseed } from '../keymat.ts'
import { MAX_COOKIE_LENGTH, MAX_INIT_RETRIES, NONCE_LENGTH, RESUME_PATIENCE_MS } from '../options.ts'
import { followFirstAnswer, redirectSupport } from '../redirect.ts'
import type { SessionState } from '../session-state.ts'
import type { SessionTicket } from '../types.ts'
import { acceptableNonce, acceptInit, deriveSecurity, secureIkeSa, supportNotifies } from './init-common.ts'
import { equalBytes, natDetectionPayloads } from './natd.ts'

export class ResumeTask implements Task {
  readonly name = 'init'
  readonly #state: SessionState
  readonly #ticket: SessionTicket
  readonly #onDone: () => void
  readonly #startOver: (why: string) => void
  readonly #nonce: Uint8Array
  #cookie: Uint8Array | undefined
  #retries = 0
  sentMessage: Uint8Array = new Uint8Array(0)

  /**
   * @param onDone the keys are there
   * @param startOver the ticket is worth nothing: this IKE SA is to be forgotten
   */
  constructor(
    state: SessionState,
    ticket: SessionTicket,
    onDone: () => void,
    startOver: (why: string) => void
  ) {
    this.#state = state
    this.#ticket = ticket
    this.#onDone = onDone
    this.#startOver = startOver
    this.#nonce = state.environment.random.bytes(NONCE_LENGTH)
  }

  build(sa: IkeSa): Draft | undefined {
    const state = this.#state
    if (state.path === undefined) return undefined
    state.after('resume-silence', sa.number, RESUME_PATIENCE_MS)
    return {
      exchangeType: ExchangeType.IKE_SESSION_RESUME,
      payloads: [
        ...(this.#cookie === undefined ? [] : [notify(NotifyType.COOKIE, this.#cookie)]),
        { type: PayloadType.NONCE, data: this.#nonce },
        notify(NotifyType.TICKET_OPAQUE, this.#ticket.opaque),
        ...natDetectionPayloads(sa.localSpi, 0n, state.path),
        ...supportNotifies(),
        ...redirectSupport(state)
      ]
    }
  }

  process(sa: IkeSa, response: InboundMessage): TaskOutcome {
    const { payloads, header } = response
    const cookie = findNotify(payloads, NotifyType.COOKIE)
    if (cookie !== undefined) return this.#takeCookie(cookie.data)
    const redirect = findNotify(payloads, NotifyType.REDIRECT)
    if (redirect !== undefined) return followFirstAnswer(this.#state, redirect.data, this.#nonce)
    const isRefused =
      findNotify(payloads, NotifyType.TICKET_NACK) !== undefined ||
      findNotifies(payloads).some(({ notifyType }) => notifyType < FIRST_STATUS_NOTIFY)
    if (isRefused) return this.giveUp('the gateway does not take the ticket')
    const nonce = findPayload(payloads, PayloadType.NONCE)?.data
    if (nonce === undefined || !acceptableNonce(nonce) || header.spiR === 0n) return 'ignore'
    return this.#finish(sa, response, nonce)
  }

  /** Sets the session up from scratch. */
  giveUp(why: string): TaskOutcome {
    this.#startOver(why)
    return 'done'
  }

  #finish(sa: IkeSa, response: InboundMessage, nonceR: Uint8Array): TaskOutcome {
    const { chosen, skD } = this.#ticket
    const inputs = { chosen, nonceI: this.#nonce, nonceR, spiI: sa.localSpi, spiR: response.header.spiR }
    const security = deriveSecurity(inputs, (prf) => resumptionSkeyseed(prf, skD, this.#nonce, nonceR))
    if (security === undefined) return this.giveUp('its suite is not known')
    this.#state.timers.clear('resume-silence', sa.number)
    acceptInit(this.#state, sa, response, {
      localMessage: this.sentMessage,
      localNonce: this.#nonce,
      remoteNonce: nonceR
    })
    secureIkeSa(this.#state, sa, security)
    this.#onDone()
    return 'done'
  }

  #takeCookie(cookie: Uint8Array): TaskOutcome {
    const isKnown = this.#cookie !== undefined && equalBytes(cookie, this.#cookie)
    if (isKnown || cookie.length === 0 || cookie.length > MAX_COOKIE_LENGTH) return 'ignore'
    if (++this.#retries > MAX_INIT_RETRIES)
      return this.giveUp('the gateway asks for one cookie after the other')
    this.#cookie = cookie
    return 'again'
  }
}
