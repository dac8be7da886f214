import { cbc, gcm } from '@noble/ciphers/aes.js'
import { chacha20poly1305 } from '@noble/ciphers/chacha.js'
import { hmac } from '@noble/hashes/hmac.js'
import { sha1 } from '@noble/hashes/legacy.js'
import { sha256, sha384, sha512 } from '@noble/hashes/sha2.js'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { cipherSuite } from '../../../src/crypto/cipher-suite.ts'
import { createIkeCipher } from '../../../src/crypto/ike-cipher.ts'
import type { CipherSuite } from '../../../src/crypto/types.ts'
import { InternalError } from '../../../src/errors.ts'
import { EncryptionId, IntegrityId } from '../../../src/wire/ike-constants.ts'
import { authPayloads, cipherOf, partsOf, recordedSessions } from './recorded-session.ts'
import { hex, unhex } from './support.ts'

const { AES_CBC, AES_GCM_16, CHACHA20_POLY1305 } = EncryptionId
const MACS = [
  [IntegrityId.HMAC_SHA1_96, sha1, 12],
  [IntegrityId.HMAC_SHA2_256_128, sha256, 16],
  [IntegrityId.HMAC_SHA2_384_192, sha384, 24],
  [IntegrityId.HMAC_SHA2_512_256, sha512, 32]
] as const

function suite(encryptionId: number, bits: number | undefined, integrityId: number): CipherSuite {
  const found = cipherSuite(encryptionId, bits, integrityId)
  if (found === undefined) throw new Error('no such suite')
  return found
}

const AEADS = [
  suite(AES_GCM_16, 128, 0),
  suite(AES_GCM_16, 192, 0),
  suite(AES_GCM_16, 256, 0),
  suite(CHACHA20_POLY1305, undefined, 0)
]
const CBCS = [128, 192, 256].flatMap((bits) => MACS.map(([id]) => suite(AES_CBC, bits, id)))

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })

describe('cipher suites', () => {
  it.each([
    [AES_GCM_16, 128, 0, 20, 0, 8, 16, 1],
    [AES_GCM_16, 256, 0, 36, 0, 8, 16, 1],
    [CHACHA20_POLY1305, undefined, 0, 36, 0, 8, 16, 1],
    [AES_CBC, 128, IntegrityId.HMAC_SHA1_96, 16, 20, 16, 12, 16],
    [AES_CBC, 192, IntegrityId.HMAC_SHA2_256_128, 24, 32, 16, 16, 16],
    [AES_CBC, 256, IntegrityId.HMAC_SHA2_384_192, 32, 48, 16, 24, 16],
    [AES_CBC, 256, IntegrityId.HMAC_SHA2_512_256, 32, 64, 16, 32, 16]
  ])(
    'encryption %i with %s bits and integrity %i has the sizes of its RFC',
    (id, bits, integrity, ...sizes) => {
      const found = suite(id, bits, integrity)
      expect([
        found.encryptionKeyLength,
        found.integrityKeyLength,
        found.ivLength,
        found.icvLength,
        found.blockSize
      ]).toEqual(sizes)
    }
  )

  it.each([
    ['AES-GCM without KEY LENGTH', AES_GCM_16, undefined, 0],
    ['AES-CBC without KEY LENGTH', AES_CBC, undefined, IntegrityId.HMAC_SHA2_256_128],
    ['AES with an odd key length', AES_GCM_16, 160, 0],
    ['an AEAD with a MAC', AES_GCM_16, 128, IntegrityId.HMAC_SHA2_256_128],
    ['ChaCha20-Poly1305 with a MAC', CHACHA20_POLY1305, undefined, IntegrityId.HMAC_SHA2_256_128],
    ['ChaCha20-Poly1305 with 128 bits', CHACHA20_POLY1305, 128, 0],
    ['AES-CBC without a MAC', AES_CBC, 128, 0],
    ['an unknown MAC', AES_CBC, 128, 5],
    ['an unknown cipher', 13, 128, 0]
  ])('there is none for %s', (_, id, bits, integrity) => {
    expect(cipherSuite(id, bits, integrity)).toBeUndefined()
  })
})

