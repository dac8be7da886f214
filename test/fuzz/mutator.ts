/**
 * How a message of the corpus is spoiled. A mutation is four numbers, so that a seeded generator and fast-check (which
 * shrinks by leaving mutations out) can both make it, and the same numbers always do the same.
 * @module
 */
import type { FuzzRandom } from './random.ts'

export interface Mutation {
  /** Index of `OPERATIONS`, taken modulo. */
  readonly kind: number
  /** 32 bits each; every operation reads them its own way. */
  readonly a: number
  readonly b: number
  readonly c: number
}

export interface MutationSources {
  /** Other messages, to splice with; never empty. */
  readonly corpus: readonly Uint8Array[]
  /** Pieces that mean something to this decoder: keywords, brackets, dangerous names. */
  readonly dictionary: readonly Uint8Array[]
  /** Nothing grows beyond it, in bytes. */
  readonly maxLength: number
}

type Operation = (bytes: Uint8Array, m: Mutation, sources: MutationSources) => Uint8Array

const INTERESTING_BYTES = [0, 1, 2, 3, 4, 7, 8, 0x0a, 0x0d, 0x20, 0x7f, 0x80, 0x81, 0xc0, 0xf0, 0xfe, 0xff]
const INTERESTING_WORDS = [
  0, 1, 2, 3, 4, 5, 7, 8, 28, 0xff, 0x100, 0x3fff, 0x4000, 0x7fff, 0x8000, 0xfffe, 0xffff
]
const INTERESTING_LONGS = [
  0, 1, 2, 4, 28, 0xffff, 0x10000, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff
]
const LENGTH_STEPS = [-8, -4, -2, -1, 1, 2, 4, 8]
const MAX_BLOCK = 64
const NOTHING = new Uint8Array(0)

const at = (fraction: number, length: number): number => Math.floor((fraction / 2 ** 32) * length)
const pick = <T>(list: readonly T[], choice: number, fallback: T): T => list[choice % list.length] ?? fallback

function replaced(bytes: Uint8Array, start: number, removed: number, added: Uint8Array): Uint8Array {
  const tail = bytes.subarray(Math.min(bytes.length, start + removed))
  const result = new Uint8Array(start + added.length + tail.length)
  result.set(bytes.subarray(0, start))
  result.set(added, start)
  result.set(tail, start + added.length)
  return result
}

function bigEndian(value: number, width: number): Uint8Array {
  return Uint8Array.from({ length: width }, (_, index) => Math.floor(value / 256 ** (width - 1 - index)))
}

function overwritten(bytes: Uint8Array, start: number, piece: Uint8Array): Uint8Array {
  const copy = bytes.slice()
  copy.set(piece.subarray(0, copy.length - start), start)
  return copy
}

function blockOf(bytes: Uint8Array, m: Mutation): { start: number; block: Uint8Array } {
  const start = at(m.a, bytes.length)
  const length = 1 + (m.c % 7 === 0 ? at(m.b, bytes.length - start) : at(m.b, MAX_BLOCK))
  return { start, block: bytes.subarray(start, start + length) }
}

/** Bytes that a generator of its own makes of one number: a mutation holds no more. */
function noise(seed: number, length: number): Uint8Array {
  let state = seed | 1
  return Uint8Array.from({ length }, () => {
    state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9
    return state >>> 24
  })
}

/** The first field at or behind `start` that could be the length of something that follows it. */
function lengthFieldFrom(bytes: Uint8Array, start: number, width: number): number {
  for (let tries = 0, index = start; tries < bytes.length; tries++, index = (index + 1) % bytes.length) {
    let value = 0
    for (let offset = 0; offset < width; offset++) value = value * 256 + (bytes[index + offset] ?? 0)
    if (value > 0 && value <= bytes.length && index + width <= bytes.length) return index
  }
  return -1
}

function corruptLength(bytes: Uint8Array, m: Mutation): Uint8Array {
  if (bytes.length === 0) return bytes
  const width = pick([1, 2, 2, 2, 4], m.b, 2)
  const field = lengthFieldFrom(bytes, at(m.a, bytes.length), width)
  if (field < 0) return bytes
  let value = 0
  for (let offset = 0; offset < width; offset++) value = value * 256 + (bytes[field + offset] ?? 0)
  const step = pick(LENGTH_STEPS, m.c, 1)
  const choices = [
    value + step,
    value + step,
    0,
    value * 2,
    256 ** width - 1,
    bytes.length,
    bytes.length - field
  ]
  const wanted = pick(choices, m.c >>> 8, 0)
  return overwritten(bytes, field, bigEndian(Math.max(0, wanted) % 256 ** width, width))
}

