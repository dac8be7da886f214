/**
 * `ikestream connect`: brings the tunnel up and stays in the foreground until a signal (`--background` detaches once
 * it is up).
 * @module
 */
import { type Command, Option } from 'commander'
import { connect, type RunningSession } from '../client/connect.ts'
import type { ClientEvent } from '../client/events.ts'
import type { ConnectOptions } from '../client/options.ts'
import { ExitCode } from '../errors.ts'
import { directories } from '../host/directories.ts'
import type { Logger } from '../log.ts'
import { detachedParent, isDetachedChild, tellParent } from './background.ts'
import { addConnectionOptions, EffectiveOptions } from './connection-options.ts'
import { addOutputOptions, loggerFor, type OutputFlags, outputOptions } from './output-options.ts'
import { writePidFile } from './pid-file.ts'
import { findProfile } from './profile.ts'
import { ProgressReport } from './progress-report.ts'
import { Reporter } from './reporter.ts'
import { type ConnectFlags, resolveOptions } from './resolve-options.ts'

interface CommandFlags extends OutputFlags, ConnectFlags {
  readonly background?: boolean
  readonly pidFile?: string
}

const SIGNAL_EXIT = { SIGINT: 130, SIGTERM: 143 } as const

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
    .option('--setuid <user>', 'become this user once the tunnel is up')
    .addOption(
      new Option(
        '--unsafe-dump-keys <dir>',
        'write key tables for Wireshark: whoever reads them can decrypt the traffic'
      )
    )
  addOutputOptions(command)
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
    return await runSession(options, flags, reporter, log)
  } catch (error) {
    tellParent({ failed: true })
    return reporter.error(error)
  }
}

async function runSession(
  options: ConnectOptions,
  flags: CommandFlags,
  reporter: Reporter,
  log: Logger
): Promise<number> {
  const progress = new ProgressReport(reporter)
  const removePidFile = flags.pidFile === undefined ? undefined : writePidFile(flags.pidFile)
  const signals = new SignalWatch()
  try {
    const session = await connect(options, {
      log,
      stateDirectory: directories().state,
      onEvent: (event: ClientEvent) => {
        progress.show(event)
        if (event.event === 'connected') tellParent({ failed: false })
      }
    })
    signals.watch(session, reporter)
    await session.ended
    const { received } = signals
    return received === undefined || session.connected ? ExitCode.ok : SIGNAL_EXIT[received]
  } finally {
    signals.stop()
    progress.stop()
    removePidFile?.()
  }
}

/** SIGINT and SIGTERM end cleanly, SIGUSR1 shows statistics, SIGUSR2 reconnects: as in openconnect. */
class SignalWatch {
  received: keyof typeof SIGNAL_EXIT | undefined
  readonly #stops: (() => void)[] = []
  #session: RunningSession | undefined

  constructor() {
    // From the first moment on: a signal during set-up must not leave anything behind.
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      this.#on(signal, () => {
        this.received ??= signal
        this.#session?.stop('requested')
      })
    }
  }

  watch(session: RunningSession, reporter: Reporter): void {
    this.#session = session
    if (this.received !== undefined) session.stop('requested')
    this.#on('SIGUSR1', () => {
      const { packetsIn, bytesIn, packetsOut, bytesOut } = session.statistics()
      reporter.writeError(
        `received ${packetsIn} packets, ${bytesIn} bytes; sent ${packetsOut} packets, ${bytesOut} bytes\n`
      )
    })
    this.#on('SIGUSR2', () => session.reconnect())
  }

  stop(): void {
    for (const stop of this.#stops) stop()
  }

  #on(signal: NodeJS.Signals, listener: () => void): void {
    process.on(signal, listener)
    this.#stops.push(() => process.off(signal, listener))
  }
}
