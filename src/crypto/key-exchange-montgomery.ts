/**
 * Curve25519 and Curve448 key exchange (RFC 8031, RFC 7748).
 *
 * The shared secret is checked for the all-zero value that a point of small order yields (RFC 8031 section 5).
 * @module
 */
import { createPrivateKey, createPublicKey, diffieHellman, type KeyObject } from 'node:crypto'
import { CryptoError } from './errors.ts'
import type { KeyExchange, RandomSource } from './types.ts'

interface MontgomeryCurve {
  readonly name: string
  readonly length: number
  /** DER of PrivateKeyInfo and SubjectPublicKeyInfo up to the raw key (RFC 8410). */
  readonly privatePrefix: Buffer
  readonly publicPrefix: Buffer
}

export const X25519: MontgomeryCurve = {
  name: 'Curve25519',
  length: 32,
  privatePrefix: Buffer.from('302e020100300506032b656e04220420', 'hex'),
  publicPrefix: Buffer.from('302a300506032b656e032100', 'hex')
}
export const X448: MontgomeryCurve = {
  name: 'Curve448',
  length: 56,
  privatePrefix: Buffer.from('3046020100300506032b656f043a0438', 'hex'),
  publicPrefix: Buffer.from('3042300506032b656f033900', 'hex')
}

/** Our half of an exchange over `curve`, with the private key taken from `random`. */
export function startMontgomery(group: number, curve: MontgomeryCurve, random: RandomSource): KeyExchange {
  const scalar = random.bytes(curve.length)
  const pkcs8 = Buffer.concat([curve.privatePrefix, scalar])
  let privateKey: KeyObject | undefined = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' })
  pkcs8.fill(0)
  scalar.fill(0)
  const spki = createPublicKey(privateKey).export({ format: 'der', type: 'spki' })
  return {
    group,
    publicValue: Uint8Array.from(spki.subarray(curve.publicPrefix.length)),
    computeSharedSecret(peerPublicValue) {
      if (privateKey === undefined) throw new CryptoError('key-exchange-disposed', 'the key exchange is over')
      if (peerPublicValue.length !== curve.length)
        throw new CryptoError(
          'public-value-length',
          `the peer's ${curve.name} value has ${peerPublicValue.length} bytes instead of ${curve.length}`
        )
      return deriveNonZero(curve, privateKey, peerPublicValue)
    },
    dispose() {
      privateKey = undefined
    }
  }
}

function deriveNonZero(curve: MontgomeryCurve, privateKey: KeyObject, peer: Uint8Array): Uint8Array {
  const spki = Buffer.concat([curve.publicPrefix, peer])
  let secret: Uint8Array
  try {
    const publicKey = createPublicKey({ key: spki, format: 'der', type: 'spki' })
    secret = diffieHellman({ privateKey, publicKey })
  } catch (cause) {
    // OpenSSL itself refuses to hand out an all-zero secret.
    throw new CryptoError('public-value-invalid', `the peer's ${curve.name} value cannot be used`, { cause })
  }
  let any = 0
  for (const byte of secret) any |= byte
  if (any === 0)
    throw new CryptoError('public-value-invalid', `the peer's ${curve.name} value is a point of small order`)
  return secret
}
