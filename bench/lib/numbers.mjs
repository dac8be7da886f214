/**
 * What benches do with lists of numbers.
 * @module
 */

/** @returns the value below which this share (0 to 1) of the numbers lies, between neighbours by proportion; NaN for none */
export function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b)
  if (sorted.length === 0) return Number.NaN
  const place = share * (sorted.length - 1)
  const below = Math.floor(place)
  const above = Math.min(below + 1, sorted.length - 1)
  return sorted[below] + (sorted[above] - sorted[below]) * (place - below)
}

export function median(values) {
  return quantile(values, 0.5)
}

/** Median, lowest and highest: what a point with whiskers needs. */
export function spread(values) {
  return { median: median(values), low: Math.min(...values), high: Math.max(...values), runs: values.length }
}
