/**
 * The IKE header (RFC 7296 section 3.1):
 *
 *     SPIi (8) | SPIr (8) | Next Payload | Version | Exchange Type | Flags | Message ID (4) | Length (4)
 * @module
 */
import { WireError } from './errors.ts'
import { NotifyType } from './ike-constants.ts'
import type { IkeHeader } from './ike-message.ts'
import { Reader } from './reader.ts'
import type { Writer } from './writer.ts'

export const IKE_HEADER_LENGTH = 28
/** Offset of the 32-bit Length in the header. */
export const IKE_LENGTH_OFFSET = 24

const FLAG_INITIATOR = 0x08
const FLAG_RESPONSE = 0x20

export interface DecodedHeader {
  readonly header: IkeHeader
  /** Type of the first payload, 0: none. */
  readonly firstPayload: number
  /** Length of the whole message as the header tells it. */
  readonly length: number
}

/** Reads the header; neither Version nor Length is judged. Reserved flags and the V flag are ignored. */
export function readHeader(r: Reader): DecodedHeader {
  const spiI = r.u64('SPIi')
  const spiR = r.u64('SPIr')
  const firstPayload = r.u8('nextPayload')
  const version = r.u8('version')
  const exchangeType = r.u8('exchangeType')
  const flags = r.u8('flags')
  const messageId = r.u32('messageId')
  const length = r.u32('length')
  return {
    header: {
      spiI,
      spiR,
      majorVersion: version >>> 4,
      minorVersion: version & 0x0f,
      exchangeType,
      fromInitiator: (flags & FLAG_INITIATOR) !== 0,
      isResponse: (flags & FLAG_RESPONSE) !== 0,
      messageId
    },
    firstPayload,
    length
  }
}

/** Reads the header of a whole message and checks its major version and Length (RFC 7296 sections 2.5, 3.1). */
export function readMessageHeader(bytes: Uint8Array): DecodedHeader {
  const decoded = readHeader(new Reader(bytes, 'header'))
  if (decoded.header.majorVersion !== 2) {
    throw new WireError(`major version ${decoded.header.majorVersion} is not 2`, {
      offset: 17,
      path: 'header.version',
      // Only higher versions are answered: an IKEv1 peer could not read the answer.
      notifyType: decoded.header.majorVersion > 2 ? NotifyType.INVALID_MAJOR_VERSION : undefined
    })
  }
  if (decoded.length !== bytes.length) {
    throw new WireError(`says ${decoded.length} bytes, the message has ${bytes.length}`, {
      offset: IKE_LENGTH_OFFSET,
      need: decoded.length,
      have: bytes.length,
      path: 'header.length',
      notifyType: NotifyType.INVALID_SYNTAX
    })
  }
  return decoded
}

export function writeHeader(w: Writer, header: IkeHeader, firstPayload: number, length: number): void {
  w.u64(header.spiI)
  w.u64(header.spiR)
  w.u8(firstPayload)
  w.u8((header.majorVersion << 4) | header.minorVersion)
  w.u8(header.exchangeType)
  w.u8((header.fromInitiator ? FLAG_INITIATOR : 0) | (header.isResponse ? FLAG_RESPONSE : 0))
  w.u32(header.messageId)
  w.u32(length)
}
