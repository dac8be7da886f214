/**
 * The options that `connect`, `check` and `exec` share, as data: names, groups, bounds, choices.
 * @module
 */

import { DEFAULT_PORTAL_URL } from '../diagnosis/portal-settings.ts'
import type { NumberBounds } from './number-bounds.ts'
import { SOCKET_OPTIONS } from './socket-options.ts'

export type OptionGroup = 'auth' | 'transport' | 'tunnel' | 'session'

export interface OptionSpec {
  readonly flags: string
  readonly description: string
  readonly group: OptionGroup
  readonly repeatable?: boolean
  readonly number?: NumberBounds
  readonly choices?: readonly string[]
  readonly default?: string | number | boolean
}

const PORT = { min: 1, max: 65_535, whole: true } as const
const MINUTES_10 = 600

/** Every option that a profile may also hold, in the order in which the help shows them. */
export const SPECS: readonly OptionSpec[] = [
  {
    group: 'auth',
    flags: '--identity <id>',
    description: 'own identity (IDi): user@host, host name, IP address or DN'
  },
  {
    group: 'auth',
    flags: '--remote-identity <id>',
    description: "identity that the gateway must prove (default: the server's name)"
  },
  { group: 'auth', flags: '--user <name>', description: 'user name; authenticates with EAP' },
  { group: 'auth', flags: '--password-file <file>', description: 'file with the password (else a prompt)' },
  {
    group: 'auth',
    flags: '--psk-file <file>',
    description: 'file with the pre-shared key: text, 0x hex or 0s base64'
  },
  {
    group: 'auth',
    flags: '--certificate <file>',
    description: 'own certificate and chain (PEM, DER or PKCS#12)'
  },
  { group: 'auth', flags: '--sslkey <file>', description: 'private key, if it is not in --certificate' },
  {
    group: 'auth',
    flags: '--key-password-file <file>',
    description: 'file with the password of the key or PKCS#12 file'
  },
  { group: 'auth', flags: '--cafile <file>', description: 'trusted CA certificates (PEM)', repeatable: true },
  {
    group: 'auth',
    flags: '--crlfile <file>',
    description: 'certificate revocation list (PEM or DER)',
    repeatable: true
  },
  { group: 'auth', flags: '--no-system-trust', description: "do not trust the system's CAs" },
  {
    group: 'auth',
    flags: '--ike-proposal <p>',
    description: "IKE suite in strongSwan's keywords",
    repeatable: true
  },
  {
    group: 'auth',
    flags: '--esp-proposal <p>',
    description: "ESP suite in strongSwan's keywords",
    repeatable: true
  },
  {
    group: 'transport',
    flags: '--transport <t>',
    description: 'auto climbs the ladder: UDP, TCP, TLS',
    choices: ['auto', 'udp', 'tcp', 'tls'],
    default: 'auto'
  },
  {
    group: 'transport',
    flags: '--udp-port <n>',
    description: 'UDP port of IKE',
    number: PORT,
    default: 500
  },
  {
    group: 'transport',
    flags: '--nat-t-port <n>',
    description: 'UDP port of NAT traversal',
    number: PORT,
    default: 4500
  },
  {
    group: 'transport',
    flags: '--tcp-port <n>',
    description: 'TCP port of RFC 9329',
    number: PORT,
    default: 4500
  },
  { group: 'transport', flags: '--tls-port <n>', description: 'TLS port', number: PORT, default: 443 },
  { group: 'transport', flags: '--tls-name <name>', description: 'server name (SNI) of the outer TLS' },
  {
    group: 'transport',
    flags: '--tls-cafile <file>',
    description: 'CAs for the outer TLS',
    repeatable: true
  },
  {
    group: 'transport',
    flags: '--tls-verify',
    description: 'refuse an outer TLS certificate that does not verify'
  },
  {
    group: 'transport',
    flags: '--proxy <url>',
    description: 'http://, https:// or socks5:// proxy for TCP and TLS (default: the environment)'
  },
  { group: 'transport', flags: '--no-proxy', description: 'use no proxy' },
  {
    group: 'transport',
    flags: '--portal-url <url>',
    description: 'web page that tells whether a captive portal is in the way',
    default: DEFAULT_PORTAL_URL
  },
  {
    group: 'transport',
    flags: '--captive-portal-api <url>',
    description: "the network's captive portal API (RFC 8908; default: what the system knows)"
  },
  { group: 'transport', flags: '--no-portal', description: 'ask no web page about captive portals' },
  ...SOCKET_OPTIONS.map((option) => ({ group: 'transport', ...option }) as const),
  { group: 'tunnel', flags: '--local-ts <cidr>', description: 'own traffic selector', repeatable: true },
  {
    group: 'tunnel',
    flags: '--remote-ts <cidr>',
    description: 'what to reach through the tunnel (default: everything)',
    repeatable: true
  },
  {
    group: 'tunnel',
    flags: '--interface <name>',
    description: 'name of the TUN device (default: first free ike%d)'
  },
  {
    group: 'tunnel',
    flags: '--mtu <n>',
    description: 'MTU of the tunnel (default: computed from the path)',
    number: { min: 576, max: 65_000, whole: true }
  },
  {
    group: 'tunnel',
    flags: '--netns <name>',
    description: 'put the TUN device into this network namespace'
  },
  { group: 'tunnel', flags: '--no-routes', description: 'leave routes alone' },
  { group: 'tunnel', flags: '--no-dns', description: 'leave DNS alone' },
  {
    group: 'tunnel',
    flags: '--script <file>',
    description: 'let this vpnc-script configure addresses, routes and DNS'
  },
  {
    group: 'session',
    flags: '--timeout <s>',
    description: 'give up bringing the tunnel up after this long',
    number: { min: 1, max: 86_400 },
    default: 60
  },
  {
    group: 'session',
    flags: '--reconnect-timeout <s>',
    description:
      'give up a session that lost its gateway after this long (default: --timeout if given, else 300)',
    number: { min: 1, max: 604_800 }
  },
  { group: 'session', flags: '--persist', description: 'never give up' },
  {
    group: 'session',
    flags: '--initial-contact',
    description: 'have the gateway end all other sessions of this identity'
  },
  {
    group: 'session',
    flags: '--no-resume',
    description: 'authenticate anew after a loss, also where the gateway gives session tickets'
  },
  {
    group: 'session',
    flags: '--no-redirect',
    description: 'do not follow gateways that send clients to others'
  },
  {
    group: 'session',
    flags: '--dpd <s>',
    description: 'liveness check when traffic is not answered; 0: never',
    number: { min: 0, max: MINUTES_10 },
    default: 30
  },
  {
    group: 'session',
    flags: '--cluster-liveness <s>',
    description: 'liveness interval of an idle tunnel to a cluster; 0: never',
    number: { min: 0, max: MINUTES_10 },
    default: 5
  },
  {
    group: 'session',
    flags: '--ike-lifetime <s>',
    description: 'rekey the IKE SA before it is this old (default: 4 h)',
    number: { min: 10, max: 2_592_000 }
  },
  {
    group: 'session',
    flags: '--child-lifetime <s>',
    description: 'rekey the Child SA before it is this old (default: 1 h)',
    number: { min: 5, max: 2_592_000 }
  },
  {
    group: 'session',
    flags: '--udp-timeout <s>',
    description: 'give UDP up after this long without an answer',
    number: { min: 0.1, max: 120 },
    default: 2.5
  },
  {
    group: 'session',
    flags: '--stream-after <s>',
    description: 'open TCP and TLS beside UDP after this long',
    number: { min: 0, max: 120 },
    default: 1
  },
  {
    group: 'session',
    flags: '--stream-timeout <s>',
    description: 'a stream that does not answer IKE loses its turn after this long',
    number: { min: 0.1, max: 120 },
    default: 2
  },
  {
    group: 'session',
    flags: '--udp-probe <s>',
    description: 'while on a stream, first try UDP again after this long; 0: never',
    number: { min: 0, max: 86_400 },
    default: 10
  }
]

