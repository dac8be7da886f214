/**
 * Key exchange over the NIST prime curves (RFC 5903): values are `x | y`, the secret is x alone.
 *
 * A peer's point must lie on the curve and not be at infinity (RFC 6989 section 2.3); these curves have cofactor 1.
 * @module
 */
import { createECDH, type ECDH } from 'node:crypto'
import { CryptoError } from './errors.ts'
import type { KeyExchange, RandomSource } from './types.ts'

interface PrimeCurve {
  readonly name: string
  readonly opensslName: string
  /** Bytes of one coordinate. */
  readonly length: number
  readonly order: bigint
}

export const P256: PrimeCurve = {
  name: 'ECP-256',
  opensslName: 'prime256v1',
  length: 32,
  order: 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
}
export const P384: PrimeCurve = {
  name: 'ECP-384',
  opensslName: 'secp384r1',
  length: 48,
  order: 0xffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973n
}
export const P521: PrimeCurve = {
  name: 'ECP-521',
  opensslName: 'secp521r1',
  length: 66,
  order:
    0x1fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409n
}

const UNCOMPRESSED = 4
/** Surplus random bytes that make the reduction's bias negligible (FIPS 186-5 appendix A.2.1). */
const EXTRA_BYTES = 16

/** A private scalar in [1, order - 1], without rejection so that any random source terminates. */
function privateScalar(curve: PrimeCurve, random: RandomSource): Buffer {
  const wide = random.bytes(curve.length + EXTRA_BYTES)
  const value = (BigInt(`0x${Buffer.from(wide).toString('hex')}`) % (curve.order - 1n)) + 1n
  wide.fill(0)
  return Buffer.from(value.toString(16).padStart(curve.length * 2, '0'), 'hex')
}

/** Our half of an exchange over `curve`, with the private key taken from `random`. */
export function startEcp(group: number, curve: PrimeCurve, random: RandomSource): KeyExchange {
  const scalar = privateScalar(curve, random)
  let ecdh: ECDH | undefined = createECDH(curve.opensslName)
  ecdh.setPrivateKey(scalar)
  scalar.fill(0)
  return {
    group,
    publicValue: Uint8Array.from(ecdh.getPublicKey().subarray(1)),
    computeSharedSecret(peerPublicValue) {
      if (ecdh === undefined) throw new CryptoError('key-exchange-disposed', 'the key exchange is over')
      if (peerPublicValue.length !== 2 * curve.length)
        throw new CryptoError(
          'public-value-length',
          `the peer's ${curve.name} value has ${peerPublicValue.length} bytes instead of ${2 * curve.length}`
        )
      const point = new Uint8Array(1 + peerPublicValue.length)
      point[0] = UNCOMPRESSED
      point.set(peerPublicValue, 1)
      try {
        return ecdh.computeSecret(point)
      } catch (cause) {
        throw new CryptoError('public-value-invalid', `the peer's point is not on the curve ${curve.name}`, {
          cause
        })
      }
    },
    dispose() {
      ecdh = undefined
    }
  }
}
