/**
 * The command line as data, for tests about help, completion and documentation.
 * @module
 */
import { type CommandNode, commandTree, leafCommands } from '../../src/cli/command-tree.ts'
import { buildProgram } from '../../src/cli/program.ts'

export async function wholeTree(): Promise<CommandNode> {
  return commandTree(await buildProgram())
}

export async function allCommands(): Promise<readonly CommandNode[]> {
  return leafCommands(await wholeTree())
}
