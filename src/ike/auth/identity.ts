/**
 * Identities of ID payloads (RFC 7296 section 3.5) as people write them, and how they compare.
 *
 * The text forms are strongSwan's: `user@host`, host names, IP addresses, distinguished names, `@name` for a name that is
 * not to be taken for anything else, `@#hex` for key IDs, and prefixes such as `fqdn:` and `keyid:`.
 * @module
 */
import { ConfigurationError } from '../../errors.ts'
import { addressFromBytes, addressToBytes, IPV4_LENGTH, IPV6_LENGTH } from '../../wire/address.ts'
import { IdType } from '../../wire/ike-constants.ts'
import type { Identity } from '../types.ts'
import {
  encodeDistinguishedName,
  formatDistinguishedName,
  sameDistinguishedName
} from './distinguished-name.ts'

const TYPE_OF_PREFIX: ReadonlyMap<string, number> = new Map([
  ['ipv4', IdType.IPV4_ADDR],
  ['ipv6', IdType.IPV6_ADDR],
  ['fqdn', IdType.FQDN],
  ['dns', IdType.FQDN],
  ['email', IdType.RFC822_ADDR],
  ['rfc822', IdType.RFC822_ADDR],
  ['userfqdn', IdType.RFC822_ADDR],
  ['asn1dn', IdType.DER_ASN1_DN],
  ['keyid', IdType.KEY_ID]
])

/**
 * The identity that a text stands for.
 * @throws ConfigurationError `bad-identity` for an empty text, bad hex, or a value that does not fit its prefix
 */
export function identityFromText(text: string): Identity {
  const trimmed = text.trim()
  if (trimmed === '') throw badIdentity(text, 'it is empty')
  return prefixed(trimmed) ?? guessed(trimmed)
}

/** One line for people; `identityFromText` turns it back into the same identity. Never throws. */
export function formatIdentity(identity: Identity): string {
  const { idType, data } = identity
  const plain = plainText(identity)
  if (plain !== undefined && means(plain, identity)) return plain
  const prefix = [...TYPE_OF_PREFIX].find(([, type]) => type === idType)?.[0]
  if (prefix === undefined) return `id-type-${idType}:#${hex(data)}`
  if (plain !== undefined && means(`${prefix}:${plain}`, identity)) return `${prefix}:${plain}`
  return idType === IdType.KEY_ID ? `@#${hex(data)}` : `${prefix}:#${hex(data)}`
}

/** Whether both are one identity: names without regard to case, distinguished names by meaning, the rest by bytes. */
export function sameIdentity(a: Identity, b: Identity): boolean {
  if (a.idType !== b.idType) return false
  if (sameBytes(a.data, b.data)) return true
  switch (a.idType) {
    case IdType.FQDN:
    case IdType.RFC822_ADDR:
      return foldedName(a.data) === foldedName(b.data)
    case IdType.DER_ASN1_DN:
      return sameDistinguishedName(a.data, b.data)
    default:
      return false
  }
}

/**
 * Whether what the other end calls itself is what was expected of it. Beyond `sameIdentity`, the expected name may begin
 * with `*.` (any host below a domain, one label or more) or `*@` (any user of a domain).
 */
export function identityMatches(expected: Identity, actual: Identity): boolean {
  if (sameIdentity(expected, actual)) return true
  if (expected.idType !== actual.idType) return false
  if (expected.idType !== IdType.FQDN && expected.idType !== IdType.RFC822_ADDR) return false
  const pattern = foldedName(expected.data)
  if (!/^\*[.@][^*]+$/.test(pattern)) return false
  const name = foldedName(actual.data)
  const suffix = pattern.slice(1)
  return name.length > suffix.length && name.endsWith(suffix) && !name.includes('*')
}

function prefixed(text: string): Identity | undefined {
  const colon = text.indexOf(':')
  const idType = colon < 0 ? undefined : TYPE_OF_PREFIX.get(text.slice(0, colon).toLowerCase())
  if (idType === undefined) return undefined
  const value = text.slice(colon + 1)
  if (value.startsWith('#')) return { idType, data: parseHex(text, value.slice(1)) }
  const data = encodeAs(idType, value)
  if (data === undefined || data.length === 0) throw badIdentity(text, 'the value does not fit its prefix')
  return { idType, data }
}

