/**
 * `ikestream relay`: TCP and TLS streams to the UDP port of a standard IKEv2 server.
 *
 * `--tls` belongs to the `--listen` in front of it, so that one relay serves both: `--listen 4500 --listen 443 --tls`; in
 * front of the first `--listen` it holds for all.
 * @module
 */
import { readFile } from 'node:fs/promises'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { ExitCode, InputError, UsageError } from '../errors.ts'
import type { Logger } from '../log.ts'
import {
  DEFAULT_RELAY_LIMITS,
  DEFAULT_TARGET_PORT,
  formatEndpoint,
  parseHostPort,
  parseListen,
  type RelayOptions
} from '../relay/options.ts'
import { type Relay, startRelay } from '../relay/relay.ts'
import type { StreamCredentials, StreamListener } from '../transport/stream-server.ts'
import { addExamples } from './examples.ts'
import { numberParser } from './number-bounds.ts'
import { addOutputOptions, loggerFor, type OutputFlags, outputOptions } from './output-options.ts'
import { Reporter } from './reporter.ts'
import { ServiceReport } from './service-report.ts'
import { SOCKET_OPTIONS, type SocketFlags, socketSettings } from './socket-options.ts'

interface ListenFlag {
  readonly at: string
  readonly tls: boolean
}

/** The options as commander leaves them. */
export interface RelayFlags extends SocketFlags {
  readonly listen?: readonly ListenFlag[]
  readonly certificate?: string
  readonly sslkey?: string
  readonly target?: string
  readonly fallback?: string
  readonly metrics?: string
  readonly maxConnections?: number
  readonly maxPerIp?: number
  readonly idleTimeout?: number
  /** `--no-spread-sources` */
  readonly spreadSources?: boolean
}

/** Gives the command its options. */
export function addRelayOptions(command: Command): Command {
  let tlsForAll = false
  command
    .optionsGroup('Listening:')
    .option(
      '--listen <[addr:]port>',
      'listen on this TCP port (repeatable)',
      (at, previous: readonly ListenFlag[] = []) => [...previous, { at, tls: tlsForAll }]
    )
    .option('--tls', 'the --listen before this is TLS')
    .option('--certificate <file>', 'certificate and chain for TLS (PEM)')
    .option('--sslkey <file>', 'private key for TLS (PEM)')
    .optionsGroup('Forwarding:')
    .option('--target <host[:port]>', `the IKEv2 server (UDP port ${DEFAULT_TARGET_PORT})`)
    .option('--fallback <host:port>', 'web server for streams that are not IKETCP')
    .option('--no-spread-sources', 'all clients come from one address, also towards a target on 127.0.0.1')
    .optionsGroup('Limits and sockets:')
    .option('--metrics <[addr:]port>', 'Prometheus metrics at http://.../metrics')
    .option('--max-connections <n>', 'open connections', wholeNumber, DEFAULT_RELAY_LIMITS.maxConnections)
    .option(
      '--max-per-ip <n>',
      'open connections of one address (IPv6: /64)',
      wholeNumber,
      DEFAULT_RELAY_LIMITS.maxConnectionsPerAddress
    )
    .option(
      '--idle-timeout <s>',
      'close a stream that carries nothing for so long; 0: never',
      wholeNumber,
      DEFAULT_RELAY_LIMITS.idleTimeoutMs / 1000
    )
  for (const socketOption of SOCKET_OPTIONS) {
    const option = new Option(socketOption.flags, socketOption.description)
    if ('number' in socketOption) option.argParser(numberParser(socketOption.number))
    command.addOption(option)
  }
  command.on('option:tls', () => {
    const listen = command.getOptionValue('listen') as readonly ListenFlag[] | undefined
    const last = listen?.at(-1)
    if (listen === undefined || last === undefined) tlsForAll = true
    else command.setOptionValue('listen', [...listen.slice(0, -1), { ...last, tls: true }])
  })
  return command
}

/**
 * Checks the options and reads the files.
 * @throws UsageError, InputError
 */
