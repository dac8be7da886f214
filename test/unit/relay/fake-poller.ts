/**
 * Stands for `native/poller.ts`: descriptors are ready when a test says so.
 * @module
 */
import type { Interest, ReadinessCallback, Watch } from '../../../src/native/poller.ts'

interface Entry {
  interest: Interest
  readonly callback: ReadinessCallback
}
const entries = new Map<number, Entry>()

export function watch(fd: number, interest: Interest, callback: ReadinessCallback): Watch {
  const entry = { interest, callback }
  entries.set(fd, entry)
  return {
    modify: (next) => {
      entry.interest = next
    },
    close: () => entries.delete(fd)
  }
}

export function pollerRoundTrip(): Promise<void> {
  return Promise.resolve()
}

/** What is waited for; undefined: the descriptor is not watched. */
export function interestIn(fd: number): Interest | undefined {
  return entries.get(fd)?.interest
}

/** The descriptor becomes ready for whatever is waited for. */
export function makeReady(fd: number, readable: boolean, writable: boolean): void {
  const entry = entries.get(fd)
  if (entry === undefined) return
  const { interest, callback } = entry
  callback(readable && interest.readable === true, writable && interest.writable === true)
}
