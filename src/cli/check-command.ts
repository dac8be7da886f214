/**
 * `ikestream check`: says over which transports this machine reaches the gateway, and what is in the way. Changes nothing,
 * needs neither root nor credentials.
 * @module
 */
import { randomBytes } from 'node:crypto'
import { isIP } from 'node:net'
import { type Command, InvalidArgumentError } from 'commander'
import { type CheckOptions, check } from '../check/check.ts'
import { type CheckDocument, checkDocument } from '../check/document.ts'
import { systemClock } from '../clock.ts'
import { judge } from '../diagnosis/judge.ts'
import { SystemCommandRunner } from '../host/commands.ts'
import { directories } from '../host/directories.ts'
import type { Logger } from '../log.ts'
import { checkLines } from './check-table.ts'
import { addConnectionOptions, EffectiveOptions } from './connection-options.ts'
import { readInput } from './files.ts'
import { longName, type OptionSpec } from './option-specs.ts'
import type { OptionValues } from './option-values.ts'
import { addOutputOptions, loggerFor, type OutputFlags, outputOptions } from './output-options.ts'
import { findProfile } from './profile.ts'
import { Reporter } from './reporter.ts'
import { ladderTimings, proposals } from './resolve-options.ts'
import { transportSettings } from './transport-settings.ts'

interface CheckFlags extends OutputFlags {
  readonly publicAddress?: string
}

const SESSION_OPTIONS: ReadonlySet<string> = new Set(['udp-timeout', 'stream-timeout'])
/** What a script waits for without a word of its own. */
const DEFAULT_TIMEOUT_S = 5

export function addCheckCommand(program: Command): void {
  const command = program
    .command('check')
    .argument('<server or profile>', 'name or address of the gateway, or a profile')
    .description('say over which transports the gateway is reached, and what is in the way')
  addConnectionOptions(command, forCheck)
  command
    .optionsGroup('Checking:')
    .option(
      '--public-address <addr>',
      "this machine's address on the Internet, if you know it: proves how a NAT maps ports",
      ipAddress
    )
  addOutputOptions(command)
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
  return spec.group === 'tunnel' ? undefined : spec
}

function ipAddress(text: string): string {
  if (isIP(text) === 0) throw new InvalidArgumentError('An IP address is needed.')
  return text
}

async function runCheck(target: string, command: Command, flags: CheckFlags): Promise<number> {
  const reporter = new Reporter(outputOptions(flags))
  try {
    boundLookups()
    const log = loggerFor(flags, reporter)
    const profile = findProfile(target, directories().profiles)
    const effective = new EffectiveOptions(command, profile)
    const options = checkOptions(profile?.server ?? target, effective, flags, log)
    reporter.update(`Checking ${options.server}`)
    const document = await checkOnce(options, log)
    reporter.stop()
    show(document, reporter)
    return document.verdict.exitCode
  } catch (error) {
    return reporter.error(error)
  }
}

/**
 * The C library asks a silent name server for ten seconds, and the process cannot end before that: twice a second has to do.
 * Whoever has set this variable knows better.
 */
function boundLookups(): void {
  process.env['RES_OPTIONS'] ??= 'timeout:1 attempts:2'
}

function checkOptions(server: string, effective: OptionValues, flags: CheckFlags, log: Logger): CheckOptions {
  return {
    server,
    ...transportSettings(effective, log),
    ikeProposals: proposals(effective, 'ike'),
    ladder: ladderTimings(effective),
    publicAddress: flags.publicAddress,
    ikeCa: effective.list('cafile').map((path) => readInput(path, 'The CA file').toString()),
    timeoutMs: timeoutSeconds(effective) * 1000
  }
}

/** The time that a profile gives a session to come up says nothing about a check. */
function timeoutSeconds(effective: OptionValues): number {
  const given = effective.source('timeout') === 'option' ? effective.number('timeout') : undefined
  return given ?? DEFAULT_TIMEOUT_S
}

async function checkOnce(options: CheckOptions, log: Logger): Promise<CheckDocument> {
  const time = new Date()
  const { evidence, elapsedMs } = await check(options, {
    clock: systemClock,
    random: { bytes: (length) => randomBytes(length) },
    runner: new SystemCommandRunner(log.child('host')),
    variables: process.env,
    signal: new AbortController().signal
  })
  return checkDocument(evidence, judge(evidence), { time, durationMs: elapsedMs })
}

function show(document: CheckDocument, reporter: Reporter): void {
  const { json, quiet } = reporter.options
  if (json) process.stdout.write(`${JSON.stringify(document)}\n`)
  else if (!quiet)
    for (const line of checkLines(document, (mark) => reporter.resultMark(mark))) reporter.result(line)
}
