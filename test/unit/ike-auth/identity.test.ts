import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ConfigurationError } from '../../../src/errors.ts'
import {
  formatIdentity,
  identityFromText,
  identityMatches,
  sameIdentity
} from '../../../src/ike/auth/identity.ts'
import { IdType } from '../../../src/wire/ike-constants.ts'

const SEED = 20_260_102
const utf8 = (text: string) => new TextEncoder().encode(text)
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
const fqdn = (name: string) => ({ idType: IdType.FQDN, data: utf8(name) })

describe('identityFromText', () => {
  it.each([
    ['vpn.example.com', IdType.FQDN, utf8('vpn.example.com')],
    ['gateway', IdType.FQDN, utf8('gateway')],
    ['@alice', IdType.FQDN, utf8('alice')],
    ['alice@example.com', IdType.RFC822_ADDR, utf8('alice@example.com')],
    ['@@alice', IdType.RFC822_ADDR, utf8('alice')],
    ['192.0.2.7', IdType.IPV4_ADDR, Uint8Array.of(192, 0, 2, 7)],
    ['2001:db8::1', IdType.IPV6_ADDR, Uint8Array.of(0x20, 1, 0xd, 0xb8, ...new Array<number>(11).fill(0), 1)],
    ['192.0.2.300', IdType.FQDN, utf8('192.0.2.300')],
    ['@#deadbeef', IdType.KEY_ID, Uint8Array.of(0xde, 0xad, 0xbe, 0xef)],
    ['@#de:ad', IdType.KEY_ID, Uint8Array.of(0xde, 0xad)],
    ['some:thing', IdType.KEY_ID, utf8('some:thing')],
    ['a=b', IdType.KEY_ID, utf8('a=b')],
    ['fqdn:192.0.2.7', IdType.FQDN, utf8('192.0.2.7')],
    ['dns:vpn', IdType.FQDN, utf8('vpn')],
    ['email:alice', IdType.RFC822_ADDR, utf8('alice')],
    ['EMAIL:alice', IdType.RFC822_ADDR, utf8('alice')],
    ['keyid:group one', IdType.KEY_ID, utf8('group one')],
    ['keyid:#0102', IdType.KEY_ID, Uint8Array.of(1, 2)],
    ['ipv4:192.0.2.7', IdType.IPV4_ADDR, Uint8Array.of(192, 0, 2, 7)],
    ['ipv6:::1', IdType.IPV6_ADDR, Uint8Array.of(...new Array<number>(15).fill(0), 1)],
    ['  vpn.example.com ', IdType.FQDN, utf8('vpn.example.com')]
  ])('reads %j', (text, idType, data) => {
    expect(identityFromText(text)).toEqual({ idType, data })
  })

  it.each([
    '',
    '   ',
    '@#',
    '@#abc',
    '@#xyz0',
    'ipv4:vpn',
    'ipv4:::1',
    'ipv6:192.0.2.7',
    'fqdn:',
    'asn1dn:nonsense'
  ])('refuses %j with a hint', (text) => {
    const attempt = () => identityFromText(text)
    expect(attempt).toThrow(ConfigurationError)
    expect(attempt).toThrow(
      expect.objectContaining({ code: 'bad-identity', hint: expect.stringContaining('user@host') })
    )
  })

  it('encodes a distinguished name as OpenSSL does', () => {
    // openssl req -subj "/C=XX/O=SSLab/CN=cl-rsa.test" -nameopt with PrintableString.
    const name = identityFromText('C=XX, O=SSLab, CN=gw.test')
    expect(name.idType).toBe(IdType.DER_ASN1_DN)
    expect(hex(name.data)).toBe(
      '302f310b3009060355040613025858310e300c060355040a130553534c61623110300e0603550403130767772e74657374'
    )
  })

  it('takes UTF8String, IA5String and dotted object identifiers where they are due', () => {
    expect(hex(identityFromText('CN=Zoë').data)).toBe('300f310d300b06035504030c045a6fc3ab')
    expect(hex(identityFromText('E=a@b').data)).toBe('3014311230100609' + '2a864886f70d0109011603614062')
    expect(hex(identityFromText('1.2.3=x').data)).toBe('300b31093007060' + '22a03130178')
  })

  it.each([
    ['/C=CH/O=Example/CN=gw', 'C=CH, O=Example, CN=gw'],
    ['asn1dn:CN=gw', 'CN=gw'],
    ['cn=gw,o=Example', 'CN=gw, O=Example'],
    ['CN=Doe\\, John, O=A\\/B', 'CN=Doe\\, John, O=A\\/B']
  ])('understands the name %j', (text, formatted) => {
    const identity = identityFromText(text)
    expect(identity.idType).toBe(IdType.DER_ASN1_DN)
    expect(formatIdentity(identity)).toBe(formatted)
  })
})

