/**
 * A cluster on real sockets: a client behind a router, two gateway nodes on the router's switch that share one service
 * address, and a server on an inner network that both nodes lead to, over another shared address.
 *
 *     client -- router/switch == node left, node right == inner switch/server
 * @module
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { IkestreamProcess } from './ikestream-process.ts'
import { emptyLab, type LabNamespace, type NetLab, type RunningProgram, startProgram } from './namespaces.ts'
import { scratchDirectory } from './run-directory.ts'

export type NodeName = 'left' | 'right'

const GATEWAY_NAME = 'gw.test'
const SERVICE = { outer: '198.18.0.10', inner: '10.1.0.10' } as const
const NODES: Readonly<Record<NodeName, { readonly host: number; readonly priority: number }>> = {
  left: { host: 1, priority: 200 },
  right: { host: 2, priority: 100 }
}
/** The server inside, and another address of it. */
const SERVER = '10.1.0.2'
const OTHER_SERVER = '10.1.0.3'
const POOL = '10.99.0.0/24'
const HTTP_PORT = 8080
const PULSE_PORT = 9090
const PULSE_MS = 20
const TRANSFER = fileURLToPath(new URL('./transfer.mjs', import.meta.url))
const PULSE = fileURLToPath(new URL('./pulse.mjs', import.meta.url))

export interface ClusterSiteOptions {
  /** Lines of the cluster file that differ from the usual ones. */
  readonly settings?: readonly string[]
  readonly args?: readonly string[]
}

export class ClusterSite {
  /** What clients connect to. */
  readonly address = SERVICE.outer
  readonly lab: NetLab
  readonly directory: string
  readonly client: LabNamespace
  readonly router: LabNamespace
  readonly server: LabNamespace
  readonly #nodes: Readonly<Record<NodeName, LabNamespace>>
  readonly #processes = new Set<IkestreamProcess>()
  readonly #traffic = new Set<RunningProgram>()
  #states = 0

  private constructor(
    lab: NetLab,
    directory: string,
    hosts: Pick<ClusterSite, 'client' | 'router' | 'server'>,
    nodes: Readonly<Record<NodeName, LabNamespace>>
  ) {
    this.lab = lab
    this.directory = directory
    this.client = hosts.client
    this.router = hosts.router
    this.server = hosts.server
    this.#nodes = nodes
  }

  static async open(): Promise<ClusterSite> {
    const lab = await emptyLab()
    try {
      const router = await lab.addNamespace('router')
      const client = await lab.addNamespace('client')
      const server = await lab.addNamespace('server')
      const left = await lab.addNamespace('left')
      const right = await lab.addNamespace('right')
      await wire(lab, { client, router, server }, { left, right })
      const directory = await scratchDirectory('cluster')
      const site = new ClusterSite(lab, directory, { client, router, server }, { left, right })
      await site.#file('cluster.secret', 'a secret of the two nodes that nobody can guess\n')
      await site.#file('users', 'alice:open sesame\n')
      await site.#file('password', 'open sesame\n')
      await site.#file('psk', 'a shared key of some length\n')
      await startProgram(server, [process.execPath, TRANSFER, 'server', String(HTTP_PORT)]).printed(
        /listening/
      )
      const pulse = [process.execPath, PULSE, 'server', String(PULSE_PORT), SERVER, OTHER_SERVER]
      await startProgram(server, pulse).printed(/listening/)
      return site
    } catch (error) {
      await lab.close()
      throw error
    }
  }

