/**
 * Private keys and PKCS#12 files as people have them: PEM or DER, PKCS#1, PKCS#8 or SEC1, encrypted or not.
 * Callers read the files. No error ever holds a password or key.
 * @module
 */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { DataError } from '../errors.ts'
import type { Secret } from '../secret.ts'
import { isEncryptedKeyInfo, MAX_ROUNDS, roundsOfKeyInfo } from './kdf-work.ts'
import { readPkcs12 } from './pkcs12.ts'

/**
 * The first private key of a PEM file (certificates in it are passed over), or the one of a DER file.
 *
 * @param password ignored when the key is not encrypted
 * @throws DataError `private-key-unreadable`, `private-key-password-needed`, `private-key-wrong-password`
 */
export function loadPrivateKey(bytes: Uint8Array, password?: Secret): KeyObject {
  const passphrase = password === undefined ? {} : { passphrase: Buffer.from(password.reveal()) }
  const pem = firstPemKey(Buffer.from(bytes).toString('latin1'))
  let firstFailure: unknown
  for (const form of pem === undefined ? derForms(bytes) : [pemForm(pem)]) {
    try {
      return createPrivateKey({ ...form, ...passphrase })
    } catch (error) {
      // Only PKCS#8, which comes first, is ever encrypted in DER.
      firstFailure ??= error
    }
  }
  throw keyError(firstFailure, isEncrypted(bytes, pem), password !== undefined)
}

interface PemKey {
  readonly label: string
  /** With its two boundaries. */
  readonly block: string
}

const ENCRYPTED_LABEL = 'ENCRYPTED PRIVATE KEY'
const PEM_END = /-----END ((?:[A-Z0-9]+ )*PRIVATE KEY)-----/g

/** Each part of the text is looked at a few times at most: a block goes from an end back to the beginning in front of it. */
function firstPemKey(text: string): PemKey | undefined {
  let from = 0
  for (const end of text.matchAll(PEM_END)) {
    const [boundary, label = ''] = end
    const start = text.slice(from, end.index).lastIndexOf(`-----BEGIN ${label}-----`)
    if (start >= 0) return { label, block: text.slice(from + start, end.index + boundary.length) }
    from = end.index + boundary.length
  }
  return undefined
}

type KeyForm =
  | { readonly key: string; readonly format: 'pem' }
  | { readonly key: Buffer; readonly format: 'der'; readonly type: 'pkcs8' | 'pkcs1' | 'sec1' }

/** @throws DataError for one that would take too long to open */
function pemForm({ label, block }: PemKey): KeyForm {
  if (label !== ENCRYPTED_LABEL) return { key: block, format: 'pem' }
  const base64 = block.slice(`-----BEGIN ${label}-----`.length, block.lastIndexOf('-----END '))
  return encryptedForm(Buffer.from(base64, 'base64'))
}

/** @throws DataError for one that would take too long to open */
function derForms(bytes: Uint8Array): KeyForm[] {
  const key = Buffer.from(bytes)
  const pkcs8 = isEncryptedKeyInfo(bytes) ? encryptedForm(key) : formOf(key, 'pkcs8')
  return [pkcs8, formOf(key, 'pkcs1'), formOf(key, 'sec1')]
}

function formOf(key: Buffer, type: 'pkcs8' | 'pkcs1' | 'sec1'): KeyForm {
  return { key, format: 'der', type }
}

/** What was judged is what is opened: the same bytes. */
function encryptedForm(key: Buffer): KeyForm {
  const rounds = roundsOfKeyInfo(key)
  if (rounds === undefined || rounds > MAX_ROUNDS)
    throw new DataError(
      'private-key-unreadable',
      rounds === undefined
        ? 'The encrypted private key is damaged, or encrypted in a way that is not known here.'
        : `The private key asks for more than ${MAX_ROUNDS} rounds of key derivation.`,
      { hint: 'Encrypt it anew with "openssl pkcs8 -topk8 -in <key> -out <new key>".' }
    )
  return formOf(key, 'pkcs8')
}

function isEncrypted(bytes: Uint8Array, pem: PemKey | undefined): boolean {
  if (pem !== undefined) return pem.label === ENCRYPTED_LABEL || pem.block.includes('Proc-Type: 4,ENCRYPTED')
  // The OID prefix of PKCS#5 schemes (1.2.840.113549.1.5), which only EncryptedPrivateKeyInfo holds.
  return Buffer.from(bytes.subarray(0, 64)).includes(Buffer.from('2a864886f70d0105', 'hex'))
}

