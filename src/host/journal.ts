/**
 * The journal of a session: every change to the host is written here before it is made, so that `ikestream cleanup` can undo it
 * when the session was killed.
 *
 * One JSON file a session, 0600, replaced atomically. It names its owner by process id and start time, which together name
 * one process until the machine restarts.
 *
 * A disk that takes nothing more keeps a session from coming up, but does not end one that runs: what changes then is known to the
 * session alone, which undoes it at its end. The file may therefore hold steps that have been undone already; undoing is idempotent.
 * @module
 */
import { readFileSync } from 'node:fs'
import { open, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { SystemError } from '../errors.ts'
import { type Logger, silentLogger } from '../log.ts'
import { replaceFile } from './atomic-file.ts'
import { ensurePrivateDirectory } from './directories.ts'
import { type JournalRecord, type ProcessIdentity, parseRecord } from './journal-record.ts'
import { isSessionName, requireSessionName } from './session-name.ts'
import type { UndoStep } from './undo-step.ts'

const SUFFIX = '.journal.json'

/** Where changes are noted down before they are made. */
export interface StepLog {
  readonly steps: readonly UndoStep[]
  /** Resolves once all of them are on the disk. */
  add(...steps: UndoStep[]): Promise<void>
  /** The step has been undone, or never came to be. */
  remove(step: UndoStep): Promise<void>
}

/** Notes kept in memory only, for sessions whose changes end with the process anyway. */
export function memoryLog(): StepLog {
  const steps: UndoStep[] = []
  return {
    steps,
    async add(...added) {
      steps.push(...added)
    },
    async remove(step) {
      const at = steps.indexOf(step)
      if (at >= 0) steps.splice(at, 1)
    }
  }
}

export interface JournalOptions {
  /** Network namespace of `ip netns` that the device is in. */
  readonly netns?: string | undefined
  /** The process that the session is, when this one only keeps its host for it. */
  readonly owner?: ProcessIdentity | undefined
  readonly log?: Logger | undefined
}

/** The journal of the session that this process runs, or keeps the host for. */
export class Journal implements StepLog {
  readonly #path: string
  readonly #log: Logger
  #record: JournalRecord
  #writing: Promise<void> = Promise.resolve()
  #mayFail = false
  #hasFailed = false

  private constructor(path: string, record: JournalRecord, log: Logger) {
    this.#path = path
    this.#record = record
    this.#log = log
  }

  /**
   * Begins a journal in the state folder.
   * @throws SystemError `session-running` when another process holds that name, `session-stale` when one died holding it
   */
  static async open(stateDirectory: string, name: string, options: JournalOptions = {}): Promise<Journal> {
    const path = journalPath(stateDirectory, name)
    await ensurePrivateDirectory(stateDirectory)
    await ensurePrivateDirectory(journalDirectory(stateDirectory))
    await refuseExisting(path, name)
    const { owner, netns, log = silentLogger } = options
    const record: JournalRecord = {
      schemaVersion: 1,
      name,
      owner: owner ?? ownIdentity(),
      ...(owner === undefined ? {} : { keeper: ownIdentity() }),
      since: new Date().toISOString(),
      netns: netns ?? null,
      steps: []
    }
    await claim(path, name, record)
    return new Journal(path, record, log)
  }

  get steps(): readonly UndoStep[] {
    return this.#record.steps
  }

  /** From here on the session runs, and goes on even if the disk takes nothing more. */
  tolerateFullDisk(): void {
    this.#mayFail = true
  }

  add(...added: UndoStep[]): Promise<void> {
    return this.#write((steps) => [...steps, ...added], this.#mayFail)
  }

  remove(step: UndoStep): Promise<void> {
    return this.#write((steps) => steps.filter((one) => one !== step), true)
  }

  /** Ends the journal. It stays on the disk if something in it could not be undone. */
  async close(): Promise<void> {
    await this.#writing
    if (this.#record.steps.length === 0) await rm(this.#path, { force: true })
  }

  #write(change: (steps: readonly UndoStep[]) => UndoStep[], mayFail: boolean): Promise<void> {
    const write = async (): Promise<void> => {
      this.#record = { ...this.#record, steps: change(this.#record.steps) }
      try {
        await writeJournal(this.#path, this.#record)
        this.#hasFailed = false
      } catch (error) {
        if (!mayFail) throw error
        if (!this.#hasFailed) this.#log.log('warn', `${messageOf(error)}; the session goes on all the same`)
        this.#hasFailed = true
      }
    }
    const done = this.#writing.then(write)
    this.#writing = done.catch(() => undefined)
    return done
  }
}

/** The names of all sessions that have a journal, running or not. */
export async function listJournals(stateDirectory: string): Promise<string[]> {
  try {
    const files = await readdir(journalDirectory(stateDirectory))
    return files
      .filter((file) => file.endsWith(SUFFIX) && isSessionName(file.slice(0, -SUFFIX.length)))
      .map((file) => file.slice(0, -SUFFIX.length))
      .sort()
  } catch {
    return []
  }
}

/** Reads a journal; undefined if there is none. @throws DataError when it is damaged */
export async function readJournal(stateDirectory: string, name: string): Promise<JournalRecord | undefined> {
  return readRecord(journalPath(stateDirectory, name))
}

export async function writeJournalRecord(stateDirectory: string, record: JournalRecord): Promise<void> {
  await writeJournal(journalPath(stateDirectory, record.name), record)
}

export async function deleteJournal(stateDirectory: string, name: string): Promise<void> {
  await rm(journalPath(stateDirectory, name), { force: true })
}

/** True while the session runs, or somebody still undoes what it did. */
export function isHeld(record: Pick<JournalRecord, 'owner' | 'keeper'>): boolean {
  return isAlive(record.owner) || (record.keeper !== undefined && isAlive(record.keeper))
}

/** True while that very process lives. */
export function isAlive(owner: ProcessIdentity): boolean {
  if (owner.bootId !== bootId()) return false
  const startTicks = startTicksOf(owner.pid)
  return startTicks !== null && (owner.startTicks === null || owner.startTicks === startTicks)
}

export function ownIdentity(): ProcessIdentity {
  return identityOf(process.pid)
}

export function identityOf(pid: number): ProcessIdentity {
  return { pid, startTicks: startTicksOf(pid), bootId: bootId() }
}

/** Changes with every start of the machine. */
export function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  } catch {
    return 'unknown'
  }
}

/** @throws UsageError for a name that cannot be a file's */
export function journalPath(stateDirectory: string, name: string): string {
  return join(journalDirectory(stateDirectory), `${requireSessionName(name)}${SUFFIX}`)
}

function journalDirectory(stateDirectory: string): string {
  return join(stateDirectory, 'sessions')
}

/** Field 22 of /proc/<pid>/stat; the name in field 2 may hold spaces and brackets. */
function startTicksOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    // A zombie has ended already; it only waits to be collected.
    if (fields[0] === 'Z' || fields[0] === 'X') return null
    return fields[19] ?? null
  } catch {
    return null
  }
}

