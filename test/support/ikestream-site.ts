/**
 * The place where system tests connect: a hotel network with gateways outside and clients inside, credentials for both, and an inner
 * network that only exists behind a gateway.
 * @module
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  createCertificateAuthority,
  issueClientCertificate,
  issueServerCertificate
} from '../../src/crypto/certificate-authority.ts'
import type { CommandResult } from '../../src/host/commands.ts'
import { PrivateEtc } from '../../src/host/private-etc.ts'
import { LabServices } from '../../src/host/services/lab-services.ts'
import { IKESTREAM, IkestreamProcess, type ProcessOptions } from './ikestream-process.ts'
import {
  type HotelNetwork,
  hotelNetwork,
  type LabNamespace,
  type RunningProgram,
  startProgram
} from './namespaces.ts'
import { scratchDirectory } from './run-directory.ts'

export const GATEWAY_NAME = 'gw.test'
export const USER = 'alice'
export const PASSWORD = 'open sesame'
export const PSK = 'a shared key of some length'
/** The first host of the pool is the gateway itself; see `gatewayArgs`. */
export const INNER_V4 = '10.99.0.1'
export const INNER_V6 = 'fd00:99::1'

const HOUR_MS = 3_600_000
const TRANSFER = fileURLToPath(new URL('./transfer.mjs', import.meta.url))
const MIDDLEBOX = fileURLToPath(new URL('./middlebox.mjs', import.meta.url))
const [HTTP_PROXY_PORT, SOCKS_PORT] = [3128, 1080]
const HTTP_PORT = 8080

/** Shorter waits than people want, for tests that are not about waiting. */
export const BRISK = ['--udp-timeout', '0.6', '--stream-after', '0.2', '--stream-timeout', '1']

export interface MiddleboxSettings {
  readonly esp?: boolean
  readonly lastAnswer?: number
  readonly closeBehind?: number
  readonly noise?: 'plain' | 'inside'
}

export interface TestProxy {
  /** `host:port` of each. */
  readonly http: string
  readonly socks: string
  /** What it was asked for: `http 198.18.0.1:4500 open`. */
  requests(): string[]
  stop(): Promise<void>
}

/** A validity around now; `shiftMs` moves all of it. */
export function validity(shiftMs = 0): { notBeforeMs: number; notAfterMs: number } {
  const now = Date.now() + shiftMs
  return { notBeforeMs: now - HOUR_MS, notAfterMs: now + 24 * HOUR_MS }
}

export class IkestreamSite {
  readonly hotel: HotelNetwork
  readonly directory: string
  readonly etc: PrivateEtc
  readonly authority = createCertificateAuthority('Site CA', validity())
  readonly #processes: IkestreamProcess[] = []
  readonly #clients: IkestreamProcess[] = []
  #gatewayArgs: Promise<string[]> | undefined
  #middleboxes = 0
  #gateways = 0

  private constructor(hotel: HotelNetwork, directory: string, etc: PrivateEtc) {
    this.hotel = hotel
    this.directory = directory
    this.etc = etc
  }

  /** @param files of the client's own /etc, by path below it; the usual ones for whatever is not among them */
  static async open(files: Readonly<Record<string, string>> = {}): Promise<IkestreamSite> {
    const directory = await scratchDirectory('site')
    const hotel = await hotelNetwork()
    try {
      const etcDirectory = join(directory, 'client-etc')
      await mkdir(etcDirectory)
      const names = [hotel.gateway.address, hotel.gateway.address6].filter((address) => address !== null)
      const etc = await PrivateEtc.mount(hotel.client.namespace, etcDirectory, {
        hosts: ['127.0.0.1 localhost', ...names.map((address) => `${address} ${GATEWAY_NAME}`), ''].join(
          '\n'
        ),
        'resolv.conf': `# by hand\nnameserver ${hotel.client.router}\noptions edns0\n`,
        ...files
      })
      return new IkestreamSite(hotel, directory, etc)
    } catch (error) {
      await hotel.close()
      throw error
    }
  }

  get client(): LabNamespace {
    return this.hotel.client.namespace
  }

  get gatewayAddress(): string {
    return this.hotel.gateway.address
  }

  /** A file of this site, readable by its owner only. */
  async file(name: string, contents: string | Uint8Array): Promise<string> {
    const path = join(this.directory, name)
    await writeFile(path, contents, { mode: 0o600 })
    return path
  }

  async caFile(): Promise<string> {
    return this.file('ca.pem', this.authority.certificatePem)
  }

  /** Options of a client that authenticates with a password. */
  async asUser(password = PASSWORD): Promise<string[]> {
    const file = await this.file(password === PASSWORD ? 'password' : 'other-password', `${password}\n`)
    const trust = ['--cafile', await this.caFile(), '--no-system-trust', '--remote-identity', GATEWAY_NAME]
    return [...trust, '--user', USER, '--password-file', file]
  }

