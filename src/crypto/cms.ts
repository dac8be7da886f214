/**
 * Takes the content out of a signed message (CMS SignedData, RFC 5652): enough for configuration files that were signed before they
 * were handed out. The signature is not checked: who signed is told, whether to believe it is for the reader.
 *
 * Reads BER, since signing programs stream: indefinite lengths, and octet strings in pieces. Never throws; depth and size are bounded.
 * @module
 */
import { X509Certificate } from 'node:crypto'
import { certificateFields, subjectKeyIdentifier } from './certificate-fields.ts'
import { subjectText } from './certificate-text.ts'
import { contextTag, DerTag, derOid } from './der.ts'

export type SignedMessage =
  | {
      readonly kind: 'signed'
      readonly content: Uint8Array
      /** The subject of the signer's certificate, on one line; undefined: the message does not bring it along. */
      readonly signer: string | undefined
    }
  | { readonly kind: 'encrypted' }
  /** It is something else, or damaged. */
  | { readonly kind: 'unknown' }

const SIGNED_DATA = derOid('1.2.840.113549.1.7.2')
const ENCRYPTED = ['1.2.840.113549.1.7.3', '1.2.840.113549.1.7.6', '1.2.840.113549.1.9.16.1.23'].map(derOid)

/** A message that is made as RFC 5652 says is nested about ten deep. */
const MAX_DEPTH = 24
/** A file of 4 MiB in pieces of 1 KiB has 4096 of them. */
const MAX_ELEMENTS = 50_000
const CONSTRUCTED = 0x20
const UNKNOWN = { kind: 'unknown' } as const

/** @param bytes DER or BER */
export function openSignedMessage(bytes: Uint8Array): SignedMessage {
  const [type, explicit] = childrenOf(
    readBer(bytes, 0, { depth: 0, count: { elements: 0 } }),
    DerTag.SEQUENCE
  )
  if (type === undefined) return UNKNOWN
  if (ENCRYPTED.some((oid) => same(type.encoding, oid))) return { kind: 'encrypted' }
  const [signedData] = childrenOf(explicit, contextTag(0))
  if (!same(type.encoding, SIGNED_DATA) || signedData === undefined) return UNKNOWN
  const [, , encapsulated, ...rest] = childrenOf(signedData, DerTag.SEQUENCE)
  const [, wrapped] = childrenOf(encapsulated, DerTag.SEQUENCE)
  const [octets] = childrenOf(wrapped, contextTag(0))
  const content = octets === undefined ? undefined : octetsOf(octets)
  if (content === undefined) return UNKNOWN
  return { kind: 'signed', content, signer: signerOf(rest) }
}

interface BerElement {
  readonly tag: number
  /** Of constructed elements. */
  readonly children: readonly BerElement[]
  /** Of primitive elements. */
  readonly contents: Uint8Array
  readonly encoding: Uint8Array
}

function childrenOf(element: BerElement | undefined, tag: number): readonly BerElement[] {
  return element?.tag === tag ? element.children : []
}

/** An OCTET STRING, whole or in pieces. */
function octetsOf(element: BerElement): Uint8Array | undefined {
  if (element.tag === DerTag.OCTET_STRING) return element.contents
  if (element.tag !== (DerTag.OCTET_STRING | CONSTRUCTED)) return undefined
  const pieces = element.children.map(octetsOf)
  return pieces.some((piece) => piece === undefined) ? undefined : Buffer.concat(pieces as Uint8Array[])
}

/** @param rest the last fields of SignedData: certificates [0], CRLs [1], SignerInfos */
function signerOf(rest: readonly BerElement[]): string | undefined {
  const certificates = rest.find(({ tag }) => tag === contextTag(0))?.children ?? []
  const [signerInfo] = childrenOf(
    rest.find(({ tag }) => tag === DerTag.SET),
    DerTag.SET
  )
  const [, identifier] = childrenOf(signerInfo, DerTag.SEQUENCE)
  const found = certificates.find(({ encoding }) => isNamedBy(encoding, identifier))
  try {
    return found === undefined ? undefined : subjectText(new X509Certificate(found.encoding))
  } catch {
    return undefined
  }
}

/** SignerIdentifier: issuer and serial number, or the subject's key identifier (RFC 5652 section 5.3). */
function isNamedBy(certificate: Uint8Array, identifier: BerElement | undefined): boolean {
  const fields = certificateFields(certificate)
  if (fields === undefined || identifier === undefined) return false
  if (identifier.tag === contextTag(0, false)) {
    const keyId = subjectKeyIdentifier(fields)
    return keyId !== undefined && same(keyId, identifier.contents)
  }
  const [issuer, serial] = childrenOf(identifier, DerTag.SEQUENCE)
  if (issuer === undefined || serial === undefined) return false
  return same(fields.issuer, issuer.encoding) && same(fields.serialNumber, serial.encoding)
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}

/** How deep it is, and how much was read in all. */
interface Reading {
  readonly depth: number
  readonly count: { elements: number }
}

/** The element at `offset`, with all that is in it; undefined when it is not BER, nested too deep, or too much. */
function readBer(bytes: Uint8Array, offset: number, { depth, count }: Reading): BerElement | undefined {
  const header = readHeader(bytes, offset)
  if (header === undefined || depth > MAX_DEPTH || ++count.elements > MAX_ELEMENTS) return undefined
  const { tag, start, end } = header
  const isConstructed = (tag & CONSTRUCTED) !== 0
  if (!isConstructed) {
    if (end === undefined) return undefined
    return {
      tag,
      children: [],
      contents: bytes.subarray(start, end),
      encoding: bytes.subarray(offset, end)
    }
  }
  const children: BerElement[] = []
  let at = start
  while (end === undefined ? !isEndOfContents(bytes, at) : at < end) {
    const child = readBer(end === undefined ? bytes : bytes.subarray(0, end), at, {
      depth: depth + 1,
      count
    })
    if (child === undefined) return undefined
    children.push(child)
    at += child.encoding.length
  }
  const after = end ?? at + 2
  return {
    tag,
    children,
    contents: bytes.subarray(start, at),
    encoding: bytes.subarray(offset, after)
  }
}

interface BerHeader {
  readonly tag: number
  readonly start: number
  /** undefined: up to the end-of-contents octets */
  readonly end: number | undefined
}

function readHeader(bytes: Uint8Array, offset: number): BerHeader | undefined {
  const tag = bytes[offset]
  const first = bytes[offset + 1]
  if (tag === undefined || first === undefined || (tag & 0x1f) === 0x1f) return undefined
  if (first === 0x80) return { tag, start: offset + 2, end: undefined }
  const count = first > 0x80 ? first & 0x7f : 0
  if (count > 4) return undefined
  let length = count === 0 ? first : 0
  for (let index = 0; index < count; index++) length = length * 256 + (bytes[offset + 2 + index] ?? 0)
  const start = offset + 2 + count
  return start + length > bytes.length ? undefined : { tag, start, end: start + length }
}

function isEndOfContents(bytes: Uint8Array, at: number): boolean {
  return bytes[at] === 0 && bytes[at + 1] === 0
}
