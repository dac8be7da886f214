/**
 * A context of OpenSSL's for one cipher, one key and one direction.
 * @module
 */
import { InternalError } from '../errors.ts'
import type { Evp, EvpCipherName } from '../native/libcrypto-evp.ts'
import { addressOf, nativeBuffer } from '../native/memory.ts'
import { EncryptionId } from '../wire/ike-constants.ts'
import type { CipherSuite } from './types.ts'

function cipherName(suite: CipherSuite): EvpCipherName {
  if (suite.encryptionId === EncryptionId.CHACHA20_POLY1305) return 'chacha20-poly1305'
  const mode = suite.encryptionId === EncryptionId.AES_GCM_16 ? 'gcm' : 'cbc'
  return `aes-${suite.encryptionKeyBits as 128 | 192 | 256}-${mode}`
}

/** @returns its address; the caller frees it @throws InternalError when OpenSSL refuses the algorithm */
export function newCipherContext(
  functions: Evp,
  suite: CipherSuite,
  key: Uint8Array,
  encrypt: boolean
): number {
  const cipher = functions.cipher(cipherName(suite))
  const context = functions.cipherContextNew()
  const keyCopy = nativeBuffer(key.length)
  keyCopy.set(key)
  const ready =
    context !== 0 &&
    cipher !== 0 &&
    functions.cipherInit(context, cipher, addressOf(keyCopy), 0, encrypt ? 1 : 0, 0) === 1
  keyCopy.fill(0)
  if (ready) return context
  if (context !== 0) functions.cipherContextFree(context)
  throw new InternalError('esp-cipher', `OpenSSL has no ${cipherName(suite)}`)
}
