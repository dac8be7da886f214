/**
 * Helpers that the tests of `src/crypto` share.
 * @module
 */
import { createCipheriv } from 'node:crypto'
import type { RandomSource } from '../../../src/crypto/types.ts'

export function hex(bytes: Uint8Array | undefined): string {
  return bytes === undefined ? 'nothing' : Buffer.from(bytes).toString('hex')
}

export function unhex(text: string): Buffer {
  return Buffer.from(text.replaceAll(/\s/g, ''), 'hex')
}

/** A repeatable stream of bytes: AES-CTR over zeros, keyed by the seed. */
export function seededRandom(seed: number): RandomSource {
  const key = Buffer.alloc(16)
  key.writeUInt32BE(seed)
  const stream = createCipheriv('aes-128-ctr', key, Buffer.alloc(16))
  return { bytes: (length) => stream.update(Buffer.alloc(length)) }
}

/** Yields the given bytes once, padded on the left with zeros to the length asked for. */
export function fixedRandom(bytes: Uint8Array): RandomSource {
  return { bytes: (length) => Buffer.concat([Buffer.alloc(length - bytes.length), bytes]) }
}
