/**
 * Signature schemes of IKEv2: their ASN.1 AlgorithmIdentifiers (RFC 7427 appendix A, RFC 8420 appendix A) and how
 * node:crypto is told to compute them.
 *
 * Identifiers are compared byte for byte; only the parameters of RSASSA-PSS are parsed (RFC 4055 section 3.1).
 * @module
 */
import { constants, type SignKeyObjectInput, type VerifyKeyObjectInput } from 'node:crypto'
import { HashAlgorithmId } from '../wire/ike-constants.ts'
import {
  contextTag,
  DerTag,
  der,
  derInteger,
  derNull,
  derOid,
  derSequence,
  readDerAll,
  readDerSequence
} from './der.ts'

type HashName = 'sha1' | 'sha256' | 'sha384' | 'sha512'

export interface SignatureScheme {
  /** Stable, for logs and for `SigningKey.sign`. */
  readonly name: string
  readonly keyKind: 'rsa' | 'ecdsa' | 'ed25519'
  /** undefined: the scheme takes the octets themselves. */
  readonly hash: HashName | undefined
  /** Number in SIGNATURE_HASH_ALGORITHMS. */
  readonly hashId: number
  /** DER of the AlgorithmIdentifier that stands before the signature with method 14; undefined: legacy only. */
  readonly algorithmIdentifier: Uint8Array | undefined
  /** What node:crypto's `sign` and `verify` want to know beside the key. */
  readonly keyOptions: Omit<SignKeyObjectInput & VerifyKeyObjectInput, 'key'>
}

interface Hash {
  readonly name: HashName
  readonly id: number
  readonly oid: string
  readonly length: number
  readonly rsaOid: string
  readonly ecdsaOid: string
}

const SHA2: readonly Hash[] = [
  {
    name: 'sha256',
    id: HashAlgorithmId.SHA2_256,
    oid: '2.16.840.1.101.3.4.2.1',
    length: 32,
    rsaOid: '1.2.840.113549.1.1.11',
    ecdsaOid: '1.2.840.10045.4.3.2'
  },
  {
    name: 'sha384',
    id: HashAlgorithmId.SHA2_384,
    oid: '2.16.840.1.101.3.4.2.2',
    length: 48,
    rsaOid: '1.2.840.113549.1.1.12',
    ecdsaOid: '1.2.840.10045.4.3.3'
  },
  {
    name: 'sha512',
    id: HashAlgorithmId.SHA2_512,
    oid: '2.16.840.1.101.3.4.2.3',
    length: 64,
    rsaOid: '1.2.840.113549.1.1.13',
    ecdsaOid: '1.2.840.10045.4.3.4'
  }
]
const ID_RSASSA_PSS = derOid('1.2.840.113549.1.1.10')
const ID_MGF1 = derOid('1.2.840.113549.1.1.8')
const ID_ED25519 = derOid('1.3.101.112')

function pkcs1Scheme(hash: Hash): SignatureScheme {
  return {
    name: `rsa-pkcs1-${hash.name}`,
    keyKind: 'rsa',
    hash: hash.name,
    hashId: hash.id,
    algorithmIdentifier: derSequence(derOid(hash.rsaOid), derNull()),
    keyOptions: { padding: constants.RSA_PKCS1_PADDING }
  }
}

function pssScheme(hash: Hash, saltLength: number): SignatureScheme {
  const hashIdentifier = derSequence(derOid(hash.oid), derNull())
  return {
    name: `rsa-pss-${hash.name}`,
    keyKind: 'rsa',
    hash: hash.name,
    hashId: hash.id,
    // The trailer field has its default value, which DER leaves out.
    algorithmIdentifier: derSequence(
      ID_RSASSA_PSS,
      derSequence(
        der(contextTag(0), hashIdentifier),
        der(contextTag(1), derSequence(ID_MGF1, hashIdentifier)),
        der(contextTag(2), derInteger(saltLength))
      )
    ),
    keyOptions: { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength }
  }
}

function ecdsaScheme(hash: Hash): SignatureScheme {
  return {
    name: `ecdsa-${hash.name}`,
    keyKind: 'ecdsa',
    hash: hash.name,
    hashId: hash.id,
    algorithmIdentifier: derSequence(derOid(hash.ecdsaOid)),
    keyOptions: { dsaEncoding: 'der' }
  }
}

