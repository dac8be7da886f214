import { generateKeyPairSync, X509Certificate } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import {
  describeCertificate,
  type IdentityLike,
  loadTrustStore,
  type PathRequest,
  parseCertificates,
  parseCrls,
  publicKeyHash,
  subjectDn,
  validateCertificatePath
} from '../../../src/crypto/certificate.ts'
import {
  type CertificateRequest,
  type CertifiedKey,
  commonName,
  createCertificateAuthority,
  issueCertificate,
  issueClientCertificate,
  issueRevocationList,
  issueServerCertificate
} from '../../../src/crypto/certificate-authority.ts'
import { ExtendedKeyUsage } from '../../../src/crypto/certificate-extensions.ts'
import { certificateFields, subjectKeyIdentifier } from '../../../src/crypto/certificate-fields.ts'
import { derNull, derOid, derSequence, derSet, derUtf8 } from '../../../src/crypto/der.ts'
import { toPem } from '../../../src/crypto/trust-store.ts'
import { DataError } from '../../../src/errors.ts'
import { IdType } from '../../../src/wire/ike-constants.ts'
import { authPayloads, recordedSessions } from './recorded-session.ts'
import { hex } from './support.ts'

const NOW = Date.UTC(2027, 5, 1)
const DAY = 86_400_000
const VALID = { notBeforeMs: NOW - 30 * DAY, notAfterMs: NOW + 30 * DAY }

const root = createCertificateAuthority('Example Root', {
  notBeforeMs: NOW - 90 * DAY,
  notAfterMs: NOW + 90 * DAY
})
const intermediate = issueCertificate(
  {
    ...VALID,
    subject: 'Example Intermediate',
    extensions: { ca: { pathLength: 0 }, keyUsage: ['keyCertSign', 'cRLSign'] }
  },
  root
)
const server = issueServerCertificate(
  intermediate,
  ['gw.example', '*.wild.example', '192.0.2.1', '2001:db8::1', 'ike@gw.example'],
  VALID
)

const fqdn = (name: string): IdentityLike => ({ idType: IdType.FQDN, data: Buffer.from(name) })

function judge(leaf: CertifiedKey | Uint8Array, changes: Partial<PathRequest> = {}) {
  return validateCertificatePath({
    leaf: leaf instanceof Uint8Array ? leaf : leaf.certificate,
    intermediates: [intermediate.certificate],
    trust: { anchors: [root.certificate], crls: [] },
    atMs: NOW,
    identity: fqdn('gw.example'),
    purpose: 'server',
    ...changes
  })
}

function codeOf(verdict: ReturnType<typeof judge>): string {
  return verdict.ok ? 'ok' : verdict.code
}

/** A leaf for `gw.example` below the intermediate, with changes. */
function leaf(changes: Partial<CertificateRequest> = {}, issuer: CertifiedKey = intermediate): CertifiedKey {
  const extensions = { altNames: ['gw.example'], ...changes.extensions }
  return issueCertificate({ ...VALID, subject: 'gw.example', ...changes, extensions }, issuer)
}

