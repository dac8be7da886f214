/**
 * X.501 distinguished names: text such as `C=CH, O=Example, CN=gateway` to DER and back (RFC 5280 section 4.1.2.4,
 * RFC 4514), and comparison (RFC 5280 section 7.1).
 *
 * Text is in the order of the encoding, as strongSwan and certificates' own dumps write it. Input may be hostile:
 * decoding answers undefined and never throws.
 * @module
 */
import {
  type DerElement,
  DerTag,
  der,
  derOid,
  derSequence,
  derSet,
  readDerAll,
  readDerSequence
} from '../../crypto/der.ts'

interface AttributeKind {
  /** The first is the one that `formatDistinguishedName` writes. */
  readonly keywords: readonly string[]
  readonly oid: string
  /** The string type that its definition demands; else PrintableString where possible, or UTF8String. */
  readonly stringTag?: number
}

/** String types that only decoding meets. */
const T61_STRING = 0x14
const BMP_STRING = 0x1e

const COMMON_NAME = '2.5.4.3'

const ATTRIBUTES: readonly AttributeKind[] = [
  { keywords: ['CN'], oid: COMMON_NAME },
  { keywords: ['C'], oid: '2.5.4.6', stringTag: DerTag.PRINTABLE_STRING },
  { keywords: ['ST', 'SP'], oid: '2.5.4.8' },
  { keywords: ['L'], oid: '2.5.4.7' },
  { keywords: ['O'], oid: '2.5.4.10' },
  { keywords: ['OU'], oid: '2.5.4.11' },
  { keywords: ['street'], oid: '2.5.4.9' },
  { keywords: ['postalCode'], oid: '2.5.4.17' },
  { keywords: ['S', 'surname'], oid: '2.5.4.4' },
  { keywords: ['G', 'GN', 'givenName'], oid: '2.5.4.42' },
  { keywords: ['I', 'initials'], oid: '2.5.4.43' },
  { keywords: ['T', 'title'], oid: '2.5.4.12' },
  { keywords: ['SN', 'serialNumber'], oid: '2.5.4.5', stringTag: DerTag.PRINTABLE_STRING },
  { keywords: ['dnQualifier'], oid: '2.5.4.46', stringTag: DerTag.PRINTABLE_STRING },
  { keywords: ['pseudonym'], oid: '2.5.4.65' },
  { keywords: ['E', 'emailAddress', 'email'], oid: '1.2.840.113549.1.9.1', stringTag: DerTag.IA5_STRING },
  { keywords: ['unstructuredName'], oid: '1.2.840.113549.1.9.2' },
  { keywords: ['UID'], oid: '0.9.2342.19200300.100.1.1' },
  { keywords: ['DC'], oid: '0.9.2342.19200300.100.1.25', stringTag: DerTag.IA5_STRING }
]

/** Enough for any real name, and a bound on the work that a hostile one causes. */
const MAX_RELATIVE_NAMES = 64
const MAX_ARCS = 32

interface NameAttribute {
  readonly oid: string
  readonly stringTag: number
  readonly value: Uint8Array
}
/** One set of attributes; nearly always of one. */
type RelativeName = readonly NameAttribute[]

/**
 * DER of a name such as `C=CH, O=Example, CN=gw` or `/C=CH/O=Example/CN=gw`. A comma, slash or backslash inside a value is
 * escaped with a backslash; attributes without a keyword are written as a dotted OID.
 * @returns undefined if the text is not a name
 */
export function encodeDistinguishedName(text: string): Uint8Array | undefined {
  const parts = splitName(text)
  if (parts.length === 0 || parts.length > MAX_RELATIVE_NAMES) return undefined
  const sets: Uint8Array[] = []
  for (const part of parts) {
    const equals = part.indexOf('=')
    if (equals < 1) return undefined
    const keyword = part.slice(0, equals).trim()
    const value = unescapeValue(part.slice(equals + 1).trim())
    const attribute = encodeAttribute(keyword, value)
    if (attribute === undefined) return undefined
    sets.push(derSet(attribute))
  }
  return derSequence(...sets)
}

/** The text of a DER name, or undefined if it is not one. What `encodeDistinguishedName` makes of the text is equal to it. */
export function formatDistinguishedName(name: Uint8Array): string | undefined {
  const parsed = parseName(name)
  if (parsed === undefined) return undefined
  return parsed
    .map((set) => set.map((one) => `${keywordOf(one.oid)}=${escapeValue(attributeText(one))}`).join('+'))
    .join(', ')
}

/**
 * Whether two DER names mean the same: bytes, or attribute by attribute without regard to string type, case and
 * repeated spaces.
 */
export function sameDistinguishedName(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length === b.length && a.every((byte, index) => byte === b[index])) return true
  const left = parseName(a)
  const right = parseName(b)
  if (left === undefined || right === undefined || left.length !== right.length) return false
  return left.every((set, index) => {
    const other = right[index]
    return other !== undefined && comparable(set) === comparable(other)
  })
}