describe('formatIdentity', () => {
  it.each([
    'vpn.example.com',
    'alice@example.com',
    '192.0.2.7',
    '2001:db8::1',
    'C=CH, O=Example, CN=gw',
    '@#00ff',
    'fqdn:192.0.2.7',
    'email:alice',
    'keyid:group',
    'keyid:alice@example.com',
    'CN= leading, O=trailing\\ '
  ])('gives back what %j means', (text) => {
    const identity = identityFromText(text)
    const again = identityFromText(formatIdentity(identity))
    expect(sameIdentity(again, identity)).toBe(true)
  })

  it('never shows control characters', () => {
    expect(formatIdentity(fqdn('evil\u001b[31m\nname'))).toBe('fqdn:#6576696c1b5b33316d0a6e616d65')
    expect(formatIdentity({ idType: IdType.KEY_ID, data: Uint8Array.of(0xff, 0) })).toBe('@#ff00')
  })

  it('names a type that it does not know', () => {
    expect(formatIdentity({ idType: 200, data: Uint8Array.of(1, 2) })).toBe('id-type-200:#0102')
  })

  it('never throws, is one line, and reads back as the same identity where it has a known type', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(1, 2, 3, 5, 9, 11, 77),
        fc.oneof(fc.uint8Array({ maxLength: 40 }), fc.string({ maxLength: 30 }).map(utf8)),
        (idType, data) => {
          const text = formatIdentity({ idType, data })
          expect(text).not.toMatch(/[\p{Cc}]/u)
          if (idType === 77 || data.length === 0) return
          expect(sameIdentity(identityFromText(text), { idType, data })).toBe(true)
        }
      ),
      { numRuns: 1000, seed: SEED }
    )
  })

  it('survives names that are broken DER', () => {
    const name = identityFromText('C=CH, O=Example, CN=gw').data
    fc.assert(
      fc.property(fc.nat(name.length - 1), fc.nat(255), (position, value) => {
        const broken = Uint8Array.from(name)
        broken[position] = value
        formatIdentity({ idType: IdType.DER_ASN1_DN, data: broken })
        sameIdentity({ idType: IdType.DER_ASN1_DN, data: broken }, { idType: IdType.DER_ASN1_DN, data: name })
      }),
      { numRuns: 1000, seed: SEED }
    )
  })
})

describe('comparison', () => {
  it.each([
    ['VPN.Example.COM', 'vpn.example.com', true],
    ['alice@example.com', 'Alice@EXAMPLE.com', true],
    ['vpn.example.com', 'vpn.example.org', false],
    ['vpn.example.com', 'email:vpn.example.com', false],
    ['keyid:Group', 'keyid:group', false],
    ['C=ch, O=EXAMPLE  co, CN=GW', 'C=CH, O=Example Co, CN=gw', true],
    ['CN=gw, O=Example', 'O=Example, CN=gw', false],
    ['CN=gw', 'CN=gw, O=Example', false],
    ['192.0.2.1', '192.0.2.2', false]
  ])('%s and %s: %s', (a, b, same) => {
    expect(sameIdentity(identityFromText(a), identityFromText(b))).toBe(same)
    expect(sameIdentity(identityFromText(b), identityFromText(a))).toBe(same)
  })

  it('folds ASCII letters alone', () => {
    expect(sameIdentity(fqdn('\u212a.example'), fqdn('k.example'))).toBe(false)
    expect(sameIdentity(fqdn('É.example'), fqdn('é.example'))).toBe(false)
  })

  it('does not stop at a NUL', () => {
    expect(sameIdentity(fqdn('vpn.example.com\0.evil.example'), fqdn('vpn.example.com'))).toBe(false)
    expect(identityMatches(fqdn('*.example.com'), fqdn('evil\0.example.com.evil'))).toBe(false)
  })

  it('takes equal values of different string types for the same name', () => {
    const printable = identityFromText('CN=gw')
    const utf8Typed = Uint8Array.from(printable.data, (byte) => (byte === 0x13 ? 0x0c : byte))
    expect(sameIdentity(printable, { idType: IdType.DER_ASN1_DN, data: utf8Typed })).toBe(true)
  })

  it.each([
    ['*.example.com', 'vpn.example.com', true],
    ['*.example.com', 'a.b.example.com', true],
    ['*.example.com', 'example.com', false],
    ['*.example.com', 'vpnexample.com', false],
    ['*@example.com', 'alice@example.com', true],
    ['*@example.com', 'alice@other.example', false],
    ['*', 'vpn.example.com', false],
    ['*.*.com', 'a.b.com', false],
    ['vpn.example.com', '*.example.com', false]
  ])('expecting %s, %s matches: %s', (expected, actual, matches) => {
    expect(identityMatches(identityFromText(expected), identityFromText(actual))).toBe(matches)
  })
})
