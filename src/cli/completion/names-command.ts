/**
 * The names that completion scripts ask for: of profiles, and of sessions that run. A command that no help shows; it reads two folders,
 * and starts as quickly as Node does.
 * @module
 */
import { Argument, type Command } from 'commander'
import { listControlSockets } from '../../host/control-path.ts'
import { directories } from '../../host/directories.ts'
import { profileFiles } from '../profile-files.ts'
import { NAMES_COMMAND } from './hidden-command.ts'

export function addNamesCommand(program: Command): void {
  program
    .command(NAMES_COMMAND, { hidden: true })
    .addArgument(new Argument('<kind>', 'of what').choices(['profile', 'session']))
    .action(async (kind: 'profile' | 'session') => {
      const { profiles, runtime } = directories()
      const names =
        kind === 'profile'
          ? profileFiles(profiles).map(({ name }) => name)
          : await listControlSockets(runtime)
      process.stdout.write(names.map((name) => `${name}\n`).join(''))
    })
}
