/**
 * `ikestream lab`: networks to test a VPN against, in namespaces and without root. `list` says which there are, `run` runs any
 * command in one, `test` compares what a client makes of each with what is expected.
 * @module
 */
import { type Command, Option } from 'commander'
import { UsageError } from '../../errors.ts'
import { findLabNetwork, LAB_NETWORKS, type LabNetwork } from '../../lab/networks.ts'
import type { LabSettings } from '../../lab/settings.ts'
import { addExamples } from '../examples.ts'
import { nearest } from '../nearest.ts'
import { numberParser } from '../number-bounds.ts'
import { addOutputOptions, type OutputFlags, outputOptions } from '../output-options.ts'
import { Reporter } from '../reporter.ts'
import { expectationsTable, listNetworks } from './lab-report.ts'
import { runInLab } from './lab-run.ts'
import { runLabTest } from './lab-test-run.ts'

const DEFAULT_SEED = 1
/** Most of the time a client waits for an answer that does not come, so two processors have room for a few. */
const DEFAULT_JOBS = 3
/** Longer than strongSwan takes to give a gateway up that does not answer the first time. */
const DEFAULT_PATIENCE_S = 30

interface NetworkFlags {
  readonly loss?: number
  readonly delayMs?: number
  readonly mtu?: number
  readonly natTimeout?: number
  readonly seed: number
}

export function addLabCommand(program: Command): void {
  const lab = program
    .command('lab')
    .description('networks to test a VPN against, in namespaces and without root')
    .helpCommand(false)
  addList(lab)
  addRun(lab)
  addTest(lab)
}

function addList(lab: Command): void {
  const command = lab
    .command('list')
    .description('say which networks there are')
    .optionsGroup('Output:')
    .option('--markdown', 'as the table of docs/LAB.md, with what is expected of a client')
  addOutputOptions(command)
  addExamples(
    command,
    { line: 'ikestream lab list', says: 'a sentence about each' },
    { line: 'ikestream lab list --json', says: 'with what is expected of a client there' }
  )
  command.action((flags: OutputFlags & { readonly markdown?: boolean }) => {
    const reporter = new Reporter(outputOptions(flags))
    if (flags.markdown === true) reporter.result(expectationsTable())
    else listNetworks(reporter)
  })
}

function addRun(lab: Command): void {
  const command = lab
    .command('run')
    .argument('<network>', 'one of those that `ikestream lab list` shows')
    .argument('[command...]', 'what to run on its client; put -- in front of it (default: a shell)')
    .description('run a command in such a network, with a gateway on the other side')
  addNetworkOptions(command)
  addOutputOptions(command, { json: false })
  command.addHelpText(
    'after',
    `
The command finds in its environment:
  LAB_SERVER                   the gateway's name
  LAB_SERVER_ADDRESS           its address, where names are not looked up
  LAB_CAFILE                   who certified it
  LAB_USER, LAB_PASSWORD_FILE  for EAP
  LAB_PSK_FILE                 or a pre-shared key
  LAB_INNER_ADDRESS            a host behind the gateway
  LAB_INNER_URL, LAB_BULK_URL  a word from there, and a megabyte
  LAB_LOGIN_URL                POST to it to log in at the portal
  https_proxy, all_proxy       where only a proxy leads out

Exit code: that of the command (128+n after signal n); 71 where no namespaces
are to be had.`
  )
  addExamples(
    command,
    {
      line: 'ikestream lab run captive-portal -- ikestream check gateway.test',
      says: 'what check makes of a captive portal'
    },
    { line: 'ikestream lab run open --loss 0.05 --delay-ms 40', says: 'a shell on a bad line' },
    {
      line: 'ikestream lab run udp-dropped -- charon-cmd --host gateway.test --identity traveller',
      says: 'another client where UDP vanishes'
    }
  )
  command.action(async (name: string, argv: readonly string[], flags: NetworkFlags & OutputFlags) => {
    const reporter = new Reporter(outputOptions(flags))
    try {
      process.exitCode = await runInLab(networkNamed(name), settingsOf(flags), argv, reporter)
    } catch (error) {
      process.exitCode = reporter.error(error)
    }
  })
}

