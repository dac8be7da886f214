/**
 * Property lists in XML (Apple's PropertyList-1.0.dtd), read strictly. A small part of XML on purpose: no entities but the five of XML
 * itself, no internal DTD, nothing fetched, bounded size and depth, so that a hostile file costs its own length and no more.
 * @module
 */
import { DataError } from '../../errors.ts'
import type { SettingDict, SettingValue } from './settings-reader.ts'

/** A configuration profile is about five deep. */
const MAX_DEPTH = 32

const TAG = /<(\/?)([A-Za-z]+)((?:\s+[A-Za-z:]+\s*=\s*(?:"[^"<&]*"|'[^'<&]*'))*)\s*(\/?)>/y
const SPACE = /\s+/y
const XML_DECLARATION = /<\?xml\s[^<>?]*\?>/y
/** With a public or system identifier, which nobody follows, and without a subset of its own. */
const DOCTYPE = /<!DOCTYPE\s+plist(?:\s+(?:PUBLIC\s+"[^"<>]*"\s+"[^"<>]*"|SYSTEM\s+"[^"<>]*"))?\s*>/y
const TEXT = /[^<&]+/y
const REFERENCE = /&(?:(amp|lt|gt|quot|apos)|#([0-9]{1,7})|#x([0-9A-Fa-f]{1,6}));/y
const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }

/**
 * The value of a property list; dictionaries are maps, so that no name of a key means anything to JavaScript.
 * @throws DataError `plist-syntax` with the line, `plist-encoding`
 */
export function parsePlist(bytes: Uint8Array): SettingValue {
  return new PlistParser(decode(bytes)).document()
}

function decode(bytes: Uint8Array): string {
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw new DataError('plist-encoding', 'The property list is not UTF-8.', { cause })
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for (XML 1.0 section 2.2)
  if (/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/.test(text))
    throw new DataError('plist-encoding', 'The property list holds characters that XML does not allow.')
  return text
}

interface Tag {
  readonly name: string
  readonly closes: boolean
  readonly isEmpty: boolean
}

class PlistParser {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  document(): SettingValue {
    this.#match(XML_DECLARATION)
    this.#skip()
    this.#match(DOCTYPE)
    this.#skip()
    const root = this.#tag()
    if (root?.name !== 'plist' || root.closes || root.isEmpty) throw this.#error('there is no <plist>')
    const value = this.#value(0)
    this.#close('plist')
    this.#skip()
    if (this.#at < this.#text.length) throw this.#error('something follows </plist>')
    return value
  }

  #value(depth: number): SettingValue {
    const tag = this.#tag()
    if (tag === undefined || tag.closes) throw this.#error('a value is missing')
    return this.#valueOf(tag, depth)
  }

  #valueOf(tag: Tag, depth: number): SettingValue {
    if (depth >= MAX_DEPTH) throw this.#error(`it is nested more than ${MAX_DEPTH} deep`)
    switch (tag.name) {
      case 'dict':
        return tag.isEmpty ? new Map() : this.#dict(depth)
      case 'array':
        return tag.isEmpty ? [] : this.#array(depth)
      case 'true':
      case 'false':
        if (!tag.isEmpty) this.#close(tag.name)
        return tag.name === 'true'
      default:
        return this.#scalar(tag)
    }
  }

  #scalar(tag: Tag): SettingValue {
    const text = tag.isEmpty ? '' : this.#content(tag.name)
    switch (tag.name) {
      case 'string':
      case 'date':
        return text
      case 'integer':
      case 'real':
        return this.#number(text.trim())
      case 'data':
        return this.#data(text.replaceAll(/\s+/g, ''))
      default:
        throw this.#error(`<${tag.name}> is not an element of property lists`)
    }
  }

  #number(text: string): number {
    const value = /^[+-]?(?:\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|0x[0-9A-Fa-f]+)$/.test(text)
      ? Number(text)
      : Number.NaN
    if (!Number.isFinite(value)) throw this.#error('a number is none')
    return value
  }

  #data(text: string): Uint8Array {
    if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.replace(/=+$/, '').length % 4 === 1)
      throw this.#error('<data> is not base64')
    return Uint8Array.from(Buffer.from(text, 'base64'))
  }

  #dict(depth: number): SettingDict {
    const dict = new Map<string, SettingValue>()
    for (;;) {
      const tag = this.#tag()
      if (tag?.closes === true && tag.name === 'dict') return dict
      if (tag?.name !== 'key' || tag.closes) throw this.#error('a <key> is missing')
      const key = tag.isEmpty ? '' : this.#content('key')
      if (dict.has(key)) throw this.#error('a key stands there twice')
      dict.set(key, this.#value(depth + 1))
    }
  }

  #array(depth: number): readonly SettingValue[] {
    const items: SettingValue[] = []
    for (;;) {
      const tag = this.#tag()
      if (tag === undefined) throw this.#error('</array> is missing')
      if (!tag.closes) items.push(this.#valueOf(tag, depth + 1))
      else if (tag.name === 'array') return items
      else throw this.#error('</array> is missing')
    }
  }

  /** The text up to the end of the element. */
  #content(name: string): string {
    let content = ''
    for (;;) {
      const piece = this.#match(TEXT)?.[0] ?? this.#reference() ?? this.#between('<![CDATA[', ']]>')
      if (piece !== undefined) content += piece
      else if (this.#between('<!--', '-->') === undefined) break
    }
    this.#close(name)
    return content
  }

  /** The character that `&...;` stands for; undefined when there is none here. */
  #reference(): string | undefined {
    if (this.#text[this.#at] !== '&') return undefined
    const match = this.#match(REFERENCE)
    if (match === undefined) throw this.#error('an entity is not one of the five of XML')
    return this.#character(match)
  }

  /** What stands between two marks; undefined when the first of them is not here. */
  #between(first: string, last: string): string | undefined {
    if (!this.#text.startsWith(first, this.#at)) return undefined
    const start = this.#at + first.length
    const end = this.#text.indexOf(last, start)
    if (end < 0) throw this.#error(`${last} is missing`)
    this.#at = end + last.length
    return this.#text.slice(start, end)
  }

  #character([, name, decimal, hex]: RegExpExecArray): string {
    if (name !== undefined) return ENTITIES[name] ?? ''
    const code = decimal === undefined ? Number.parseInt(hex ?? '', 16) : Number(decimal)
    const isAllowed =
      code === 0x09 ||
      code === 0x0a ||
      code === 0x0d ||
      (code >= 0x20 && code <= 0xd7ff) ||
      (code >= 0xe000 && code <= 0xfffd) ||
      (code >= 0x10000 && code <= 0x10ffff)
    if (!isAllowed) throw this.#error('a character reference stands for nothing that XML allows')
    return String.fromCodePoint(code)
  }

  #close(name: string): void {
    const tag = this.#tag()
    if (tag?.closes !== true || tag.name !== name) throw this.#error(`</${name}> is missing`)
  }

  /** The next tag; undefined when there is none here. */
  #tag(): Tag | undefined {
    this.#skip()
    const match = this.#match(TAG)
    if (match === undefined) {
      if (this.#text.startsWith('<!DOCTYPE', this.#at))
        throw this.#error('its DOCTYPE is more than the name of a document type')
      return undefined
    }
    const [, slash, name = '', attributes = '', end] = match
    if (attributes !== '' && name !== 'plist') throw this.#error(`<${name}> has attributes`)
    return { name, closes: slash === '/', isEmpty: end === '/' }
  }

  /** White space and comments. */
  #skip(): void {
    do this.#match(SPACE)
    while (this.#between('<!--', '-->') !== undefined)
  }

  /** @param pattern sticky */
  #match(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = this.#at
    const match = pattern.exec(this.#text)
    if (match === null) return undefined
    this.#at = pattern.lastIndex
    return match
  }

  #error(what: string): DataError {
    const line = this.#text.slice(0, this.#at).split('\n').length
    return new DataError('plist-syntax', `The property list is not valid: ${what} (line ${line}).`, {
      hint: 'Export it again as an unencrypted XML property list.'
    })
  }
}
