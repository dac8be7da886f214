/**
 * One line about an IKE message for logs, such as `IKE_AUTH request 1 [ IDi CERT AUTH N(INITIAL_CONTACT) ]`.
 *
 * Only types and numbers: no identity, no key material, and no text that a peer chose.
 * @module
 */
import {
  CertEncoding,
  ConfigType,
  EapCode,
  EapType,
  ExchangeType,
  NotifyType,
  nameOf,
  PayloadType,
  ProtocolId
} from './ike-constants.ts'
import type { IkeHeader, IkeMessage, Payload } from './ike-message.ts'

/** More payloads than this are only counted. */
const MAX_SHOWN = 32

export function formatIkeMessage(message: IkeMessage): string {
  return `${formatIkeHeader(message.header)} ${formatPayloads(message.payloads)}`
}

/** Exchange, direction and Message ID. */
export function formatIkeHeader(header: IkeHeader): string {
  const exchange = nameOf(ExchangeType, header.exchangeType, 'EXCHANGE')
  return `${exchange} ${header.isResponse ? 'response' : 'request'} ${header.messageId}`
}

export function formatPayloads(payloads: readonly Payload[]): string {
  const shown = payloads.slice(0, MAX_SHOWN).map(formatPayload)
  if (payloads.length > MAX_SHOWN) shown.push(`+${payloads.length - MAX_SHOWN} more`)
  return shown.length === 0 ? '[ ]' : `[ ${shown.join(' ')} ]`
}

function formatPayload(payload: Payload): string {
  switch (payload.type) {
    case PayloadType.NOTIFY:
      return `N(${nameOf(NotifyType, payload.notifyType, 'TYPE')})`
    case PayloadType.DELETE: {
      const protocol = nameOf(ProtocolId, payload.protocolId)
      return payload.spis.length > 1 ? `D(${protocol} x${payload.spis.length})` : `D(${protocol})`
    }
    case PayloadType.CERT:
      return payload.encoding === CertEncoding.X509_SIGNATURE
        ? 'CERT'
        : `CERT(${nameOf(CertEncoding, payload.encoding, 'ENCODING')})`
    case PayloadType.CP:
      return `CP(${nameOf(ConfigType, payload.cfgType, 'TYPE')})`
    case PayloadType.EAP:
      return formatEap(payload.packet)
    case PayloadType.SKF:
      return `SKF(${payload.fragmentNumber}/${payload.totalFragments})`
    case 'unknown':
      return `${nameOf(PayloadType, payload.payloadType, 'PAYLOAD')}${payload.critical ? '!' : ''}`
    default:
      return nameOf(PayloadType, payload.type)
  }
}

/** Code, and for requests and responses the type (RFC 3748 section 4). */
function formatEap(packet: Uint8Array): string {
  const [code, , , , type] = packet
  if (code === undefined) return 'EAP'
  const codeName = nameOf(EapCode, code, 'CODE')
  const hasType = code === EapCode.REQUEST || code === EapCode.RESPONSE
  return type === undefined || !hasType
    ? `EAP(${codeName})`
    : `EAP(${codeName} ${nameOf(EapType, type, 'TYPE')})`
}
