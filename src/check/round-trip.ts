/**
 * Round-trip times, from few samples.
 * @module
 */
import type { RoundTrip } from '../diagnosis/evidence.ts'

/** @returns null without samples */
export function roundTrip(samplesMs: readonly number[]): RoundTrip | null {
  const sorted = [...samplesMs].sort((a, b) => a - b)
  const [least] = sorted
  if (least === undefined) return null
  const middle = sorted[Math.floor((sorted.length - 1) / 2)] ?? least
  return { minMs: rounded(least), medianMs: rounded(middle), samples: sorted.length }
}

/** Hundredths of milliseconds: more is noise. */
function rounded(ms: number): number {
  return Math.round(ms * 100) / 100
}
