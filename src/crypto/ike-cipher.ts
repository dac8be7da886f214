/**
 * Protection of IKE messages, one object a direction: AES-GCM (RFC 5282), ChaCha20-Poly1305 (RFC 7634), and
 * AES-CBC with an HMAC over everything before the ICV (RFC 7296 section 3.14).
 *
 * AEAD keys arrive as the cipher key followed by a 4-byte salt; the nonce is `salt | iv`.
 * @module
 */
import {
  type CipherGCMTypes,
  createCipheriv,
  createDecipheriv,
  createHmac,
  timingSafeEqual
} from 'node:crypto'
import { InternalError } from '../errors.ts'
import { EncryptionId } from '../wire/ike-constants.ts'
import { integrityAlgorithm } from './cipher-suite.ts'
import type { CipherSuite, IkeCipher } from './types.ts'

const SALT_LENGTH = 4

/**
 * A cipher for one direction of an IKE SA. Takes copies of the keys.
 *
 * @throws InternalError when a key does not have the length that `suite` asks for
 */
export function createIkeCipher(
  suite: CipherSuite,
  encryptionKey: Uint8Array,
  integrityKey: Uint8Array
): IkeCipher {
  if (encryptionKey.length !== suite.encryptionKeyLength || integrityKey.length !== suite.integrityKeyLength)
    throw new InternalError('key-length', 'an IKE key does not have the length of its suite')
  return suite.isAead ? aeadCipher(suite, encryptionKey) : cbcCipher(suite, encryptionKey, integrityKey)
}

function aeadCipher(suite: CipherSuite, keyAndSalt: Uint8Array): IkeCipher {
  const keyLength = suite.encryptionKeyLength - SALT_LENGTH
  const key = Uint8Array.from(keyAndSalt.subarray(0, keyLength))
  const salt = Uint8Array.from(keyAndSalt.subarray(keyLength))
  // Node types the two AEADs apart although it treats them alike; the GCM overload fits both.
  const algorithm = (
    suite.encryptionId === EncryptionId.CHACHA20_POLY1305
      ? 'chacha20-poly1305'
      : `aes-${suite.encryptionKeyBits}-gcm`
  ) as CipherGCMTypes
  const options = { authTagLength: suite.icvLength }
  const nonceFor = (iv: Uint8Array) => {
    const nonce = new Uint8Array(salt.length + iv.length)
    nonce.set(salt)
    nonce.set(iv, salt.length)
    return nonce
  }
  return {
    ivLength: suite.ivLength,
    icvLength: suite.icvLength,
    blockSize: suite.blockSize,
    isAead: true,
    seal(associated, iv, plaintext) {
      const cipher = createCipheriv(algorithm, key, nonceFor(iv), options)
      cipher.setAAD(associated, { plaintextLength: plaintext.length })
      return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
    },
    open(associated, iv, ciphertextAndIcv) {
      const textLength = ciphertextAndIcv.length - suite.icvLength
      if (textLength < 0 || iv.length !== suite.ivLength) return undefined
      const decipher = createDecipheriv(algorithm, key, nonceFor(iv), options)
      decipher.setAAD(associated, { plaintextLength: textLength })
      decipher.setAuthTag(ciphertextAndIcv.subarray(textLength))
      const plaintext = decipher.update(ciphertextAndIcv.subarray(0, textLength))
      try {
        decipher.final()
      } catch {
        return undefined
      }
      return plaintext
    },
    dispose() {
      key.fill(0)
      salt.fill(0)
    }
  }
}

function cbcCipher(suite: CipherSuite, encryptionKey: Uint8Array, integrityKey: Uint8Array): IkeCipher {
  const integrity = integrityAlgorithm(suite.integrityId)
  if (integrity === undefined) throw new InternalError('no-integrity', 'a CBC suite came without a MAC')
  const key = Uint8Array.from(encryptionKey)
  const macKey = Uint8Array.from(integrityKey)
  const algorithm = `aes-${suite.encryptionKeyBits}-cbc`
  const icvOf = (associated: Uint8Array, iv: Uint8Array, ciphertext: Uint8Array) =>
    createHmac(integrity.hash, macKey)
      .update(associated)
      .update(iv)
      .update(ciphertext)
      .digest()
      .subarray(0, suite.icvLength)
  return {
    ivLength: suite.ivLength,
    icvLength: suite.icvLength,
    blockSize: suite.blockSize,
    isAead: false,
    seal(associated, iv, plaintext) {
      const cipher = createCipheriv(algorithm, key, iv).setAutoPadding(false)
      const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()])
      return Buffer.concat([ciphertext, icvOf(associated, iv, ciphertext)])
    },
    open(associated, iv, ciphertextAndIcv) {
      const textLength = ciphertextAndIcv.length - suite.icvLength
      if (textLength <= 0 || textLength % suite.blockSize !== 0 || iv.length !== suite.ivLength)
        return undefined
      const ciphertext = ciphertextAndIcv.subarray(0, textLength)
      if (!timingSafeEqual(icvOf(associated, iv, ciphertext), ciphertextAndIcv.subarray(textLength)))
        return undefined
      const decipher = createDecipheriv(algorithm, key, iv).setAutoPadding(false)
      return Buffer.concat([decipher.update(ciphertext), decipher.final()])
    },
    dispose() {
      key.fill(0)
      macKey.fill(0)
    }
  }
}
