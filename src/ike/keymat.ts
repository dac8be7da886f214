/**
 * Every key derivation of IKEv2: SKEYSEED, SK_*, the rekeyed SKEYSEED and the KEYMAT of Child SAs
 * (RFC 7296 sections 2.14, 2.17, 2.18).
 *
 * Invariant: intermediate secrets are overwritten before a function returns; whoever owns a result disposes of it.
 * @module
 */
import { prfPlus } from '../crypto/prf.ts'
import type { CipherSuite, Prf } from '../crypto/types.ts'

/** The seven keys of an IKE SA. */
export interface IkeKeys {
  readonly skD: Uint8Array
  readonly skAi: Uint8Array
  readonly skAr: Uint8Array
  readonly skEi: Uint8Array
  readonly skEr: Uint8Array
  readonly skPi: Uint8Array
  readonly skPr: Uint8Array
}

/** Keys of a Child SA by direction: `initiator` is who sent the request of the exchange that made it. */
export interface ChildKeys {
  readonly initiatorEncryption: Uint8Array
  readonly initiatorIntegrity: Uint8Array
  readonly responderEncryption: Uint8Array
  readonly responderIntegrity: Uint8Array
}

/** `SKEYSEED = prf(Ni | Nr, g^ir)` (section 2.14). */
export function initialSkeyseed(
  prf: Prf,
  nonceI: Uint8Array,
  nonceR: Uint8Array,
  sharedSecret: Uint8Array
): Uint8Array {
  const key = concat(nonceI, nonceR)
  const skeyseed = prf.compute(key, sharedSecret)
  key.fill(0)
  return skeyseed
}

/** `SKEYSEED = prf(SK_d (old), g^ir (new) | Ni | Nr)`, with the PRF of the old IKE SA (section 2.18). */
export function rekeySkeyseed(
  oldPrf: Prf,
  oldSkD: Uint8Array,
  sharedSecret: Uint8Array,
  nonceI: Uint8Array,
  nonceR: Uint8Array
): Uint8Array {
  return oldPrf.compute(oldSkD, sharedSecret, nonceI, nonceR)
}

const RESUMPTION = Uint8Array.from('Resumption', (letter) => letter.charCodeAt(0))

/** `SKEYSEED = prf(SK_d (old), "Resumption" | Ni | Nr)`, with the PRF of the old IKE SA (RFC 5723 section 5.1). */
export function resumptionSkeyseed(
  prf: Prf,
  oldSkD: Uint8Array,
  nonceI: Uint8Array,
  nonceR: Uint8Array
): Uint8Array {
  return prf.compute(oldSkD, RESUMPTION, nonceI, nonceR)
}

/** `{SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr} = prf+(SKEYSEED, Ni | Nr | SPIi | SPIr)` (section 2.14). */
export function deriveIkeKeys(
  prf: Prf,
  suite: CipherSuite,
  skeyseed: Uint8Array,
  nonceI: Uint8Array,
  nonceR: Uint8Array,
  spiI: bigint,
  spiR: bigint
): IkeKeys {
  const lengths = [
    prf.outputLength,
    suite.integrityKeyLength,
    suite.integrityKeyLength,
    suite.encryptionKeyLength,
    suite.encryptionKeyLength,
    prf.outputLength,
    prf.outputLength
  ] as const
  const seed = concat(nonceI, nonceR, spiBytes(spiI), spiBytes(spiR))
  const [skD, skAi, skAr, skEi, skEr, skPi, skPr] = expand(prf, skeyseed, seed, lengths)
  return { skD, skAi, skAr, skEi, skEr, skPi, skPr }
}

/**
 * `KEYMAT = prf+(SK_d, [g^ir (new) |] Ni | Nr)`, taken in the order of section 2.17: the initiator's direction
 * first, in each direction the encryption key before the integrity key.
 */
export function deriveChildKeys(
  prf: Prf,
  suite: CipherSuite,
  skD: Uint8Array,
  sharedSecret: Uint8Array | undefined,
  nonceI: Uint8Array,
  nonceR: Uint8Array
): ChildKeys {
  const lengths = [
    suite.encryptionKeyLength,
    suite.integrityKeyLength,
    suite.encryptionKeyLength,
    suite.integrityKeyLength
  ] as const
  const seed = concat(sharedSecret ?? new Uint8Array(0), nonceI, nonceR)
  const [initiatorEncryption, initiatorIntegrity, responderEncryption, responderIntegrity] = expand(
    prf,
    skD,
    seed,
    lengths
  )
  return { initiatorEncryption, initiatorIntegrity, responderEncryption, responderIntegrity }
}

export function disposeIkeKeys(keys: IkeKeys): void {
  for (const key of [keys.skD, keys.skAi, keys.skAr, keys.skEi, keys.skEr, keys.skPi, keys.skPr]) key.fill(0)
}

/** An IKE SPI as the 8 bytes that stand on the wire. */
export function spiBytes(spi: bigint): Uint8Array {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigUint64(0, spi)
  return bytes
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0))
  let offset = 0
  for (const part of parts) {
    whole.set(part, offset)
    offset += part.length
  }
  return whole
}

/** Cuts prf+ into pieces of the given lengths, each a copy; overwrites the seed and the uncut output. */
function expand<const Lengths extends readonly number[]>(
  prf: Prf,
  key: Uint8Array,
  seed: Uint8Array,
  lengths: Lengths
): { readonly [Index in keyof Lengths]: Uint8Array } {
  const whole = prfPlus(
    prf,
    key,
    seed,
    lengths.reduce((sum, length) => sum + length, 0)
  )
  let offset = 0
  const pieces = lengths.map((length) => {
    const piece = whole.slice(offset, offset + length)
    offset += length
    return piece
  })
  whole.fill(0)
  seed.fill(0)
  // `map` keeps the number of elements, which its type does not tell.
  return pieces as { readonly [Index in keyof Lengths]: Uint8Array }
}
