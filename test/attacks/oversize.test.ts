/** Messages as long, as many-parted or as deep as they can be made: each gets a result, none an exception, and none is kept. */
import { describe, expect, it } from 'vitest'
import { validateCertificatePath } from '../../src/crypto/certificate.ts'
import { createCertificateAuthority, issueServerCertificate } from '../../src/crypto/certificate-authority.ts'
import { IkeResponder } from '../../src/ike/responder.ts'
import { decodeMessage } from '../../src/wire/ike-codec.ts'
import { ExchangeType, PayloadType } from '../../src/wire/ike-constants.ts'
import { Pair, pathPair, responderConfig } from '../support/ike-pair.ts'
import { ManualPeer } from '../support/manual-peer.ts'
import { be, type RawPayload, rawMessage } from '../support/message-factory.ts'
import { SeededRandom } from '../support/seeded-random.ts'

/** What fits into a UDP datagram, and a frame of a stream. */
const MOST_BYTES = 65_000
const MANY = new Array<number>(MOST_BYTES).fill(0)

const filled = (unit: readonly number[]): number[] =>
  Array.from({ length: Math.floor(MOST_BYTES / unit.length) }, () => unit).flat()

/** One proposal after another, or one of many transforms, or one of a transform of many attributes. */
const proposals = filled([2, 0, 0, 8, 1, 1, 0, 0])
const transforms = [
  0,
  0,
  ...be(8 + 8 * 8000, 2),
  1,
  1,
  0,
  255,
  ...filled([3, 0, 0, 8, 1, 0, 0, 20]).slice(0, 64_000)
]
const attributes = [
  0,
  0,
  ...be(64_016, 2),
  1,
  1,
  0,
  1,
  0,
  0,
  ...be(64_008, 2),
  1,
  0,
  0,
  20,
  ...filled([0x80, 14, 1, 0]).slice(0, 64_000)
]

const NONCE: RawPayload = { type: PayloadType.NONCE, body: new Array<number>(32).fill(7) }
const CASES: readonly (readonly [string, readonly RawPayload[]])[] = [
  [
    'sixteen thousand empty payloads',
    filled([0])
      .slice(0, 16_000)
      .map(() => ({ type: 43, body: [] }))
  ],
  ['thousands of proposals', [{ type: PayloadType.SA, body: proposals }, NONCE]],
  ['thousands of transforms', [{ type: PayloadType.SA, body: transforms }, NONCE]],
  ['thousands of attributes', [{ type: PayloadType.SA, body: attributes }, NONCE]],
  ['a nonce of 64 KiB', [{ type: PayloadType.NONCE, body: MANY }]],
  ['a public value of 64 KiB', [{ type: PayloadType.KE, body: [0, 31, 0, 0, ...MANY] }, NONCE]],
  ['a cookie of 64 KiB', [{ type: PayloadType.NOTIFY, body: [0, 0, ...be(16_390, 2), ...MANY] }, NONCE]],
  [
    'thousands of hashes of signatures',
    [{ type: PayloadType.NOTIFY, body: [0, 0, ...be(16_431, 2), ...MANY] }, NONCE]
  ],
  [
    'thousands of SPIs to delete',
    [{ type: PayloadType.DELETE, body: [3, 4, ...be(16_000, 2), ...MANY.slice(0, 64_000)] }]
  ],
  [
    'thousands of attributes of a configuration',
    [{ type: PayloadType.CP, body: [1, 0, 0, 0, ...filled([0, 1, 0, 0])] }]
  ],
  [
    'hundreds of selectors',
    [
      {
        type: PayloadType.TSi,
        body: [255, 0, 0, 0, ...filled([7, 0, 0, 16, 0, 0, 255, 255, 0, 0, 0, 0, 255, 255, 255, 255])]
      }
    ]
  ]
]

const init = (payloads: readonly RawPayload[]): Uint8Array =>
  rawMessage({ header: { exchangeType: ExchangeType.IKE_SA_INIT }, payloads })

