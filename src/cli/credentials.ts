/**
 * Turns the authentication options into credentials: files are read, secrets asked for, contradictions refused.
 * @module
 */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { loadTrustStore, parseCertificates, subjectDn } from '../crypto/certificate.ts'
import { keyMatchesCertificate, loadPkcs12, loadPrivateKey } from '../crypto/credentials.ts'
import { signingKeyFrom } from '../crypto/signature.ts'
import { ConfigurationError, DataError, UsageError } from '../errors.ts'
import { obtainSecret, parsePresharedKey } from '../host/secrets-input.ts'
import { identityFromText } from '../ike/auth/identity.ts'
import type { EapTlsCredentials, LocalAuth, RemoteAuth } from '../ike/auth/types.ts'
import type { Identity } from '../ike/types.ts'
import type { Logger } from '../log.ts'
import { Secret } from '../secret.ts'
import { IdType } from '../wire/ike-constants.ts'
import { readInput, systemBundles } from './files.ts'
import type { OptionValues } from './option-values.ts'

export interface Prompting {
  readonly nonInteractive: boolean
  readonly passwordOnStdin: boolean
  /** Secrets that a program has at hand; they win over files. */
  readonly given?: GivenSecrets | undefined
}

export interface GivenSecrets {
  readonly password?: Secret | undefined
  /** As in a file: text, 0x hex or 0s base64. */
  readonly psk?: Secret | undefined
  readonly keyPassword?: Secret | undefined
}

export interface Credentials {
  readonly localIdentity: Identity
  readonly remoteIdentity: Identity
  readonly localAuth: LocalAuth
  readonly remoteAuth: RemoteAuth
}

export interface CertificateAndKey {
  /** DER, leaf first. */
  readonly chain: readonly Uint8Array[]
  readonly key: KeyObject
}

/**
 * @throws UsageError for options that contradict each other or are missing, InputError and DataError for files
 */
export async function loadCredentials(
  options: OptionValues,
  server: string,
  prompting: Prompting,
  log: Logger
): Promise<Credentials> {
  refuseOrphans(options, prompting)
  const remoteIdentity = identityFromText(options.text('remote-identity') ?? server)
  if (options.text('psk-file') !== undefined || prompting.given?.psk !== undefined)
    return loadPsk(options, remoteIdentity, prompting, log)
  const certificate = await certificateOption(options, prompting, log)
  const remoteAuth: RemoteAuth = { method: 'certificate', trust: trustOf(options) }
  const user = options.text('user')
  if (user !== undefined) {
    const credentials = await eapCredentials(options, user, certificate, prompting, log)
    const localIdentity = identityFromText(options.text('identity') ?? user)
    return { localIdentity, remoteIdentity, remoteAuth, localAuth: { method: 'eap', credentials } }
  }
  if (certificate === undefined) {
    throw new UsageError('no-credentials', 'Nothing says how to authenticate.', {
      hint: 'Give --user (password), --certificate, or --psk-file.'
    })
  }
  return {
    localIdentity: certificateIdentity(options.text('identity'), certificate),
    remoteIdentity,
    remoteAuth,
    localAuth: { method: 'certificate', chain: certificate.chain, key: signingKeyFrom(certificate.key) }
  }
}

/** What only means something together with another option, and would be ignored without it. */
function refuseOrphans(options: OptionValues, prompting: Prompting): void {
  if (options.text('certificate') === undefined) {
    const orphan = ['sslkey', 'key-password-file'].find((name) => options.text(name) !== undefined)
    if (orphan !== undefined) throw needsOther(`--${orphan}`, '--certificate')
  }
  if (options.text('user') === undefined) {
    if (options.text('password-file') !== undefined) throw needsOther('--password-file', '--user')
    if (prompting.given?.password !== undefined) throw needsOther('A password', '--user')
    if (prompting.passwordOnStdin) throw needsOther('--passwd-on-stdin', '--user')
  }
}

function needsOther(option: string, other: string): UsageError {
  return new UsageError('incomplete-credentials', `${option} is of no use without ${other}.`, {
    hint: `Give ${other} too, or leave ${option} out.`
  })
}

