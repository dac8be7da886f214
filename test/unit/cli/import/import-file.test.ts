import { describe, expect, it } from 'vitest'
import type { ProfileDraft } from '../../../../src/cli/import/draft.ts'
import { readImport } from '../../../../src/cli/import/import-file.ts'
import {
  createCertificateAuthority,
  issueServerCertificate
} from '../../../../src/crypto/certificate-authority.ts'
import { DataError } from '../../../../src/errors.ts'
import {
  algoCertificate,
  caPayload,
  configurationProfile,
  configuratorEap,
  ikev2Payload,
  type PlistFixture,
  pkcs12Payload,
  sharedSecret,
  sswanCertificate,
  sswanEap
} from '../../../support/import-fixtures.ts'

const CA = createCertificateAuthority('Import CA', { notBeforeMs: 0, notAfterMs: 4e12 })
const PLACE = { server: 'vpn.example.com', identity: 'gw.example.com' }
const P12 = Uint8Array.of(0x30, 0x03, 0x02, 0x01, 0x03)

const read = (text: string) => readImport(Buffer.from(text), 'fallback')

function only(text: string): ProfileDraft {
  const [draft, ...more] = read(text).drafts
  if (draft === undefined || more.length > 0) throw new Error('one profile was expected')
  return draft
}

const values = (draft: ProfileDraft) => Object.fromEntries(draft.values)
const files = (draft: ProfileDraft) =>
  draft.files.map(({ key, suffix, secret, contents }) => [
    key,
    suffix,
    secret,
    Buffer.from(contents).toString('latin1')
  ])
const leftOut = (draft: ProfileDraft) => draft.leftovers.map(({ setting }) => setting)

function refusal(text: string): DataError {
  try {
    read(text)
  } catch (error) {
    if (error instanceof DataError) return error
    throw error
  }
  throw new Error('it was taken')
}

describe('a profile of Apple Configurator with user name and password', () => {
  const draft = only(configuratorEap(PLACE, CA.certificate, 'alice', 'p&ss <word>'))

  it('carries everything over that has a meaning', () => {
    expect(draft).toMatchObject({ title: 'Office', server: 'vpn.example.com' })
    expect(values(draft)).toEqual({
      'remote-identity': 'gw.example.com',
      user: 'alice',
      'ike-proposal': ['aes256gcm16-prfsha256-ecp256'],
      'esp-proposal': ['aes256gcm16'],
      'ike-lifetime': 86_400,
      'child-lifetime': 28_800
    })
  })

  it('moves the password and the CA into files', () => {
    const [password, authority] = files(draft)
    expect(password).toEqual(['password-file', '.pass', true, 'p&ss <word>\n'])
    expect(authority?.slice(0, 3)).toEqual(['cafile', '-ca.pem', false])
    expect(authority?.[3]).toContain(CA.certificatePem.trim())
  })

  it('names the one setting that means something else here', () => {
    expect(leftOut(draft)).toEqual(['PayloadContent[0].IKEv2.DeadPeerDetectionRate'])
  })
})

describe('a profile of Algo with a certificate', () => {
  const draft = only(algoCertificate(PLACE, CA.certificate, P12, 'secret', 'alice@algo'))

  it('carries over suites, groups and lifetimes', () => {
    expect(values(draft)).toEqual({
      'remote-identity': 'gw.example.com',
      identity: 'alice@algo',
      'ike-proposal': ['aes256gcm16-prfsha512-ecp384'],
      'esp-proposal': ['aes256gcm16-ecp384'],
      'ike-lifetime': 1200,
      'child-lifetime': 1200,
      redirect: false
    })
  })

  it('moves certificate, its password and the CA into files', () => {
    expect(files(draft).map((file) => file.slice(0, 3))).toEqual([
      ['certificate', '.p12', true],
      ['key-password-file', '.p12.pass', true],
      ['cafile', '-ca.pem', false]
    ])
  })

  it('names what is left out', () => {
    expect(leftOut(draft)).toEqual(
      expect.arrayContaining([
        'PayloadContent[0].IKEv2.OnDemandEnabled',
        'PayloadContent[0].IKEv2.OnDemandRules',
        'PayloadContent[0].IKEv2.ServerCertificateIssuerCommonName'
      ])
    )
  })
})

