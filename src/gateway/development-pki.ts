/**
 * A CA and a certificate for a gateway that was given none: made on the first start, found again on the next ones.
 *
 * Invariants: private keys are 0600 in a folder that only its owner can enter; a certificate that lacks one of the
 * names, or runs out soon, is replaced while the CA stays the same, so that clients need not be told anything.
 * @module
 */

import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { hostname, networkInterfaces } from 'node:os'
import { join } from 'node:path'
import {
  type CertifiedKey,
  commonName,
  createCertificateAuthority,
  issueServerCertificate
} from '../crypto/certificate-authority.ts'
import { certificateCarries } from '../crypto/certificate-identity.ts'
import { keyMatchesCertificate, loadPrivateKey } from '../crypto/credentials.ts'
import { parseCertificates, toPem } from '../crypto/trust-store.ts'
import { DataError, SystemError } from '../errors.ts'
import { replaceFile } from '../host/atomic-file.ts'
import { ensurePrivateDirectory } from '../host/directories.ts'
import { identityFromText } from '../ike/auth/identity.ts'
import type { Logger } from '../log.ts'
import { Secret } from '../secret.ts'
import { plainAddress } from '../transport/plain-address.ts'
import type { GatewayCertificate } from './options.ts'

const AUTHORITY_NAME = 'ikestream development CA'
const DAY_MS = 86_400_000
const AUTHORITY_DAYS = 3650
/** What clients of today accept at most for a server. */
const CERTIFICATE_DAYS = 397
/** A certificate that is valid for less than this is replaced. */
const RENEW_DAYS = 30
/** Clocks of clients may be a little behind. */
const BACKDATE_MS = DAY_MS

export interface DevelopmentPki {
  readonly certificate: GatewayCertificate
  /** PEM file with the CA that clients have to trust. */
  readonly cafile: string
}

/**
 * @param directory made if it is not there
 * @param names what the certificate is for: host names, addresses, mail addresses
 * @throws SystemError when the folder cannot be used, DataError when its contents are damaged
 */
export async function developmentPki(
  directory: string,
  names: readonly [string, ...string[]],
  nowMs: number,
  log: Logger
): Promise<DevelopmentPki> {
  await ensurePrivateDirectory(directory)
  const authority = await loadAuthority(directory, nowMs, log)
  const cafile = join(directory, 'ca.pem')
  const stored = await loadPair(join(directory, 'gateway'))
  const usable =
    stored !== undefined && isIssuedBy(stored, authority) && covers(stored, names) && lastsAt(stored, nowMs)
  const issued = usable ? stored : await issue(directory, authority, names, nowMs, log)
  return { certificate: { chain: [issued.certificate], key: issued.privateKey }, cafile }
}

/** This machine's name and the addresses under which it can be asked for, if it listens on all of them. */
export function ownNames(): { readonly host: string; readonly addresses: readonly string[] } {
  const addresses = Object.values(networkInterfaces())
    .flatMap((one) => one ?? [])
    .map(({ address }) => plainAddress(address))
    .filter((address) => !address.startsWith('fe80:'))
  return { host: hostname(), addresses: [...new Set(addresses)] }
}

async function loadAuthority(directory: string, nowMs: number, log: Logger): Promise<CertifiedKey> {
  const stored = await loadPair(join(directory, 'ca'))
  if (stored !== undefined && lastsAt(stored, nowMs)) return stored
  const made = createCertificateAuthority(AUTHORITY_NAME, {
    notBeforeMs: nowMs - BACKDATE_MS,
    notAfterMs: nowMs + AUTHORITY_DAYS * DAY_MS
  })
  await storePair(join(directory, 'ca'), made)
  log.log('info', 'made a development CA', { directory })
  return made
}

async function issue(
  directory: string,
  authority: CertifiedKey,
  names: readonly [string, ...string[]],
  nowMs: number,
  log: Logger
): Promise<CertifiedKey> {
  const issued = issueServerCertificate(authority, names, {
    notBeforeMs: nowMs - BACKDATE_MS,
    notAfterMs: nowMs + CERTIFICATE_DAYS * DAY_MS
  })
  await storePair(join(directory, 'gateway'), issued)
  log.log('info', 'issued a development certificate', { names: names.join(', ') })
  return issued
}

async function storePair(base: string, pair: CertifiedKey): Promise<void> {
  try {
    // The key first: a certificate without its key would be of no use.
    await replaceFile(`${base}.key`, pair.privateKeyPem.reveal(), { mode: 0o600 })
    await replaceFile(`${base}.pem`, pair.certificatePem, { mode: 0o644 })
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new SystemError('pki-unwritable', `The certificate ${base}.pem cannot be written: ${why}.`, {
      cause
    })
  }
}

/** Undefined when there is none; half of a pair, or two halves that do not belong together, count as none. */
async function loadPair(base: string): Promise<CertifiedKey | undefined> {
  const [certificateBytes, keyBytes] = await Promise.all([read(`${base}.pem`), read(`${base}.key`)])
  if (certificateBytes === undefined || keyBytes === undefined) return undefined
  try {
    const [certificate] = parseCertificates(certificateBytes)
    const privateKey = loadPrivateKey(keyBytes)
    if (certificate === undefined || !keyMatchesCertificate(privateKey, certificate)) return undefined
    return {
      certificate,
      certificatePem: toPem('CERTIFICATE', certificate),
      privateKey,
      privateKeyPem: new Secret(keyBytes),
      subject: commonName(AUTHORITY_NAME)
    }
  } catch (cause) {
    throw new DataError('pki-damaged', `${base}.pem or ${base}.key is damaged.`, {
      hint: `Remove both: they are made again on the next start. Clients then need the new CA.`,
      cause
    })
  }
}

async function read(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path)
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new SystemError('pki-unreadable', `${path} cannot be read: ${why}.`, { cause })
  }
}

function isIssuedBy(pair: CertifiedKey, authority: CertifiedKey): boolean {
  const issuer = new X509Certificate(authority.certificate)
  return new X509Certificate(pair.certificate).verify(issuer.publicKey)
}

function covers(pair: CertifiedKey, names: readonly string[]): boolean {
  const certificate = new X509Certificate(pair.certificate)
  return names.every((name) => certificateCarries(certificate, identityFromText(name)))
}

function lastsAt(pair: CertifiedKey, nowMs: number): boolean {
  return Date.parse(new X509Certificate(pair.certificate).validTo) - nowMs > RENEW_DAYS * DAY_MS
}
