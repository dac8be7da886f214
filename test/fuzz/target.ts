/**
 * What a fuzz target is: one decoder, or one engine with what feeds it, and what has to hold whatever comes in.
 * @module
 */
import type fc from 'fast-check'
import { IkestreamError, InternalError } from '../../src/errors.ts'
import type { FuzzRandom } from './random.ts'

/** Takes one input; throws (or rejects) when something that has to hold does not. */
export type Execute = (input: Uint8Array, random: FuzzRandom) => void | Promise<void>

export interface FuzzTarget {
  readonly name: string
  /** Exports that it feeds, as `path#name` below `src/`. */
  readonly covers: readonly string[]
  /** Real messages, or as near to real ones as there are. Never empty. Made once for each run. */
  readonly corpus: () => readonly Uint8Array[] | Promise<readonly Uint8Array[]>
  /** More seeds, out of a generator that knows the format. */
  readonly structured?: fc.Arbitrary<Uint8Array>
  /** Makes the decoder with its state, if it has any. */
  readonly open: () => Execute | Promise<Execute>
  /**
   * State that outlives one execution is made anew after so many. An execution is replayed by replaying the ones before it
   * that shared its state. Default: there is no state.
   */
  readonly episode?: number
  /** Puts right what would stop a mutated message at the door (a total length, a checksum); used for most executions. */
  readonly repair?: (bytes: Uint8Array) => Uint8Array
  readonly dictionary?: readonly (string | Uint8Array)[]
  /** Default 4096. */
  readonly maxLength?: number
  /** Share of the executions when all targets run, compared to 1. */
  readonly weight?: number
}

/** What a target promises does not hold. */
export class OracleFailure extends Error {
  override readonly name = 'OracleFailure'
}

export function holds(condition: boolean, promise: string): asserts condition {
  if (!condition) throw new OracleFailure(promise)
}

/** Structural equality, of bytes, numbers, texts, lists, maps and plain objects; keys that are undefined are not there. */
export function same(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false
  if (a instanceof Uint8Array || b instanceof Uint8Array) {
    return a instanceof Uint8Array && b instanceof Uint8Array && Buffer.compare(a, b) === 0
  }
  if (Array.isArray(a) || Array.isArray(b)) {
    if (!Array.isArray(a) || !Array.isArray(b) || a.length !== b.length) return false
    return a.every((item, index) => same(item, b[index]))
  }
  if (a instanceof Map || b instanceof Map)
    return a instanceof Map && b instanceof Map && same([...a.entries()], [...b.entries()])
  const keys = (value: object) => Object.entries(value).filter(([, item]) => item !== undefined)
  const [left, right] = [keys(a), keys(b)]
  return (
    left.length === right.length &&
    left.every(([key, value]) => same(value, (b as Readonly<Record<string, unknown>>)[key]))
  )
}

/** Roughly how much memory a result holds: bytes, characters, and so much for every object. */
export function weightOf(value: unknown): number {
  if (typeof value === 'string') return value.length
  if (typeof value !== 'object' || value === null) return 8
  if (value instanceof Uint8Array) return value.length + 16
  let weight = 16
  const items = value instanceof Map ? value.values() : Object.values(value)
  for (const item of items) weight += weightOf(item)
  return weight
}

/** What came out is bounded by what went in. */
export function bounded(value: unknown, input: Uint8Array, factor = 40, constant = 2_000): void {
  const weight = weightOf(value)
  holds(
    weight <= constant + factor * input.length,
    `${input.length} bytes turned into a value of about ${weight}`
  )
}

/** Runs what may only throw the errors that people are shown, and nothing else. @returns undefined when it did */
export function refusing<T>(decode: () => T): T | undefined {
  try {
    return decode()
  } catch (error) {
    if (error instanceof IkestreamError && !(error instanceof InternalError)) return undefined
    throw error
  }
}

export async function refusingAsync<T>(decode: () => Promise<T>): Promise<T | undefined> {
  try {
    return await decode()
  } catch (error) {
    if (error instanceof IkestreamError && !(error instanceof InternalError)) return undefined
    throw error
  }
}

export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)
export const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8')
export const fromHex = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'))
/** As pieces of a dictionary or of a corpus. */
export const texts = (...list: readonly string[]): readonly Uint8Array[] => list.map(utf8)
