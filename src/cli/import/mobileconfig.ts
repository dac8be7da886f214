/**
 * Apple's configuration profiles (.mobileconfig): each IKEv2 payload becomes a profile, certificate payloads become files.
 *
 * Keys and values are those of Apple's device management reference, payload `com.apple.vpn.managed`.
 * @module
 */
import { X509Certificate } from 'node:crypto'
import { parseCertificates } from '../../crypto/certificate.ts'
import { clipped } from '../../crypto/certificate-text.ts'
import { DataError } from '../../errors.ts'
import { carryProposals } from './apple-proposals.ts'
import { carryRest } from './apple-rest.ts'
import { type Leftover, ProfileDraft } from './draft.ts'
import { type SettingDict, SettingsReader } from './settings-reader.ts'

const VPN = new Set(['com.apple.vpn.managed', 'com.apple.vpn.managed.applayer'])
const PKCS12 = 'com.apple.security.pkcs12'
const CERTIFICATES = new Set([
  'com.apple.security.root',
  'com.apple.security.pem',
  'com.apple.security.pkcs1'
])
/** What every payload has, and says nothing about a connection. */
const METADATA = [
  'PayloadType',
  'PayloadVersion',
  'PayloadIdentifier',
  'PayloadUUID',
  'PayloadDisplayName',
  'PayloadDescription',
  'PayloadOrganization',
  'PayloadEnabled',
  'PayloadScope',
  'PayloadCertificateFileName',
  'UserDefinedName',
  'ConsentText'
] as const
const MAX_PROFILES = 100

export interface ImportedFile {
  readonly drafts: readonly ProfileDraft[]
  /** What concerns the file as a whole. */
  readonly leftovers: readonly Leftover[]
}

interface Identities {
  /** PKCS#12 payloads by their UUID. */
  readonly pkcs12: ReadonlyMap<string, SettingsReader>
  /** DER. */
  readonly authorities: readonly Uint8Array[]
}

/** @throws DataError when it holds no IKEv2 connection, or a value of the wrong kind */
export function readMobileconfig(dict: SettingDict, fallbackTitle: string): ImportedFile {
  const outer = new SettingsReader(dict)
  if (outer.has('EncryptedPayloadContent'))
    throw new DataError('import-encrypted', 'The contents of the profile are encrypted for one device.', {
      hint: 'Ask whoever made it for one that is not.'
    })
  const payloads = outer.dicts('PayloadContent')
  outer.ignore(...METADATA)
  const leftovers: Leftover[] = outer
    .unread()
    .map((setting) => ({ setting, reason: 'it is about the device, not about the connection' }))
  const title = outer.text('PayloadDisplayName') ?? fallbackTitle
  const connections: SettingsReader[] = []
  const pkcs12 = new Map<string, SettingsReader>()
  const authorities: Uint8Array[] = []
  for (const payload of payloads) {
    const type = payload.text('PayloadType') ?? 'no type'
    if (VPN.has(type)) connections.push(payload)
    else if (type === PKCS12) pkcs12.set(payload.text('PayloadUUID') ?? '', payload)
    else if (CERTIFICATES.has(type)) authorities.push(...authoritiesOf(payload, leftovers))
    else leftovers.push({ setting: `${payload.path} (${clipped(type)})`, reason: 'it is no VPN' })
  }
  const drafts = connections.flatMap((payload) =>
    connectionOf(payload, title, { pkcs12, authorities }, leftovers)
  )
  if (drafts.length === 0 || drafts.length > MAX_PROFILES)
    throw new DataError('import-no-ikev2', `The file holds ${drafts.length} IKEv2 connections.`, {
      hint:
        leftovers.length === 0
          ? undefined
          : `It holds: ${leftovers.map(({ setting }) => setting).join(', ')}.`
    })
  return { drafts, leftovers }
}

/** CA certificates of a payload; others prove nothing about a gateway here. */
function authoritiesOf(payload: SettingsReader, leftovers: Leftover[]): Uint8Array[] {
  const bytes = payload.bytes('PayloadContent')
  if (bytes === undefined) throw new DataError('import-bad-value', `${payload.path} holds no certificate.`)
  return parseCertificates(bytes).filter((certificate) => {
    if (new X509Certificate(certificate).ca) return true
    leftovers.push({ setting: payload.path, reason: 'its certificate is not that of a CA' })
    return false
  })
}

