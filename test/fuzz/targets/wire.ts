/**
 * Targets of IKE messages: headers, chains of payloads, each kind of payload on its own.
 * @module
 */
import { readRedirect, redirectNotify } from '../../../src/ike/redirect.ts'
import { readAssignedConfig } from '../../../src/ike/tasks/config.ts'
import { readMessageIdSync } from '../../../src/ike/tasks/counter-sync-data.ts'
import { readUint16List } from '../../../src/ike/tasks/init-common.ts'
import { addressFromBytes, addressToBytes } from '../../../src/wire/address.ts'
import { formatCidr, parseCidr } from '../../../src/wire/cidr.ts'
import { isDomainName } from '../../../src/wire/domain-name.ts'
import {
  decodeHeader,
  decodeMessage,
  decodePayloads,
  encodeMessage,
  encodePayloads,
  IKE_HEADER_LENGTH
} from '../../../src/wire/ike-codec.ts'
import { PayloadType } from '../../../src/wire/ike-constants.ts'
import { formatIkeMessage, formatPayloads } from '../../../src/wire/ike-format.ts'
import { IKE_LENGTH_OFFSET } from '../../../src/wire/ike-header.ts'
import {
  espSpiFromBytes,
  espSpiToBytes,
  findUnsupportedCritical,
  spiFromBytes,
  spiToBytes
} from '../../../src/wire/ike-helpers.ts'
import type { ConfigPayload, Payload, TrafficSelector } from '../../../src/wire/ike-message.ts'
import { compileSelectors } from '../../../src/wire/selector-matcher.ts'
import {
  formatTrafficSelectors,
  intersectSelectors,
  parseTrafficSelector,
  selectorsContain,
  selectorToCidrs
} from '../../../src/wire/traffic-selectors.ts'
import { message, plainPayloads } from '../../support/arbitrary-messages.ts'
import { recordedChains, recordedMessages } from '../corpus.ts'
import { bounded, type FuzzTarget, holds, same, textOf, texts } from '../target.ts'

