/**
 * Profiles: `~/.config/ikestream/<name>.toml` or `/etc/ikestream/<name>.toml` (system first for root).
 * Keys are the long option names, grouped; secrets are never in them, only the names of files that hold them.
 * @module
 */
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { parse, TomlError } from 'smol-toml'
import { ConfigurationError, DataError, InputError } from '../errors.ts'
import { nearest } from './nearest.ts'
import { checkOption } from './option-check.ts'
import { profileKeys } from './option-specs.ts'
import type { Profile } from './profile-type.ts'

const MAX_PROFILE_BYTES = 1 << 20
/** Only their owner has business with them. */
const SECRET_FILE_KEYS = ['password-file', 'psk-file', 'sslkey', 'key-password-file'] as const
const FILE_KEYS: ReadonlySet<string> = new Set([
  ...SECRET_FILE_KEYS,
  'certificate',
  'cafile',
  'crlfile',
  'tls-cafile',
  'script'
])

/** Whether the value names a file, relative to the profile. */
export function isFileKey(key: string): boolean {
  return FILE_KEYS.has(key)
}

export function isSecretKey(key: string): boolean {
  return SECRET_FILE_KEYS.some((name) => name === key)
}

/**
 * The profile of this name, or undefined: then the argument is a server.
 * @throws DataError, InputError, ConfigurationError
 */
export function findProfile(nameOrServer: string, directories: readonly string[]): Profile | undefined {
  if (nameOrServer.endsWith('.toml') || nameOrServer.includes('/')) {
    return loadProfile(resolve(nameOrServer))
  }
  if (!/^[A-Za-z0-9_.@+-]+$/.test(nameOrServer)) return undefined
  for (const directory of directories) {
    const profile = loadProfile(join(directory, `${nameOrServer}.toml`), true)
    if (profile !== undefined) return profile
  }
  return undefined
}

function loadProfile(path: string): Profile
function loadProfile(path: string, optional: true): Profile | undefined
function loadProfile(path: string, optional = false): Profile | undefined {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code
    if (optional && (code === 'ENOENT' || code === 'ENOTDIR')) return undefined
    // A folder of profiles that is closed to this user holds none of theirs.
    if (optional && code === 'EACCES' && !existsSync(path)) return undefined
    throw new InputError('profile-unreadable', `The profile ${path} cannot be read (${code}).`, {
      cause,
      hint: 'Check the name and the permissions of the file.'
    })
  }
  return parseProfile(text, path)
}

/** @throws DataError for what is not TOML, ConfigurationError for keys and values that mean nothing */
export function parseProfile(text: string, path: string): Profile {
  if (text.length > MAX_PROFILE_BYTES) {
    throw new DataError('profile-too-large', `The profile ${path} is larger than 1 MiB.`)
  }
  let document: Record<string, unknown>
  try {
    document = parse(text)
  } catch (cause) {
    const where = cause instanceof TomlError ? ` at line ${cause.line}` : ''
    throw new DataError('profile-syntax', `The profile ${path} is not valid TOML${where}.`, {
      cause,
      hint: 'Strings need quotes, lists need brackets.'
    })
  }
  const server = document['server']
  if (typeof server !== 'string' || server === '') {
    throw new ConfigurationError('profile-no-server', `The profile ${path} names no server.`, {
      hint: 'Add a line such as server = "vpn.example.com".'
    })
  }
  const name =
    path
      .split('/')
      .at(-1)
      ?.replace(/\.toml$/, '') ?? path
  return { name, path, server, values: collectValues(document, path) }
}

function collectValues(document: Record<string, unknown>, path: string): Map<string, unknown> {
  const known: Readonly<Record<string, readonly string[]>> = profileKeys()
  const values = new Map<string, unknown>()
  for (const [group, content] of Object.entries(document)) {
    if (group === 'server') continue
    const keys = Object.hasOwn(known, group) ? known[group] : undefined
    if (keys === undefined) throw unknownKey(group, ['server', ...Object.keys(known)], path)
    if (typeof content !== 'object' || content === null || Array.isArray(content)) {
      throw new ConfigurationError('profile-bad-value', `${group} in ${path} must be a [${group}] table.`)
    }
    for (const [key, value] of Object.entries(content)) {
      if (!keys.includes(key)) throw unknownKey(`${group}.${key}`, keys, path, key)
      if (key === 'proxy' && value === 'auto') continue
      values.set(key, checkedValue(key, value, path))
    }
  }
  return values
}

function unknownKey(full: string, known: readonly string[], path: string, key = full): ConfigurationError {
  const near = nearest(key, known)
  return new ConfigurationError('profile-unknown-key', `${full} in ${path} is not a known setting.`, {
    hint: near === undefined ? `Known here: ${known.join(', ')}.` : `Did you mean ${near}?`
  })
}

function checkedValue(key: string, value: unknown, path: string): unknown {
  const checked = checkOption(key, value)
  if ('wanted' in checked)
    throw new ConfigurationError('profile-bad-value', `${key} in ${path} must be ${checked.wanted}.`)
  if (!FILE_KEYS.has(key)) return checked.value
  const absolute = (file: unknown): string => resolve(dirname(path), String(file))
  return Array.isArray(checked.value) ? checked.value.map(absolute) : absolute(checked.value)
}
