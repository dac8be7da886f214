/**
 * A small certificate authority: CA, server and client certificates and CRLs (RFC 5280), for a gateway's first start
 * and for tests. Keys are ECDSA (P-256), RSA or Ed25519; everything comes out as DER, with PEM beside it.
 *
 * Key generation uses the system's randomness: certificates are not part of a seeded run.
 * @module
 */
import {
  createHash,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  X509Certificate
} from 'node:crypto'
import { DataError } from '../errors.ts'
import { Secret } from '../secret.ts'
import {
  authorityKeyIdentifierExtension,
  ExtendedKeyUsage,
  type ExtensionSpec,
  encodeExtensions
} from './certificate-extensions.ts'
import {
  contextTag,
  der,
  derBitString,
  derInteger,
  derNull,
  derOctetString,
  derOid,
  derSequence,
  derSet,
  derTime,
  derUtf8
} from './der.ts'
import { toPem } from './trust-store.ts'

export type CertificateKeyKind = 'ecdsa' | 'rsa' | 'ed25519'

/** Who a certificate is for, and who may sign others with it. */
export interface CertifiedKey {
  readonly certificate: Uint8Array
  readonly certificatePem: string
  readonly privateKey: KeyObject
  /** PKCS#8 PEM. */
  readonly privateKeyPem: Secret
  /** DER of the subject's Name. */
  readonly subject: Uint8Array
}

export interface CertificateRequest {
  /** Subject: a common name, or DER of a whole Name. */
  readonly subject: string | Uint8Array
  readonly keyKind?: CertificateKeyKind | undefined
  /** Default 2048. */
  readonly rsaBits?: number | undefined
  /** A key that exists already; else one is made. */
  readonly privateKey?: KeyObject | undefined
  /** Milliseconds since 1970. */
  readonly notBeforeMs: number
  readonly notAfterMs: number
  readonly extensions: ExtensionSpec
  /** Hash of the signature (Ed25519 has its own); `sha1` exists to make certificates that must be refused. */
  readonly hash?: 'sha1' | 'sha256' | 'sha384' | undefined
  /** Serial number, 1 to 20 bytes; random by default. */
  readonly serial?: Uint8Array | undefined
}

const SIGNATURE_OIDS: Readonly<Record<string, string>> = {
  'rsa-sha1': '1.2.840.113549.1.1.5',
  'rsa-sha256': '1.2.840.113549.1.1.11',
  'rsa-sha384': '1.2.840.113549.1.1.12',
  'ec-sha1': '1.2.840.10045.4.1',
  'ec-sha256': '1.2.840.10045.4.3.2',
  'ec-sha384': '1.2.840.10045.4.3.3',
  ed25519: '1.3.101.112'
}
const COMMON_NAME = '2.5.4.3'
const CRL_NUMBER = '2.5.29.20'

/** DER of a Name with nothing but a common name. */
export function commonName(text: string): Uint8Array {
  return derSequence(derSet(derSequence(derOid(COMMON_NAME), derUtf8(text))))
}

/** A fresh private key; ECDSA on P-256. */
function generateKey(kind: CertificateKeyKind = 'ecdsa', rsaBits = 2048): KeyObject {
  if (kind === 'rsa') return generateKeyPairSync('rsa', { modulusLength: rsaBits }).privateKey
  if (kind === 'ed25519') return generateKeyPairSync('ed25519').privateKey
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
}

/** Signs `toBeSigned` as certificates and CRLs are signed: `SEQUENCE { tbs, algorithm, signature }`. */
function signed(toBeSigned: Uint8Array, algorithm: Uint8Array, key: KeyObject, hash: string): Uint8Array {
  const signature = sign(key.asymmetricKeyType === 'ed25519' ? null : hash, toBeSigned, key)
  return derSequence(toBeSigned, algorithm, derBitString(signature))
}

function signatureAlgorithm(key: KeyObject, hash: string): Uint8Array {
  const type = key.asymmetricKeyType ?? ''
  const oid = SIGNATURE_OIDS[type === 'ed25519' ? type : `${type}-${hash}`]
  if (oid === undefined)
    throw new DataError('key-unsupported', `Keys of type ${type} cannot sign certificates.`)
  return type === 'rsa' ? derSequence(derOid(oid), derNull()) : derSequence(derOid(oid))
}

/** Any identifier that is unique to the key will do (RFC 5280 section 4.2.1.2). */
function keyIdentifier(privateKey: KeyObject): Uint8Array {
  const spki = createPublicKey(privateKey).export({ format: 'der', type: 'spki' })
  return createHash('sha1').update(spki).digest()
}

/** 16 random bytes, made positive and never zero. */
function randomSerial(): Uint8Array {
  const serial = randomBytes(16)
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40
  return serial
}

