/**
 * Pseudo-random functions of IKEv2: HMAC with SHA-1 or SHA-2 (RFC 7296 section 2.13, RFC 4868), and prf+.
 *
 * SHA-1 is understood because some peers insist on it, and is never part of a default offer.
 * @module
 */
import { createHmac } from 'node:crypto'
import { PrfId } from '../wire/ike-constants.ts'
import { CryptoError } from './errors.ts'
import type { Prf } from './types.ts'

function hmacPrf(id: number, name: string, hash: string, outputLength: number): Prf {
  return Object.freeze({
    id,
    name,
    outputLength,
    compute(key: Uint8Array, ...data: readonly Uint8Array[]): Uint8Array {
      const hmac = createHmac(hash, key)
      for (const part of data) hmac.update(part)
      return hmac.digest()
    }
  })
}

const PRFS: ReadonlyMap<number, Prf> = new Map(
  [
    hmacPrf(PrfId.HMAC_SHA1, 'PRF_HMAC_SHA1', 'sha1', 20),
    hmacPrf(PrfId.HMAC_SHA2_256, 'PRF_HMAC_SHA2_256', 'sha256', 32),
    hmacPrf(PrfId.HMAC_SHA2_384, 'PRF_HMAC_SHA2_384', 'sha384', 48),
    hmacPrf(PrfId.HMAC_SHA2_512, 'PRF_HMAC_SHA2_512', 'sha512', 64)
  ].map((prf) => [prf.id, prf])
)

/** The PRF with this transform ID (transform type 2), or undefined when it is not spoken here. */
export function prfById(id: number): Prf | undefined {
  return PRFS.get(id)
}

/**
 * prf+ (RFC 7296 section 2.13): `T1 | T2 | ...` with `Tn = prf(key, Tn-1 | seed | n)`.
 *
 * @param length bytes wanted, at most 255 times the PRF's output
 * @throws CryptoError `prf-plus-too-long` beyond that
 */
export function prfPlus(prf: Prf, key: Uint8Array, seed: Uint8Array, length: number): Uint8Array {
  if (length > 255 * prf.outputLength)
    throw new CryptoError('prf-plus-too-long', `prf+ cannot produce ${length} bytes`)
  const output = new Uint8Array(length)
  const counter = new Uint8Array(1)
  let block: Uint8Array = new Uint8Array(0)
  for (let offset = 0; offset < length; offset += prf.outputLength) {
    counter[0] = offset / prf.outputLength + 1
    const previous = block
    block = prf.compute(key, previous, seed, counter)
    previous.fill(0)
    output.set(block.subarray(0, Math.min(block.length, length - offset)), offset)
  }
  block.fill(0)
  return output
}
