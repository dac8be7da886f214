/**
 * The reference back end: the noble libraries, independent of OpenSSL.
 * @module
 */
import { cbc, gcm } from '@noble/ciphers/aes.js'
import { chacha20poly1305 } from '@noble/ciphers/chacha.js'
import { hmac } from '@noble/hashes/hmac.js'
import { sha1 } from '@noble/hashes/legacy.js'
import { sha256, sha384, sha512 } from '@noble/hashes/sha2.js'
import { EncryptionId } from '../wire/ike-constants.ts'
import { integrityAlgorithm } from './cipher-suite.ts'
import { type PacketPrimitive, PrimitivePacketCipher } from './packet-cipher-primitive.ts'
import { AEAD_SALT_LENGTH, type PacketCipher, type PacketCipherKeys } from './packet-cipher-types.ts'
import type { CipherSuite } from './types.ts'

const HASHES = { sha1, sha256, sha384, sha512 } as const

export function createNobleCipher(
  suite: CipherSuite,
  keys: PacketCipherKeys,
  esn: boolean,
  direction: 'seal' | 'open'
): PacketCipher {
  // A copy of its own, which is overwritten when the SA ends.
  const copy = {
    encryptionKey: Uint8Array.from(keys.encryptionKey),
    integrityKey: Uint8Array.from(keys.integrityKey)
  }
  const primitive = suite.isAead ? aead(suite, copy) : cbcHmac(suite, copy)
  return new PrimitivePacketCipher('noble', suite, copy, esn, direction, primitive, () => {
    copy.encryptionKey.fill(0)
    copy.integrityKey.fill(0)
  })
}

function aead(suite: CipherSuite, keys: PacketCipherKeys): PacketPrimitive {
  const key = keys.encryptionKey.subarray(0, -AEAD_SALT_LENGTH)
  const make = suite.encryptionId === EncryptionId.CHACHA20_POLY1305 ? chacha20poly1305 : gcm
  return {
    seal(nonce, associated, plaintext) {
      const sealed = make(key, nonce, associated).encrypt(plaintext)
      return { ciphertext: sealed.subarray(0, plaintext.length), icv: sealed.subarray(plaintext.length) }
    },
    open(nonce, associated, ciphertext, icv) {
      const sealed = new Uint8Array(ciphertext.length + icv.length)
      sealed.set(ciphertext)
      sealed.set(icv, ciphertext.length)
      try {
        return make(key, nonce, associated).decrypt(sealed)
      } catch {
        return undefined
      }
    }
  }
}

function cbcHmac(suite: CipherSuite, keys: PacketCipherKeys): PacketPrimitive {
  const hash = HASHES[integrityAlgorithm(suite.integrityId)?.hash ?? 'sha256']
  const options = { disablePadding: true }
  return {
    encrypt: (iv, plaintext) => cbc(keys.encryptionKey, iv, options).encrypt(plaintext),
    decrypt: (iv, ciphertext) => cbc(keys.encryptionKey, iv, options).decrypt(ciphertext),
    authenticate: (parts) => {
      const mac = hmac.create(hash, keys.integrityKey)
      for (const part of parts) mac.update(part)
      return mac.digest()
    }
  }
}
