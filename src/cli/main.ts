/**
 * Entry point of the command line: parses, runs, and turns whatever went wrong into one sentence and an exit code.
 * @module
 */
import { CommanderError } from 'commander'
import { ExitCode } from '../errors.ts'
import { buildProgram } from './program.ts'
import { Reporter } from './reporter.ts'

export async function main(argv: readonly string[]): Promise<void> {
  // A reader that went away (`ikestream ... | head`) is no reason to die with a stack trace, nor to leave routes behind.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', ignoreBrokenPipe)
  const program = await buildProgram(argv.slice(2))
  for (const command of program.commands)
    command.exitOverride().showHelpAfterError('(add --help for the options)')
  try {
    await program.parseAsync([...argv])
  } catch (error) {
    process.exitCode = error instanceof CommanderError ? usageExit(error) : report(error)
  }
}

function ignoreBrokenPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw error
}

/** Help and version are no errors; everything else that the parser refuses is a usage error. */
function usageExit(error: CommanderError): number {
  return error.exitCode === 0 ? ExitCode.ok : ExitCode.usage
}

function report(error: unknown): number {
  return new Reporter({ json: false, quiet: false, verbose: false, color: 'auto' }).error(error)
}