function connectionOf(
  payload: SettingsReader,
  title: string,
  identities: Identities,
  leftovers: Leftover[]
): ProfileDraft[] {
  const name = payload.text('UserDefinedName') ?? payload.text('PayloadDisplayName') ?? title
  const type = payload.text('VPNType') ?? 'no type'
  const ikev2 = payload.dict('IKEv2')
  if (type !== 'IKEv2' || ikev2 === undefined) {
    leftovers.push({
      setting: `${payload.path} (${clipped(name)})`,
      reason: `it is ${clipped(type)}, not IKEv2`
    })
    return []
  }
  const server = ikev2.text('RemoteAddress')
  if (server === undefined || !isServer(server))
    throw new DataError('import-no-server', `${ikev2.path}.RemoteAddress is not the name of a server.`)
  const draft = new ProfileDraft(name, server)
  const remote = ikev2.text('RemoteIdentifier')
  if (remote !== undefined && remote !== server) draft.set('remote-identity', remote, 'RemoteIdentifier')
  carryAuthentication(ikev2, draft, identities)
  draft.attachAuthorities(identities.authorities)
  carryProposals(ikev2, draft)
  carryRest(payload, ikev2, draft, remote ?? server)
  payload.ignore(...METADATA, 'VPNType')
  for (const setting of [...payload.unread(), ...ikev2.unread()])
    draft.leave(setting, 'ikestream has nothing like it')
  return [draft]
}

/** A host name or an address: nothing that could be taken for a path, an option or two words. */
export function isServer(text: string): boolean {
  return /^[\p{L}\p{N}][\p{L}\p{N}.:_-]{0,252}$/u.test(text)
}

function carryAuthentication(ikev2: SettingsReader, draft: ProfileDraft, { pkcs12 }: Identities): void {
  const method = ikev2.text('AuthenticationMethod') ?? 'None'
  const isEap = ikev2.flag('ExtendedAuthEnabled') === true
  const identity = ikev2.text('LocalIdentifier')
  const uuid = ikev2.text('PayloadCertificateUUID')
  // Without EAP, "None" means a shared secret.
  if (method === 'SharedSecret' || (method === 'None' && !isEap)) carrySharedSecret(ikev2, draft)
  const wantsCertificate = method === 'Certificate' || (isEap && uuid !== undefined)
  if (wantsCertificate) carryCertificate(uuid === undefined ? undefined : pkcs12.get(uuid), draft)
  if (isEap) carryEap(ikev2, draft, identity, wantsCertificate)
  draft.set('identity', identity === draft.values.get('user') ? undefined : identity, 'LocalIdentifier')
  ikev2.ignore('CertificateType')
}

function carrySharedSecret(ikev2: SettingsReader, draft: ProfileDraft): void {
  const secret = ikev2.secretText('SharedSecret')
  if (secret !== undefined) draft.attachPresharedKey(Buffer.from(secret))
  else draft.leave(`${ikev2.path}.SharedSecret`, 'it is not in the file; name one in auth.psk-file')
}

function carryCertificate(payload: SettingsReader | undefined, draft: ProfileDraft): void {
  const contents = payload?.bytes('PayloadContent')
  if (payload === undefined || contents === undefined) {
    draft.leave('PayloadCertificateUUID', 'no PKCS#12 payload has it; name a certificate in auth.certificate')
    return
  }
  draft.attach('certificate', '.p12', contents)
  const password = payload.secretText('Password')
  if (password !== undefined) draft.attachSecret('key-password-file', '.p12.pass', password)
  else draft.leave(`${payload.path}.Password`, 'it is not in the file, and will be asked for')
}

function carryEap(
  ikev2: SettingsReader,
  draft: ProfileDraft,
  identity: string | undefined,
  hasCertificate: boolean
): void {
  const user = ikev2.text('AuthName') ?? identity
  const password = ikev2.secretText('AuthPassword')
  if (user === undefined) {
    draft.leave(`${ikev2.path}.AuthName`, 'it is not in the file; add auth.user')
    return
  }
  draft.set('user', user, 'AuthName')
  if (password !== undefined) draft.attachSecret('password-file', '.pass', password)
  else if (!hasCertificate)
    draft.leave(`${ikev2.path}.AuthPassword`, 'it is not in the file, and will be asked for')
}
