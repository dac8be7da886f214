import {
  type IdentityLike,
  type PathRequest,
  validateCertificatePath
} from '../../../src/crypto/certificate.ts'
import {
  type CertificateRequest,
  type CertifiedKey,
  createCertificateAuthority,
  issueCertificate,
  issueServerCertificate
} from '../../../src/crypto/certificate-authority.ts'
import { IdType } from '../../../src/wire/ike-constants.ts'

export const NOW = Date.UTC(2027, 5, 1)
export const DAY = 86_400_000
export const VALID = { notBeforeMs: NOW - 30 * DAY, notAfterMs: NOW + 30 * DAY }

export const root = createCertificateAuthority('Example Root', {
  notBeforeMs: NOW - 90 * DAY,
  notAfterMs: NOW + 90 * DAY
})
export const intermediate = issueCertificate(
  {
    ...VALID,
    subject: 'Example Intermediate',
    extensions: { ca: { pathLength: 0 }, keyUsage: ['keyCertSign', 'cRLSign'] }
  },
  root
)
export const server = issueServerCertificate(
  intermediate,
  ['gw.example', '*.wild.example', '192.0.2.1', '2001:db8::1', 'ike@gw.example'],
  VALID
)

export const fqdn = (name: string): IdentityLike => ({ idType: IdType.FQDN, data: Buffer.from(name) })

export function judge(leaf: CertifiedKey | Uint8Array, changes: Partial<PathRequest> = {}) {
  return validateCertificatePath({
    leaf: leaf instanceof Uint8Array ? leaf : leaf.certificate,
    intermediates: [intermediate.certificate],
    trust: { anchors: [root.certificate], crls: [] },
    atMs: NOW,
    identity: fqdn('gw.example'),
    purpose: 'server',
    ...changes
  })
}

export function codeOf(verdict: ReturnType<typeof judge>): string {
  return verdict.ok ? 'ok' : verdict.code
}

/** A leaf for `gw.example` below the intermediate, with changes. */
export function leaf(
  changes: Partial<CertificateRequest> = {},
  issuer: CertifiedKey = intermediate
): CertifiedKey {
  const extensions = { altNames: ['gw.example'], ...changes.extensions }
  return issueCertificate({ ...VALID, subject: 'gw.example', ...changes, extensions }, issuer)
}