describe('a shared secret', () => {
  const fileOf = (psk: string) => files(only(sharedSecret(PLACE, 'client@example', psk)))[0]

  it.each([
    ['open sesame', 'open sesame\n'],
    // Our files would take these for hexadecimal digits and base64.
    ['0xabc', '0x3078616263\n'],
    ['0sAAAA', '0x307341414141\n'],
    ['pässword', '0x70c3a47373776f7264\n']
  ])('%s stays the same key', (psk, contents) => {
    expect(fileOf(psk)).toEqual(['psk-file', '.psk', true, Buffer.from(contents).toString('latin1')])
  })

  it('is asked for by name when the file has none', () => {
    expect(leftOut(only(sharedSecret(PLACE, 'client@example', '')))).toContain(
      'PayloadContent[0].IKEv2.SharedSecret'
    )
  })
})

describe('several payloads', () => {
  it('become a profile each; what is no IKEv2 is named', () => {
    const l2tp = { ...ikev2Payload({}), VPNType: 'L2TP', UserDefinedName: 'Old' }
    const wifi = { PayloadType: 'com.apple.wifi.managed', PayloadUUID: 'w', SSID_STR: 'office' }
    const contents = read(
      configurationProfile([
        ikev2Payload({ AuthenticationMethod: 'SharedSecret', SharedSecret: 'one' }),
        l2tp,
        wifi,
        ikev2Payload({
          RemoteAddress: 'two.example.com',
          AuthenticationMethod: 'SharedSecret',
          SharedSecret: 'two'
        })
      ])
    )
    expect(contents.drafts.map(({ server }) => server)).toEqual(['vpn.example.com', 'two.example.com'])
    expect(contents.leftovers.map(({ setting }) => setting)).toEqual([
      'PayloadContent[2] (com.apple.wifi.managed)',
      'PayloadContent[1] (Old)'
    ])
  })

  it.each([
    [
      'EAP-TLS with the user name of the payload',
      { AuthName: 'bob' },
      { user: 'bob', identity: 'alice@algo' }
    ],
    ['EAP-TLS with the own identity as user name', {}, { user: 'alice@algo' }]
  ])('%s', (_, extra, expected) => {
    const ikev2 = {
      AuthenticationMethod: 'None',
      ExtendedAuthEnabled: true,
      PayloadCertificateUUID: String(pkcs12Payload(P12)['PayloadUUID']),
      LocalIdentifier: 'alice@algo',
      ...extra
    }
    const draft = only(configurationProfile([ikev2Payload(ikev2), pkcs12Payload(P12)]))
    expect(values(draft)).toEqual(expected)
    expect(leftOut(draft)).toEqual(['PayloadContent[1].Password'])
  })
})

