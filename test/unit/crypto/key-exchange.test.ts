import { getDiffieHellman } from 'node:crypto'
import { x448 } from '@noble/curves/ed448.js'
import { x25519 } from '@noble/curves/ed25519.js'
import { p256, p384, p521 } from '@noble/curves/nist.js'
import { describe, expect, it } from 'vitest'
import { CryptoError } from '../../../src/crypto/errors.ts'
import { keyExchangePublicLength, startKeyExchange } from '../../../src/crypto/key-exchange.ts'
import type { KeyExchange, RandomSource } from '../../../src/crypto/types.ts'
import { KeyExchangeId } from '../../../src/wire/ike-constants.ts'
import ecp from '../../vectors/rfc5903-ecp.json' with { type: 'json' }
import montgomery from '../../vectors/rfc8031-montgomery.json' with { type: 'json' }
import { fixedRandom, hex, seededRandom, unhex } from './support.ts'

const GROUPS = [
  [KeyExchangeId.CURVE25519, 32, 32],
  [KeyExchangeId.CURVE448, 56, 56],
  [KeyExchangeId.ECP_256, 64, 32],
  [KeyExchangeId.ECP_384, 96, 48],
  [KeyExchangeId.ECP_521, 132, 66],
  [KeyExchangeId.MODP_2048, 256, 256],
  [KeyExchangeId.MODP_3072, 384, 384],
  [KeyExchangeId.MODP_4096, 512, 512]
] as const

function start(group: number, random: RandomSource): KeyExchange {
  const exchange = startKeyExchange(group, random)
  if (exchange === undefined) throw new Error(`no group ${group}`)
  return exchange
}

function bigint(bytes: Uint8Array): bigint {
  return BigInt(`0x${hex(bytes)}`)
}

function codeOf(action: () => unknown): string {
  try {
    action()
  } catch (error) {
    if (error instanceof CryptoError) return error.code
    throw error
  }
  return 'no error'
}

describe.each(GROUPS)('group %i', (group, publicLength, secretLength) => {
  it('lets both ends agree, with values of the registered lengths', () => {
    const [ours, theirs] = [start(group, seededRandom(1)), start(group, seededRandom(2))]
    expect(keyExchangePublicLength(group)).toBe(publicLength)
    expect(ours.publicValue).toHaveLength(publicLength)
    expect(ours.group).toBe(group)
    const secret = ours.computeSharedSecret(theirs.publicValue)
    expect(secret).toHaveLength(secretLength)
    expect(hex(secret)).toBe(hex(theirs.computeSharedSecret(ours.publicValue)))
  })

  it('repeats exactly from the same seed and differs from another', () => {
    const value = (seed: number) => hex(start(group, seededRandom(seed)).publicValue)
    expect(value(7)).toBe(value(7))
    expect(value(7)).not.toBe(value(8))
  })

  it('works with a random source of zeros or of ones only', () => {
    const peer = start(group, seededRandom(3))
    for (const fill of [0, 0xff]) {
      const exchange = start(group, { bytes: (length) => new Uint8Array(length).fill(fill) })
      expect(hex(exchange.computeSharedSecret(peer.publicValue))).toBe(
        hex(peer.computeSharedSecret(exchange.publicValue))
      )
    }
  })

  it('refuses values of a wrong length', () => {
    const exchange = start(group, seededRandom(4))
    for (const length of [0, 1, publicLength - 1, publicLength + 1])
      expect(codeOf(() => exchange.computeSharedSecret(new Uint8Array(length).fill(5)))).toBe(
        'public-value-length'
      )
  })

  it('refuses the zero value', () => {
    const exchange = start(group, seededRandom(5))
    expect(codeOf(() => exchange.computeSharedSecret(new Uint8Array(publicLength)))).toBe(
      'public-value-invalid'
    )
  })

  it('is over once disposed of', () => {
    const exchange = start(group, seededRandom(6))
    const peer = exchange.publicValue
    exchange.dispose()
    expect(codeOf(() => exchange.computeSharedSecret(peer))).toBe('key-exchange-disposed')
  })
})

