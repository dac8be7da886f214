import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { ProgressReport } from '../../../src/cli/progress-report.ts'
import { asKnown, colorWanted, formatError, type OutputOptions, Reporter } from '../../../src/cli/reporter.ts'
import type { ClientEvent } from '../../../src/client/events.ts'
import { InternalError, UnreachableError } from '../../../src/errors.ts'

let out = ''
let err = ''
beforeEach(() => {
  out = ''
  err = ''
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    out += String(text)
    return true
  })
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    err += String(text)
    return true
  })
})
afterEach(() => {
  vi.restoreAllMocks()
})

const options = (changes: Partial<OutputOptions> = {}): OutputOptions => ({
  json: false,
  quiet: false,
  verbose: false,
  color: 'never',
  ...changes
})

const lines = (): Record<string, unknown>[] =>
  out
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>)

/** One of each, and the fields that scripts may rely on. */
const EVENTS: readonly (readonly [ClientEvent, readonly string[]])[] = [
  [
    {
      event: 'rung',
      transport: 'tcp',
      via: 'http://proxy:3128',
      address: '203.0.113.1',
      outcome: 'failed',
      reason: 'connection-refused',
      message: 'The connection was refused',
      elapsedMs: 1200
    },
    ['transport', 'via', 'outcome', 'reason', 'elapsedMs']
  ],
  [
    {
      event: 'connected',
      transport: 'udp',
      via: null,
      gateway: '203.0.113.1',
      gatewayId: 'gw.example.org',
      virtualIps: ['10.9.0.5'],
      dns: ['10.9.0.1'],
      interface: 'ike0',
      mtu: 1400,
      remoteTs: ['0.0.0.0/0'],
      ikeSuite: 'aes256gcm16-prfsha384-x25519',
      espSuite: 'aes256gcm16',
      cluster: false,
      outerTls: null,
      elapsedMs: 321
    },
    [
      ...['transport', 'gateway', 'gatewayId', 'virtualIps', 'dns', 'interface', 'mtu', 'remoteTs'],
      ...['ikeSuite', 'espSuite', 'cluster', 'elapsedMs']
    ]
  ],
  [
    { event: 'path-changed', from: 'udp', to: 'tcp', reason: 'peer-silent', outageMs: 900 },
    ['from', 'to', 'reason', 'outageMs']
  ],
  [{ event: 'rekeyed', what: 'child', spi: 'c0ffee01' }, ['what', 'spi']],
  [{ event: 'liveness', outcome: 'alive', rttMs: 12.5 }, ['outcome', 'rttMs']],
  [
    { event: 'reconnecting', reason: 'deleted-by-peer', bytesIn: 1, bytesOut: 2, durationMs: 3 },
    ['reason', 'bytesIn', 'bytesOut', 'durationMs']
  ],
  [
    { event: 'disconnected', reason: 'requested', bytesIn: 1, bytesOut: 2, durationMs: 3 },
    ['reason', 'bytesIn', 'bytesOut', 'durationMs']
  ]
]

describe('connect --json', () => {
  it.each(EVENTS.map(([event, fields]) => [event.event, event, fields] as const))(
    'tells %s in one line with every documented field',
    (name, event, fields) => {
      new ProgressReport(new Reporter(options({ json: true, verbose: true }))).show(event)
      const [line] = lines()
      expect(lines()).toHaveLength(1)
      expect(Object.keys(line ?? {}).slice(0, 3)).toEqual(['schemaVersion', 'time', 'event'])
      expect(line).toMatchObject({ schemaVersion: 1, event: name })
      // RFC 3339.
      expect(line?.['time']).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
      for (const field of fields) expect(line, field).toHaveProperty([field])
      expect(line).toMatchObject({ ...event })
      expect(err).toBe('')
    }
  )

  it('tells an error in one line, with its exit code', () => {
    const reporter = new Reporter(options({ json: true }))
    const error = new UnreachableError('gateway-unreachable', 'It cannot be reached.', { hint: 'Check.' })
    expect(reporter.error(error)).toBe(69)
    expect(reporter.error(new UnreachableError('x', 'y'))).toBe(69)
    expect(lines()).toMatchObject([
      {
        event: 'error',
        code: 'gateway-unreachable',
        message: 'It cannot be reached.',
        hint: 'Check.',
        exitCode: 69
      },
      { event: 'error', hint: null }
    ])
    expect(err).toBe('')
  })

  it('tells liveness only with --verbose', () => {
    const report = new ProgressReport(new Reporter(options({ json: true })))
    report.show({ event: 'liveness', outcome: 'alive', rttMs: 1 })
    expect(out).toBe('')
  })

  it('puts nothing else on standard output', () => {
    const reporter = new Reporter(options({ json: true }))
    const report = new ProgressReport(reporter)
    for (const [event] of EVENTS) report.show(event)
    reporter.result('a result for people')
    reporter.line('a line')
    reporter.update('progress')
    reporter.writeError('a log line\n')
    report.stop()
    expect(lines().map(({ event }) => event)).toEqual(
      EVENTS.map(([{ event }]) => event).filter((event) => event !== 'liveness')
    )
    expect(err).toBe('a log line\n')
  })
})

