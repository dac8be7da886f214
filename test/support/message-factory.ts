/**
 * IKEv2 messages as bytes, written straight from the diagrams of RFC 7296 section 3 and sharing nothing with the
 * encoder under test: plain arrays of octets, no cursor, no patching of lengths.
 * @module
 */
import type {
  IkeHeader,
  IkeMessage,
  Payload,
  Proposal,
  TrafficSelector,
  Transform
} from '../../src/wire/ike-message.ts'

export type Octets = readonly number[]

/** An unsigned number in `width` octets, big-endian. */
export function be(value: number | bigint, width: number): number[] {
  const hex = BigInt(value)
    .toString(16)
    .padStart(width * 2, '0')
  return Array.from({ length: width }, (_, i) => Number.parseInt(hex.slice(i * 2, i * 2 + 2), 16))
}

export function fromHex(hex: string): Uint8Array {
  const digits = hex.replaceAll(/\s/g, '')
  return Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16))
}

export function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

export interface RawPayload {
  readonly type: number
  readonly body: Octets
  readonly critical?: boolean
  /** Instead of the right value. */
  readonly nextPayload?: number
  readonly length?: number
}

/** Generic header and body of each payload, in a chain. */
export function rawChain(payloads: readonly RawPayload[]): number[] {
  return payloads.flatMap(({ body, critical, nextPayload, length }, i) => [
    nextPayload ?? payloads[i + 1]?.type ?? 0,
    critical ? 0x80 : 0,
    ...be(length ?? body.length + 4, 2),
    ...body
  ])
}

export interface RawMessage {
  readonly header?: Partial<IkeHeader>
  readonly payloads?: readonly RawPayload[]
  /** Instead of the right values. */
  readonly firstPayload?: number
  readonly length?: number
  readonly trailing?: Octets
}

const DEFAULT_HEADER: IkeHeader = {
  spiI: 0x0102030405060708n,
  spiR: 0n,
  majorVersion: 2,
  minorVersion: 0,
  exchangeType: 34,
  fromInitiator: true,
  isResponse: false,
  messageId: 0
}

export function rawMessage(raw: RawMessage): Uint8Array {
  const header = { ...DEFAULT_HEADER, ...raw.header }
  const body = [...rawChain(raw.payloads ?? []), ...(raw.trailing ?? [])]
  return Uint8Array.from([
    ...be(header.spiI, 8),
    ...be(header.spiR, 8),
    raw.firstPayload ?? raw.payloads?.[0]?.type ?? 0,
    header.majorVersion * 16 + header.minorVersion,
    header.exchangeType,
    (header.fromInitiator ? 0b0000_1000 : 0) + (header.isResponse ? 0b0010_0000 : 0),
    ...be(header.messageId, 4),
    ...be(raw.length ?? 28 + body.length, 4),
    ...body
  ])
}

/** A decoded message as the octets that RFC 7296 says it has. */
export function messageOctets(message: IkeMessage): Uint8Array {
  return rawMessage({ header: message.header, payloads: message.payloads.map(rawPayload) })
}

/** A decoded payload as type and body. */
export function rawPayload(payload: Payload): RawPayload {
  switch (payload.type) {
    case 33:
      return { type: 33, body: payload.proposals.flatMap(proposalOctets) }
    case 34:
      return { type: 34, body: [...be(payload.group, 2), 0, 0, ...payload.data] }
    case 35:
    case 36:
      return { type: payload.type, body: [payload.idType, 0, 0, 0, ...payload.data] }
    case 37:
      return { type: 37, body: [payload.encoding, ...payload.data] }
    case 38:
      return { type: 38, body: [payload.encoding, ...payload.authorities] }
    case 39:
      return { type: 39, body: [payload.method, 0, 0, 0, ...payload.data] }
    case 40:
    case 43:
    case 54:
      return { type: payload.type, body: [...payload.data] }
    case 41: {
      const { protocolId, spi, notifyType, data } = payload
      return { type: 41, body: [protocolId, spi.length, ...be(notifyType, 2), ...spi, ...data] }
    }
    case 42: {
      const size = payload.protocolId === 1 ? 0 : 4
      const spis = payload.spis.flatMap((spi) => [...spi])
      return { type: 42, body: [payload.protocolId, size, ...be(payload.spis.length, 2), ...spis] }
    }
    case 44:
    case 45: {
      const { type, selectors } = payload
      return { type, body: [selectors.length, 0, 0, 0, ...selectors.flatMap(selectorOctets)] }
    }
    case 46:
      return { type: 46, body: [...payload.body], nextPayload: payload.firstInner }
    case 47: {
      const attributes = payload.attributes.flatMap(({ type, value }) => [
        ...be(type, 2),
        ...be(value.length, 2),
        ...value
      ])
      return { type: 47, body: [payload.cfgType, 0, 0, 0, ...attributes] }
    }
    case 48:
      return { type: 48, body: [...payload.packet] }
    case 53: {
      const { fragmentNumber, totalFragments, body, firstInner } = payload
      const fields = [...be(fragmentNumber, 2), ...be(totalFragments, 2)]
      return { type: 53, body: [...fields, ...body], nextPayload: firstInner }
    }
    case 'unknown':
      return { type: payload.payloadType, body: [...payload.body], critical: payload.critical }
  }
}

function proposalOctets(proposal: Proposal, index: number, all: readonly Proposal[]): number[] {
  const transforms = proposal.transforms.flatMap(transformOctets)
  const { number, protocolId, spi } = proposal
  return [
    index < all.length - 1 ? 2 : 0,
    0,
    ...be(8 + spi.length + transforms.length, 2),
    number,
    protocolId,
    spi.length,
    proposal.transforms.length,
    ...spi,
    ...transforms
  ]
}

function transformOctets(transform: Transform, index: number, all: readonly Transform[]): number[] {
  const attributes =
    transform.keyLengthBits === undefined ? [] : [0x80, 14, ...be(transform.keyLengthBits, 2)]
  return [
    index < all.length - 1 ? 3 : 0,
    0,
    ...be(8 + attributes.length, 2),
    transform.type,
    0,
    ...be(transform.id, 2),
    ...attributes
  ]
}

function selectorOctets(selector: TrafficSelector): number[] {
  return [
    selector.family === 4 ? 7 : 8,
    selector.protocol,
    ...be(selector.family === 4 ? 16 : 40, 2),
    ...be(selector.startPort, 2),
    ...be(selector.endPort, 2),
    ...selector.startAddress,
    ...selector.endAddress
  ]
}
