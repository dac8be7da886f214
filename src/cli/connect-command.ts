/**
 * `ikestream connect`: brings the tunnel up and stays in the foreground until a signal (`--background` detaches once
 * it is up).
 * @module
 */
import { type Command, Option } from 'commander'
import { connect } from '../client/connect.ts'
import type { ClientEvent } from '../client/events.ts'
import type { ConnectOptions } from '../client/options.ts'
import { directories } from '../host/directories.ts'
import type { Logger } from '../log.ts'
import { detachedParent, isDetachedChild, tellParent } from './background.ts'
import { addConnectionOptions, EffectiveOptions } from './connection-options.ts'
import { addExamples } from './examples.ts'
import { addOutputOptions, loggerFor, type OutputFlags, outputOptions } from './output-options.ts'
import { findProfile } from './profile.ts'
import { ProgressReport } from './progress-report.ts'
import { Reporter } from './reporter.ts'
import { type ConnectFlags, resolveOptions } from './resolve-options.ts'
import { ServiceReport } from './service-report.ts'
import { SessionEnd } from './session-end.ts'

interface CommandFlags extends OutputFlags, ConnectFlags {
  readonly background?: boolean
}

export function addConnectCommand(program: Command): void {
  const command = program
    .command('connect')
    .argument('<server or profile>', 'name or address of the gateway, or a profile')
    .description('bring the tunnel up and stay until a signal')
  addConnectionOptions(command)
  command
    .optionsGroup('Running:')
    .option('--passwd-on-stdin', 'read the password from standard input')
    .option('--non-inter', 'never ask; a missing secret is an error')
    .option('--background', 'detach once the tunnel is up')
    .option('--pid-file <file>', 'write the process id here')
    .option('--name <name>', "name of the session (default: the profile's or the server's)")
    .option('--setuid <user>', 'become this user once the tunnel is up')
    .option('--capture <file>', 'write the outer packets to this file, for Wireshark')
    .option('--capture-inner <file>', 'write what is in the tunnel to this file: in clear')
    .addOption(
      new Option(
        '--unsafe-dump-keys <dir>',
        'write key tables for Wireshark: whoever reads them can decrypt the traffic'
      )
    )
  addOutputOptions(command)
  addExamples(
    command,
    {
      line: 'ikestream connect vpn.example.com --user alice --cafile corp-ca.pem',
      says: 'user name and password'
    },
    {
      line: 'ikestream connect vpn.example.com --certificate alice.p12 --transport tls',
      says: 'a certificate; TLS on 443 only'
    },
    {
      line: 'ikestream connect work --persist --background',
      says: 'a profile; never gives up, detaches once it is up'
    },
    {
      line: 'ikestream connect work --json --non-inter',
      says: 'for a script: one JSON object a line, no questions'
    }
  )
  command.action(async (target: string, flags: CommandFlags) => {
    process.exitCode = await runConnect(target, command, flags)
  })
}

async function runConnect(target: string, command: Command, flags: CommandFlags): Promise<number> {
  const output = outputOptions(flags)
  const reporter = new Reporter(output)
  try {
    if (flags.background === true && !isDetachedChild()) return await detachedParent(reporter)
    const log = loggerFor(flags, reporter)
    const profile = findProfile(target, directories().profiles)
    const effective = new EffectiveOptions(command, profile)
    const options = await resolveOptions(profile?.server ?? target, profile?.name, effective, flags, log)
    return await runSession(options, reporter, log)
  } catch (error) {
    tellParent({ failed: true })
    return reporter.error(error)
  }
}

async function runSession(options: ConnectOptions, reporter: Reporter, log: Logger): Promise<number> {
  const progress = new ProgressReport(reporter)
  const service = ServiceReport.forThisProcess(log)
  const end = new SessionEnd(reporter, service)
  try {
    const { state, runtime } = directories()
    const session = await connect(options, {
      log,
      stateDirectory: state,
      runtimeDirectory: runtime,
      onEvent: (event: ClientEvent) => {
        progress.show(event)
        service.show(event)
        if (event.event === 'connected') tellParent({ failed: false })
      }
    })
    end.watch(session)
    service.watch(session)
    await session.ended
    return end.exitCode(session.connected)
  } finally {
    end.stop()
    service.stop()
    progress.stop()
  }
}