function encodeAs(idType: number, value: string): Uint8Array | undefined {
  switch (idType) {
    case IdType.IPV4_ADDR:
    case IdType.IPV6_ADDR: {
      const address = addressToBytes(value)
      return address?.length === addressLength(idType) ? address : undefined
    }
    case IdType.DER_ASN1_DN:
      return encodeDistinguishedName(value)
    default:
      return new TextEncoder().encode(value)
  }
}

function guessed(text: string): Identity {
  const bytes = (value: string) => new TextEncoder().encode(value)
  if (text.startsWith('@#')) return { idType: IdType.KEY_ID, data: parseHex(text, text.slice(2)) }
  if (text.startsWith('@@')) return { idType: IdType.RFC822_ADDR, data: bytes(text.slice(2)) }
  if (text.startsWith('@')) return { idType: IdType.FQDN, data: bytes(text.slice(1)) }
  if (text.includes('=')) {
    const name = encodeDistinguishedName(text)
    return name === undefined
      ? { idType: IdType.KEY_ID, data: bytes(text) }
      : { idType: IdType.DER_ASN1_DN, data: name }
  }
  if (text.includes('@')) return { idType: IdType.RFC822_ADDR, data: bytes(text) }
  const address = addressToBytes(text)
  if (address !== undefined) {
    return { idType: address.length === IPV4_LENGTH ? IdType.IPV4_ADDR : IdType.IPV6_ADDR, data: address }
  }
  return { idType: text.includes(':') ? IdType.KEY_ID : IdType.FQDN, data: bytes(text) }
}

/** What the data says without any mark of its type; undefined if it cannot be shown as one clean line. */
function plainText(identity: Identity): string | undefined {
  const { idType, data } = identity
  switch (idType) {
    case IdType.IPV4_ADDR:
    case IdType.IPV6_ADDR:
      return data.length === addressLength(idType) ? addressFromBytes(data) : undefined
    case IdType.DER_ASN1_DN:
      return printable(formatDistinguishedName(data))
    case IdType.FQDN:
    case IdType.RFC822_ADDR:
    case IdType.KEY_ID:
      return printable(utf8(data))
    default:
      return undefined
  }
}

function addressLength(idType: number): number {
  return idType === IdType.IPV4_ADDR ? IPV4_LENGTH : IPV6_LENGTH
}

function means(text: string, identity: Identity): boolean {
  try {
    const parsed = identityFromText(text)
    return parsed.idType === identity.idType && sameIdentity(parsed, identity)
  } catch {
    return false
  }
}

function printable(text: string | undefined): string | undefined {
  return text === undefined || text === '' || /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(text)
    ? undefined
    : text
}

function utf8(data: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(data)
  } catch {
    return undefined
  }
}

/** ASCII letters folded and nothing else, so that no two different names of other scripts become one. */
function foldedName(data: Uint8Array): string {
  return new TextDecoder('latin1').decode(data).replace(/[A-Z]+/g, (letters) => letters.toLowerCase())
}

function parseHex(text: string, digits: string): Uint8Array {
  const clean = digits.replace(/[\s:]/g, '')
  if (clean === '' || clean.length % 2 !== 0 || !/^[0-9a-f]+$/i.test(clean)) {
    throw badIdentity(text, 'what follows # is not hexadecimal')
  }
  return Uint8Array.from({ length: clean.length / 2 }, (_, index) =>
    Number.parseInt(clean.slice(index * 2, index * 2 + 2), 16)
  )
}

function badIdentity(text: string, why: string): ConfigurationError {
  return new ConfigurationError('bad-identity', `${JSON.stringify(text)} is not an identity: ${why}.`, {
    hint: 'Write user@host, a host name, an IP address, a name such as "C=CH, O=Example, CN=gw", or @#hex for a key ID.'
  })
}

function hex(data: Uint8Array): string {
  return Array.from(data, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index])
}