async function refuseExisting(path: string, name: string): Promise<void> {
  const found = await readRecord(path)
  if (found === undefined) return
  if (isAlive(found.owner)) {
    throw new SystemError(
      'session-running',
      `the session ${name} is running already (process ${found.owner.pid})`,
      {
        hint: `end that one first (it ends cleanly on SIGTERM)`
      }
    )
  }
  if (isHeld(found)) {
    throw new SystemError(
      'session-ending',
      `an earlier session ${name} has ended and is still being undone`,
      {
        hint: 'try again in a moment'
      }
    )
  }
  throw new SystemError('session-stale', `an earlier session ${name} was killed and left changes behind`, {
    hint: `undo them with: ikestream cleanup ${name}`
  })
}

/** Creates the file, unless another process was quicker. */
async function claim(path: string, name: string, record: JournalRecord): Promise<void> {
  try {
    const file = await open(path, 'wx', 0o600)
    try {
      await file.writeFile(serialise(record))
      await file.sync()
    } catch (error) {
      // Half a journal would be refused as damaged from then on.
      await rm(path, { force: true })
      throw error
    } finally {
      await file.close()
    }
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'EEXIST') await refuseExisting(path, name)
    throw unwritable(path, cause)
  }
}

async function writeJournal(path: string, record: JournalRecord): Promise<void> {
  try {
    await replaceFile(path, serialise(record), { mode: 0o600 })
  } catch (cause) {
    throw unwritable(path, cause)
  }
}

function unwritable(path: string, cause: unknown): SystemError {
  return new SystemError('journal', `the journal ${path} cannot be written: ${messageOf(cause)}`, {
    hint: 'make room on that disk, or name another folder in IKESTREAM_STATE_DIR',
    cause
  })
}

function serialise(record: JournalRecord): string {
  return `${JSON.stringify(record, null, 1)}\n`
}

async function readRecord(path: string): Promise<JournalRecord | undefined> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw new SystemError('journal', `the journal ${path} cannot be read: ${String(cause)}`, { cause })
  }
  return parseRecord(text, path)
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