export const OPERATIONS = {
  flipBit: (bytes, m) => {
    const index = at(m.a, bytes.length)
    return overwritten(bytes, index, Uint8Array.of((bytes[index] ?? 0) ^ (1 << (m.b & 7))))
  },
  interestingByte: (bytes, m) =>
    overwritten(bytes, at(m.a, bytes.length), Uint8Array.of(pick(INTERESTING_BYTES, m.b, 0))),
  interestingWord: (bytes, m) =>
    overwritten(bytes, at(m.a, bytes.length), bigEndian(pick(INTERESTING_WORDS, m.b, 0), 2)),
  interestingLong: (bytes, m) =>
    overwritten(bytes, at(m.a, bytes.length), bigEndian(pick(INTERESTING_LONGS, m.b, 0), 4)),
  havoc: (bytes, m) => overwritten(bytes, at(m.a, bytes.length), noise(m.c, 1 + (m.b % 16))),
  truncate: (bytes, m) => bytes.slice(0, at(m.a, bytes.length + 1)),
  removeBlock: (bytes, m) =>
    replaced(bytes, blockOf(bytes, m).start, blockOf(bytes, m).block.length, NOTHING),
  duplicateBlock: (bytes, m) => {
    const { start, block } = blockOf(bytes, m)
    return replaced(bytes, start, 0, block)
  },
  repeatBlock: (bytes, m, { maxLength }) => {
    const { start, block } = blockOf(bytes, { ...m, c: 1 })
    const room = Math.floor((maxLength - bytes.length) / Math.max(1, block.length))
    const count = Math.min(room, 2 + (m.c % 300))
    if (count < 1) return bytes
    const many = new Uint8Array(count * block.length)
    for (let index = 0; index < count; index++) many.set(block, index * block.length)
    return replaced(bytes, start, 0, many)
  },
  insertNoise: (bytes, m) => replaced(bytes, at(m.a, bytes.length + 1), 0, noise(m.c, 1 + (m.b % 12))),
  splice: (bytes, m, { corpus }) => {
    const other = pick(corpus, m.c, NOTHING)
    const mine = at(m.a, bytes.length + 1)
    return replaced(bytes, mine, bytes.length, other.subarray(at(m.b, other.length + 1)))
  },
  graft: (bytes, m, { corpus }) => {
    const other = pick(corpus, m.c, NOTHING)
    const from = at(m.b, other.length)
    return overwritten(
      bytes,
      at(m.a, bytes.length),
      other.subarray(from, from + 1 + ((m.c >>> 16) % MAX_BLOCK))
    )
  },
  swapBlocks: (bytes, m) => {
    const { start, block } = blockOf(bytes, { ...m, c: 1 })
    const without = replaced(bytes, start, block.length, NOTHING)
    return replaced(without, at(m.c, without.length + 1), 0, block)
  },
  corruptLength,
  corruptLengthAgain: corruptLength,
  word: (bytes, m, { dictionary }) => {
    if (dictionary.length === 0) return corruptLength(bytes, m)
    const piece = pick(dictionary, m.b, NOTHING)
    const start = at(m.a, bytes.length + 1)
    return m.c % 3 === 0 ? overwritten(bytes, start, piece) : replaced(bytes, start, 0, piece)
  },
  manyWords: (bytes, m, { dictionary, maxLength }) => {
    const piece = pick(dictionary, m.b, NOTHING)
    const room = Math.floor((maxLength - bytes.length) / Math.max(1, piece.length))
    if (piece.length === 0 || room < 1) return bytes
    const many = new Uint8Array(piece.length * Math.min(room, 2 + (m.c % 500)))
    for (let start = 0; start < many.length; start += piece.length) many.set(piece, start)
    return replaced(bytes, at(m.a, bytes.length + 1), 0, many)
  }
} as const satisfies Readonly<Record<string, Operation>>

const LIST: readonly Operation[] = Object.values(OPERATIONS)

export function applyMutation(bytes: Uint8Array, mutation: Mutation, sources: MutationSources): Uint8Array {
  const operation = LIST[mutation.kind % LIST.length]
  const result = operation === undefined ? bytes : operation(bytes, mutation, sources)
  return result.length > sources.maxLength ? result.slice(0, sources.maxLength) : result
}

/** Mutations of one execution: mostly one or two, since many at once die at the first check. */
export function mutate(random: FuzzRandom, sources: MutationSources): Uint8Array {
  const { corpus, maxLength } = sources
  if (random.below(32) === 0) return random.bytes(random.below(Math.min(maxLength, 200)))
  let bytes: Uint8Array = corpus[random.below(corpus.length)] ?? NOTHING
  bytes = bytes.slice(0, maxLength)
  do {
    const mutation = { kind: random.uint32(), a: random.uint32(), b: random.uint32(), c: random.uint32() }
    bytes = applyMutation(bytes, mutation, sources)
  } while (random.below(5) < 2)
  return bytes
}
