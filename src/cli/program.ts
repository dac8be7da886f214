/**
 * The command line as a tree of commands: help, completion and the man page are all made from it.
 * @module
 */
import { Command } from 'commander'
import { addCleanupCommand } from './cleanup-command.ts'
import { addConnectCommand } from './connect-command.ts'
import { addDemoCommand } from './demo/demo-command.ts'
import { addGatewayCommand } from './gateway-command.ts'
import { addRelayCommand } from './relay-command.ts'
import { version } from './version.ts'

export function buildProgram(): Command {
  const program = new Command('ikestream')
    .description('IKEv2/IPsec VPN client that gets through: UDP, then TCP (RFC 9329), then TLS on 443')
    .version(version(), '-V, --version')
    .showHelpAfterError('(add --help for the options)')
    .exitOverride()
  program.commandsGroup('Client:')
  addConnectCommand(program)
  addCleanupCommand(program)
  program.commandsGroup('Servers:')
  addGatewayCommand(program)
  addRelayCommand(program)
  program.commandsGroup('Other:')
  addDemoCommand(program)
  return program
}
