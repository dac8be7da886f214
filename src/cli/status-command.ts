/**
 * `ikestream status [name]`: shows the sessions of this user that run; once, or again and again with `--watch`.
 * @module
 */
import { type Command, InvalidArgumentError } from 'commander'
import type { SessionStatus } from '../client/session-status.ts'
import { ExitCode } from '../errors.ts'
import { addExamples } from './examples.ts'
import { Reporter } from './reporter.ts'
import { noSession, runningSessions, statusDocument } from './sessions.ts'
import { statusLines } from './status-text.ts'
import { watchStatus } from './status-watch.ts'

interface StatusFlags {
  readonly json?: boolean
  readonly watch?: boolean
  readonly interval: number
}

/** Often enough to see a change of path happen, seldom enough to cost nothing. */
const DEFAULT_INTERVAL_S = 1
const MAX_INTERVAL_S = 3600

export function addStatusCommand(program: Command): void {
  const command = program
    .command('status')
    .argument('[name]', 'name of the session; all of them when absent')
    .description('show the sessions that run: transport, SAs, traffic, what was tried')
    .optionsGroup('Watching:')
    .option('--watch', 'show it again and again, until a signal')
    .option('--interval <s>', 'pause between two looks of --watch', intervalParser, DEFAULT_INTERVAL_S)
    .optionsGroup('Output:')
    .option('--json', 'one JSON document on standard output (with --watch: one a line)')
  addExamples(
    command,
    { line: 'ikestream status', says: 'every session of this user' },
    { line: 'ikestream status work --watch', says: 'one of them, as a live view' },
    { line: 'ikestream status --json', says: 'for a script' }
  )
  command
    .addHelpText(
      'after',
      `
Exit code: 0 connected, 75 at least one session is not connected right now, 69 no session is running.`
    )
    .action(async (name: string | undefined, flags: StatusFlags) => {
      process.exitCode = await runStatus(name, flags)
    })
}

function intervalParser(text: string): number {
  const value = Number(text)
  if (text.trim() !== '' && value > 0 && value <= MAX_INTERVAL_S) return value
  throw new InvalidArgumentError(`A number of seconds up to ${MAX_INTERVAL_S} is needed.`)
}

async function runStatus(name: string | undefined, flags: StatusFlags): Promise<number> {
  const json = flags.json === true
  const reporter = new Reporter({ json, quiet: false, verbose: false, color: 'auto' })
  try {
    if (flags.watch === true) {
      await watchStatus(name, { json, intervalMs: flags.interval * 1000 })
      return ExitCode.ok
    }
    const sessions = await runningSessions(name)
    if (json) process.stdout.write(`${JSON.stringify(statusDocument(sessions), null, 2)}\n`)
    else if (sessions.length === 0) throw await noSession(name)
    else reporter.result(sessions.map((session) => statusLines(session, Date.now()).join('\n')).join('\n\n'))
    return exitCodeFor(sessions)
  } catch (error) {
    return reporter.error(error)
  }
}

function exitCodeFor(sessions: readonly SessionStatus[]): ExitCode {
  if (sessions.length === 0) return ExitCode.unreachable
  return sessions.every(({ state }) => state === 'connected') ? ExitCode.ok : ExitCode.temporary
}
