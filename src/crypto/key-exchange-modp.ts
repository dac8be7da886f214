/**
 * Diffie-Hellman over the MODP groups of RFC 3526, with generator 2.
 *
 * The groups' primes are safe, so 1 < y < p - 1 is all that has to hold of a peer's value (RFC 6989 section 2.1).
 * Values and secret are padded to the length of the modulus (RFC 7296 sections 2.14, 3.4).
 * @module
 */
import { createDiffieHellman, type DiffieHellman, getDiffieHellman } from 'node:crypto'
import { CryptoError } from './errors.ts'
import type { KeyExchange, RandomSource } from './types.ts'

interface ModpGroup {
  readonly name: string
  readonly opensslName: string
  readonly length: number
}

export const MODP_2048: ModpGroup = { name: 'MODP-2048', opensslName: 'modp14', length: 256 }
export const MODP_3072: ModpGroup = { name: 'MODP-3072', opensslName: 'modp15', length: 384 }
export const MODP_4096: ModpGroup = { name: 'MODP-4096', opensslName: 'modp16', length: 512 }

/** 512 bits: more than twice the strength of the largest of these groups (RFC 3526 section 8). */
const EXPONENT_LENGTH = 64
const GENERATOR = 2

function leftPad(value: Uint8Array, length: number): Uint8Array {
  const padded = new Uint8Array(length)
  padded.set(value, length - value.length)
  return padded
}

/** 1 < y < p - 1, for a value of the modulus' length. */
function isInRange(value: Uint8Array, prime: Uint8Array): boolean {
  const pMinusOne = Uint8Array.from(prime)
  // The prime is odd, so clearing its lowest bit subtracts one.
  pMinusOne[prime.length - 1] = (prime[prime.length - 1] ?? 0) & 0xfe
  const one = leftPad(Uint8Array.of(1), prime.length)
  return Buffer.compare(value, one) > 0 && Buffer.compare(value, pMinusOne) < 0
}

/** Our half of an exchange in `group`, with the exponent taken from `random`. */
export function startModp(group: number, parameters: ModpGroup, random: RandomSource): KeyExchange {
  const prime = getDiffieHellman(parameters.opensslName).getPrime()
  const exponent = random.bytes(EXPONENT_LENGTH)
  // Keeps the exponent long, and away from 0 and 1, whatever the source yields.
  exponent[0] = (exponent[0] ?? 0) | 0x80
  let dh: DiffieHellman | undefined = createDiffieHellman(prime, GENERATOR)
  dh.setPrivateKey(exponent)
  const publicValue = leftPad(dh.generateKeys(), parameters.length)
  exponent.fill(0)
  return {
    group,
    publicValue,
    computeSharedSecret(peerPublicValue) {
      if (dh === undefined) throw new CryptoError('key-exchange-disposed', 'the key exchange is over')
      if (peerPublicValue.length !== parameters.length)
        throw new CryptoError(
          'public-value-length',
          `the peer's ${parameters.name} value has ${peerPublicValue.length} bytes instead of ${parameters.length}`
        )
      if (!isInRange(peerPublicValue, prime))
        throw new CryptoError('public-value-invalid', `the peer's ${parameters.name} value is out of range`)
      return leftPad(dh.computeSecret(peerPublicValue), parameters.length)
    },
    dispose() {
      dh = undefined
    }
  }
}
