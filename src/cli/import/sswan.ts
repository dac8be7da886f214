/**
 * Profiles of strongSwan's app for Android (.sswan): JSON, one connection a file. Keys and values are those of its documentation.
 * @module
 */
import { X509Certificate } from 'node:crypto'
import { parseCertificates } from '../../crypto/certificate.ts'
import { clipped } from '../../crypto/certificate-text.ts'
import { DataError } from '../../errors.ts'
import { parseTrafficSelector } from '../../wire/traffic-selectors.ts'
import { acceptedProposals } from './apple-proposals.ts'
import { ProfileDraft } from './draft.ts'
import { isServer } from './mobileconfig.ts'
import { type SettingDict, SettingsReader, type SettingValue } from './settings-reader.ts'

type Credential = 'password' | 'certificate'
const TYPES: Readonly<Record<string, readonly Credential[]>> = {
  'ikev2-eap': ['password'],
  'ikev2-byod-eap': ['password'],
  'ikev2-cert': ['certificate'],
  'ikev2-eap-tls': ['certificate']
}
const MAX_DEPTH = 16

/** @throws DataError when it is not JSON, no such profile, or of a kind that cannot be carried over */
export function readSswan(text: string, fallbackTitle: string): ProfileDraft {
  const profile = new SettingsReader(parseJson(text))
  const type = profile.text('type') ?? 'none'
  const credentials = Object.hasOwn(TYPES, type) ? TYPES[type] : undefined
  const remote = profile.dict('remote')
  const server = remote?.text('addr')
  if (remote === undefined || server === undefined || !isServer(server))
    throw new DataError('import-no-server', 'remote.addr in the file is not the name of a server.')
  if (credentials === undefined)
    throw new DataError(
      'import-unsupported',
      `Connections of the type ${clipped(type)} cannot be imported.`,
      {
        hint: `Known are: ${Object.keys(TYPES).join(', ')}.`
      }
    )
  const draft = new ProfileDraft(profile.text('name') ?? fallbackTitle, server)
  profile.ignore('uuid')
  carryRemote(remote, draft)
  const local = profile.dict('local') ?? new SettingsReader(new Map(), 'local')
  carryLocal(local, credentials, type, draft)
  carryTunnel(profile, draft)
  for (const setting of [...profile.unread(), ...remote.unread(), ...local.unread()])
    draft.leave(setting, 'ikestream has nothing like it')
  return draft
}

function parseJson(text: string): SettingDict {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new DataError('import-syntax', 'The file is not valid JSON.', { cause })
  }
  const dict = toSetting(value, 0)
  if (dict instanceof Map) return dict
  throw new DataError('import-syntax', 'The file holds no profile: it is not a JSON object.')
}

/** Objects become maps: no key of a file then means anything to JavaScript. */
function toSetting(value: unknown, depth: number): SettingValue {
  if (depth > MAX_DEPTH)
    throw new DataError('import-syntax', `The file is nested more than ${MAX_DEPTH} deep.`)
  if (Array.isArray(value)) return value.map((item) => toSetting(item, depth + 1))
  if (typeof value === 'object' && value !== null)
    return new Map(Object.entries(value).map(([key, item]) => [key, toSetting(item, depth + 1)]))
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? value : null
}

function carryRemote(remote: SettingsReader, draft: ProfileDraft): void {
  const identity = remote.text('id')
  if (identity !== draft.server) draft.set('remote-identity', identity, 'remote.id')
  const port = remote.integer('port')
  if (port !== undefined) {
    // A server on another port hears everything there, with the non-ESP marker from the start.
    draft.set('udp-port', port, 'remote.port')
    draft.set('nat-t-port', port, 'remote.port')
  }
  const certificate = remote.secretText('cert')
  if (certificate !== undefined) carryAuthorities(certificate, draft)
  if (remote.flag('certreq') === false)
    draft.leave('remote.certreq', 'the gateway is asked for its certificate in any case')
  const revocation = remote.dict('revocation')
  if (revocation?.flag('strict') === true)
    draft.leave('remote.revocation.strict', 'nothing is fetched; name revocation lists in auth.crlfile')
}

