/**
 * Time as whoever drives an engine sees it: replaced by a virtual one in tests.
 * @module
 */
export interface Clock {
  /** Milliseconds of a monotonic clock. */
  now(): number
  setTimer(delayMs: number, callback: () => void): { cancel(): void }
}

/** Longest delay that Node's timers take. */
const MAX_DELAY_MS = 2 ** 31 - 1

let asleepMs = 0

/** The machine slept, which the monotonic clock does not count: lifetimes and deadlines of the other end went on. */
export function noteSleep(durationMs: number): void {
  asleepMs += durationMs
}

/** Stands still while the machine sleeps. */
export const monotonicClock: Clock = {
  now: () => performance.now(),
  setTimer(delayMs, callback) {
    const timer = setTimeout(callback, Math.max(0, Math.min(delayMs, MAX_DELAY_MS)))
    return { cancel: () => clearTimeout(timer) }
  }
}

/** Counts sleep, as far as it was noted. */
export const systemClock: Clock = {
  now: () => performance.now() + asleepMs,
  setTimer: monotonicClock.setTimer
}
