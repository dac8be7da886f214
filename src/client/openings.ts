/**
 * Opens several transports side by side and hands them out best first: a worse one is only taken when every better
 * one failed, was used up, or did not open within a grace period.
 * @module
 */
import type { Transport, TransportFailure } from '../transport/types.ts'
import type { TransportKind } from '../wire/endpoint.ts'
import type { Clock } from './ike-driver.ts'

export interface Candidate {
  readonly kind: TransportKind
  readonly address: string
}

export type Opened = { readonly transport: Transport } | { readonly failure: TransportFailure }

interface Slot {
  readonly candidate: Candidate
  state: 'opening' | 'open' | 'gone'
  transport: Transport | undefined
}

export class Openings {
  readonly #slots: readonly Slot[]
  readonly #clock: Clock
  readonly #graceUntil: number
  #wake: (() => void) | undefined
  #closed = false

  /**
   * @param open never rejects: a failure is a result
   * @param graceMs how long a better candidate is waited for while a worse one is open already
   */
  constructor(
    candidates: readonly Candidate[],
    open: (candidate: Candidate) => Promise<Opened>,
    clock: Clock,
    graceMs: number
  ) {
    this.#clock = clock
    this.#graceUntil = clock.now() + graceMs
    this.#slots = candidates.map((candidate) => ({ candidate, state: 'opening', transport: undefined }))
    for (const slot of this.#slots) void this.#open(slot, open)
  }

  /** The best transport that is open and was not handed out yet; undefined when there is none and none will come. */
  async next(): Promise<{ candidate: Candidate; transport: Transport } | undefined> {
    for (;;) {
      if (this.#closed) return undefined
      const live = this.#slots.filter((slot) => slot.state !== 'gone')
      if (live.length === 0) return undefined
      const best = live.find((slot) => slot.state === 'open')
      const graceLeftMs = this.#graceUntil - this.#clock.now()
      if (best?.transport !== undefined && (best === live[0] || graceLeftMs <= 0)) {
        const { candidate, transport } = best
        best.state = 'gone'
        best.transport = undefined
        return { candidate, transport }
      }
      await this.#change(best === undefined ? undefined : graceLeftMs)
    }
  }

  /** Closes everything that was not handed out, also what opens later. */
  close(): void {
    this.#closed = true
    for (const slot of this.#slots) {
      void slot.transport?.close(0)
      slot.transport = undefined
      slot.state = 'gone'
    }
    this.#wake?.()
  }

  async #open(slot: Slot, open: (candidate: Candidate) => Promise<Opened>): Promise<void> {
    const result = await open(slot.candidate)
    if (!('transport' in result)) slot.state = 'gone'
    else if (this.#closed) void result.transport.close(0)
    else {
      slot.transport = result.transport
      slot.state = 'open'
    }
    this.#wake?.()
  }

  #change(timeoutMs: number | undefined): Promise<void> {
    return new Promise((resolve) => {
      const timer =
        timeoutMs === undefined ? undefined : this.#clock.setTimer(timeoutMs, () => this.#wake?.())
      this.#wake = () => {
        timer?.cancel()
        this.#wake = undefined
        resolve()
      }
    })
  }
}
