import {
  createECDH,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  X509Certificate
} from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { derOid, derSequence } from '../../../src/crypto/der.ts'
import {
  chooseSignature,
  createSignatureAuth,
  SUPPORTED_SIGNATURE_HASHES,
  signingKeyFrom,
  verifySignatureAuth
} from '../../../src/crypto/signature.ts'
import { schemeOfAlgorithm, signatureScheme } from '../../../src/crypto/signature-scheme.ts'
import { DataError, InternalError } from '../../../src/errors.ts'
import ecdsa from '../../vectors/rfc4754-ecdsa.json' with { type: 'json' }
import { authPayloads, recordedSessions } from './recorded-session.ts'
import { hex, unhex } from './support.ts'

const OCTETS = Buffer.from('what section 2.15 says is signed')
const ALL_HASHES = [2, 3, 4, 5]

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const largeRsa = generateKeyPairSync('rsa', { modulusLength: 4096 })
const weakRsa = generateKeyPairSync('rsa', { modulusLength: 1024 })
const pssRsa = generateKeyPairSync('rsa-pss', { modulusLength: 2048 })
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' })
const p521 = generateKeyPairSync('ec', { namedCurve: 'P-521' })
const k256 = generateKeyPairSync('ec', { namedCurve: 'secp256k1' })
const ed25519 = generateKeyPairSync('ed25519')
const ed448 = generateKeyPairSync('ed448')

interface Pair {
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
}
const PAIRS: readonly (readonly [string, Pair])[] = [
  ['RSA', rsa],
  ['RSA-4096', largeRsa],
  ['RSA-PSS', pssRsa],
  ['P-256', p256],
  ['P-384', p384],
  ['P-521', p521],
  ['Ed25519', ed25519]
]

describe('choice of a signature', () => {
  it.each([
    ['RSA', rsa, ALL_HASHES, 14, 'rsa-pkcs1-sha256'],
    ['RSA-4096', largeRsa, ALL_HASHES, 14, 'rsa-pkcs1-sha384'],
    ['RSA with a peer of SHA2-512 alone', rsa, [1, 4], 14, 'rsa-pkcs1-sha512'],
    ['P-256', p256, ALL_HASHES, 14, 'ecdsa-sha256'],
    ['P-384', p384, ALL_HASHES, 14, 'ecdsa-sha384'],
    ['P-521', p521, ALL_HASHES, 14, 'ecdsa-sha512'],
    ['P-384 with a peer of SHA2-256 alone', p384, [2], 14, 'ecdsa-sha256'],
    ['Ed25519', ed25519, ALL_HASHES, 14, 'ed25519'],
    ['RSA and no hashes', rsa, undefined, 1, 'rsa-pkcs1-sha1'],
    ['P-256 and no hashes', p256, undefined, 9, 'ecdsa-sha256-raw'],
    ['P-384 and no hashes', p384, undefined, 10, 'ecdsa-sha384-raw'],
    ['P-521 and no hashes', p521, undefined, 11, 'ecdsa-sha512-raw']
  ])('%s', (_, pair, hashes, authMethod, scheme) => {
    expect(chooseSignature(signingKeyFrom(pair.privateKey), hashes)).toEqual({ authMethod, scheme })
  })

  it('takes PSS when preferred, or when the key allows nothing else', () => {
    expect(chooseSignature(signingKeyFrom(rsa.privateKey), [2], { preferPss: true })?.scheme).toBe(
      'rsa-pss-sha256'
    )
    expect(chooseSignature(signingKeyFrom(pssRsa.privateKey), [2])?.scheme).toBe('rsa-pss-sha256')
  })

  it('finds nothing for a peer that could not verify', () => {
    expect(chooseSignature(signingKeyFrom(ed25519.privateKey), [1, 2, 3, 4])).toBeUndefined()
    expect(chooseSignature(signingKeyFrom(ed25519.privateKey), undefined)).toBeUndefined()
    expect(chooseSignature(signingKeyFrom(pssRsa.privateKey), undefined)).toBeUndefined()
    expect(chooseSignature(signingKeyFrom(rsa.privateKey), [1])).toBeUndefined()
    expect(chooseSignature(signingKeyFrom(rsa.privateKey), [])).toBeUndefined()
  })

  it('refuses keys that cannot be used', () => {
    for (const { privateKey } of [weakRsa, k256, ed448, generateKeyPairSync('x25519')])
      expect(() => signingKeyFrom(privateKey)).toThrow(DataError)
    expect(() => signingKeyFrom(weakRsa.privateKey)).toThrow(/1024 bits/)
  })

  it('signs with schemes for its own kind alone', () => {
    expect(() => signingKeyFrom(rsa.privateKey).sign('ecdsa-sha256', OCTETS)).toThrow(InternalError)
    expect(() => signingKeyFrom(rsa.privateKey).sign('nothing', OCTETS)).toThrow(InternalError)
  })
})

