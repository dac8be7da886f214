/** RFC 8019: client puzzles. */
import { createHmac } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { prfById } from '../../../src/crypto/prf.ts'
import { INIT_DOUBT_MS } from '../../../src/ike/options.ts'
import {
  isPuzzleSolution,
  KEYS_PER_SLICE,
  MAX_PUZZLE_DIFFICULTY,
  PuzzleSolver,
  puzzleNotify,
  readPuzzle,
  trailingZeroBits
} from '../../../src/ike/puzzle.ts'
import type { Path } from '../../../src/wire/endpoint.ts'
import { decodeMessage, encodeMessage } from '../../../src/wire/ike-codec.ts'
import { NotifyType, PayloadType, PrfId } from '../../../src/wire/ike-constants.ts'
import { findPayload, notify } from '../../../src/wire/ike-helpers.ts'
import type { IkeMessage, Payload } from '../../../src/wire/ike-message.ts'
import { type End, Pair, pathPair } from '../../support/ike-pair.ts'
import { fromHex, toHex } from '../../support/message-factory.ts'
import { SeededRandom } from '../../support/seeded-random.ts'

const prf = prfById(PrfId.HMAC_SHA2_256) ?? fail()
const COOKIE = fromHex('739ae7492d8a810cf5e8dc0f9626c9dda773c5a3')

function fail(): never {
  throw new Error('not there')
}

