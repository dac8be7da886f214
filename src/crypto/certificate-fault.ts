/**
 * Refusals of certificates in words: a stable code, what is wrong with which certificate, and what to do.
 * @module
 */
import { X509Certificate } from 'node:crypto'
import { X509VerifyError as E } from '../native/libcrypto-x509.ts'
import type { PathOutcome } from './certificate-path.ts'
import { issuerText, subjectText } from './certificate-text.ts'

type CertificateFaultCode =
  | 'expired'
  | 'not-yet-valid'
  | 'untrusted-issuer'
  | 'revoked'
  | 'name-constraint'
  | 'path-length'
  | 'not-a-ca'
  | 'bad-key-usage'
  | 'identity-mismatch'
  | 'bad-signature'
  | 'weak-signature'
  | 'unknown-critical-extension'
  | 'crl-missing'
  | 'crl-expired'
  | 'crl-invalid'
  | 'malformed'
  | 'invalid'
  | 'unavailable'

export interface CertificateFault {
  readonly code: CertificateFaultCode
  /** One sentence with names and dates. */
  readonly message: string
  /** One sentence: what to do. */
  readonly hint: string
}

interface Subject {
  /** `The peer's certificate (CN=...)` or `The CA certificate ...`. */
  readonly label: string
  readonly issuer: string
  readonly validFrom: string
  readonly validTo: string
}

/** Most faults are put right at the other end. */
const ASK_PEER = 'Ask whoever runs the peer to renew or correct its certificate.'
const CHECK_CLOCK = 'Check the clock of this machine; if it is right, the certificate must be renewed.'
const ADD_ANCHOR = 'Give its CA certificate with --cafile, if you trust it.'

type Explain = (subject: Subject, now: string) => CertificateFault

function fault(
  code: CertificateFaultCode,
  hint: string,
  tail: (subject: Subject, now: string) => string
): Explain {
  return (subject, now) => ({ code, hint, message: `${subject.label} ${tail(subject, now)}.` })
}

const untrusted = fault(
  'untrusted-issuer',
  ADD_ANCHOR,
  ({ issuer }) => `comes from an issuer that is not trusted here (${issuer})`
)
const selfSigned = fault(
  'untrusted-issuer',
  ADD_ANCHOR,
  () => 'is self-signed and not among the trusted ones'
)
const nameConstraint = fault(
  'name-constraint',
  ASK_PEER,
  () => 'carries a name that its issuer is not allowed to certify'
)
const weak = fault(
  'weak-signature',
  'It needs RSA of 2048 bits or more, or an elliptic curve, and a SHA-2 signature.',
  () => 'has a key or a signature that is too weak'
)
const crlInvalid = fault(
  'crl-invalid',
  'Fetch a fresh CRL from the issuer.',
  () => 'cannot be checked: the revocation list of its issuer is not valid'
)

