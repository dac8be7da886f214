import { createPrivateKey } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { parseCertificates } from '../../../src/crypto/certificate.ts'
import { keyMatchesCertificate, loadPkcs12, loadPrivateKey } from '../../../src/crypto/credentials.ts'
import {
  contextTag,
  der,
  derInteger,
  derOctetString,
  derOid,
  derSequence,
  readDer,
  readDerAll,
  readDerSequence
} from '../../../src/crypto/der.ts'
import { signingKeyFrom } from '../../../src/crypto/signature.ts'
import { toPem } from '../../../src/crypto/trust-store.ts'
import { DataError } from '../../../src/errors.ts'
import { Secret } from '../../../src/secret.ts'
import keyFiles from '../../vectors/key-files.json' with { type: 'json' }
import { hex } from './support.ts'

type FileName = keyof typeof keyFiles.files

function file(name: FileName): Buffer {
  return Buffer.from(keyFiles.files[name], 'base64')
}

const PASSWORD = new Secret('hunter2')
const RSA = createPrivateKey(file('rsa.key'))
const EC = createPrivateKey(file('ec.key'))
const [rootCertificate] = parseCertificates(file('ca.pem'))
const [rsaCertificate] = parseCertificates(file('rsa.pem'))
const [ecCertificate] = parseCertificates(file('ec.pem'))

