import { generateKeyPairSync, X509Certificate } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { validateCertificatePath } from '../../../src/crypto/certificate.ts'
import {
  type CertifiedKey,
  createCertificateAuthority,
  issueCertificate,
  issueRevocationList,
  issueServerCertificate
} from '../../../src/crypto/certificate-authority.ts'
import { ExtendedKeyUsage } from '../../../src/crypto/certificate-extensions.ts'
import { derNull } from '../../../src/crypto/der.ts'
import { codeOf, DAY, intermediate, judge, leaf, NOW, root, server, VALID } from './certificate-fixtures.ts'
import { authPayloads, recordedSessions } from './recorded-session.ts'

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
