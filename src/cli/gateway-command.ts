/**
 * `ikestream gateway`: the embedded responder, for demos, tests and labs. Runs until SIGINT or SIGTERM, and says goodbye
 * to its clients.
 * @module
 */
import { resolve } from 'node:path'
import type { Command } from 'commander'
import { ExitCode } from '../errors.ts'
import type { GatewayEvent } from '../gateway/events.ts'
import { startGateway } from '../gateway/gateway.ts'
import { directories } from '../host/directories.ts'
import { formatEndpoint } from '../transport/failure.ts'
import { addExamples } from './examples.ts'
import { readInput } from './files.ts'
import { resolveGatewayOptions } from './gateway-resolve.ts'
import { addGatewayOptions, applyConfigFile, type GatewayFlags } from './gateway-settings.ts'
import { addOutputOptions, loggerFor, type OutputFlags, outputOptions } from './output-options.ts'
import { Reporter } from './reporter.ts'
import { ServiceReport } from './service-report.ts'

type Flags = GatewayFlags & OutputFlags & { readonly config?: string }

/** Adds `ikestream gateway` to the program. */
export function addGatewayCommand(program: Command): void {
  const command = addGatewayOptions(
    program.command('gateway').description('run an IKEv2 gateway for demos, tests and labs')
  )
  addOutputOptions(command)
  addExamples(
    command,
    {
      line: 'ikestream gateway --identity vpn.example.com --users-file users --pool 10.99.0.0/24',
      says: 'makes a development CA and prints where it is'
    },
    {
      line: 'ikestream gateway --config gateway.toml --json',
      says: 'the same options in a file; events as JSON'
    }
  )
  command.action(async (flags: Flags) => {
    process.exitCode = await runGatewayCommand(command, flags)
  })
}

async function runGatewayCommand(command: Command, flags: Flags): Promise<number> {
  const reporter = new Reporter(outputOptions(flags))
  const stop = new AbortController()
  // From the first moment on: a signal while the device is made must not leave it half configured.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort())
  try {
    const log = loggerFor(flags, reporter)
    if (flags.config !== undefined) {
      const path = resolve(flags.config)
      applyConfigFile(command, readInput(path, 'The configuration').toString('utf8'), path)
    }
    const options = await resolveGatewayOptions(command.opts<Flags>(), directories().state, log)
    const service = ServiceReport.forThisProcess(log)
    stop.signal.addEventListener('abort', () => service.stopping())
    const gateway = await startGateway(options, { log, onEvent: (event) => tell(reporter, event) })
    service.ready('Listening')
    service.watch()
    const redirect = (): void => void gateway.redirectClients()
    process.on('SIGUSR2', redirect)
    const failure = await Promise.race([aborted(stop.signal), gateway.failed])
    process.off('SIGUSR2', redirect)
    await gateway.close()
    return failure === undefined ? ExitCode.ok : reporter.error(failure)
  } catch (error) {
    return reporter.error(error)
  }
}

function aborted(signal: AbortSignal): Promise<undefined> {
  if (signal.aborted) return Promise.resolve(undefined)
  return new Promise((done) => signal.addEventListener('abort', () => done(undefined), { once: true }))
}

function tell(reporter: Reporter, event: GatewayEvent): void {
  reporter.event({ ...event })
  switch (event.event) {
    case 'listening': {
      const places = event.listening.map(
        ({ transport, address, port }) => `${transport.toUpperCase()} ${formatEndpoint(address, port)}`
      )
      reporter.line(`${event.identity} listens on ${places.join(', ')}`, 'ok')
      if (event.cafile !== null) reporter.line(`Clients have to trust this CA: ${event.cafile}`)
      return
    }
    case 'client-up':
      reporter.line(
        `${event.identity} is up over ${event.transport.toUpperCase()} from ${event.remote}: ${event.virtualIps.join(', ')}`,
        'ok'
      )
      return
    case 'client-moved':
      reporter.line(`${event.identity} moved from ${event.from} to ${event.to}, ${event.remote}`)
      return
    case 'client-down':
      reporter.line(
        `${event.identity} is gone (${event.reason}): ${event.bytesIn} bytes in, ${event.bytesOut} out`
      )
      return
    case 'cluster':
      reporter.line(clusterLine(event))
      return
    case 'error':
      reporter.line(event.message, 'bad')
  }
}

function clusterLine({
  node,
  role,
  reason,
  peer,
  ready,
  sessions
}: Extract<GatewayEvent, { event: 'cluster' }>): string {
  const other = peer === null ? 'alone' : `with ${peer}`
  const state = role === 'active' || ready ? `${sessions} sessions` : 'not ready'
  return `Node ${node} is ${role} (${reason}), ${other}: ${state}`
}
