/**
 * The connections of the test gateway. The IDr that a client asks for chooses one: `psk.gw.test`, `rsa.gw.test` and so on.
 *
 * Every connection takes every suite that charon and ikestream share, so that the client's proposal picks; the
 * gateway holds the roots and its own intermediates only (see `pki.ts`).
 * @module
 */
import { GATEWAY_DOMAIN } from './pki.ts'
import { mergeSettings, type Settings } from './strongswan-settings.ts'

/** The pre-shared key of every PSK connection, for any IDi. */
export const TEST_PSK = 'correct horse battery staple'

/** EAP users and their passwords; the second needs UTF-8 turned into UTF-16LE. */
export const EAP_USERS: Readonly<Record<string, string>> = {
  'alice@test.example': 'Wonder-land 7',
  bob: 'pässwörd ✓ 日本 𝄞'
}

export const POOL_V4 = '10.88.0.0/24'
export const POOL_V6 = 'fd00:88::/112'
export const DNS_SERVERS = ['10.77.0.53', '10.77.0.54', 'fd00:77::53'] as const

const GROUPS = 'x25519-x448-ecp256-ecp384-ecp521-modp2048-modp3072-modp4096'
const AEADS = ['aes128gcm16', 'aes192gcm16', 'aes256gcm16', 'chacha20poly1305']
const CBC = ['aes128', 'aes192', 'aes256'].flatMap((cipher) =>
  ['sha256', 'sha384', 'sha512'].map((hash) => `${cipher}-${hash}`)
)
const IKE_PROPOSALS = [
  ...AEADS.map((cipher) => `${cipher}-prfsha256-prfsha384-prfsha512-${GROUPS}`),
  ...CBC.map((pair) => `${pair}-${GROUPS}`)
].join(',')
/** `modpnone`: a rekey without a key exchange is fine too. charon's own ESP has no extended sequence numbers. */
const ESP_PROPOSALS = [...AEADS, ...CBC].map((suite) => `${suite}-${GROUPS}-modpnone-noesn`).join(',')

const CLIENT_ROOTS = 'root-rsa.pem, root-ec.pem, root-ed.pem, root-long.pem'

const BASE: Settings = {
  version: 2,
  local_addrs: '%any',
  remote_addrs: '%any',
  proposals: IKE_PROPOSALS,
  encap: true,
  mobike: true,
  fragmentation: 'yes',
  send_cert: 'always',
  unique: 'never',
  dpd_delay: '60s',
  pools: 'v4, v6',
  rekey_time: '4h'
}

const CHILD: Settings = {
  local_ts: '10.77.0.0/24, fd00:77::/64',
  esp_proposals: ESP_PROPOSALS,
  rekey_time: '1h',
  dpd_action: 'clear',
  start_action: 'none'
}

const PSK_LOCAL: Settings = { auth: 'psk' }
const PSK_REMOTE: Settings = { auth: 'psk', id: '%any' }
const CERTIFICATE_REMOTE: Settings = { auth: 'pubkey', id: '%any', cacerts: CLIENT_ROOTS }

interface ConnectionParts {
  readonly settings?: Settings
  readonly local?: Settings
  readonly remote?: Settings
  readonly child?: Settings
}

/** A connection of the gateway; what is not given is as in the table above. */
function connection(name: string, { settings, local, remote, child }: ConnectionParts): Settings {
  return mergeSettings(
    {
      ...BASE,
      local: mergeSettings({ id: `${name}.${GATEWAY_DOMAIN}` }, local ?? PSK_LOCAL),
      remote: remote ?? PSK_REMOTE,
      children: { net: mergeSettings(CHILD, child ?? {}) }
    },
    settings ?? {}
  )
}

const certificate = (file: string, more: Settings = {}): Settings => ({
  auth: 'pubkey',
  certs: `${file}.pem`,
  ...more
})
const eap = (method: string): Settings => ({ auth: method, id: '%any', eap_id: '%any' })