describe('AUTH data', () => {
  it.each(PAIRS)('of %s verifies in every way that can be chosen', (_, pair) => {
    const key = signingKeyFrom(pair.privateKey)
    for (const hashes of [undefined, ALL_HASHES, [2], [3], [4]])
      for (const preferPss of [false, true]) {
        const choice = chooseSignature(key, hashes, { preferPss })
        if (choice === undefined) continue
        const data = createSignatureAuth(key, choice, OCTETS)
        const verdict = verifySignatureAuth(pair.publicKey, choice.authMethod, data, OCTETS, hashes ?? [])
        expect(verdict).toEqual({ ok: true, scheme: choice.scheme })
        const other = verifySignatureAuth(
          pair.publicKey,
          choice.authMethod,
          data,
          Buffer.from('other'),
          hashes ?? []
        )
        expect(other.ok).toBe(false)
      }
  })

  it.each(PAIRS)('of %s never verifies after a change, and never throws', (_, pair) => {
    const key = signingKeyFrom(pair.privateKey)
    const choice = chooseSignature(key, ALL_HASHES)
    if (choice === undefined) throw new Error('no choice')
    const data = createSignatureAuth(key, choice, OCTETS)
    for (let index = 0; index < data.length; index += 1) {
      const bent = Uint8Array.from(data)
      bent[index] = (bent[index] ?? 0) ^ 0x04
      expect(verifySignatureAuth(pair.publicKey, 14, bent, OCTETS, ALL_HASHES).ok).toBe(false)
    }
    for (let length = 0; length < data.length; length += 3)
      expect(verifySignatureAuth(pair.publicKey, 14, data.subarray(0, length), OCTETS, ALL_HASHES).ok).toBe(
        false
      )
  })

  it('carries the identifiers of RFC 7427 appendix A and RFC 8420 appendix A', () => {
    const identifier = (name: string) => hex(signatureScheme(name)?.algorithmIdentifier)
    expect(identifier('rsa-pkcs1-sha256')).toBe('300d06092a864886f70d01010b0500')
    expect(identifier('rsa-pkcs1-sha384')).toBe('300d06092a864886f70d01010c0500')
    expect(identifier('rsa-pkcs1-sha512')).toBe('300d06092a864886f70d01010d0500')
    expect(identifier('ecdsa-sha256')).toBe('300a06082a8648ce3d040302')
    expect(identifier('ecdsa-sha384')).toBe('300a06082a8648ce3d040303')
    expect(identifier('ecdsa-sha512')).toBe('300a06082a8648ce3d040304')
    expect(identifier('ed25519')).toBe('300506032b6570')
    // Appendix A.4.3 without the trailer field, which has its default value and so has no place in DER.
    expect(identifier('rsa-pss-sha256')).toBe(
      '304106092a864886f70d01010a3034a00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d06096086480165030402010500a203020120'
    )
    expect(identifier('rsa-pkcs1-sha1')).toBe('nothing')
  })

  const PSS_SHA256_WITH_TRAILER =
    '304606092a864886f70d01010a3039a00f300d06096086480165030402010500a11c301a06092a864886f70d010108300d06096086480165030402010500a203020120a303020101'

  it('verifies PSS with the parameters written out as in RFC 7427 appendix A.4.3', () => {
    const identifier = unhex(PSS_SHA256_WITH_TRAILER)
    const signature = signingKeyFrom(rsa.privateKey).sign('rsa-pss-sha256', OCTETS)
    const data = Buffer.concat([Uint8Array.of(identifier.length), identifier, signature])
    expect(verifySignatureAuth(rsa.publicKey, 14, data, OCTETS, [2])).toEqual({
      ok: true,
      scheme: 'rsa-pss-sha256'
    })
  })

  it('takes the salt length of PSS from the parameters', () => {
    const identifier = unhex(PSS_SHA256_WITH_TRAILER.replace('a203020120', 'a203020114'))
    expect(schemeOfAlgorithm(identifier)?.keyOptions.saltLength).toBe(20)
    const signature = sign('sha256', OCTETS, { key: rsa.privateKey, padding: 6, saltLength: 20 })
    const data = Buffer.concat([Uint8Array.of(identifier.length), identifier, signature])
    expect(verifySignatureAuth(rsa.publicKey, 14, data, OCTETS, [2]).ok).toBe(true)
  })

  it.each([
    ['PSS with empty parameters, which mean SHA-1', '300d06092a864886f70d01010a3000'],
    [
      'PSS with SHA-1 written out',
      '303e06092a864886f70d01010a3031a00b300906052b0e03021a0500a118301606092a864886f70d010108300906052b0e03021a0500a203020114a303020101'
    ],
    ['PSS with another trailer', PSS_SHA256_WITH_TRAILER.replace('a303020101', 'a303020102')],
    [
      'PSS with a mask of another hash',
      PSS_SHA256_WITH_TRAILER.replace('0108300d0609608648016503040201', '0108300d0609608648016503040202')
    ],
    [
      'PSS with fields out of order',
      '304606092a864886f70d01010a3039a11c301a06092a864886f70d010108300d06096086480165030402010500a00f300d06096086480165030402010500a203020120a303020101'
    ],
    ['sha1WithRSAEncryption', '300d06092a864886f70d0101050500'],
    ['ecdsa-with-SHA1', '300906072a8648ce3d0401'],
    ['RSA with parameters left out', '300b06092a864886f70d01010b'],
    ['ECDSA with NULL parameters', '300c06082a8648ce3d0403020500'],
    ['a length in long form', '30810d06092a864886f70d01010b0500'],
    ['bytes after it', '300d06092a864886f70d01010b050000'],
    ['Ed448', '300506032b6571'],
    ['nothing', '']
  ])('does not accept the algorithm %s', (_, identifier) => {
    expect(schemeOfAlgorithm(unhex(identifier))).toBeUndefined()
  })

  it('binds method 14 to the hashes that were offered', () => {
    const key = signingKeyFrom(rsa.privateKey)
    const data = createSignatureAuth(key, { authMethod: 14, scheme: 'rsa-pkcs1-sha512' }, OCTETS)
    expect(verifySignatureAuth(rsa.publicKey, 14, data, OCTETS, [2, 3])).toEqual({
      ok: false,
      reason: 'the hash of rsa-pkcs1-sha512 was not offered'
    })
  })

  it('binds legacy methods to the kind and curve of the key', () => {
    const raw = signingKeyFrom(p384.privateKey).sign('ecdsa-sha256-raw', OCTETS)
    for (const [pair, method] of [
      [p384, 9],
      [p256, 10],
      [p256, 1],
      [rsa, 9],
      [ed25519, 9],
      [pssRsa, 1],
      [rsa, 2],
      [rsa, 3],
      [rsa, 0]
    ] as const)
      expect(verifySignatureAuth(pair.publicKey, method, raw, OCTETS, ALL_HASHES).ok).toBe(false)
  })

  it('refuses weak and foreign keys whatever they signed', () => {
    const weak = sign('sha1', OCTETS, weakRsa.privateKey)
    expect(verifySignatureAuth(weakRsa.publicKey, 1, weak, OCTETS, ALL_HASHES)).toMatchObject({ ok: false })
    const foreign = sign('sha256', OCTETS, { key: k256.privateKey, dsaEncoding: 'ieee-p1363' })
    expect(verifySignatureAuth(k256.publicKey, 9, foreign, OCTETS, ALL_HASHES)).toMatchObject({ ok: false })
  })

  it('does not take a DER signature where r and s stand side by side, nor the reverse', () => {
    const key = signingKeyFrom(p256.privateKey)
    const identifier = derSequence(derOid('1.2.840.10045.4.3.2'))
    const raw = Buffer.concat([
      Uint8Array.of(identifier.length),
      identifier,
      key.sign('ecdsa-sha256-raw', OCTETS)
    ])
    expect(verifySignatureAuth(p256.publicKey, 14, raw, OCTETS, ALL_HASHES).ok).toBe(false)
    expect(
      verifySignatureAuth(p256.publicKey, 9, key.sign('ecdsa-sha256', OCTETS), OCTETS, ALL_HASHES).ok
    ).toBe(false)
  })
})