function keyError(failure: unknown, encrypted: boolean, hadPassword: boolean): DataError {
  if (encrypted && !hadPassword)
    return new DataError('private-key-password-needed', 'The private key is encrypted.', {
      hint: 'Give its password with --key-password-file.'
    })
  if (encrypted && isUnsupported(failure))
    return new DataError('private-key-unreadable', 'The private key is encrypted with an outdated cipher.', {
      hint: 'Convert it with "openssl pkcs8 -topk8 -provider legacy -provider default -in <key> -out <new key>".'
    })
  if (encrypted)
    return new DataError('private-key-wrong-password', 'The password of the private key is wrong.', {
      hint: 'Check the password file; a trailing space counts.'
    })
  return new DataError('private-key-unreadable', 'The file holds no private key that can be read.', {
    hint: 'Give a key in PEM ("-----BEGIN PRIVATE KEY-----") or DER; for PKCS#12 name a .p12 or .pfx file.'
  })
}

function isUnsupported(error: unknown): boolean {
  const { code } = error as { code?: unknown }
  return code === 'ERR_OSSL_EVP_UNSUPPORTED' || code === 'ERR_OSSL_UNSUPPORTED'
}

/** Whether the certificate was made for this private key. False for anything that is not a certificate. */
export function keyMatchesCertificate(privateKey: KeyObject, certificate: Uint8Array): boolean {
  try {
    return new X509Certificate(certificate).checkPrivateKey(privateKey)
  } catch {
    return false
  }
}

export interface Pkcs12Contents {
  readonly privateKey: KeyObject
  /** DER of the certificate that belongs to the key. */
  readonly certificate: Uint8Array
  /** DER of the other certificates: the leaf's issuer first, then its issuer, then any that do not link. */
  readonly chain: readonly Uint8Array[]
}

/**
 * Key, certificate and chain out of a PKCS#12 file (RFC 7292), of today's kind or the legacy one.
 *
 * @param password undefined: tried with none
 * @throws DataError `pkcs12-wrong-password`, `pkcs12-no-key`, `pkcs12-no-certificate`, `pkcs12-unsupported`
 */
export async function loadPkcs12(bytes: Uint8Array, password?: Secret): Promise<Pkcs12Contents> {
  const { keys, certificates } = await readPkcs12(bytes, password)
  const [pkcs8, ...moreKeys] = keys
  if (pkcs8 === undefined)
    throw new DataError('pkcs12-no-key', 'The PKCS#12 file holds no private key.', {
      hint: 'Export it again together with the private key.'
    })
  if (moreKeys.length > 0)
    throw new DataError(
      'pkcs12-unsupported',
      `The PKCS#12 file holds ${keys.length} private keys instead of one.`,
      {
        hint: 'Export the one certificate and key that are meant.'
      }
    )
  const privateKey = loadPrivateKey(pkcs8)
  pkcs8.fill(0)
  const certificate = certificates.find((candidate) => keyMatchesCertificate(privateKey, candidate))
  if (certificate === undefined)
    throw new DataError(
      'pkcs12-no-certificate',
      'The PKCS#12 file holds no certificate for its private key.',
      {
        hint: 'Export it again together with its certificate.'
      }
    )
  return { privateKey, certificate, chain: orderChain(certificate, certificates) }
}

/** The others, each after the one that it issued; those that link to nothing at the end, and what is no certificate nowhere. */
function orderChain(leaf: Uint8Array, certificates: readonly Uint8Array[]): Uint8Array[] {
  const rest = new Map<Uint8Array, X509Certificate>()
  for (const certificate of certificates) {
    const parsed = certificate === leaf ? undefined : parsedCertificate(certificate)
    if (parsed !== undefined) rest.set(certificate, parsed)
  }
  const chain: Uint8Array[] = []
  for (let subject = parsedCertificate(leaf); subject !== undefined; ) {
    const issued = subject
    const issuer = [...rest].find(([, candidate]) => issued.checkIssued(candidate))
    if (issuer !== undefined) chain.push(issuer[0])
    if (issuer !== undefined) rest.delete(issuer[0])
    subject = issuer?.[1]
  }
  return [...chain, ...rest.keys()]
}

function parsedCertificate(certificate: Uint8Array): X509Certificate | undefined {
  try {
    return new X509Certificate(certificate)
  } catch {
    return undefined
  }
}
