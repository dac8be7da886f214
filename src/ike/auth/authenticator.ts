/**
 * Making and checking AUTH payloads for every kind of credential (RFC 7296 sections 2.15, 2.16; RFC 7427).
 *
 * Whatever a peer sends, `verifyAuth` answers with a result; its errors say what the user can do, and never hold a secret.
 * @module
 */
import {
  type PathRequest,
  type PathVerdict,
  publicKeyHash,
  type TrustStore,
  validateCertificatePath
} from '../../crypto/certificate.ts'
import { chooseSignature, createSignatureAuth, verifySignatureAuth } from '../../crypto/signature.ts'
import type { Prf } from '../../crypto/types.ts'
import { AuthenticationError, type IkestreamError, InternalError, SystemError } from '../../errors.ts'
import { AuthMethod, CertEncoding, nameOf, PayloadType } from '../../wire/ike-constants.ts'
import type { CertPayload } from '../../wire/ike-message.ts'
import type { Identity } from '../types.ts'
import { formatIdentity, identityMatches } from './identity.ts'
import { sharedKeyAuth, verifySharedKeyAuth } from './psk.ts'
import type { LocalAuth, RemoteAuth } from './types.ts'

/** What both making and checking need of the IKE SA. */
export interface AuthContext {
  readonly prf: Prf
  /** From `signedOctets` for the end whose AUTH payload this is. */
  readonly octets: Uint8Array
  /**
   * After EAP only: the MSK, or SK_pi (SK_pr) of the end whose AUTH this is if the method derived none
   * (RFC 7296 section 2.16).
   */
  readonly eapKey?: Uint8Array | undefined
}

export interface CreateAuthContext extends AuthContext {
  /** The peer's SIGNATURE_HASH_ALGORITHMS; undefined: it sent none, so that RFC 7427 signatures are not for it. */
  readonly peerHashes: readonly number[] | undefined
}

export interface AuthData {
  /** An `AuthMethod`. */
  readonly method: number
  readonly data: Uint8Array
}

export interface ReceivedAuth extends AuthData {
  /** From the ID payload that came along. */
  readonly identity: Identity
  /** DER from CERT payloads, leaf first. */
  readonly certificates: readonly Uint8Array[]
  /** Who it must be; undefined: whoever it proves to be. */
  readonly expectedIdentity?: Identity | undefined
  /** Wall-clock time for certificates, milliseconds since 1970. */
  readonly atMs: number
  /** The SIGNATURE_HASH_ALGORITHMS that this end announced. */
  readonly acceptedHashes: readonly number[]
  /** What the certificate must be good for. */
  readonly purpose: PathRequest['purpose']
}

export type AuthVerdict =
  /** `detail` says for a log how the peer proved itself. */
  { readonly ok: true; readonly detail: string } | { readonly ok: false; readonly error: IkestreamError }

/**
 * This end's AUTH payload.
 * @throws AuthenticationError if the peer accepts no signature that the key can make
 * @throws InternalError for EAP without a key
 */
export function createAuth(localAuth: LocalAuth, context: CreateAuthContext): AuthData {
  switch (localAuth.method) {
    case 'psk':
      return sharedKey(context, localAuth.secret.reveal())
    case 'eap':
      return createEapAuth(context)
    case 'certificate': {
      const choice = chooseSignature(localAuth.key, context.peerHashes)
      if (choice === undefined) throw noCommonSignature(localAuth.key.kind)
      const data = createSignatureAuth(localAuth.key, choice, context.octets)
      return { method: choice.authMethod, data }
    }
  }
}

/** The AUTH payload of either end after EAP has succeeded. */
export function createEapAuth(context: AuthContext): AuthData {
  return sharedKey(context, eapKeyOf(context))
}

/** Checks the other end's AUTH payload, and that the identity is proven and expected. */
export function verifyAuth(
  remoteAuth: RemoteAuth,
  context: AuthContext,
  received: ReceivedAuth
): AuthVerdict {
  switch (remoteAuth.method) {
    case 'psk':
      return verifyPsk(remoteAuth.secret.reveal(), context, received)
    case 'eap':
      return verifyEapAuth(context, received)
    case 'certificate':
      return verifyCertificate(remoteAuth.trust, context, received)
  }
}

/** Checks either end's AUTH payload after EAP has succeeded: both ends send one then. */
export function verifyEapAuth(context: AuthContext, received: AuthData): AuthVerdict {
  if (received.method !== AuthMethod.SHARED_KEY_MIC) return refuse(unacceptableMethod(received.method, 'EAP'))
  if (verifySharedKeyAuth(context.prf, eapKeyOf(context), context.octets, received.data)) {
    return { ok: true, detail: 'EAP' }
  }
  return refuse(
    new AuthenticationError(
      'auth-eap-key-mismatch',
      'EAP succeeded, but the two ends do not hold the same key from it.',
      {
        hint: 'Somebody may stand between the two ends, or the EAP server and the gateway disagree: ask its operator.'
      }
    )
  )
}

/** Data of a CERTREQ payload: the hashes of the trust anchors' public keys (RFC 7296 section 3.7). */
export function certificateRequest(trust: TrustStore): Uint8Array {
  const hashes = trust.anchors.map((anchor) => publicKeyHash(anchor)).filter((hash) => hash !== undefined)
  const data = new Uint8Array(hashes.reduce((sum, hash) => sum + hash.length, 0))
  let offset = 0
  for (const hash of hashes) {
    data.set(hash, offset)
    offset += hash.length
  }
  return data
}

