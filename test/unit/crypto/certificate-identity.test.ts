import { describe, expect, it } from 'vitest'
import { subjectDn } from '../../../src/crypto/certificate.ts'
import { type CertifiedKey, commonName, issueCertificate } from '../../../src/crypto/certificate-authority.ts'
import { certificateFields, subjectKeyIdentifier } from '../../../src/crypto/certificate-fields.ts'
import { derOid, derSequence, derSet, derUtf8 } from '../../../src/crypto/der.ts'
import { IdType } from '../../../src/wire/ike-constants.ts'
import { codeOf, fqdn, intermediate, judge, leaf, server, VALID } from './certificate-fixtures.ts'

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
