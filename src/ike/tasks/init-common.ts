/**
 * What both halves of IKE_SA_INIT share: announcing and noting what each end supports, and making the first keys
 * (RFC 7296 sections 1.2 and 2.14).
 * @module
 */

import { CryptoError } from '../../crypto/errors.ts'
import { prfById } from '../../crypto/prf.ts'
import { suiteOf, transformOf } from '../../crypto/proposal.ts'
import type { KeyExchange } from '../../crypto/types.ts'
import { InternalError } from '../../errors.ts'
import type { Path } from '../../wire/endpoint.ts'
import { HashAlgorithmId, IntegrityId, NotifyType, TransformType } from '../../wire/ike-constants.ts'
import { findNotify, notify } from '../../wire/ike-helpers.ts'
import type { NotifyPayload, Payload, Proposal } from '../../wire/ike-message.ts'
import type { IkeSa, IkeSecurity, InboundMessage, InitRecord } from '../ike-sa.ts'
import { deriveIkeKeys, initialSkeyseed } from '../keymat.ts'
import { MAX_NONCE_LENGTH, MIN_NONCE_LENGTH, NONCE_LENGTH } from '../options.ts'
import type { SessionState } from '../session-state.ts'
import { natVerdict } from './natd.ts'

/** Hashes that we verify signatures with (RFC 7427 section 4, RFC 8420): no SHA-1. */
export const SIGNATURE_HASHES: readonly number[] = [
  HashAlgorithmId.SHA2_256,
  HashAlgorithmId.SHA2_384,
  HashAlgorithmId.SHA2_512,
  HashAlgorithmId.IDENTITY
]

export function supportNotifies(): NotifyPayload[] {
  const hashes = new Uint8Array(SIGNATURE_HASHES.flatMap((id) => [id >>> 8, id & 0xff]))
  return [
    notify(NotifyType.IKEV2_FRAGMENTATION_SUPPORTED),
    notify(NotifyType.SIGNATURE_HASH_ALGORITHMS, hashes)
  ]
}

export function noteSupport(state: SessionState, payloads: readonly Payload[]): void {
  const { features } = state
  features.fragmentation = findNotify(payloads, NotifyType.IKEV2_FRAGMENTATION_SUPPORTED) !== undefined
  features.childless = findNotify(payloads, NotifyType.CHILDLESS_IKEV2_SUPPORTED) !== undefined
  const hashes = findNotify(payloads, NotifyType.SIGNATURE_HASH_ALGORITHMS)?.data
  features.signatureHashes = hashes === undefined ? undefined : readUint16List(hashes)
}

/** Initiator: IKE_SA_INIT, or what stands for it, was answered; the keys are about to be made. */
export function acceptInit(
  state: SessionState,
  sa: IkeSa,
  response: InboundMessage,
  own: Omit<InitRecord, 'remoteMessage'>
): void {
  const { path } = state
  sa.remoteSpi = response.header.spiR
  sa.init = { ...own, remoteMessage: response.raw }
  noteSupport(state, response.payloads)
  if (path === undefined) return
  const nat = natVerdict(response.payloads, sa.spiI, sa.spiR, path)
  state.natLocal = nat?.local ?? false
  state.natRemote = nat?.remote ?? false
  state.rttMs = sa.exchanges.roundTripMs(state.now)
  state.emit({ type: 'init-answered', path, rttMs: state.rttMs })
  // ESP in UDP lives on the NAT traversal port alone, so IKE moves there before anything else (RFC 7296 section 2.23).
  if (path.natT !== undefined) state.path = path.natT
}

/** Responder: a request for a new IKE SA is as it should be; the keys follow with `finishResponder`. */
export function openResponderSa(
  state: SessionState,
  request: InboundMessage,
  path: Path
): { readonly sa: IkeSa; readonly nonceR: Uint8Array } {
  const sa = state.addIkeSa(false)
  sa.remoteSpi = request.header.spiI
  noteSupport(state, request.payloads)
  // In the request SPIr is still zero, and so it is in the hashes.
  const nat = natVerdict(request.payloads, sa.spiI, 0n, path)
  state.natLocal = nat?.local ?? false
  state.natRemote = nat?.remote ?? false
  return { sa, nonceR: state.environment.random.bytes(NONCE_LENGTH) }
}

