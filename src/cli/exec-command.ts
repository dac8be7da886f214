/**
 * `ikestream exec <server or profile> -- <command...>`: runs one command whose whole network is the tunnel, without root and
 * without touching the machine's routes.
 * @module
 */
import { accessSync, constants, statSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { type Command, Option } from 'commander'
import type { ConnectOptions } from '../client/options.ts'
import { directories } from '../host/directories.ts'
import { addConnectionOptions, EffectiveOptions } from './connection-options.ts'
import { addExamples } from './examples.ts'
import { runInTunnel } from './exec-run.ts'
import { longName } from './option-specs.ts'
import { addOutputOptions, loggerFor, type OutputFlags, outputOptions } from './output-options.ts'
import { findProfile } from './profile.ts'
import { Reporter } from './reporter.ts'
import { type ConnectFlags, resolveOptions } from './resolve-options.ts'

/** Where the tunnel is and who configures it is not to be chosen here. */
const MEANINGLESS = ['netns', 'no-routes', 'script']
/** What shells and `env` leave with when there is no such program, or none that can be run. */
const NOT_FOUND = 127
const NOT_EXECUTABLE = 126

export function addExecCommand(program: Command): void {
  const command = program
    .command('exec')
    .argument('<server or profile>', 'name or address of the gateway, or a profile')
    .argument('<command...>', 'what to run; put -- in front of it')
    .description('run one command whose whole network is the tunnel; needs no root')
  addConnectionOptions(command, (spec) => (MEANINGLESS.includes(longName(spec.flags)) ? undefined : spec))
  command
    .optionsGroup('Running:')
    .option('--non-inter', 'never ask; a missing secret is an error')
    .option('--name <name>', 'name of the session (default: made from the profile or server)')
    .option('--capture <file>', 'write the outer packets to this file, for Wireshark')
    .option('--capture-inner <file>', 'write what is in the tunnel to this file: in clear')
    .addOption(
      new Option(
        '--unsafe-dump-keys <dir>',
        'write key tables for Wireshark: whoever reads them can decrypt the traffic'
      )
    )
  addOutputOptions(command, { json: false })
  addExamples(
    command,
    {
      line: 'ikestream exec work -- curl https://intranet.example.com/',
      says: 'one request through the tunnel'
    },
    { line: 'ikestream exec work -- bash', says: 'a shell whose whole network is the tunnel' }
  )
  command
    .addHelpText(
      'after',
      `
Exit code: that of the command (128+n after signal n); before it has begun, as of connect.`
    )
    .action(async (target: string, argv: readonly string[], flags: ConnectFlags & OutputFlags) => {
      process.exitCode = await runExec(target, argv, command, flags)
    })
}

async function runExec(
  target: string,
  argv: readonly string[],
  command: Command,
  flags: ConnectFlags & OutputFlags
): Promise<number> {
  const reporter = new Reporter(outputOptions(flags))
  try {
    // Nobody should have to connect to learn of a typing error.
    const missing = whyNotRunnable(argv[0] ?? '')
    if (missing !== undefined) {
      reporter.writeError(`ikestream: ${argv[0]}: ${missing.why}\n`)
      return missing.exitCode
    }
    const log = loggerFor(flags, reporter)
    const profile = findProfile(target, directories().profiles)
    const effective = new EffectiveOptions(command, profile)
    const resolved = await resolveOptions(profile?.server ?? target, profile?.name, effective, flags, log)
    return await runInTunnel(argv, execOptions(resolved, flags), reporter, log)
  } catch (error) {
    return reporter.error(error)
  }
}

/** A profile's settings of the host mean nothing here, and a command is worth waiting for its network. */
function execOptions(options: ConnectOptions, flags: ConnectFlags): ConnectOptions {
  return {
    ...options,
    // Several may run at a time.
    sessionName: flags.name ?? `${options.sessionName.slice(0, 48)}-exec-${process.pid}`,
    netns: undefined,
    script: undefined,
    routes: true,
    setuid: undefined,
    pidFile: undefined,
    reconnectTimeoutMs: Number.POSITIVE_INFINITY
  }
}

/** What a shell would say of this program. */
function whyNotRunnable(name: string): { why: string; exitCode: number } | undefined {
  const folders = name.includes('/') ? [''] : (process.env['PATH'] ?? '').split(delimiter)
  const paths = folders.map((folder) => (folder === '' ? name : join(folder, name)))
  const files = paths.filter(isFile)
  if (files.length === 0) return { why: 'command not found', exitCode: NOT_FOUND }
  return files.some(isExecutable) ? undefined : { why: 'permission denied', exitCode: NOT_EXECUTABLE }
}

/** A folder that we may not look into holds nothing that we could run. */
function isFile(path: string): boolean {
  try {
    return statSync(path).isFile()
  } catch {
    return false
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