describe('vectors', () => {
  const OPENSSL_CURVES: Readonly<Record<string, string>> = {
    'P-256': 'prime256v1',
    'P-384': 'secp384r1',
    'P-521': 'secp521r1'
  }

  it.each(ecdsa.cases)('RFC 4754 section 8: method $method', ({ method, curve, w, r, s }) => {
    const ecdh = createECDH(OPENSSL_CURVES[curve] ?? '')
    ecdh.setPrivateKey(unhex(w))
    const point = ecdh.getPublicKey().subarray(1)
    const half = point.length / 2
    const [x, y] = [point.subarray(0, half), point.subarray(half)].map((part) => part.toString('base64url'))
    const publicKey = createPublicKey({
      key: { kty: 'EC', crv: curve, x: x ?? '', y: y ?? '' },
      format: 'jwk'
    })
    const message = Buffer.from('abc')
    expect(verifySignatureAuth(publicKey, method, unhex(r + s), message).ok).toBe(true)
    expect(verifySignatureAuth(publicKey, method, unhex(s + r), message).ok).toBe(false)
  })

  it('RFC 8032 section 7.1 test 3', () => {
    const seed = 'c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7'
    const privateKey = createPrivateKey({
      key: unhex(`302e020100300506032b657004220420${seed}`),
      format: 'der',
      type: 'pkcs8'
    })
    const auth = createSignatureAuth(
      signingKeyFrom(privateKey),
      { authMethod: 14, scheme: 'ed25519' },
      unhex('af82')
    )
    expect(hex(auth)).toBe(
      '07300506032b65706291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a'
    )
  })

  const signedSessions = recordedSessions.filter(({ name }) =>
    ['ecdsa256', 'ed25519', 'rsa-frag'].includes(name)
  )
  const EXPECTED: Readonly<Record<string, string>> = {
    ecdsa256: 'ecdsa-sha256',
    ed25519: 'ed25519',
    'rsa-frag': 'rsa-pkcs1-sha256'
  }
  it.each(signedSessions.map((session) => [session.name, session] as const))(
    'verifies both AUTH payloads that strongSwan made (%s)',
    (name, session) => {
      for (const [from, octets] of [
        ['initiator', session.authOctets[0]],
        ['responder', session.authOctets[1]]
      ] as const) {
        const payloads = authPayloads(session, from)
        const certificate = payloads.find(({ type }) => type === 37)?.body.subarray(1)
        const auth = payloads.find(({ type }) => type === 39)?.body
        if (certificate === undefined || auth === undefined) throw new Error('no CERT or AUTH')
        const { publicKey } = new X509Certificate(certificate)
        const verify = (covered: Buffer) =>
          verifySignatureAuth(
            publicKey,
            auth.readUInt8(0),
            auth.subarray(4),
            covered,
            SUPPORTED_SIGNATURE_HASHES
          )
        expect(verify(unhex(octets ?? ''))).toEqual({ ok: true, scheme: EXPECTED[name] })
        expect(verify(unhex(`${octets}00`)).ok).toBe(false)
      }
    }
  )
})
