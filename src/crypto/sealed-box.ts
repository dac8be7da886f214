/**
 * A message sealed for ourselves: AES-256-GCM with a random nonce (NIST SP 800-38D; RFC 5116).
 *
 *     nonce (12) | ciphertext | tag (16)
 * @module
 */
import { createCipheriv, createDecipheriv } from 'node:crypto'
import type { RandomSource } from './types.ts'

export const SEALED_BOX_KEY_LENGTH = 32
const NONCE_LENGTH = 12
const TAG_LENGTH = 16

/** @param bound authenticated with it, and not in it */
export function sealBox(
  key: Uint8Array,
  bound: Uint8Array,
  plaintext: Uint8Array,
  random: RandomSource
): Uint8Array {
  const nonce = random.bytes(NONCE_LENGTH)
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_LENGTH })
  cipher.setAAD(bound)
  return Uint8Array.from(
    Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
  )
}

/** @returns undefined when it was not sealed with this key, or is damaged */
export function openBox(key: Uint8Array, bound: Uint8Array, box: Uint8Array): Uint8Array | undefined {
  if (box.length < NONCE_LENGTH + TAG_LENGTH) return undefined
  const tagAt = box.length - TAG_LENGTH
  const decipher = createDecipheriv('aes-256-gcm', key, box.subarray(0, NONCE_LENGTH), {
    authTagLength: TAG_LENGTH
  })
  decipher.setAAD(bound)
  decipher.setAuthTag(box.subarray(tagAt))
  const plaintext = decipher.update(box.subarray(NONCE_LENGTH, tagAt))
  try {
    return Buffer.concat([plaintext, decipher.final()])
  } catch {
    plaintext.fill(0)
    return undefined
  }
}
