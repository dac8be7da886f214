/**
 * As much of DNS messages (RFC 1035 section 4) as a name server needs that knows a few addresses.
 * @module
 */
import { addressToBytes } from '../../wire/address.ts'

const HEADER_LENGTH = 12
const MAX_LABEL_LENGTH = 63
export const RecordType = { A: 1, AAAA: 28 } as const
const CLASS_INTERNET = 1
const TTL_S = 5
/** Response, authoritative, recursion desired as asked and available. */
const RESPONSE_FLAGS = 0x8480
const ResponseCode = { NO_ERROR: 0, FORMAT_ERROR: 1, NO_SUCH_NAME: 3 } as const

export interface Question {
  /** In lower case, without the last dot. */
  readonly name: string
  readonly type: number
  /** Where the question ends in the message. */
  readonly end: number
}

/** The one question of a query; undefined for anything else. */
export function readQuestion(message: Uint8Array): Question | undefined {
  if (message.length < HEADER_LENGTH || ((message[2] ?? 0) & 0x80) !== 0) return undefined
  if ((((message[4] ?? 0) << 8) | (message[5] ?? 0)) !== 1) return undefined
  const labels: string[] = []
  let at = HEADER_LENGTH
  for (;;) {
    const length = message[at]
    if (length === undefined || length > MAX_LABEL_LENGTH) return undefined
    at++
    if (length === 0) break
    if (at + length > message.length) return undefined
    labels.push(
      Buffer.from(message.subarray(at, at + length))
        .toString('latin1')
        .toLowerCase()
    )
    at += length
  }
  if (at + 4 > message.length) return undefined
  const type = ((message[at] ?? 0) << 8) | (message[at + 1] ?? 0)
  return { name: labels.join('.'), type, end: at + 4 }
}

/**
 * The answer to a query.
 * @param addresses all that the name has, of both families; undefined: there is no such name
 */
export function answerQuestion(
  query: Uint8Array,
  { type, end }: Question,
  addresses: readonly string[] | undefined
): Uint8Array {
  const wanted = type === RecordType.A ? 4 : type === RecordType.AAAA ? 16 : 0
  const records = (addresses ?? [])
    .map((address) => addressToBytes(address))
    .filter((bytes) => bytes !== undefined && bytes.length === wanted)
    .map((bytes) => resourceRecord(type, bytes ?? new Uint8Array(0)))
  const head = Buffer.from(query.subarray(0, end))
  const code = addresses === undefined ? ResponseCode.NO_SUCH_NAME : ResponseCode.NO_ERROR
  head.writeUInt16BE(RESPONSE_FLAGS | (head.readUInt16BE(2) & 0x0100) | code, 2)
  head.writeUInt16BE(1, 4)
  head.writeUInt16BE(records.length, 6)
  head.writeUInt32BE(0, 8)
  return Buffer.concat([head, ...records])
}

function resourceRecord(type: number, data: Uint8Array): Buffer {
  const fixed = Buffer.alloc(12)
  // The name: a pointer to that of the question (section 4.1.4).
  fixed.writeUInt16BE(0xc000 | HEADER_LENGTH, 0)
  fixed.writeUInt16BE(type, 2)
  fixed.writeUInt16BE(CLASS_INTERNET, 4)
  fixed.writeUInt32BE(TTL_S, 6)
  fixed.writeUInt16BE(data.length, 10)
  return Buffer.concat([fixed, data])
}
