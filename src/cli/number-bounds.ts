/**
 * Options that are numbers: their bounds, and the sentence about what does not lie within.
 * @module
 */
import { InvalidArgumentError } from 'commander'

export interface NumberBounds {
  readonly min: number
  readonly max: number
  /** No fractions. */
  readonly whole?: boolean
}

export function isWithin({ min, max, whole }: NumberBounds, value: unknown): boolean {
  if (typeof value !== 'number' || !Number.isFinite(value)) return false
  return value >= min && value <= max && (whole !== true || Number.isInteger(value))
}

export function boundsText({ min, max, whole }: NumberBounds): string {
  return `a ${whole === true ? 'whole ' : ''}number from ${min} to ${max}`
}

/** For commander. @throws InvalidArgumentError */
export function numberParser(bounds: NumberBounds): (text: string) => number {
  return (text) => {
    const value = text.trim() === '' ? Number.NaN : Number(text)
    if (!isWithin(bounds, value))
      throw new InvalidArgumentError(`${capitalised(boundsText(bounds))} is needed.`)
    return value
  }
}

function capitalised(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1)
}
