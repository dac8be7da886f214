/**
 * What a test needs of the machine, and how to get it: a suite whose needs are not met is skipped with the reason and the
 * command that installs what is missing.
 * @module
 */
import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import { delimiter } from 'node:path'
import { describe } from 'vitest'

export type Requirement =
  | 'namespaces'
  | 'tun'
  | 'root'
  | 'ipv6'
  | 'nft'
  | 'netem'
  | 'strongswan'
  | 'iperf3'
  | 'openssl'
  | 'tshark'
  | 'curl'
  | 'socat'
  | 'ping'
  | 'resolvers'
  | 'systemd-analyze'
  | 'script'
  | 'bash'
  | 'zsh'
  | 'fish'
  | 'tmux'
  | 'groff'

interface Probe {
  readonly missing: string
  readonly install: string
  readonly met: () => boolean
}

const PATH = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin']
const CHARON_PLACES = ['/usr/lib/ipsec/charon', '/usr/libexec/ipsec/charon', '/usr/libexec/strongswan/charon']

/** The full path of a program, or null. */
export function findProgram(name: string): string | null {
  for (const folder of PATH) {
    const path = `${folder}/${name}`
    try {
      accessSync(path, constants.X_OK)
      return path
    } catch {
      // Not here: the next folder.
    }
  }
  return null
}

/** systemd-analyze, installed or unpacked by `fetch-resolvers.sh`. */
export function systemdAnalyze(): string | null {
  const folder = `${process.env['IKESTREAM_TEST_RESOLVERS']}/systemd`
  const unpacked = [`${folder}/bin/systemd-analyze`, `${folder}/usr/bin/systemd-analyze`]
  return findProgram('systemd-analyze') ?? unpacked.find((path) => existsSync(path)) ?? null
}

/** The full path of strongSwan's IKE daemon, or null. */
function findCharon(): string | null {
  return CHARON_PLACES.find((path) => existsSync(path)) ?? null
}

function program(name: string, packageName: string = name): Probe {
  return {
    missing: `the program ${name} is not installed`,
    install: `apt-get install ${packageName}`,
    met: () => findProgram(name) !== null
  }
}

function runs(command: string, args: readonly string[]): boolean {
  return spawnSync(command, args, { stdio: 'ignore', timeout: 15_000 }).status === 0
}

/** Arguments of `unshare` for a namespace of our own: as root plainly, else inside a user namespace. */
function unshareFlags(): string[] {
  if (process.getuid?.() === 0 && runs('unshare', ['-n', '-m', 'true'])) return ['-n', '-m']
  return ['-U', '-r', '-n', '-m']
}

function runsInNamespace(argv: readonly string[]): boolean {
  return runs('unshare', [...unshareFlags(), ...argv])
}

/** The packages are unpacked, and a namespace can use them. */
function hasResolvers(): boolean {
  const folder = process.env['IKESTREAM_TEST_RESOLVERS'] ?? ''
  const packages = ['systemd-resolved', 'openresolv', 'resolvconf']
  if (folder === '' || !packages.every((name) => existsSync(`${folder}/${name}`))) return false
  const overlay = ['mount', '-t', 'overlay', 'overlay', '-o', `lowerdir=${folder}:/usr`, '/usr']
  return findProgram('dbus-daemon') !== null && runsInNamespace(overlay)
}

const PROBES: Readonly<Record<Requirement, Probe>> = {
  namespaces: {
    missing: 'no network namespace can be made here',
    install:
      'apt-get install iproute2 util-linux; sysctl -w kernel.unprivileged_userns_clone=1 (or run as root)',
    met: () => runsInNamespace(['ip', 'link', 'set', 'dev', 'lo', 'up'])
  },
  tun: {
    missing: 'no TUN device can be made here, not even in a namespace',
    install: 'modprobe tun; chmod 666 /dev/net/tun (in a container: --device /dev/net/tun)',
    met: () => runsInNamespace(['ip', 'tuntap', 'add', 'dev', 'probe0', 'mode', 'tun'])
  },
  root: {
    missing: 'this test needs root',
    install: 'sudo npm test',
    met: () => process.getuid?.() === 0
  },
  ipv6: {
    missing: 'the kernel has no IPv6',
    install: 'sysctl -w net.ipv6.conf.all.disable_ipv6=0',
    met: () => existsSync('/proc/net/if_inet6')
  },
  nft: {
    missing: 'nft is not installed, or the kernel refuses it in a namespace',
    install: 'apt-get install nftables',
    met: () => findProgram('nft') !== null && runsInNamespace(['nft', 'add', 'table', 'inet', 'probe'])
  },
  netem: {
    missing: 'the kernel has no netem queue discipline',
    install: 'modprobe sch_netem',
    met: () => runsInNamespace(['tc', 'qdisc', 'add', 'dev', 'lo', 'root', 'netem', 'delay', '1ms'])
  },
  strongswan: {
    missing: 'strongSwan is not installed',
    install: 'apt-get install charon-systemd strongswan-swanctl strongswan-charon libcharon-extra-plugins',
    met: () => findCharon() !== null && findProgram('swanctl') !== null
  },
  iperf3: program('iperf3'),
  openssl: program('openssl'),
  tshark: program('tshark'),
  curl: program('curl'),
  socat: program('socat'),
  ping: program('ping', 'iputils-ping'),
  script: program('script', 'bsdutils'),
  bash: program('bash'),
  zsh: program('zsh'),
  fish: program('fish'),
  tmux: program('tmux'),
  groff: program('groff'),
  resolvers: {
    missing:
      'IKESTREAM_TEST_RESOLVERS names no folder with systemd-resolved, openresolv and resolvconf, or there is no dbus-daemon, or no overlay file system',
    install:
      'apt-get install dbus-daemon libsystemd-shared; test/support/fetch-resolvers.sh <folder>; export IKESTREAM_TEST_RESOLVERS=<folder>',
    met: hasResolvers
  },
  'systemd-analyze': {
    missing:
      'there is no systemd-analyze, neither installed nor in the folder that IKESTREAM_TEST_RESOLVERS names',
    install: 'apt-get install systemd (or see test/support/fetch-resolvers.sh)',
    met: () => systemdAnalyze() !== null
  }
}

const answers = new Map<Requirement, boolean>()

/** True if the machine has it; found out once. */
export function has(requirement: Requirement): boolean {
  let answer = answers.get(requirement)
  if (answer === undefined) {
    answer = PROBES[requirement].met()
    answers.set(requirement, answer)
  }
  return answer
}

/** Why a test with these needs cannot run here, and what to install; null if it can. */
function whyNot(requirements: readonly Requirement[]): string | null {
  const missing = requirements.find((requirement) => !has(requirement))
  if (missing === undefined) return null
  return `${PROBES[missing].missing}; try: ${PROBES[missing].install}`
}

/**
 * `describe` for suites with needs: `describeWith('namespaces', 'tun')('title', () => ...)`. With `IKESTREAM_TEST_ALL=1` (as in
 * CI) nothing is skipped: a missing need fails the suite instead.
 */
export function describeWith(...requirements: Requirement[]): (title: string, suite: () => void) => void {
  const reason = whyNot(requirements)
  if (reason === null) return (title, suite) => describe(title, suite)
  // What only root can do is run again as root by `.ci/run`.
  const elsewhere = requirements.includes('root') && !has('root')
  if (process.env['IKESTREAM_TEST_ALL'] === '1' && !elsewhere)
    throw new Error(`nothing may be skipped here, but ${reason}`)
  return (title, suite) => describe.skip(`${title} (skipped: ${reason})`, suite)
}