const PARTS: Readonly<Record<string, ConnectionParts>> = {
  psk: {},
  rsa: { local: certificate('gw-rsa'), remote: CERTIFICATE_REMOTE },
  rsapss: {
    local: certificate('gw-rsa', { auth: 'rsa/pss-sha384-sha512-sha256' }),
    remote: CERTIFICATE_REMOTE
  },
  ecdsa256: { local: certificate('gw-ec256'), remote: CERTIFICATE_REMOTE },
  ecdsa384: { local: certificate('gw-ec384'), remote: CERTIFICATE_REMOTE },
  ed25519: { local: certificate('gw-ed'), remote: CERTIFICATE_REMOTE },
  long: { local: certificate('gw-long'), remote: CERTIFICATE_REMOTE },
  // the gateway proves itself by certificate, the client by pre-shared key
  'long-psk': { local: certificate('gw-long') },
  'rsa-psk': { local: certificate('gw-rsa') },
  'eap-mschapv2': { local: certificate('gw-rsa'), remote: eap('eap-mschapv2') },
  'eap-tls': { local: certificate('gw-rsa'), remote: eap('eap-tls') },
  // the gateway proves itself with the shared key, the user with a password
  'psk-eap': { remote: eap('eap-mschapv2') },
  full: { child: { local_ts: '0.0.0.0/0, ::/0' } },
  narrow: { child: { local_ts: '10.77.0.1/32[tcp/80], 10.77.0.1/32[icmp]' } },
  v4only: { settings: { pools: 'v4' }, child: { local_ts: '10.77.0.0/24' } },
  // the gateway starts these
  lifetimes: {
    settings: { rekey_time: '20s', over_time: '10s', rand_time: '0s' },
    child: { rekey_time: '8s', life_time: '16s', rand_time: '0s' }
  },
  // says AUTH_LIFETIME
  reauth: { settings: { rekey_time: '0s', reauth_time: '14s', over_time: '30s', rand_time: '0s' } },
  bytes: { child: { rekey_bytes: 20_000_000, life_bytes: 1_000_000_000, rand_bytes: 0 } },
  dpd: { settings: { dpd_delay: '2s' } },
  // each shows its client a certificate that must not be accepted
  expired: { local: certificate('gw-expired'), remote: CERTIFICATE_REMOTE },
  revoked: { local: certificate('gw-revoked'), remote: CERTIFICATE_REMOTE },
  evil: { local: certificate('gw-evil'), remote: CERTIFICATE_REMOTE },
  'evil-eap': { local: certificate('gw-evil'), remote: eap('eap-mschapv2') },
  // claims whatever name it is asked for (in its domain), with the certificate of another
  impostor: {
    local: certificate('gw-other', { id: `*.impostor.${GATEWAY_DOMAIN}` }),
    remote: CERTIFICATE_REMOTE
  },
  // at an address of its own (see `strongswan.ts`): answers another guess with INVALID_KE_PAYLOAD
  'ecp384-only': { settings: { proposals: 'aes256gcm16-prfsha384-ecp384' } },
  // no suite in common with anyone modern
  'antique-esp': { child: { esp_proposals: 'aes128-aesxcbc-noesn' } }
}

/** The whole swanctl.conf of the gateway. @param more further or changed connections, by name */
export function gatewaySwanctl(more: Settings = {}): Settings {
  const connections: Record<string, Settings> = {}
  for (const [name, parts] of Object.entries(PARTS)) connections[name] = connection(name, parts)
  return {
    connections: mergeSettings(connections, more),
    pools: {
      v4: { addrs: POOL_V4, dns: '10.77.0.53, 10.77.0.54', subnet: '10.77.0.0/24' },
      v6: { addrs: POOL_V6, dns: 'fd00:77::53' }
    },
    secrets: {
      'ike-any': { secret: TEST_PSK },
      ...Object.fromEntries(
        Object.entries(EAP_USERS).map(([id, secret], index) => [`eap-${index}`, { id, secret }])
      )
    }
  }
}

const LEAVES = ['rsa', 'ec256', 'ec384', 'ed', 'long', 'other', 'evil', 'expired', 'revoked'].map(
  (name) => `gw-${name}`
)

/** Files from `pki.ts` that the gateway holds, by the folder of its swanctl directory. */
export const GATEWAY_CREDENTIALS: Readonly<Record<string, readonly string[]>> = {
  x509ca: [
    ...['root-rsa', 'root-ec', 'root-ed', 'root-long', 'int-rsa-gw', 'int-ec-gw', 'int-ed-gw'],
    ...['int-long-1', 'int-long-2', 'int-long-3']
  ].map((name) => `${name}.pem`),
  x509: LEAVES.map((name) => `${name}.pem`),
  private: LEAVES.map((name) => `${name}.key`),
  x509crl: ['int-ec-cl.crl.pem']
}
