import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  decodeHeader,
  decodeMessage,
  decodePayloads,
  encodeEncrypted,
  encodeMessage,
  encodePayloads,
  MAX_PAYLOADS
} from '../../../src/wire/ike-codec.ts'
import { NotifyType, PayloadType } from '../../../src/wire/ike-constants.ts'
import { findUnsupportedCritical } from '../../../src/wire/ike-helpers.ts'
import type { IkeMessage } from '../../../src/wire/ike-message.ts'
import { header, message, plainPayloads } from '../../support/arbitrary-messages.ts'
import {
  messageOctets,
  type RawMessage,
  rawChain,
  rawMessage,
  rawPayload,
  toHex
} from '../../support/message-factory.ts'
import recorded from '../../vectors/ike-messages.json' with { type: 'json' }

const SEED = 7296

function decoded(bytes: Uint8Array): IkeMessage {
  const result = decodeMessage(bytes)
  if (!result.ok) throw result.error
  return result.message
}

function errorOf(raw: RawMessage) {
  const result = decodeMessage(rawMessage(raw))
  if (result.ok) throw new Error('the message was accepted')
  return result.error
}

describe('decoding against an independent byte-level factory', () => {
  it('reads every payload as the diagrams of RFC 7296 lay it out', () => {
    fc.assert(
      fc.property(message, (expected) => {
        expect(decoded(messageOctets(expected))).toEqual(expected)
      }),
      { seed: SEED, numRuns: 500 }
    )
  })

  it('writes the same bytes as the factory', () => {
    fc.assert(
      fc.property(message, (value) => {
        expect(toHex(encodeMessage(value))).toBe(toHex(messageOctets(value)))
      }),
      { seed: SEED + 1, numRuns: 500 }
    )
  })

  it('reads and writes the payloads inside SK', () => {
    fc.assert(
      fc.property(plainPayloads, (payloads) => {
        const { firstType, bytes } = encodePayloads(payloads)
        expect(toHex(bytes)).toBe(toHex(Uint8Array.from(rawChain(payloads.map(rawPayload)))))
        expect(decodePayloads(firstType, bytes)).toEqual({ ok: true, value: payloads })
      }),
      { seed: SEED + 2, numRuns: 300 }
    )
  })

  it('reads the header alone whatever follows it', () => {
    fc.assert(
      fc.property(header, fc.integer({ min: 0, max: 255 }), (expected, firstPayload) => {
        const bytes = rawMessage({ header: expected, firstPayload, length: 4711, trailing: [1, 2, 3] })
        expect(decodeHeader(bytes)).toEqual({ ok: true, header: expected, firstPayload, length: 4711 })
      }),
      { seed: SEED + 3 }
    )
  })
})

describe('recorded strongSwan messages', () => {
  it.each(recorded.messages)(
    '$session: a message of the $from is read and written back bit for bit',
    ({ hex }) => {
      const bytes = Buffer.from(hex, 'hex')
      expect(Buffer.from(encodeMessage(decoded(bytes))).toString('hex')).toBe(hex)
    }
  )

  it.each(recorded.inner)(
    '$session: decrypted payloads of the $from are read and written back bit for bit',
    (inner) => {
      const result = decodePayloads(inner.firstType, Buffer.from(inner.hex, 'hex'))
      if (!result.ok) throw result.error
      const again = encodePayloads(result.value)
      expect(again.firstType).toBe(inner.firstType)
      expect(Buffer.from(again.bytes).toString('hex')).toBe(inner.hex)
    }
  )

  it('tells where the encrypted body begins', () => {
    for (const { hex } of recorded.messages) {
      const bytes = Buffer.from(hex, 'hex')
      const result = decodeMessage(bytes)
      if (!result.ok) throw result.error
      const last = result.message.payloads.at(-1)
      if (last?.type === PayloadType.SK) expect(result.encryptedOffset).toBe(32)
      else if (last?.type === PayloadType.SKF) expect(result.encryptedOffset).toBe(36)
      else expect(result).not.toHaveProperty('encryptedOffset')
    }
  })
})

