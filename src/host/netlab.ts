/**
 * Throw-away networks made of network namespaces, for the demo and for tests: hosts, cables, and a router whose
 * faults can be switched while traffic runs. With root or without (then inside one user namespace).
 *
 * Needs only iproute2 and util-linux. A namespace has no name and lives as long as its holder, a process that ends
 * when its standard input closes: when the program that built the lab ends in whatever way, SIGKILL included, the kernel takes
 * everything down, and the machine's own network is never touched.
 * @module
 */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { SystemError } from '../errors.ts'
import {
  type CommandOptions,
  type CommandResult,
  type CommandRunner,
  childEnvironment,
  enterNamespace,
  inNamespace,
  must,
  type NetworkNamespace,
  SystemCommandRunner,
  succeeds
} from './commands.ts'
import { endStrays, holdNamespace, needsUserNamespace, releaseHolder, terminate } from './namespace-holder.ts'

export { terminate } from './namespace-holder.ts'

export interface NetLabOptions {
  /** As root, or in a user namespace; found out by default. */
  readonly userNamespace?: boolean
  readonly runner?: CommandRunner
}

/** A set of namespaces that live and die together. */
export class NetLab {
  readonly userNamespace: boolean
  readonly #runner: CommandRunner
  readonly #namespaces: LabNamespace[] = []
  #parentDeathSignal: readonly string[] = []
  #cables = 0
  #closed = false

  private constructor(userNamespace: boolean, runner: CommandRunner) {
    this.userNamespace = userNamespace
    this.#runner = runner
  }

  /** @throws SystemError (`namespaces-unavailable`) when this machine lets us make no network namespace */
  static async open(options: NetLabOptions = {}): Promise<NetLab> {
    const runner = options.runner ?? new SystemCommandRunner()
    const userNamespace = await needsUserNamespace(runner, options.userNamespace)
    const lab = new NetLab(userNamespace, runner)
    const setpriv = ['setpriv', '--pdeathsig', 'KILL', '--']
    if (await succeeds(runner, [...setpriv, 'true'])) lab.#parentDeathSignal = setpriv
    return lab
  }

  /** Makes a namespace whose loopback is up. The label is for people only. */
  async addNamespace(label: string): Promise<LabNamespace> {
    if (this.#closed) throw new SystemError('lab-closed', 'the network lab is closed')
    const { holder, pid } = await holdNamespace(this.userNamespace, this.#namespaces[0]?.pid)
    const namespace = new LabNamespace(label, holder, pid, this.userNamespace, this.#runner, () => [
      ...this.#parentDeathSignal
    ])
    this.#namespaces.push(namespace)
    await namespace.run(['ip', 'link', 'set', 'dev', 'lo', 'up'])
    if (hasIpv6()) {
      // Duplicate detection would leave each new device without a usable link-local address for a second or two.
      const detection = ['accept_dad', 'dad_transmits', 'router_solicitations']
      await namespace.sysctl(
        detection.map((name) => `net.ipv6.conf.default.${name}`),
        0
      )
    }
    return namespace
  }

  /** Lays a veth cable between two namespaces; both ends are up. Names are made up where none is given. */
  async connect(
    a: LabNamespace,
    b: LabNamespace,
    names: { a?: string; b?: string } = {}
  ): Promise<[string, string]> {
    const number = this.#cables++
    const nameA = names.a ?? `veth${number}a`
    const nameB = names.b ?? `veth${number}b`
    const peer = ['peer', 'name', nameB, 'netns', String(b.pid)]
    await a.run(['ip', 'link', 'add', 'name', nameA, 'type', 'veth', ...peer])
    await a.run(['ip', 'link', 'set', 'dev', nameA, 'up'])
    await b.run(['ip', 'link', 'set', 'dev', nameB, 'up'])
    return [nameA, nameB]
  }

  /** Ends every program that was started in the lab, and takes the lab down. May be called again. */
  async close(): Promise<void> {
    this.#closed = true
    // The first namespace may own the user namespace of the rest, so it goes last.
    for (const namespace of this.#namespaces.splice(0).reverse()) await namespace.close()
  }
}

/** One namespace of a lab, with its own network and its own mounts. */
export class LabNamespace {
  readonly label: string
  /** Process id of the holder, for `nsenter -t` and `/proc/<pid>/ns/net`. */
  readonly pid: number
  /** A runner for commands in here. */
  readonly runner: CommandRunner
  readonly reference: NetworkNamespace
  readonly #holder: ChildProcess
  readonly #children = new Set<ChildProcess>()
  readonly #wrapper: () => string[]

  constructor(
    label: string,
    holder: ChildProcess,
    pid: number,
    userNamespace: boolean,
    runner: CommandRunner,
    wrapper: () => string[]
  ) {
    this.label = label
    this.pid = pid
    this.reference = { kind: 'process', pid, userNamespace }
    this.runner = inNamespace(runner, this.reference)
    this.#holder = holder
    this.#wrapper = wrapper
  }

  /** Runs a command in here to its end. @throws SystemError when it fails */
  run(argv: readonly string[], options?: CommandOptions): Promise<CommandResult> {
    return must(this.runner, argv, options)
  }

  /** The argument vector that starts `argv` in here: the process id of what is started is that of the program itself. */
  argv(argv: readonly string[]): string[] {
    return enterNamespace(this.reference, [...this.#wrapper(), ...argv])
  }

  /** Starts a program in here; it is ended with the lab. */
  spawn(argv: readonly string[], options: SpawnOptions = {}): ChildProcess {
    const [program = '', ...rest] = this.argv(argv)
    const child = spawn(program, rest, { env: childEnvironment(), ...options })
    this.#children.add(child)
    child.once('exit', () => this.#children.delete(child))
    child.once('error', () => this.#children.delete(child))
    return child
  }

  /** Sets kernel parameters of this namespace, such as `net.ipv4.ip_forward`, all to one value. */
  async sysctl(names: readonly string[], value: number): Promise<void> {
    const files = names.map((name) => `/proc/sys/${name.replaceAll('.', '/')}`)
    await this.run(['tee', ...files], { input: `${value}\n` })
  }

  /** Ends the programs that run in here (SIGTERM, then SIGKILL), those that they left behind too, then the namespace. */
  async close(): Promise<void> {
    await Promise.all([...this.#children].map((child) => terminate(child)))
    await endStrays(this.pid)
    await releaseHolder(this.#holder)
  }
}

/** True if this kernel speaks IPv6. */
export function hasIpv6(): boolean {
  try {
    return readFileSync('/proc/net/if_inet6', 'utf8').length >= 0
  } catch {
    return false
  }
}