describe('connect for people', () => {
  it('keeps standard output clean: progress is no result', () => {
    const report = new ProgressReport(new Reporter(options()))
    for (const [event] of EVENTS) report.show(event)
    report.stop()
    expect(out).toBe('')
    expect(err).toContain('✖ TCP through http://proxy:3128: The connection was refused (1.20 s)')
    expect(err).toContain('✔ connected over UDP to gw.example.org in 0.32 s')
    expect(err).toContain('✔ UDP → TCP (peer-silent), outage 900 ms')
    expect(err).toContain('! reconnecting (deleted-by-peer)')
    expect(err).toContain('disconnected (requested) after 0 s, 1 B in, 2 B out')
    expect(err).not.toContain('\u001b')
  })

  it('tells the same failure once for as long as nothing works', () => {
    const report = new ProgressReport(new Reporter(options()))
    const failures = EVENTS.map(([event]) => event).filter(
      (event) => event.event === 'rung' && event.outcome === 'failed'
    )
    const told = () => err.split('The connection was refused').length - 1
    for (let round = 0; round < 20; round++) for (const event of failures) report.show(event)
    expect(told()).toBe(1)
    report.show({ event: 'path-changed', from: 'tcp', to: 'udp', reason: 'peer-silent', outageMs: 900 })
    for (const event of failures) report.show(event)
    expect(told()).toBe(2)
  })

  it('says nothing but errors with --quiet', () => {
    const reporter = new Reporter(options({ quiet: true }))
    const report = new ProgressReport(reporter)
    for (const [event] of EVENTS) report.show(event)
    expect([out, err]).toEqual(['', ''])
    reporter.error(new UnreachableError('x', 'It cannot be reached.'))
    expect(err).toBe('error: It cannot be reached.\n')
  })

  it('shows long times and large numbers in words', () => {
    const report = new ProgressReport(new Reporter(options()))
    const event = { event: 'disconnected', reason: 'requested' } as const
    report.show({ ...event, durationMs: 125_000, bytesIn: 1_500_000, bytesOut: 2.5e12 })
    report.show({ ...event, durationMs: 7_380_000, bytesIn: 999, bytesOut: 1000 })
    expect(err).toContain('after 2 min 5 s, 1.5 MB in, 2.5 TB out')
    expect(err).toContain('after 2 h 3 min, 999 B in, 1.0 kB out')
  })

  it('gives a result to standard output', () => {
    new Reporter(options()).result('vpn: cleaned up')
    expect([out, err]).toEqual(['vpn: cleaned up\n', ''])
  })

  it('colours marks and errors only when colours are wanted', () => {
    const reporter = new Reporter(options({ color: 'always' }))
    reporter.line('x', 'ok')
    reporter.error(new UnreachableError('x', 'It failed.', { hint: 'Try again.' }))
    expect(err).toBe('\u001b[32m✔\u001b[0m x\n\u001b[31merror:\u001b[0m It failed.\n       Try again.\n')
  })
})

describe('colours', () => {
  const tty = { isTTY: true }
  it.each<[string, OutputOptions['color'], { isTTY?: boolean }, NodeJS.ProcessEnv, boolean]>([
    ['on a terminal', 'auto', tty, {}, true],
    ['not in a pipe', 'auto', {}, {}, false],
    ['not with NO_COLOR', 'auto', tty, { NO_COLOR: '1' }, false],
    ['with an empty NO_COLOR', 'auto', tty, { NO_COLOR: '' }, true],
    ['in a pipe with FORCE_COLOR', 'auto', {}, { FORCE_COLOR: '1' }, true],
    ['in a pipe with CLICOLOR_FORCE', 'auto', {}, { CLICOLOR_FORCE: '1' }, true],
    ['not with FORCE_COLOR=0', 'auto', {}, { FORCE_COLOR: '0' }, false],
    ['not with FORCE_COLOR=false', 'auto', {}, { FORCE_COLOR: 'false' }, false],
    ['NO_COLOR wins over FORCE_COLOR', 'auto', tty, { NO_COLOR: '1', FORCE_COLOR: '1' }, false],
    ['not on a dumb terminal', 'auto', tty, { TERM: 'dumb' }, false],
    ['not with CLICOLOR=0', 'auto', tty, { CLICOLOR: '0' }, false],
    ['--color always wins over NO_COLOR', 'always', {}, { NO_COLOR: '1' }, true],
    ['--color never wins over FORCE_COLOR', 'never', tty, { FORCE_COLOR: '1' }, false]
  ])('%s', (_, setting, stream, env, wanted) => {
    expect(colorWanted(setting, stream, env)).toBe(wanted)
  })
})

describe('what nobody expected', () => {
  it('is an internal error that asks for a report', () => {
    const error = asKnown(new TypeError('x is not a function'))
    expect(error).toBeInstanceOf(InternalError)
    expect(error.exitCode).toBe(70)
    expect(formatError(error, false)).toMatch(/^error: .*TypeError: x is not a function\.\n {7}.*report/)
    expect(asKnown('text').message).toContain('text')
  })
})
