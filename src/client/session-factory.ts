/**
 * Makes the IKE sessions of a client: each attempt is a new one (new SPI, nonce and key exchange), all with the same settings.
 * @module
 */

import type { SoftLimits } from '../esp/sad.ts'
import { DEFAULT_FRAGMENT_SIZE, DEFAULT_TIMERS } from '../ike/options.ts'
import { IkeSession } from '../ike/session.ts'
import type { IkeEnvironment, IkeTimers, InitiatorConfig } from '../ike/types.ts'
import type { TrafficSelector } from '../wire/ike-message.ts'
import { selectEverything } from '../wire/traffic-selectors.ts'
import type { ConnectOptions } from './options.ts'

export class SessionFactory {
  readonly #options: ConnectOptions
  readonly #environment: IkeEnvironment
  readonly #timers: IkeTimers

  constructor(options: ConnectOptions, environment: IkeEnvironment) {
    this.#options = options
    this.#environment = environment
    this.#timers = { ...DEFAULT_TIMERS, ...options.timers }
  }

  /** A rekeying that starts here is done long before the lifetime ends. */
  get softLimits(): SoftLimits {
    const { childLifetimeBytes, childLifetimePackets, rekeyMargin } = this.#timers
    return {
      bytes: childLifetimeBytes * (1 - rekeyMargin),
      packets: childLifetimePackets * (1 - rekeyMargin)
    }
  }

  get natKeepaliveMs(): number {
    return this.#timers.natKeepaliveMs
  }

  /**
   * @param preferred virtual addresses to ask for again
   * @param more what only a session that is meant to stay asks for
   */
  make(
    preferred: readonly string[],
    more: Pick<InitiatorConfig, 'redirect' | 'resumption' | 'initialContact'> = {}
  ): IkeSession {
    const options = this.#options
    const { localTs, remoteTs } = this.selectors([])
    const config: InitiatorConfig = {
      role: 'initiator',
      ikeProposals: options.ikeProposals,
      espProposals: options.espProposals,
      timers: this.#timers,
      fragmentSize: DEFAULT_FRAGMENT_SIZE,
      mobike: true,
      haSync: true,
      localIdentity: options.localIdentity,
      remoteIdentity: options.remoteIdentity,
      localAuth: options.localAuth,
      remoteAuth: options.remoteAuth,
      configRequest:
        options.localTs.length > 0 ? undefined : { ipv4: true, ipv6: true, dns: true, preferred },
      localTs,
      remoteTs,
      ...more
    }
    return new IkeSession(config, this.#environment, { logKeys: options.keyDirectory !== undefined })
  }

  /** What is proposed as TSi and TSr (RFC 7296 section 2.9): with virtual addresses the gateway narrows TSi. */
  selectors(virtualAddresses: readonly string[]): {
    readonly localTs: readonly TrafficSelector[]
    readonly remoteTs: readonly TrafficSelector[]
  } {
    const { localTs, remoteTs } = this.#options
    const everything = [selectEverything(4), selectEverything(6)]
    const wanted =
      virtualAddresses.length === 0
        ? everything
        : everything.filter((selector) =>
            virtualAddresses.some((address) => (address.includes(':') ? 6 : 4) === selector.family)
          )
    return {
      localTs: localTs.length > 0 ? localTs : wanted,
      remoteTs: remoteTs.length > 0 ? remoteTs : everything
    }
  }
}
