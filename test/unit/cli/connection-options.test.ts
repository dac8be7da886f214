import { Command } from 'commander'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { addConnectionOptions, EffectiveOptions } from '../../../src/cli/connection-options.ts'
import { environmentName, keyOf, SPECS, takesValue } from '../../../src/cli/option-specs.ts'
import type { ValueSource } from '../../../src/cli/option-values.ts'
import type { Profile } from '../../../src/cli/profile-type.ts'

const saved = { ...process.env }
beforeEach(() => {
  for (const name of Object.keys(process.env)) if (name.startsWith('IKESTREAM_')) delete process.env[name]
})
afterEach(() => {
  for (const name of Object.keys(process.env)) if (!(name in saved)) delete process.env[name]
  Object.assign(process.env, saved)
})

interface Given {
  readonly args?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  readonly profile?: Readonly<Record<string, unknown>>
}

function effective({ args = [], env = {}, profile }: Given): EffectiveOptions {
  Object.assign(process.env, env)
  const command = addConnectionOptions(new Command('connect'))
    .exitOverride()
    .configureOutput({ writeErr: () => undefined })
  command.parse([...args], { from: 'user' })
  const values = new Map(Object.entries(profile ?? {}))
  const known: Profile | undefined =
    profile === undefined ? undefined : { name: 'p', path: '/p.toml', server: 's', values }
  return new EffectiveOptions(command, known)
}

/** Three values that the option may have, as text and as what comes out. */
function samples(spec: (typeof SPECS)[number]): readonly { text: string; value: unknown }[] {
  if (spec.choices !== undefined) return spec.choices.slice(1, 4).map((text) => ({ text, value: text }))
  if (spec.number !== undefined) {
    const { min, max } = spec.number
    return [Math.ceil(min), Math.floor(max), Math.ceil(min) + 1].map((value) => ({
      text: String(value),
      value
    }))
  }
  return ['one', 'two', 'three'].map((text) => ({ text, value: spec.repeatable === true ? [text] : text }))
}

function read(options: EffectiveOptions, spec: (typeof SPECS)[number]): unknown {
  const name = keyOf(spec)
  if (spec.number !== undefined) return options.number(name)
  return spec.repeatable === true ? options.list(name) : options.text(name)
}

describe('every option with a value', () => {
  it.each(SPECS.filter(takesValue).map((spec) => [keyOf(spec), spec] as const))(
    '%s: option before environment before profile before default',
    (name, spec) => {
      const [first, second, third] = samples(spec)
      if (first === undefined || second === undefined || third === undefined) throw new Error('three samples')
      const args = [`--${name}`, first.text]
      const env = { [environmentName(spec)]: second.text }
      const profile = { [name]: third.value }
      const cases: [Given, unknown, ValueSource][] = [
        [{ args, env, profile }, first.value, 'option'],
        [{ env, profile }, second.value, 'environment'],
        [{ profile }, third.value, 'profile'],
        [{ profile: {} }, spec.default ?? (spec.repeatable === true ? [] : undefined), 'default']
      ]
      for (const [given, value, source] of cases) {
        delete process.env[environmentName(spec)]
        const options = effective(given)
        expect(read(options, spec)).toEqual(value)
        expect(options.source(name)).toBe(source)
      }
    }
  )
})

describe('every option without a value', () => {
  const flags = SPECS.filter((spec) => !takesValue(spec) && keyOf(spec) !== 'proxy')

  it.each(flags.map((spec) => [spec.flags, spec] as const))(
    '%s: option before environment before profile before default',
    (flag, spec) => {
      const name = keyOf(spec)
      const isNegative = flag.startsWith('--no-')
      const is = (options: EffectiveOptions) => (isNegative ? !options.enabled(name) : options.flag(name))
      const variable = environmentName(spec)
      const cases: [Given, boolean, ValueSource][] = [
        [{ args: [flag], env: { [variable]: '0' }, profile: { [name]: isNegative } }, true, 'option'],
        [{ env: { [variable]: '1' }, profile: { [name]: isNegative } }, true, 'environment'],
        [{ env: { [variable]: 'false' }, profile: { [name]: !isNegative } }, false, 'environment'],
        [{ profile: { [name]: !isNegative } }, true, 'profile'],
        [{ profile: {} }, false, 'default']
      ]
      for (const [given, value, source] of cases) {
        delete process.env[variable]
        const options = effective(given)
        expect(is(options)).toBe(value)
        expect(options.source(name)).toBe(source)
      }
    }
  )
})

describe('the proxy', () => {
  it.each<[string, Given, string | false | undefined]>([
    ['comes from the environment by default', {}, undefined],
    ['is the one that an option names', { args: ['--proxy', 'http://p:1'] }, 'http://p:1'],
    ['is none with --no-proxy', { args: ['--no-proxy'], env: { IKESTREAM_PROXY: 'http://p:1' } }, false],
    ['is none with IKESTREAM_NO_PROXY', { env: { IKESTREAM_NO_PROXY: '1' }, profile: { proxy: 'x' } }, false],
    [
      'is as it was with IKESTREAM_NO_PROXY=0',
      { env: { IKESTREAM_NO_PROXY: '0', IKESTREAM_PROXY: 'x' } },
      'x'
    ],
    [
      'is that of an option against the environment',
      { args: ['--proxy', 'x'], env: { IKESTREAM_NO_PROXY: '1' } },
      'x'
    ],
    ['is none when the profile says so', { profile: { proxy: false } }, false]
  ])('%s', (_, given, wanted) => {
    const options = effective(given)
    expect(options.enabled('proxy') ? options.text('proxy') : false).toBe(wanted)
  })
})

describe('lists and numbers', () => {
  it('collects repeated options in order', () => {
    expect(effective({ args: ['--cafile', 'a', '--cafile', 'b'] }).list('cafile')).toEqual(['a', 'b'])
  })

  it('does not add options to what the environment or a profile lists', () => {
    const given = { args: ['--cafile', 'a'], env: { IKESTREAM_CAFILE: 'b' }, profile: { cafile: ['c'] } }
    expect(effective(given).list('cafile')).toEqual(['a'])
  })

  it.each([
    ['--mtu', '575'],
    ['--mtu', '65001'],
    ['--mtu', '1400.5'],
    ['--tcp-port', '0'],
    ['--tcp-port', '65536'],
    ['--tcp-port', '45.5'],
    ['--timeout', ''],
    ['--timeout', 'soon'],
    ['--timeout', 'NaN'],
    ['--timeout', 'Infinity'],
    ['--dpd', '-1'],
    ['--transport', 'sctp']
  ])('refuses %s %s', (option, text) => {
    expect(() => effective({ args: [option, text] })).toThrow(
      expect.objectContaining({ code: 'commander.invalidArgument' })
    )
    const name = `IKESTREAM_${option.slice(2).replaceAll('-', '_').toUpperCase()}`
    expect(() => effective({ env: { [name]: text } })).toThrow(
      expect.objectContaining({ code: 'commander.invalidArgument' })
    )
  })

  it('takes fractions of seconds, but not of ports', () => {
    expect(effective({ args: ['--udp-timeout', '0.5'] }).number('udp-timeout')).toBe(0.5)
  })
})
