/**
 * IKEv2 messages to bytes and back (RFC 7296 section 3): the header and the chain of payloads.
 *
 *     generic payload header: Next Payload | C + reserved | Payload Length (2, with this header)
 *
 * Decoders never throw on what they are given: they answer with a `WireError` that says where and why, and which
 * notify answers it. Decoded values own their bytes: they stay valid when the receive buffer is used again.
 * The critical bit is ignored on known payloads and sent as zero; unknown payloads are kept as they came.
 * @module
 */
import { InternalError } from '../errors.ts'
import { type DecodeResult, decodeResult, type WireError } from './errors.ts'
import { PayloadType } from './ike-constants.ts'
import {
  type DecodedHeader,
  IKE_HEADER_LENGTH,
  IKE_LENGTH_OFFSET,
  readHeader,
  readMessageHeader,
  writeHeader
} from './ike-header.ts'
import type { IkeHeader, IkeMessage, Payload } from './ike-message.ts'
import { readPayloadBody, writePayloadBody } from './ike-payloads.ts'
import { Reader } from './reader.ts'
import { Writer } from './writer.ts'

export { IKE_HEADER_LENGTH } from './ike-header.ts'

/** Payloads in one message, or inside one SK payload. */
export const MAX_PAYLOADS = 256
export const PAYLOAD_HEADER_LENGTH = 4
/** Fragment Number and Total Fragments of SKF (RFC 7383 section 2.5). */
export const FRAGMENT_FIELDS_LENGTH = 4

const CRITICAL_BIT = 0x80

export type HeaderResult =
  | ({ readonly ok: true } & DecodedHeader)
  | { readonly ok: false; readonly error: WireError }

export type MessageResult =
  | {
      readonly ok: true
      readonly message: IkeMessage
      /**
       * Offset in the message of the encrypted body (`iv | ciphertext | ICV`), when the last payload is SK or SKF.
       * Everything before it is what an AEAD takes as associated data (RFC 5282 section 5.1, RFC 7383 section 2.5).
       */
      readonly encryptedOffset?: number
    }
  | { readonly ok: false; readonly error: WireError }

/** Reads the 28-byte header alone. Version and Length are reported, not judged; bytes may follow. */
export function decodeHeader(bytes: Uint8Array): HeaderResult {
  const result = decodeResult(() => readHeader(new Reader(bytes, 'header')))
  return result.ok ? { ok: true, ...result.value } : result
}

/**
 * Reads a whole message: the header and every cleartext payload, up to and including SK or SKF, which must be last.
 * The header's Length must be that of `bytes`.
 */
export function decodeMessage(bytes: Uint8Array): MessageResult {
  const result = decodeResult((): { message: IkeMessage; encryptedOffset?: number } => {
    const { header, firstPayload } = readMessageHeader(bytes)
    const own = new Uint8Array(bytes)
    const payloads = readChain(firstPayload, new Reader(own, '', IKE_HEADER_LENGTH), false)
    const message: IkeMessage = { header, payloads }
    const last = payloads.at(-1)
    if (last === undefined || (last.type !== PayloadType.SK && last.type !== PayloadType.SKF)) {
      return { message }
    }
    return { message, encryptedOffset: own.length - last.body.length }
  })
  return result.ok ? { ok: true, ...result.value } : result
}

/** Reads the payloads inside SK: the decrypted contents without padding and pad length. No SK inside SK. */
export function decodePayloads(firstType: number, bytes: Uint8Array): DecodeResult<Payload[]> {
  return decodeResult(() => readChain(firstType, new Reader(new Uint8Array(bytes), ''), true))
}

/**
 * Writes payloads for the inside of SK.
 * @returns the type that goes into SK's Next Payload, and the chain
 * @throws InternalError when a value does not fit its field
 */
export function encodePayloads(payloads: readonly Payload[]): { firstType: number; bytes: Uint8Array } {
  const w = new Writer()
  writeChain(w, payloads)
  return { firstType: firstTypeOf(payloads), bytes: w.finish() }
}

/**
 * Writes a whole message as it stands; payloads of type SK or SKF are written with the body they have.
 * @throws InternalError when a value does not fit its field
 */