describe('what decoded values hold', () => {
  it('stays as it was when the receive buffer is overwritten', () => {
    const bytes = Buffer.from(recorded.messages[0]?.hex ?? '', 'hex')
    const before = decoded(Buffer.from(bytes))
    const value = decoded(bytes)
    bytes.fill(0)
    expect(value).toEqual(before)
  })

  it('is plain Uint8Array also when a Buffer came in', () => {
    const bytes = Buffer.from(rawMessage({ payloads: [{ type: 43, body: [1, 2, 3] }] }))
    const [payload] = decoded(bytes).payloads
    expect(payload).toEqual({ type: 43, data: Uint8Array.of(1, 2, 3) })
    expect(Buffer.isBuffer(payload?.type === 43 && payload.data)).toBe(false)
  })
})

describe('the head of a protected message', () => {
  const ikeHeader = { ...decoded(rawMessage({})).header, exchangeType: 35, messageId: 1 }

  it('has final lengths for SK', () => {
    const head = encodeEncrypted(ikeHeader, 35, 100)
    const whole = decodeMessage(Uint8Array.from([...head, ...new Array<number>(100).fill(7)]))
    if (!whole.ok) throw whole.error
    expect(whole.encryptedOffset).toBe(head.length)
    expect(whole.message).toEqual({
      header: ikeHeader,
      payloads: [{ type: 46, firstInner: 35, body: new Uint8Array(100).fill(7) }]
    })
  })

  it('names the first inner payload only in the first fragment (RFC 7383 section 2.5)', () => {
    for (const number of [1, 2, 3]) {
      const head = encodeEncrypted(ikeHeader, 35, 20, { number, total: 3 })
      const whole = decoded(Uint8Array.from([...head, ...new Array<number>(20).fill(9)]))
      expect(whole.payloads).toEqual([
        {
          type: 53,
          firstInner: number === 1 ? 35 : 0,
          fragmentNumber: number,
          totalFragments: 3,
          body: new Uint8Array(20).fill(9)
        }
      ])
    }
  })
})

describe('tolerance that RFC 7296 asks for', () => {
  it('ignores reserved flags, the V flag and reserved bits of payload headers', () => {
    const bytes = rawMessage({ payloads: [{ type: 43, body: [1] }] })
    const expected = decoded(bytes)
    bytes[19] = (bytes[19] ?? 0) | 0b1101_0111
    bytes[29] = 0x7f
    expect(decoded(bytes)).toEqual(expected)
  })

  it('ignores the critical bit of a known payload and never sends it', () => {
    const value = decoded(rawMessage({ payloads: [{ type: 43, body: [1], critical: true }] }))
    expect(value.payloads).toEqual([{ type: 43, data: Uint8Array.of(1) }])
    expect(encodeMessage(value)[29]).toBe(0)
  })

  it('keeps unknown payloads, and finds the critical one among them', () => {
    const value = decoded(
      rawMessage({
        payloads: [
          { type: 200, body: [1, 2] },
          { type: 201, body: [3], critical: true },
          { type: 202, body: [], critical: true }
        ]
      })
    )
    expect(value.payloads.map((payload) => payload.type)).toEqual(['unknown', 'unknown', 'unknown'])
    expect(findUnsupportedCritical(value.payloads)?.payloadType).toBe(201)
    expect(findUnsupportedCritical(value.payloads.slice(0, 1))).toBeUndefined()
  })

  it('accepts payloads in any order, and none at all', () => {
    expect(decoded(rawMessage({})).payloads).toEqual([])
    expect(decodePayloads(0, new Uint8Array(0))).toEqual({ ok: true, value: [] })
  })

  it('reads a key length only as a short attribute, and marks every other attribute', () => {
    const transform = (attributes: number[]) => [0, 0, 0, 8 + attributes.length, 1, 0, 0, 20, ...attributes]
    const proposal = (attributes: number[]) => [
      0,
      0,
      0,
      16 + attributes.length,
      1,
      1,
      0,
      1,
      ...transform(attributes)
    ]
    const read = (attributes: number[]) => {
      const [sa] = decoded(rawMessage({ payloads: [{ type: 33, body: proposal(attributes) }] })).payloads
      return sa?.type === 33 ? sa.proposals[0]?.transforms[0] : undefined
    }
    expect(read([])).toEqual({ type: 1, id: 20 })
    expect(read([0x80, 14, 1, 0])).toEqual({ type: 1, id: 20, keyLengthBits: 256 })
    expect(read([0, 14, 0, 2, 1, 0])).toEqual({ type: 1, id: 20, otherAttributes: true })
    expect(read([0x80, 15, 1, 0])).toEqual({ type: 1, id: 20, otherAttributes: true })
    const twice = [0x80, 14, 1, 0, 0x80, 14, 0, 128]
    expect(read(twice)).toEqual({ type: 1, id: 20, keyLengthBits: 256, otherAttributes: true })
  })

  it('skips traffic selectors of an unknown type and keeps the others', () => {
    const known = [7, 6, 0, 16, 0, 0, 255, 255, 10, 0, 0, 0, 10, 0, 0, 255]
    const unknown = [9, 1, 0, 8, 1, 2, 3, 4]
    const body = [3, 0, 0, 0, ...unknown, ...known, ...unknown]
    const [ts] = decoded(rawMessage({ payloads: [{ type: 44, body }] })).payloads
    expect(ts).toEqual({
      type: 44,
      selectors: [
        {
          family: 4,
          protocol: 6,
          startPort: 0,
          endPort: 65535,
          startAddress: Uint8Array.of(10, 0, 0, 0),
          endAddress: Uint8Array.of(10, 0, 0, 255)
        }
      ]
    })
  })
})

