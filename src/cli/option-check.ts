/**
 * Whether a value is one that an option may have: for profiles and for programs, which write values down instead of typing them.
 * @module
 */
import { boundsText, isWithin } from './number-bounds.ts'
import { choicesOf, isFlag, isRepeatable, numberBounds } from './option-specs.ts'

export type CheckedOption = { readonly value: unknown } | { readonly wanted: string }

/** @param key name of the option, without `no-` @returns the value in its one form (lists where it may be repeated), or what is wanted */
export function checkOption(key: string, value: unknown): CheckedOption {
  if (key === 'proxy' && value === false) return { value }
  if (isFlag(key)) return typeof value === 'boolean' ? { value } : { wanted: 'true or false' }
  const bounds = numberBounds(key)
  if (bounds !== undefined) return isWithin(bounds, value) ? { value } : { wanted: boundsText(bounds) }
  const list = typeof value === 'string' ? [value] : value
  if (!Array.isArray(list) || !list.every((item): item is string => typeof item === 'string'))
    return { wanted: 'text' }
  if (!isRepeatable(key) && list.length !== 1) return { wanted: 'one text' }
  const choices = choicesOf(key)
  if (choices !== undefined && !list.every((item) => choices.includes(item)))
    return { wanted: choices.join(' or ') }
  return { value: isRepeatable(key) ? list : list[0] }
}
