import { X509Certificate } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import {
  describeCertificate,
  loadTrustStore,
  parseCertificates,
  parseCrls,
  publicKeyHash,
  subjectDn
} from '../../../src/crypto/certificate.ts'
import {
  commonName,
  issueClientCertificate,
  issueRevocationList
} from '../../../src/crypto/certificate-authority.ts'
import { certificateFields } from '../../../src/crypto/certificate-fields.ts'
import { toPem } from '../../../src/crypto/trust-store.ts'
import { DataError } from '../../../src/errors.ts'
import { codeOf, DAY, intermediate, judge, NOW, root, server, VALID } from './certificate-fixtures.ts'
import { hex } from './support.ts'

describe('files', () => {
  const bundle = Buffer.from(`# roots\n${root.certificatePem}\nwords between\n${intermediate.certificatePem}`)

  it('reads PEM bundles and DER', () => {
    expect(parseCertificates(bundle).map(hex)).toEqual(
      [root, intermediate].map(({ certificate }) => hex(certificate))
    )
    expect(parseCertificates(root.certificate).map(hex)).toEqual([hex(root.certificate)])
  })

  it('tells what is wrong with others', () => {
    expect(() => parseCertificates(Buffer.from('hello'))).toThrow(DataError)
    expect(() => parseCertificates(new Uint8Array(0))).toThrow(/no certificate/)
    const damaged = toPem('CERTIFICATE', root.certificate.subarray(0, 100))
    expect(() => parseCertificates(Buffer.from(root.certificatePem + damaged))).toThrow(
      /Certificate 2 of the file/
    )
    expect(() =>
      parseCertificates(Buffer.from(root.certificatePem.replaceAll('CERTIFICATE', 'PRIVATE KEY')))
    ).toThrow(DataError)
  })

  it('reads CRLs', () => {
    const crl = issueRevocationList(root, { revoked: [], thisUpdateMs: NOW, nextUpdateMs: NOW + DAY })
    expect(parseCrls(crl)).toHaveLength(1)
    expect(parseCrls(Buffer.from(toPem('X509 CRL', crl) + toPem('X509 CRL', crl)))).toHaveLength(2)
    expect(() => parseCrls(bundle)).toThrow(DataError)
  })

  it('makes a trust store of files and of the system, each anchor once', () => {
    const files = loadTrustStore({ cafiles: [bundle, root.certificate], useSystem: false })
    expect(files.anchors).toHaveLength(2)
    expect(files.system).toBe(false)
    const bundled = loadTrustStore({ cafiles: [], useSystem: true, systemBundles: [bundle] })
    expect(bundled.anchors).toHaveLength(2)
    const node = loadTrustStore({ cafiles: [bundle], useSystem: true })
    expect(node.anchors.length).toBeGreaterThan(50)
    expect(codeOf(judge(server, { trust: node }))).toBe('ok')
  })
})

describe('parts of a certificate', () => {
  it('hashes the public key as CERTREQ wants it', () => {
    const spki = new X509Certificate(root.certificate).publicKey.export({ format: 'der', type: 'spki' })
    const fields = certificateFields(root.certificate)
    expect(hex(fields?.subjectPublicKeyInfo)).toBe(hex(spki))
    expect(publicKeyHash(root.certificate)).toHaveLength(20)
    expect(publicKeyHash(Buffer.from('rubbish'))).toBeUndefined()
  })

  it('gives the subject as DER', () => {
    expect(hex(subjectDn(root.certificate))).toBe(hex(commonName('Example Root')))
    expect(() => subjectDn(Buffer.from('rubbish'))).toThrow(DataError)
  })

  it('describes a certificate', () => {
    expect(describeCertificate(server.certificate)).toMatchObject({
      subject: 'CN=gw.example',
      issuer: 'CN=Example Intermediate',
      subjectAltName:
        'DNS:gw.example, DNS:*.wild.example, IP Address:192.0.2.1, IP Address:2001:DB8:0:0:0:0:0:1, email:ike@gw.example',
      notBefore: '2027-05-02T00:00:00.000Z',
      notAfter: '2027-07-01T00:00:00.000Z',
      key: 'prime256v1'
    })
    const client = issueClientCertificate(root, ['user@example'], VALID, 'rsa')
    expect(describeCertificate(client.certificate).key).toBe('rsa-2048')
  })

  it('says of one whose key or dates cannot be read that it is damaged, and nothing of OpenSSL', () => {
    const { subjectPublicKeyInfo } = certificateFields(server.certificate) ?? {}
    if (subjectPublicKeyInfo === undefined) throw new Error('no fields')
    const badKey = Buffer.from(server.certificate)
    // The point of a P-256 key: 04 and two coordinates.
    badKey[badKey.indexOf(subjectPublicKeyInfo) + subjectPublicKeyInfo.length - 65] = 5
    const badDate = Buffer.from(server.certificate)
    badDate.write('99', badDate.indexOf('270502') + 2)
    for (const damaged of [badKey, badDate]) expect(() => describeCertificate(damaged)).toThrow(DataError)
  })
})