describe.each(CASES)('a message of %s', (_name, payloads) => {
  it('is refused or decoded, and leaves nothing at the door', () => {
    const message = init(payloads)
    // It is a message, as far as its frame goes: nobody may refuse it for being cut short.
    expect(new DataView(message.buffer).getUint32(24)).toBe(message.length)
    expect(() => decodeMessage(message)).not.toThrow()
    const responder = new IkeResponder(responderConfig(), {
      random: new SeededRandom(1),
      wallClockMs: () => 0
    })
    responder.receive(1, message, pathPair('tcp').gateway)
    while (responder.poll() !== undefined);
    expect(responder.sessions).toEqual([])
    expect(responder.halfOpen).toBe(0)
  })

  it('is no end of an established session when a stranger sends it', () => {
    const path = pathPair()
    const pair = new Pair().connect(path)
    for (const exchangeType of [34, 35, 36, 37]) {
      const [established] = pair.client.of('established')
      if (established === undefined) throw new Error('not established')
      const { spiI, spiR } = established.info
      const message = rawMessage({ header: { spiI, spiR, exchangeType, messageId: 2 }, payloads })
      pair.gateway.session.receive(pair.now, message, path.gateway)
    }
    pair.drain()
    expect(pair.gateway.session.state).toBe('ESTABLISHED')
    expect(pair.gateway.sent).toEqual([])
  })
})

describe('fragments of an authentic peer', () => {
  it('that never become whole hold nothing up, however many there are', () => {
    const path = pathPair()
    const pair = new Pair({ logKeys: true }).connect(path)
    const peer = new ManualPeer(pair.gateway, path.gateway, true)
    const big = { type: PayloadType.VENDOR_ID, data: new Uint8Array(60_000) } as const
    for (let messageId = 2; messageId < 12; messageId++) {
      const pieces = peer.seal(peer.header(ExchangeType.INFORMATIONAL, false, messageId), [big], 1200)
      expect(pieces.length).toBeGreaterThan(50)
      for (const piece of pieces.slice(1)) pair.gateway.session.receive(pair.now, piece, path.gateway)
    }
    pair.drain()
    // Nothing was answered, and the window has not moved: the honest request with that number is still welcome.
    expect(pair.gateway.sent).toEqual([])
    pair.client.session.checkLiveness(pair.now)
    pair.settle()
    expect(pair.client.of('liveness')).toMatchObject([{ outcome: 'alive' }])
  })
})

describe('certificates', () => {
  const validity = { notBeforeMs: Date.UTC(2026, 0), notAfterMs: Date.UTC(2027, 0) }
  const authority = createCertificateAuthority('Attack CA', validity)
  const server = issueServerCertificate(authority, ['gw.test'], validity)
  const judge = (leaf: Uint8Array, intermediates: readonly Uint8Array[] = []) =>
    validateCertificatePath({
      leaf,
      intermediates,
      trust: { anchors: [authority.certificate], crls: [] },
      atMs: Date.UTC(2026, 5),
      identity: undefined,
      purpose: 'server'
    })

  /** SEQUENCE in SEQUENCE, so many times. */
  function nested(depth: number): Uint8Array {
    let length = 0
    const heads: number[][] = []
    for (let count = 0; count < depth; count++) {
      const head =
        length < 128
          ? [0x30, length]
          : length < 256
            ? [0x30, 0x81, length]
            : [0x30, 0x82, length >> 8, length & 0xff]
      heads.push(head)
      length += head.length
    }
    return Uint8Array.from(heads.reverse().flat())
  }

  /** As somebody finds out who calls themselves again for each. */
  function depthOf(der: Uint8Array, at = 0): number {
    const length = der[at + 1] ?? 0
    return der[at] === 0x30 ? 1 + depthOf(der, at + (length < 128 ? 2 : 2 + (length & 0x7f))) : 0
  }

  it('are accepted as they are, and refused when they are nothing but depth', () => {
    expect(judge(server.certificate)).toMatchObject({ ok: true })
    expect(depthOf(nested(2000))).toBe(2000)
    expect(nested(16_000).length).toBeLessThan(2 ** 16)
    for (const depth of [100, 1000, 16_000]) {
      expect(judge(nested(depth))).toMatchObject({ ok: false })
      expect(judge(server.certificate, [nested(depth)])).toMatchObject({ ok: expect.any(Boolean) })
    }
  })

  it('are not even looked at when there are too many', () => {
    const many = new Array<Uint8Array>(5000).fill(server.certificate)
    expect(judge(server.certificate, many)).toMatchObject({ ok: false, code: 'malformed' })
  })
})
