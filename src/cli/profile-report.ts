/**
 * What `profile show` tells: every setting that a session would have, and where its value comes from. Secrets are in files, of which only
 * the names are told; a proxy's password is left out.
 * @module
 */

import { accessSync, constants, statSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { DEFAULT_ESP_PROPOSALS, DEFAULT_IKE_PROPOSALS, formatProposal } from '../crypto/proposal.ts'
import { parseProxyUrl, proxyLabel } from '../transport/proxy-url.ts'
import type { EffectiveOptions } from './connection-options.ts'
import {
  environmentName,
  isFlag,
  keyOf,
  longName,
  type OptionGroup,
  profileKeys,
  SPECS
} from './option-specs.ts'
import type { ValueSource } from './option-values.ts'
import { isFileKey, isSecretKey } from './profile.ts'
import type { Profile } from './profile-type.ts'

export interface Setting {
  /** As in a profile: `auth.user`. */
  readonly key: string
  /** null: nothing is set, and nothing is needed. */
  readonly value: string | number | boolean | readonly string[] | null
  /** `built-in`: what the program does without a value. */
  readonly source: ValueSource | 'built-in'
  /** The option, the variable, or the file and key; null for defaults. */
  readonly from: string | null
  /** What is wrong with a file that it names; null: nothing. */
  readonly problem: string | null
}

/** @param env as the process has it */
export function settingsOf(effective: EffectiveOptions, profile: Profile, env: NodeJS.ProcessEnv): Setting[] {
  return Object.entries(profileKeys()).flatMap(([group, keys]) =>
    keys.map((key) => settingOf(group as OptionGroup, key, effective, profile, env))
  )
}

function settingOf(
  group: OptionGroup,
  key: string,
  effective: EffectiveOptions,
  profile: Profile,
  env: NodeJS.ProcessEnv
): Setting {
  const value = shown(key, effective.value(key) ?? (isFlag(key) ? false : undefined))
  const source = effective.source(key)
  const full = `${group}.${key}`
  if (source === 'default' && value === null)
    return { key: full, value: builtIn(key), source: 'built-in', from: null, problem: null }
  const from = {
    option: () => optionOf(key, value),
    environment: () => variableOf(key, env),
    profile: () => `${profile.path}: ${full}`,
    default: () => null
  }[source]()
  return { key: full, value, source, from, problem: problemOf(key, value) }
}

/** A value that may be told. */
function shown(key: string, value: unknown): Setting['value'] {
  if (key === 'proxy' && typeof value === 'string') return proxyLabelOf(value)
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return value
  return Array.isArray(value) && value.length > 0 ? value.map(String) : null
}

function proxyLabelOf(url: string): string {
  try {
    return proxyLabel(parseProxyUrl(url))
  } catch {
    // It is refused when it is used; until then nobody knows which part of it is secret.
    return '[not a proxy]'
  }
}

/** What happens where nothing is set, in the words of the option's own description. */
function builtIn(key: string): Setting['value'] {
  if (key === 'ike-proposal') return DEFAULT_IKE_PROPOSALS.map((proposal) => formatProposal(proposal, 'ike'))
  if (key === 'esp-proposal') return DEFAULT_ESP_PROPOSALS.map((proposal) => formatProposal(proposal, 'esp'))
  if (key === 'order') return ['udp', 'tcp', 'tls']
  const spec = SPECS.find((candidate) => keyOf(candidate) === key)
  return /\((?:default: |else )(.+)\)$/.exec(spec?.description ?? '')?.[1] ?? null
}

function optionOf(key: string, value: Setting['value']): string {
  const names = SPECS.filter((spec) => keyOf(spec) === key).map((spec) => longName(spec.flags))
  const negative = names.find((name) => name.startsWith('no-'))
  return `--${value === false && negative !== undefined ? negative : (names[0] ?? key)}`
}

function variableOf(key: string, env: NodeJS.ProcessEnv): string {
  const names = SPECS.filter((spec) => keyOf(spec) === key).map(environmentName)
  return names.find((name) => env[name] !== undefined) ?? names[0] ?? key
}

function problemOf(key: string, value: Setting['value']): string | null {
  if (!isFileKey(key) || value === null) return null
  for (const path of Array.isArray(value) ? value : [String(value)]) {
    try {
      accessSync(path, constants.R_OK)
      const { mode } = statSync(path)
      if (isSecretKey(key) && (mode & 0o077) !== 0) return `${path} can be read by others`
    } catch (error) {
      return `${path} cannot be read (${(error as NodeJS.ErrnoException).code})`
    }
  }
  return null
}

const HEADINGS: Readonly<Record<string, string>> = {
  auth: 'Authentication',
  transport: 'Transport',
  tunnel: 'Tunnel',
  session: 'Session'
}

/** For people: a line a setting, in columns; lists go on below. */
export function settingLines(profile: Profile, settings: readonly Setting[]): string[] {
  const rows = settings.map((setting) => ({ setting, texts: valueTexts(setting, dirname(profile.path)) }))
  const width = Math.max(...settings.map(({ key }) => nameOf(key).length))
  const valueWidth = Math.max(
    ...rows.flatMap(({ texts }) => texts.map(({ length }) => length)).filter(isColumn)
  )
  const lines = [`${profile.name}: ${profile.server} (${profile.path})`]
  let group = ''
  for (const { setting, texts } of rows) {
    const [first = ''] = setting.key.split('.')
    if (first !== group) lines.push('', HEADINGS[first] ?? first)
    group = first
    const [value = '-', ...more] = texts
    const source = sourceText(setting, profile)
    lines.push(`  ${nameOf(setting.key).padEnd(width)}  ${value.padEnd(valueWidth)}  ${source}`.trimEnd())
    const below = [...more, ...(setting.problem === null ? [] : [`! ${setting.problem}`])]
    lines.push(...below.map((text) => `  ${' '.repeat(width)}  ${text}`))
  }
  return lines
}

/** Longer values push their source aside instead of pushing all of them. */
function isColumn(length: number): boolean {
  return length <= 40
}

const nameOf = (key: string): string => key.slice(key.indexOf('.') + 1)

function valueTexts({ key, value }: Setting, directory: string): string[] {
  if (value === null) return []
  if (typeof value === 'boolean') return [value ? 'yes' : 'no']
  const texts = Array.isArray(value) ? value.map(String) : [String(value)]
  if (!isFileKey(nameOf(key))) return texts
  // The profile's own folder is in the headline.
  return texts.map((text) => (dirname(text) === directory ? basename(text) : text))
}

function sourceText({ value, source, from }: Setting, profile: Profile): string {
  if (source === 'profile') return `${basename(profile.path)}: ${from?.slice(profile.path.length + 2)}`
  if (value === null) return ''
  return from ?? source
}