describe('settings of Apple that ikestream cannot keep', () => {
  const settings = (ikev2: PlistFixture, around: PlistFixture = {}) =>
    only(configurationProfile([ikev2Payload({ SharedSecret: 'x', ...ikev2 }, around)]))

  it.each<[string, PlistFixture, PlistFixture]>([
    ['PPK', { PPK: Uint8Array.of(1) }, {}],
    ['PPKIdentifier', { PPKIdentifier: 'x' }, {}],
    ['IncludeAllNetworks', { IncludeAllNetworks: 1 }, {}],
    ['EnableCertificateRevocationCheck', { EnableCertificateRevocationCheck: 1 }, {}],
    ['DisableMOBIKE', { DisableMOBIKE: 1 }, {}],
    ['ServerCertificateCommonName', { ServerCertificateCommonName: 'other.example.com' }, {}],
    ['SomethingNew', { SomethingNew: 'x' }, {}],
    ['MTU', { MTU: 100 }, {}]
  ])('%s is named', (name, ikev2, around) => {
    expect(leftOut(settings(ikev2, around))).toContain(`PayloadContent[0].IKEv2.${name}`)
  })

  it('names DNS, proxies and unknown parts of the payload', () => {
    const around = {
      DNS: { ServerAddresses: ['10.0.0.1'] },
      Proxies: { HTTPEnable: 1, HTTPProxy: 'p' },
      IPv4: { OverridePrimary: 0 },
      New: 'x'
    }
    expect(leftOut(settings({}, around))).toEqual([
      'PayloadContent[0].DNS',
      'PayloadContent[0].Proxies',
      'PayloadContent[0].IPv4.OverridePrimary',
      'PayloadContent[0].New'
    ])
  })

  it.each([
    ['3DES', { EncryptionAlgorithm: '3DES' }],
    ['a small group', { DiffieHellmanGroup: 2 }],
    ['an invented cipher', { EncryptionAlgorithm: 'toString' }]
  ])('%s: our own proposals are used, and it is said', (_, parameters) => {
    const draft = settings({ IKESecurityAssociationParameters: parameters })
    expect(draft.values.has('ike-proposal')).toBe(false)
    expect(leftOut(draft)).toContain('PayloadContent[0].IKEv2.IKESecurityAssociationParameters')
  })

  it('takes missing algorithms for those that Apple documents as defaults', () => {
    const draft = settings({ IKESecurityAssociationParameters: {}, EnablePFS: 1 })
    expect(values(draft)).toEqual({
      'ike-proposal': ['aes256-sha256-modp2048'],
      'esp-proposal': ['aes256-sha256-modp2048']
    })
  })

  it('turns liveness checks off where the profile does', () => {
    expect(values(settings({ DeadPeerDetectionRate: 'None' }))).toEqual({ dpd: 0 })
  })
})

describe('a certificate payload', () => {
  it('that is no CA is not trusted, and named', () => {
    const leaf = issueServerCertificate(CA, ['gw.example.com'], { notBeforeMs: 0, notAfterMs: 4e12 })
    const contents = read(
      configurationProfile([ikev2Payload({ SharedSecret: 'x' }), caPayload(leaf.certificate)])
    )
    expect(contents.drafts[0]?.files.map(({ key }) => key)).toEqual(['psk-file'])
    expect(contents.leftovers).toEqual([
      { setting: 'PayloadContent[1]', reason: 'its certificate is not that of a CA' }
    ])
  })

  it('that is damaged is refused', () => {
    expect(refusal(configurationProfile([ikev2Payload({}), caPayload(P12)])).code).toBe(
      'certificate-unreadable'
    )
  })
})

