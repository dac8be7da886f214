/**
 * fast-check generators of every IKEv2 payload and of whole messages.
 * @module
 */
import fc from 'fast-check'
import type { IkeHeader, IkeMessage, Payload, TrafficSelector } from '../../src/wire/ike-message.ts'

const octet = fc.integer({ min: 0, max: 0xff })
const word = fc.integer({ min: 0, max: 0xffff })
const bytes = (minLength: number, maxLength: number) => fc.uint8Array({ minLength, maxLength })
const exactly = (length: number) => bytes(length, length)
const data = bytes(0, 80)

const transform = fc.record({ type: octet, id: word, keyLengthBits: word }, { requiredKeys: ['type', 'id'] })
const proposal = fc.record({
  number: octet,
  protocolId: octet,
  spi: fc.oneof(exactly(0), exactly(4), exactly(8)),
  transforms: fc.array(transform, { maxLength: 8 })
})
const selectorOf = (family: 4 | 6, length: number): fc.Arbitrary<TrafficSelector> =>
  fc.record({
    family: fc.constant(family),
    protocol: octet,
    startPort: word,
    endPort: word,
    startAddress: exactly(length),
    endAddress: exactly(length)
  })
const selectors = fc.array(fc.oneof(selectorOf(4, 4), selectorOf(6, 16)), { maxLength: 6 })
const unknownType = octet.filter(
  (type) => type !== 0 && !(type >= 33 && type <= 48) && type !== 53 && type !== 54
)

/** Every payload that may stand in front of another one. */
export const plainPayload: fc.Arbitrary<Payload> = fc.oneof(
  fc.record({
    type: fc.constant(33 as const),
    proposals: fc.array(proposal, { minLength: 1, maxLength: 4 })
  }),
  fc.record({ type: fc.constant(34 as const), group: word, data }),
  fc.record({ type: fc.constantFrom(35 as const, 36 as const), idType: octet, data }),
  fc.record({ type: fc.constant(37 as const), encoding: octet, data }),
  fc.record({ type: fc.constant(38 as const), encoding: octet, authorities: data }),
  fc.record({ type: fc.constant(39 as const), method: octet, data }),
  fc.record({ type: fc.constant(40 as const), data: bytes(16, 256) }),
  fc.record({
    type: fc.constant(41 as const),
    protocolId: octet,
    spi: bytes(0, 8),
    notifyType: word,
    data
  }),
  fc.record({ type: fc.constant(42 as const), protocolId: fc.constant(1 as const), spis: fc.constant([]) }),
  fc.record({
    type: fc.constant(42 as const),
    protocolId: fc.constantFrom(2 as const, 3 as const),
    spis: fc.array(exactly(4), { maxLength: 6 })
  }),
  fc.record({ type: fc.constant(43 as const), data }),
  fc.record({ type: fc.constant(54 as const), data }),
  fc.record({ type: fc.constantFrom(44 as const, 45 as const), selectors }),
  fc.record({
    type: fc.constant(47 as const),
    cfgType: octet,
    attributes: fc.array(fc.record({ type: fc.integer({ min: 0, max: 0x7fff }), value: bytes(0, 20) }), {
      maxLength: 6
    })
  }),
  fc.record({ type: fc.constant(48 as const), packet: data }),
  fc.record({
    type: fc.constant('unknown' as const),
    payloadType: unknownType,
    critical: fc.boolean(),
    body: data
  })
)

const encryptedPayload: fc.Arbitrary<Payload> = fc.oneof(
  fc.record({ type: fc.constant(46 as const), firstInner: octet, body: data }),
  fc
    .record({
      type: fc.constant(53 as const),
      firstInner: octet,
      fragmentNumber: fc.integer({ min: 1, max: 0xffff }),
      totalFragments: fc.integer({ min: 1, max: 0xffff }),
      body: data
    })
    .map((fragment) => ({
      ...fragment,
      totalFragments: Math.max(fragment.fragmentNumber, fragment.totalFragments)
    }))
)

export const plainPayloads: fc.Arbitrary<Payload[]> = fc.array(plainPayload, { maxLength: 8 })

const spi = fc.bigInt({ min: 0n, max: 0xffffffffffffffffn })

export const header: fc.Arbitrary<IkeHeader> = fc.record({
  spiI: spi,
  spiR: spi,
  majorVersion: fc.constant(2),
  minorVersion: fc.integer({ min: 0, max: 15 }),
  exchangeType: octet,
  fromInitiator: fc.boolean(),
  isResponse: fc.boolean(),
  messageId: fc.integer({ min: 0, max: 0xffffffff })
})

/** Cleartext payloads, then perhaps SK or SKF. */
export const message: fc.Arbitrary<IkeMessage> = fc
  .tuple(header, plainPayloads, fc.option(encryptedPayload, { nil: undefined }))
  .map(([ikeHeader, payloads, encrypted]) => ({
    header: ikeHeader,
    payloads: encrypted ? [...payloads, encrypted] : payloads
  }))
