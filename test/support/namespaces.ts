/**
 * Network namespaces for system tests: the product's own network lab, plus what only tests want (nft-based faults
 * and NAT where nft is there, programs that announce when they are ready).
 *
 * Namespaces end with the test process, however it ends; `close()` ends them sooner.
 * @module
 */
import type { ChildProcess, SpawnOptions } from 'node:child_process'
import { type LabNamespace, NetLab, type NetLabOptions, terminate } from '../../src/host/netlab.ts'
import { HotelNetwork, type HotelOptions, type LabHost } from '../../src/host/netlab-hotel.ts'
import { has } from './require.ts'

export { LabNamespace, NetLab } from '../../src/host/netlab.ts'
export { HotelNetwork, type LabHost } from '../../src/host/netlab-hotel.ts'

/** A client, a router with switchable faults, and a gateway: see {@link HotelNetwork}. */
export function hotelNetwork(options: HotelOptions = {}): Promise<HotelNetwork> {
  return HotelNetwork.open(options)
}

/** A lab without any wiring. */
export function emptyLab(options: NetLabOptions = {}): Promise<NetLab> {
  return NetLab.open(options)
}

/** A program that runs in a namespace, with what it has printed so far. */
export interface RunningProgram {
  readonly child: ChildProcess
  stdout(): string
  stderr(): string
  /** Resolves with the exit code (128 + n after a signal) once it has ended. */
  readonly exit: Promise<number>
  /** Resolves once the output (either stream) matches; rejects if the program ends first. */
  printed(pattern: RegExp): Promise<string>
  stop(): Promise<void>
}

/** Starts a program in a namespace and collects its output. */
export function startProgram(
  namespace: LabNamespace,
  argv: readonly string[],
  options: SpawnOptions = {}
): RunningProgram {
  const child = namespace.spawn(argv, { stdio: ['ignore', 'pipe', 'pipe'], ...options })
  const output = { stdout: '', stderr: '' }
  const watchers = new Set<() => void>()
  const changed = (): void => {
    for (const watcher of [...watchers]) watcher()
  }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.on('data', (chunk: Buffer) => {
      output[name] += chunk.toString()
      changed()
    })
  }
  let over = false
  const exit = new Promise<number>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => {
      over = true
      resolve(code ?? (signal === 'SIGKILL' ? 137 : 143))
      changed()
    })
  })
  exit.catch(() => undefined)
  return {
    child,
    stdout: () => output.stdout,
    stderr: () => output.stderr,
    exit,
    printed: (pattern) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const text = [output.stdout, output.stderr].find((one) => pattern.test(one))
          if (text === undefined && !over) return
          watchers.delete(look)
          if (text !== undefined) resolve(text)
          else
            reject(
              new Error(
                `${argv.join(' ')} ended without printing ${pattern}:\n${output.stdout}${output.stderr}`
              )
            )
        }
        watchers.add(look)
        look()
      }),
    stop: () => terminate(child)
  }
}

/** Hides every host inside behind the router's address, as a home router does. Needs nft. */
export async function addNat(network: HotelNetwork): Promise<void> {
  await nft(network.middle, [
    'table inet nat {',
    '  chain post { type nat hook postrouting priority 100; oifname "out*" masquerade; }',
    '}'
  ])
}

/** The router forgets its NAT bindings: the next packet of a host inside comes from a port of another range. Needs nft. */
export async function rebindNat(network: HotelNetwork, firstPort: number): Promise<void> {
  await nft(network.middle, [
    'table inet nat',
    'delete table inet nat',
    'table inet nat {',
    '  chain post { type nat hook postrouting priority 100;',
    `    oifname "out*" meta l4proto { tcp, udp } masquerade to :${firstPort}-${firstPort + 999}`,
    '    oifname "out*" masquerade; }',
    '}'
  ])
  // The bindings of masquerading go with the cable that they lead to.
  await network.setLink(network.gateway, false)
  await network.setLink(network.gateway, true)
}

/** Loses this share of the packets that pass the router, at random; 0 for none again. Needs nft. */
export async function loseAtRandom(network: HotelNetwork, percent: number): Promise<void> {
  const perMille = Math.round(percent * 10)
  const rule = perMille >= 1000 ? 'drop' : `numgen random mod 1000 < ${perMille} drop`
  await nft(network.middle, [
    'table inet loss',
    'delete table inet loss',
    ...(perMille === 0
      ? []
      : [`table inet loss { chain forward { type filter hook forward priority 0; ${rule}; }; }`])
  ])
}

/** Any nft rules in a namespace. */
async function nft(namespace: LabNamespace, lines: readonly string[]): Promise<void> {
  if (!has('nft')) throw new Error("this test needs nft: guard it with describeWith('nft')")
  await namespace.run(['nft', '-f', '-'], { input: `${lines.join('\n')}\n` })
}

/** Lets the host appear under another address of its subnet (the last byte), as a DHCP server would. */
export async function readdress(host: LabHost, lastByte: number): Promise<string> {
  const prefix = host.address.slice(0, host.address.lastIndexOf('.'))
  const fresh = `${prefix}.${lastByte}`
  const on = ['dev', host.device]
  await host.namespace.run(['ip', '-4', 'addr', 'flush', ...on])
  await host.namespace.run(['ip', 'addr', 'add', `${fresh}/24`, ...on])
  await host.namespace.run(['ip', 'route', 'replace', 'default', 'via', host.router, ...on, 'metric', '100'])
  return fresh
}

/** Drops what is a fragment but not the first one, as many firewalls do; or no more. Needs nft. */
export async function loseFragments(network: HotelNetwork, lost: boolean): Promise<void> {
  await nft(network.middle, [
    'table inet pieces',
    'delete table inet pieces',
    ...(lost
      ? [
          'table inet pieces { chain forward { type filter hook forward priority 0;',
          '  ip frag-off & 0x1fff != 0 drop; exthdr frag exists drop; }; }'
        ]
      : [])
  ])
}

/** Hides every host inside, and gives each of IKE's UDP ports outside a range of its own. Needs nft. */
export async function mapByDestination(network: HotelNetwork): Promise<void> {
  await nft(network.middle, [
    'table inet nat',
    'delete table inet nat',
    'table inet nat {',
    '  chain post { type nat hook postrouting priority 100;',
    '    oifname "out*" udp dport 500 masquerade to :20000-20999',
    '    oifname "out*" udp dport 4500 masquerade to :30000-30999',
    '    oifname "out*" masquerade; }',
    '}'
  ])
}

/** Hosts inside are seen as they are again. Needs nft. */
export async function removeNat(network: HotelNetwork): Promise<void> {
  await nft(network.middle, ['table inet nat', 'delete table inet nat'])
}
