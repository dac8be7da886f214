/**
 * Private keys and PKCS#12 files as people have them: PEM or DER, PKCS#1, PKCS#8 or SEC1, encrypted or not.
 * Callers read the files. No error ever holds a password or key.
 * @module
 */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { DataError } from '../errors.ts'
import type { Secret } from '../secret.ts'
import { readPkcs12 } from './pkcs12.ts'

const PEM_KEY = /-----BEGIN ((?:[A-Z0-9]+ )*PRIVATE KEY)-----[\s\S]*?-----END \1-----/

/**
 * The first private key of a PEM file (certificates in it are passed over), or the one of a DER file.
 *
 * @param password ignored when the key is not encrypted
 * @throws DataError `private-key-unreadable`, `private-key-password-needed`, `private-key-wrong-password`
 */
export function loadPrivateKey(bytes: Uint8Array, password?: Secret): KeyObject {
  const passphrase = password === undefined ? {} : { passphrase: Buffer.from(password.reveal()) }
  const pem = PEM_KEY.exec(Buffer.from(bytes).toString('latin1'))
  const forms =
    pem === null
      ? (['pkcs8', 'pkcs1', 'sec1'] as const).map(
          (type) => ({ key: Buffer.from(bytes), format: 'der', type }) as const
        )
      : [{ key: pem[0], format: 'pem' } as const]
  let firstFailure: unknown
  for (const form of forms) {
    try {
      return createPrivateKey({ ...form, ...passphrase })
    } catch (error) {
      // Only PKCS#8, which comes first, is ever encrypted in DER.
      firstFailure ??= error
    }
  }
  throw keyError(firstFailure, isEncrypted(bytes, pem), password !== undefined)
}

function isEncrypted(bytes: Uint8Array, pem: RegExpExecArray | null): boolean {
  if (pem !== null) return pem[1] === 'ENCRYPTED PRIVATE KEY' || pem[0].includes('Proc-Type: 4,ENCRYPTED')
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

/** The others, each after the one that it issued; those that link to nothing at the end. */
function orderChain(leaf: Uint8Array, certificates: readonly Uint8Array[]): Uint8Array[] {
  const rest = new Set(certificates.filter((certificate) => certificate !== leaf))
  const chain: Uint8Array[] = []
  for (let current: Uint8Array | undefined = leaf; current !== undefined; ) {
    const subject = new X509Certificate(current)
    const issuer: Uint8Array | undefined = [...rest].find((candidate) =>
      subject.checkIssued(new X509Certificate(candidate))
    )
    if (issuer !== undefined) chain.push(issuer)
    if (issuer !== undefined) rest.delete(issuer)
    current = issuer
  }
  return [...chain, ...rest]
}
