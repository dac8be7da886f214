/**
 * `ikestream check`: says over which transports this machine reaches the gateway, and what is in the way. Changes nothing,
 * needs neither root nor credentials.
 * @module
 */
import { isIP } from 'node:net'
import { type Command, InvalidArgumentError } from 'commander'
import type { CheckDocument } from '../check/document.ts'
import { ExitCode, UsageError } from '../errors.ts'
import { directories } from '../host/directories.ts'
import { libc } from '../native/libc.ts'
import { HEDGE_AFTER_MS } from '../transport/hedged-lookup.ts'
import { type CheckFlags, DEFAULT_BANDWIDTH_S, DEFAULT_TIMEOUT_S, planCheck, runPlan } from './check-run.ts'
import { checkLines } from './check-table.ts'
import { changeLine, DEFAULT_WATCH_S, watchChecks } from './check-watch.ts'
import { addConnectionOptions, EffectiveOptions } from './connection-options.ts'
import { addExamples } from './examples.ts'
import { longName, type OptionSpec } from './option-specs.ts'
import { addOutputOptions, loggerFor, outputOptions } from './output-options.ts'
import { findProfile } from './profile.ts'
import { Reporter } from './reporter.ts'

/** Options of a session that lasts which have a meaning for one that does not. */
const SESSION_OPTIONS: ReadonlySet<string> = new Set(['udp-timeout', 'stream-timeout'])
const TUNNEL_OPTIONS: ReadonlySet<string> = new Set(['local-ts', 'remote-ts'])
const MOST_BANDWIDTH_S = 60
const MOST_WATCH_S = 86_400

export function addCheckCommand(program: Command): void {
  const command = program
    .command('check')
    .argument('<server or profile>', 'name or address of the gateway, or a profile')
    .description('say over which transports the gateway is reached, and what is in the way')
  addConnectionOptions(command, forCheck)
  command
    .optionsGroup('Checking:')
    .option('--proposals', 'also find out which IKE suites the gateway accepts')
    .option('--auth', 'also authenticate, see whether ESP passes, and disconnect')
    .option(
      '--bandwidth [s]',
      `also measure how much passes through the tunnel, for this long (${DEFAULT_BANDWIDTH_S}); implies --auth`,
      secondsUpTo(MOST_BANDWIDTH_S)
    )
    .option(
      '--inner-host <addr>',
      'host behind the gateway that answers pings, for --auth and --bandwidth',
      ipAddress
    )
    .option(
      '--public-address <addr>',
      "this machine's address on the Internet, if you know it: proves how a NAT maps ports",
      ipAddress
    )
    .option(
      '--watch [s]',
      `check again this often (${DEFAULT_WATCH_S}), and tell what changes`,
      secondsUpTo(MOST_WATCH_S)
    )
    .option('--passwd-on-stdin', 'read the password from standard input')
    .option('--non-inter', 'never ask; a missing secret is an error')
  addOutputOptions(command)
  addExamples(
    command,
    { line: 'ikestream check vpn.example.com', says: 'needs neither root nor credentials' },
    { line: 'ikestream check work --auth --bandwidth 5', says: 'log in, and measure for five seconds' },
    { line: 'ikestream check work --json --watch 60', says: 'for a monitor: once a minute' }
  )
  command.action(async (target: string, flags: CheckFlags) => {
    process.exitCode = await runCheck(target, command, flags)
  })
}

/** What has a meaning without a session that lasts. */
function forCheck(spec: OptionSpec): OptionSpec | undefined {
  const name = longName(spec.flags)
  if (name === 'timeout')
    return { ...spec, description: 'be done after this long', default: DEFAULT_TIMEOUT_S }
  if (spec.group === 'session') return SESSION_OPTIONS.has(name) ? spec : undefined
  return spec.group === 'tunnel' && !TUNNEL_OPTIONS.has(name) ? undefined : spec
}

function ipAddress(text: string): string {
  if (isIP(text) === 0) throw new InvalidArgumentError('An IP address is needed.')
  return text
}

function secondsUpTo(most: number): (text: string) => number {
  return (text) => {
    const seconds = text.trim() === '' ? Number.NaN : Number(text)
    if (!(seconds >= 1 && seconds <= most))
      throw new InvalidArgumentError(`A number of seconds from 1 to ${most} is needed.`)
    return seconds
  }
}

async function runCheck(target: string, command: Command, flags: CheckFlags): Promise<number> {
  const reporter = new Reporter(outputOptions(flags))
  try {
    if (flags.innerHost !== undefined && flags.auth !== true && flags.bandwidth === undefined)
      throw new UsageError('orphan-option', '--inner-host has no effect without --auth or --bandwidth.')
    const log = loggerFor(flags, reporter)
    const profile = findProfile(target, directories().profiles)
    const effective = new EffectiveOptions(command, profile)
    const plan = await planCheck(profile?.server ?? target, profile?.name, effective, flags, log)
    const stop = stopSignal()
    const run = async (): Promise<CheckDocument> => {
      reporter.update(`Checking ${plan.options.server}`)
      try {
        return await runPlan(plan, log, stop.signal)
      } finally {
        reporter.stop()
      }
    }
    if (flags.watch !== undefined) return await watch(run, flags.watch, reporter, stop)
    const document = await run()
    if (stop.code !== undefined) return stop.code
    show(document, reporter)
    const { dns, verdict } = document
    if (dns?.outcome === 'timeout' || (dns?.elapsedMs ?? 0) > HEDGE_AFTER_MS)
      endDespiteLookup(verdict.exitCode)
    return verdict.exitCode
  } catch (error) {
    return reporter.error(error)
  }
}

async function watch(
  run: () => Promise<CheckDocument>,
  interval: number | true,
  reporter: Reporter,
  stop: StopSignal
): Promise<number> {
  let seen = false
  await watchChecks(
    run,
    (document, isFirst) => {
      seen = true
      if (isFirst || reporter.options.json) show(document, reporter)
      else if (!reporter.options.quiet) reporter.result(changeLine(document, reporter))
    },
    (interval === true ? DEFAULT_WATCH_S : interval) * 1000,
    stop.signal
  )
  return seen ? ExitCode.ok : (stop.code ?? ExitCode.ok)
}

interface StopSignal {
  readonly signal: AbortSignal
  /** The exit code for the signal that came; undefined: none. */
  readonly code: number | undefined
}

function stopSignal(): StopSignal {
  const abort = new AbortController()
  let code: number | undefined
  for (const [name, number] of [
    ['SIGINT', 130],
    ['SIGTERM', 143]
  ] as const) {
    process.once(name, () => {
      code ??= number
      abort.abort()
    })
  }
  return {
    signal: abort.signal,
    get code() {
      return code
    }
  }
}

/**
 * The C library asks a silent name server for ten seconds and more, on a thread that the process would wait for at its end. What was
 * to be said has been written by now (pipes and terminals are written to at once), so it need not.
 */
function endDespiteLookup(exitCode: number): void {
  try {
    libc().exitNow(exitCode)
  } catch {
    // Then it takes its time.
  }
}

function show(document: CheckDocument, reporter: Reporter): void {
  const { json, quiet } = reporter.options
  if (json) process.stdout.write(`${JSON.stringify(document)}\n`)
  else if (!quiet)
    for (const line of checkLines(document, (mark) => reporter.resultMark(mark))) reporter.result(line)
}
