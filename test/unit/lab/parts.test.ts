import { describe, expect, it } from 'vitest'
import { BLOCK_LENGTH, fillBlock, PatternChecker } from '../../../src/lab/pattern.ts'

const LENGTH = 3 * BLOCK_LENGTH + 1234

function pattern(length: number): Buffer {
  const whole = Buffer.alloc(Math.ceil(length / BLOCK_LENGTH) * BLOCK_LENGTH)
  for (let index = 0; index * BLOCK_LENGTH < length; index++)
    fillBlock(whole.subarray(index * BLOCK_LENGTH, (index + 1) * BLOCK_LENGTH), index)
  return whole.subarray(0, length)
}

function check(stream: Buffer, cuts: readonly number[]): PatternChecker {
  const checker = new PatternChecker()
  let at = 0
  for (const length of [...cuts, stream.length]) {
    checker.push(stream.subarray(at, at + length))
    at += length
  }
  return checker
}

describe("the demo's file", () => {
  it('is right however the stream is cut', () => {
    for (const cuts of [
      [],
      [1],
      [BLOCK_LENGTH - 1, 2, BLOCK_LENGTH],
      [0, BLOCK_LENGTH],
      [7, 70_000, 60_000]
    ]) {
      const checker = check(pattern(LENGTH), cuts)
      expect(checker.intact).toBe(true)
      expect(checker.bytes).toBe(LENGTH)
    }
  })

  it.each([0, 1, BLOCK_LENGTH - 1, BLOCK_LENGTH, 2 * BLOCK_LENGTH + 3, LENGTH - 1])(
    'shows one wrong bit at byte %i',
    (at) => {
      const stream = Buffer.from(pattern(LENGTH))
      stream[at] = (stream[at] ?? 0) ^ 1
      expect(check(stream, [1000, 100_000]).intact).toBe(false)
    }
  )

  it('shows a block that is missing, repeated or out of order', () => {
    const [first, second, third] = [0, 1, 2].map((index) => {
      const block = Buffer.alloc(BLOCK_LENGTH)
      fillBlock(block, index)
      return block
    }) as [Buffer, Buffer, Buffer]
    for (const blocks of [
      [first, third],
      [first, first],
      [second, first, third]
    ])
      expect(check(Buffer.concat(blocks), []).intact).toBe(false)
    expect(check(Buffer.concat([first, second, third]), []).intact).toBe(true)
  })

  it('stays wrong once it was', () => {
    const checker = new PatternChecker()
    expect(checker.push(Buffer.from([1, 2, 3]))).toBe(false)
    expect(checker.push(pattern(100))).toBe(false)
  })

  it('has blocks that differ in more than their number', () => {
    const [a, b] = [Buffer.alloc(BLOCK_LENGTH), Buffer.alloc(BLOCK_LENGTH)]
    fillBlock(a, 0)
    fillBlock(b, 1)
    expect(a.subarray(4).equals(b.subarray(4))).toBe(false)
    expect(a.readUInt32LE(0)).toBe(0)
    expect(b.readUInt32LE(0)).toBe(1)
  })
})
