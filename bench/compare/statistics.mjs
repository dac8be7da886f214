/**
 * Numbers of several rounds made into one; what is missing stays missing.
 * @module
 */
import { quantile } from '../lib/numbers.mjs'

/**
 * @param {readonly (number | undefined)[]} values what is not a number is left out
 * @param {number} share 0 to 1
 * @returns {number | undefined} undefined where there is nothing
 */
export function quantileOf(values, share) {
  const numbers = values.filter((value) => Number.isFinite(value))
  return numbers.length === 0 ? undefined : quantile(numbers, share)
}

/**
 * @param {readonly (number | undefined)[]} values
 * @returns {number | undefined}
 */
export function medianOf(values) {
  return quantileOf(values, 0.5)
}

/**
 * Slope of the line that fits best (least squares): units of y for one unit of x.
 * @param {readonly { readonly x: number, readonly y: number }[]} points
 * @returns {number | undefined} undefined for fewer than two different x
 */
export function slope(points) {
  const count = points.length
  const meanX = points.reduce((total, { x }) => total + x, 0) / count
  const meanY = points.reduce((total, { y }) => total + y, 0) / count
  const spread = points.reduce((total, { x }) => total + (x - meanX) ** 2, 0)
  if (!(spread > 0)) return undefined
  return points.reduce((total, { x, y }) => total + (x - meanX) * (y - meanY), 0) / spread
}

/**
 * @param {number | undefined} value
 * @param {number | undefined} reference
 * @returns {number | undefined}
 */
export function ratio(value, reference) {
  if (value === undefined || reference === undefined || reference === 0) return undefined
  return value / reference
}
