/**
 * `ikestream disconnect [name]`: asks a session to end, and waits until everything that it did has been taken back.
 * @module
 */
import { type Command, InvalidArgumentError } from 'commander'
import type { SessionStatus } from '../client/session-status.ts'
import { ExitCode, SystemError, TemporaryError, UsageError } from '../errors.ts'
import { askSession } from '../host/control-client.ts'
import { controlPath } from '../host/control-path.ts'
import { directories } from '../host/directories.ts'
import { identityOf, isAlive, isHeld, readJournal } from '../host/journal.ts'
import { addExamples } from './examples.ts'
import { addOutputOptions, type OutputFlags, outputOptions } from './output-options.ts'
import { Reporter } from './reporter.ts'
import { noSession, runningSessions } from './sessions.ts'

interface DisconnectFlags extends OutputFlags {
  readonly all?: boolean
  readonly timeout: number
}

/** DELETE and TLS's end take 3 s at most, undoing routes and DNS as long as the system's tools take. */
const DEFAULT_TIMEOUT_S = 30
const MAX_TIMEOUT_S = 3600
/** How often it is looked whether the process has gone. */
const POLL_MS = 20

export function addDisconnectCommand(program: Command): void {
  const command = program
    .command('disconnect')
    .argument('[name]', 'name of the session; not needed when only one runs')
    .description('end a session, and wait until everything is as before')
    .optionsGroup('Ending:')
    .option('--all', 'end every session of this user')
    .option('--timeout <s>', 'how long to wait for the end', timeoutParser, DEFAULT_TIMEOUT_S)
  addOutputOptions(command)
  addExamples(
    command,
    { line: 'ikestream disconnect', says: 'the only session that runs' },
    { line: 'ikestream disconnect work --timeout 5', says: 'one of them; waits five seconds at most' }
  )
  command.action(async (name: string | undefined, flags: DisconnectFlags) => {
    process.exitCode = await runDisconnect(name, flags)
  })
}

function timeoutParser(text: string): number {
  const value = Number(text)
  if (text.trim() !== '' && value > 0 && value <= MAX_TIMEOUT_S) return value
  throw new InvalidArgumentError(`A number of seconds up to ${MAX_TIMEOUT_S} is needed.`)
}

async function runDisconnect(name: string | undefined, flags: DisconnectFlags): Promise<number> {
  const reporter = new Reporter(outputOptions(flags))
  try {
    const sessions = await chosenSessions(name, flags.all === true)
    const ends = await Promise.allSettled(
      sessions.map(async (session) => {
        await end(session, Date.now() + flags.timeout * 1000)
        reporter.event({ event: 'disconnected', name: session.name })
        reporter.result(`${session.name}: disconnected`)
      })
    )
    const failed = ends.find((one) => one.status === 'rejected')
    if (failed === undefined) return ExitCode.ok
    throw failed.reason
  } catch (error) {
    return reporter.error(error)
  }
}

/** @throws UsageError when it is not clear which, UnreachableError when there is none */
async function chosenSessions(name: string | undefined, all: boolean): Promise<SessionStatus[]> {
  if (all && name !== undefined) {
    throw new UsageError('contradicting-options', '--all and the name of a session contradict each other.')
  }
  const sessions = await runningSessions(name)
  if (sessions.length === 0) throw await noSession(name)
  if (all || sessions.length === 1) return sessions
  throw new UsageError('several-sessions', 'Several sessions are running.', {
    hint: `Name one of them, or use --all: ${sessions.map((session) => session.name).join(', ')}.`
  })
}

/** @throws SystemError when something was left behind, TemporaryError when it takes too long */
async function end(session: SessionStatus, deadline: number): Promise<void> {
  const { name, runBy, pid } = session
  const { runtime, state } = directories()
  const owner = identityOf(pid)
  // No answer: it has ended in between, which is what was wanted.
  await askSession(controlPath(runtime, name), 'disconnect', deadline - Date.now())
  for (;;) {
    // Whoever starts it again must find it gone. What exec or a program that uses the library runs lives on.
    const isGone = runBy !== 'connect' || !isAlive(owner)
    const journal = await readJournal(state, name)
    if (isGone && journal === undefined) return
    if (isGone && journal !== undefined && !isHeld(journal)) {
      throw new SystemError('undo-incomplete', `The session ${name} has ended and left changes behind.`, {
        hint: `Undo them with: ikestream cleanup ${name}`
      })
    }
    if (Date.now() >= deadline) {
      throw new TemporaryError(
        'disconnect-timeout',
        `The session ${name} has not ended yet (process ${pid}).`,
        {
          hint: 'Give it longer with --timeout.'
        }
      )
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
}
