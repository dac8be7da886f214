/**
 * Examples of a command: at the end of its help, in the man page and in the reference. A test parses every one of them.
 * @module
 */
import type { Command } from 'commander'

export interface Example {
  /** A whole command line; nothing that needs a shell. */
  readonly line: string
  readonly says: string
}

const EXAMPLES = new WeakMap<Command, readonly Example[]>()

export function addExamples<C extends Command>(command: C, ...examples: readonly Example[]): C {
  EXAMPLES.set(command, examples)
  const lines = examples.map(({ line, says }) => `  ${line}\n      ${says}`)
  command.addHelpText('after', `\nExamples:\n${lines.join('\n')}`)
  return command
}

export function examplesOf(command: Command): readonly Example[] {
  return EXAMPLES.get(command) ?? []
}
