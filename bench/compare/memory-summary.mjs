/**
 * What became of the client's memory, in one sentence.
 * @module
 */
import { slope } from './statistics.mjs'

/** Until so much has passed, buffers and compiled code are still growing into their places. */
const WARM_UP_BYTES = 1e9

/**
 * @param {readonly { readonly moved: number, readonly rss: number }[]} samples bytes on the wire so far, and resident bytes
 * @param {number} peakBytes
 * @returns {{ growthBytesPerGb: number | undefined, summary: string }}
 */
export function summary(samples, peakBytes) {
  const warm = samples.filter(({ moved }) => moved >= WARM_UP_BYTES)
  const perGigabyte = slope(warm.map(({ moved, rss }) => ({ x: moved / 1e9, y: rss })))
  const mb = (bytes) => `${(bytes / 1e6).toFixed(0)} MB`
  const last = samples.at(-1)
  const growth =
    perGigabyte === undefined ? '' : ` (${(perGigabyte / 1e6).toFixed(2)} MB for each GB from the first on)`
  return {
    growthBytesPerGb: perGigabyte,
    summary:
      `Resident memory of the client: ${mb(samples[0].rss)} when connected, ` +
      `${warm[0] === undefined ? '-' : mb(warm[0].rss)} after 1 GB, ` +
      `${mb(last.rss)} after ${(last.moved / 1e9).toFixed(1)} GB${growth}; peak ${mb(peakBytes)}.`
  }
}
