/**
 * Waiting for something to happen, until a time at most: the one kind of waiting that the probes need.
 * @module
 */
import type { Clock } from '../clock.ts'

export class Bell {
  readonly #clock: Clock
  #waiting: (() => void) | undefined
  #rung = false

  /** @param signal rings for good */
  constructor(clock: Clock, signal: AbortSignal) {
    this.#clock = clock
    signal.addEventListener('abort', () => this.ring(), { once: true })
  }

  /** Something happened: whoever waits, or waits next, looks. */
  ring(): void {
    this.#rung = true
    this.#waiting?.()
  }

  /** Resolves when it is rung, at once if that was since the last wait; or at this time. */
  wait(untilMs: number): Promise<void> {
    if (this.#rung) {
      this.#rung = false
      return Promise.resolve()
    }
    return new Promise((resolve) => {
      const done = (): void => {
        timer.cancel()
        this.#waiting = undefined
        this.#rung = false
        resolve()
      }
      const timer = this.#clock.setTimer(untilMs - this.#clock.now(), done)
      this.#waiting = done
    })
  }
}
