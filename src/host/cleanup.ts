/**
 * `ikestream cleanup`: undoes what sessions left behind that did not end by themselves, from their journals.
 * @module
 */
import { SystemError } from '../errors.ts'
import { type Logger, silentLogger } from '../log.ts'
import { type CommandRunner, SystemCommandRunner } from './commands.ts'
import { bootId, deleteJournal, isHeld, listJournals, readJournal, writeJournalRecord } from './journal.ts'
import { type UndoStep, undoAll, undoneByReboot } from './undo-step.ts'

export interface CleanupOptions {
  readonly stateDirectory: string
  readonly runner?: CommandRunner
  readonly log?: Logger
}

export interface CleanupResult {
  readonly name: string
  /** `running`: nothing was touched; `failed`: some of it is still there, and still in the journal. */
  readonly outcome: 'clean' | 'cleaned' | 'running' | 'failed'
  readonly undone: number
  readonly failures: readonly SystemError[]
}

/** Undoes what the named session left behind. A session that still runs is left alone. */
export async function cleanup(name: string, options: CleanupOptions): Promise<CleanupResult> {
  const log = options.log ?? silentLogger
  const record = await readJournal(options.stateDirectory, name)
  if (record === undefined) return { name, outcome: 'clean', undone: 0, failures: [] }
  if (isHeld(record)) return { name, outcome: 'running', undone: 0, failures: [] }
  const rebooted = record.owner.bootId !== bootId()
  let left: readonly UndoStep[] = rebooted
    ? record.steps.filter((step) => !undoneByReboot(step))
    : record.steps
  const total = left.length
  const context = {
    runner: options.runner ?? new SystemCommandRunner(log),
    log,
    netns: record.netns
  }
  const failures = await undoAll(left, context, async (step) => {
    left = left.filter((one) => one !== step)
    // What is undone is undone, even if a full disk does not let us say so; undoing it again does no harm.
    await writeJournalRecord(options.stateDirectory, { ...record, steps: left }).catch((error) =>
      log.log('warn', error instanceof Error ? error.message : String(error))
    )
  })
  if (failures.length > 0) return { name, outcome: 'failed', undone: total - left.length, failures }
  await deleteJournal(options.stateDirectory, name)
  return { name, outcome: 'cleaned', undone: total, failures }
}

/** The same for every session with a journal. */
export async function cleanupAll(options: CleanupOptions): Promise<CleanupResult[]> {
  const results: CleanupResult[] = []
  for (const name of await listJournals(options.stateDirectory)) {
    try {
      results.push(await cleanup(name, options))
    } catch (cause) {
      const failure =
        cause instanceof SystemError ? cause : new SystemError('cleanup-failed', String(cause), { cause })
      results.push({ name, outcome: 'failed', undone: 0, failures: [failure] })
    }
  }
  return results
}
