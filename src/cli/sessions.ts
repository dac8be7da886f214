/**
 * Finds the sessions that run, and asks them.
 * @module
 */
import type { SessionStatus } from '../client/session-status.ts'
import { DataError, UnreachableError } from '../errors.ts'
import { askSession } from '../host/control-client.ts'
import { controlPath, listControlSockets } from '../host/control-path.ts'
import { directories } from '../host/directories.ts'
import { readJournal } from '../host/journal.ts'
import { requireSessionName } from '../host/session-name.ts'
import { SCHEMA_VERSION } from './reporter.ts'

/** A session answers from memory: one that takes longer than this hangs. */
const STATUS_TIMEOUT_MS = 5_000

/** The sessions of this user that run, or the one of this name if it does. */
export async function runningSessions(name: string | undefined): Promise<SessionStatus[]> {
  const { runtime } = directories()
  const names = name === undefined ? await listControlSockets(runtime) : [requireSessionName(name)]
  const answers = await Promise.all(
    names.map((one) => askSession(controlPath(runtime, one), 'status', STATUS_TIMEOUT_MS))
  )
  return answers.filter((answer) => answer !== undefined).map(asStatus)
}

/** A session of another version may say more than we know, but not less. */
function asStatus(answer: unknown): SessionStatus {
  if (typeof answer === 'object' && answer !== null && 'ikeSas' in answer) return answer as SessionStatus
  throw new DataError('control-answer', 'A session gave an answer that is no status.')
}

/** What `status --json` prints; schema/status.schema.json describes it. */
export function statusDocument(sessions: readonly SessionStatus[]) {
  return { schemaVersion: SCHEMA_VERSION, time: new Date().toISOString(), sessions }
}

/** Says that nothing runs, and what to do about what a killed session left behind. */
export async function noSession(name: string | undefined): Promise<UnreachableError> {
  if (name === undefined) {
    return new UnreachableError('no-session', 'No session of this user is running.', {
      hint: process.getuid?.() === 0 ? undefined : 'Sessions that were started with sudo are shown with sudo.'
    })
  }
  const left = await readJournal(directories().state, name).catch(() => undefined)
  return new UnreachableError('no-session', `No session ${name} is running.`, {
    hint:
      left === undefined
        ? 'See which ones are with: ikestream status'
        : `It was killed and left changes behind; undo them with: ikestream cleanup ${name}`
  })
}
