/**
 * How long a password-protected file makes its reader work: the rounds that it asks of its key derivation (RFC 8018,
 * RFC 7292 appendix B, RFC 7914). A file says so itself, in up to 32 bits and more; whoever made it chooses.
 * @module
 */
import { DerTag, derOid, readDer, readDerAll, readDerSequence } from './der.ts'

/**
 * Rounds for one file, all of its parts together: three times what is recommended for passwords that people choose (600 000 of
 * PBKDF2, OWASP 2023), and a thousand times what OpenSSL writes; some seconds of work.
 */
export const MAX_ROUNDS = 2_000_000

const PBES2 = derOid('1.2.840.113549.1.5.13')
const PBKDF2 = derOid('1.2.840.113549.1.5.12')
const SCRYPT = derOid('1.3.6.1.4.1.11591.4.11')

/** Whether `der` is an EncryptedPrivateKeyInfo (RFC 5958 section 3), not a key that lies open. */
export function isEncryptedKeyInfo(der: Uint8Array): boolean {
  return readDer(readDer(der)?.contents ?? der)?.tag === DerTag.SEQUENCE
}

/** Rounds that an EncryptedPrivateKeyInfo asks for; undefined: it does not say, in strict DER. */
export function roundsOfKeyInfo(der: Uint8Array): number | undefined {
  const [scheme, data, ...surplus] = readDerSequence(der) ?? []
  if (scheme === undefined || data?.tag !== DerTag.OCTET_STRING || surplus.length > 0) return undefined
  return roundsOfScheme(scheme.encoding)
}

/** Of an AlgorithmIdentifier: PBES2 names its derivation, the older schemes are derivation and cipher in one. */
function roundsOfScheme(identifier: Uint8Array): number | undefined {
  const [oid, parameters] = readDerSequence(identifier) ?? []
  const [first, ...rest] = (parameters && readDerSequence(parameters.encoding)) ?? []
  if (oid === undefined || first === undefined) return undefined
  if (Buffer.compare(oid.encoding, PBES2) === 0) return roundsOfDerivation(first.encoding)
  return numberOf(rest[0]?.encoding)
}

function roundsOfDerivation(identifier: Uint8Array): number | undefined {
  const [oid, parameters] = readDerSequence(identifier) ?? []
  const [, ...numbers] = (parameters && readDerSequence(parameters.encoding)) ?? []
  if (oid === undefined) return undefined
  const [first, second, third] = numbers.map(({ encoding }) => numberOf(encoding))
  if (Buffer.compare(oid.encoding, PBKDF2) === 0) return first
  if (Buffer.compare(oid.encoding, SCRYPT) !== 0) return undefined
  // Cost, block size, parallelization: each block is mixed so often, forth and back.
  return first === undefined || second === undefined || third === undefined
    ? undefined
    : first * second * third
}

/** A non-negative INTEGER; beyond 48 bits it only has to be large. */
function numberOf(encoding: Uint8Array | undefined): number | undefined {
  const [element, ...surplus] = encoding === undefined ? [] : (readDerAll(encoding) ?? [])
  if (element?.tag !== DerTag.INTEGER || surplus.length > 0 || element.contents.length === 0) return undefined
  if ((element.contents[0] ?? 0) >= 0x80) return undefined
  let value = 0
  for (const byte of element.contents) value = Math.min(value * 256 + byte, Number.MAX_SAFE_INTEGER)
  return value
}