/** Responder: the response is on its way. @param security undefined when the suite cannot be had */
export function finishResponder(
  state: SessionState,
  sa: IkeSa,
  security: IkeSecurity | undefined,
  init: InitRecord
): void {
  sa.init = init
  if (security !== undefined) secureIkeSa(state, sa, security)
}

export function acceptableNonce(nonce: Uint8Array): boolean {
  return nonce.length >= MIN_NONCE_LENGTH && nonce.length <= MAX_NONCE_LENGTH
}

/**
 * g^ir, after which the private value is gone; or undefined when the peer's public value is one that no correct
 * implementation sends: then the private value stays, for a genuine answer may follow a forged one.
 */
export function sharedSecretOf(exchange: KeyExchange, peerValue: Uint8Array): Uint8Array | undefined {
  try {
    const secret = exchange.computeSharedSecret(peerValue)
    exchange.dispose()
    return secret
  } catch (error) {
    if (error instanceof CryptoError) return undefined
    throw error
  }
}

export interface IkeKeyInputs {
  readonly chosen: Proposal
  readonly nonceI: Uint8Array
  readonly nonceR: Uint8Array
  readonly spiI: bigint
  readonly spiR: bigint
}

/**
 * The keys of an IKE SA from its SKEYSEED, which is overwritten.
 * @param skeyseedFor makes SKEYSEED with the negotiated PRF
 * @returns undefined when the chosen transforms make no suite
 */
export function deriveSecurity(
  inputs: IkeKeyInputs,
  skeyseedFor: (prf: IkeSecurity['prf']) => Uint8Array
): IkeSecurity | undefined {
  const { chosen, nonceI, nonceR, spiI, spiR } = inputs
  const prf = prfById(transformOf(chosen, TransformType.PRF)?.id ?? 0)
  const suite = suiteOf(chosen)
  if (prf === undefined || suite === undefined) return undefined
  const skeyseed = skeyseedFor(prf)
  const keys = deriveIkeKeys(prf, suite, skeyseed, nonceI, nonceR, spiI, spiR)
  skeyseed.fill(0)
  return { chosen, prf, suite, keys }
}

/** First keys of a session; the shared secret is overwritten. */
export function deriveInitialSecurity(
  inputs: IkeKeyInputs,
  sharedSecret: Uint8Array
): IkeSecurity | undefined {
  const security = deriveSecurity(inputs, (prf) =>
    initialSkeyseed(prf, inputs.nonceI, inputs.nonceR, sharedSecret)
  )
  sharedSecret.fill(0)
  return security
}

/** The keys of an IKE SA that has been through IKE_SA_INIT or was made by a rekeying. */
export function securityOf(sa: IkeSa): IkeSecurity {
  if (sa.security === undefined) {
    throw new InternalError('ike-without-keys', 'an IKE SA without keys was asked for them')
  }
  return sa.security
}

/** Puts the keys to use, and tells them to whoever asked for a key log. */
export function secureIkeSa(state: SessionState, sa: IkeSa, security: IkeSecurity, firstIv = 0n): void {
  sa.secure(security, state.environment.random, firstIv)
  if (!state.logKeys) return
  const { keys, suite } = security
  state.emit({
    type: 'keys',
    keys: {
      spiI: sa.spiI,
      spiR: sa.spiR,
      skEi: Uint8Array.from(keys.skEi),
      skEr: Uint8Array.from(keys.skEr),
      skAi: Uint8Array.from(keys.skAi),
      skAr: Uint8Array.from(keys.skAr),
      encryptionId: suite.encryptionId,
      encryptionKeyBits: suite.encryptionKeyBits,
      integrityId: suite.isAead ? IntegrityId.NONE : suite.integrityId
    }
  })
}

export function uint16Bytes(value: number): Uint8Array {
  return Uint8Array.of(value >>> 8, value & 0xff)
}

export function readUint16List(bytes: Uint8Array): number[] {
  const values: number[] = []
  for (let offset = 0; offset + 1 < bytes.length; offset += 2) {
    values.push(((bytes[offset] ?? 0) << 8) | (bytes[offset + 1] ?? 0))
  }
  return values
}
