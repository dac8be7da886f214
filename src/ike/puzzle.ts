/**
 * Client puzzles (RFC 8019): four keys for which a PRF ends in zero bits, to be found before a responder under attack spends
 * memory or arithmetic on us.
 *
 * Work comes in slices: whoever drives the engine is never kept for more than a few milliseconds.
 * @module
 */
import { prfById } from '../crypto/prf.ts'
import type { Prf, RandomSource } from '../crypto/types.ts'
import { NotifyType, TransformType } from '../wire/ike-constants.ts'
import { notify } from '../wire/ike-helpers.ts'
import type { NotifyPayload, Proposal } from '../wire/ike-message.ts'

/** N in section 7.1.3. */
const KEYS = 4
const KEY_LENGTH = 4
/**
 * Section 4.4 believes 18 bits to be a reasonable choice for all initiators: a million tries, about ten seconds here. Each further bit
 * takes twice as long, and an attacker who forges such answers shall not have our processor for minutes.
 */
export const MAX_PUZZLE_DIFFICULTY = 18
/** Where the responder leaves it to us (section 7.1.1.1): a fraction of a second. */
const VOLUNTARY_DIFFICULTY = 12
/** About five milliseconds. */
export const KEYS_PER_SLICE = 500
/** From slice to slice: timers and the event loop have their turn. */
export const SLICE_PAUSE_MS = 1

export interface Puzzle {
  readonly prf: Prf
  /** Trailing zero bits; 0: as many as we like. */
  readonly difficulty: number
}

/** @returns undefined when it cannot be read, or asks for a PRF that we have not offered */
export function readPuzzle(data: Uint8Array, offered: readonly Proposal[]): Puzzle | undefined {
  const [high, low, difficulty] = data
  if (data.length !== 3 || high === undefined || low === undefined || difficulty === undefined)
    return undefined
  const id = high * 256 + low
  const prf = offersPrf(offered, id) ? prfById(id) : undefined
  return prf === undefined ? undefined : { prf, difficulty }
}

export function puzzleNotify({ prf, difficulty }: Puzzle): NotifyPayload {
  return notify(NotifyType.PUZZLE, Uint8Array.of(prf.id >>> 8, prf.id & 0xff, difficulty))
}

/** Responder: the first PRF that both ends have (section 7.1.1.2). */
export function commonPrf(offered: readonly Proposal[], own: readonly Proposal[]): Prf | undefined {
  const ids = own.flatMap(({ transforms }) =>
    transforms.filter(({ type }) => type === TransformType.PRF).map(({ id }) => id)
  )
  const id = ids.find((one) => offersPrf(offered, one))
  return id === undefined ? undefined : prfById(id)
}

function offersPrf(proposals: readonly Proposal[], id: number): boolean {
  return proposals.some(({ transforms }) =>
    transforms.some((transform) => transform.type === TransformType.PRF && transform.id === id)
  )
}

/** Looks for the keys, a slice at a time. */
export class PuzzleSolver {
  readonly #prf: Prf
  readonly #subject: Uint8Array
  readonly #difficulty: number
  readonly #key = new Uint8Array(KEY_LENGTH)
  readonly #found: Uint8Array[] = []

  /** @param subject the cookie; or Nr and SPIr (sections 7.1.3 and 7.2.3) */
  constructor({ prf, difficulty }: Puzzle, subject: Uint8Array, random: RandomSource) {
    this.#prf = prf
    this.#difficulty = difficulty === 0 ? VOLUNTARY_DIFFICULTY : difficulty
    this.#subject = subject
    this.#key.set(random.bytes(KEY_LENGTH))
  }

  /** @returns the contents of the Puzzle Solution payload, or undefined: there is more to do */
  work(keys: number = KEYS_PER_SLICE): Uint8Array | undefined {
    for (let tried = 0; tried < keys && this.#found.length < KEYS; tried++) {
      increment(this.#key)
      const output = this.#prf.compute(this.#key, this.#subject)
      if (trailingZeroBits(output) >= this.#difficulty) this.#found.push(Uint8Array.from(this.#key))
    }
    if (this.#found.length < KEYS) return undefined
    return Uint8Array.from(this.#found.flatMap((key) => [...key]))
  }
}

/** Whether the solution holds four different keys of equal length, each of which does what it has to (sections 7.1.4, 8.2). */
export function isPuzzleSolution(
  { prf, difficulty }: Puzzle,
  subject: Uint8Array,
  data: Uint8Array
): boolean {
  const length = data.length / KEYS
  if (!Number.isInteger(length) || length < 1 || length > prf.outputLength) return false
  const keys = Array.from({ length: KEYS }, (_, index) => data.subarray(index * length, (index + 1) * length))
  const names = new Set(keys.map((key) => Buffer.from(key).toString('hex')))
  if (names.size < KEYS) return false
  return keys.every((key) => trailingZeroBits(prf.compute(key, subject)) >= difficulty)
}

export function trailingZeroBits(bytes: Uint8Array): number {
  for (let index = bytes.length - 1, bits = 0; index >= 0; index--, bits += 8) {
    const byte = bytes[index] ?? 0
    if (byte !== 0) return bits + 31 - Math.clz32(byte & -byte)
  }
  return bytes.length * 8
}

function increment(key: Uint8Array): void {
  for (let index = key.length - 1; index >= 0; index--) {
    const next = ((key[index] ?? 0) + 1) & 0xff
    key[index] = next
    if (next !== 0) return
  }
}