/** The last common name of a DER name, which is the most specific one. */
export function commonNameOf(name: Uint8Array): string | undefined {
  const attributes = (parseName(name) ?? []).flat().filter((one) => one.oid === COMMON_NAME)
  const last = attributes.at(-1)
  return last === undefined ? undefined : attributeText(last)
}

function comparable(set: RelativeName): string {
  return set
    .map((one) =>
      JSON.stringify([
        one.oid,
        attributeText(one).normalize('NFKC').toLowerCase().trim().replace(/\s+/g, ' ')
      ])
    )
    .sort()
    .join()
}

function splitName(text: string): string[] {
  const trimmed = text.trim()
  const slashed = trimmed.startsWith('/')
  const separator = slashed ? '/' : ','
  const parts: string[] = []
  let current = ''
  for (let index = slashed ? 1 : 0; index < trimmed.length; index++) {
    const character = trimmed[index] ?? ''
    if (character === '\\') {
      current += character + (trimmed[index + 1] ?? '')
      index++
    } else if (character === separator) {
      parts.push(current)
      current = ''
    } else {
      current += character
    }
  }
  parts.push(current)
  return parts
}

function escapeValue(value: string): string {
  return value.replace(/[\\,/+]/g, '\\$&').replace(/^[ #"]|(?<=.) $/g, '\\$&')
}

function unescapeValue(value: string): string {
  return value.replace(/\\(.)/gsu, '$1')
}

function encodeAttribute(keyword: string, value: string): Uint8Array | undefined {
  const kind = ATTRIBUTES.find((one) =>
    one.keywords.some((word) => word.toLowerCase() === keyword.toLowerCase())
  )
  const oid = kind?.oid ?? (/^[0-2](\.\d{1,9})+$/.test(keyword) ? keyword : undefined)
  if (oid === undefined || value === '') return undefined
  const tag = stringTagFor(value, kind?.stringTag)
  return derSequence(derOid(oid), der(tag, new TextEncoder().encode(value)))
}

function stringTagFor(value: string, wanted: number | undefined): number {
  const printable = /^[A-Za-z0-9 '()+,\-./:=?]*$/.test(value)
  const ascii = /^\p{ASCII}*$/u.test(value)
  if (wanted === DerTag.IA5_STRING && ascii) return DerTag.IA5_STRING
  return printable ? DerTag.PRINTABLE_STRING : DerTag.UTF8_STRING
}

function decodeOid(bytes: Uint8Array): string | undefined {
  const arcs: number[] = []
  let arc = 0
  for (const byte of bytes) {
    arc = arc * 128 + (byte & 0x7f)
    if (!Number.isSafeInteger(arc) || arcs.length > MAX_ARCS) return undefined
    if ((byte & 0x80) === 0) {
      arcs.push(arc)
      arc = 0
    }
  }
  const [first, ...rest] = arcs
  if (first === undefined || ((bytes[bytes.length - 1] ?? 0x80) & 0x80) !== 0) return undefined
  const top = Math.min(2, Math.floor(first / 40))
  return [top, first - top * 40, ...rest].join('.')
}

function keywordOf(oid: string): string {
  return ATTRIBUTES.find((one) => one.oid === oid)?.keywords[0] ?? oid
}

function attributeText(attribute: NameAttribute): string {
  const { stringTag, value } = attribute
  if (stringTag === BMP_STRING && value.length % 2 === 0) {
    let text = ''
    for (let index = 0; index < value.length; index += 2) {
      text += String.fromCharCode(((value[index] ?? 0) << 8) | (value[index + 1] ?? 0))
    }
    return text
  }
  if (stringTag === T61_STRING) return Buffer.from(value).toString('latin1')
  return new TextDecoder().decode(value)
}

function parseName(name: Uint8Array): RelativeName[] | undefined {
  const sets = readDerSequence(name)
  if (sets === undefined || sets.length > MAX_RELATIVE_NAMES) return undefined
  const parsed: RelativeName[] = []
  for (const set of sets) {
    const attributes = set.tag === DerTag.SET ? readDerAll(set.contents)?.map(parseAttribute) : undefined
    if (attributes === undefined || attributes.length === 0) return undefined
    const sound = attributes.filter((one) => one !== undefined)
    if (sound.length !== attributes.length) return undefined
    parsed.push(sound)
  }
  return parsed
}

function parseAttribute(element: DerElement): NameAttribute | undefined {
  const [type, value, ...rest] = readDerSequence(element.encoding) ?? []
  if (type?.tag !== DerTag.OBJECT_IDENTIFIER || value === undefined || rest.length > 0) return undefined
  const oid = decodeOid(type.contents)
  return oid === undefined ? undefined : { oid, stringTag: value.tag, value: value.contents }
}
