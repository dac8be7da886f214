/**
 * How many stream connections there may be, in all and of one address. An IPv6 peer counts by its /64, which is what
 * one subscriber gets.
 *
 * Invariant: every `admit` that returned true is followed by exactly one `release`.
 * @module
 */
import { subscriberOf } from '../wire/address.ts'

export class ConnectionLimits {
  readonly #max: number
  readonly #maxPerAddress: number
  readonly #open = new Map<string, number>()
  #total = 0

  constructor(max: number, maxPerAddress: number) {
    this.#max = max
    this.#maxPerAddress = maxPerAddress
  }

  get total(): number {
    return this.#total
  }

  admit(address: string): boolean {
    const subscriber = subscriberOf(address)
    const open = this.#open.get(subscriber) ?? 0
    if (this.#total >= this.#max || open >= this.#maxPerAddress) return false
    this.#total++
    this.#open.set(subscriber, open + 1)
    return true
  }

  release(address: string): void {
    const subscriber = subscriberOf(address)
    const open = (this.#open.get(subscriber) ?? 1) - 1
    this.#total--
    if (open === 0) this.#open.delete(subscriber)
    else this.#open.set(subscriber, open)
  }
}