describe('a path that holds', () => {
  it('gives the key and the names from leaf to anchor', () => {
    const verdict = judge(server)
    expect(verdict).toMatchObject({
      ok: true,
      subject: 'CN=gw.example',
      chainNames: ['CN=gw.example', 'CN=Example Intermediate', 'CN=Example Root']
    })
    if (verdict.ok)
      expect(verdict.publicKey.equals(new X509Certificate(server.certificate).publicKey)).toBe(true)
  })

  it.each(['ecdsa', 'rsa', 'ed25519'] as const)('may have keys of the kind %s', (kind) => {
    const authority = createCertificateAuthority(`Root ${kind}`, VALID, { keyKind: kind })
    const gateway = issueServerCertificate(authority, ['gw.example'], VALID, kind)
    const trust = { anchors: [authority.certificate], crls: [] }
    expect(codeOf(judge(gateway, { trust, intermediates: [] }))).toBe('ok')
  })

  it('may have its intermediates in any order, with rubbish and strangers among them', () => {
    const second = issueCertificate(
      { ...VALID, subject: 'Second', extensions: { ca: {}, keyUsage: ['keyCertSign'] } },
      root
    )
    const third = issueCertificate(
      { ...VALID, subject: 'Third', extensions: { ca: {}, keyUsage: ['keyCertSign'] } },
      second
    )
    const stranger = createCertificateAuthority('Stranger', VALID)
    const intermediates = [
      third.certificate,
      stranger.certificate,
      Buffer.from('rubbish'),
      second.certificate
    ]
    expect(codeOf(judge(leaf({}, third), { intermediates }))).toBe('ok')
  })

  it('may end at an intermediate, or at the leaf itself, when that is what is trusted', () => {
    const trustIn = (anchor: CertifiedKey) => ({ anchors: [anchor.certificate], crls: [] })
    expect(judge(server, { intermediates: [], trust: trustIn(intermediate) })).toMatchObject({
      chainNames: ['CN=gw.example', 'CN=Example Intermediate']
    })
    expect(codeOf(judge(server, { intermediates: [], trust: trustIn(server) }))).toBe('ok')
    expect(codeOf(judge(leaf(), { intermediates: [], trust: trustIn(server) }))).toBe('untrusted-issuer')
  })

  it('was recorded from strongSwan', () => {
    for (const session of recordedSessions.filter(({ name }) =>
      ['ecdsa256', 'ed25519', 'rsa-frag'].includes(name)
    )) {
      const certificates = authPayloads(session, 'responder').filter(({ type }) => type === 37)
      const [first] = certificates
      if (first === undefined) throw new Error('no CERT')
      const identity = authPayloads(session, 'responder').find(({ type }) => type === 36)?.body
      const own = Uint8Array.from(first.body.subarray(1))
      const { validFrom } = new X509Certificate(own)
      const verdict = validateCertificatePath({
        leaf: own,
        intermediates: [],
        trust: { anchors: [own], crls: [] },
        atMs: Date.parse(validFrom) + DAY,
        identity: { idType: identity?.readUInt8(0) ?? 0, data: identity?.subarray(4) ?? new Uint8Array(0) },
        purpose: 'server'
      })
      expect([session.name, codeOf(verdict)]).toEqual([session.name, 'ok'])
    }
  })
})