/**
 * Makes a certificate.
 *
 * @param issuer undefined: self-signed
 */
export function issueCertificate(request: CertificateRequest, issuer?: CertifiedKey): CertifiedKey {
  const privateKey = request.privateKey ?? generateKey(request.keyKind, request.rsaBits)
  const subject = typeof request.subject === 'string' ? commonName(request.subject) : request.subject
  const signer = issuer?.privateKey ?? privateKey
  const hash = request.hash ?? 'sha256'
  const algorithm = signatureAlgorithm(signer, hash)
  const toBeSigned = derSequence(
    der(contextTag(0), derInteger(2)),
    derInteger(request.serial ?? randomSerial()),
    algorithm,
    issuer?.subject ?? subject,
    derSequence(derTime(request.notBeforeMs), derTime(request.notAfterMs)),
    subject,
    createPublicKey(privateKey).export({ format: 'der', type: 'spki' }),
    der(contextTag(3), encodeExtensions(request.extensions, keyIdentifier(privateKey), keyIdentifier(signer)))
  )
  const certificate = signed(toBeSigned, algorithm, signer, hash)
  return {
    certificate,
    certificatePem: toPem('CERTIFICATE', certificate),
    privateKey,
    privateKeyPem: new Secret(privateKey.export({ format: 'pem', type: 'pkcs8' })),
    subject
  }
}

/** How long something is valid; milliseconds since 1970. */
export interface Validity {
  readonly notBeforeMs: number
  readonly notAfterMs: number
}

/** A self-signed CA that may sign certificates and CRLs. */
export function createCertificateAuthority(
  name: string,
  validity: Validity,
  options: {
    readonly keyKind?: CertificateKeyKind | undefined
    readonly pathLength?: number | undefined
  } = {}
): CertifiedKey {
  return issueCertificate({
    ...validity,
    subject: name,
    keyKind: options.keyKind,
    extensions: { ca: { pathLength: options.pathLength }, keyUsage: ['keyCertSign', 'cRLSign'] }
  })
}

/** A gateway's certificate; the first name is also its common name. */
export function issueServerCertificate(
  authority: CertifiedKey,
  names: readonly [string, ...string[]],
  validity: Validity,
  keyKind?: CertificateKeyKind
): CertifiedKey {
  const usages = [ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.ipsecIKE]
  return issueEndCertificate(authority, names, usages, validity, keyKind)
}

/** A user's or machine's certificate; the first name is also its common name. */
export function issueClientCertificate(
  authority: CertifiedKey,
  names: readonly [string, ...string[]],
  validity: Validity,
  keyKind?: CertificateKeyKind
): CertifiedKey {
  return issueEndCertificate(authority, names, [ExtendedKeyUsage.clientAuth], validity, keyKind)
}

function issueEndCertificate(
  authority: CertifiedKey,
  names: readonly [string, ...string[]],
  extendedKeyUsage: readonly string[],
  validity: Validity,
  keyKind: CertificateKeyKind | undefined
): CertifiedKey {
  const extensions = { keyUsage: ['digitalSignature'] as const, extendedKeyUsage, altNames: names }
  return issueCertificate({ ...validity, subject: names[0], keyKind, extensions }, authority)
}

export interface RevocationRequest {
  /** DER certificates, all issued by the authority. */
  readonly revoked: readonly Uint8Array[]
  readonly thisUpdateMs: number
  readonly nextUpdateMs: number
  readonly number?: number | undefined
}

/** A CRL of everything that `authority` takes back (RFC 5280 section 5), as DER. */
export function issueRevocationList(authority: CertifiedKey, request: RevocationRequest): Uint8Array {
  const hash = 'sha256'
  const algorithm = signatureAlgorithm(authority.privateKey, hash)
  const entries = request.revoked.map((certificate) => {
    const serial = Buffer.from(new X509Certificate(certificate).serialNumber, 'hex')
    return derSequence(derInteger(serial), derTime(request.thisUpdateMs))
  })
  const crlNumber = derSequence(derOid(CRL_NUMBER), derOctetString(derInteger(request.number ?? 1)))
  const extensions = derSequence(
    authorityKeyIdentifierExtension(keyIdentifier(authority.privateKey)),
    crlNumber
  )
  const toBeSigned = derSequence(
    derInteger(1),
    algorithm,
    authority.subject,
    derTime(request.thisUpdateMs),
    derTime(request.nextUpdateMs),
    // An empty list must not be there at all.
    ...(entries.length > 0 ? [derSequence(...entries)] : []),
    der(contextTag(0), extensions)
  )
  return signed(toBeSigned, algorithm, authority.privateKey, hash)
}
