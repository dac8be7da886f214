/** Errors that anybody can send: waited out on UDP, believed on a stream while nothing better is possible, never believed later. */
import { describe, expect, it } from 'vitest'
import { prfById } from '../../src/crypto/prf.ts'
import { INIT_DOUBT_MS } from '../../src/ike/options.ts'
import { MAX_PUZZLE_DIFFICULTY, puzzleNotify } from '../../src/ike/puzzle.ts'
import { encodeMessage } from '../../src/wire/ike-codec.ts'
import { ExchangeType, NotifyType, nameOf, PrfId } from '../../src/wire/ike-constants.ts'
import { notify } from '../../src/wire/ike-helpers.ts'
import { type End, Pair, pathPair } from '../support/ike-pair.ts'
import { readMessage, settleThrough } from '../support/man-in-the-middle.ts'

const ERRORS = [
  NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD,
  NotifyType.INVALID_IKE_SPI,
  NotifyType.INVALID_MAJOR_VERSION,
  NotifyType.INVALID_SYNTAX,
  NotifyType.NO_PROPOSAL_CHOSEN,
  NotifyType.AUTHENTICATION_FAILED,
  NotifyType.TEMPORARY_FAILURE
].map((type) => [nameOf(NotifyType, type), type] as const)

/** An answer without any protection to the last thing that this end said, as whoever saw it pass can make it. */
function forgedAnswer(request: Uint8Array, notifyType: number): Uint8Array {
  const { header } = readMessage(request)
  return encodeMessage({
    header: { ...header, fromInitiator: !header.fromInitiator, isResponse: true },
    payloads: [
      notify(
        notifyType,
        notifyType === NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD ? Uint8Array.of(48) : undefined
      )
    ]
  })
}

function lastSent(end: End): Uint8Array {
  const message = end.sent.at(-1)?.message
  if (message === undefined) throw new Error('nothing was sent')
  return message
}

function started(transport: 'udp' | 'tcp') {
  const pair = new Pair()
  const path = pathPair(transport)
  pair.addPath(path)
  pair.client.session.connect(pair.now, path.client)
  pair.drain()
  return { pair, path }
}

describe.each(ERRORS)('%s without protection', (_name, type) => {
  it('does not keep a client on UDP from the genuine answer', () => {
    const { pair, path } = started('udp')
    pair.client.session.receive(pair.now, forgedAnswer(lastSent(pair.client), type), path.client)
    pair.client.drain()
    expect(pair.client.of('closed')).toEqual([])
    pair.settle()
    expect(pair.client.of('established')).toHaveLength(1)
    pair.advance(INIT_DOUBT_MS * 2)
    expect(pair.client.of('closed')).toEqual([])
  })

  it('ends a client on UDP that hears nothing better in time, and one on a stream at once', () => {
    const udp = started('udp')
    udp.pair.client.session.receive(
      udp.pair.now,
      forgedAnswer(lastSent(udp.pair.client), type),
      udp.path.client
    )
    udp.pair.advance(INIT_DOUBT_MS - 1, { deliver: false })
    expect(udp.pair.client.of('closed')).toEqual([])
    udp.pair.advance(1, { deliver: false })
    expect(udp.pair.client.of('closed')).toHaveLength(1)

    const tcp = started('tcp')
    tcp.pair.client.session.receive(
      tcp.pair.now,
      forgedAnswer(lastSent(tcp.pair.client), type),
      tcp.path.client
    )
    tcp.pair.client.drain()
    expect(tcp.pair.client.of('closed')).toHaveLength(1)
  })

  it.each(['udp', 'tcp'] as const)('in IKE_AUTH is nothing to a client (%s)', (transport) => {
    const { pair, path } = started(transport)
    settleThrough(pair, (bytes, direction) => {
      const { header } = readMessage(bytes)
      if (direction === 'up' && header.exchangeType === ExchangeType.IKE_AUTH) {
        pair.client.session.receive(pair.now, forgedAnswer(bytes, type), path.client)
        pair.client.drain()
      }
      return [bytes]
    })
    expect(pair.client.of('established')).toHaveLength(1)
    expect(pair.client.of('closed')).toEqual([])
  })

  it.each(['udp', 'tcp'] as const)('later ends nothing and moves nothing (%s)', (transport) => {
    const { pair, path } = started(transport)
    pair.settle()
    for (const end of [pair.client, pair.gateway]) {
      end.session.checkLiveness(pair.now)
      end.drain()
      const children = [...end.children.keys()]
      const where = end === pair.client ? path.client : path.gateway
      for (let count = 0; count < 20; count++)
        end.session.receive(pair.now, forgedAnswer(lastSent(end), type), where)
      end.drain()
      expect(end.session.state).toBe('ESTABLISHED')
      expect([...end.children.keys()]).toEqual(children)
    }
    pair.settle()
    expect(pair.client.of('liveness')).toMatchObject([{ outcome: 'alive' }])
    expect(pair.client.of('closed')).toEqual([])
  })
})

describe('a forged puzzle (RFC 8019)', () => {
  const prf = prfById(PrfId.HMAC_SHA2_256)
  const puzzle = (bytes: Uint8Array, difficulty: number) => {
    if (prf === undefined) throw new Error('no PRF')
    const { header } = readMessage(bytes)
    return encodeMessage({
      header: { ...header, fromInitiator: false, isResponse: true },
      payloads: [
        notify(NotifyType.COOKIE, Uint8Array.of(difficulty, 2, 3)),
        puzzleNotify({ prf, difficulty })
      ]
    })
  }

  it.each([MAX_PUZZLE_DIFFICULTY, 255])(
    'of %i bits does not keep a client from the genuine answer',
    (difficulty) => {
      const { pair, path } = started('udp')
      pair.client.session.receive(pair.now, puzzle(lastSent(pair.client), difficulty), path.client)
      pair.client.drain()
      // The work has begun, if it is not too much to begin with.
      const asked = pair.client.logs.some((line) => line.includes('wants a puzzle solved'))
      expect(asked).toBe(difficulty <= MAX_PUZZLE_DIFFICULTY)
      expect(pair.client.of('established')).toEqual([])
      pair.settle()
      expect(pair.client.of('established')).toHaveLength(1)
      pair.advance(INIT_DOUBT_MS * 2)
      expect(pair.client.of('closed')).toEqual([])
    }
  )
})