export async function relayOptions(flags: RelayFlags, log: Logger): Promise<RelayOptions> {
  const { listen = [], target, fallback, metrics } = flags
  if (listen.length === 0 || target === undefined) {
    throw new UsageError('relay-incomplete', 'A relay needs --listen and --target.', {
      hint: 'Example: ikestream relay --listen 4500 --target 127.0.0.1:4500'
    })
  }
  const tls = listen.some((listener) => listener.tls) ? await readCredentials(flags) : undefined
  return {
    listeners: listen.map(
      ({ at, tls: wanted }): StreamListener => ({
        ...parseListen(at, '--listen'),
        tls: wanted ? tls : undefined
      })
    ),
    target: parseHostPort(target, DEFAULT_TARGET_PORT, '--target'),
    fallback: fallback === undefined ? undefined : parseHostPort(fallback, undefined, '--fallback'),
    metrics: metrics === undefined ? undefined : parseListen(metrics, '--metrics'),
    limits: {
      maxConnections: flags.maxConnections ?? DEFAULT_RELAY_LIMITS.maxConnections,
      maxConnectionsPerAddress: flags.maxPerIp ?? DEFAULT_RELAY_LIMITS.maxConnectionsPerAddress,
      idleTimeoutMs: (flags.idleTimeout ?? DEFAULT_RELAY_LIMITS.idleTimeoutMs / 1000) * 1000
    },
    spreadSources: flags.spreadSources,
    sockets: socketSettings(flags, log),
    log
  }
}

/**
 * Runs a relay until `stop` fires.
 * @param onListening told once it listens
 * @throws the errors of `relayOptions` and `startRelay`
 */
export async function runRelay(
  flags: RelayFlags,
  log: Logger,
  stop: AbortSignal,
  onListening: (relay: Relay) => void
): Promise<void> {
  const relay = await startRelay(await relayOptions(flags, log.child('relay')))
  onListening(relay)
  if (!stop.aborted)
    await new Promise<void>((resolve) => stop.addEventListener('abort', () => resolve(), { once: true }))
  await relay.close()
}

async function readCredentials({ certificate, sslkey }: RelayFlags): Promise<StreamCredentials> {
  if (certificate === undefined || sslkey === undefined) {
    throw new UsageError('relay-tls-incomplete', '--tls needs --certificate and --sslkey.', {
      hint: 'The certificate is for the outer TLS only; IKE authenticates the server on its own.'
    })
  }
  return { cert: await read(certificate), key: await read(sslkey) }
}

async function read(file: string): Promise<Buffer> {
  try {
    return await readFile(file)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new InputError('unreadable-file', `Cannot read ${file}: ${why}.`, { cause })
  }
}

function wholeNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('A whole number is needed.')
  return Number(text)
}

/** Adds `ikestream relay` to the program. */
export function addRelayCommand(program: Command): void {
  const command = addRelayOptions(
    program.command('relay').description('give a standard IKEv2 server the TCP and TLS transports (RFC 9329)')
  )
  addOutputOptions(command)
  addExamples(
    command,
    {
      line: 'ikestream relay --listen 4500 --target 127.0.0.1:4500',
      says: 'RFC 9329 over TCP in front of a server on this machine'
    },
    {
      line: 'ikestream relay --listen 443 --tls --certificate fullchain.pem --sslkey privkey.pem --target vpn.example.com --fallback 127.0.0.1:8443',
      says: 'TLS; what is not IKE goes to a web server'
    }
  )
  command.action(async (flags: RelayFlags & OutputFlags) => {
    process.exitCode = await runRelayCommand(flags)
  })
}

async function runRelayCommand(flags: RelayFlags & OutputFlags): Promise<number> {
  const reporter = new Reporter(outputOptions(flags))
  const stop = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort())
  try {
    const log = loggerFor(flags, reporter)
    const service = ServiceReport.forThisProcess(log)
    stop.signal.addEventListener('abort', () => service.stopping())
    await runRelay(flags, log, stop.signal, (relay) => {
      const { listening, target } = relay
      reporter.event({ event: 'listening', listening, target, metrics: relay.metricsListening ?? null })
      const what = `relaying ${listening.map(formatEndpoint).join(', ')} to ${formatEndpoint(target)}`
      reporter.line(what, 'ok')
      service.ready(what)
      service.watch()
    })
    return ExitCode.ok
  } catch (error) {
    return reporter.error(error)
  }
}
