/**
 * The bodies of single payloads, without the generic header (RFC 7296 sections 3.4 to 3.16, RFC 7383 section 2.5).
 * Reserved fields are sent as zero and ignored on receipt.
 * @module
 */
import { PayloadType, ProtocolId } from './ike-constants.ts'
import type {
  ConfigAttributeValue,
  ConfigPayload,
  DeletePayload,
  EncryptedFragmentPayload,
  NoncePayload,
  NotifyPayload,
  Payload
} from './ike-message.ts'
import { readProposals, writeProposals } from './ike-proposals.ts'
import { readTrafficSelectors, writeTrafficSelectors } from './ike-selectors.ts'
import type { Reader } from './reader.ts'
import type { Writer } from './writer.ts'

export const MAX_CONFIG_ATTRIBUTES = 256
export const MAX_DELETED_SPIS = 1024
/** RFC 7296 section 3.9. */
export const MIN_NONCE_LENGTH = 16
export const MAX_NONCE_LENGTH = 256

const ESP_SPI_LENGTH = 4
/** The high bit of a configuration attribute's type is reserved (RFC 7296 section 3.15.1). */
const CONFIG_TYPE_MASK = 0x7fff

/**
 * Reads the body of one payload; `r` spans exactly that body.
 * @param nextPayload the generic header's Next Payload: for SK and SKF the type of the first payload inside
 */
export function readPayloadBody(type: number, critical: boolean, nextPayload: number, r: Reader): Payload {
  switch (type) {
    case PayloadType.SA:
      return { type, proposals: readProposals(r) }
    case PayloadType.KE: {
      const group = r.u16('group')
      r.skip(2, 'reserved')
      return { type, group, data: r.rest() }
    }
    case PayloadType.IDi:
    case PayloadType.IDr:
      return { type, idType: readTypeAndReserved(r, 'idType'), data: r.rest() }
    case PayloadType.CERT:
      return { type, encoding: r.u8('encoding'), data: r.rest() }
    case PayloadType.CERTREQ:
      return { type, encoding: r.u8('encoding'), authorities: r.rest() }
    case PayloadType.AUTH:
      return { type, method: readTypeAndReserved(r, 'method'), data: r.rest() }
    case PayloadType.NONCE:
      return readNonce(r)
    case PayloadType.NOTIFY:
      return readNotify(r)
    case PayloadType.DELETE:
      return readDelete(r)
    case PayloadType.VENDOR_ID:
    case PayloadType.PS:
      return { type, data: r.rest() }
    case PayloadType.TSi:
    case PayloadType.TSr:
      return { type, selectors: readTrafficSelectors(r) }
    case PayloadType.SK:
      return { type, firstInner: nextPayload, body: r.rest() }
    case PayloadType.SKF:
      return readFragment(nextPayload, r)
    case PayloadType.CP:
      return readConfig(r)
    case PayloadType.EAP:
      return { type, packet: r.rest() }
    default:
      return { type: 'unknown', payloadType: type, critical, body: r.rest() }
  }
}

/** Writes the body of one payload. @throws InternalError when a value does not fit its field */
export function writePayloadBody(w: Writer, payload: Payload): void {
  switch (payload.type) {
    case PayloadType.SA:
      writeProposals(w, payload.proposals)
      break
    case PayloadType.KE:
      w.u16(payload.group)
      w.zeros(2)
      w.bytes(payload.data)
      break
    case PayloadType.IDi:
    case PayloadType.IDr:
      writeTypeAndData(w, payload.idType, payload.data)
      break
    case PayloadType.CERT:
      w.u8(payload.encoding)
      w.bytes(payload.data)
      break
    case PayloadType.CERTREQ:
      w.u8(payload.encoding)
      w.bytes(payload.authorities)
      break
    case PayloadType.AUTH:
      writeTypeAndData(w, payload.method, payload.data)
      break
    case PayloadType.NONCE:
    case PayloadType.VENDOR_ID:
    case PayloadType.PS:
      w.bytes(payload.data)
      break
    case PayloadType.NOTIFY:
      writeNotify(w, payload)
      break
    case PayloadType.DELETE:
      writeDelete(w, payload)
      break
    case PayloadType.TSi:
    case PayloadType.TSr:
      writeTrafficSelectors(w, payload.selectors)
      break
    case PayloadType.CP:
      writeConfig(w, payload)
      break
    case PayloadType.EAP:
      w.bytes(payload.packet)
      break
    case PayloadType.SKF:
      w.u16(payload.fragmentNumber)
      w.u16(payload.totalFragments)
      w.bytes(payload.body)
      break
    case PayloadType.SK:
    case 'unknown':
      w.bytes(payload.body)
      break
  }
}

