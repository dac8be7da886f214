/**
 * `ikestream lab`: networks to test a VPN against, in namespaces and without root. `list` says which there are, `run` runs any
 * command in one, `test` compares what a client makes of each with what is expected.
 * @module
 */
import { type Command, Option } from 'commander'
import { UsageError } from '../../errors.ts'
import { findLabNetwork, LAB_NETWORKS, type LabNetwork } from '../../lab/networks.ts'
import type { LabSettings } from '../../lab/settings.ts'
import { nearest } from '../nearest.ts'
import { numberParser } from '../number-bounds.ts'
import { addOutputOptions, type OutputFlags, outputOptions } from '../output-options.ts'
import { Reporter } from '../reporter.ts'
import { listLab } from './lab-list.ts'
import { runInLab } from './lab-run.ts'

const DEFAULT_SEED = 1

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
  addList(lab)
  addRun(lab)
}

function addList(lab: Command): void {
  const command = lab.command('list').description('say which networks there are')
  addOutputOptions(command)
  command.action((flags: OutputFlags) => {
    listLab(new Reporter(outputOptions(flags)))
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
  command
    .addHelpText(
      'after',
      `
The command finds in its environment: LAB_SERVER (the gateway's name), LAB_CAFILE, LAB_USER, LAB_PASSWORD_FILE,
LAB_PSK_FILE, LAB_INNER_ADDRESS and LAB_INNER_URL (a host behind the gateway), LAB_BULK_URL (a megabyte from there),
LAB_LOGIN_URL (POST to it to log in at the portal), and https_proxy or all_proxy where only a proxy leads out.

Exit code: that of the command (128+n after signal n); 71 where no namespaces are to be had.

Examples:
  $ ikestream lab run captive-portal -- ikestream check gateway.test
  $ ikestream lab run open --loss 0.05 --delay-ms 40
  $ ikestream lab run udp-dropped -- sh -c 'charon-cmd --host $LAB_SERVER --identity $LAB_USER --cert $LAB_CAFILE'`
    )
    .action(async (name: string, argv: readonly string[], flags: NetworkFlags & OutputFlags) => {
      const reporter = new Reporter(outputOptions(flags))
      try {
        process.exitCode = await runInLab(networkNamed(name), settingsOf(flags), argv, reporter)
      } catch (error) {
        process.exitCode = reporter.error(error)
      }
    })
}

function addNetworkOptions(command: Command): void {
  const number = (flags: string, description: string, min: number, max: number, whole = false): Option =>
    new Option(flags, description).argParser(numberParser({ min, max, whole }))
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
