/**
 * Reads settings of somebody else's file by name and type, and keeps track of what nobody asked for: that has to be told to whoever
 * imports it.
 * @module
 */
import { clipped } from '../../crypto/certificate-text.ts'
import { DataError } from '../../errors.ts'

export type SettingValue =
  | string
  | number
  | boolean
  | null
  | Uint8Array
  | readonly SettingValue[]
  | SettingDict
export type SettingDict = ReadonlyMap<string, SettingValue>

export class SettingsReader {
  readonly path: string
  readonly #dict: SettingDict
  readonly #read = new Set<string>()

  /** @param path of the dictionary in its file, such as `IKEv2`; empty at the top */
  constructor(dict: SettingDict, path = '') {
    this.#dict = dict
    this.path = path
  }

  has(key: string): boolean {
    return this.#dict.has(key)
  }

  /** One line of text without control characters; undefined where it is not there, or empty. */
  text(key: string): string | undefined {
    const value = this.secretText(key)
    if (value !== undefined && /[\p{Cc}\p{Cf}\u2028\u2029]/u.test(value))
      throw this.#bad(key, 'one line of plain text')
    const trimmed = value?.trim()
    return trimmed === '' ? undefined : trimmed
  }

  /** Text as it stands there, spaces included. */
  secretText(key: string): string | undefined {
    const value = this.#take(key)
    if (value === undefined) return undefined
    if (typeof value !== 'string') throw this.#bad(key, 'text')
    return value === '' ? undefined : value
  }

  /** Also from text, since some programs write numbers so. */
  integer(key: string): number | undefined {
    const value = this.#take(key)
    if (value === undefined) return undefined
    const number = typeof value === 'string' && /^\d{1,9}$/.test(value) ? Number(value) : value
    if (typeof number !== 'number' || !Number.isSafeInteger(number)) throw this.#bad(key, 'a whole number')
    return number
  }

  /** true, false, 1 or 0. */
  flag(key: string): boolean | undefined {
    const value = this.#take(key)
    if (value === undefined || typeof value === 'boolean') return value
    if (value === 0 || value === 1) return value === 1
    throw this.#bad(key, 'true or false')
  }

  bytes(key: string): Uint8Array | undefined {
    const value = this.#take(key)
    if (value === undefined || value instanceof Uint8Array) return value
    throw this.#bad(key, 'data')
  }

  /** A list of texts, or one text with spaces or commas between its parts. */
  words(key: string): readonly string[] {
    const value = this.#take(key)
    if (value === undefined) return []
    const list = typeof value === 'string' ? value.split(/[\s,]+/) : value
    if (!isList(list) || !list.every((item) => typeof item === 'string'))
      throw this.#bad(key, 'a list of texts')
    return list.filter((item) => item !== '')
  }

  dict(key: string): SettingsReader | undefined {
    const value = this.#take(key)
    if (value === undefined) return undefined
    if (!(value instanceof Map)) throw this.#bad(key, 'a dictionary')
    return new SettingsReader(value, this.#pathOf(key))
  }

  /** The dictionaries of a list; what else is in it is not. */
  dicts(key: string): readonly SettingsReader[] {
    const value = this.#take(key)
    if (value === undefined) return []
    if (!isList(value)) throw this.#bad(key, 'a list')
    return value
      .filter((item) => item instanceof Map)
      .map((item, index) => new SettingsReader(item, `${this.#pathOf(key)}[${index}]`))
  }

  /** Says that these are of no importance here. */
  ignore(...keys: readonly string[]): void {
    for (const key of keys) this.#read.add(key)
  }

  /** Full names of what was not asked for, and is neither empty nor switched off. */
  unread(): string[] {
    return [...this.#dict]
      .filter(([key, value]) => !this.#read.has(key) && !isNothing(value))
      .map(([key]) => this.#pathOf(key))
  }

  #take(key: string): Exclude<SettingValue, null> | undefined {
    this.#read.add(key)
    return this.#dict.get(key) ?? undefined
  }

  #pathOf(key: string): string {
    return clipped(this.path === '' ? key : `${this.path}.${key}`)
  }

  #bad(key: string, wanted: string): DataError {
    return new DataError('import-bad-value', `${this.#pathOf(key)} in the file is not ${wanted}.`)
  }
}

function isList(value: unknown): value is readonly SettingValue[] {
  return Array.isArray(value)
}

function isNothing(value: SettingValue): boolean {
  return value === false || value === 0 || value === null || value === ''
}