async function errorOf(action: () => unknown): Promise<DataError> {
  try {
    await action()
  } catch (error) {
    if (error instanceof DataError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

describe('private keys', () => {
  it.each<[FileName, typeof RSA]>([
    ['rsa.key', RSA],
    ['rsa.pkcs1', RSA],
    ['rsa.der', RSA],
    ['rsa.pkcs1.der', RSA],
    ['ec.key', EC],
    ['ec.sec1', EC],
    ['ec.der', EC],
    ['ec.sec1.der', EC],
    ['combined.pem', EC]
  ])('%s is read, with or without a password at hand', (name, expected) => {
    expect(loadPrivateKey(file(name)).equals(expected)).toBe(true)
    expect(loadPrivateKey(file(name), PASSWORD).equals(expected)).toBe(true)
  })

  it.each<[FileName, typeof RSA]>([
    ['rsa.pkcs1.enc', RSA],
    ['ec.pkcs8.enc', EC],
    ['ec.enc.der', EC]
  ])('%s is decrypted', async (name, expected) => {
    expect(loadPrivateKey(file(name), PASSWORD).equals(expected)).toBe(true)
    expect((await errorOf(() => loadPrivateKey(file(name)))).code).toBe('private-key-password-needed')
    const wrong = await errorOf(() => loadPrivateKey(file(name), new Secret('hunter3')))
    expect(wrong.code).toBe('private-key-wrong-password')
    expect(JSON.stringify(wrong) + wrong.message + wrong.hint).not.toContain('hunter')
  })

  it('one under an outdated cipher is told apart from a wrong password', async () => {
    const error = await errorOf(() => loadPrivateKey(file('rsa.md5des.enc'), PASSWORD))
    expect(error.code).toBe('private-key-unreadable')
    expect(error.message).toContain('outdated cipher')
  })

  it.each<[string, Uint8Array]>([
    ['nothing', new Uint8Array(0)],
    ['text', Buffer.from('hello')],
    ['a certificate', file('ca.pem')],
    ['a truncated key', file('rsa.der').subarray(0, 200)],
    ['PEM around rubbish', Buffer.from('-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n')]
  ])('%s is refused', async (_, bytes) => {
    expect((await errorOf(() => loadPrivateKey(bytes))).code).toBe('private-key-unreadable')
  })

  it('sign once loaded', () => {
    expect(signingKeyFrom(loadPrivateKey(file('ed.key'))).kind).toBe('ed25519')
    expect(signingKeyFrom(loadPrivateKey(file('rsa.pkcs1'))).bits).toBe(2048)
    expect(signingKeyFrom(loadPrivateKey(file('ec.sec1'))).curve).toBe('P-256')
  })

  it('belong to their certificates alone', () => {
    expect(keyMatchesCertificate(RSA, rsaCertificate ?? new Uint8Array(0))).toBe(true)
    expect(keyMatchesCertificate(EC, ecCertificate ?? new Uint8Array(0))).toBe(true)
    expect(keyMatchesCertificate(EC, rsaCertificate ?? new Uint8Array(0))).toBe(false)
    expect(keyMatchesCertificate(EC, Buffer.from('rubbish'))).toBe(false)
  })
})

describe('PKCS#12', () => {
  it.each<[FileName, typeof RSA, Uint8Array | undefined]>([
    ['rsa.modern.p12', RSA, rsaCertificate],
    ['rsa.legacy.p12', RSA, rsaCertificate],
    ['ec.modern.p12', EC, ecCertificate],
    ['ec.legacy.p12', EC, ecCertificate]
  ])('%s gives key, certificate and chain, byte for byte', async (name, key, certificate) => {
    const contents = await loadPkcs12(file(name), PASSWORD)
    expect(contents.privateKey.equals(key)).toBe(true)
    expect(hex(contents.certificate)).toBe(hex(certificate))
    expect(contents.chain.map(hex)).toEqual([hex(rootCertificate)])
  })

  it('opens without a password where there is none', async () => {
    expect((await loadPkcs12(file('ec.nopass.p12'))).privateKey.equals(EC)).toBe(true)
    expect((await loadPkcs12(file('ec.nopass.p12'), new Secret(''))).chain).toEqual([])
  })

  it.each<[string, Uint8Array, Secret | undefined, string]>([
    ['a wrong password', file('rsa.modern.p12'), new Secret('hunter3'), 'pkcs12-wrong-password'],
    ['a wrong password of a legacy file', file('rsa.legacy.p12'), new Secret(''), 'pkcs12-wrong-password'],
    ['a missing password', file('ec.modern.p12'), undefined, 'pkcs12-wrong-password'],
    ['no key', file('nokey.p12'), PASSWORD, 'pkcs12-no-key'],
    ['rubbish', Buffer.from('hello'), PASSWORD, 'pkcs12-unsupported'],
    ['nothing', new Uint8Array(0), PASSWORD, 'pkcs12-unsupported'],
    ['a PEM file', file('combined.pem'), PASSWORD, 'pkcs12-unsupported'],
    ['another DER file', file('rsa.der'), PASSWORD, 'pkcs12-unsupported'],
    ['a truncated file', file('rsa.modern.p12').subarray(0, 500), PASSWORD, 'pkcs12-unsupported'],
    ['a file that is too large', new Uint8Array(5 * 1024 * 1024), PASSWORD, 'pkcs12-unsupported']
  ])('%s is told apart', async (_, bytes, password, code) => {
    const error = await errorOf(() => loadPkcs12(bytes, password))
    expect(error.code).toBe(code)
    expect(error.hint).toBeDefined()
    expect(JSON.stringify(error) + error.message).not.toContain('hunter')
  })
})

describe('a PKCS#12 file with something that is no certificate in it', () => {
  it('opens all the same: it belongs to no chain', async () => {
    const certificates = [Buffer.from(ecCertificate ?? []), Buffer.from([0x30, 3, 2, 1, 5])]
    const { privateKey, chain } = await loadPkcs12(plainPkcs12(file('ec.der'), certificates), PASSWORD)
    expect(privateKey.equals(EC)).toBe(true)
    expect(chain).toEqual([])
  })
})

/** A PFX without any protection (RFC 7292 section 4). */
function plainPkcs12(pkcs8: Buffer, certificates: readonly Buffer[]): Uint8Array {
  const DATA = derOid('1.2.840.113549.1.7.1')
  const explicit = (...parts: Uint8Array[]) => der(contextTag(0), ...parts)
  const contentInfo = (contents: Uint8Array) => derSequence(DATA, explicit(derOctetString(contents)))
  const keyBag = derSequence(derOid('1.2.840.113549.1.12.10.1.1'), explicit(pkcs8))
  const certificateBags = certificates.map((certificate) =>
    derSequence(
      derOid('1.2.840.113549.1.12.10.1.3'),
      explicit(derSequence(derOid('1.2.840.113549.1.9.22.1'), explicit(derOctetString(certificate))))
    )
  )
  const safe = contentInfo(derSequence(keyBag, ...certificateBags))
  return derSequence(derInteger(3), contentInfo(derSequence(safe)))
}

describe('files that are made to cost time', () => {
  /** `60 ...` with the right length. */
  const sequence = (...parts: Uint8Array[]) => derSequence(...parts)
  const algorithm = (oid: string, ...parameters: Uint8Array[]) =>
    sequence(derOid(oid), sequence(...parameters))
  const encrypted = (scheme: Uint8Array) => sequence(scheme, derOctetString(new Uint8Array(48)))
  const pbes2 = (kdf: Uint8Array) =>
    algorithm(
      '1.2.840.113549.1.5.13',
      kdf,
      sequence(derOid('2.16.840.1.101.3.4.1.42'), derOctetString(new Uint8Array(16)))
    )
  const salt = derOctetString(new Uint8Array(8))
  const pbkdf2 = (rounds: number) => algorithm('1.2.840.113549.1.5.12', salt, derInteger(rounds))
  const scrypt = (n: number, r: number, p: number) =>
    algorithm('1.3.6.1.4.1.11591.4.11', salt, derInteger(n), derInteger(r), derInteger(p))

  // Two thousand million rounds take most of an hour.
  it.each([
    ['PBKDF2', encrypted(pbes2(pbkdf2(0x7fff_ffff)))],
    ['scrypt', encrypted(pbes2(scrypt(1 << 14, 1, 1 << 17)))],
    [
      'the schemes of PKCS#12',
      encrypted(algorithm('1.2.840.113549.1.12.1.3', salt, derInteger(0x7fff_ffff)))
    ],
    ['PBES1', encrypted(algorithm('1.2.840.113549.1.5.10', salt, derInteger(0x7fff_ffff)))]
  ])('an encrypted key asks for no more rounds of %s than a second or two', async (_what, der) => {
    const pem = Buffer.from(toPem('ENCRYPTED PRIVATE KEY', der))
    for (const bytes of [der, pem]) {
      const error = await errorOf(() => loadPrivateKey(bytes, PASSWORD))
      expect(error.code).toBe('private-key-unreadable')
      expect(error.message).toContain('rounds')
    }
  })

  it('as many rounds as anybody recommends are taken', async () => {
    const der = encrypted(pbes2(pbkdf2(600_000)))
    expect((await errorOf(() => loadPrivateKey(der, PASSWORD))).code).toBe('private-key-wrong-password')
  })

  it('beginnings of keys without an end are passed over at once', async () => {
    const beginnings = '-----BEGIN PRIVATE KEY-----\n'.repeat(300_000)
    expect((await errorOf(() => loadPrivateKey(Buffer.from(beginnings)))).code).toBe('private-key-unreadable')
    const whole = Buffer.concat([Buffer.from(beginnings), file('rsa.key')])
    expect(loadPrivateKey(whole).asymmetricKeyType).toBe('rsa')
  })

  it.each(['rsa.modern.p12', 'rsa.legacy.p12'] as const)(
    '%s with a count of rounds that has no end is refused',
    async (name) => {
      const bytes = file(name)
      // Every count of rounds in OpenSSL's files is 2048: INTEGER, two bytes.
      const counts = [...bytes.keys()].filter((at) =>
        bytes.subarray(at, at + 4).equals(Buffer.from([2, 2, 8, 0]))
      )
      expect(counts.length).toBeGreaterThan(0)
      for (const at of counts) {
        // Without the MAC, which would not be right any more, unless it is the one that asks.
        const isMac = at > withoutMac(bytes).length
        const grown = growInteger(bytes, at, Buffer.from([2, 4, 0x7f, 0xff, 0xff, 0xff]))
        const error = await errorOf(() => loadPkcs12(isMac ? grown : withoutMac(grown), PASSWORD))
        expect(error.code).toBe('pkcs12-unsupported')
        expect(error.message).toContain('rounds')
      }
    }
  )
})

/** A PFX is version, contents, and perhaps a MAC over the contents (RFC 7292 section 4). */
function withoutMac(bytes: Buffer): Buffer {
  const parts = readDerSequence(bytes) ?? []
  return Buffer.from(derSequence(...parts.slice(0, 2).map(({ encoding }) => encoding)))
}

/** The file with another element at `at`, and every length around it put right. */
function growInteger(bytes: Buffer, at: number, element: Buffer): Buffer {
  const first = readDer(bytes)
  if (first === undefined) throw new Error('no DER')
  return Buffer.from(rebuilt(bytes, at, element))

  function rebuilt(part: Uint8Array, place: number, replacement: Uint8Array): Uint8Array {
    const outer = readDer(part)
    if (outer === undefined) throw new Error('no DER')
    if (place === 0) return replacement
    const header = outer.encoding.length - outer.contents.length
    const children: Uint8Array[] = []
    let begin = header
    for (const { encoding } of readDerAll(outer.contents) ?? []) {
      const end = begin + encoding.length
      children.push(place >= begin && place < end ? rebuilt(encoding, place - begin, replacement) : encoding)
      begin = end
    }
    return der(outer.tag, ...children)
  }
}