/** The gateway proves itself with the key; the client with the key too, or with `--user` by EAP. */
async function loadPsk(
  options: OptionValues,
  remoteIdentity: Identity,
  prompting: Prompting,
  log: Logger
): Promise<Credentials> {
  const user = options.text('user')
  if (user === undefined && options.text('certificate') !== undefined) {
    throw new UsageError('contradicting-credentials', '--psk-file and --certificate contradict each other.', {
      hint: 'Leave one of them out; or add --user, to use the certificate for EAP-TLS.'
    })
  }
  const identity = options.text('identity') ?? user
  if (identity === undefined) {
    throw new UsageError('no-identity', 'With a pre-shared key an own identity is needed.', {
      hint: 'Give --identity, such as user@example.com or a host name that the gateway knows.'
    })
  }
  const file = { what: 'The pre-shared key', file: options.text('psk-file'), option: '--psk-file' }
  const text = prompting.given?.psk ?? (await obtainSecret(file, log))
  const secret = parsePresharedKey(text)
  const common = {
    localIdentity: identityFromText(identity),
    remoteIdentity,
    remoteAuth: { method: 'psk', secret }
  } as const
  if (user === undefined) return { ...common, localAuth: { method: 'psk', secret } }
  const certificate = await certificateOption(options, prompting, log)
  const credentials = await eapCredentials(options, user, certificate, prompting, log)
  return { ...common, localAuth: { method: 'eap', credentials } }
}

async function eapCredentials(
  options: OptionValues,
  user: string,
  certificate: CertificateAndKey | undefined,
  prompting: Prompting,
  log: Logger
): Promise<Extract<LocalAuth, { method: 'eap' }>['credentials']> {
  const given = prompting.given?.password
  const wantsPassword =
    given !== undefined || options.text('password-file') !== undefined || prompting.passwordOnStdin
  const tls = certificate === undefined ? undefined : eapTls(certificate, options)
  if (tls !== undefined && !wantsPassword) return { user, tls }
  const request = {
    what: `The password of ${user}`,
    file: options.text('password-file'),
    fromStdin: prompting.passwordOnStdin,
    nonInteractive: prompting.nonInteractive,
    option: '--password-file'
  }
  const password = given ?? (await obtainSecret(request, log))
  return { user, password, ...(tls && { tls }) }
}

/** EAP-TLS takes PEM. Its server is trusted through the same CAs as the gateway. */
function eapTls({ chain, key }: CertificateAndKey, options: OptionValues): EapTlsCredentials {
  return {
    certificateChain: chain.map(toPem).join(''),
    privateKey: new Secret(key.export({ format: 'pem', type: 'pkcs8' }).toString()),
    trustAnchors: trustOf(options).anchors.map(toPem)
  }
}

export function toPem(der: Uint8Array): string {
  return new X509Certificate(der).toString()
}

function trustOf(options: OptionValues): Extract<RemoteAuth, { method: 'certificate' }>['trust'] {
  const useSystem = options.enabled('system-trust')
  const cafiles = options.list('cafile').map((path) => readInput(path, 'The CA file'))
  if (!useSystem && cafiles.length === 0) {
    throw new UsageError('no-trust', 'No CA is trusted, so no gateway can prove who it is.', {
      hint: 'Give --cafile, or leave --no-system-trust out.'
    })
  }
  return loadTrustStore({
    cafiles,
    crlfiles: options.list('crlfile').map((path) => readInput(path, 'The revocation list')),
    useSystem,
    ...(useSystem && { systemBundles: systemBundles() })
  })
}

async function certificateOption(
  options: OptionValues,
  prompting: Prompting,
  log: Logger
): Promise<CertificateAndKey | undefined> {
  const path = options.text('certificate')
  if (path === undefined) return undefined
  const file = options.text('key-password-file')
  const request = { what: 'The password of the key', file, option: '--key-password-file' }
  const fromFile = file === undefined ? undefined : () => obtainSecret(request, log)
  const password = prompting.given?.keyPassword ?? (await fromFile?.())
  const ask = (): Promise<Secret> =>
    obtainSecret(
      {
        what: 'The password of the key',
        nonInteractive: prompting.nonInteractive,
        option: '--key-password-file'
      },
      log
    )
  return loadCertificateAndKey(path, options.text('sslkey'), password, ask)
}

