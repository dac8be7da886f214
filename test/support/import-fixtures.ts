/**
 * Files such as Apple Configurator, Algo, StrongMan and strongSwan's app hand out, with credentials that a test chooses.
 * @module
 */

export interface PlistFixture {
  readonly [key: string]: PlistFixtureValue
}
export type PlistFixtureValue =
  | string
  | number
  | boolean
  | Uint8Array
  | readonly PlistFixtureValue[]
  | PlistFixture

const HEAD = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
`

/** A property list in XML, indented as Apple's programs do. */
export function plistOf(value: PlistFixtureValue): string {
  return `${HEAD}${element(value, '')}\n</plist>\n`
}

function element(value: PlistFixtureValue, indent: string): string {
  const inner = `${indent}\t`
  if (typeof value === 'string') return `${indent}<string>${escaped(value)}</string>`
  if (typeof value === 'number') return `${indent}<integer>${value}</integer>`
  if (typeof value === 'boolean') return `${indent}<${value}/>`
  if (value instanceof Uint8Array) {
    const lines = Buffer.from(value)
      .toString('base64')
      .replaceAll(/(.{52})/g, `$1\n${indent}`)
    return `${indent}<data>\n${indent}${lines}\n${indent}</data>`
  }
  if (Array.isArray(value))
    return `${indent}<array>\n${value.map((item) => `${element(item, inner)}\n`).join('')}${indent}</array>`
  const entries = Object.entries(value as PlistFixture)
  const pairs = entries.map(([key, item]) => `${inner}<key>${escaped(key)}</key>\n${element(item, inner)}\n`)
  return `${indent}<dict>\n${pairs.join('')}${indent}</dict>`
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}

const metadata = (type: string, name: string, uuid: string): PlistFixture => ({
  PayloadType: type,
  PayloadVersion: 1,
  PayloadIdentifier: `org.example.${uuid}`,
  PayloadUUID: uuid,
  PayloadDisplayName: name
})

const CA_UUID = '0D0C8B5B-8B0C-4C38-9D4B-10F9E0F3B6A1'
const P12_UUID = '5B6B3E6E-6D6B-4F27-8F3D-1C5E7A6E9F10'
const VPN_UUID = '9A1F26E4-0C0F-4E38-B5CE-7A2B8D6C3E55'

/** The outer dictionary around payloads. */
export function configurationProfile(payloads: readonly PlistFixture[], name = 'Example VPN'): string {
  return plistOf({ ...metadata('Configuration', name, 'outer'), PayloadContent: payloads })
}

/** An IKEv2 payload. @param ikev2 what differs from the least that there has to be */
export function ikev2Payload(ikev2: PlistFixture, around: PlistFixture = {}): PlistFixture {
  return {
    ...metadata('com.apple.vpn.managed', 'VPN', VPN_UUID),
    UserDefinedName: 'Office',
    VPNType: 'IKEv2',
    IKEv2: { RemoteAddress: 'vpn.example.com', RemoteIdentifier: 'vpn.example.com', ...ikev2 },
    ...around
  }
}

export function caPayload(certificate: Uint8Array, type = 'com.apple.security.root'): PlistFixture {
  return { ...metadata(type, 'Example CA', CA_UUID), PayloadContent: certificate }
}

export function pkcs12Payload(bytes: Uint8Array, password?: string): PlistFixture {
  return {
    ...metadata('com.apple.security.pkcs12', 'client', P12_UUID),
    PayloadCertificateFileName: 'client.p12',
    PayloadContent: bytes,
    ...(password !== undefined && { Password: password })
  }
}

interface Place {
  readonly server: string
  readonly identity: string
}

/** As Apple Configurator writes a connection with user name and password, all its switches included. */
export function configuratorEap(place: Place, ca: Uint8Array, user: string, password: string): string {
  const algorithms = {
    EncryptionAlgorithm: 'AES-256-GCM',
    IntegrityAlgorithm: 'SHA2-256',
    DiffieHellmanGroup: 19,
    LifeTimeInMinutes: 1440
  }
  const payload = ikev2Payload(
    {
      RemoteAddress: place.server,
      RemoteIdentifier: place.identity,
      LocalIdentifier: '',
      AuthenticationMethod: 'None',
      ExtendedAuthEnabled: 1,
      AuthName: user,
      AuthPassword: password,
      ChildSecurityAssociationParameters: { ...algorithms, LifeTimeInMinutes: 480 },
      IKESecurityAssociationParameters: algorithms,
      DeadPeerDetectionRate: 'Medium',
      DisableMOBIKE: 0,
      DisableRedirect: 0,
      EnableCertificateRevocationCheck: 0,
      EnablePFS: 0,
      IncludeAllNetworks: 0,
      UseConfigurationAttributeInternalIPSubnet: 0
    },
    { IPv4: { OverridePrimary: 1 }, Proxies: { HTTPEnable: 0, HTTPSEnable: 0 } }
  )
  return configurationProfile([payload, caPayload(ca)])
}

/** As Algo's scripts write a user's profile: a certificate, a CA that is sent along as `pkcs1`, connecting on demand. */
export function algoCertificate(
  place: Place,
  ca: Uint8Array,
  pkcs12: Uint8Array,
  password: string,
  identity: string
): string {
  const algorithms = {
    DiffieHellmanGroup: 20,
    EncryptionAlgorithm: 'AES-256-GCM',
    IntegrityAlgorithm: 'SHA2-512',
    LifeTimeInMinutes: 20
  }
  const payload = ikev2Payload(
    {
      RemoteAddress: place.server,
      RemoteIdentifier: place.identity,
      LocalIdentifier: identity,
      AuthenticationMethod: 'Certificate',
      CertificateType: 'ECDSA384',
      PayloadCertificateUUID: P12_UUID,
      ServerCertificateIssuerCommonName: place.identity,
      ChildSecurityAssociationParameters: algorithms,
      IKESecurityAssociationParameters: algorithms,
      EnablePFS: true,
      DeadPeerDetectionRate: 'Medium',
      DisableMOBIKE: 0,
      DisableRedirect: 1,
      OnDemandEnabled: 1,
      OnDemandRules: [{ Action: 'Connect', InterfaceTypeMatch: 'WiFi' }, { Action: 'Ignore' }]
    },
    { IPv4: { OverridePrimary: 1 }, Proxies: { HTTPEnable: 0, HTTPSEnable: 0 } }
  )
  const payloads = [payload, pkcs12Payload(pkcs12, password), caPayload(ca, 'com.apple.security.pkcs1')]
  return configurationProfile(payloads, 'AlgoVPN Example IKEv2')
}

/** A shared secret, as small offices hand it out. */
export function sharedSecret(place: Place, identity: string, psk: string): string {
  return configurationProfile([
    ikev2Payload({
      RemoteAddress: place.server,
      RemoteIdentifier: place.identity,
      LocalIdentifier: identity,
      AuthenticationMethod: 'SharedSecret',
      SharedSecret: psk
    })
  ])
}

/** As the documentation of strongSwan's app has it, and StrongMan exports it. */
export function sswanEap(place: Place, ca: Uint8Array, user: string, password: string): string {
  return JSON.stringify(
    {
      uuid: 'ab9a4f0e-31f9-4a1c-9c4b-3b4c4d3d7a52',
      name: 'Büro (EAP)',
      type: 'ikev2-eap',
      remote: {
        addr: place.server,
        id: place.identity,
        cert: Buffer.from(ca).toString('base64'),
        certreq: true,
        revocation: { crl: true, ocsp: true, strict: false }
      },
      local: { eap_id: user, shared_secret: password },
      'ike-proposal': 'aes256gcm16-prfsha256-ecp256',
      'esp-proposal': 'aes256gcm16',
      mtu: 1380,
      'split-tunneling': { subnets: ['10.0.0.0/8', 'fd00::/8'] }
    },
    null,
    2
  )
}

export function sswanCertificate(place: Place, ca: string, pkcs12: Uint8Array): string {
  return JSON.stringify({
    uuid: 'fb1f8e5e-0a51-4d10-8f77-67a4a5e3c6f1',
    name: 'Certificate',
    type: 'ikev2-cert',
    remote: { addr: place.server, id: place.identity, cert: ca },
    local: { p12: Buffer.from(pkcs12).toString('base64') }
  })
}
