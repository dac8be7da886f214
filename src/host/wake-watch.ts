/**
 * Notices that this process did not run for a while: the machine slept, or somebody stopped the process (SIGSTOP). Either way the world
 * has moved on, and nothing that was known of the network is sure any more.
 *
 * A timer that comes late tells both; that the clock which goes on in sleep is further than the one which does not tells the first.
 * @module
 */
import type { Clock } from '../clock.ts'
import { bootTimeMs } from '../native/boot-time.ts'

export interface Wake {
  /** How long nothing ran. */
  readonly pausedMs: number
  /** How much of that the monotonic clock missed, since the machine slept. */
  readonly asleepMs: number
}

const TICK_MS = 500
/** Shorter pauses are a busy machine. */
const LEAST_PAUSE_MS = 2_000
/** The two clocks are read one after the other. */
const LEAST_SLEEP_MS = 500

/** @returns how to stop watching */
export function watchWakes(
  onWake: (wake: Wake) => void,
  clock: Clock,
  bootTime: () => number | undefined = bootTimeMs
): { close(): void } {
  let at = clock.now()
  let bootAt = bootTime()
  let timer = clock.setTimer(TICK_MS, tick)
  function tick(): void {
    timer = clock.setTimer(TICK_MS, tick)
    const now = clock.now()
    const boot = bootTime()
    const lateMs = now - at - TICK_MS
    const missedMs = boot === undefined || bootAt === undefined ? 0 : boot - bootAt - (now - at)
    at = now
    bootAt = boot
    const asleepMs = missedMs >= LEAST_SLEEP_MS ? missedMs : 0
    if (lateMs + asleepMs >= LEAST_PAUSE_MS) onWake({ pausedMs: lateMs + asleepMs, asleepMs })
  }
  return { close: () => timer.cancel() }
}
