import { describe, expect, it } from 'vitest'
import { desEncryptBlock, equalInConstantTime, md5, sha1 } from '../../../src/crypto/legacy-hash.ts'
import { expandDesKey } from '../../../src/ike/eap/des.ts'
import { md4 } from '../../../src/ike/eap/md4.ts'
import {
  authenticatorResponse,
  challengeHash,
  masterKey,
  mschapMsk,
  ntPasswordHash,
  ntResponse,
  verifyAuthenticatorResponse,
  withoutDomain
} from '../../../src/ike/eap/mschapv2.ts'

const text = (value: string) => new TextEncoder().encode(value)
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
const bytes = (value: string) => Uint8Array.from(Buffer.from(value.replace(/\s/g, ''), 'hex'))

describe('MD4 (RFC 1320 appendix A.5)', () => {
  it.each([
    ['', '31d6cfe0d16ae931b73c59d7e0c089c0'],
    ['a', 'bde52cb31de33e46245e05fbdbd6fb24'],
    ['abc', 'a448017aaf21d8525fc10ae87aa6729d'],
    ['message digest', 'd9130a8164549fe818874806e1c7014b'],
    ['abcdefghijklmnopqrstuvwxyz', 'd79e1c308aa5bbcdeea8ed63df412da9'],
    ['ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789', '043f8582f241db351ce627e153e7f0e4'],
    [
      '12345678901234567890123456789012345678901234567890123456789012345678901234567890',
      'e33b4ddc9c38f2199c3e7b164fcc0536'
    ]
  ])('hashes %j', (message, digest) => {
    expect(hex(md4(text(message)))).toBe(digest)
  })

  it('gives each length around a block boundary its own digest', () => {
    const digests = Array.from({ length: 140 }, (_, length) => hex(md4(new Uint8Array(length))))
    expect(new Set(digests).size).toBe(140)
  })
})

describe('DES', () => {
  it('encrypts one block (FIPS 46 worked example)', () => {
    expect(hex(desEncryptBlock(bytes('133457799bbcdff1'), bytes('0123456789abcdef')))).toBe(
      '85e813540f0ab405'
    )
  })

  it.each([
    ['FC 15 6A F7 ED CD 6C', 'fd0b5b5e7f6e34d9'],
    ['0E DD E3 33 7D 42 7F', '0e6e796737ea08fe']
  ])('expands the 7-byte key %s with odd parity (RFC 2759 section 9.3)', (raw, expanded) => {
    expect(hex(expandDesKey(bytes(raw)))).toBe(expanded)
  })
})

describe('MS-CHAPv2', () => {
  // RFC 2759 section 9.2.
  const exchange = {
    userName: 'User',
    authenticatorChallenge: bytes('5B5D7C7D7B3F2F3E3C2C602132262628'),
    peerChallenge: bytes('21402324255E262A28295F2B3A337C7E')
  }
  const hash = ntPasswordHash(text('clientPass'))
  const response = ntResponse(exchange, hash)

  it('follows the worked example of RFC 2759 section 9.2', () => {
    expect(hex(challengeHash(exchange))).toBe('d02e4386bce91226')
    expect(hex(hash)).toBe('44ebba8d5312b8d611474411f56989ae')
    expect(hex(response)).toBe('82309ecd8d708b5ea08faa3981cd83544233114a3d85d6df')
    expect(hex(md4(hash))).toBe('41c00c584bd2d91c4017a2a12fa59f3f')
    expect(hex(authenticatorResponse(exchange, hash, response))).toBe(
      '407a5589115fd0d6209f510fe9c04566932cda56'
    )
  })

  it('hashes the password of RFC 2759 section 9.3', () => {
    expect(hex(ntPasswordHash(text('MyPw')))).toBe('fc156af7edcd6c0edde3337d427f4eac')
  })

  it('derives the keys of RFC 3079 section 3.5.3 into the MSK', () => {
    expect(hex(masterKey(md4(hash), response))).toBe('fdece3717a8c838cb388e527ae3cdd31')
    const msk = mschapMsk(hash, response)
    expect(msk).toHaveLength(64)
    expect(hex(msk.subarray(16, 32))).toBe('8b7cdc149b993a1ba118cb153f56dccb')
    expect(hex(msk.subarray(32))).toBe('00'.repeat(32))
  })

  it('accepts only the right authenticator response', () => {
    const proof = authenticatorResponse(exchange, hash, response)
    expect(verifyAuthenticatorResponse(exchange, hash, response, proof)).toBe(true)
    proof[19] = (proof[19] ?? 0) ^ 1
    expect(verifyAuthenticatorResponse(exchange, hash, response, proof)).toBe(false)
    expect(verifyAuthenticatorResponse(exchange, hash, response, proof.subarray(0, 19))).toBe(false)
  })

  it('leaves the domain out of the challenge hash', () => {
    expect(withoutDomain('CORP\\User')).toBe('User')
    expect(hex(challengeHash({ ...exchange, userName: 'CORP\\User' }))).toBe('d02e4386bce91226')
  })

  it('encodes passwords as UTF-16LE, with surrogate pairs and a leading byte order mark kept', () => {
    const utf16 = (value: string) => Uint8Array.from(Buffer.from(value, 'utf16le'))
    for (const password of ['pässwörd ✓ 日本', 'p\u{1f511}w', '\ufeffx', '']) {
      expect(hex(ntPasswordHash(text(password)))).toBe(hex(md4(utf16(password))))
    }
  })
})

describe('digests over several parts', () => {
  it('equal digests over the joined parts', () => {
    expect(hex(sha1(text('a'), text('bc')))).toBe('a9993e364706816aba3e25717850c26c9cd0d89d')
    expect(hex(md5(text('a'), text('bc')))).toBe('900150983cd24fb0d6963f7d28e17f72')
  })

  it('compares without throwing on different lengths', () => {
    expect(equalInConstantTime(Uint8Array.of(1), Uint8Array.of(1, 2))).toBe(false)
    expect(equalInConstantTime(Uint8Array.of(1, 2), Uint8Array.of(1, 2))).toBe(true)
  })
})
