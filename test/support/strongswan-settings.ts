/**
 * strongSwan's settings syntax (strongswan.conf, swanctl.conf), and the settings that every charon of the tests has.
 * @module
 */
import { join } from 'node:path'

export type SettingValue = string | number | boolean | Settings
export interface Settings {
  readonly [key: string]: SettingValue | undefined
}

/** Serialises nested settings. Text is quoted as it is: it must not hold a quotation mark or a backslash. */
export function formatSettings(settings: Settings, indent = ''): string {
  let text = ''
  for (const [key, value] of Object.entries(settings)) {
    if (value === undefined) continue
    if (typeof value === 'object')
      text += `${indent}${key} {\n${formatSettings(value, `${indent}  `)}${indent}}\n`
    else text += `${indent}${key} = ${formatValue(value)}\n`
  }
  return text
}

function formatValue(value: string | number | boolean): string {
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  return typeof value === 'number' ? String(value) : `"${value}"`
}

/** Deep merge; what `over` says wins. */
export function mergeSettings(base: Settings, over: Settings): Settings {
  const merged: Record<string, SettingValue | undefined> = { ...base }
  for (const [key, value] of Object.entries(over)) {
    const below = merged[key]
    merged[key] = typeof below === 'object' && typeof value === 'object' ? mergeSettings(below, value) : value
  }
  return merged
}

/** What this machine's strongSwan lacks of these, charon leaves out with a line in its log. */
const PLUGINS = [
  ...['random', 'nonce', 'drbg', 'openssl', 'pem', 'pkcs1', 'pkcs7', 'pkcs8', 'pkcs12', 'x509', 'revocation'],
  ...['constraints', 'pubkey', 'curve25519', 'aes', 'sha1', 'sha2', 'md5', 'hmac', 'kdf', 'gcm', 'chapoly'],
  ...[
    'mgf1',
    'fips-prf',
    'attr',
    'kernel-libipsec',
    'kernel-netlink',
    'resolve',
    'socket-default',
    'vici',
    'updown'
  ],
  ...['eap-identity', 'eap-mschapv2', 'eap-tls']
].join(' ')

/** Firewall mark of charon's own datagrams: routes into a tunnel skip them, else a full tunnel would swallow itself. */
const OUTER_MARK = '0x42'

/** Half-open IKE SAs from which on charon asks for a COOKIE: never, by the tests' count of clients. */
const COOKIE_THRESHOLD_OFF = 1000

export interface CharonFiles {
  readonly directory: string
  readonly log: string
  readonly vici: string
  readonly resolvConf: string
  readonly run: string
  readonly strongswanConf: string
  readonly swanctl: string
}

export function charonFiles(directory: string): CharonFiles {
  return {
    directory,
    log: join(directory, 'charon.log'),
    vici: join(directory, 'vici'),
    resolvConf: join(directory, 'resolv.conf'),
    run: join(directory, 'run'),
    strongswanConf: join(directory, 'strongswan.conf'),
    swanctl: join(directory, 'swanctl')
  }
}

/** strongswan.conf of one charon. @param charon further settings of its `charon` section */
export function strongswanConf(files: CharonFiles, charon: Settings, tls: Settings): string {
  return formatSettings({
    charon: mergeSettings(baseCharon(files), charon),
    swanctl: { load: 'pem pkcs1 pkcs8 pkcs12 x509 pubkey openssl random nonce' },
    libtls: tls
  })
}

function baseCharon(files: CharonFiles): Settings {
  return {
    load: PLUGINS,
    // a gateway that asks in vain gives up after about 13 s
    retransmit_base: '1.5',
    retransmit_timeout: '1.0',
    retransmit_tries: 4,
    cookie_threshold: COOKIE_THRESHOLD_OFF,
    cookie_threshold_ip: COOKIE_THRESHOLD_OFF,
    block_threshold: 0,
    half_open_timeout: 30,
    make_before_break: true,
    delete_rekeyed_delay: 2,
    filelog: {
      tests: {
        path: files.log,
        time_format: '%H:%M:%S',
        time_add_ms: true,
        ike_name: true,
        flush_line: true,
        append: true,
        default: 1,
        ike: 2,
        cfg: 2,
        enc: 1
      }
    },
    syslog: {},
    plugins: {
      vici: { socket: `unix://${files.vici}` },
      'kernel-libipsec': { allow_peer_ts: true },
      'kernel-netlink': { fwmark: `!${OUTER_MARK}` },
      'socket-default': { fwmark: OUTER_MARK },
      resolve: { file: files.resolvConf },
      openssl: { load_legacy: true } // MD4 and DES, for MSCHAPv2
    }
  }
}
