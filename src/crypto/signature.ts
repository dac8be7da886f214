/**
 * Digital signatures in AUTH payloads: method 14 (RFC 7427, RFC 8420) and the methods before it (RFC 7296 section 2.15,
 * RFC 4754). `octets` is always what section 2.15 says is signed; hashing it is part of the signature scheme.
 *
 * SHA-1 is accepted with method 1 alone, and no RSA key below 2048 bits ever is.
 * @module
 */
import { sign as cryptoSign, verify as cryptoVerify, type KeyObject } from 'node:crypto'
import { DataError, InternalError } from '../errors.ts'
import { AuthMethod, HashAlgorithmId } from '../wire/ike-constants.ts'
import { type SignatureScheme, schemeOfAlgorithm, signatureScheme } from './signature-scheme.ts'

type EcdsaCurve = 'P-256' | 'P-384' | 'P-521'

/** A private key that signs; the key itself cannot be read out of it. */
export interface SigningKey {
  readonly kind: 'rsa' | 'ecdsa' | 'ed25519'
  /** Of the RSA modulus. */
  readonly bits?: number | undefined
  readonly curve?: EcdsaCurve | undefined
  /** RSA keys that are marked for PSS alone (RFC 4055 section 1.2). */
  readonly pssOnly?: boolean | undefined
  /**
   * @param scheme a name that `chooseSignature` gave
   * @throws InternalError when the scheme is not one for this key
   */
  sign(scheme: string, octets: Uint8Array): Uint8Array
}

/** What SIGNATURE_HASH_ALGORITHMS should offer (RFC 7427 section 4). */
export const SUPPORTED_SIGNATURE_HASHES: readonly number[] = [
  HashAlgorithmId.SHA2_256,
  HashAlgorithmId.SHA2_384,
  HashAlgorithmId.SHA2_512,
  HashAlgorithmId.IDENTITY
]

const MIN_RSA_BITS = 2048
/** Above 3072 bits an RSA key is worth more than SHA2-256. */
const LARGE_RSA_BITS = 3072

interface CurveTraits {
  readonly curve: EcdsaCurve
  readonly hash: string
  readonly legacyMethod: number
  /** Bytes of r and of s. */
  readonly length: number
}
const CURVES: Readonly<Record<string, CurveTraits>> = {
  prime256v1: { curve: 'P-256', hash: 'sha256', legacyMethod: AuthMethod.ECDSA_SHA256_P256, length: 32 },
  secp384r1: { curve: 'P-384', hash: 'sha384', legacyMethod: AuthMethod.ECDSA_SHA384_P384, length: 48 },
  secp521r1: { curve: 'P-521', hash: 'sha512', legacyMethod: AuthMethod.ECDSA_SHA512_P521, length: 66 }
}

type KeyTraits = Pick<SigningKey, 'kind' | 'bits' | 'curve' | 'pssOnly'>

/** Kind and size of a key; a sentence when IKEv2 or this program has no use for it. */
function traitsOf(key: KeyObject): KeyTraits | string {
  const details = key.asymmetricKeyDetails ?? {}
  switch (key.asymmetricKeyType) {
    case 'rsa':
    case 'rsa-pss': {
      const bits = details.modulusLength ?? 0
      if (bits < MIN_RSA_BITS)
        return `an RSA key of ${bits} bits is too weak; at least ${MIN_RSA_BITS} are needed`
      return { kind: 'rsa', bits, pssOnly: key.asymmetricKeyType === 'rsa-pss' }
    }
    case 'ec': {
      const traits = CURVES[details.namedCurve ?? '']
      if (traits === undefined)
        return `the elliptic curve ${details.namedCurve ?? 'of the key'} is not one of P-256, P-384 and P-521`
      return { kind: 'ecdsa', curve: traits.curve }
    }
    case 'ed25519':
      return { kind: 'ed25519' }
    default:
      return `keys of type ${key.asymmetricKeyType ?? 'secret'} cannot sign in IKEv2`
  }
}

/**
 * The signer for a private key.
 *
 * @throws DataError `key-unsupported` for a type, curve or size that is not accepted
 */
export function signingKeyFrom(privateKey: KeyObject): SigningKey {
  const traits = traitsOf(privateKey)
  if (typeof traits === 'string')
    throw new DataError('key-unsupported', `The private key cannot be used: ${traits}.`, {
      hint: 'Use an RSA key of 2048 bits or more, an ECDSA key on P-256, P-384 or P-521, or an Ed25519 key.'
    })
  return Object.freeze({
    ...traits,
    sign(name: string, octets: Uint8Array): Uint8Array {
      const scheme = signatureScheme(name)
      if (scheme?.keyKind !== traits.kind)
        throw new InternalError('signature-scheme', `the scheme ${name} does not fit the key`)
      return cryptoSign(scheme.hash, octets, { key: privateKey, ...scheme.keyOptions })
    }
  })
}

export interface SignatureChoice {
  readonly authMethod: number
  /** Name of a signature scheme. */
  readonly scheme: string
}

/**
 * How to sign for a peer.
 *
 * @param peerHashes numbers out of the peer's SIGNATURE_HASH_ALGORITHMS; undefined: it sent none, so legacy methods
 * @returns undefined when the key cannot produce a signature that the peer would understand
 */
export function chooseSignature(
  key: SigningKey,
  peerHashes: readonly number[] | undefined,
  options: { readonly preferPss?: boolean | undefined } = {}
): SignatureChoice | undefined {
  if (peerHashes === undefined) return chooseLegacy(key)
  const usable = schemesInPreference(key, options.preferPss === true).find(({ hashId }) =>
    peerHashes.includes(hashId)
  )
  return usable && { authMethod: AuthMethod.DIGITAL_SIGNATURE, scheme: usable.name }
}

