/**
 * Primitives that old authentication methods still need (MS-CHAPv2, EAP-MD5) and nothing else may use.
 *
 * Single DES is reached through `des-ede3-ecb` with three equal keys, because OpenSSL 3 keeps `des-ecb` in its
 * legacy provider: E(K, D(K, E(K, x))) is E(K, x).
 * @module
 */
import { createCipheriv, createHash, timingSafeEqual } from 'node:crypto'

export function sha1(...data: readonly Uint8Array[]): Uint8Array {
  return digest('sha1', data)
}

export function md5(...data: readonly Uint8Array[]): Uint8Array {
  return digest('md5', data)
}

/**
 * One DES block.
 * @param key 8 bytes; the parity bits are ignored
 * @param block 8 bytes
 */
export function desEncryptBlock(key: Uint8Array, block: Uint8Array): Uint8Array {
  const tripled = new Uint8Array(24)
  tripled.set(key, 0)
  tripled.set(key, 8)
  tripled.set(key, 16)
  const cipher = createCipheriv('des-ede3-ecb', tripled, null)
  cipher.setAutoPadding(false)
  const encrypted = Uint8Array.from(cipher.update(block))
  tripled.fill(0)
  return encrypted
}

/** Whether two byte strings are equal, in a time that depends on their lengths only. */
export function equalInConstantTime(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}

function digest(algorithm: 'sha1' | 'md5', data: readonly Uint8Array[]): Uint8Array {
  const hash = createHash(algorithm)
  for (const part of data) hash.update(part)
  return Uint8Array.from(hash.digest())
}
