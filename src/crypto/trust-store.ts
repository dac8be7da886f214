/**
 * Certificates and CRLs out of files, and the trust anchors that paths are validated against. Callers read the files.
 * @module
 */
import { X509Certificate } from 'node:crypto'
import { rootCertificates } from 'node:tls'
import { DataError } from '../errors.ts'
import { readDerSequence } from './der.ts'

export interface TrustStore {
  /** DER. Each is trusted as it is, also when it is not self-signed. */
  readonly anchors: readonly Uint8Array[]
  /** DER. When there are any, the peer's certificate must be covered by one. */
  readonly crls: readonly Uint8Array[]
  /** The anchors include the system's. */
  readonly system?: boolean | undefined
}

/** Where Linux distributions keep their bundle of roots; the first that exists is the one. */
export const SYSTEM_BUNDLE_PATHS: readonly string[] = [
  '/etc/ssl/certs/ca-certificates.crt', // Debian, Ubuntu, Alpine, Arch
  '/etc/pki/tls/certs/ca-bundle.crt', // Fedora, RHEL
  '/etc/ssl/ca-bundle.pem', // openSUSE
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/cert.pem'
]

export interface TrustSources {
  /** Contents of files with trust anchors, PEM bundles or DER. */
  readonly cafiles: readonly Uint8Array[]
  /** Contents of files with CRLs, PEM or DER. */
  readonly crlfiles?: readonly Uint8Array[] | undefined
  readonly useSystem: boolean
  /** Contents of the system's bundle; Node's own list of roots when there is none. */
  readonly systemBundles?: readonly Uint8Array[] | undefined
}

/** @throws DataError when a file holds no certificate or CRL */
export function loadTrustStore(sources: TrustSources): TrustStore {
  const system = sources.useSystem ? systemAnchors(sources.systemBundles ?? []) : []
  const unique = new Map<string, Uint8Array>()
  for (const anchor of [...sources.cafiles.flatMap(parseCertificates), ...system])
    unique.set(Buffer.from(anchor).toString('base64'), anchor)
  return {
    anchors: [...unique.values()],
    crls: (sources.crlfiles ?? []).flatMap(parseCrls),
    system: sources.useSystem
  }
}

function systemAnchors(bundles: readonly Uint8Array[]): Uint8Array[] {
  if (bundles.length === 0) return rootCertificates.flatMap((pem) => pemBlocks(pem, CERTIFICATE_LABELS))
  // A root that cannot be parsed is no reason to refuse the whole bundle: it can never be an anchor.
  return bundles.flatMap((bytes) => pemBlocks(textOf(bytes), CERTIFICATE_LABELS)).filter(isCertificate)
}

const CERTIFICATE_LABELS: readonly string[] = ['CERTIFICATE', 'X509 CERTIFICATE']
const CRL_LABELS: readonly string[] = ['X509 CRL']

/**
 * The certificates of a PEM bundle, or the single one of a DER file, in order, as DER.
 *
 * @throws DataError `certificate-unreadable` when there is none or one of them is damaged
 */
export function parseCertificates(bytes: Uint8Array): Uint8Array[] {
  const found = derOrPem(bytes, CERTIFICATE_LABELS)
  if (found.length === 0)
    throw new DataError('certificate-unreadable', 'The file holds no certificate.', {
      hint: 'Give a certificate in PEM ("-----BEGIN CERTIFICATE-----") or DER; for PKCS#12 name a .p12 or .pfx file.'
    })
  const damaged = found.findIndex((certificate) => !isCertificate(certificate))
  if (damaged >= 0)
    throw new DataError('certificate-unreadable', `Certificate ${damaged + 1} of the file is damaged.`, {
      hint: 'Check it with "openssl x509 -noout -text -in <file>".'
    })
  return found
}

/**
 * The CRLs of a PEM or DER file, as DER.
 *
 * @throws DataError `crl-unreadable`
 */
export function parseCrls(bytes: Uint8Array): Uint8Array[] {
  const found = derOrPem(bytes, CRL_LABELS)
  if (found.length === 0 || found.some((crl) => readDerSequence(crl)?.length !== 3))
    throw new DataError('crl-unreadable', 'The file holds no certificate revocation list.', {
      hint: 'Give a CRL in PEM ("-----BEGIN X509 CRL-----") or DER.'
    })
  return found
}

function derOrPem(bytes: Uint8Array, labels: readonly string[]): Uint8Array[] {
  const blocks = pemBlocks(textOf(bytes), labels)
  if (blocks.length > 0) return blocks
  return readDerSequence(bytes) === undefined ? [] : [Uint8Array.from(bytes)]
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
}

/** Bodies of the PEM blocks with one of these labels (RFC 7468). */
function pemBlocks(text: string, labels: readonly string[]): Uint8Array[] {
  const blocks: Uint8Array[] = []
  const pattern = /-----BEGIN ([A-Z0-9 ]+)-----([^-]*)-----END \1-----/g
  for (const [, label = '', body = ''] of text.matchAll(pattern))
    if (labels.includes(label)) blocks.push(Uint8Array.from(Buffer.from(body, 'base64')))
  return blocks
}

function isCertificate(bytes: Uint8Array): boolean {
  try {
    return new X509Certificate(bytes).raw.length === bytes.length
  } catch {
    return false
  }
}

/** One PEM block. */
export function toPem(label: string, bytes: Uint8Array): string {
  const lines =
    Buffer.from(bytes)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`
}
