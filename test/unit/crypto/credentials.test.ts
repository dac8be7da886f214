import { createPrivateKey } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { parseCertificates } from '../../../src/crypto/certificate.ts'
import { keyMatchesCertificate, loadPkcs12, loadPrivateKey } from '../../../src/crypto/credentials.ts'
import { signingKeyFrom } from '../../../src/crypto/signature.ts'
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