/** The CERT payloads that go with this end's AUTH: leaf first; none unless it authenticates with a certificate. */
export function certificatePayloads(localAuth: LocalAuth): CertPayload[] {
  if (localAuth.method !== 'certificate') return []
  return localAuth.chain.map((data) => ({
    type: PayloadType.CERT,
    encoding: CertEncoding.X509_SIGNATURE,
    data
  }))
}

function sharedKey(context: AuthContext, secret: Uint8Array): AuthData {
  return { method: AuthMethod.SHARED_KEY_MIC, data: sharedKeyAuth(context.prf, secret, context.octets) }
}

function eapKeyOf(context: AuthContext): Uint8Array {
  if (context.eapKey === undefined) {
    throw new InternalError('auth-no-eap-key', 'AUTH after EAP was asked for before EAP had a key.')
  }
  return context.eapKey
}

function verifyPsk(secret: Uint8Array, context: AuthContext, received: ReceivedAuth): AuthVerdict {
  if (received.method !== AuthMethod.SHARED_KEY_MIC) {
    return refuse(unacceptableMethod(received.method, 'a pre-shared key'))
  }
  if (!verifySharedKeyAuth(context.prf, secret, context.octets, received.data)) {
    const who = formatIdentity(received.identity)
    return refuse(
      new AuthenticationError(
        'auth-psk-mismatch',
        `The pre-shared key here is not the one that ${who} uses.`,
        {
          hint: 'Compare the keys on both ends: letter case, trailing spaces, and whether 0x or 0s is meant as a prefix.'
        }
      )
    )
  }
  const { expectedIdentity } = received
  if (expectedIdentity !== undefined && !identityMatches(expectedIdentity, received.identity)) {
    return refuse(wrongIdentity(expectedIdentity, received.identity))
  }
  return { ok: true, detail: 'pre-shared key' }
}

function verifyCertificate(trust: TrustStore, context: AuthContext, received: ReceivedAuth): AuthVerdict {
  if (received.method === AuthMethod.SHARED_KEY_MIC || received.method === AuthMethod.NULL) {
    return refuse(unacceptableMethod(received.method, 'a certificate'))
  }
  const [leaf, ...intermediates] = received.certificates
  const who = formatIdentity(received.identity)
  if (leaf === undefined) {
    return refuse(
      new AuthenticationError(
        'auth-no-certificate',
        `${who} signed, but sent no certificate to check that with.`,
        {
          hint: 'Make the other end send its certificate (strongSwan: send_cert = always).'
        }
      )
    )
  }
  const path = { leaf, intermediates, trust, atMs: received.atMs, purpose: received.purpose }
  const proven = validateCertificatePath({ ...path, identity: received.identity })
  if (!proven.ok) return refuse(badCertificate(proven))
  const signature = verifySignatureAuth(
    proven.publicKey,
    received.method,
    received.data,
    context.octets,
    received.acceptedHashes
  )
  if (!signature.ok) return refuse(badSignature(who, signature.reason))
  const { expectedIdentity } = received
  if (expectedIdentity !== undefined && !identityMatches(expectedIdentity, received.identity)) {
    // A gateway may call itself by its subject or address: its certificate may still hold the name that was asked for.
    const alsoProven = validateCertificatePath({ ...path, identity: expectedIdentity })
    if (!alsoProven.ok) return refuse(wrongIdentity(expectedIdentity, received.identity))
  }
  return { ok: true, detail: `certificate of ${proven.subject}` }
}

function refuse(error: IkestreamError): AuthVerdict {
  return { ok: false, error }
}

function wrongIdentity(expected: Identity, actual: Identity): IkestreamError {
  const wanted = formatIdentity(expected)
  const got = formatIdentity(actual)
  return new AuthenticationError(
    'auth-identity-mismatch',
    `The other end proved to be ${got}, but ${wanted} was expected.`,
    { hint: `If that is the gateway you mean, connect with --remote-identity ${JSON.stringify(got)}.` }
  )
}

function noCommonSignature(kind: string): IkestreamError {
  return new AuthenticationError(
    'auth-no-common-signature',
    `The other end accepts no signature that this end's ${kind} key can make.`,
    { hint: 'Use a certificate with a key of another kind; RSA keys are understood nearly everywhere.' }
  )
}

function badCertificate(fault: Extract<PathVerdict, { ok: false }>): IkestreamError {
  const Family = fault.code === 'unavailable' ? SystemError : AuthenticationError
  return new Family(`certificate-${fault.code}`, fault.message, { hint: fault.hint })
}

function badSignature(who: string, reason: string): IkestreamError {
  return new AuthenticationError('auth-bad-signature', `The signature of ${who} is not valid: ${reason}.`, {
    hint: 'The certificate that was sent may not belong to the key that signed; ask the operator of the other end.'
  })
}

function unacceptableMethod(method: number, demanded: string): IkestreamError {
  const used =
    method === AuthMethod.SHARED_KEY_MIC
      ? 'a pre-shared key'
      : method === AuthMethod.NULL
        ? 'no authentication at all'
        : `a signature (${nameOf(AuthMethod, method, 'method ')})`
  const hint =
    demanded === 'a certificate'
      ? 'If the gateway really uses a pre-shared key, give it with --psk-file.'
      : demanded === 'a pre-shared key'
        ? 'If the gateway really uses a certificate, leave --psk-file out and give its CA with --cafile.'
        : 'Ask the operator of the other end which way of authentication it is set up for.'
  return new AuthenticationError(
    'auth-method-unacceptable',
    `The other end authenticated with ${used}, but ${demanded} is demanded of it.`,
    { hint }
  )
}
