/**
 * Who may connect: a bound on open connections and on new ones within each half-second, for all peers together and for
 * each address. An IPv6 peer counts by its /64, which is what one subscriber gets.
 *
 * Invariant: every `admit` that returned undefined is followed by exactly one `release`.
 * @module
 */
import { subscriberOf } from '../wire/address.ts'
import type { RelayLimits } from './options.ts'

export type RefusalReason =
  | 'too-many-connections'
  | 'too-many-from-address'
  | 'too-fast'
  | 'too-fast-from-address'

const ACCEPT_WINDOW_MS = 500

export class Admission {
  readonly #limits: RelayLimits
  readonly #open = new Map<string, number>()
  readonly #recent = new Map<string, number>()
  #total = 0
  #recentTotal = 0
  #window = 0

  constructor(limits: RelayLimits) {
    this.#limits = limits
  }

  get openConnections(): number {
    return this.#total
  }

  /** @returns why not, or undefined: the connection counts from now on */
  admit(address: string, nowMs: number): RefusalReason | undefined {
    const peer = subscriberOf(address)
    this.#turnWindow(nowMs)
    const refusal = this.#refusal(peer)
    if (refusal !== undefined) return refusal
    this.#recentTotal++
    this.#recent.set(peer, (this.#recent.get(peer) ?? 0) + 1)
    this.#total++
    this.#open.set(peer, (this.#open.get(peer) ?? 0) + 1)
    return undefined
  }

  release(address: string): void {
    const peer = subscriberOf(address)
    const open = (this.#open.get(peer) ?? 1) - 1
    this.#total--
    if (open === 0) this.#open.delete(peer)
    else this.#open.set(peer, open)
  }

  #refusal(peer: string): RefusalReason | undefined {
    const { maxAccepts, maxAcceptsPerAddress, maxConnections, maxConnectionsPerAddress } = this.#limits
    if (this.#recentTotal >= maxAccepts) return 'too-fast'
    if ((this.#recent.get(peer) ?? 0) >= maxAcceptsPerAddress) return 'too-fast-from-address'
    if (this.#total >= maxConnections) return 'too-many-connections'
    if ((this.#open.get(peer) ?? 0) >= maxConnectionsPerAddress) return 'too-many-from-address'
    return undefined
  }

  #turnWindow(nowMs: number): void {
    const window = Math.floor(nowMs / ACCEPT_WINDOW_MS)
    if (window === this.#window) return
    this.#window = window
    this.#recentTotal = 0
    this.#recent.clear()
  }
}