describe('Curve25519 and Curve448', () => {
  it.each(montgomery.cases)('group $group agrees with the RFC', (vector) => {
    const initiator = start(vector.group, fixedRandom(unhex(vector.privateI)))
    const responder = start(vector.group, fixedRandom(unhex(vector.privateR)))
    expect(hex(initiator.publicValue)).toBe(vector.publicI)
    expect(hex(responder.publicValue)).toBe(vector.publicR)
    expect(hex(initiator.computeSharedSecret(unhex(vector.publicR)))).toBe(vector.shared)
    expect(hex(responder.computeSharedSecret(unhex(vector.publicI)))).toBe(vector.shared)
  })

  it('refuses points of small order, which would give an all-zero secret (RFC 8031 section 5)', () => {
    const [c25519, c448] = [
      start(KeyExchangeId.CURVE25519, seededRandom(1)),
      start(KeyExchangeId.CURVE448, seededRandom(1))
    ]
    const one = (length: number) => Uint8Array.from({ length }, (_, index) => (index === 0 ? 1 : 0))
    const order8 = unhex('e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800')
    for (const value of [one(32), order8, unhex(`ec${'ff'.repeat(30)}7f`), unhex(`ed${'ff'.repeat(30)}7f`)])
      expect(codeOf(() => c25519.computeSharedSecret(value))).toBe('public-value-invalid')
    expect(codeOf(() => c448.computeSharedSecret(one(56)))).toBe('public-value-invalid')
  })

  it('agrees with noble on random keys', () => {
    for (let seed = 0; seed < 10; seed++)
      for (const [group, curve] of [
        [KeyExchangeId.CURVE25519, x25519],
        [KeyExchangeId.CURVE448, x448]
      ] as const) {
        const length = keyExchangePublicLength(group) ?? 0
        const secretKey = Uint8Array.from(seededRandom(seed).bytes(length))
        const peer = start(group, seededRandom(100 + seed))
        const ours = start(group, seededRandom(seed))
        expect(hex(ours.publicValue)).toBe(hex(curve.getPublicKey(secretKey)))
        expect(hex(ours.computeSharedSecret(peer.publicValue))).toBe(
          hex(curve.getSharedSecret(secretKey, peer.publicValue))
        )
      }
  })
})

/** A source that makes the private scalar come out as wanted: the exchange takes `value mod (n - 1) + 1`. */
function scalarRandom(scalar: string): RandomSource {
  const lessOne = (BigInt(`0x${scalar}`) - 1n).toString(16).padStart(scalar.length, '0')
  return fixedRandom(unhex(lessOne))
}

describe('ECP groups', () => {
  it.each(ecp.cases)('group $group agrees with RFC 5903 section 8', (vector) => {
    const initiator = start(vector.group, scalarRandom(vector.i))
    const responder = start(vector.group, scalarRandom(vector.r))
    expect(hex(initiator.publicValue)).toBe(vector.gix + vector.giy)
    expect(hex(responder.publicValue)).toBe(vector.grx + vector.gry)
    expect(hex(initiator.computeSharedSecret(responder.publicValue))).toBe(vector.girx)
    expect(hex(responder.computeSharedSecret(initiator.publicValue))).toBe(vector.girx)
  })

  it.each(ecp.cases)(
    'group $group refuses points off the curve and coordinates beyond the field',
    (vector) => {
      const exchange = start(vector.group, seededRandom(1))
      const point = unhex(vector.grx + vector.gry)
      for (const index of [0, point.length / 2 - 1, point.length / 2, point.length - 1]) {
        const bent = Buffer.from(point)
        bent[index] = (bent[index] ?? 0) ^ 1
        expect(codeOf(() => exchange.computeSharedSecret(bent))).toBe('public-value-invalid')
      }
      expect(codeOf(() => exchange.computeSharedSecret(new Uint8Array(point.length).fill(0xff)))).toBe(
        'public-value-invalid'
      )
    }
  )

  it('agrees with noble on random keys', () => {
    for (const [group, curve] of [
      [KeyExchangeId.ECP_256, p256],
      [KeyExchangeId.ECP_384, p384],
      [KeyExchangeId.ECP_521, p521]
    ] as const)
      for (let seed = 0; seed < 5; seed++) {
        const secretKey = curve.utils.randomSecretKey(
          Uint8Array.from(seededRandom(seed).bytes(curve.lengths.seed ?? 0))
        )
        const ours = start(group, scalarRandom(hex(secretKey)))
        const peer = start(group, seededRandom(50 + seed))
        const uncompressed = (value: Uint8Array) => Buffer.concat([Uint8Array.of(4), value])
        expect(hex(uncompressed(ours.publicValue))).toBe(hex(curve.getPublicKey(secretKey, false)))
        const shared = curve.getSharedSecret(secretKey, uncompressed(peer.publicValue), true)
        expect(hex(ours.computeSharedSecret(peer.publicValue))).toBe(hex(shared.subarray(1)))
      }
  })
})

