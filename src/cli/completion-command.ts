/**
 * `ikestream completion <bash|zsh|fish>`: prints a completion script, made from the commands and options that there are.
 * @module
 */
import { Argument, type Command } from 'commander'
import { commandTree } from './command-tree.ts'
import { bashScript } from './completion/bash.ts'
import { fishScript } from './completion/fish.ts'
import { zshScript } from './completion/zsh.ts'
import { addExamples } from './examples.ts'

const SCRIPTS = { bash: bashScript, zsh: zshScript, fish: fishScript } as const

/** @param wholeProgram with all commands, which are not loaded for one of them */
export function addCompletionCommand(program: Command, wholeProgram: () => Promise<Command>): void {
  const command = program
    .command('completion')
    .addArgument(new Argument('<shell>', 'the shell that completes').choices(['bash', 'zsh', 'fish']))
    .description('print a completion script for a shell')
  addExamples(
    command,
    { line: 'ikestream completion bash', says: 'for ~/.bashrc: source <(ikestream completion bash)' },
    {
      line: 'ikestream completion zsh',
      says: 'for ~/.zshrc, after compinit: source <(ikestream completion zsh)'
    },
    { line: 'ikestream completion fish', says: 'into ~/.config/fish/completions/ikestream.fish' }
  )
  command.action(async (shell: keyof typeof SCRIPTS) => {
    process.stdout.write(SCRIPTS[shell](commandTree(await wholeProgram())))
  })
}
