/**
 * The options of `ikestream gateway`: on the command line, and in `--config <file.toml>` under the same names.
 * @module
 */
import { dirname, resolve } from 'node:path'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { parse, TomlError } from 'smol-toml'
import { ConfigurationError, DataError } from '../errors.ts'
import { DEFAULT_GATEWAY_PORTS, DEFAULT_MAX_HALF_OPEN, DEFAULT_POOLS } from '../gateway/options.ts'
import { nearest } from './nearest.ts'
import { SOCKET_OPTIONS, type SocketFlags } from './socket-options.ts'

const GROUP_HEADINGS = {
  listening: 'Listening:',
  auth: 'Identity and clients:',
  network: 'Network:',
  protocol: 'Protocol:',
  running: 'Running:'
} as const

interface Setting {
  readonly group: keyof typeof GROUP_HEADINGS
  readonly flags: string
  readonly description: string
  readonly repeatable?: boolean
  readonly number?: { readonly min: number; readonly max: number }
  readonly choices?: readonly string[]
  readonly default?: string | number
  /** In a configuration file it is relative to that. */
  readonly isFile?: boolean
}

const PORT = { min: 1, max: 65_535 } as const
const SECONDS = { min: 1, max: 31_536_000 } as const

const SETTINGS: readonly Setting[] = [
  {
    group: 'listening',
    flags: '--listen <addr>',
    description: 'listen on this address (default: all)',
    repeatable: true
  },
  {
    group: 'auth',
    flags: '--identity <id>',
    description: "own identity (default: the certificate's or the host's name)"
  },
  {
    group: 'auth',
    flags: '--certificate <file>',
    description: 'own certificate and chain (default: made)',
    isFile: true
  },
  {
    group: 'auth',
    flags: '--sslkey <file>',
    description: 'private key, if it is not in --certificate',
    isFile: true
  },
  {
    group: 'auth',
    flags: '--key-password-file <file>',
    description: 'password of the key or PKCS#12 file',
    isFile: true
  },
  {
    group: 'auth',
    flags: '--psk-file <file>',
    description: 'let clients in that know this pre-shared key',
    isFile: true
  },
  {
    group: 'auth',
    flags: '--users-file <file>',
    description: 'users, one name:password a line, 0600',
    isFile: true
  },
  {
    group: 'auth',
    flags: '--client-cafile <file>',
    description: 'let clients in with certificates of this CA',
    repeatable: true,
    isFile: true
  },
  {
    group: 'network',
    flags: '--pool <cidr>',
    description: `virtual addresses for clients (default: ${DEFAULT_POOLS.join(', ')})`,
    repeatable: true
  },
  { group: 'network', flags: '--dns <addr>', description: 'name server for clients', repeatable: true },
  {
    group: 'network',
    flags: '--dns-domain <name>',
    description: 'clients ask these servers for names below it only (default: for everything)',
    repeatable: true
  },
  {
    group: 'network',
    flags: '--local-ts <cidr>',
    description: 'what clients may reach (default: everything)',
    repeatable: true
  },
  {
    group: 'network',
    flags: '--interface <name>',
    description: 'name of the TUN device (default: first free ike%d)'
  },
  { group: 'listening', flags: '--no-udp', description: 'do not listen on UDP' },
  { group: 'listening', flags: '--no-tcp', description: 'do not listen on TCP' },
  { group: 'listening', flags: '--no-tls', description: 'do not listen on TLS' },
  {
    group: 'listening',
    flags: '--udp-port <n>',
    description: 'UDP port of IKE',
    number: PORT,
    default: DEFAULT_GATEWAY_PORTS.ike
  },
  {
    group: 'listening',
    flags: '--nat-t-port <n>',
    description: 'UDP port of NAT traversal',
    number: PORT,
    default: DEFAULT_GATEWAY_PORTS.natT
  },
  {
    group: 'listening',
    flags: '--tcp-port <n>',
    description: 'TCP port of RFC 9329',
    number: PORT,
    default: DEFAULT_GATEWAY_PORTS.tcp
  },
  {
    group: 'listening',
    flags: '--tls-port <n>',
    description: 'TLS port',
    number: PORT,
    default: DEFAULT_GATEWAY_PORTS.tls
  },
  {
    group: 'protocol',
    flags: '--max-half-open <n>',
    description: 'IKE SAs that are not authenticated yet',
    number: { min: 1, max: 1_000_000 },
    default: DEFAULT_MAX_HALF_OPEN
  },
  {
    group: 'protocol',
    flags: '--cookies <when>',
    description: 'ask initiators for a cookie first',
    choices: ['auto', 'always', 'never'],
    default: 'auto'
  },
  ...SOCKET_OPTIONS.map((option) => ({ group: 'listening', ...option }) as const),
  {
    group: 'protocol',
    flags: '--ike-proposal <p>',
    description: "IKE suite in strongSwan's keywords",
    repeatable: true
  },
  {
    group: 'protocol',
    flags: '--esp-proposal <p>',
    description: "ESP suite in strongSwan's keywords",
    repeatable: true
  },
  {
    group: 'protocol',
    flags: '--ike-lifetime <s>',
    description: 'rekey the IKE SA within this time',
    number: SECONDS
  },
  {
    group: 'protocol',
    flags: '--child-lifetime <s>',
    description: 'rekey Child SAs within this time',
    number: SECONDS
  },
  {
    group: 'protocol',
    flags: '--auth-lifetime <s>',
    description: 'clients must authenticate anew within this time (default: never)',
    number: SECONDS
  },
  { group: 'running', flags: '--no-tickets', description: 'give clients no session tickets' },
  {
    group: 'running',
    flags: '--redirect <host>',
    description: 'send clients to this gateway (name or address)'
  },
  {
    group: 'running',
    flags: '--redirect-at <when>',
    description: 'before or after they are authenticated, or on SIGUSR2 alone',
    choices: ['init', 'auth', 'request'],
    default: 'init'
  },
  {
    group: 'running',
    flags: '--cluster <file>',
    description: 'be a node of a high-availability pair',
    isFile: true
  }
]