describe('a fault in the path', () => {
  const past = { notBeforeMs: NOW - 30 * DAY, notAfterMs: NOW - DAY }
  const future = { notBeforeMs: NOW + DAY, notAfterMs: NOW + 30 * DAY }

  it('names dates: expired and not yet valid', () => {
    expect(judge(leaf(past))).toMatchObject({
      code: 'expired',
      message: "The peer's certificate (CN=gw.example) expired on 2027-05-31 (it is 2027-06-01 now)."
    })
    expect(judge(leaf(future))).toMatchObject({
      code: 'not-yet-valid',
      message:
        "The peer's certificate (CN=gw.example) is valid only from 2027-06-02 on (it is 2027-06-01 now)."
    })
  })

  it('tells an expired CA from an expired leaf', () => {
    const old = issueCertificate(
      { ...past, subject: 'Old CA', extensions: { ca: {}, keyUsage: ['keyCertSign'] } },
      root
    )
    expect(judge(leaf({}, old), { intermediates: [old.certificate] })).toMatchObject({
      code: 'expired',
      message: expect.stringMatching(/^The CA certificate \(CN=Old CA\) expired on/)
    })
  })

  it('untrusted issuer: unknown, missing intermediate, self-signed, same name but another key', () => {
    const stranger = createCertificateAuthority('Example Root', VALID)
    expect(codeOf(judge(server, { trust: { anchors: [], crls: [] } }))).toBe('untrusted-issuer')
    expect(codeOf(judge(server, { intermediates: [] }))).toBe('untrusted-issuer')
    expect(codeOf(judge(issueServerCertificate(stranger, ['gw.example'], VALID)))).toBe('untrusted-issuer')
    const selfSigned = issueCertificate({
      ...VALID,
      subject: 'gw.example',
      extensions: { altNames: ['gw.example'] }
    })
    expect(judge(selfSigned)).toMatchObject({
      code: 'untrusted-issuer',
      message: expect.stringContaining('is self-signed')
    })
    expect(
      codeOf(
        judge(server, {
          intermediates: [intermediate.certificate, stranger.certificate],
          trust: { anchors: [], crls: [] }
        })
      )
    ).toBe('untrusted-issuer')
  })

  it('path length', () => {
    const below = issueCertificate(
      { ...VALID, subject: 'Below', extensions: { ca: {}, keyUsage: ['keyCertSign'] } },
      intermediate
    )
    const intermediates = [intermediate.certificate, below.certificate]
    expect(codeOf(judge(leaf({}, below), { intermediates }))).toBe('path-length')
  })

  it('an end entity that issues', () => {
    expect(
      codeOf(judge(leaf({}, server), { intermediates: [intermediate.certificate, server.certificate] }))
    ).toBe('not-a-ca')
    const noSign = issueCertificate(
      { ...VALID, subject: 'No', extensions: { ca: {}, keyUsage: ['cRLSign'] } },
      root
    )
    expect(codeOf(judge(leaf({}, noSign), { intermediates: [noSign.certificate] }))).not.toBe('ok')
  })

  it('name constraints, permitted and excluded', () => {
    const constrained = (nameConstraints: object) =>
      issueCertificate(
        {
          ...VALID,
          subject: 'Constrained',
          extensions: { ca: {}, keyUsage: ['keyCertSign'], nameConstraints }
        },
        root
      )
    const verdict = (authority: CertifiedKey) =>
      codeOf(judge(leaf({}, authority), { intermediates: [authority.certificate] }))
    expect(verdict(constrained({ permitted: ['example'] }))).toBe('ok')
    expect(verdict(constrained({ permitted: ['other.test'] }))).toBe('name-constraint')
    expect(verdict(constrained({ excluded: ['gw.example'] }))).toBe('name-constraint')
  })

  it('an unknown critical extension, in leaf or CA, but not one that is not critical', () => {
    const others = (critical: boolean) => [{ oid: '1.3.6.1.4.1.99999.1', critical, value: derNull() }]
    expect(codeOf(judge(leaf({ extensions: { others: others(true) } })))).toBe('unknown-critical-extension')
    expect(codeOf(judge(leaf({ extensions: { others: others(false) } })))).toBe('ok')
    const odd = issueCertificate(
      { ...VALID, subject: 'Odd', extensions: { ca: {}, keyUsage: ['keyCertSign'], others: others(true) } },
      root
    )
    expect(codeOf(judge(leaf({}, odd), { intermediates: [odd.certificate] }))).toBe(
      'unknown-critical-extension'
    )
  })

  it('weak signatures and keys', () => {
    expect(codeOf(judge(leaf({ hash: 'sha1' })))).toBe('weak-signature')
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 1024 })
    expect(codeOf(judge(leaf({ privateKey })))).toBe('weak-signature')
    const weakCa = issueCertificate(
      { ...VALID, subject: 'Weak', privateKey, extensions: { ca: {}, keyUsage: ['keyCertSign'] } },
      root
    )
    expect(codeOf(judge(leaf({}, weakCa), { intermediates: [weakCa.certificate] }))).toBe('weak-signature')
  })

  it('a changed byte anywhere', () => {
    for (let index = 0; index < server.certificate.length; index += 3) {
      const bent = Uint8Array.from(server.certificate)
      bent[index] = (bent[index] ?? 0) ^ 1
      expect([index, codeOf(judge(bent))]).not.toEqual([index, 'ok'])
    }
    const last = Uint8Array.from(server.certificate)
    last[last.length - 1] = (last.at(-1) ?? 0) ^ 1
    expect(codeOf(judge(last))).toBe('bad-signature')
  })

  it('what is no certificate, or more than one', () => {
    for (const bytes of [
      new Uint8Array(0),
      Buffer.from('rubbish'),
      Buffer.concat([server.certificate, Uint8Array.of(0)])
    ])
      expect(codeOf(judge(bytes))).toBe('malformed')
    expect(
      codeOf(judge(server, { intermediates: new Array<Uint8Array>(17).fill(intermediate.certificate) }))
    ).toBe('malformed')
  })

  it('key usage and extended key usage', () => {
    expect(codeOf(judge(leaf({ extensions: { keyUsage: ['keyEncipherment'] } })))).toBe('bad-key-usage')
    expect(codeOf(judge(leaf({ extensions: { keyUsage: ['nonRepudiation'] } })))).toBe('ok')
    const extended = (oid: string, purpose: 'server' | 'client') =>
      codeOf(judge(leaf({ extensions: { extendedKeyUsage: [oid] } }), { purpose }))
    const { serverAuth, clientAuth, ipsecIKE, any } = ExtendedKeyUsage
    for (const oid of [serverAuth, ipsecIKE, any, '1.3.6.1.5.5.8.2.2'])
      expect(extended(oid, 'server')).toBe('ok')
    for (const oid of [clientAuth, ipsecIKE, any]) expect(extended(oid, 'client')).toBe('ok')
    expect(extended(clientAuth, 'server')).toBe('bad-key-usage')
    expect(extended(serverAuth, 'client')).toBe('bad-key-usage')
    expect(extended('1.3.6.1.5.5.7.3.8', 'server')).toBe('bad-key-usage')
  })
})

