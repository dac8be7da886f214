/**
 * Certificates of IKE peers: path, usage and identity in one verdict (RFC 5280 section 6, RFC 4945).
 *
 * The path itself is OpenSSL's judgement; this module adds what IKE asks of the leaf, and puts every refusal into a
 * sentence that names the certificate and the date.
 * @module
 */
import { createHash, type KeyObject, X509Certificate } from 'node:crypto'
import { DataError } from '../errors.ts'
import { NativeUnavailableError } from '../native/libc.ts'
import { X509_KEY_USAGE_ABSENT } from '../native/libcrypto-x509.ts'
import { type CertificateFault, explainPathError } from './certificate-fault.ts'
import { certificateFields } from './certificate-fields.ts'
import { certificateCarries, describeIdentity, type IdentityLike } from './certificate-identity.ts'
import { verifyPath } from './certificate-path.ts'
import { clipped, issuerText, subjectText } from './certificate-text.ts'
import { parseCertificates, type TrustStore } from './trust-store.ts'

export type { IdentityLike } from './certificate-identity.ts'
export {
  loadTrustStore,
  parseCertificates,
  parseCrls,
  SYSTEM_BUNDLE_PATHS,
  type TrustStore
} from './trust-store.ts'

export interface PathRequest {
  /** DER of the certificate whose key signed AUTH: the first CERT payload. */
  readonly leaf: Uint8Array
  /** DER of the other CERT payloads, in any order (RFC 7296 section 3.6). */
  readonly intermediates: readonly Uint8Array[]
  readonly trust: TrustStore
  /** Milliseconds since 1970. */
  readonly atMs: number
  /** The identity that the certificate must carry; undefined: any, when the caller checks identities itself. */
  readonly identity: IdentityLike | undefined
  /** What the peer is to us. */
  readonly purpose: 'server' | 'client'
}

export type PathVerdict =
  | {
      readonly ok: true
      readonly publicKey: KeyObject
      readonly subject: string
      /** Subjects from the leaf to the trust anchor. */
      readonly chainNames: readonly string[]
    }
  | ({ readonly ok: false } & CertificateFault)

/** More CERT payloads than any sane peer sends; beyond, nothing is even parsed. */
const MAX_INTERMEDIATES = 16

const KU_DIGITAL_SIGNATURE = 0x80
const KU_NON_REPUDIATION = 0x40
/** Any, ipsecIKE (RFC 4945), and its forerunner iKEIntermediate that peers still issue. */
const EKU_ANY_IKE: readonly string[] = ['2.5.29.37.0', '1.3.6.1.5.5.7.3.17', '1.3.6.1.5.5.8.2.2']
const EKU_SERVER_AUTH = '1.3.6.1.5.5.7.3.1'
const EKU_CLIENT_AUTH = '1.3.6.1.5.5.7.3.2'

/** Judges a peer's certificate. Never throws: whatever is wrong comes back with a code and a sentence. */
export function validateCertificatePath(request: PathRequest): PathVerdict {
  try {
    return judge(request)
  } catch (error) {
    if (error instanceof NativeUnavailableError)
      return refuse('unavailable', 'This Node binary does not let certificates be validated.', error.hint)
    // What node:crypto cannot parse although OpenSSL's path validation could.
    return refuse(
      'malformed',
      "The peer's certificate cannot be read.",
      'Ask whoever runs it for a new certificate.'
    )
  }
}

function judge(request: PathRequest): PathVerdict {
  if (request.intermediates.length > MAX_INTERMEDIATES)
    return refuse(
      'malformed',
      `The peer sent ${request.intermediates.length + 1} certificates, which is too many.`,
      'Configure it to send its own certificate and the intermediates alone.'
    )
  const path = verifyPath({ ...request, anchors: request.trust.anchors, crls: request.trust.crls })
  if (!path.ok) return { ok: false, ...explainPathError(path, request) }
  const leaf = new X509Certificate(request.leaf)
  const subject = subjectText(leaf)
  const usage = checkUsage(leaf, path.keyUsage, request.purpose, subject)
  if (usage !== undefined) return usage
  if (request.identity !== undefined && !certificateCarries(leaf, request.identity))
    return refuse(
      'identity-mismatch',
      `The peer's certificate (${subject}) does not carry the identity "${describeIdentity(request.identity)}"${namesText(leaf)}.`,
      'Set the remote identity to a name that the certificate carries, if that is the peer you mean.'
    )
  return {
    ok: true,
    publicKey: leaf.publicKey,
    subject,
    chainNames: path.chain.map((certificate) => subjectText(new X509Certificate(certificate)))
  }
}