describe('MODP groups', () => {
  const MODP = [
    [KeyExchangeId.MODP_2048, 'modp14', 124476n, 2048],
    [KeyExchangeId.MODP_3072, 'modp15', 1690314n, 3072],
    [KeyExchangeId.MODP_4096, 'modp16', 240904n, 4096]
  ] as const

  it.each(MODP)('group %i has the prime that RFC 3526 defines', (_, name, constant, bits) => {
    // p = 2^n - 2^(n-64) - 1 + 2^64 * ([2^(n-130) pi] + c); pi comes in through Machin's formula.
    const n = BigInt(bits)
    const pi = machinPi(n - 130n)
    const p = 2n ** n - 2n ** (n - 64n) - 1n + 2n ** 64n * (pi + constant)
    expect(bigint(getDiffieHellman(name).getPrime())).toBe(p)
  })

  it.each(MODP)('group %i computes g^x and y^x mod p', (group, name) => {
    const exponent = seededRandom(9).bytes(64)
    const x = bigint(exponent) | (1n << 511n)
    const p = bigint(getDiffieHellman(name).getPrime())
    const ours = start(group, seededRandom(9))
    const peer = start(group, seededRandom(10))
    expect(bigint(ours.publicValue)).toBe(power(2n, x, p))
    expect(bigint(ours.computeSharedSecret(peer.publicValue))).toBe(power(bigint(peer.publicValue), x, p))
  })

  it.each(MODP)('group %i wants 1 < y < p - 1 (RFC 6989 section 2.1)', (group, name) => {
    const exchange = start(group, seededRandom(1))
    const prime = getDiffieHellman(name).getPrime()
    const p = bigint(prime)
    const encode = (value: bigint) => unhex(value.toString(16).padStart(prime.length * 2, '0'))
    for (const bad of [0n, 1n, p - 1n, p, p + 1n, 256n ** BigInt(prime.length) - 1n])
      expect(codeOf(() => exchange.computeSharedSecret(encode(bad)))).toBe('public-value-invalid')
    for (const good of [2n, p - 2n])
      expect(exchange.computeSharedSecret(encode(good))).toHaveLength(prime.length)
  })
})

it('knows no group outside its list', () => {
  for (const group of [0, 1, 2, 5, 22, 27, 33, 37]) {
    expect(startKeyExchange(group, seededRandom(1))).toBeUndefined()
    expect(keyExchangePublicLength(group)).toBeUndefined()
  }
})

function power(base: bigint, exponent: bigint, modulus: bigint): bigint {
  let result = 1n
  for (base %= modulus; exponent > 0n; exponent >>= 1n, base = (base * base) % modulus)
    if (exponent & 1n) result = (result * base) % modulus
  return result
}

/** floor(2^bits * pi). */
function machinPi(bits: bigint): bigint {
  const guard = 64n
  const unity = 1n << (bits + guard)
  const arctanInverse = (x: bigint) => {
    let term = unity / x
    let sum = term
    for (let divisor = 3n, sign = -1n; term !== 0n; divisor += 2n, sign = -sign) {
      term /= x * x
      sum += (sign * term) / divisor
    }
    return sum
  }
  return (4n * (4n * arctanInverse(5n) - arctanInverse(239n))) >> guard
}
