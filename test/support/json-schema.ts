/**
 * Checks documents against the JSON Schemas that are shipped: the words of draft 2020-12 that these use, and no others.
 *
 * Stricter than JSON Schema in one point: a field that the schema does not name is a fault, so that what is added to a document is
 * added to its schema, too.
 * @module
 */
import { readFileSync } from 'node:fs'

type Schema = Readonly<Record<string, unknown>>

const KNOWN_WORDS = new Set([
  ...['$schema', '$defs', '$ref', '$id', 'title', 'description', 'type', 'const', 'enum', 'oneOf'],
  ...['properties', 'required', 'items', 'minimum', 'maximum', 'pattern', 'format', 'additionalProperties']
])
const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/

/** A schema of the folder `schema/`. */
export function shippedSchema(name: string): Schema {
  return JSON.parse(readFileSync(new URL(`../../schema/${name}`, import.meta.url), 'utf8')) as Schema
}

/** What is wrong with the document, a sentence each. */
export function schemaFaults(schema: Schema, document: unknown): string[] {
  return new Checker(schema).check(schema, document, '$')
}

class Checker {
  readonly #root: Schema

  constructor(root: Schema) {
    this.#root = root
  }

  check(schema: Schema, value: unknown, path: string): string[] {
    const unknown = Object.keys(schema).filter((word) => !KNOWN_WORDS.has(word))
    if (unknown.length > 0)
      return [`${path}: the schema says ${unknown.join()}, which is not understood here`]
    const reference = schema['$ref']
    if (typeof reference === 'string') return this.check(this.#resolve(reference), value, path)
    return [
      ...this.#alternatives(schema, value, path),
      ...simpleFaults(schema, value, path),
      ...(Array.isArray(value) ? this.#items(schema, value, path) : []),
      ...(isObject(value) ? this.#fields(schema, value, path) : [])
    ]
  }

  #resolve(reference: string): Schema {
    const name = /^#\/\$defs\/(\w+)$/.exec(reference)?.[1]
    const found = (this.#root['$defs'] as Record<string, Schema> | undefined)?.[name ?? '']
    if (found === undefined) throw new Error(`the schema has no ${reference}`)
    return found
  }

  #alternatives(schema: Schema, value: unknown, path: string): string[] {
    if (schema['oneOf'] === undefined) return []
    const faults = (schema['oneOf'] as Schema[]).map((one) => this.check(one, value, path))
    const fitting = faults.filter((list) => list.length === 0).length
    return fitting === 1 ? [] : [`${path}: fits ${fitting} of the alternatives`, ...faults.flat()]
  }

  #items(schema: Schema, values: readonly unknown[], path: string): string[] {
    const items = schema['items'] as Schema | undefined
    if (items === undefined) return []
    return values.flatMap((value, index) => this.check(items, value, `${path}[${index}]`))
  }

  #fields(schema: Schema, value: Readonly<Record<string, unknown>>, path: string): string[] {
    const properties = schema['properties'] as Record<string, Schema> | undefined
    if (properties === undefined) return []
    const missing = ((schema['required'] ?? []) as string[]).filter((name) => !Object.hasOwn(value, name))
    return [
      ...missing.map((name) => `${path}.${name}: is missing`),
      ...Object.entries(value).flatMap(([name, field]) => {
        const known = properties[name]
        if (known === undefined) return [`${path}.${name}: is not in the schema`]
        return this.check(known, field, `${path}.${name}`)
      })
    ]
  }
}

function simpleFaults(schema: Schema, value: unknown, path: string): string[] {
  const faults: string[] = []
  const say = (fault: string): void => void faults.push(`${path}: ${JSON.stringify(value)} ${fault}`)
  const { type, minimum, maximum, pattern, format } = schema as {
    type?: string | string[]
    minimum?: number
    maximum?: number
    pattern?: string
    format?: string
  }
  if (type !== undefined && ![type].flat().some((name) => isOfType(name, value))) say(`is no ${type}`)
  if ('const' in schema && value !== schema['const']) say(`is not ${JSON.stringify(schema['const'])}`)
  if ('enum' in schema && !(schema['enum'] as unknown[]).includes(value))
    say(`is none of ${JSON.stringify(schema['enum'])}`)
  if (typeof value === 'number' && minimum !== undefined && value < minimum) say(`is below ${minimum}`)
  if (typeof value === 'number' && maximum !== undefined && value > maximum) say(`is above ${maximum}`)
  if (typeof value === 'string' && pattern !== undefined && !new RegExp(pattern, 'u').test(value))
    say(`does not match ${pattern}`)
  if (typeof value === 'string' && format === 'date-time' && !RFC3339.test(value)) say('is no date-time')
  return faults
}

function isOfType(name: string, value: unknown): boolean {
  switch (name) {
    case 'null':
      return value === null
    case 'array':
      return Array.isArray(value)
    case 'object':
      return isObject(value)
    case 'integer':
      return Number.isInteger(value)
    default:
      return typeof value === name
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
