import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  decodeHeader,
  decodeMessage,
  decodePayloads,
  encodeMessage,
  encodePayloads
} from '../../../src/wire/ike-codec.ts'
import { formatIkeMessage } from '../../../src/wire/ike-format.ts'
import type { Payload } from '../../../src/wire/ike-message.ts'
import recorded from '../../vectors/ike-messages.json' with { type: 'json' }

const SEED = 3141
const messages = recorded.messages.map(({ hex }) => Uint8Array.from(Buffer.from(hex, 'hex')))
const inner = recorded.inner.map(({ firstType, hex }) => ({ firstType, bytes: Buffer.from(hex, 'hex') }))
const chains = inner.map(({ bytes }) => Uint8Array.from(bytes))

type Mutation = (bytes: Uint8Array) => Uint8Array

const position = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
const at = (fraction: number, length: number) => Math.floor(fraction * length)

/** Each makes a new array; they are applied one after another. */
const mutationOf = (corpus: readonly Uint8Array[]): fc.Arbitrary<Mutation> =>
  fc.oneof(
    fc.tuple(position, fc.integer({ min: 0, max: 7 })).map(([where, bit]): Mutation => {
      return (bytes) => bytes.map((byte, i) => (i === at(where, bytes.length) ? byte ^ (1 << bit) : byte))
    }),
    position.map(
      (where): Mutation =>
        (bytes) =>
          bytes.slice(0, at(where, bytes.length + 1))
    ),
    fc
      .tuple(position, fc.constantFrom(0, 1, 3, 4, 5, 8, 0x7fff, 0x8000, 0xfffe, 0xffff))
      .map(([where, value]): Mutation => {
        return (bytes) => {
          const copy = bytes.slice()
          const start = at(where, bytes.length)
          copy.set([value >>> 8, value & 0xff].slice(0, copy.length - start), start)
          return copy
        }
      }),
    fc.tuple(fc.constantFrom(...corpus), position, position).map(([other, mine, theirs]): Mutation => {
      return (bytes) =>
        Uint8Array.from([
          ...bytes.subarray(0, at(mine, bytes.length)),
          ...other.subarray(at(theirs, other.length))
        ])
    }),
    fc.tuple(position, fc.uint8Array({ maxLength: 12 })).map(([where, extra]): Mutation => {
      return (bytes) => {
        const cut = at(where, bytes.length)
        return Uint8Array.from([...bytes.subarray(0, cut), ...extra, ...bytes.subarray(cut)])
      }
    })
  )

function mutated(corpus: readonly Uint8Array[]): fc.Arbitrary<Uint8Array> {
  return fc
    .tuple(fc.constantFrom(...corpus), fc.array(mutationOf(corpus), { minLength: 1, maxLength: 4 }))
    .map(([bytes, mutations]) => mutations.reduce((value, mutate) => mutate(value), bytes))
}

/** With the right Length again, so that the payloads behind it are reached. */
function withTrueLength(bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice()
  if (copy.length >= 28) new DataView(copy.buffer).setUint32(24, copy.length)
  return copy
}

/** Attributes that are not understood are only marked: they cannot be written again. */
function withoutMarks(payloads: readonly Payload[]): Payload[] {
  return payloads.map((payload) =>
    payload.type !== 33
      ? payload
      : {
          ...payload,
          proposals: payload.proposals.map((proposal) => ({
            ...proposal,
            transforms: proposal.transforms.map(({ otherAttributes: _, ...transform }) => transform)
          }))
        }
  )
}

function checkMessage(bytes: Uint8Array): boolean {
  decodeHeader(bytes)
  const result = decodeMessage(bytes)
  if (!result.ok) {
    expect(result.error.offset).toBeLessThanOrEqual(bytes.length)
    return false
  }
  expect(formatIkeMessage(result.message)).not.toContain('undefined')
  const again = decodeMessage(encodeMessage(result.message))
  if (!again.ok) throw again.error
  expect(again.message.header).toEqual(result.message.header)
  expect(withoutMarks(again.message.payloads)).toEqual(withoutMarks(result.message.payloads))
  return true
}

describe('hostile input', () => {
  it('never throws, and what was accepted can be written and read back the same', () => {
    let accepted = 0
    fc.assert(
      fc.property(mutated(messages), (bytes) => {
        checkMessage(bytes)
        if (checkMessage(withTrueLength(bytes))) accepted++
      }),
      { seed: SEED, numRuns: 4000 }
    )
    // Otherwise the mutations would all have died at the header.
    expect(accepted).toBeGreaterThan(400)
  })

  it('never throws on corrupted payloads inside SK', () => {
    fc.assert(
      fc.property(fc.constantFrom(...inner), mutated(chains), ({ firstType }, bytes) => {
        const result = decodePayloads(firstType, bytes)
        if (!result.ok) return
        const { firstType: firstAgain, bytes: again } = encodePayloads(result.value)
        const second = decodePayloads(firstAgain, again)
        if (!second.ok) throw second.error
        expect(withoutMarks(second.value)).toEqual(withoutMarks(result.value))
      }),
      { seed: SEED + 1, numRuns: 4000 }
    )
  })

  it('never throws on bytes that never were a message, read as any payload', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 255 }), fc.uint8Array({ maxLength: 300 }), (type, bytes) => {
        decodePayloads(type, bytes)
        decodeMessage(bytes)
        decodeHeader(bytes)
      }),
      { seed: SEED + 2, numRuns: 2000 }
    )
  })

  it('refuses every message that was cut short, wherever that was', () => {
    for (const bytes of messages) {
      for (let length = 0; length < bytes.length; length++) {
        expect(decodeMessage(bytes.subarray(0, length)).ok).toBe(false)
        expect(decodeMessage(withTrueLength(bytes.subarray(0, length))).ok).toBe(false)
      }
    }
  })
})