  async withCertificate(): Promise<string[]> {
    const issued = issueClientCertificate(this.authority, ['client.test'], validity())
    const pem = `${issued.certificatePem}${issued.privateKeyPem.revealText()}`
    const trust = ['--cafile', await this.caFile(), '--no-system-trust', '--remote-identity', GATEWAY_NAME]
    return [...trust, '--certificate', await this.file('client.pem', pem)]
  }

  async withPsk(psk = PSK): Promise<string[]> {
    const file = await this.file(psk === PSK ? 'psk' : 'other-psk', `${psk}\n`)
    return ['--psk-file', file, '--identity', 'client@test', '--remote-identity', GATEWAY_NAME]
  }

  /** Options of a gateway that lets everybody of this site in. */
  gatewayArgs(): Promise<string[]> {
    this.#gatewayArgs ??= this.#makeGatewayArgs()
    return this.#gatewayArgs
  }

  async #makeGatewayArgs(): Promise<string[]> {
    const issued = issueServerCertificate(this.authority, [GATEWAY_NAME], validity())
    return [
      ...['--identity', GATEWAY_NAME],
      ...['--certificate', await this.file('gateway.pem', issued.certificatePem)],
      ...['--sslkey', await this.file('gateway.key', issued.privateKeyPem.revealText())],
      ...['--users-file', await this.file('users', `${USER}:${PASSWORD}\n`)],
      ...['--psk-file', await this.file('gateway.psk', `${PSK}\n`)],
      ...['--client-cafile', await this.caFile()]
    ]
  }

  /** Starts a gateway at an address of the gateway's host, and waits until it listens. */
  async startGateway(
    args?: readonly string[],
    {
      listen = [this.gatewayAddress],
      pools,
      env,
      state = `gateway-${this.#gateways}`
    }: {
      readonly listen?: readonly string[]
      readonly pools?: readonly string[]
      readonly env?: Readonly<Record<string, string>>
      /** Name of its state directory: that of one that ended before, to go on where it ended. */
      readonly state?: string
    } = {}
  ): Promise<IkestreamProcess> {
    const number = this.#gateways++
    const own = pools ?? ['--pool', `10.${99 + number}.0.0/24`, '--pool', `fd00:${99 + number}::/64`]
    const addresses = listen.flatMap((address) => ['--listen', address])
    const gateway = this.start(
      this.hotel.gateway.namespace,
      ['gateway', '--json', '--verbose', ...addresses, ...own, ...(args ?? (await this.gatewayArgs()))],
      { stateDirectory: join(this.directory, state), ...(env === undefined ? {} : { env }) }
    )
    await gateway.event('listening')
    return gateway
  }

  /** Another address for the gateway's host. */
  async addGatewayAddress(lastByte: number): Promise<string> {
    const address = this.gatewayAddress.replace(/\d+$/, String(lastByte))
    await this.hotel.gateway.namespace.run([
      ...['ip', 'addr', 'add', `${address}/24`, 'dev', this.hotel.gateway.device]
    ])
    return address
  }

  /** Starts `connect <server>` on the client's host. */
  connect(
    server: string,
    args: readonly string[],
    { state = 'client', ...options }: Partial<ProcessOptions> & { readonly state?: string } = {}
  ): IkestreamProcess {
    const stateDirectory = join(this.directory, state)
    const argv = ['connect', server, '--json', '--non-inter', '--verbose', ...args]
    const client = this.start(this.client, argv, { stateDirectory, ...options })
    this.#clients.push(client)
    return client
  }

  /** Runs another command as the client's user would, to its end. */
  async command(
    args: readonly string[],
    { state = 'client' }: { readonly state?: string } = {}
  ): Promise<CommandResult> {
    const env = { PATH: '/usr/bin:/bin', NO_COLOR: '1', IKESTREAM_STATE_DIR: join(this.directory, state) }
    return this.client.runner.run([process.execPath, IKESTREAM, ...args], { env })
  }

  /** Ends the clients that still run. */
  async stopClients(): Promise<void> {
    await Promise.all(this.#clients.splice(0).map((client) => client.stop()))
  }

  /** Any command, ended with the site. */
  start(namespace: LabNamespace, args: readonly string[], options: ProcessOptions): IkestreamProcess {
    const program = IkestreamProcess.start(namespace, args, options)
    this.#processes.push(program)
    return program
  }

  /** @returns the address at which the client reaches the gateway through it, and how to command it */
  async startMiddlebox(
    settings: MiddleboxSettings,
    target = this.gatewayAddress
  ): Promise<{ readonly address: string; command(line: string): void }> {
    const address = `198.18.200.${++this.#middleboxes}`
    const { middle } = this.hotel
    await middle.run(['ip', 'addr', 'add', `${address}/32`, 'dev', 'lo'])
    const issued = issueServerCertificate(this.authority, ['middlebox.test'], validity())
    const tls = { cert: issued.certificatePem, key: issued.privateKeyPem.revealText() }
    const text = JSON.stringify({ ...settings, listen: address, target, tls })
    const program = startProgram(middle, [process.execPath, MIDDLEBOX, text], {
      stdio: ['pipe', 'pipe', 'pipe']
    })
    await program.printed(/"listening":true/)
    return { address, command: (line) => program.child.stdin?.write(`${line}\n`) }
  }

  /** A proxy on the router: HTTP CONNECT on 3128 and SOCKS5 on 1080. */
  async startProxy(
    settings: { readonly credentials?: string; readonly ports?: readonly number[] } = {}
  ): Promise<TestProxy> {
    const { middle, client } = this.hotel
    const ports = { httpPort: HTTP_PROXY_PORT, socksPort: SOCKS_PORT }
    const plan = { service: 'proxy', address: client.router, ...ports, ...settings } as const
    const services = await LabServices.start(middle, [plan])
    const seen: string[] = []
    services.onEvent = (event) => {
      if (event.event === 'request') seen.push(`${event.kind} ${event.target} ${event.outcome}`)
    }
    return {
      http: `${client.router}:${HTTP_PROXY_PORT}`,
      socks: `${client.router}:${SOCKS_PORT}`,
      requests: () => seen,
      stop: () => services.close()
    }
  }

  /** A web server on the gateway's host whose downloads are a known stream. */
  async startWebServer(): Promise<void> {
    const argv = [process.execPath, TRANSFER, 'server', String(HTTP_PORT)]
    await startProgram(this.hotel.gateway.namespace, argv).printed(/listening/)
  }

  /** Downloads through the tunnel, over at least so many seconds, in one TCP connection. */
  download(bytes: number, seconds = 0, host = INNER_V4): Download {
    const url = `http://${host.includes(':') ? `[${host}]` : host}:${HTTP_PORT}`
    const argv = [process.execPath, TRANSFER, 'download', url, String(bytes), String(seconds)]
    return new Download(startProgram(this.client, argv))
  }

  /** Whether an address inside answers the client. */
  async reaches(address: string): Promise<boolean> {
    const url = `http://${address.includes(':') ? `[${address}]` : address}:${HTTP_PORT}`
    const { exitCode } = await this.client.runner.run([process.execPath, TRANSFER, 'address', url])
    return exitCode === 0
  }

  /** Bytes that the client's device has received. */
  async receivedBytes(device: unknown): Promise<number> {
    const { stdout } = await this.client.run(['ip', '-s', '-j', 'link', 'show', 'dev', String(device)])
    const [link] = JSON.parse(stdout) as { stats64: { rx: { bytes: number } } }[]
    return link?.stats64.rx.bytes ?? 0
  }

  /** Everything that a client may change on its host, as text to compare. */
  async clientState(): Promise<string> {
    const looks = [
      ['ip', '-o', 'addr'],
      ['ip', '-o', 'link'],
      ['ip', 'route', 'show', 'table', 'all'],
      ['ip', '-6', 'route', 'show', 'table', 'all'],
      ['ip', 'rule'],
      ['ip', '-6', 'rule'],
      // A link is followed where the client is: it may lead out of its /etc.
      ['sh', '-c', 'readlink /etc/resolv.conf; cat /etc/resolv.conf /etc/hosts']
    ]
    const parts = await Promise.all(looks.map((argv) => this.client.run(argv)))
    return (
      [...parts.map(({ stdout }) => stdout), this.#clientProcesses()]
        .join('---\n')
        // Lifetimes count down, and the kernel notes by itself what it learnt of the path.
        .replace(/ (valid_lft|preferred_lft|expires|used|age|hoplimit|pref) \S+/g, '')
    )
  }

  async close(): Promise<void> {
    await Promise.all(this.#processes.map((program) => program.stop()))
    await this.hotel.close()
  }

  /** Programs in the client's network namespace, in order. */
  #clientProcesses(): string {
    const home = readlinkSync(`/proc/${this.client.pid}/ns/net`)
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .flatMap((pid) => {
        try {
          if (readlinkSync(`/proc/${pid}/ns/net`) !== home) return []
          return [`${pid} ${readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')}`]
        } catch {
          // It ended in between, or is somebody else's.
          return []
        }
      })
      .join('\n')
  }
}

/** A checked download that runs. */
export class Download {
  readonly #program: RunningProgram

  constructor(program: RunningProgram) {
    this.#program = program
  }

  get running(): boolean {
    return this.#program.child.exitCode === null
  }

  async stop(): Promise<void> {
    await this.#program.stop()
  }

  /** @returns whether every byte came and was right */
  async intact(): Promise<boolean> {
    await this.#program.exit
    const line = this.#program.stdout().trim()
    if (line === '') throw new Error(`the download failed: ${this.#program.stderr()}`)
    return (JSON.parse(line) as { matches: boolean }).matches
  }
}
