/**
 * Something happened that is worth stopping a wait for: whoever waits at that moment hears of it, nobody afterwards.
 * @module
 */
import type { Clock } from '../clock.ts'

export class Bell {
  readonly #listeners = new Set<() => void>()

  ring(): void {
    for (const listener of [...this.#listeners]) listener()
  }

  /** @returns how to stop listening */
  listen(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }
}

/** Resolves after the delay, or at one of the bells; rejects with the signal's reason when that fires first. */
export function pause(
  delayMs: number,
  clock: Clock,
  signal: AbortSignal,
  ...bells: readonly (Bell | undefined)[]
): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(signal.reason)
      return
    }
    const clear = (): void => {
      timer.cancel()
      for (const end of unlisten) end?.()
      signal.removeEventListener('abort', onAbort)
    }
    const done = (): void => {
      clear()
      resolve()
    }
    const onAbort = (): void => {
      clear()
      reject(signal.reason)
    }
    const timer = clock.setTimer(delayMs, done)
    const unlisten = bells.map((bell) => bell?.listen(done))
    signal.addEventListener('abort', onAbort, { once: true })
  })
}
