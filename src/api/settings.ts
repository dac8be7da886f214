/**
 * What a program says to `connect` and `check`: the long options of the command line in camel case, with the same meanings,
 * units and bounds. The environment's `IKESTREAM_` variables are for the command line only and are not looked at.
 * @module
 */
import type { GivenSecrets } from '../cli/credentials.ts'
import { nearest } from '../cli/nearest.ts'
import { checkOption } from '../cli/option-check.ts'
import { profileKeys } from '../cli/option-specs.ts'
import { CheckedOptionValues, type OptionValues, type ValueSource } from '../cli/option-values.ts'
import { findProfile } from '../cli/profile.ts'
import type { Profile } from '../cli/profile-type.ts'
import { UsageError } from '../errors.ts'
import { directories } from '../host/directories.ts'
import { type LogFields, type Logger, type LogLevel, silentLogger } from '../log.ts'
import { Secret } from '../secret.ts'

type OneOrMore = string | readonly string[]

/** Files are named by their paths. Times are seconds. */
export interface GatewaySettings {
  /** Name or address of the gateway. Either this or `profile` is needed. */
  readonly server?: string | undefined
  /** Name or path of a profile, whose values hold where nothing else is said. */
  readonly profile?: string | undefined

  readonly identity?: string | undefined
  readonly remoteIdentity?: string | undefined
  readonly user?: string | undefined
  /** The password itself, instead of a file with it. */
  readonly password?: string | undefined
  readonly passwordFile?: string | undefined
  /** The pre-shared key itself: text, `0x` hex or `0s` base64. */
  readonly psk?: string | undefined
  readonly pskFile?: string | undefined
  readonly certificate?: string | undefined
  readonly sslkey?: string | undefined
  readonly keyPassword?: string | undefined
  readonly keyPasswordFile?: string | undefined
  readonly cafile?: OneOrMore | undefined
  readonly crlfile?: OneOrMore | undefined
  readonly systemTrust?: boolean | undefined
  readonly ikeProposal?: OneOrMore | undefined
  readonly espProposal?: OneOrMore | undefined

  readonly transport?: 'auto' | 'udp' | 'tcp' | 'tls' | undefined
  /** The rungs of the ladder, best first. */
  readonly order?: readonly ('udp' | 'tcp' | 'tls')[] | undefined
  readonly udpPort?: number | undefined
  readonly natTPort?: number | undefined
  readonly tcpPort?: number | undefined
  readonly tlsPort?: number | undefined
  readonly tlsName?: string | undefined
  readonly tlsCafile?: OneOrMore | undefined
  readonly tlsVerify?: boolean | undefined
  /** A URL; false: none. By default the environment's (`HTTPS_PROXY`, `ALL_PROXY`). */
  readonly proxy?: string | false | undefined
  readonly socketBuffer?: number | undefined
  readonly notsentLowat?: number | undefined
  readonly congestionControl?: string | undefined
  readonly portal?: boolean | undefined
  readonly portalUrl?: string | undefined
  readonly captivePortalApi?: string | undefined

  readonly localTs?: OneOrMore | undefined
  readonly remoteTs?: OneOrMore | undefined
  readonly udpTimeout?: number | undefined
  readonly streamAfter?: number | undefined
  readonly streamTimeout?: number | undefined
  readonly timeout?: number | undefined

  /** Before there is a tunnel: gives up. Later: ends it cleanly. */
  readonly signal?: AbortSignal | undefined
  readonly log?: ((level: LogLevel, message: string, fields?: LogFields) => void) | undefined
}

/** Names that are no options of the command line's profile. */
export const OWN_NAMES = ['server', 'profile', 'password', 'psk', 'keyPassword', 'signal', 'log'] as const

export interface Given {
  readonly server: string
  readonly profileName: string | undefined
  readonly values: OptionValues
  readonly secrets: GivenSecrets
  readonly log: Logger
}

/**
 * Sorts out what was given.
 * @param ownNames names that the caller looks at itself
 * @throws UsageError for names and values that mean nothing, and what reading a profile throws
 */
export function understand(settings: GatewaySettings, ownNames: readonly string[]): Given {
  const profile =
    settings.profile === undefined ? undefined : findProfile(settings.profile, directories().profiles)
  if (settings.profile !== undefined && profile === undefined)
    throw new UsageError('no-profile', `There is no profile ${settings.profile}.`)
  const server = settings.server ?? profile?.server
  if (server === undefined) throw new UsageError('no-server', 'Neither a server nor a profile was given.')
  const { password, psk, keyPassword, log } = settings
  return {
    server,
    profileName: profile?.name,
    values: new GivenValues(checked(settings, [...OWN_NAMES, ...ownNames]), profile),
    secrets: { password: secret(password), psk: secret(psk), keyPassword: secret(keyPassword) },
    log: log === undefined ? silentLogger : new FunctionLogger(log, '')
  }
}

/** By the names of the command line. */
function checked(settings: object, ownNames: readonly string[]): ReadonlyMap<string, unknown> {
  const known = Object.values(profileKeys()).flat()
  const values = new Map<string, unknown>()
  for (const [name, given] of Object.entries(settings)) {
    if (given === undefined || ownNames.includes(name)) continue
    const key = dashed(name)
    if (!known.includes(key) || name !== camelCased(key)) throw unknownName(name, [...known, ...ownNames])
    const result = checkOption(key, given)
    if ('wanted' in result) throw new UsageError('bad-setting', `${name} must be ${result.wanted}.`)
    values.set(key, result.value)
  }
  return values
}

function unknownName(name: string, known: readonly string[]): UsageError {
  const near = nearest(name, known.map(camelCased))
  return new UsageError('unknown-setting', `${name} is not a known setting.`, {
    hint: near === undefined ? undefined : `Did you mean ${near}?`
  })
}

/** What was given, else what the profile says. */
class GivenValues extends CheckedOptionValues {
  readonly #given: ReadonlyMap<string, unknown>
  readonly #profile: Profile | undefined

  constructor(given: ReadonlyMap<string, unknown>, profile: Profile | undefined) {
    super()
    this.#given = given
    this.#profile = profile
  }

  source(name: string): ValueSource {
    if (this.#given.has(name)) return 'option'
    return this.#profile?.values.has(name) === true ? 'profile' : 'default'
  }

  protected value(name: string): unknown {
    return this.#given.get(name) ?? this.#profile?.values.get(name)
  }
}

class FunctionLogger implements Logger {
  readonly #write: NonNullable<GatewaySettings['log']>
  readonly #subsystem: string

  constructor(write: NonNullable<GatewaySettings['log']>, subsystem: string) {
    this.#write = write
    this.#subsystem = subsystem
  }

  log(level: LogLevel, message: string, fields?: LogFields): void {
    this.#write(level, this.#subsystem === '' ? message : `${this.#subsystem}: ${message}`, fields)
  }

  child(subsystem: string): Logger {
    return new FunctionLogger(this.#write, subsystem)
  }
}

function secret(text: string | undefined): Secret | undefined {
  return text === undefined ? undefined : new Secret(text)
}

function dashed(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}

function camelCased(key: string): string {
  return key.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())
}