describe('flaws', () => {
  const { INVALID_SYNTAX, INVALID_MAJOR_VERSION } = NotifyType
  const proposalWith = (transformCount: number, marker: number) => [
    ...[0, 0, 0, 16, 1, 1, 0, transformCount],
    ...[marker, 0, 0, 8, 1, 0, 0, 20]
  ]

  it.each<[string, RawMessage, string, number | undefined]>([
    ['a length below the message', { length: 27 }, 'header.length', INVALID_SYNTAX],
    ['a length above the message', { length: 29 }, 'header.length', INVALID_SYNTAX],
    ['a higher major version', { header: { majorVersion: 3 } }, 'header.version', INVALID_MAJOR_VERSION],
    ['IKEv1', { header: { majorVersion: 1 } }, 'header.version', undefined],
    ['bytes behind the last payload', { trailing: [0] }, '', INVALID_SYNTAX],
    ['a payload that is missing', { firstPayload: 33 }, 'SA', INVALID_SYNTAX],
    [
      'a payload length below 4',
      { payloads: [{ type: 43, body: [1], length: 3 }] },
      'VENDOR_ID',
      INVALID_SYNTAX
    ],
    [
      'a payload length past the end',
      { payloads: [{ type: 43, body: [1], length: 6 }] },
      'VENDOR_ID',
      INVALID_SYNTAX
    ],
    [
      'a payload behind SK',
      {
        payloads: [
          { type: 46, body: [1], nextPayload: 35 },
          { type: 43, body: [2] }
        ]
      },
      '',
      INVALID_SYNTAX
    ],
    [
      'a nonce of 15 bytes',
      { payloads: [{ type: 40, body: new Array(15).fill(1) }] },
      'NONCE',
      INVALID_SYNTAX
    ],
    [
      'a nonce of 257 bytes',
      { payloads: [{ type: 40, body: new Array(257).fill(1) }] },
      'NONCE',
      INVALID_SYNTAX
    ],
    ['an SA without proposals', { payloads: [{ type: 33, body: [] }] }, 'SA.proposal[0]', INVALID_SYNTAX],
    [
      'more transforms announced than there are',
      { payloads: [{ type: 33, body: proposalWith(2, 3) }] },
      'SA.proposal[0].transform[1]',
      INVALID_SYNTAX
    ],
    [
      'a last transform that promises another',
      { payloads: [{ type: 33, body: proposalWith(1, 3) }] },
      'SA.proposal[0].transform[0]',
      INVALID_SYNTAX
    ],
    [
      'a proposal marked with a number of its own',
      { payloads: [{ type: 33, body: [7, ...proposalWith(1, 0).slice(1)] }] },
      'SA.proposal[0]',
      INVALID_SYNTAX
    ],
    [
      'a notify cut in its SPI',
      { payloads: [{ type: 41, body: [3, 4, 0, 11, 1, 2] }] },
      'NOTIFY.spi',
      INVALID_SYNTAX
    ],
    [
      'a delete of an IKE SA with SPIs',
      { payloads: [{ type: 42, body: [1, 8, 0, 0] }] },
      'DELETE',
      INVALID_SYNTAX
    ],
    [
      'a delete with fewer SPIs',
      { payloads: [{ type: 42, body: [3, 4, 0, 2, 1, 2, 3, 4] }] },
      'DELETE.spi[1]',
      INVALID_SYNTAX
    ],
    [
      'a delete of an unknown protocol',
      { payloads: [{ type: 42, body: [9, 4, 0, 0] }] },
      'DELETE',
      INVALID_SYNTAX
    ],
    [
      'a delete with more SPIs',
      { payloads: [{ type: 42, body: [3, 4, 0, 0, 1, 2, 3, 4] }] },
      'DELETE',
      INVALID_SYNTAX
    ],
    [
      'fewer selectors than announced',
      { payloads: [{ type: 44, body: [1, 0, 0, 0] }] },
      'TSi.selector[0]',
      INVALID_SYNTAX
    ],
    [
      'more selectors than announced',
      { payloads: [{ type: 45, body: [0, 0, 0, 0, 7] }] },
      'TSr',
      INVALID_SYNTAX
    ],
    [
      'a selector too short for its type',
      { payloads: [{ type: 44, body: [1, 0, 0, 0, 7, 0, 0, 12, 0, 0, 255, 255, 10, 0, 0, 0] }] },
      'TSi.selector[0].endAddress',
      INVALID_SYNTAX
    ],
    [
      'a configuration attribute cut short',
      { payloads: [{ type: 47, body: [1, 0, 0, 0, 0, 1, 0, 4, 1] }] },
      'CP.attribute[0]',
      INVALID_SYNTAX
    ],
    ['fragment 0', { payloads: [{ type: 53, body: [0, 0, 0, 1, 1] }] }, 'SKF', INVALID_SYNTAX],
    ['fragment 3 of 2', { payloads: [{ type: 53, body: [0, 3, 0, 2, 1] }] }, 'SKF', INVALID_SYNTAX]
  ])('%s is refused, and the error says where', (_, raw, path, notifyType) => {
    const error = errorOf(raw)
    expect(error.path).toBe(path)
    expect(error.notifyType).toBe(notifyType)
  })

  it('reports how much was needed and how much was there', () => {
    const error = errorOf({ payloads: [{ type: 41, body: [3, 4, 0, 11, 1, 2] }] })
    expect(error).toMatchObject({ offset: 36, need: 4, have: 2 })
    expect(error.message).toBe('NOTIFY.spi: needs 4 bytes, 2 left (at byte 36)')
  })

  it('allows no encrypted payload inside another', () => {
    for (const type of [46, 53]) {
      const result = decodePayloads(type, Uint8Array.from(rawChain([{ type, body: [0, 1, 0, 1, 5] }])))
      expect(result.ok).toBe(false)
    }
  })

  it('limits the number of payloads', () => {
    const chain = (count: number) =>
      decodePayloads(43, Uint8Array.from(rawChain(new Array(count).fill({ type: 43, body: [] }))))
    expect(chain(MAX_PAYLOADS).ok).toBe(true)
    expect(chain(MAX_PAYLOADS + 1).ok).toBe(false)
  })

  it('refuses to write what does not fit instead of writing it wrong', () => {
    const tooLong = { type: 43, data: new Uint8Array(65533) } as const
    expect(() => encodePayloads([tooLong])).toThrow('outside 0 to 65535')
    const sk = { type: 46, firstInner: 0, body: new Uint8Array(1) } as const
    expect(() => encodePayloads([sk, { type: 43, data: new Uint8Array(0) }])).toThrow('must be the last')
  })
})
