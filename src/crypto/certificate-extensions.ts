/**
 * X.509 version 3 extensions, written (RFC 5280 section 4.2).
 * @module
 */
import { isIP } from 'node:net'
import {
  contextTag,
  DerTag,
  der,
  derBoolean,
  derInteger,
  derNamedBits,
  derOctetString,
  derOid,
  derSequence
} from './der.ts'

/** Bits of KeyUsage (section 4.2.1.3). */
const KEY_USAGE_BITS = {
  digitalSignature: 0,
  nonRepudiation: 1,
  keyEncipherment: 2,
  keyAgreement: 4,
  keyCertSign: 5,
  cRLSign: 6
} as const
type KeyUsage = keyof typeof KEY_USAGE_BITS

export const ExtendedKeyUsage = {
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
  ipsecIKE: '1.3.6.1.5.5.7.3.17',
  any: '2.5.29.37.0'
} as const

/** Extensions of one certificate; key identifiers are always there. */
export interface ExtensionSpec {
  /** A CA; `pathLength` bounds the CAs below it. */
  readonly ca?: { readonly pathLength?: number | undefined } | undefined
  readonly keyUsage?: readonly KeyUsage[] | undefined
  /** Dotted OIDs. */
  readonly extendedKeyUsage?: readonly string[] | undefined
  /** Addresses, `user@host` names and host names, told apart by their form. */
  readonly altNames?: readonly string[] | undefined
  /** Host name subtrees (section 4.2.1.10). */
  readonly nameConstraints?:
    | {
        readonly permitted?: readonly string[] | undefined
        readonly excluded?: readonly string[] | undefined
      }
    | undefined
  readonly others?:
    | readonly { readonly oid: string; readonly critical: boolean; readonly value: Uint8Array }[]
    | undefined
}

/** GeneralName of an address (iPAddress), `user@host` (rfc822Name) or a host name (dNSName). */
function generalName(text: string): Uint8Array {
  if (isIP(text) !== 0) return der(contextTag(7, false), addressBytes(text))
  return der(contextTag(text.includes('@') ? 1 : 2, false), Buffer.from(text, 'latin1'))
}

function addressBytes(text: string): Uint8Array {
  if (isIP(text) === 4) return Uint8Array.from(text.split('.').map(Number))
  // The URL parser knows every way to write an IPv6 address, and turns an embedded IPv4 part into hex.
  const canonical = new URL(`http://[${text}]/`).hostname.slice(1, -1)
  const [head = '', tail = ''] = canonical.split('::')
  const words = (part: string) =>
    part === '' ? [] : part.split(':').map((word) => Number.parseInt(word, 16))
  const missing = 8 - words(head).length - words(tail).length
  const all = [...words(head), ...new Array<number>(missing).fill(0), ...words(tail)]
  return Uint8Array.from(all.flatMap((word) => [word >> 8, word & 0xff]))
}

function extension(oid: string, critical: boolean, value: Uint8Array): Uint8Array {
  return critical
    ? derSequence(derOid(oid), derBoolean(true), derOctetString(value))
    : derSequence(derOid(oid), derOctetString(value))
}

function subjectKeyIdentifierExtension(keyId: Uint8Array): Uint8Array {
  return extension('2.5.29.14', false, derOctetString(keyId))
}

export function authorityKeyIdentifierExtension(keyId: Uint8Array): Uint8Array {
  return extension('2.5.29.35', false, derSequence(der(contextTag(0, false), keyId)))
}

/** The SEQUENCE of Extensions. */
export function encodeExtensions(
  spec: ExtensionSpec,
  subjectKeyId: Uint8Array,
  authorityKeyId: Uint8Array
): Uint8Array {
  const list: Uint8Array[] = []
  if (spec.ca !== undefined) {
    const pathLength = spec.ca.pathLength === undefined ? [] : [derInteger(spec.ca.pathLength)]
    list.push(extension('2.5.29.19', true, derSequence(derBoolean(true), ...pathLength)))
  }
  if (spec.keyUsage !== undefined)
    list.push(extension('2.5.29.15', true, derNamedBits(spec.keyUsage.map((usage) => KEY_USAGE_BITS[usage]))))
  if (spec.extendedKeyUsage !== undefined)
    list.push(extension('2.5.29.37', false, derSequence(...spec.extendedKeyUsage.map(derOid))))
  if (spec.altNames !== undefined && spec.altNames.length > 0)
    list.push(extension('2.5.29.17', false, derSequence(...spec.altNames.map(generalName))))
  if (spec.nameConstraints !== undefined)
    list.push(extension('2.5.29.30', true, encodeNameConstraints(spec.nameConstraints)))
  list.push(subjectKeyIdentifierExtension(subjectKeyId), authorityKeyIdentifierExtension(authorityKeyId))
  for (const { oid, critical, value } of spec.others ?? []) list.push(extension(oid, critical, value))
  return der(DerTag.SEQUENCE, ...list)
}

function encodeNameConstraints(constraints: NonNullable<ExtensionSpec['nameConstraints']>): Uint8Array {
  const subtrees = (names: readonly string[]) => names.map((name) => derSequence(generalName(name)))
  const parts: Uint8Array[] = []
  const { permitted = [], excluded = [] } = constraints
  if (permitted.length > 0) parts.push(der(contextTag(0), ...subtrees(permitted)))
  if (excluded.length > 0) parts.push(der(contextTag(1), ...subtrees(excluded)))
  return derSequence(...parts)
}
