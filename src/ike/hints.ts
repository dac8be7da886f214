/**
 * Unprotected messages about SAs are rumours: anybody can send them. They change nothing; they are at most a reason to ask the peer
 * (RFC 7296 sections 1.5 and 2.21.4), and to tell the driver, who may set up a fresh IKE SA beside the one at hand.
 * @module
 */
import type { Path } from '../wire/endpoint.ts'
import { ExchangeType, NotifyType } from '../wire/ike-constants.ts'
import { espSpiFromBytes, findNotify } from '../wire/ike-helpers.ts'
import type { Payload } from '../wire/ike-message.ts'
import type { Decoded } from './messenger.ts'
import { FIRST_AUTH_ID, HINT_INTERVAL_MS } from './options.ts'
import { requestLiveness } from './scheduler.ts'
import type { SessionState } from './session-state.ts'

export class Hints {
  readonly #state: SessionState
  #lastAskedAt = Number.NEGATIVE_INFINITY

  constructor(state: SessionState) {
    this.#state = state
  }

  /** A message without any protection, which is no IKE_SA_INIT. */
  receive({ message: { header, payloads } }: Decoded, path: Path): void {
    const state = this.#state
    if (state.closing !== undefined) return
    const sa = state.sas.find(({ spiI, spiR }) => spiI === header.spiI && spiR === header.spiR)
    const isAboutIke = header.isResponse && findNotify(payloads, NotifyType.INVALID_IKE_SPI) !== undefined
    if (!state.established) {
      // Later answers may have to wait for a person (EAP): that they are late says nothing.
      const isOutstanding =
        header.messageId === FIRST_AUTH_ID && header.exchangeType === ExchangeType.IKE_AUTH
      if (isOutstanding && isAboutIke && sa?.exchanges.expectsResponse(header.messageId, header.exchangeType))
        this.#tell('ike', path)
      return
    }
    if (sa !== undefined && isAboutIke) {
      // It repeats what the request had that it is about.
      if (sa.exchanges.expectsResponse(header.messageId, header.exchangeType)) this.#tell('ike', path)
      this.#ask('this IKE SA')
    } else if (!header.isResponse && this.#isAboutEsp(header.exchangeType, payloads)) {
      this.#tell('esp', path)
      this.#ask('our Child SA')
    } else state.log('debug', 'dropped an unprotected message')
  }

  /** INVALID_SPI comes with IKE SPIs that mean nothing; what it is about is inside. */
  #isAboutEsp(exchangeType: number, payloads: readonly Payload[]): boolean {
    const data = findNotify(payloads, NotifyType.INVALID_SPI)?.data
    const spi = data === undefined ? undefined : espSpiFromBytes(data)
    if (spi === undefined || exchangeType !== ExchangeType.INFORMATIONAL) return false
    return this.#state.childByPeerSpi(spi) !== undefined
  }

  #tell(about: 'ike' | 'esp', path: Path): void {
    this.#state.emit({ type: 'hint', about, path })
  }

  #ask(what: string): void {
    const state = this.#state
    if (state.now - this.#lastAskedAt < HINT_INTERVAL_MS) return
    this.#lastAskedAt = state.now
    state.log('info', `somebody says that the peer has lost ${what}; asking`)
    requestLiveness(state)
  }
}
