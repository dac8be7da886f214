import { describe, expect, it } from 'vitest'
import {
  classifyDatagram,
  DatagramKind,
  NAT_KEEPALIVE,
  withNonEspMarker
} from '../../../src/wire/non-esp-marker.ts'
import { fromHex, rawMessage } from '../../support/message-factory.ts'

const { ESP, IKE, KEEPALIVE, MALFORMED } = DatagramKind

function classify(bytes: Uint8Array): DatagramKind {
  // Not at the start of its buffer, and with something behind it.
  const buffer = new Uint8Array(bytes.length + 64).fill(0xff)
  buffer.set(bytes, 7)
  return classifyDatagram(buffer, 7, bytes.length)
}

describe('datagrams on port 4500 (RFC 3948 section 2)', () => {
  const message = rawMessage({ payloads: [{ type: 43, body: [1] }] })

  it.each<[string, Uint8Array, DatagramKind]>([
    ['an IKE message behind the marker', withNonEspMarker(message), IKE],
    ['an IKE message whose Length lies', withNonEspMarker(Uint8Array.from([...message, 0])), MALFORMED],
    ['a marker and less than an IKE header', withNonEspMarker(message.subarray(0, 27)), MALFORMED],
    ['an ESP packet', fromHex('00000001 00000001 aabbccdd'), ESP],
    ['the shortest thing with SPI and sequence number', fromHex('11223344 00000001'), ESP],
    ['an SPI alone', fromHex('11223344'), MALFORMED],
    ['seven bytes', fromHex('11223344000000'), MALFORMED],
    ['the marker alone', fromHex('00000000'), MALFORMED],
    ['a NAT-keepalive', NAT_KEEPALIVE, KEEPALIVE],
    ['another single byte', Uint8Array.of(0xfe), MALFORMED],
    ['two bytes of 0xff', Uint8Array.of(0xff, 0xff), MALFORMED],
    ['nothing', new Uint8Array(0), MALFORMED]
  ])('tells %s', (_, bytes, kind) => {
    expect(classify(bytes)).toBe(kind)
  })

  it('takes no byte behind the datagram for part of an IKE header', () => {
    // The last byte of Length, 27, stands just behind a message of 27 bytes.
    const buffer = Uint8Array.from([...new Array<number>(4 + 27).fill(0), 27])
    expect(classifyDatagram(buffer, 0, 4 + 27)).toBe(MALFORMED)
  })
})