/** Attributes that are not understood are only marked: they cannot be written again. */
function withoutMarks(payloads: readonly Payload[]): Payload[] {
  return payloads.map((payload) =>
    payload.type !== PayloadType.SA
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

/** With the Length that the message has, so that the payloads behind it are reached. */
export function withTrueLength(bytes: Uint8Array): Uint8Array {
  if (bytes.length < IKE_HEADER_LENGTH) return bytes
  const copy = bytes.slice()
  new DataView(copy.buffer).setUint32(IKE_LENGTH_OFFSET, copy.length)
  return copy
}

const ikeHeader: FuzzTarget = {
  name: 'ike-header',
  covers: ['wire/ike-codec.ts#decodeHeader', 'wire/ike-header.ts#readHeader'],
  weight: 10,
  corpus: recordedMessages,
  open: () => (input) => {
    const result = decodeHeader(input)
    holds(result.ok === input.length >= IKE_HEADER_LENGTH, 'a whole header is read, and nothing else')
  }
}

const ikeMessage: FuzzTarget = {
  name: 'ike-message',
  covers: [
    'wire/ike-codec.ts#decodeMessage',
    'wire/ike-header.ts#readMessageHeader',
    'wire/ike-payloads.ts#readPayloadBody',
    'wire/ike-helpers.ts#findUnsupportedCritical',
    'wire/errors.ts#decodeResult'
  ],
  weight: 6,
  maxLength: 70_000,
  corpus: recordedMessages,
  structured: message.map(encodeMessage),
  repair: withTrueLength,
  open: () => (input) => {
    const before = Buffer.from(input)
    const result = decodeMessage(input)
    holds(before.equals(input), 'decoding leaves the message as it is')
    if (!result.ok) {
      holds(result.error.offset <= input.length, 'the offset of an error is inside of the message')
      bounded(result.error.message, input, 0, 400)
      return
    }
    bounded(result.message, input)
    bounded(formatIkeMessage(result.message), input)
    findUnsupportedCritical(result.message.payloads)
    const again = decodeMessage(encodeMessage(result.message))
    if (!again.ok) throw again.error
    holds(same(again.message.header, result.message.header), 'the header survives writing and reading')
    holds(
      same(withoutMarks(again.message.payloads), withoutMarks(result.message.payloads)),
      'the payloads survive writing and reading'
    )
  }
}

/** The type of the first payload in front of the chain. */
function typedChains(): Uint8Array[] {
  return recordedChains().map(({ firstType, bytes }) => Uint8Array.of(firstType, ...bytes))
}

const ikeInner: FuzzTarget = {
  name: 'ike-inner-payloads',
  covers: ['wire/ike-codec.ts#decodePayloads', 'wire/ike-format.ts#formatPayloads'],
  weight: 6,
  maxLength: 20_000,
  corpus: typedChains,
  structured: plainPayloads.map((payloads) => {
    const { firstType, bytes } = encodePayloads(payloads)
    return Uint8Array.of(firstType, ...bytes)
  }),
  open: () => (input) => {
    const result = decodePayloads(input[0] ?? 0, input.subarray(1))
    if (!result.ok) return
    bounded(result.value, input)
    bounded(formatPayloads(result.value), input)
    const { firstType, bytes } = encodePayloads(result.value)
    const again = decodePayloads(firstType, bytes)
    if (!again.ok) throw again.error
    holds(same(withoutMarks(again.value), withoutMarks(result.value)), 'payloads survive writing and reading')
  }
}

/** A target for one kind of payload: what is fuzzed is its body alone. */
function payloadTarget(
  name: string,
  type: number,
  examine: (payload: Payload, input: Uint8Array) => void = () => undefined,
  weight = 4
): FuzzTarget {
  const chain = (body: Uint8Array): Uint8Array => {
    const bytes = new Uint8Array(4 + Math.min(body.length, 0xffff - 4))
    bytes.set(body.subarray(0, bytes.length - 4), 4)
    bytes[2] = bytes.length >>> 8
    bytes[3] = bytes.length
    return bytes
  }
  return {
    name: `ike-payload-${name}`,
    covers: ['wire/ike-payloads.ts#readPayloadBody'],
    weight,
    maxLength: 8192,
    corpus: () => bodiesOf(type),
    open: () => (input) => {
      const result = decodePayloads(type, chain(input))
      if (!result.ok) return
      const [payload] = result.value
      if (payload === undefined) return
      bounded(payload, input)
      const again = decodePayloads(type, encodePayloads([payload]).bytes)
      if (!again.ok) throw again.error
      holds(
        same(withoutMarks(again.value), withoutMarks([payload])),
        'a payload survives writing and reading'
      )
      examine(payload, input)
    }
  }
}

/** Bodies of all recorded payloads of a kind. */
function bodiesOf(type: number): Uint8Array[] {
  const outer = recordedMessages().flatMap((bytes) => {
    const decoded = decodeMessage(bytes)
    return decoded.ok ? decoded.message.payloads : []
  })
  const inner = recordedChains().flatMap(({ firstType, bytes }) => {
    const decoded = decodePayloads(firstType, bytes)
    return decoded.ok ? decoded.value : []
  })
  const found = [...outer, ...inner].filter((payload) => payload.type === type)
  const bodies = found.map((payload) => encodePayloads([payload]).bytes.slice(4))
  return bodies.length > 0 ? bodies.slice(0, 200) : [Uint8Array.of(0, 0, 0, 0)]
}

/** Of a gateway that may send no more than its share of them. */
function examineSelectors(selectors: readonly TrafficSelector[], input: Uint8Array): void {
  bounded(formatTrafficSelectors(selectors), input)
  const few = selectors.slice(0, 8)
  for (const selector of few) {
    const blocks = selectorToCidrs(selector)
    holds(blocks.length <= 2 * selector.startAddress.length * 8, 'a range has few blocks')
    const text = formatTrafficSelectors([selector])
    const parsed = parseTrafficSelector(text)
    if (parsed !== undefined) holds(same(parsed, selector), `${text} means what it was made of`)
  }
  const common = intersectSelectors(few, selectors)
  holds(selectorsContain(selectors, common), 'what is common lies in both')
  compileSelectors(selectors, common)
}

const configPayload = payloadTarget('cp', PayloadType.CP, (payload, input) => {
  const assigned = readAssignedConfig(payload as ConfigPayload)
  bounded(assigned, input)
  for (const domain of assigned.dnsDomains) holds(isDomainName(domain), 'a domain is one')
  for (const address of [...assigned.dns, ...assigned.addresses.map((one) => one.address)])
    holds(addressToBytes(address) !== undefined, 'an address is one')
})

const notifyData: FuzzTarget = {
  name: 'ike-notify-data',
  covers: [
    'ike/tasks/counter-sync-data.ts#readMessageIdSync',
    'ike/tasks/init-common.ts#readUint16List',
    'ike/redirect.ts#readRedirect',
    'wire/ike-helpers.ts#spiFromBytes',
    'wire/ike-helpers.ts#espSpiFromBytes'
  ],
  weight: 8,
  corpus: () => [
    Uint8Array.of(1, 2, 3, 4, 0, 0, 0, 5, 0, 0, 0, 6),
    Uint8Array.of(0, 2, 0, 3, 0, 4, 0, 5),
    ...['gw2.example.org', '203.0.113.9', '2001:db8::9'].map((to) =>
      Uint8Array.from(redirectNotify(to, new Uint8Array(20).fill(7)).data)
    )
  ],
  open: () => (input) => {
    const redirection = readRedirect(input)
    if (redirection !== undefined) {
      bounded(redirection, input)
      const { to, nonce } = redirection
      holds(isDomainName(to) || addressToBytes(to) !== undefined, 'it leads to a name or an address')
      holds(
        same(readRedirect(redirectNotify(to, nonce).data)?.to, to),
        'a redirection survives writing and reading'
      )
    }
    const ike = spiFromBytes(input)
    holds(ike === undefined || same(spiToBytes(ike), input), 'an SPI survives reading and writing')
    const esp = espSpiFromBytes(input)
    holds(esp === undefined || same(espSpiToBytes(esp), input), 'an SPI survives reading and writing')
    bounded(readUint16List(input), input)
    holds((readMessageIdSync(input) === undefined) === (input.length !== 12), 'twelve bytes are counters')
  }
}

const addressText: FuzzTarget = {
  name: 'address-text',
  covers: [
    'wire/address.ts#addressToBytes',
    'wire/cidr.ts#parseCidr',
    'wire/traffic-selectors.ts#parseTrafficSelector'
  ],
  weight: 8,
  maxLength: 300,
  corpus: () =>
    texts(
      '192.168.0.1',
      '10.0.0.0/8',
      '2001:db8::1',
      '::ffff:198.51.100.7',
      'fd00::/8',
      '10.0.0.0-10.0.0.255',
      '0.0.0.0/0[tcp/80]',
      '::/0[udp/1000-2000]',
      '10.1.0.0/16[icmp/opaque]',
      '1:2:3:4:5:6:7:8'
    ),
  dictionary: [
    '::',
    ':',
    '.',
    '/',
    '-',
    '[',
    ']',
    '%eth0',
    '0x',
    '255',
    '256',
    '00',
    'ffff',
    '__proto__',
    '\0'
  ],
  open: () => (input) => {
    const text = textOf(input)
    const address = addressToBytes(text)
    if (address !== undefined)
      holds(same(addressToBytes(addressFromBytes(address)), address), 'an address is read as it is written')
    const cidr = parseCidr(text)
    if (cidr !== undefined) holds(same(parseCidr(formatCidr(cidr)), cidr), 'a block is read as it is written')
    const selector = parseTrafficSelector(text)
    if (selector !== undefined) {
      const written = formatTrafficSelectors([selector])
      holds(same(parseTrafficSelector(written), selector), `${written} is read as it was written`)
    }
  }
}

export const WIRE_TARGETS: readonly FuzzTarget[] = [
  ikeHeader,
  ikeMessage,
  ikeInner,
  payloadTarget('sa', PayloadType.SA),
  payloadTarget('ke', PayloadType.KE),
  payloadTarget('id', PayloadType.IDi),
  payloadTarget('cert', PayloadType.CERT),
  payloadTarget('certreq', PayloadType.CERTREQ),
  payloadTarget('auth', PayloadType.AUTH),
  payloadTarget('nonce', PayloadType.NONCE),
  payloadTarget('notify', PayloadType.NOTIFY),
  payloadTarget('delete', PayloadType.DELETE),
  payloadTarget('vendor', PayloadType.VENDOR_ID),
  payloadTarget(
    'ts',
    PayloadType.TSi,
    (payload, input) => {
      if (payload.type === PayloadType.TSi) examineSelectors(payload.selectors, input)
    },
    1
  ),
  configPayload,
  payloadTarget('eap', PayloadType.EAP),
  notifyData,
  addressText
]