describe('revocation', () => {
  const update = { thisUpdateMs: NOW - DAY, nextUpdateMs: NOW + DAY }
  const crl = (authority: CertifiedKey, revoked: readonly CertifiedKey[], times = update) =>
    issueRevocationList(authority, { ...times, revoked: revoked.map(({ certificate }) => certificate) })
  const withCrls = (...crls: readonly Uint8Array[]) =>
    judge(server, { trust: { anchors: [root.certificate], crls } })

  it('refuses a revoked leaf and accepts one that is not', () => {
    expect(withCrls(crl(intermediate, [server]))).toMatchObject({
      code: 'revoked',
      message: "The peer's certificate (CN=gw.example) was revoked by its issuer (CN=Example Intermediate)."
    })
    expect(codeOf(withCrls(crl(intermediate, [])))).toBe('ok')
    expect(codeOf(withCrls(crl(intermediate, [leaf()])))).toBe('ok')
  })

  it('refuses a revoked intermediate, though other CAs have no list', () => {
    expect(withCrls(crl(intermediate, []), crl(root, [intermediate]))).toMatchObject({
      code: 'revoked',
      message: expect.stringContaining('CN=Example Intermediate')
    })
    expect(codeOf(withCrls(crl(intermediate, []), crl(root, [])))).toBe('ok')
  })

  it('needs a list that covers the leaf, is current, and is signed by the issuer', () => {
    expect(codeOf(withCrls(crl(root, [])))).toBe('crl-missing')
    expect(
      codeOf(withCrls(crl(intermediate, [], { thisUpdateMs: NOW - 9 * DAY, nextUpdateMs: NOW - DAY })))
    ).toBe('crl-expired')
    expect(
      codeOf(withCrls(crl(intermediate, [], { thisUpdateMs: NOW + DAY, nextUpdateMs: NOW + 2 * DAY })))
    ).toBe('crl-invalid')
    const forged = Uint8Array.from(crl(intermediate, []))
    forged[forged.length - 1] = (forged.at(-1) ?? 0) ^ 1
    expect(codeOf(withCrls(forged))).toBe('crl-invalid')
    expect(codeOf(withCrls(Buffer.from('rubbish')))).toBe('crl-invalid')
  })
})