function refuse(code: CertificateFault['code'], message: string, hint: string): PathVerdict {
  return { ok: false, code, message, hint }
}

function checkUsage(
  leaf: X509Certificate,
  keyUsage: number,
  purpose: 'server' | 'client',
  subject: string
): PathVerdict | undefined {
  const signs = keyUsage & (KU_DIGITAL_SIGNATURE | KU_NON_REPUDIATION)
  if (keyUsage !== X509_KEY_USAGE_ABSENT && signs === 0)
    return refuse(
      'bad-key-usage',
      `The key of the peer's certificate (${subject}) is not meant for signatures.`,
      'It needs the key usage digitalSignature.'
    )
  // Node calls the extended key usages `keyUsage`; undefined: the extension is absent, and all are allowed.
  const extended = leaf.keyUsage as readonly string[] | undefined
  const wanted = purpose === 'server' ? EKU_SERVER_AUTH : EKU_CLIENT_AUTH
  if (extended === undefined || extended.some((oid) => oid === wanted || EKU_ANY_IKE.includes(oid)))
    return undefined
  return refuse(
    'bad-key-usage',
    `The peer's certificate (${subject}) is not meant for a VPN ${purpose}.`,
    `It needs the extended key usage ${purpose}Auth or ipsecIKE.`
  )
}

function namesText(certificate: X509Certificate): string {
  const names = certificate.subjectAltName
  return names === undefined ? ' and no other name' : ` but ${clipped(names)}`
}

/** SHA-1 of the SubjectPublicKeyInfo, as CERTREQ names authorities (RFC 7296 section 3.7); undefined: not a certificate. */
export function publicKeyHash(certificate: Uint8Array): Uint8Array | undefined {
  const fields = certificateFields(certificate)
  return fields && createHash('sha1').update(fields.subjectPublicKeyInfo).digest()
}

/**
 * DER of the subject's Name, for ID payloads of type DER_ASN1_DN.
 *
 * @throws DataError `certificate-unreadable`
 */
export function subjectDn(certificate: Uint8Array): Uint8Array {
  const fields = certificateFields(certificate)
  if (fields === undefined) throw new DataError('certificate-unreadable', 'The certificate is damaged.')
  return Uint8Array.from(fields.subject)
}

export interface CertificateDescription {
  readonly subject: string
  readonly issuer: string
  readonly serialNumber: string
  /** As in `DNS:gw.example, IP Address:192.0.2.1`. */
  readonly subjectAltName: string | undefined
  /** RFC 3339. */
  readonly notBefore: string
  readonly notAfter: string
  /** Such as `rsa-2048`, `P-256`, `ed25519`. */
  readonly key: string
  /** SHA-256 of the certificate, hex. */
  readonly fingerprint: string
}

/**
 * What to show of a certificate.
 *
 * @throws DataError `certificate-unreadable`
 */
export function describeCertificate(certificate: Uint8Array): CertificateDescription {
  const [bytes] = parseCertificates(certificate)
  const parsed = new X509Certificate(bytes ?? certificate)
  try {
    return {
      subject: subjectText(parsed),
      issuer: issuerText(parsed),
      serialNumber: parsed.serialNumber,
      subjectAltName: parsed.subjectAltName,
      notBefore: new Date(parsed.validFrom).toISOString(),
      notAfter: new Date(parsed.validTo).toISOString(),
      key: keyText(parsed.publicKey),
      fingerprint: createHash('sha256').update(parsed.raw).digest('hex')
    }
  } catch (cause) {
    // Key and dates are only looked at when they are asked for.
    throw new DataError('certificate-unreadable', 'The certificate is damaged.', { cause })
  }
}

function keyText(key: KeyObject): string {
  const { modulusLength, namedCurve } = key.asymmetricKeyDetails ?? {}
  const type = key.asymmetricKeyType ?? 'unknown'
  return modulusLength === undefined ? (namedCurve ?? type) : `${type}-${modulusLength}`
}
