/**
 * The options that `connect`, `check` and `exec` share, and the one rule of precedence:
 * option, environment (`IKESTREAM_...`), profile, default.
 * @module
 */
import { type Command, Option } from 'commander'
import { numberParser } from './number-bounds.ts'
import {
  environmentName,
  isFlag,
  keyOf,
  type OptionGroup,
  type OptionSpec,
  SPECS,
  takesValue
} from './option-specs.ts'
import { CheckedOptionValues, type ValueSource } from './option-values.ts'
import type { Profile } from './profile-type.ts'

const GROUP_HEADINGS: Readonly<Record<OptionGroup, string>> = {
  auth: 'Authentication:',
  transport: 'Transport:',
  tunnel: 'Tunnel:',
  session: 'Session:'
}

/** @param adapt what becomes of each option in this command; undefined: it has no meaning there */
export function addConnectionOptions(
  command: Command,
  adapt: (spec: OptionSpec) => OptionSpec | undefined = (spec) => spec
): Command {
  let group: OptionGroup | undefined
  for (const given of SPECS) {
    const spec = adapt(given)
    if (spec === undefined) continue
    if (spec.group !== group) {
      group = spec.group
      command.optionsGroup(GROUP_HEADINGS[group])
    }
    command.addOption(buildOption(spec))
  }
  return command.optionsGroup('Output:')
}

function buildOption(spec: OptionSpec): Option {
  const option = new Option(spec.flags, spec.description)
  if (takesValue(spec)) option.env(environmentName(spec))
  else option.description += ` (env: ${environmentName(spec)})`
  if (spec.choices !== undefined) option.choices([...spec.choices])
  if (spec.number !== undefined) option.argParser(numberParser(spec.number))
  if (spec.repeatable === true) {
    option.argParser((value: string, previous: unknown) =>
      Array.isArray(previous) ? [...(previous as string[]), value] : [value]
    )
  }
  if (spec.default !== undefined) option.default(spec.default)
  return option
}

/** The effective values of all shared options, each with its source. */
export class EffectiveOptions extends CheckedOptionValues {
  readonly #command: Command
  readonly #profile: Profile | undefined

  constructor(command: Command, profile: Profile | undefined) {
    super()
    this.#command = command
    this.#profile = profile
  }

  source(name: string): ValueSource {
    const source = this.#command.getOptionValueSource(camelCase(name))
    if (source === 'cli') return 'option'
    if (source === 'env' || environmentFlag(name) !== undefined) return 'environment'
    return this.#profile?.values.has(name) === true ? 'profile' : 'default'
  }

  /** Of whatever kind; undefined where nothing is set. */
  override value(name: string): unknown {
    const source = this.source(name)
    if (source === 'profile') return this.#profile?.values.get(name)
    if (source === 'environment') {
      const flag = environmentFlag(name)
      if (flag !== undefined) return flag
    }
    const options: Record<string, unknown> = this.#command.opts()
    return options[camelCase(name)]
  }
}

function camelCase(name: string): string {
  return name.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())
}

const OFF = new Set(['', '0', 'false', 'no', 'off'])

/**
 * What the environment says of an option without a value, such as IKESTREAM_PERSIST=1 or IKESTREAM_NO_DNS=1; a variable
 * may also switch it off again, against a profile.
 */
function environmentFlag(name: string): boolean | undefined {
  const spec = SPECS.find((candidate) => !takesValue(candidate) && keyOf(candidate) === name)
  if (spec === undefined) return undefined
  const text = process.env[environmentName(spec)]
  if (text === undefined) return undefined
  const isOn = !OFF.has(text.toLowerCase())
  if (!spec.flags.startsWith('--no-')) return isOn
  if (isOn) return false
  // Where the same name also takes a value (a proxy), "not without" says nothing about which.
  return isFlag(name) ? true : undefined
}