/**
 * A certificate with its chain and private key: PKCS#12, or PEM or DER with the key in the same or another file.
 * @param ask for a password, when the key turns out to be encrypted and none was given
 */
export async function loadCertificateAndKey(
  path: string,
  keyPath: string | undefined,
  password: Secret | undefined,
  ask: () => Promise<Secret>
): Promise<CertificateAndKey> {
  const bytes = readInput(path, 'The certificate')
  if (isPkcs12(path, bytes)) {
    const contents = await withPassword(password, ask, (secret) => loadPkcs12(bytes, secret))
    return { chain: [contents.certificate, ...contents.chain], key: contents.privateKey }
  }
  const chain = parseCertificates(bytes)
  const keyBytes = keyPath === undefined ? bytes : readInput(keyPath, 'The private key')
  if (keyPath === undefined && !bytes.includes('PRIVATE KEY')) {
    throw new UsageError('no-private-key', `${path} holds no private key.`, {
      hint: 'Name its file with --sslkey.'
    })
  }
  const key = await withPassword(password, ask, async (secret) => loadPrivateKey(keyBytes, secret))
  const [leaf] = chain
  if (leaf === undefined || !keyMatchesCertificate(key, leaf)) {
    throw new ConfigurationError(
      'key-mismatch',
      `The private key does not belong to the certificate in ${path}.`,
      {
        hint: 'The first certificate in the file must be that of the key; intermediates follow it.'
      }
    )
  }
  return {
    chain,
    key: createPrivateKey({ key: key.export({ format: 'der', type: 'pkcs8' }), format: 'der', type: 'pkcs8' })
  }
}

function isPkcs12(path: string, bytes: Buffer): boolean {
  if (/\.(p12|pfx)$/i.test(path)) return true
  // A PFX is a SEQUENCE that begins with INTEGER 3 (RFC 7292); a certificate begins with another SEQUENCE.
  return (
    bytes[0] === 0x30 &&
    bytes.indexOf(Buffer.from([0x02, 0x01, 0x03])) === (bytes[1] === 0x80 ? 2 : lengthOctets(bytes))
  )
}

function lengthOctets(bytes: Buffer): number {
  const first = bytes[1] ?? 0
  return 2 + (first > 0x80 ? first & 0x7f : 0)
}

async function withPassword<T>(
  password: Secret | undefined,
  ask: () => Promise<Secret>,
  load: (password: Secret | undefined) => Promise<T>
): Promise<T> {
  try {
    return await load(password)
  } catch (error) {
    if (password !== undefined || !isPasswordNeeded(error)) throw error
    return load(await ask())
  }
}

/** PKCS#12 cannot tell a missing password from a wrong one. */
function isPasswordNeeded(error: unknown): boolean {
  const codes = ['private-key-password-needed', 'pkcs12-wrong-password']
  return error instanceof DataError && codes.includes(error.code)
}

/** IDi of a certificate: as asked, else its first DNS name or e-mail address, else its subject (RFC 7296 section 3.5). */
function certificateIdentity(wanted: string | undefined, { chain }: CertificateAndKey): Identity {
  if (wanted !== undefined) return identityFromText(wanted)
  const [leaf] = chain
  if (leaf === undefined) throw new DataError('certificate-unreadable', 'The file holds no certificate.')
  const names = new X509Certificate(leaf).subjectAltName ?? ''
  const name = /(?:^|, )DNS:([^,"]+)/.exec(names)?.[1] ?? /(?:^|, )email:([^,"]+)/.exec(names)?.[1]
  return name === undefined ? { idType: IdType.DER_ASN1_DN, data: subjectDn(leaf) } : identityFromText(name)
}
