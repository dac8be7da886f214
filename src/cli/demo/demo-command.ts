/**
 * `ikestream demo`: shows the whole product on one machine, without touching its network.
 * @module
 */
import type { Command } from 'commander'
import { ExitCode } from '../../errors.ts'
import { addExamples } from '../examples.ts'
import { Reporter } from '../reporter.ts'
import { runDemo } from './demo.ts'

export function addDemoCommand(program: Command): void {
  const command = program
    .command('demo')
    .description('show a connection through a hostile network, all on this machine')
  addExamples(command, { line: 'ikestream demo', says: 'needs no root, and takes half a minute' })
  command.action(async () => {
    const reporter = new Reporter({ json: false, quiet: false, verbose: false, color: 'auto' })
    try {
      await runDemo({
        say: (text) => reporter.result(text),
        heading: (text) => reporter.result(`\n── ${text}`)
      })
      process.exitCode = ExitCode.ok
    } catch (error) {
      process.exitCode = reporter.error(error)
    }
  })
}
