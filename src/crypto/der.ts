/**
 * The little of DER (ITU-T X.690) that certificates and signature algorithm identifiers need: a writer, and a strict
 * reader that never throws.
 * @module
 */

export const DerTag = {
  BOOLEAN: 0x01,
  INTEGER: 0x02,
  BIT_STRING: 0x03,
  OCTET_STRING: 0x04,
  NULL: 0x05,
  OBJECT_IDENTIFIER: 0x06,
  ENUMERATED: 0x0a,
  UTF8_STRING: 0x0c,
  PRINTABLE_STRING: 0x13,
  IA5_STRING: 0x16,
  UTC_TIME: 0x17,
  GENERALIZED_TIME: 0x18,
  SEQUENCE: 0x30,
  SET: 0x31
} as const

/** Context-specific tag `[number]`, constructed (EXPLICIT, or IMPLICIT of something constructed) or primitive. */
export function contextTag(number: number, constructed = true): number {
  return (constructed ? 0xa0 : 0x80) | number
}

function encodeLength(length: number): Uint8Array {
  if (length < 0x80) return Uint8Array.of(length)
  const bytes: number[] = []
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256)
  return Uint8Array.of(0x80 | bytes.length, ...bytes)
}

/** One element: tag, length, and the contents one after the other. */
export function der(tag: number, ...contents: readonly Uint8Array[]): Uint8Array {
  const length = contents.reduce((sum, part) => sum + part.length, 0)
  return Buffer.concat([Uint8Array.of(tag), encodeLength(length), ...contents])
}

export function derSequence(...contents: readonly Uint8Array[]): Uint8Array {
  return der(DerTag.SEQUENCE, ...contents)
}

/** SET OF: elements in ascending order of their encodings (X.690 section 11.6). */
export function derSet(...contents: readonly Uint8Array[]): Uint8Array {
  return der(DerTag.SET, ...[...contents].sort(Buffer.compare))
}

export function derBoolean(value: boolean): Uint8Array {
  return der(DerTag.BOOLEAN, Uint8Array.of(value ? 0xff : 0))
}

export function derNull(): Uint8Array {
  return der(DerTag.NULL)
}

/** A non-negative INTEGER, from a number or from big-endian bytes. */
export function derInteger(value: number | Uint8Array): Uint8Array {
  let hex = typeof value === 'number' ? value.toString(16) : Buffer.from(value).toString('hex')
  hex = hex.replace(/^0+/, '') || '0'
  if (hex.length % 2 === 1) hex = `0${hex}`
  const bytes = Buffer.from(hex, 'hex')
  const negative = (bytes[0] ?? 0) >= 0x80
  return der(DerTag.INTEGER, negative ? Buffer.concat([Uint8Array.of(0), bytes]) : bytes)
}

/** BIT STRING; `unusedBits` counts the low bits of the last byte that do not belong to it. */
export function derBitString(bytes: Uint8Array, unusedBits = 0): Uint8Array {
  return der(DerTag.BIT_STRING, Uint8Array.of(unusedBits), bytes)
}

/** A named-bit list such as KeyUsage: bit 0 is the first; trailing zero bits are left out. */
export function derNamedBits(bits: readonly number[]): Uint8Array {
  if (bits.length === 0) return derBitString(new Uint8Array(0))
  const highest = Math.max(...bits)
  const bytes = new Uint8Array((highest >> 3) + 1)
  for (const bit of bits) bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) | (0x80 >> (bit & 7))
  return derBitString(bytes, 7 - (highest & 7))
}

export function derOctetString(bytes: Uint8Array): Uint8Array {
  return der(DerTag.OCTET_STRING, bytes)
}

/** OBJECT IDENTIFIER from dotted text. */
export function derOid(text: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = text.split('.').map(Number)
  const bytes: number[] = []
  for (const arc of [first * 40 + second, ...rest]) {
    const groups = [arc % 128]
    for (let high = Math.floor(arc / 128); high > 0; high = Math.floor(high / 128))
      groups.unshift((high % 128) | 0x80)
    bytes.push(...groups)
  }
  return der(DerTag.OBJECT_IDENTIFIER, Uint8Array.from(bytes))
}

export function derUtf8(text: string): Uint8Array {
  return der(DerTag.UTF8_STRING, Buffer.from(text, 'utf8'))
}

/** Time as certificates write it: UTCTime up to 2049, GeneralizedTime from 2050 on (RFC 5280 section 4.1.2.5). */
export function derTime(atMs: number): Uint8Array {
  const digits = `${new Date(atMs).toISOString().slice(0, 19).replaceAll(/[-:T]/g, '')}Z`
  const year = Number(digits.slice(0, 4))
  return year >= 1950 && year < 2050
    ? der(DerTag.UTC_TIME, Buffer.from(digits.slice(2), 'ascii'))
    : der(DerTag.GENERALIZED_TIME, Buffer.from(digits, 'ascii'))
}

/** One element as it was read. */
export interface DerElement {
  readonly tag: number
  readonly contents: Uint8Array
  /** Tag, length and contents. */
  readonly encoding: Uint8Array
}

/**
 * The element at `offset`; undefined when it is not DER: high tag numbers, indefinite or non-minimal lengths, or
 * contents that run past the end.
 */
export function readDer(bytes: Uint8Array, offset = 0): DerElement | undefined {
  const tag = bytes[offset]
  const first = bytes[offset + 1]
  if (tag === undefined || first === undefined || (tag & 0x1f) === 0x1f) return undefined
  let length = first
  let header = 2
  if (first >= 0x80) {
    const count = first & 0x7f
    if (count === 0 || count > 4) return undefined
    length = 0
    for (let index = 0; index < count; index++) {
      const byte = bytes[offset + 2 + index]
      if (byte === undefined || (index === 0 && byte === 0)) return undefined
      length = length * 256 + byte
    }
    if (length < 0x80) return undefined
    header += count
  }
  const end = offset + header + length
  if (end > bytes.length) return undefined
  return { tag, contents: bytes.subarray(offset + header, end), encoding: bytes.subarray(offset, end) }
}

/** All elements that `bytes` consists of; undefined when any of them is not DER, or bytes are left over. */
export function readDerAll(bytes: Uint8Array): DerElement[] | undefined {
  const elements: DerElement[] = []
  for (let offset = 0; offset < bytes.length; ) {
    const element = readDer(bytes, offset)
    if (element === undefined) return undefined
    elements.push(element)
    offset += element.encoding.length
  }
  return elements
}

/** The elements of the one SEQUENCE that `bytes` is; undefined when it is anything else. */
export function readDerSequence(bytes: Uint8Array): DerElement[] | undefined {
  const element = readDer(bytes)
  if (element?.tag !== DerTag.SEQUENCE || element.encoding.length !== bytes.length) return undefined
  return readDerAll(element.contents)
}