describe("a profile of strongSwan's app", () => {
  it('with user name and password', () => {
    const draft = only(sswanEap(PLACE, CA.certificate, 'alice', 'open sesame'))
    expect(draft.title).toBe('Büro (EAP)')
    expect(values(draft)).toEqual({
      'remote-identity': 'gw.example.com',
      user: 'alice',
      'system-trust': false,
      'ike-proposal': ['aes256gcm16-prfsha256-ecp256'],
      'esp-proposal': ['aes256gcm16'],
      'remote-ts': ['10.0.0.0/8', 'fd00::/8'],
      mtu: 1380
    })
    expect(files(draft).map((file) => file.slice(0, 3))).toEqual([
      ['cafile', '-ca.pem', false],
      ['password-file', '.pass', true]
    ])
    expect(leftOut(draft)).toEqual([])
  })

  it('with a certificate, whose password such files never hold', () => {
    const draft = only(sswanCertificate(PLACE, CA.certificatePem, P12))
    expect(files(draft).map(([key]) => key)).toEqual(['cafile', 'certificate'])
    expect(leftOut(draft)).toEqual(['password of local.p12'])
  })

  const variant = (changes: object) =>
    JSON.stringify({ uuid: 'u', name: 'n', type: 'ikev2-eap', remote: { addr: 'a.example' }, ...changes })

  it('names what it cannot keep', () => {
    const draft = only(
      variant({
        'dns-servers': '10.0.0.1',
        'nat-keepalive': 45,
        'excluded-apps': ['a'],
        'ike-proposal': 'aes256-sha256-modp1024, aes128gcm16-prfsha256-x25519',
        'split-tunneling': { excluded: '10.1.0.0/16', subnets: 'nonsense 10.0.0.0/8', 'block-ipv6': true },
        remote: { addr: 'a.example', port: 4501, certreq: false, revocation: { strict: true } },
        something: { new: 1 }
      })
    )
    expect(values(draft)).toEqual({
      'udp-port': 4501,
      'nat-t-port': 4501,
      'ike-proposal': ['aes128gcm16-prfsha256-x25519'],
      'remote-ts': ['10.0.0.0/8']
    })
    expect(leftOut(draft).sort()).toEqual(
      [
        'dns-servers',
        'excluded-apps',
        'ike-proposal',
        'local.eap_id',
        'local.shared_secret',
        'nat-keepalive',
        'remote.certreq',
        'remote.revocation.strict',
        'something',
        'split-tunneling.block-ipv6',
        'split-tunneling.excluded',
        'split-tunneling.subnets'
      ].sort()
    )
  })

  it.each<[string, string, RegExp]>([
    [
      'two rounds of authentication',
      variant({ type: 'ikev2-cert-eap' }),
      /ikev2-cert-eap cannot be imported/
    ],
    ['an inherited name as type', variant({ type: 'constructor' }), /cannot be imported/],
    ['no server', variant({ remote: {} }), /remote\.addr/],
    ['a path as server', variant({ remote: { addr: '../x' } }), /remote\.addr/],
    ['a list as server', variant({ remote: { addr: ['a'] } }), /remote\.addr .* not text/],
    [
      'no certificate in the certificate',
      variant({ remote: { addr: 'a', cert: 'AAAA' } }),
      /holds no certificate|damaged/
    ],
    ['line feeds in a name', variant({ name: 'a\nb' }), /one line/],
    ['no JSON', '{"a":', /not valid JSON/],
    ['very much depth', `{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`, /nested|JSON/]
  ])('%s is refused', (_, text, message) => {
    expect(refusal(text).message).toMatch(message)
  })
})

describe('files that are something else', () => {
  it.each<[string, string, string]>([
    ['an empty one', '', 'import-format'],
    ['a shell script', '#!/bin/sh\n', 'import-format'],
    ['a binary property list', 'bplist00\x01', 'import-binary'],
    ['a property list without a profile', '<plist><array/></plist>', 'import-syntax'],
    ['a profile without a VPN', configurationProfile([]), 'import-no-ikev2'],
    [
      'an encrypted profile',
      configurationProfile([]).replace('PayloadContent', 'EncryptedPayloadContent'),
      'import-encrypted'
    ],
    ['DER that is no message', '0\x03\x02\x01\x03', 'import-format'],
    ['DER that runs past its end', '0\x84\x7f\xff\xff\xff', 'import-format']
  ])('%s', (_, text, code) => {
    expect(refusal(text).code).toBe(code)
  })

  it('a large one is not even looked at', () => {
    expect(() => readImport(Buffer.alloc((4 << 20) + 1, 0x20), 'x')).toThrow(/larger than 4 MiB/)
  })

  it('servers that are none, and wrong kinds of values, are named by their place', () => {
    expect(refusal(configurationProfile([ikev2Payload({ RemoteAddress: 'a b' })])).code).toBe(
      'import-no-server'
    )
    expect(refusal(configurationProfile([ikev2Payload({ SharedSecret: 1 })])).message).toMatch(
      /PayloadContent\[0\]\.IKEv2\.SharedSecret in the file is not text/
    )
  })

  it('control characters of a file do not reach the terminal', () => {
    const { drafts } = read(configurationProfile([ikev2Payload({ SharedSecret: 'x', 'a\u009b2Jb': 1 })]))
    expect(leftOut(drafts[0] as ProfileDraft)).toEqual(['PayloadContent[0].IKEv2.a?2Jb'])
  })
})