interface TestFlags extends NetworkFlags, OutputFlags {
  readonly client?: string
  readonly timeout: number
  readonly jobs: number
  readonly slack: number
  readonly markdown?: boolean
}

function addTest(lab: Command): void {
  const command = lab
    .command('test')
    .argument('[network...]', 'those that `ikestream lab list` shows (default: all of them)')
    .description('see what check and connect, or another client, make of each network')
    .optionsGroup('Testing:')
    .option('--client <command>', 'another client: a shell command that brings its tunnel up and stays')
    .addOption(number('--timeout <s>', 'how long that client may take', 1, 600).default(DEFAULT_PATIENCE_S))
    .addOption(number('--jobs <n>', 'how many networks at a time', 1, 64, true).default(DEFAULT_JOBS))
    .addOption(
      number('--slack <factor>', 'multiplies the bounds in time, for a busy machine', 1, 1000).default(1)
    )
    .option('--markdown', 'the results as the table of docs/LAB.md')
  addNetworkOptions(command)
  addOutputOptions(command)
  command.addHelpText(
    'after',
    `
Exit code: 0 when everything is as expected, 1 when not; 71 where no namespaces
are to be had.

Another client is run by sh, with the environment of \`ikestream lab run\`. It
passes where a ping and a download reach a host behind the gateway, or where
nothing can be expected to.`
  )
  addExamples(
    command,
    { line: 'ikestream lab test', says: 'all of them' },
    { line: 'ikestream lab test udp-dropped only-443 --json', says: 'two of them, for a script' },
    {
      line: 'ikestream lab test --client ./other-client.sh --timeout 20',
      says: 'how another client gets along'
    }
  )
  command.action(async (names: readonly string[], flags: TestFlags) => {
    const reporter = new Reporter(outputOptions(flags))
    const { client, timeout, jobs, slack, markdown = false } = flags
    try {
      process.exitCode = await runLabTest(
        {
          networks: names.length === 0 ? LAB_NETWORKS : names.map(networkNamed),
          settings: settingsOf(flags),
          client: client === undefined ? undefined : { command: client, patienceS: timeout },
          ...{ jobs, slack, markdown }
        },
        reporter
      )
    } catch (error) {
      process.exitCode = reporter.error(error)
    }
  })
}

function number(flags: string, description: string, min: number, max: number, whole = false): Option {
  return new Option(flags, description).argParser(numberParser({ min, max, whole }))
}

function addNetworkOptions(command: Command): void {
  command
    .optionsGroup('Network:')
    .addOption(number('--loss <share>', 'share of the packets that are lost, each way', 0, 1))
    .addOption(number('--delay-ms <ms>', 'one-way delay', 0, 10_000))
    .addOption(
      number(
        '--mtu <bytes>',
        'packets that are longer vanish without a word (IPv6 needs 1280)',
        576,
        1500,
        true
      )
    )
    .addOption(number('--nat-timeout <s>', 'a NAT that forgets UDP after so long (IPv4 only)', 1, 3600))
    .addOption(
      number(
        '--seed <n>',
        'of what is left to chance: the same one loses the same packets',
        0,
        2 ** 31,
        true
      ).default(DEFAULT_SEED)
    )
}

function settingsOf({ loss, delayMs, mtu, natTimeout, seed }: NetworkFlags): LabSettings {
  const natTimeoutMs = natTimeout === undefined ? undefined : natTimeout * 1000
  return { loss, delayMs, mtu, natTimeoutMs, seed }
}

/** @throws UsageError that names the nearest one */
function networkNamed(name: string): LabNetwork {
  const network = findLabNetwork(name)
  if (network !== undefined) return network
  const names = LAB_NETWORKS.map((one) => one.name)
  const close = nearest(name, names)
  throw new UsageError('lab-network', `There is no network "${name}" in the lab.`, {
    hint: close === undefined ? `There are ${names.join(', ')}.` : `Did you mean "${close}"?`
  })
}
