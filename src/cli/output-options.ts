/**
 * The output options that every command has, and what they mean.
 * @module
 */
import { fstatSync } from 'node:fs'
import { type Command, Option } from 'commander'
import { UsageError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { isJournal, LineLogger, logSettings } from './logger.ts'
import type { OutputOptions, Reporter } from './reporter.ts'

export interface OutputFlags {
  readonly json?: boolean
  readonly quiet?: boolean
  readonly verbose?: number
  readonly log?: string
  readonly color?: 'auto' | 'always' | 'never'
}

/** @param json false: standard output is not the command's own */
export function addOutputOptions(command: Command, { json = true } = {}): Command {
  command.optionsGroup('Output:')
  if (json) command.option('--json', 'one JSON object a line on standard output')
  return command
    .option('-q, --quiet', 'errors only')
    .option('-v, --verbose', 'say more (repeatable)', (_: string, count: number) => count + 1, 0)
    .option('--log <subsystem=level,...>', 'log levels by subsystem, such as ike=debug,transport=trace')
    .addOption(new Option('--color <when>', 'colours').choices(['auto', 'always', 'never']).default('auto'))
}

/** @throws UsageError for contradicting flags */
export function outputOptions(flags: OutputFlags): OutputOptions {
  if (flags.quiet === true && (flags.verbose ?? 0) > 0) {
    throw new UsageError('contradicting-options', '--quiet and --verbose contradict each other.')
  }
  return {
    json: flags.json === true,
    quiet: flags.quiet === true,
    verbose: (flags.verbose ?? 0) > 0,
    color: flags.color ?? 'auto'
  }
}

/** @throws UsageError for a malformed `--log` */
export function loggerFor(flags: OutputFlags, reporter: Reporter): Logger {
  const settings = logSettings(flags.verbose ?? 0, flags.quiet === true, flags.log)
  const journal = isJournal(process.env['JOURNAL_STREAM'], fstatSync(2))
  return new LineLogger(settings, (line) => reporter.writeError(line), journal)
}