describe('protection of IKE messages', () => {
  it('agrees with RFC 7634 appendix B', () => {
    const key = unhex('808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3')
    const cipher = createIkeCipher(suite(CHACHA20_POLY1305, undefined, 0), key, new Uint8Array(0))
    const associated = unhex('c0c1c2c3c4c5c6c7d0d1d2d3d4d5d6d72e202500000000090000004529000029')
    const iv = unhex('1011121314151617')
    const plaintext = unhex('0000000c000040010000000a00')
    const sealed = unhex('610394701f8d017f7c12924889 6b71bfe25236efd7cdc67066906315b2')
    expect(hex(cipher.seal(associated, iv, plaintext))).toBe(hex(sealed))
    expect(hex(cipher.open(associated, iv, sealed))).toBe(hex(plaintext))
  })

  it.each(recordedSessions.map((session) => [session.name, session] as const))(
    'opens what strongSwan sealed, and seals it alike (%s)',
    (_, session) => {
      for (const message of session.messages.map(unhex)) {
        if (message.readUInt8(18) !== 35) continue
        const isResponse = (message.readUInt8(19) & 0x20) !== 0
        const cipher = cipherOf(session, isResponse ? 'responder' : 'initiator')
        const { associated, iv, sealed } = partsOf(message, cipher)
        const plaintext = cipher.open(associated, iv, sealed)
        expect(plaintext).toBeDefined()
        expect(hex(cipher.seal(associated, iv, plaintext ?? new Uint8Array(0)))).toBe(hex(sealed))
        expect(
          cipherOf(session, isResponse ? 'initiator' : 'responder').open(associated, iv, sealed)
        ).toBeUndefined()
      }
      expect(authPayloads(session, 'initiator').map(({ type }) => type)).toContain(39)
    }
  )

  it.each(AEADS)('AEAD $encryptionId/$encryptionKeyBits agrees with noble', (aead) => {
    fc.assert(
      fc.property(
        bytes(aead.encryptionKeyLength),
        bytes(8),
        fc.uint8Array({ maxLength: 100 }),
        fc.uint8Array({ maxLength: 300 }),
        (keyAndSalt, iv, associated, plaintext) => {
          const cipher = createIkeCipher(aead, keyAndSalt, new Uint8Array(0))
          const key = keyAndSalt.subarray(0, -4)
          const nonce = Buffer.concat([keyAndSalt.subarray(-4), iv])
          const noble = aead.encryptionId === AES_GCM_16 ? gcm : chacha20poly1305
          const expected = noble(key, nonce, associated).encrypt(plaintext)
          expect(hex(cipher.seal(associated, iv, plaintext))).toBe(hex(expected))
          expect(hex(cipher.open(associated, iv, expected))).toBe(hex(plaintext))
        }
      ),
      { seed: 5282, numRuns: 40 }
    )
  })

  it.each(CBCS)('AES-CBC-$encryptionKeyBits with integrity $integrityId agrees with noble', (suiteOfCbc) => {
    const mac = MACS.find(([id]) => id === suiteOfCbc.integrityId)
    if (mac === undefined) throw new Error('no MAC')
    fc.assert(
      fc.property(
        bytes(suiteOfCbc.encryptionKeyLength),
        bytes(suiteOfCbc.integrityKeyLength),
        bytes(16),
        fc.uint8Array({ maxLength: 100 }),
        fc.integer({ min: 1, max: 20 }),
        (key, macKey, iv, associated, blocks) => {
          const cipher = createIkeCipher(suiteOfCbc, key, macKey)
          const plaintext = new Uint8Array(16 * blocks).fill(blocks)
          const text = cbc(key, iv, { disablePadding: true }).encrypt(plaintext)
          const icv = hmac(mac[1], macKey, Buffer.concat([associated, iv, text])).subarray(0, mac[2])
          const expected = Buffer.concat([text, icv])
          expect(hex(cipher.seal(associated, iv, plaintext))).toBe(hex(expected))
          expect(hex(cipher.open(associated, iv, expected))).toBe(hex(plaintext))
        }
      ),
      { seed: 3602, numRuns: 10 }
    )
  })

  it.each([...AEADS, ...CBCS])(
    '$encryptionId/$encryptionKeyBits/$integrityId refuses every changed byte and every length',
    (any) => {
      const cipher = createIkeCipher(
        any,
        new Uint8Array(any.encryptionKeyLength).fill(1),
        new Uint8Array(any.integrityKeyLength).fill(2)
      )
      const [associated, iv] = [new Uint8Array(32).fill(3), new Uint8Array(any.ivLength).fill(4)]
      const sealed = cipher.seal(associated, iv, new Uint8Array(32).fill(5))
      const flipped = (input: Uint8Array, index: number) =>
        input.map((byte, at) => (at === index ? byte ^ 0x40 : byte))
      for (let index = 0; index < sealed.length; index++)
        expect(cipher.open(associated, iv, flipped(sealed, index))).toBeUndefined()
      for (let index = 0; index < associated.length; index++)
        expect(cipher.open(flipped(associated, index), iv, sealed)).toBeUndefined()
      for (let index = 0; index < iv.length; index++)
        expect(cipher.open(associated, flipped(iv, index), sealed)).toBeUndefined()
      for (let length = 0; length < sealed.length; length++)
        expect(cipher.open(associated, iv, sealed.subarray(0, length))).toBeUndefined()
      expect(cipher.open(associated, iv.subarray(1), sealed)).toBeUndefined()
      expect(cipher.open(associated, iv, sealed)).toBeDefined()
    }
  )

  it('wants keys of the length that its suite tells', () => {
    const gcm128 = suite(AES_GCM_16, 128, 0)
    expect(() => createIkeCipher(gcm128, new Uint8Array(16), new Uint8Array(0))).toThrow(InternalError)
    expect(() => createIkeCipher(gcm128, new Uint8Array(20), new Uint8Array(1))).toThrow(InternalError)
  })

  it('overwrites its keys when disposed of', () => {
    for (const any of [suite(AES_GCM_16, 128, 0), suite(AES_CBC, 128, IntegrityId.HMAC_SHA2_256_128)]) {
      const key = new Uint8Array(any.encryptionKeyLength).fill(1)
      const cipher = createIkeCipher(any, key, new Uint8Array(any.integrityKeyLength).fill(2))
      const zero = createIkeCipher(any, new Uint8Array(key.length), new Uint8Array(any.integrityKeyLength))
      const iv = new Uint8Array(any.ivLength)
      cipher.dispose()
      expect(hex(cipher.seal(iv, iv, new Uint8Array(16)))).toBe(hex(zero.seal(iv, iv, new Uint8Array(16))))
      expect(key[0]).toBe(1)
    }
  })
})
