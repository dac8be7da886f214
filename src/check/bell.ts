/**
 * Waiting for something to happen, until a time at most: the one kind of waiting that the probes need.
 * @module
 */
import type { Clock } from '../clock.ts'

export class Bell {
  readonly #clock: Clock
  readonly #signal: AbortSignal
  #waiting: (() => void) | undefined
  #rung = false

  /** @param signal everything is to end: ends every wait */
  constructor(clock: Clock, signal: AbortSignal) {
    this.#clock = clock
    this.#signal = signal
  }

  /** Something happened: whoever waits, or waits next, looks. */
  ring(): void {
    this.#rung = true
    this.#waiting?.()
  }

  /** Resolves when it is rung, at once if that was since the last wait; or at this time. */
  wait(untilMs: number): Promise<void> {
    if (this.#rung || this.#signal.aborted) {
      this.#rung = false
      return Promise.resolve()
    }
    return new Promise((resolve) => {
      const done = (): void => {
        timer.cancel()
        this.#signal.removeEventListener('abort', done)
        this.#waiting = undefined
        this.#rung = false
        resolve()
      }
      const timer = this.#clock.setTimer(untilMs - this.#clock.now(), done)
      this.#signal.addEventListener('abort', done, { once: true })
      this.#waiting = done
    })
  }
}
