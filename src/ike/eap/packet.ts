/**
 * EAP packets (RFC 3748 section 4) as bytes and back.
 * @module
 */
import { EapCode, EapType } from '../../wire/ike-constants.ts'

const HEADER_LENGTH = 4

export interface EapPacket {
  readonly code: number
  readonly identifier: number
  /** Requests and responses only. */
  readonly type: number | undefined
  /** What follows the Type field; of a Success or Failure nothing. */
  readonly data: Uint8Array
}

/** @returns undefined if the header is cut short, the length lies, or a request or response has no type */
export function decodeEapPacket(bytes: Uint8Array): EapPacket | undefined {
  if (bytes.length < HEADER_LENGTH) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const code = view.getUint8(0)
  const identifier = view.getUint8(1)
  const length = view.getUint16(2)
  if (length < HEADER_LENGTH || length > bytes.length) return undefined
  if (code === EapCode.SUCCESS || code === EapCode.FAILURE) {
    return { code, identifier, type: undefined, data: new Uint8Array(0) }
  }
  if (code !== EapCode.REQUEST && code !== EapCode.RESPONSE) return undefined
  if (length < HEADER_LENGTH + 1) return undefined
  // Bytes after Length are padding of the lower layer (RFC 3748 section 4).
  return { code, identifier, type: view.getUint8(4), data: bytes.subarray(HEADER_LENGTH + 1, length) }
}

export function encodeEapRequest(identifier: number, type: number, data: Uint8Array): Uint8Array {
  return encode(EapCode.REQUEST, identifier, type, data)
}

export function encodeEapResponse(identifier: number, type: number, data: Uint8Array): Uint8Array {
  return encode(EapCode.RESPONSE, identifier, type, data)
}

/** A Success or a Failure; `identifier` is that of the response which it answers (RFC 3748 section 4.2). */
export function encodeEapResult(
  code: typeof EapCode.SUCCESS | typeof EapCode.FAILURE,
  identifier: number
): Uint8Array {
  return Uint8Array.of(code, identifier, 0, HEADER_LENGTH)
}

/** A name for logs and errors. */
export function eapMethodName(type: number): string {
  switch (type) {
    case EapType.MSCHAPV2:
      return 'EAP-MSCHAPv2'
    case EapType.TLS:
      return 'EAP-TLS'
    case EapType.GTC:
      return 'EAP-GTC'
    case EapType.MD5_CHALLENGE:
      return 'EAP-MD5'
    case EapType.TTLS:
      return 'EAP-TTLS'
    case 25:
      return 'PEAP'
    default:
      return `EAP type ${type}`
  }
}

function encode(code: number, identifier: number, type: number, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER_LENGTH + 1 + data.length)
  const view = new DataView(bytes.buffer)
  view.setUint8(0, code)
  view.setUint8(1, identifier)
  view.setUint16(2, bytes.length)
  view.setUint8(4, type)
  bytes.set(data, HEADER_LENGTH + 1)
  return bytes
}
