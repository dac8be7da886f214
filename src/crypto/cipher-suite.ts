/**
 * Sizes of every cipher and MAC combination that IKE and ESP may negotiate, by transform number
 * (RFC 7296 section 3.3.2, RFC 4106, 5282, 7634, 3602, 4868).
 * @module
 */
import { EncryptionId, IntegrityId } from '../wire/ike-constants.ts'
import type { CipherSuite } from './types.ts'

const AEAD_SALT_LENGTH = 4
const AEAD_IV_LENGTH = 8
const AEAD_ICV_LENGTH = 16
const AES_BLOCK_SIZE = 16
const CHACHA_KEY_BITS = 256
const AES_KEY_BITS: readonly number[] = [128, 192, 256]

/** A MAC: its key, its truncated output, and the hash behind its HMAC. */
export interface IntegrityAlgorithm {
  readonly hash: 'sha1' | 'sha256' | 'sha384' | 'sha512'
  readonly keyLength: number
  readonly icvLength: number
}

const INTEGRITY: ReadonlyMap<number, IntegrityAlgorithm> = new Map([
  [IntegrityId.HMAC_SHA1_96, { hash: 'sha1', keyLength: 20, icvLength: 12 }],
  [IntegrityId.HMAC_SHA2_256_128, { hash: 'sha256', keyLength: 32, icvLength: 16 }],
  [IntegrityId.HMAC_SHA2_384_192, { hash: 'sha384', keyLength: 48, icvLength: 24 }],
  [IntegrityId.HMAC_SHA2_512_256, { hash: 'sha512', keyLength: 64, icvLength: 32 }]
])

/** The MAC with this transform ID (transform type 3), or undefined for NONE and those not spoken here. */
export function integrityAlgorithm(integrityId: number): IntegrityAlgorithm | undefined {
  return INTEGRITY.get(integrityId)
}

/** True for combined-mode ciphers, which go without an integrity transform (RFC 5282 section 8). */
export function isAeadEncryption(encryptionId: number): boolean {
  return encryptionId === EncryptionId.AES_GCM_16 || encryptionId === EncryptionId.CHACHA20_POLY1305
}

function aeadSuite(encryptionId: number, keyBits: number): CipherSuite {
  return {
    encryptionId,
    encryptionKeyBits: keyBits,
    integrityId: IntegrityId.NONE,
    isAead: true,
    encryptionKeyLength: keyBits / 8 + AEAD_SALT_LENGTH,
    integrityKeyLength: 0,
    ivLength: AEAD_IV_LENGTH,
    icvLength: AEAD_ICV_LENGTH,
    blockSize: 1
  }
}

/**
 * The suite for these transforms, or undefined when the combination is not allowed or not spoken here: AES without a
 * KEY LENGTH or ChaCha20 with one other than 256 (RFC 7296 section 3.3.5), an AEAD with a MAC, CBC without one.
 *
 * @param keyBits the KEY LENGTH attribute; undefined when the transform carried none
 */
export function cipherSuite(
  encryptionId: number,
  keyBits: number | undefined,
  integrityId: number = IntegrityId.NONE
): CipherSuite | undefined {
  if (encryptionId === EncryptionId.CHACHA20_POLY1305) {
    const fixed = keyBits === undefined || keyBits === CHACHA_KEY_BITS
    return fixed && integrityId === IntegrityId.NONE ? aeadSuite(encryptionId, CHACHA_KEY_BITS) : undefined
  }
  if (keyBits === undefined || !AES_KEY_BITS.includes(keyBits)) return undefined
  if (encryptionId === EncryptionId.AES_GCM_16)
    return integrityId === IntegrityId.NONE ? aeadSuite(encryptionId, keyBits) : undefined
  const integrity = INTEGRITY.get(integrityId)
  if (encryptionId !== EncryptionId.AES_CBC || integrity === undefined) return undefined
  return {
    encryptionId,
    encryptionKeyBits: keyBits,
    integrityId,
    isAead: false,
    encryptionKeyLength: keyBits / 8,
    integrityKeyLength: integrity.keyLength,
    ivLength: AES_BLOCK_SIZE,
    icvLength: integrity.icvLength,
    blockSize: AES_BLOCK_SIZE
  }
}
