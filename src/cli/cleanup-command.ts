/**
 * `ikestream cleanup [name]`: undoes what a session that was killed left behind. A session that still runs is left alone.
 * @module
 */
import type { Command } from 'commander'
import { ExitCode, SystemError } from '../errors.ts'
import { type CleanupResult, cleanup, cleanupAll } from '../host/cleanup.ts'
import { directories } from '../host/directories.ts'
import { removeLeftovers } from '../host/leftovers.ts'
import { addExamples } from './examples.ts'
import { addOutputOptions, loggerFor, type OutputFlags, outputOptions } from './output-options.ts'
import { Reporter } from './reporter.ts'

const OUTCOMES: Readonly<Record<CleanupResult['outcome'], string>> = {
  clean: 'left nothing behind',
  cleaned: 'cleaned up',
  running: 'is running; end it instead',
  failed: 'could not be cleaned up'
}

export function addCleanupCommand(program: Command): void {
  const command = program
    .command('cleanup')
    .argument('[name]', 'name of the session; all of them when absent')
    .description('undo what a killed session left behind')
  addOutputOptions(command)
  addExamples(command, {
    line: 'ikestream cleanup',
    says: 'after a crash: routes, name servers and devices as before'
  })
  command.action(async (name: string | undefined, flags: OutputFlags) => {
    process.exitCode = await runCleanup(name, flags)
  })
}

async function runCleanup(name: string | undefined, flags: OutputFlags): Promise<number> {
  const reporter = new Reporter(outputOptions(flags))
  try {
    const options = { stateDirectory: directories().state, log: loggerFor(flags, reporter) }
    const results = name === undefined ? await cleanupAll(options) : [await cleanup(name, options)]
    for (const result of results) {
      const failures = result.failures.map(({ message }) => message)
      reporter.event({ event: 'cleanup', name: result.name, outcome: result.outcome, failures })
      reporter.result(`${result.name}: ${OUTCOMES[result.outcome]}`)
    }
    await removeLeftovers(directories().runtime)
    const failed = results.find(({ outcome }) => outcome === 'failed')
    if (failed === undefined) return ExitCode.ok
    throw failed.failures[0] ?? new SystemError('cleanup-failed', `${failed.name} could not be cleaned up.`)
  } catch (error) {
    return reporter.error(error)
  }
}