const EXPLANATIONS: ReadonlyMap<number, Explain> = new Map<number, Explain>([
  [
    E.CERT_HAS_EXPIRED,
    fault('expired', CHECK_CLOCK, ({ validTo }, now) => `expired on ${validTo} (it is ${now} now)`)
  ],
  [
    E.CERT_NOT_YET_VALID,
    fault(
      'not-yet-valid',
      CHECK_CLOCK,
      ({ validFrom }, now) => `is valid only from ${validFrom} on (it is ${now} now)`
    )
  ],
  [E.UNABLE_TO_GET_ISSUER_CERT, untrusted],
  [E.UNABLE_TO_GET_ISSUER_CERT_LOCALLY, untrusted],
  [E.UNABLE_TO_VERIFY_LEAF_SIGNATURE, untrusted],
  [E.SELF_SIGNED_CERT_IN_CHAIN, selfSigned],
  [E.DEPTH_ZERO_SELF_SIGNED_CERT, selfSigned],
  [E.CERT_REVOKED, fault('revoked', ASK_PEER, ({ issuer }) => `was revoked by its issuer (${issuer})`)],
  [E.PERMITTED_VIOLATION, nameConstraint],
  [E.EXCLUDED_VIOLATION, nameConstraint],
  [E.SUBTREE_MINMAX, nameConstraint],
  [E.UNSUPPORTED_CONSTRAINT_TYPE, nameConstraint],
  [E.UNSUPPORTED_CONSTRAINT_SYNTAX, nameConstraint],
  [E.UNSUPPORTED_NAME_SYNTAX, nameConstraint],
  [
    E.PATH_LENGTH_EXCEEDED,
    fault('path-length', ASK_PEER, () => 'stands above more CA certificates than its path length allows')
  ],
  [E.CERT_CHAIN_TOO_LONG, fault('path-length', ASK_PEER, () => 'ends a chain with too many certificates')],
  [E.INVALID_CA, fault('not-a-ca', ASK_PEER, () => 'issued another certificate without being a CA')],
  [
    E.KEYUSAGE_NO_CERTSIGN,
    fault('not-a-ca', ASK_PEER, () => 'issued a certificate, which its key usage forbids')
  ],
  [E.CERT_SIGNATURE_FAILURE, fault('bad-signature', ASK_PEER, () => 'has a wrong signature')],
  [E.EE_KEY_TOO_SMALL, weak],
  [E.CA_KEY_TOO_SMALL, weak],
  [E.CA_MD_TOO_WEAK, weak],
  [
    E.UNHANDLED_CRITICAL_EXTENSION,
    fault(
      'unknown-critical-extension',
      ASK_PEER,
      () => 'has a critical extension that is not understood here'
    )
  ],
  [
    E.UNABLE_TO_GET_CRL,
    fault(
      'crl-missing',
      'Give the CRL of its issuer too, or none at all.',
      ({ issuer }) => `cannot be checked: there is no revocation list of its issuer (${issuer})`
    )
  ],
  [
    E.CRL_HAS_EXPIRED,
    fault(
      'crl-expired',
      'Fetch a fresh CRL from the issuer.',
      ({ issuer }) => `cannot be checked: the revocation list of its issuer (${issuer}) is out of date`
    )
  ],
  [E.CRL_NOT_YET_VALID, crlInvalid],
  [E.CRL_SIGNATURE_FAILURE, crlInvalid],
  [E.UNABLE_TO_GET_CRL_ISSUER, crlInvalid],
  [E.KEYUSAGE_NO_CRL_SIGN, crlInvalid],
  [E.UNHANDLED_CRITICAL_CRL_EXTENSION, crlInvalid]
])

/** What path validation found wrong, in words. */
export function explainPathError(
  outcome: Extract<PathOutcome, { ok: false }>,
  request: { readonly leaf: Uint8Array; readonly atMs: number }
): CertificateFault {
  if ('malformed' in outcome && outcome.malformed === 'leaf')
    return { code: 'malformed', message: "The peer's certificate is damaged.", hint: ASK_PEER }
  if ('malformed' in outcome)
    return {
      code: 'crl-invalid',
      message: 'A given certificate revocation list is damaged.',
      hint: 'Fetch a fresh CRL from the issuer.'
    }
  const subject = describe(outcome.certificate ?? request.leaf, request.leaf)
  const now = new Date(request.atMs).toISOString().slice(0, 10)
  const explain =
    EXPLANATIONS.get(outcome.error) ?? fault('invalid', ASK_PEER, () => `is not valid: ${outcome.errorText}`)
  return explain(subject, now)
}

function describe(certificate: Uint8Array, leaf: Uint8Array): Subject {
  const parsed = new X509Certificate(certificate)
  const isLeaf = Buffer.compare(certificate, leaf) === 0
  return {
    label: `${isLeaf ? "The peer's certificate" : 'The CA certificate'} (${subjectText(parsed)})`,
    issuer: issuerText(parsed),
    validFrom: dateOf(parsed.validFrom),
    validTo: dateOf(parsed.validTo)
  }
}

function dateOf(text: string): string {
  const time = Date.parse(text)
  return Number.isNaN(time) ? text : new Date(time).toISOString().slice(0, 10)
}
