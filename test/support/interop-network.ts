/**
 * The network of the interoperability tests: a client namespace and a gateway namespace joined by one veth pair, and an
 * inner network that exists in the gateway namespace only, with an HTTP server. Nothing inner answers from outside:
 * a transfer that succeeds went through a tunnel.
 * @module
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { BackgroundProcess } from './background.ts'
import type { Enter } from './charon.ts'
import { emptyLab, type LabNamespace, type NetLab } from './namespaces.ts'
import { runCommand, tryCommand } from './run-command.ts'
import { scratchDirectory } from './run-directory.ts'
import { waitUntil } from './wait-until.ts'

export const INNER_V4 = '10.77.0.1'
export const INNER_V6 = 'fd00:77::1'
/** Hosts that are there but serve nothing: the name servers that the gateway names, for one. */
const INNER_OTHERS = ['10.77.0.53/24', '10.77.0.54/24', 'fd00:77::53/64 nodad']
/** Stands for the rest of the Internet; reached through the connection `full` only. */
export const BEYOND_V4 = '203.0.113.80'
export const BEYOND_V6 = '2001:db8:80::80'

const TRANSFER = fileURLToPath(new URL('./transfer.mjs', import.meta.url))

let networks = 0

export interface TransferResult {
  readonly bytes: number
  readonly sha256: string
  readonly matches: boolean
}

export class InteropNetwork {
  readonly client: LabNamespace
  readonly gateway: LabNamespace
  readonly gatewayV4: string
  /** Another address of the gateway. */
  readonly gatewaySecondV4: string
  readonly gatewayV6: string
  readonly clientV4: string
  readonly clientV6: string
  readonly directory: string
  readonly #lab: NetLab
  readonly #background: BackgroundProcess[] = []

  private constructor(lab: NetLab, namespaces: readonly [LabNamespace, LabNamespace], directory: string) {
    networks++
    const subnet = (process.pid + networks) % 256
    this.#lab = lab
    this.directory = directory
    ;[this.client, this.gateway] = namespaces
    this.gatewayV4 = `198.18.${subnet}.1`
    this.gatewaySecondV4 = `198.18.${subnet}.11`
    this.clientV4 = `198.18.${subnet}.2`
    this.gatewayV6 = `2001:db8:${subnet.toString(16)}:1::1`
    this.clientV6 = `2001:db8:${subnet.toString(16)}:1::2`
  }

  static async create(): Promise<InteropNetwork> {
    const lab = await emptyLab()
    try {
      const namespaces = [await lab.addNamespace('client'), await lab.addNamespace('gateway')] as const
      const network = new InteropNetwork(lab, namespaces, await scratchDirectory('network'))
      await network.#build()
      return network
    } catch (error) {
      await lab.close()
      throw error
    }
  }

  readonly inClient: Enter = (argv) => this.client.argv(argv)
  readonly inGateway: Enter = (argv) => this.gateway.argv(argv)

  /** A server of inner programs, ended with the network. */
  run(enter: Enter, argv: readonly string[], name: string): BackgroundProcess {
    const program = new BackgroundProcess(enter(argv), { log: join(this.directory, `${name}.log`) })
    this.#background.push(program)
    return program
  }

  /** Whether `address` answers a ping from the client. */
  async ping(address: string, { count = 1, size = 56 } = {}): Promise<boolean> {
    const argv = ['ping', '-n', '-q', '-c', `${count}`, '-i', '0.2', '-W', '2', '-s', `${size}`, address]
    return (await tryCommand(this.inClient(argv))).exitCode === 0
  }

  /**
   * Downloads `bytes` bytes of the known stream from the inner HTTP server and compares their digest.
   * @param seconds spreads it over at least so long; 0: as fast as it goes
   */
  download(bytes: number, host = INNER_V4, seconds = 0): Promise<TransferResult> {
    return this.#transfer('download', httpUrl(host), bytes, seconds)
  }

  upload(bytes: number, host = INNER_V4, seconds = 0): Promise<TransferResult> {
    return this.#transfer('upload', httpUrl(host), bytes, seconds)
  }

  /** The address under which the inner HTTP server sees the client. */
  async seenAddress(host = INNER_V4): Promise<string> {
    const argv = [process.execPath, TRANSFER, 'address', httpUrl(host)]
    const { address } = JSON.parse(await runCommand(this.inClient(argv))) as { address: string }
    return address.replace(/^::ffff:/, '')
  }

