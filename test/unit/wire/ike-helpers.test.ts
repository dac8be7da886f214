import { describe, expect, it } from 'vitest'
import { decodeMessage } from '../../../src/wire/ike-codec.ts'
import { NotifyType, PayloadType } from '../../../src/wire/ike-constants.ts'
import { formatIkeMessage, formatPayloads } from '../../../src/wire/ike-format.ts'
import {
  espSpiFromBytes,
  espSpiToBytes,
  findNotifies,
  findNotify,
  findPayload,
  findPayloads,
  notify,
  spiFromBytes,
  spiToBytes
} from '../../../src/wire/ike-helpers.ts'
import type { Payload } from '../../../src/wire/ike-message.ts'
import { fromHex, rawMessage, toHex } from '../../support/message-factory.ts'
import recorded from '../../vectors/ike-messages.json' with { type: 'json' }

const ke = (group: number): Payload => ({ type: PayloadType.KE, group, data: new Uint8Array(0) })

describe('finding payloads', () => {
  const payloads: Payload[] = [
    ke(19),
    notify(NotifyType.COOKIE, Uint8Array.of(1)),
    ke(20),
    notify(NotifyType.MOBIKE_SUPPORTED),
    notify(NotifyType.COOKIE, Uint8Array.of(2)),
    { type: PayloadType.IDr, idType: 2, data: Uint8Array.of(3) }
  ]

  it('gives the first, or all, in order', () => {
    expect(findPayload(payloads, PayloadType.KE)?.group).toBe(19)
    expect(findPayloads(payloads, PayloadType.KE).map(({ group }) => group)).toEqual([19, 20])
    expect(findPayload(payloads, PayloadType.SA)).toBeUndefined()
  })

  it('tells payloads apart that share a shape', () => {
    expect(findPayload(payloads, PayloadType.IDi)).toBeUndefined()
    expect(findPayload(payloads, PayloadType.IDr)?.idType).toBe(2)
  })

  it('finds notifies by type', () => {
    expect(findNotify(payloads, NotifyType.COOKIE)?.data).toEqual(Uint8Array.of(1))
    expect(findNotifies(payloads, NotifyType.COOKIE)).toHaveLength(2)
    expect(findNotifies(payloads)).toHaveLength(3)
    expect(findNotify(payloads, NotifyType.REDIRECT)).toBeUndefined()
  })
})

it('makes notifies with and without an SPI', () => {
  expect(notify(14)).toEqual({
    type: 41,
    protocolId: 0,
    spi: new Uint8Array(0),
    notifyType: 14,
    data: new Uint8Array(0)
  })
  const spi = espSpiToBytes(5)
  expect(notify(16393, undefined, { protocolId: 3, spi })).toMatchObject({
    protocolId: 3,
    spi,
    notifyType: 16393
  })
})

it('turns SPIs into bytes and back, and takes no other length', () => {
  expect(toHex(spiToBytes(0xfedcba9876543210n))).toBe('fedcba9876543210')
  expect(spiFromBytes(fromHex('00fedcba9876543210').subarray(1))).toBe(0xfedcba9876543210n)
  expect(spiFromBytes(new Uint8Array(4))).toBeUndefined()
  expect(toHex(espSpiToBytes(0xfedcba98))).toBe('fedcba98')
  expect(espSpiFromBytes(fromHex('00fedcba98').subarray(1))).toBe(0xfedcba98)
  expect(espSpiFromBytes(new Uint8Array(8))).toBeUndefined()
})

describe('messages in logs', () => {
  const line = (bytes: Uint8Array) => {
    const result = decodeMessage(bytes)
    if (!result.ok) throw result.error
    return formatIkeMessage(result.message)
  }

  it('are one line of exchange, direction, Message ID and payloads', () => {
    const [first] = recorded.messages
    expect(line(Buffer.from(first?.hex ?? '', 'hex'))).toBe(
      'IKE_SA_INIT request 0 [ SA KE NONCE N(NAT_DETECTION_SOURCE_IP) N(NAT_DETECTION_DESTINATION_IP) ' +
        'N(IKEV2_FRAGMENTATION_SUPPORTED) N(SIGNATURE_HASH_ALGORITHMS) N(REDIRECT_SUPPORTED) VENDOR_ID ]'
    )
    expect(line(rawMessage({ header: { exchangeType: 37, isResponse: true, messageId: 7 } }))).toBe(
      'INFORMATIONAL response 7 [ ]'
    )
    expect(line(rawMessage({ header: { exchangeType: 99 } }))).toBe('EXCHANGE(99) request 0 [ ]')
  })

  it('say what is inside short payloads', () => {
    const empty = new Uint8Array(0)
    const payloads: Payload[] = [
      { type: 37, encoding: 4, data: empty },
      { type: 37, encoding: 12, data: empty },
      { type: 42, protocolId: 1, spis: [] },
      { type: 42, protocolId: 3, spis: [espSpiToBytes(1), espSpiToBytes(2)] },
      { type: 47, cfgType: 2, attributes: [] },
      { type: 48, packet: Uint8Array.of(1, 1, 0, 6, 26, 1) },
      { type: 48, packet: Uint8Array.of(3, 1, 0, 4) },
      { type: 48, packet: Uint8Array.of(2, 1, 0, 6, 200, 1) },
      { type: 48, packet: empty },
      { type: 'unknown', payloadType: 54, critical: false, body: empty },
      { type: 'unknown', payloadType: 200, critical: true, body: empty },
      notify(40960),
      { type: 53, firstInner: 0, fragmentNumber: 2, totalFragments: 5, body: empty }
    ]
    expect(formatPayloads(payloads)).toBe(
      '[ CERT CERT(X509_HASH_AND_URL) D(IKE) D(ESP x2) CP(CFG_REPLY) EAP(REQUEST MSCHAPV2) EAP(SUCCESS) ' +
        'EAP(RESPONSE TYPE(200)) EAP PS PAYLOAD(200)! N(TYPE(40960)) SKF(2/5) ]'
    )
  })

  it('stay short whatever a peer sends', () => {
    expect(formatPayloads(new Array<Payload>(200).fill(ke(14)))).toMatch(/^\[ (KE ){32}\+168 more \]$/)
  })
})