describe('a solution', () => {
  // The example of section 4.4 cannot be made again: its keys do not give its outputs with HMAC-SHA-256.
  const puzzle = { prf, difficulty: 8 }
  const solution = solve(puzzle)

  it('counts zero bits as somebody would who reads them', () => {
    const random = new SeededRandom(5)
    for (let bits = 0; bits <= 40; bits++) {
      const bytes = random.bytes(8)
      const value = (BigInt(`0x${toHex(bytes)}`) >> BigInt(bits)) << BigInt(bits)
      const text = fromHex(value.toString(16).padStart(16, '0'))
      expect(trailingZeroBits(text)).toBe(naiveZeroBits(text))
    }
    expect(trailingZeroBits(new Uint8Array(4))).toBe(32)
  })

  it('has four different keys of equal length, each of which is good enough', () => {
    expect(isPuzzleSolution(puzzle, COOKIE, solution)).toBe(true)
    const keys = [0, 4, 8, 12].map((at) => toHex(solution.subarray(at, at + 4)))
    const bits = keys.map((key) => naiveZeroBits(prf.compute(fromHex(key), COOKIE)))
    expect(isPuzzleSolution({ prf, difficulty: Math.min(...bits) }, COOKIE, solution)).toBe(true)
    expect(isPuzzleSolution({ prf, difficulty: Math.min(...bits) + 1 }, COOKIE, solution)).toBe(false)
    const [first = '', second = '', third = ''] = keys
    const wrong = [
      '',
      first,
      `${first}${second}${third}`,
      `${first}${second}${third}${first}`,
      '00'.repeat(132)
    ]
    for (const hex of [...wrong, `${toHex(solution)}00`])
      expect(isPuzzleSolution(puzzle, COOKIE, fromHex(hex)), hex).toBe(false)
    expect(isPuzzleSolution(puzzle, COOKIE.subarray(1), solution)).toBe(false)
  })

  function solve(wanted: typeof puzzle): Uint8Array {
    const solver = new PuzzleSolver(wanted, COOKIE, new SeededRandom(1))
    for (let data = solver.work(); ; data = solver.work()) if (data !== undefined) return data
  }

  function naiveZeroBits(bytes: Uint8Array): number {
    const text = [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('')
    return text.length - text.replace(/0+$/, '').length
  }
})

describe('a solver', () => {
  it.each([0, 8, 10, 12])('finds what a naive check accepts (%i bits)', (difficulty) => {
    const solver = new PuzzleSolver({ prf, difficulty }, COOKIE, new SeededRandom(3))
    let data: Uint8Array | undefined
    let slices = 0
    while (data === undefined) {
      data = solver.work()
      slices++
    }
    const keys = [0, 4, 8, 12].map((at) => (data ?? fail()).subarray(at, at + 4))
    const bits = difficulty === 0 ? 12 : difficulty
    for (const key of keys) {
      const hash = createHmac('sha256', key).update(COOKIE).digest()
      expect(hash.readUInt32BE(28) % 2 ** bits).toBe(0)
    }
    expect(isPuzzleSolution({ prf, difficulty: bits }, COOKIE, data)).toBe(true)
    expect(slices).toBeGreaterThanOrEqual(difficulty === 12 ? 4 : 1)
  })

  it('does no more at a time than it is told', () => {
    const solver = new PuzzleSolver({ prf, difficulty: MAX_PUZZLE_DIFFICULTY }, COOKIE, new SeededRandom(3))
    expect(solver.work(10)).toBeUndefined()
    expect(KEYS_PER_SLICE).toBeLessThanOrEqual(5_000)
  })
})

interface Started {
  readonly pair: Pair
  readonly client: End
  readonly path: Path
}

function started(transport: Path['transport'] = 'udp'): Started {
  const pair = new Pair({ logKeys: true })
  const path = pathPair(transport)
  pair.addPath(path)
  pair.client.session.connect(pair.now, path.client)
  pair.drain()
  return { pair, client: pair.client, path: path.client }
}

function read(message: Uint8Array | undefined): IkeMessage {
  const decoded = decodeMessage(message ?? new Uint8Array(0))
  if (!decoded.ok) throw decoded.error
  return decoded.message
}

function answer({ pair, client, path }: Started, payloads: readonly Payload[]): void {
  const { header } = read(client.sent.at(-1)?.message)
  const message = encodeMessage({ header: { ...header, fromInitiator: false, isResponse: true }, payloads })
  client.session.receive(pair.now, message, path)
  client.drain()
}

/** Lets time pass until the client has said something more. */
function untilSaid({ pair, client }: Started, limitMs = 60_000): void {
  const before = client.sent.length
  const startedAt = pair.now
  while (client.sent.length === before && pair.now - startedAt < limitMs) {
    const next = client.session.nextTimeout() ?? pair.now + limitMs
    pair.now = Math.max(pair.now, next)
    client.session.timeout(pair.now)
    client.drain()
  }
}

const cookie = notify(NotifyType.COOKIE, COOKIE)

describe('an initiator', () => {
  it('solves the puzzle that comes with a cookie, and sends the solution behind it', () => {
    const all = started('tcp')
    const first = read(all.client.sent[0]?.message)
    const puzzle = { prf, difficulty: 10 }
    answer(all, [cookie, puzzleNotify(puzzle)])
    untilSaid(all)
    const again = read(all.client.sent.at(-1)?.message)
    expect(again.payloads.slice(2)).toEqual(first.payloads)
    expect(again.payloads[0]).toEqual(cookie)
    const solution = findPayload(again.payloads, PayloadType.PS)?.data ?? fail()
    expect(isPuzzleSolution(puzzle, COOKIE, solution)).toBe(true)
    expect(all.client.of('working').length).toBeGreaterThan(0)
  })

  it('works in slices, and lives on in between', () => {
    const all = started('tcp')
    answer(all, [cookie, puzzleNotify({ prf, difficulty: 12 })])
    let slices = 0
    for (; all.client.sent.length === 1 && slices < 10_000; slices++) {
      all.pair.now += 1
      all.client.session.timeout(all.pair.now)
      all.client.drain()
    }
    expect(slices).toBeGreaterThan(5)
    expect(slices).toBeLessThan(500)
  })

  it('says so when the puzzle is too hard, on UDP after a while: it may be forged', () => {
    const puzzle = puzzleNotify({ prf, difficulty: MAX_PUZZLE_DIFFICULTY + 1 })
    const stream = started('tcp')
    answer(stream, [cookie, puzzle])
    expect(stream.client.of('closed')[0]?.error).toMatchObject({ code: 'puzzle-too-hard' })
    const datagrams = started('udp')
    answer(datagrams, [cookie, puzzle])
    expect(datagrams.client.of('closed')).toEqual([])
    // A genuine answer still counts.
    datagrams.pair.settle()
    expect(datagrams.client.session.state).toBe('ESTABLISHED')
    const alone = started('udp')
    answer(alone, [cookie, puzzle])
    alone.pair.advance(INIT_DOUBT_MS + 1, { deliver: false })
    expect(alone.client.of('closed')[0]?.error).toMatchObject({ code: 'puzzle-too-hard' })
  })

  it('ignores a puzzle without a cookie, and answers the cookie alone where it cannot read the puzzle', () => {
    const all = started('udp')
    answer(all, [puzzleNotify({ prf, difficulty: 8 })])
    expect(all.client.sent).toHaveLength(1)
    expect(all.client.of('closed')).toEqual([])
    answer(all, [cookie, notify(NotifyType.PUZZLE, Uint8Array.of(0, 77, 8))])
    const again = read(all.client.sent.at(-1)?.message)
    expect(again.payloads[0]).toEqual(cookie)
    expect(findPayload(again.payloads, PayloadType.PS)).toBeUndefined()
    expect(readPuzzle(Uint8Array.of(0, 5), [])).toBeUndefined()
  })

  it.each([undefined, 400])(
    'carries the solution for IKE_AUTH in the clear, in front of SK (fragments of %s)',
    (size) => {
      const all = started('udp')
      const { pair, client, path } = all
      if (size !== undefined) Object.assign(client.config, { fragmentSize: size })
      const puzzle = { prf, difficulty: 9 }
      pair.pass(client)
      const sent = pair.gateway.sent.shift() ?? fail()
      const response = read(sent.message)
      const spoilt = encodeMessage({ ...response, payloads: [...response.payloads, puzzleNotify(puzzle)] })
      client.session.receive(pair.now, spoilt, path)
      client.drain()
      expect(client.sent).toEqual([])
      untilSaid(all)
      const nonce = findPayload(response.payloads, PayloadType.NONCE)?.data ?? fail()
      const spiR = fromHex(response.header.spiR.toString(16).padStart(16, '0'))
      const subject = Uint8Array.of(...nonce, ...spiR)
      const messages = client.sent.map(({ message }) => read(message))
      expect(messages.length > 1).toBe(size !== undefined)
      const [first, ...others] = messages
      const [solution, last] = first?.payloads ?? []
      expect(last?.type).toBe(size === undefined ? PayloadType.SK : PayloadType.SKF)
      const data = solution?.type === PayloadType.PS ? solution.data : fail()
      expect(isPuzzleSolution(puzzle, subject, data)).toBe(true)
      for (const other of others) expect(other.payloads.map(({ type }) => type)).toEqual([PayloadType.SKF])
      for (const { message } of client.sent)
        if (size !== undefined) expect(message.length).toBeLessThanOrEqual(size - 32)
      // The responder can open it: what stands in front of SK is authenticated with it.
      while (client.sent.length > 0) pair.pass(client)
      expect(pair.gateway.of('established')).toHaveLength(1)
      expect(toHex(data)).toHaveLength(32)
    }
  )
})
