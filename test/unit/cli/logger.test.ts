import { describe, expect, it } from 'vitest'
import { isJournal, LineLogger, logSettings } from '../../../src/cli/logger.ts'
import { Secret } from '../../../src/secret.ts'

function logger(verbosity = 0, spec?: string, journal = false, quiet = false) {
  const lines: string[] = []
  const log = new LineLogger(logSettings(verbosity, quiet, spec), (line) => lines.push(line), journal)
  /** Without time stamps. */
  const said = () => lines.map((line) => line.replace(/^\d{4}-\d{2}-\d{2}T[\d:.]+Z /, ''))
  return { log, lines, said }
}

const LEVELS = ['trace', 'debug', 'info', 'warn', 'error'] as const

describe('log levels', () => {
  it.each([
    [0, false, ['warn', 'error']],
    [1, false, ['info', 'warn', 'error']],
    [2, false, ['debug', 'info', 'warn', 'error']],
    [3, false, [...LEVELS]],
    [9, false, [...LEVELS]],
    [0, true, ['error']]
  ])('--verbose %i times, quiet %s: %j', (verbosity, quiet, wanted) => {
    const { log, said } = logger(verbosity, undefined, false, quiet)
    for (const level of LEVELS) log.log(level, 'x')
    expect(said()).toEqual(wanted.map((level) => `${level} x\n`))
  })

  it('are set apart for each subsystem', () => {
    const { log, said } = logger(0, 'ike=debug,transport=error')
    for (const [subsystem, level] of [
      ['ike', 'debug'],
      ['ike', 'trace'],
      ['transport', 'warn'],
      ['transport', 'error'],
      ['host', 'warn'],
      ['host', 'info']
    ] as const)
      log.child(subsystem).log(level, 'x')
    expect(said()).toEqual(['debug ike: x\n', 'error transport: x\n', 'warn host: x\n'])
  })

  it.each(['ike', 'ike=', '=debug', 'ike=loud', 'ike=debug,', ''])('--log %j is a usage error', (spec) => {
    expect(() => logSettings(0, false, spec)).toThrow(
      expect.objectContaining({ code: 'bad-log-option', exitCode: 64 })
    )
  })
})

describe('log lines', () => {
  it('begin with the time, or with a priority for the journal', () => {
    const plain = logger()
    plain.log.log('warn', 'x')
    expect(plain.lines[0]).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z warn x\n$/)
    const journal = logger(3, undefined, true)
    for (const level of LEVELS) journal.log.child('ike').log(level, 'x')
    expect(journal.lines).toEqual(['<7>ike: x\n', '<7>ike: x\n', '<6>ike: x\n', '<4>ike: x\n', '<3>ike: x\n'])
  })

  it('go to the journal only when standard error does', () => {
    const stderr = { dev: 8, ino: 1234 }
    expect(isJournal('8:1234', stderr)).toBe(true)
    expect(isJournal('8:1235', stderr)).toBe(false)
    expect(isJournal(undefined, stderr)).toBe(false)
  })

  it.each<[string, unknown, string]>([
    ['plain text', 'udp', 'udp'],
    ['text with a space', 'two words', '"two words"'],
    ['text with quotes', 'a"b', '"a\\"b"'],
    ['text with an equals sign', 'a=b', '"a=b"'],
    ['empty text', '', '""'],
    ['a number', 12, '12'],
    ['null', null, 'null'],
    ['a list', ['a', 'b c'], '["a","b c"]'],
    ['an SPI', 0xabcn, '0000000000000abc'.replace(/^/, '"').replace(/$/, '"')],
    ['an error', new Error('no route'), '"no route"'],
    ['a secret', new Secret('hunter2'), '"[hidden]"'],
    ['a secret inside', { password: new Secret('hunter2') }, '{"password":"[hidden]"}']
  ])('show %s', (_, value, wanted) => {
    const { log, said } = logger()
    log.log('warn', 'x', { value })
    expect(said()).toEqual([`warn x value=${wanted}\n`])
  })

  it('leave out fields that are undefined', () => {
    const { log, said } = logger()
    log.log('warn', 'x', { a: undefined, b: 1 })
    expect(said()).toEqual(['warn x b=1\n'])
  })

  it('stay one line, and nothing in them moves the cursor, whatever a peer calls itself', () => {
    const { log, said } = logger()
    log.log('warn', 'a\nb', { name: '\u001b[2J\u009b31m', other: 'x\r\ny\u2028', list: ['\u0085'] })
    expect(said()).toHaveLength(1)
    const [line = ''] = said()
    expect(line.slice(0, -1)).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}]/u)
    expect(line).toContain('\\u001b[2J')
  })
})