/** The options as commander leaves them, completed from the configuration file. */
export interface GatewayFlags extends SocketFlags {
  readonly listen?: readonly string[]
  readonly identity?: string
  readonly certificate?: string
  readonly sslkey?: string
  readonly keyPasswordFile?: string
  readonly pskFile?: string
  readonly usersFile?: string
  readonly clientCafile?: readonly string[]
  readonly pool?: readonly string[]
  readonly dns?: readonly string[]
  readonly dnsDomain?: readonly string[]
  readonly localTs?: readonly string[]
  readonly interface?: string
  readonly udp: boolean
  readonly tcp: boolean
  readonly tls: boolean
  readonly udpPort: number
  readonly natTPort: number
  readonly tcpPort: number
  readonly tlsPort: number
  readonly maxHalfOpen: number
  readonly cookies: 'auto' | 'always' | 'never'
  readonly ikeProposal?: readonly string[]
  readonly espProposal?: readonly string[]
  readonly ikeLifetime?: number
  readonly childLifetime?: number
  readonly authLifetime?: number
  readonly tickets: boolean
  readonly redirect?: string
  readonly redirectAt: 'init' | 'auth' | 'request'
  readonly cluster?: string
}

export function addGatewayOptions(command: Command): Command {
  for (const setting of SETTINGS) command.addOption(buildOption(setting))
  return command
    .optionsGroup(GROUP_HEADINGS.running)
    .option('--config <file>', 'options of the same names in a TOML file')
}

function buildOption(setting: Setting): Option {
  const option = new Option(setting.flags, setting.description).helpGroup(GROUP_HEADINGS[setting.group])
  if (setting.choices !== undefined) option.choices([...setting.choices])
  const { number } = setting
  if (number !== undefined) option.argParser((text) => parseNumber(text, number))
  if (setting.repeatable === true)
    option.argParser((value: string, previous: unknown) =>
      Array.isArray(previous) ? [...(previous as string[]), value] : [value]
    )
  if (setting.default !== undefined) option.default(setting.default)
  return option
}

function parseNumber(text: string, { min, max }: { readonly min: number; readonly max: number }): number {
  const value = Number(text)
  if (text.trim() === '' || !Number.isInteger(value) || value < min || value > max)
    throw new InvalidArgumentError(`A whole number from ${min} to ${max} is needed.`)
  return value
}

// ---- the configuration file

/**
 * Sets every option that the file has and the command line has not.
 * @throws DataError for what is not TOML, ConfigurationError for keys and values that mean nothing
 */
export function applyConfigFile(command: Command, text: string, path: string): void {
  for (const [key, value] of Object.entries(parseToml(text, path))) {
    const setting = SETTINGS.find((one) => nameOf(one) === key)
    if (setting === undefined) throw unknownKey(key, path)
    const checked = checkedValue(setting, value, path)
    const attribute = buildOption(setting).attributeName()
    if (checked === undefined || command.getOptionValueSource(attribute) === 'cli') continue
    command.setOptionValueWithSource(attribute, checked, 'config')
  }
}

export function parseToml(text: string, path: string): Record<string, unknown> {
  try {
    return parse(text)
  } catch (cause) {
    const where = cause instanceof TomlError ? ` at line ${cause.line}` : ''
    throw new DataError('config-syntax', `The file ${path} is not valid TOML${where}.`, {
      hint: 'Strings need quotes, lists need brackets.',
      cause
    })
  }
}

function nameOf({ flags }: Setting): string {
  return /--([a-z0-9-]+)/.exec(flags)?.[1] ?? flags
}

function unknownKey(key: string, path: string): ConfigurationError {
  const known = SETTINGS.map(nameOf)
  const near = nearest(key, known)
  return new ConfigurationError('config-unknown-key', `${key} in ${path} is not a known setting.`, {
    hint: near === undefined ? `Known: ${known.join(', ')}.` : `Did you mean ${near}?`
  })
}

/** @returns undefined: as if it were not there */
function checkedValue(setting: Setting, value: unknown, path: string): unknown {
  const name = nameOf(setting)
  const bad = (wanted: string): ConfigurationError =>
    new ConfigurationError('config-bad-value', `${name} in ${path} must be ${wanted}.`)
  if (!setting.flags.includes('<')) {
    if (typeof value !== 'boolean') throw bad('true or false')
    // `no-udp = true` is --no-udp, whose attribute is udp.
    return value ? false : undefined
  }
  const { number, choices } = setting
  if (number !== undefined) {
    const fits =
      typeof value === 'number' && Number.isInteger(value) && value >= number.min && value <= number.max
    if (!fits) throw bad(`a whole number from ${number.min} to ${number.max}`)
    return value
  }
  const list = typeof value === 'string' ? [value] : value
  if (!Array.isArray(list) || !list.every((item) => typeof item === 'string')) throw bad('text')
  if (choices !== undefined && !list.every((item) => choices.includes(item))) throw bad(choices.join(' or '))
  if (setting.repeatable !== true && list.length !== 1) throw bad('one text')
  const absolute = setting.isFile === true ? list.map((item: string) => resolve(dirname(path), item)) : list
  return setting.repeatable === true ? absolute : absolute[0]
}