export function encodeMessage(message: IkeMessage): Uint8Array {
  const w = new Writer()
  writeHeader(w, message.header, firstTypeOf(message.payloads), 0)
  writeChain(w, message.payloads)
  w.patchU32(IKE_LENGTH_OFFSET, w.length)
  return w.finish()
}

/**
 * Writes everything of a protected message that precedes `iv | ciphertext | ICV`: the IKE header and the header of
 * SK, or of SKF when `fragment` is given, with final lengths.
 * @param firstInner type of the first payload inside; fragments after the first carry 0 instead (RFC 7383 section 2.5)
 * @param bodyLength bytes of `iv | ciphertext | ICV`
 * @param outer payloads in front of SK, which are authenticated and not encrypted
 */
export function encodeEncrypted(
  header: IkeHeader,
  firstInner: number,
  bodyLength: number,
  fragment?: { readonly number: number; readonly total: number },
  outer: readonly Payload[] = []
): Uint8Array {
  const payloadLength = PAYLOAD_HEADER_LENGTH + (fragment ? FRAGMENT_FIELDS_LENGTH : 0) + bodyLength
  const w = new Writer(IKE_HEADER_LENGTH + PAYLOAD_HEADER_LENGTH + FRAGMENT_FIELDS_LENGTH)
  const type = fragment ? PayloadType.SKF : PayloadType.SK
  writeHeader(w, header, outer[0] === undefined ? type : payloadTypeOf(outer[0]), 0)
  writeChain(w, outer, type)
  w.patchU32(IKE_LENGTH_OFFSET, w.length + payloadLength)
  w.u8(fragment && fragment.number > 1 ? PayloadType.NONE : firstInner)
  w.u8(0)
  w.u16(payloadLength)
  if (fragment) {
    w.u16(fragment.number)
    w.u16(fragment.total)
  }
  return w.finish()
}

function readChain(firstType: number, r: Reader, isInner: boolean): Payload[] {
  const payloads: Payload[] = []
  let type = firstType
  while (type !== PayloadType.NONE) {
    const name = payloadName(type)
    if (payloads.length === MAX_PAYLOADS) throw r.syntaxError(`more than ${MAX_PAYLOADS} payloads`)
    const isEncrypted = type === PayloadType.SK || type === PayloadType.SKF
    if (isEncrypted && isInner) throw r.syntaxError('stands inside an encrypted payload', name)
    const nextPayload = r.u8(name)
    const critical = (r.u8(name) & CRITICAL_BIT) !== 0
    const length = r.u16(name)
    if (length < PAYLOAD_HEADER_LENGTH) throw r.syntaxError(`has length ${length}`, name)
    const body = r.sub(length - PAYLOAD_HEADER_LENGTH, name)
    payloads.push(readPayloadBody(type, critical, nextPayload, body))
    if (isEncrypted) break
    type = nextPayload
  }
  r.expectEnd()
  return payloads
}

/** @param last what follows the last payload */
function writeChain(w: Writer, payloads: readonly Payload[], last: number = PayloadType.NONE): void {
  payloads.forEach((payload, index) => {
    const next = payloads[index + 1]
    const start = w.length
    if (payload.type === PayloadType.SK || payload.type === PayloadType.SKF) {
      if (next) throw new InternalError('wire-order', 'An encrypted payload must be the last of its message.')
      w.u8(payload.firstInner)
    } else {
      w.u8(next ? payloadTypeOf(next) : last)
    }
    w.u8(payload.type === 'unknown' && payload.critical ? CRITICAL_BIT : 0)
    w.u16(0)
    writePayloadBody(w, payload)
    w.patchU16(start + 2, w.length - start)
  })
}

function firstTypeOf(payloads: readonly Payload[]): number {
  const first = payloads[0]
  return first ? payloadTypeOf(first) : PayloadType.NONE
}

function payloadTypeOf(payload: Payload): number {
  return payload.type === 'unknown' ? payload.payloadType : payload.type
}

const PAYLOAD_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(PayloadType).map(([name, type]) => [type, name])
)

function payloadName(type: number): string {
  return PAYLOAD_NAMES.get(type) ?? `payload(${type})`
}
