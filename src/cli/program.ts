/**
 * The command line as a tree of commands: help, completion and the man page are all made from it.
 *
 * Every command is a module of its own, and only that of the command which was asked for is loaded: the rest of the program
 * would cost more time than the first round trip to the gateway.
 * @module
 */
import { type Argument, Command, Option } from 'commander'
import { NAMES_COMMAND } from './completion/hidden-command.ts'
import { addExamples } from './examples.ts'
import { version } from './version.ts'

/** A group's heading in the help text, and its commands: the module of each adds it to the program. */
type CommandGroup = readonly [heading: string, commands: Readonly<Record<string, CommandLoader>>]
type CommandLoader = () => Promise<(program: Command) => void>

/** Beside the longest term there is less than commander asks for, on a terminal of 80 columns. */
const MIN_DESCRIPTION_WIDTH = 30
const OTHER = 'Other:'
const COMMAND_GROUPS: readonly CommandGroup[] = [
  [
    'Client:',
    {
      connect: async () => (await import('./connect-command.ts')).addConnectCommand,
      check: async () => (await import('./check-command.ts')).addCheckCommand,
      exec: async () => (await import('./exec-command.ts')).addExecCommand,
      status: async () => (await import('./status-command.ts')).addStatusCommand,
      disconnect: async () => (await import('./disconnect-command.ts')).addDisconnectCommand,
      cleanup: async () => (await import('./cleanup-command.ts')).addCleanupCommand
    }
  ],
  [
    'Profiles:',
    {
      import: async () => (await import('./import-command.ts')).addImportCommand,
      profile: async () => (await import('./profile-command.ts')).addProfileCommand
    }
  ],
  [
    'Servers:',
    {
      gateway: async () => (await import('./gateway-command.ts')).addGatewayCommand,
      relay: async () => (await import('./relay-command.ts')).addRelayCommand
    }
  ],
  [
    OTHER,
    {
      lab: async () => (await import('./lab/lab-command.ts')).addLabCommand,
      completion: async () => {
        const { addCompletionCommand } = await import('./completion-command.ts')
        return (program) => addCompletionCommand(program, buildProgram)
      },
      demo: async () => (await import('./demo/demo-command.ts')).addDemoCommand,
      [NAMES_COMMAND]: async () => (await import('./completion/names-command.ts')).addNamesCommand
    }
  ]
]

/**
 * The program with the command that `argv` begins with, or with all of them where it names none: for help, completion, and to
 * find the nearest name.
 * @param argv without the names of the interpreter and of the script
 */
export async function buildProgram(argv: readonly string[] = []): Promise<Command> {
  const program = new Command('ikestream')
    .description('IKEv2/IPsec VPN client that gets through: UDP, then TCP (RFC 9329), then TLS on 443')
    .optionsGroup('Output:')
    .version(version(), '-V, --version', 'show the version')
    .showHelpAfterError('(add --help for the options)')
    .exitOverride()
  program.configureHelp({
    minWidthToWrap: MIN_DESCRIPTION_WIDTH,
    styleTitle: (title) => `\u001b[1m${title}\u001b[22m`,
    // Every command has options: that need not be said of each.
    subcommandTerm: (command) => [command.name(), ...command.registeredArguments.map(argumentText)].join(' ')
  })
  const wanted = COMMAND_GROUPS.some(([, commands]) => Object.hasOwn(commands, argv[0] ?? ''))
    ? argv[0]
    : undefined
  for (const [heading, commands] of COMMAND_GROUPS) {
    program.commandsGroup(heading)
    for (const [name, load] of Object.entries(commands))
      if (wanted === undefined || name === wanted) (await load())(program)
  }
  program.commandsGroup(OTHER)
  program.helpCommand('help [command]', 'show the help of a command')
  addExamples(
    program,
    { line: 'ikestream check vpn.example.com', says: 'what is in the way?' },
    { line: 'ikestream connect vpn.example.com --user alice', says: 'get through' },
    { line: 'ikestream connect --help', says: 'the options of a command; man ikestream has all of them' }
  )
  finish(program)
  return program
}

function argumentText(argument: Argument): string {
  const name = `${argument.name()}${argument.variadic ? '...' : ''}`
  return argument.required ? `<${name}>` : `[${name}]`
}

/** The same last words for every command, in a group that it has anyway. */
function finish(command: Command): void {
  command.addHelpOption(new Option('-h, --help', 'show this help').helpGroup('Output:'))
  for (const child of command.commands) finish(child)
}