function chooseLegacy(key: SigningKey): SignatureChoice | undefined {
  if (key.kind === 'rsa')
    return key.pssOnly === true
      ? undefined
      : { authMethod: AuthMethod.RSA_DIGITAL_SIGNATURE, scheme: 'rsa-pkcs1-sha1' }
  const traits = Object.values(CURVES).find(({ curve }) => curve === key.curve)
  return traits && { authMethod: traits.legacyMethod, scheme: `ecdsa-${traits.hash}-raw` }
}

/** Every scheme of method 14 for the key: the hash that matches its strength first, then the others. */
function schemesInPreference(key: SigningKey, preferPss: boolean): SignatureScheme[] {
  if (key.kind === 'ed25519') return named(['ed25519'])
  const best =
    key.kind === 'rsa'
      ? (key.bits ?? 0) > LARGE_RSA_BITS
        ? 'sha384'
        : 'sha256'
      : (Object.values(CURVES).find(({ curve }) => curve === key.curve)?.hash ?? 'sha256')
  const hashes = [...new Set([best, 'sha256', 'sha384', 'sha512'])]
  if (key.kind === 'ecdsa') return named(hashes.map((hash) => `ecdsa-${hash}`))
  const family = preferPss || key.pssOnly === true ? 'rsa-pss' : 'rsa-pkcs1'
  return named(hashes.map((hash) => `${family}-${hash}`))
}

function named(names: readonly string[]): SignatureScheme[] {
  return names.map(signatureScheme).filter((scheme) => scheme !== undefined)
}

/** The data of an AUTH payload: for method 14 led by the AlgorithmIdentifier and its length (RFC 7427 section 3). */
export function createSignatureAuth(
  key: SigningKey,
  choice: SignatureChoice,
  octets: Uint8Array
): Uint8Array {
  const signature = key.sign(choice.scheme, octets)
  if (choice.authMethod !== AuthMethod.DIGITAL_SIGNATURE) return signature
  const identifier = signatureScheme(choice.scheme)?.algorithmIdentifier
  if (identifier === undefined)
    throw new InternalError('signature-scheme', `the scheme ${choice.scheme} has no algorithm identifier`)
  return Buffer.concat([Uint8Array.of(identifier.length), identifier, signature])
}

export type SignatureVerdict =
  | { readonly ok: true; readonly scheme: string }
  /** One clause for the log. */
  | { readonly ok: false; readonly reason: string }

function refused(reason: string): SignatureVerdict {
  return { ok: false, reason }
}

/**
 * Checks the peer's AUTH payload against the public key of its (already validated) certificate. Never throws.
 *
 * @param acceptedHashes numbers of SIGNATURE_HASH_ALGORITHMS that were offered; they bind method 14
 */
export function verifySignatureAuth(
  publicKey: KeyObject,
  authMethod: number,
  authData: Uint8Array,
  octets: Uint8Array,
  acceptedHashes: readonly number[] = SUPPORTED_SIGNATURE_HASHES
): SignatureVerdict {
  const traits = traitsOf(publicKey)
  if (typeof traits === 'string') return refused(traits)
  if (authMethod === AuthMethod.DIGITAL_SIGNATURE)
    return verifyDigitalSignature(publicKey, traits, authData, octets, acceptedHashes)
  if (authMethod === AuthMethod.RSA_DIGITAL_SIGNATURE) {
    const scheme = signatureScheme('rsa-pkcs1-sha1')
    if (traits.kind !== 'rsa' || traits.pssOnly === true || scheme === undefined)
      return refused(`authentication method 1 does not fit the certificate's ${traits.kind} key`)
    return verifyWith(publicKey, scheme, octets, authData)
  }
  const curve = Object.values(CURVES).find(({ legacyMethod }) => legacyMethod === authMethod)
  if (curve === undefined)
    return refused(`authentication method ${authMethod} is not a signature that is known here`)
  if (traits.curve !== curve.curve)
    return refused(
      `authentication method ${authMethod} does not fit the certificate's ${traits.curve ?? traits.kind} key`
    )
  const scheme = signatureScheme(`ecdsa-${curve.hash}-raw`)
  if (scheme === undefined || authData.length !== 2 * curve.length)
    return refused(`the signature has ${authData.length} bytes instead of ${2 * curve.length}`)
  return verifyWith(publicKey, scheme, octets, authData)
}

function verifyDigitalSignature(
  publicKey: KeyObject,
  traits: KeyTraits,
  authData: Uint8Array,
  octets: Uint8Array,
  acceptedHashes: readonly number[]
): SignatureVerdict {
  const length = authData[0] ?? 0
  if (length === 0 || authData.length <= 1 + length) return refused('the AUTH data is too short')
  const scheme = schemeOfAlgorithm(authData.subarray(1, 1 + length))
  if (scheme === undefined) return refused('the signature algorithm is not one that is accepted here')
  if (scheme.keyKind !== traits.kind)
    return refused(`a signature of the kind ${scheme.name} does not fit the certificate's ${traits.kind} key`)
  if (!acceptedHashes.includes(scheme.hashId)) return refused(`the hash of ${scheme.name} was not offered`)
  return verifyWith(publicKey, scheme, octets, authData.subarray(1 + length))
}

function verifyWith(
  key: KeyObject,
  scheme: SignatureScheme,
  octets: Uint8Array,
  signature: Uint8Array
): SignatureVerdict {
  let valid = false
  try {
    valid = cryptoVerify(scheme.hash, octets, { key, ...scheme.keyOptions }, signature)
  } catch {
    // OpenSSL rejects some malformed signatures, and PSS keys bound to other parameters, with an error.
  }
  return valid ? { ok: true, scheme: scheme.name } : refused(`the ${scheme.name} signature is wrong`)
}