export const longName = (flags: string): string => /--([a-z0-9-]+)/.exec(flags)?.[1] ?? flags

/** Names of all keys that a profile may hold, by group (`transport.order` is the only key without an option). */
export function profileKeys(): Readonly<Record<OptionGroup, readonly string[]>> {
  const keys: Record<OptionGroup, string[]> = { auth: [], transport: ['order'], tunnel: [], session: [] }
  for (const spec of SPECS) keys[spec.group].push(longName(spec.flags).replace(/^no-/, ''))
  for (const group of Object.keys(keys) as OptionGroup[]) keys[group] = [...new Set(keys[group])]
  return keys
}

export function environmentName({ flags }: OptionSpec): string {
  return `IKESTREAM_${longName(flags).replaceAll('-', '_').toUpperCase()}`
}

export function takesValue({ flags }: OptionSpec): boolean {
  return flags.includes('<')
}

/** The name in profiles: `--no-dns` is `dns`. */
export function keyOf({ flags }: OptionSpec): string {
  return longName(flags).replace(/^no-/, '')
}

function specOf(key: string): OptionSpec | undefined {
  return SPECS.find((spec) => keyOf(spec) === key)
}

/** Bounds of numeric options, for checking profiles against the same limits. */
export function numberBounds(name: string): NumberBounds | undefined {
  return specOf(name)?.number
}

/** What may be chosen from, for options that leave a choice. */
export function choicesOf(name: string): readonly string[] | undefined {
  return specOf(name)?.choices
}

export function isRepeatable(name: string): boolean {
  return name === 'order' || specOf(name)?.repeatable === true
}

export function isFlag(name: string): boolean {
  const spec = specOf(name)
  return spec !== undefined && !takesValue(spec)
}