describe('identity', () => {
  const carries = (idType: number, data: Uint8Array, of: CertifiedKey = server) =>
    codeOf(judge(of, { identity: { idType, data } }))
  const text = (value: string) => Buffer.from(value)

  it.each([
    ['gw.example', 'ok'],
    ['GW.Example', 'ok'],
    ['a.wild.example', 'ok'],
    ['a.b.wild.example', 'identity-mismatch'],
    ['wild.example', 'identity-mismatch'],
    ['.wild.example', 'identity-mismatch'],
    ['*.wild.example', 'identity-mismatch'],
    ['other.example', 'identity-mismatch'],
    ['.example', 'identity-mismatch'],
    ['gw.example\0.evil', 'identity-mismatch'],
    ['192.0.2.1', 'identity-mismatch'],
    ['', 'identity-mismatch']
  ])('FQDN "%s": %s', (name, expected) => {
    expect(carries(IdType.FQDN, text(name))).toBe(expected)
  })

  it('RFC822_ADDR against the SAN alone', () => {
    expect(carries(IdType.RFC822_ADDR, text('ike@gw.example'))).toBe('ok')
    expect(carries(IdType.RFC822_ADDR, text('other@gw.example'))).toBe('identity-mismatch')
    expect(carries(IdType.RFC822_ADDR, text(''))).toBe('identity-mismatch')
  })

  it('addresses', () => {
    expect(carries(IdType.IPV4_ADDR, Uint8Array.of(192, 0, 2, 1))).toBe('ok')
    expect(carries(IdType.IPV4_ADDR, Uint8Array.of(192, 0, 2, 2))).toBe('identity-mismatch')
    expect(carries(IdType.IPV4_ADDR, Uint8Array.of(192, 0, 2))).toBe('identity-mismatch')
    expect(carries(IdType.IPV6_ADDR, Buffer.from('20010db8000000000000000000000001', 'hex'))).toBe('ok')
    expect(carries(IdType.IPV6_ADDR, Buffer.from('20010db8000000000000000000000002', 'hex'))).toBe(
      'identity-mismatch'
    )
    expect(carries(IdType.IPV6_ADDR, new Uint8Array(15))).toBe('identity-mismatch')
  })

  it('DER_ASN1_DN against the subject, with case and spaces folded', () => {
    expect(carries(IdType.DER_ASN1_DN, subjectDn(server.certificate))).toBe('ok')
    expect(carries(IdType.DER_ASN1_DN, commonName('GW.EXAMPLE'))).toBe('ok')
    expect(carries(IdType.DER_ASN1_DN, commonName('gw.example.org'))).toBe('identity-mismatch')
    expect(carries(IdType.DER_ASN1_DN, Buffer.from('rubbish'))).toBe('identity-mismatch')
    expect(carries(IdType.DER_ASN1_DN, new Uint8Array(0))).toBe('identity-mismatch')
    const organisation = derSet(derSequence(derOid('2.5.4.10'), derUtf8('Example Ltd')))
    const common = derSet(derSequence(derOid('2.5.4.3'), derUtf8('gw')))
    const twoParts = derSequence(organisation, common)
    expect(carries(IdType.DER_ASN1_DN, twoParts, leaf({ subject: twoParts }))).toBe('ok')
    expect(carries(IdType.DER_ASN1_DN, derSequence(common, organisation), leaf({ subject: twoParts }))).toBe(
      'identity-mismatch'
    )
  })

  it('KEY_ID against the subjectKeyIdentifier', () => {
    const fields = certificateFields(server.certificate)
    const keyId = fields && subjectKeyIdentifier(fields)
    expect(carries(IdType.KEY_ID, keyId ?? new Uint8Array(0))).toBe('ok')
    expect(carries(IdType.KEY_ID, new Uint8Array(20))).toBe('identity-mismatch')
    expect(carries(IdType.KEY_ID, new Uint8Array(0))).toBe('identity-mismatch')
  })

  it('the common name counts for host names of certificates without any SAN', () => {
    const bare = issueCertificate({ ...VALID, subject: 'gw.example', extensions: {} }, intermediate)
    const named = leaf({ extensions: { altNames: ['other@example'] } })
    expect(carries(IdType.FQDN, text('gw.example'), bare)).toBe('ok')
    expect(carries(IdType.FQDN, text('gw.example'), named)).toBe('identity-mismatch')
    expect(carries(IdType.RFC822_ADDR, text('gw.example'), bare)).toBe('identity-mismatch')
  })

  it('of an unknown type is carried by nothing', () => {
    for (const idType of [0, 4, IdType.DER_ASN1_GN, IdType.NULL, 200])
      expect(carries(idType, text('gw.example'))).toBe('identity-mismatch')
  })

  it('tells what the certificate carries instead', () => {
    expect(judge(leaf(), { identity: fqdn('vpn.example') })).toMatchObject({
      code: 'identity-mismatch',
      message:
        'The peer\'s certificate (CN=gw.example) does not carry the identity "vpn.example" but DNS:gw.example.'
    })
  })

  it('is told in a line, whatever names a certificate has', () => {
    const subject = commonName(`line\nbreak \u001b[31m\u202e${'x'.repeat(5000)}`)
    const altNames = Array.from({ length: 300 }, (_, index) => `host${index}.example`)
    const verdict = judge(leaf({ subject, extensions: { altNames } }), { identity: fqdn('y'.repeat(5000)) })
    if (verdict.ok) throw new Error('it carries no such name')
    expect(verdict.message.length).toBeLessThan(1000)
    expect(verdict.message).not.toMatch(/[\p{Cc}\p{Cf}]/u)
  })

  it('is not asked for when the caller has none', () => {
    expect(codeOf(judge(server, { identity: undefined }))).toBe('ok')
  })
})

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
})