function readTypeAndReserved(r: Reader, field: string): number {
  const value = r.u8(field)
  r.skip(3, 'reserved')
  return value
}

function writeTypeAndData(w: Writer, type: number, data: Uint8Array): void {
  w.u8(type)
  w.zeros(3)
  w.bytes(data)
}

function readNonce(r: Reader): NoncePayload {
  if (r.remaining < MIN_NONCE_LENGTH || r.remaining > MAX_NONCE_LENGTH) {
    throw r.syntaxError(`${r.remaining} bytes, not ${MIN_NONCE_LENGTH} to ${MAX_NONCE_LENGTH}`)
  }
  return { type: PayloadType.NONCE, data: r.rest() }
}

function readNotify(r: Reader): NotifyPayload {
  const protocolId = r.u8('protocolId')
  const spiSize = r.u8('spiSize')
  const notifyType = r.u16('notifyType')
  const spi = r.take(spiSize, 'spi')
  return { type: PayloadType.NOTIFY, protocolId, spi, notifyType, data: r.rest() }
}

function writeNotify(w: Writer, payload: NotifyPayload): void {
  w.u8(payload.protocolId)
  w.u8(payload.spi.length)
  w.u16(payload.notifyType)
  w.bytes(payload.spi)
  w.bytes(payload.data)
}

/** RFC 7296 section 3.11: the SPI size is zero for IKE and four for AH and ESP. */
function readDelete(r: Reader): DeletePayload {
  const protocolId = r.u8('protocolId')
  const spiSize = r.u8('spiSize')
  const count = r.u16('count')
  const type = PayloadType.DELETE
  if (protocolId === ProtocolId.IKE) {
    if (spiSize !== 0) throw r.syntaxError(`SPI size ${spiSize} for the IKE SA`)
    r.expectEnd()
    return { type, protocolId, spis: [] }
  }
  if (protocolId !== ProtocolId.ESP && protocolId !== ProtocolId.AH) {
    throw r.syntaxError(`unknown protocol ${protocolId}`)
  }
  if (spiSize !== ESP_SPI_LENGTH) throw r.syntaxError(`SPI size ${spiSize}, not ${ESP_SPI_LENGTH}`)
  if (count > MAX_DELETED_SPIS) throw r.syntaxError(`more than ${MAX_DELETED_SPIS} SPIs`)
  const spis: Uint8Array[] = []
  while (spis.length < count) spis.push(r.take(ESP_SPI_LENGTH, `spi[${spis.length}]`))
  r.expectEnd()
  return { type, protocolId, spis }
}

function writeDelete(w: Writer, payload: DeletePayload): void {
  w.u8(payload.protocolId)
  w.u8(payload.protocolId === ProtocolId.IKE ? 0 : ESP_SPI_LENGTH)
  w.u16(payload.spis.length)
  for (const spi of payload.spis) w.bytes(spi)
}

function readFragment(firstInner: number, r: Reader): EncryptedFragmentPayload {
  const fragmentNumber = r.u16('fragmentNumber')
  const totalFragments = r.u16('totalFragments')
  if (fragmentNumber === 0 || fragmentNumber > totalFragments) {
    throw r.syntaxError(`fragment ${fragmentNumber} of ${totalFragments}`)
  }
  return { type: PayloadType.SKF, firstInner, fragmentNumber, totalFragments, body: r.rest() }
}

function readConfig(r: Reader): ConfigPayload {
  const cfgType = readTypeAndReserved(r, 'cfgType')
  const attributes: ConfigAttributeValue[] = []
  while (r.remaining > 0) {
    if (attributes.length === MAX_CONFIG_ATTRIBUTES) {
      throw r.syntaxError(`more than ${MAX_CONFIG_ATTRIBUTES} attributes`)
    }
    const name = `attribute[${attributes.length}]`
    const type = r.u16(name) & CONFIG_TYPE_MASK
    const length = r.u16(name)
    attributes.push({ type, value: r.take(length, name) })
  }
  return { type: PayloadType.CP, cfgType, attributes }
}

function writeConfig(w: Writer, payload: ConfigPayload): void {
  w.u8(payload.cfgType)
  w.zeros(3)
  for (const attribute of payload.attributes) {
    w.u16(attribute.type & CONFIG_TYPE_MASK)
    w.u16(attribute.value.length)
    w.bytes(attribute.value)
  }
}
