/**
 * `ikestream connect`: brings the tunnel up and stays in the foreground until a signal (`--background` detaches once
 * it is up).
 * @module
 */
import { type Command, Option } from 'commander'
import { connect, type RunningSession } from '../client/connect.ts'
import type { ClientEvent } from '../client/events.ts'
import { type ConnectOptions, DEFAULT_SESSION_TIMINGS, type ProxySetting } from '../client/options.ts'
import { DEFAULT_ESP_PROPOSALS, DEFAULT_IKE_PROPOSALS, parseProposals } from '../crypto/proposal.ts'
import { ConfigurationError, ExitCode, UsageError } from '../errors.ts'
import { directories } from '../host/directories.ts'
import type { Logger } from '../log.ts'
import type { TransportKind } from '../wire/endpoint.ts'
import type { TrafficSelector } from '../wire/ike-message.ts'
import { parseTrafficSelector } from '../wire/traffic-selectors.ts'
import { detachedParent, isDetachedChild, tellParent } from './background.ts'
import { addConnectionOptions, EffectiveOptions } from './connection-options.ts'
import { loadCredentials } from './credentials.ts'
import { readInput } from './files.ts'
import { addOutputOptions, loggerFor, type OutputFlags, outputOptions } from './output-options.ts'
import { writePidFile } from './pid-file.ts'
import { findProfile } from './profile.ts'
import { ProgressReport } from './progress-report.ts'
import { Reporter } from './reporter.ts'

interface ConnectFlags extends OutputFlags {
  readonly passwdOnStdin?: boolean
  readonly nonInter?: boolean
  readonly background?: boolean
  readonly pidFile?: string
  readonly setuid?: string
  readonly unsafeDumpKeys?: string
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
  command.action(async (target: string, flags: ConnectFlags) => {
    process.exitCode = await runConnect(target, command, flags)
  })
}

async function runConnect(target: string, command: Command, flags: ConnectFlags): Promise<number> {
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
  flags: ConnectFlags,
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

/** @throws UsageError, ConfigurationError, InputError, DataError */
export async function resolveOptions(
  server: string,
  profileName: string | undefined,
  effective: EffectiveOptions,
  flags: ConnectFlags,
  log: Logger
): Promise<ConnectOptions> {
  const prompting = {
    nonInteractive: flags.nonInter === true,
    passwordOnStdin: flags.passwdOnStdin === true
  }
  const credentials = await loadCredentials(effective, server, prompting, log)
  const milliseconds = (name: string): number | undefined => {
    const seconds = effective.number(name)
    return seconds === undefined ? undefined : seconds * 1000
  }
  const probeMs = milliseconds('udp-probe') ?? DEFAULT_SESSION_TIMINGS.udpProbeFirstMs
  return {
    server,
    sessionName: sessionName(profileName ?? server),
    ...credentials,
    ikeProposals: proposals(effective, 'ike'),
    espProposals: proposals(effective, 'esp'),
    order: ladderOrder(effective),
    ports: {
      ike: effective.number('udp-port') ?? 500,
      natT: effective.number('nat-t-port') ?? 4500,
      tcp: effective.number('tcp-port') ?? 4500,
      tls: effective.number('tls-port') ?? 443
    },
    tls: {
      name: effective.text('tls-name'),
      verify: effective.flag('tls-verify'),
      ca: effective.list('tls-cafile').map((path) => readInput(path, 'The TLS CA file').toString())
    },
    proxy: proxySetting(effective),
    localTs: selectors(effective, 'local-ts'),
    remoteTs: selectors(effective, 'remote-ts'),
    interfaceName: effective.text('interface'),
    mtu: effective.number('mtu'),
    netns: effective.text('netns'),
    routes: effective.enabled('routes'),
    dns: effective.enabled('dns'),
    script: effective.text('script'),
    timeoutMs: effective.flag('persist') ? Number.POSITIVE_INFINITY : (milliseconds('timeout') ?? 60_000),
    timers: {
      livenessMs: milliseconds('dpd') ?? 30_000,
      clusterLivenessMs: milliseconds('cluster-liveness') ?? 5_000,
      ...given('ikeLifetimeMs', milliseconds('ike-lifetime')),
      ...given('childLifetimeMs', milliseconds('child-lifetime'))
    },
    timings: { ...DEFAULT_SESSION_TIMINGS, udpProbeFirstMs: probeMs },
    ladder: {
      ...given('udpGiveUpMs', milliseconds('udp-timeout')),
      ...given('streamOpenAtMs', milliseconds('stream-after')),
      ...given('streamIkeMs', milliseconds('stream-timeout'))
    },
    setuid: flags.setuid,
    keyDirectory: flags.unsafeDumpKeys,
    rememberNetworks: effective.text('transport') === 'auto' && effective.source('order') === 'default'
  }
}

function given<K extends string>(key: K, value: number | undefined): Partial<Record<K, number>> {
  return value === undefined ? {} : ({ [key]: value } as Record<K, number>)
}

/** File names are made of it: whatever is not plain becomes a dash. */
function sessionName(text: string): string {
  return text.replace(/[^A-Za-z0-9_.@+=-]/g, '-').slice(0, 64)
}

function proposals(effective: EffectiveOptions, kind: 'ike' | 'esp'): ConnectOptions['ikeProposals'] {
  const texts = effective.list(`${kind}-proposal`)
  if (texts.length > 0) return parseProposals(texts, kind)
  return kind === 'ike' ? DEFAULT_IKE_PROPOSALS : DEFAULT_ESP_PROPOSALS
}

const TRANSPORTS: readonly TransportKind[] = ['udp', 'tcp', 'tls']

function ladderOrder(effective: EffectiveOptions): readonly TransportKind[] {
  const transport = effective.text('transport') ?? 'auto'
  const forced = TRANSPORTS.find((kind) => kind === transport)
  if (forced !== undefined) return [forced]
  const wanted = effective.list('order')
  if (wanted.length === 0) return TRANSPORTS
  return [...new Set(wanted)].map((name) => {
    const kind = TRANSPORTS.find((candidate) => candidate === name)
    if (kind === undefined) {
      throw new ConfigurationError('bad-order', `transport.order names ${name}, which is no transport.`, {
        hint: `Known: ${TRANSPORTS.join(', ')}.`
      })
    }
    return kind
  })
}

function proxySetting(effective: EffectiveOptions): ProxySetting {
  if (!effective.enabled('proxy')) return { kind: 'none' }
  const url = effective.text('proxy')
  return url === undefined ? { kind: 'environment' } : { kind: 'url', url }
}

function selectors(effective: EffectiveOptions, name: string): TrafficSelector[] {
  return effective.list(name).map((text) => {
    const selector = parseTrafficSelector(text)
    if (selector === undefined) {
      throw new UsageError('bad-traffic-selector', `--${name} ${text} is not a network.`, {
        hint: 'Examples: 10.0.0.0/8, 2001:db8::/32, 10.0.0.1/32[tcp/443].'
      })
    }
    return selector
  })
}
