/**
 * Ends a measurement in order when it is interrupted.
 * @module
 */
import { constants } from 'node:os'

/** @returns {AbortSignal} aborted by the first signal that ends a program; the exit code is set by then */
export function interruption() {
  const interrupt = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
    process.once(signal, () => {
      process.exitCode = 128 + constants.signals[signal]
      interrupt.abort(new Error(`ended by ${signal}`))
    })
  return interrupt.signal
}
