/**
 * A clock that only moves when a test says so. Between two timers everything that promises have made ready is run, so
 * that asynchronous code comes to rest before time goes on.
 * @module
 */
import type { Clock } from '../../src/clock.ts'

interface Timer {
  readonly at: number
  readonly order: number
  readonly callback: () => void
}

export class VirtualClock implements Clock {
  #now: number
  #order = 0
  readonly #timers = new Set<Timer>()

  /** Not zero by default: a real monotonic clock is not either. */
  constructor(startMs = 1000) {
    this.#now = startMs
  }

  now(): number {
    return this.#now
  }

  setTimer(delayMs: number, callback: () => void): { cancel(): void } {
    if (Number.isNaN(delayMs)) throw new Error('a timer needs a delay')
    const timer = { at: this.#now + Math.max(0, delayMs), order: ++this.#order, callback }
    this.#timers.add(timer)
    return { cancel: () => this.#timers.delete(timer) }
  }

  /** Timers that would still fire. */
  get armed(): number {
    return this.#timers.size
  }

  /** When the next timer fires, in milliseconds from now. */
  get nextInMs(): number | undefined {
    const next = this.#next()
    return next === undefined ? undefined : next.at - this.#now
  }

  /** Lets promises settle without moving time. */
  async settle(): Promise<void> {
    // A turn of the event loop empties the queue of microtasks, however long their chains are.
    await new Promise((resolve) => setImmediate(resolve))
  }

  /** Moves time on, firing what is due in order. */
  async advance(durationMs: number): Promise<void> {
    await this.until(() => false, durationMs)
  }

  /**
   * Moves time on until the condition holds.
   * @returns whether it came to hold within `limitMs` of virtual time
   */
  async until(isDone: () => boolean, limitMs: number): Promise<boolean> {
    const limit = this.#now + limitMs
    for (;;) {
      await this.settle()
      if (isDone()) return true
      const next = this.#next()
      if (next === undefined || next.at > limit) break
      this.#timers.delete(next)
      this.#now = next.at
      next.callback()
    }
    this.#now = limit
    return false
  }

  #next(): Timer | undefined {
    let first: Timer | undefined
    for (const timer of this.#timers) {
      if (first === undefined || timer.at < first.at || (timer.at === first.at && timer.order < first.order))
        first = timer
    }
    return first
  }
}