/** Whoever names a CA trusts no other one. */
function carryAuthorities(text: string, draft: ProfileDraft): void {
  const bytes = text.includes('-----BEGIN') ? Buffer.from(text) : fromBase64(text, 'remote.cert')
  const certificates = parseCertificates(bytes)
  if (!certificates.every((certificate) => new X509Certificate(certificate).ca))
    draft.leave('remote.cert', 'it is not the certificate of a CA: name the CA of the gateway in auth.cafile')
  else {
    draft.attachAuthorities(certificates)
    draft.set('system-trust', false, 'remote.cert')
  }
}

function fromBase64(text: string, setting: string): Buffer {
  const compact = text.replaceAll(/\s+/g, '')
  if (!/^[A-Za-z0-9+/_-]+={0,2}$/.test(compact))
    throw new DataError('import-bad-value', `${setting} in the file is not base64.`)
  return Buffer.from(compact, 'base64')
}

function carryLocal(
  local: SettingsReader,
  credentials: readonly Credential[],
  type: string,
  draft: ProfileDraft
): void {
  const identity = local.text('id')
  const user = local.text('eap_id') ?? (type === 'ikev2-cert' ? undefined : identity)
  draft.set('user', user, 'local.eap_id')
  if (identity !== user) draft.set('identity', identity, 'local.id')
  if (user === undefined && type !== 'ikev2-cert')
    draft.leave('local.eap_id', 'it is not in the file; add auth.user')
  if (credentials.includes('password')) carryPassword(local, draft)
  if (credentials.includes('certificate')) carryPkcs12(local, draft)
  if (type === 'ikev2-byod-eap') draft.leave('type', 'what the device reports of itself (TNC) is not sent')
  if (local.flag('rsa-pss') === true)
    draft.leave('local.rsa-pss', 'the kind of RSA signature follows from what the gateway takes')
}

function carryPassword(local: SettingsReader, draft: ProfileDraft): void {
  const password = local.secretText('shared_secret')
  if (password !== undefined) draft.attachSecret('password-file', '.pass', password)
  else draft.leave('local.shared_secret', 'it is not in the file, and will be asked for')
}

function carryPkcs12(local: SettingsReader, draft: ProfileDraft): void {
  const text = local.secretText('p12')
  if (text === undefined) {
    draft.leave('local.p12', 'it is not in the file; name a certificate in auth.certificate')
    return
  }
  draft.attach('certificate', '.p12', fromBase64(text, 'local.p12'))
  draft.leave('password of local.p12', 'such files never hold it; it will be asked for')
}

function carryTunnel(profile: SettingsReader, draft: ProfileDraft): void {
  for (const kind of ['ike', 'esp'] as const) {
    const setting = `${kind}-proposal`
    draft.set(setting, acceptedProposals(profile.words(setting), kind, setting, draft), setting)
  }
  draft.set('mtu', profile.integer('mtu'), 'mtu')
  const split = profile.dict('split-tunneling')
  if (split !== undefined) carrySplitTunneling(split, draft)
  const reasons: Readonly<Record<string, string>> = {
    'dns-servers': 'name servers are those that the gateway assigns',
    'nat-keepalive': 'keepalives are sent every 20 s',
    proxy: 'a proxy for what is inside the tunnel has to be set in the programs',
    apps: 'all programs use the tunnel; ikestream exec runs one alone in it',
    'excluded-apps': 'all programs use the tunnel; ikestream exec runs one alone in it',
    'ipv6-transport': 'IPv4 and IPv6 are used as the network has them'
  }
  const unread = new Set(profile.unread())
  profile.ignore(...Object.keys(reasons))
  for (const [setting, reason] of Object.entries(reasons))
    if (unread.has(setting)) draft.leave(setting, reason)
}

function carrySplitTunneling(split: SettingsReader, draft: ProfileDraft): void {
  const subnets = split.words('subnets')
  const good = subnets.filter((text) => parseTrafficSelector(text) !== undefined)
  for (const text of subnets)
    if (!good.includes(text)) draft.leave(`${split.path}.subnets`, `${clipped(text)} is not a network`)
  draft.set('remote-ts', good, `${split.path}.subnets`)
  if (split.words('excluded').length > 0)
    draft.leave(`${split.path}.excluded`, 'name what is to be reached in tunnel.remote-ts instead')
  for (const key of ['block-ipv4', 'block-ipv6'])
    if (split.flag(key) === true)
      draft.leave(`${split.path}.${key}`, 'what the tunnel does not carry goes its usual way')
  for (const setting of split.unread()) draft.leave(setting, 'ikestream has nothing like it')
}