  /** One UDP datagram inside the gateway's namespace. */
  async sendLocalDatagram(from: string, to: string, port: number, bytes: Uint8Array): Promise<void> {
    const hex = Buffer.from(bytes).toString('hex')
    await runCommand(this.inGateway([process.execPath, TRANSFER, 'datagram', to, `${port}`, from, hex]))
  }

  /** Everything that a tunnel may change in the client's namespace, as text to compare. */
  async clientState(): Promise<string> {
    const parts = await Promise.all(
      [
        ['ip', '-o', 'addr'],
        ['ip', 'route', 'show', 'table', 'all'],
        ['ip', '-6', 'route', 'show', 'table', 'all'],
        ['ip', 'rule'],
        ['ip', '-6', 'rule'],
        ['cat', '/etc/resolv.conf']
      ].map((argv) => runCommand(this.inClient(argv)))
    )
    // lifetimes count down
    return parts.join('\n').replace(/ (valid_lft|preferred_lft|expires) \S+/g, '')
  }

  /** Takes everything down. Logs stay until the run's directory goes. */
  async destroy(): Promise<void> {
    await Promise.all(this.#background.map((program) => program.stop()))
    await this.#lab.close()
  }

  async #transfer(
    direction: 'download' | 'upload',
    url: string,
    bytes: number,
    seconds: number
  ): Promise<TransferResult> {
    const argv = [process.execPath, TRANSFER, direction, url, `${bytes}`, `${seconds}`]
    return JSON.parse(await runCommand(this.inClient(argv))) as TransferResult
  }

  /** The client may change its resolv.conf: it gets one of its own (which may be a link into /run). */
  async #isolateResolver(): Promise<void> {
    const own = join(this.directory, 'resolv.conf')
    await writeFile(own, 'nameserver 198.18.255.53\n')
    await this.client.run(['sh', '-c', 'mount --bind "$1" "$(readlink -f /etc/resolv.conf)"', 'sh', own])
  }

  async #build(): Promise<void> {
    const { client, gateway } = this
    await this.#lab.connect(gateway, client, { a: 'wan0', b: 'eth0' })
    await this.#lab.connect(gateway, gateway, { a: 'inner0', b: 'inner1' })
    await this.#isolateResolver()
    await ipBatch(client, [
      `addr add ${this.clientV4}/24 dev eth0`,
      `addr add ${this.clientV6}/64 dev eth0 nodad`,
      `route add default via ${this.gatewayV4}`,
      `-6 route add default via ${this.gatewayV6}`
    ])
    await ipBatch(gateway, [
      `addr add ${this.gatewayV4}/24 dev wan0`,
      `addr add ${this.gatewaySecondV4}/24 dev wan0`,
      `addr add ${this.gatewayV6}/64 dev wan0 nodad`,
      `addr add ${INNER_V4}/24 dev inner0`,
      `addr add ${INNER_V6}/64 dev inner0 nodad`,
      ...INNER_OTHERS.map((address) => `addr add dev inner0 ${address}`),
      `addr add ${BEYOND_V4}/32 dev inner0`,
      `addr add ${BEYOND_V6}/128 dev inner0 nodad`,
      ...guardRules()
    ])
    const server = this.run(this.inGateway, [process.execPath, TRANSFER, 'server', '80'], 'http')
    await waitUntil('the inner HTTP server', async () => (await server.output()).includes('listening'))
  }
}

/**
 * What comes in from outside for an inner address is dropped by a routing rule. The rule has to come before the table of
 * local addresses, which by default is asked first: that one moves down.
 */
function guardRules(): string[] {
  const rules: string[] = []
  for (const [family, inner] of [
    ['-4', ['10.0.0.0/8', BEYOND_V4]],
    ['-6', ['fd00::/8', BEYOND_V6]]
  ] as const) {
    for (const prefix of inner) rules.push(`${family} rule add pref 1 iif wan0 to ${prefix} blackhole`)
    rules.push(`${family} rule add pref 2 lookup local`, `${family} rule del pref 0 lookup local`)
  }
  return rules
}

const httpUrl = (host: string): string => (host.includes(':') ? `http://[${host}]` : `http://${host}`)

async function ipBatch(namespace: LabNamespace, lines: readonly string[]): Promise<void> {
  for (const line of lines) await namespace.run(['ip', ...line.split(' ')])
}