  /** Starts a node, and waits until it serves or is ready to. */
  async startNode(
    name: NodeName,
    { settings = [], args = [] }: ClusterSiteOptions = {}
  ): Promise<IkestreamProcess> {
    const { host, priority } = NODES[name]
    const lines = [
      `node = "${name}"`,
      `listen = "198.18.0.${host}:4600"`,
      `peer = "198.18.0.${3 - host}:4600"`,
      'secret-file = "cluster.secret"',
      `priority = ${priority}`,
      ...settings,
      '[[service-address]]',
      `address = "${SERVICE.outer}/24"`,
      'interface = "outer"',
      '[[service-address]]',
      `address = "${SERVICE.inner}/24"`,
      'interface = "inner"'
    ]
    const file = await this.#file(`${name}.toml`, `${lines.join('\n')}\n`)
    const node = this.#run(this.#nodes[name], name, [
      ...['gateway', '--json', '--verbose', '--cluster', file, '--pool', POOL, '--identity', GATEWAY_NAME],
      ...['--psk-file', join(this.directory, 'psk'), ...args]
    ])
    await node.event('cluster', (line) => line['ready'] === true)
    return node
  }

  /** Both nodes, the left one active. */
  async startCluster(options: ClusterSiteOptions = {}): Promise<Record<NodeName, IkestreamProcess>> {
    const left = await this.startNode('left', options)
    const right = await this.startNode('right', options)
    return { left, right }
  }

  /** A client that is up on this transport. The other one of two reaches the server's other address only. */
  async connect(
    transport: string,
    args: readonly string[] = [],
    which: 'first' | 'other' = 'first'
  ): Promise<IkestreamProcess> {
    const inner = which === 'first' ? '10.1.0.0/24' : `${OTHER_SERVER}/32`
    const client = this.#run(this.client, `client-${this.#states++}`, [
      ...['connect', this.address, '--json', '--non-inter', '--verbose', '--no-dns'],
      ...['--psk-file', join(this.directory, 'psk'), '--identity', `${which}@test`],
      ...['--remote-identity', GATEWAY_NAME, '--remote-ts', inner, '--transport', transport, ...args]
    ])
    await client.event('connected')
    return client
  }

  /** The program is gone; its machine lives. */
  async kill(node: IkestreamProcess): Promise<void> {
    node.kill('SIGKILL')
    await node.left
  }

  /** The machine is gone: nothing of it is heard any more, and then it is no more. */
  async powerOff(name: NodeName, node: IkestreamProcess): Promise<void> {
    await this.setCables(name, false)
    await this.kill(node)
  }

  async setCables(name: NodeName, up: boolean): Promise<void> {
    const state = up ? 'up' : 'down'
    await Promise.all([
      this.router.run(['ip', 'link', 'set', 'dev', `sw-${name}`, state]),
      this.server.run(['ip', 'link', 'set', 'dev', `sw-${name}`, state])
    ])
  }

  /** Datagrams to the inner server and back, every 20 ms. */
  pulse(which: 'first' | 'other' = 'first'): Pulse {
    const host = which === 'first' ? SERVER : OTHER_SERVER
    const argv = [process.execPath, PULSE, 'client', host, String(PULSE_PORT), String(PULSE_MS)]
    return new Pulse(this.#start(argv))
  }

  /** A checked download of one TCP connection, over at least so many seconds. */
  download(bytes: number, seconds: number): Transfer {
    return new Transfer(this.#transfer('download', bytes, seconds))
  }

  upload(bytes: number, seconds: number): Transfer {
    return new Transfer(this.#transfer('upload', bytes, seconds))
  }

  /** Whether the server inside can be reached. */
  async reaches(): Promise<boolean> {
    return new Transfer(this.#transfer('download', 1000, 0)).intact()
  }

  /** Ends what was started since the last time. */
  async stopAll(): Promise<void> {
    await Promise.all([...this.#traffic, ...this.#processes].map((one) => one.stop()))
    this.#traffic.clear()
    this.#processes.clear()
    for (const name of ['left', 'right'] as const) await this.setCables(name, true)
  }

  async close(): Promise<void> {
    await this.stopAll()
    await this.lab.close()
  }

  #transfer(kind: 'download' | 'upload', bytes: number, seconds: number): RunningProgram {
    const url = `http://${SERVER}:${HTTP_PORT}`
    return this.#start([process.execPath, TRANSFER, kind, url, String(bytes), String(seconds)])
  }

  /** A program of the client's that makes traffic. */
  #start(argv: readonly string[]): RunningProgram {
    const program = startProgram(this.client, argv)
    this.#traffic.add(program)
    return program
  }

  #run(namespace: LabNamespace, state: string, args: readonly string[]): IkestreamProcess {
    const program = IkestreamProcess.start(namespace, args, { stateDirectory: join(this.directory, state) })
    this.#processes.add(program)
    return program
  }

  async #file(name: string, contents: string): Promise<string> {
    const path = join(this.directory, name)
    await mkdir(this.directory, { recursive: true })
    await writeFile(path, contents, { mode: 0o600 })
    return path
  }
}

/** Answers as they come. */
export class Pulse {
  readonly #program: RunningProgram

  constructor(program: RunningProgram) {
    this.#program = program
  }

  /** When answers came, in milliseconds since 1970. */
  get beats(): number[] {
    const lines = this.#program.stdout().split('\n').slice(0, -1)
    return lines.map((line) => Number(line.split(' ')[1]))
  }

  /** The longest time without an answer since a moment; one that lasts counts up to now. */
  longestGapSince(moment: number): number {
    const times = [...this.beats.filter((at) => at > moment - 10 * PULSE_MS), Date.now()]
    return Math.max(...times.slice(1).map((at, index) => at - (times[index] ?? at)))
  }

  stop(): Promise<void> {
    return this.#program.stop()
  }
}

/** A checked transfer that runs. */
export class Transfer {
  readonly #program: RunningProgram

  constructor(program: RunningProgram) {
    this.#program = program
  }

  get running(): boolean {
    return this.#program.child.exitCode === null
  }

  stop(): Promise<void> {
    return this.#program.stop()
  }

  /** @returns whether every byte came and was right */
  async intact(): Promise<boolean> {
    await this.#program.exit
    const line = this.#program.stdout().trim()
    return line !== '' && (JSON.parse(line) as { matches: boolean }).matches
  }
}

async function wire(
  lab: NetLab,
  { client, router, server }: Pick<ClusterSite, 'client' | 'router' | 'server'>,
  nodes: Readonly<Record<NodeName, LabNamespace>>
): Promise<void> {
  await lab.connect(client, router, { a: 'wan0', b: 'in0' })
  for (const host of [router, server]) {
    await host.run(['ip', 'link', 'add', 'name', 'lan', 'type', 'bridge'])
    await host.run(['ip', 'link', 'set', 'dev', 'lan', 'up'])
  }
  for (const name of ['left', 'right'] as const) {
    const node = nodes[name]
    const { host } = NODES[name]
    await lab.connect(node, router, { a: 'outer', b: `sw-${name}` })
    await lab.connect(node, server, { a: 'inner', b: `sw-${name}` })
    for (const end of [router, server])
      await end.run(['ip', 'link', 'set', 'dev', `sw-${name}`, 'master', 'lan'])
    await node.run(['ip', 'addr', 'add', `198.18.0.${host}/24`, 'dev', 'outer'])
    await node.run(['ip', 'addr', 'add', `10.1.0.${10 + host}/24`, 'dev', 'inner'])
    await node.run(['ip', 'route', 'add', 'default', 'via', '198.18.0.254'])
    await node.sysctl(['net.ipv4.ip_forward'], 1)
  }
  await router.sysctl(['net.ipv4.ip_forward'], 1)
  await router.run(['ip', 'addr', 'add', '198.18.0.254/24', 'dev', 'lan'])
  await router.run(['ip', 'addr', 'add', '10.66.0.1/24', 'dev', 'in0'])
  await client.run(['ip', 'addr', 'add', '10.66.0.2/24', 'dev', 'wan0'])
  await client.run(['ip', 'route', 'add', 'default', 'via', '10.66.0.1'])
  for (const address of [SERVER, OTHER_SERVER])
    await server.run(['ip', 'addr', 'add', `${address}/24`, 'dev', 'lan'])
  await server.run(['ip', 'route', 'add', POOL, 'via', SERVICE.inner])
}
