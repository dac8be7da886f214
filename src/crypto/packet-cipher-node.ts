/**
 * The back end that is always there: `node:crypto`. It makes one object per packet.
 * @module
 */
import {
  type CipherGCMTypes,
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  type KeyObject
} from 'node:crypto'
import { EncryptionId } from '../wire/ike-constants.ts'
import { integrityAlgorithm } from './cipher-suite.ts'
import { type PacketPrimitive, PrimitivePacketCipher } from './packet-cipher-primitive.ts'
import { AEAD_SALT_LENGTH, type PacketCipher, type PacketCipherKeys } from './packet-cipher-types.ts'
import type { CipherSuite } from './types.ts'

export function createNodeCipher(
  suite: CipherSuite,
  keys: PacketCipherKeys,
  esn: boolean,
  direction: 'seal' | 'open'
): PacketCipher {
  const primitive = suite.isAead ? aead(suite, keys) : cbc(suite, keys)
  return new PrimitivePacketCipher('node', suite, keys, esn, direction, primitive)
}

function aead(suite: CipherSuite, keys: PacketCipherKeys): PacketPrimitive {
  const key = createSecretKey(keys.encryptionKey.subarray(0, -AEAD_SALT_LENGTH))
  // Node types the two AEADs apart although it treats them alike; the GCM overload fits both.
  const name = (
    suite.encryptionId === EncryptionId.CHACHA20_POLY1305
      ? 'chacha20-poly1305'
      : `aes-${suite.encryptionKeyBits}-gcm`
  ) as CipherGCMTypes
  const options = { authTagLength: suite.icvLength }
  return {
    seal(nonce, associated, plaintext) {
      const cipher = createCipheriv(name, key, nonce, options)
      cipher.setAAD(associated)
      const ciphertext = cipher.update(plaintext)
      cipher.final()
      return { ciphertext, icv: cipher.getAuthTag() }
    },
    open(nonce, associated, ciphertext, icv) {
      const decipher = createDecipheriv(name, key, nonce, options)
      decipher.setAAD(associated)
      decipher.setAuthTag(icv)
      const plaintext = decipher.update(ciphertext)
      try {
        decipher.final()
      } catch {
        return undefined
      }
      return plaintext
    }
  }
}

function cbc(suite: CipherSuite, keys: PacketCipherKeys): PacketPrimitive {
  const key: KeyObject = createSecretKey(keys.encryptionKey)
  const macKey: KeyObject = createSecretKey(keys.integrityKey)
  const name = `aes-${suite.encryptionKeyBits}-cbc`
  const hash = integrityAlgorithm(suite.integrityId)?.hash ?? 'sha256'
  return {
    encrypt: (iv, plaintext) => createCipheriv(name, key, iv).setAutoPadding(false).update(plaintext),
    decrypt: (iv, ciphertext) => createDecipheriv(name, key, iv).setAutoPadding(false).update(ciphertext),
    authenticate: (parts) => {
      const hmac = createHmac(hash, macKey)
      for (const part of parts) hmac.update(part)
      return hmac.digest()
    }
  }
}