/** Legacy ECDSA puts r and s side by side, each as long as the curve's order (RFC 4754 section 7). */
function rawEcdsaScheme(hash: Hash): SignatureScheme {
  return {
    ...ecdsaScheme(hash),
    name: `ecdsa-${hash.name}-raw`,
    algorithmIdentifier: undefined,
    keyOptions: { dsaEncoding: 'ieee-p1363' }
  }
}

const ED25519: SignatureScheme = {
  name: 'ed25519',
  keyKind: 'ed25519',
  hash: undefined,
  hashId: HashAlgorithmId.IDENTITY,
  algorithmIdentifier: derSequence(ID_ED25519),
  keyOptions: {}
}

/** Only for authentication method 1 (RFC 7296 section 2.15). */
const RSA_SHA1: SignatureScheme = {
  name: 'rsa-pkcs1-sha1',
  keyKind: 'rsa',
  hash: 'sha1',
  hashId: HashAlgorithmId.SHA1,
  algorithmIdentifier: undefined,
  keyOptions: { padding: constants.RSA_PKCS1_PADDING }
}

const SCHEMES: readonly SignatureScheme[] = [
  ...SHA2.map(pkcs1Scheme),
  ...SHA2.map((hash) => pssScheme(hash, hash.length)),
  ...SHA2.map(ecdsaScheme),
  ...SHA2.map(rawEcdsaScheme),
  ED25519,
  RSA_SHA1
]

export function signatureScheme(name: string): SignatureScheme | undefined {
  return SCHEMES.find((scheme) => scheme.name === name)
}

/** The scheme that an AlgorithmIdentifier asks for; undefined: none that is accepted here. */
export function schemeOfAlgorithm(identifier: Uint8Array): SignatureScheme | undefined {
  const fixed = SCHEMES.find(
    ({ algorithmIdentifier }) =>
      algorithmIdentifier !== undefined && Buffer.compare(algorithmIdentifier, identifier) === 0
  )
  return fixed ?? parsePss(identifier)
}

/** RSASSA-PSS with SHA-2 for both hash and mask, any salt, and the only trailer there is. */
function parsePss(identifier: Uint8Array): SignatureScheme | undefined {
  const [oid, parameters, ...surplus] = readDerSequence(identifier) ?? []
  if (oid === undefined || parameters?.tag !== DerTag.SEQUENCE || surplus.length > 0) return undefined
  if (Buffer.compare(oid.encoding, ID_RSASSA_PSS) !== 0) return undefined
  const fields = readDerAll(parameters.contents)
  if (fields === undefined) return undefined
  const tags = fields.map(({ tag }) => tag)
  // Each at most once, in ascending order.
  if (tags.some((tag, index) => tag < 0xa0 || tag > 0xa3 || tag <= (tags[index - 1] ?? 0))) return undefined
  const field = (number: number) => fields.find(({ tag }) => tag === contextTag(number))?.contents
  const hash = hashOf(field(0))
  const trailer = field(3)
  if (trailer !== undefined && Buffer.compare(trailer, derInteger(1)) !== 0) return undefined
  const saltLength = smallInteger(field(2))
  if (hash === undefined || saltLength === undefined || maskHashOf(field(1)) !== hash) return undefined
  return { ...pssScheme(hash, saltLength), algorithmIdentifier: identifier }
}

/** A hash's AlgorithmIdentifier, with NULL parameters or none (RFC 4055 section 2.1). Absent: SHA-1, not accepted. */
function hashOf(identifier: Uint8Array | undefined): Hash | undefined {
  if (identifier === undefined) return undefined
  return SHA2.find(({ oid }) =>
    [derSequence(derOid(oid), derNull()), derSequence(derOid(oid))].some(
      (accepted) => Buffer.compare(accepted, identifier) === 0
    )
  )
}

function maskHashOf(identifier: Uint8Array | undefined): Hash | undefined {
  const [oid, hash, ...surplus] = identifier === undefined ? [] : (readDerSequence(identifier) ?? [])
  if (oid === undefined || hash === undefined || surplus.length > 0) return undefined
  return Buffer.compare(oid.encoding, ID_MGF1) === 0 ? hashOf(hash.encoding) : undefined
}

/** An INTEGER from 0 to 255, of which only 0 to 127 fit one byte. Absent: the default of 20. */
function smallInteger(encoding: Uint8Array | undefined): number | undefined {
  if (encoding === undefined) return 20
  for (let value = 0; value < 256; value++)
    if (Buffer.compare(encoding, derInteger(value)) === 0) return value
  return undefined
}
