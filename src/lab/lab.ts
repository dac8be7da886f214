/**
 * One network of the lab, built: a client's namespace behind a router with faults, the gateway and a web outside, and everything
 * that a client needs to know in its environment. Nothing of it touches the machine's own network or /etc, and all of it ends with
 * the process that built it, however that ends.
 * @module
 */
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createCertificateAuthority, issueServerCertificate } from '../crypto/certificate-authority.ts'
import { childEnvironment } from '../host/commands.ts'
import type { LabNamespace } from '../host/netlab.ts'
import { HotelNetwork } from '../host/netlab-hotel.ts'
import { packageFile } from '../host/package-file.ts'
import { PrivateEtc } from '../host/private-etc.ts'
import { LabServices } from '../host/services/lab-services.ts'
import type { ServicePlan, TlsIdentity } from '../host/services/types.ts'
import type { LabNetwork } from './networks.ts'
import { LabProgram, runToEnd } from './program.ts'
import { type LabSettings, linkConditions, tcpTimeoutMs } from './settings.ts'

export const SERVER_NAME = 'gateway.test'
export const PORTAL_NAME = 'portal.test'
export const LOGIN_URL = `http://${PORTAL_NAME}/login`
/** The gateway's own address inside the tunnel, where a web server and a name server are. */
export const INNER_ADDRESS = '10.99.0.1'
const INNER_NAME = 'inside.test'
const BULK_PORT = 8080
const USER = 'traveller'
/** It protects a gateway that nobody else reaches, and which lives for minutes. */
const PASSWORD = 'correct horse battery staple'
const PSK = 'a shared key of some length'

const WEB_ADDRESS = '198.18.0.80'
/** Nobody's: only the wall answers for it. */
const PORTAL_ADDRESS = '198.18.66.66'
const NAT_ADDRESS = '10.66.0.3'
const [HTTP_PROXY_PORT, SOCKS_PORT] = [3128, 1080]

/** Web pages by which systems find portals: all of them lead to the lab's web server. */
const PROBE_NAMES = [
  'detectportal.firefox.com',
  'connectivitycheck.gstatic.com',
  'captive.apple.com',
  'www.msftconnecttest.com',
  'nmcheck.gnome.org',
  'web.test'
]

/** The way out of the machine's own network is not one of the lab's. */
const PROXY = /^(https?|all|no|ftp)_proxy$/i

const IKESTREAM = packageFile('bin/ikestream.js')
const TOOL = packageFile('dist/lab/tool.js')
const START_TIMEOUT_MS = 30_000
const HOUR_MS = 3_600_000
const SCRATCH_PREFIX = 'ikestream-lab-'
const LEFTOVER_AGE_MS = HOUR_MS

export class Lab {
  readonly network: LabNetwork
  readonly settings: LabSettings
  readonly hotel: HotelNetwork
  /** What a command in the client's namespace is told. */
  readonly environment: Readonly<Record<string, string>>
  readonly #directory: string
  readonly #services: LabServices[] = []
  #tools = 0

  private constructor(network: LabNetwork, settings: LabSettings, hotel: HotelNetwork, directory: string) {
    this.network = network
    this.settings = settings
    this.hotel = hotel
    this.#directory = directory
    this.environment = this.#makeEnvironment()
  }

  /**
   * Builds it; resolves when the gateway listens and every service runs.
   * @param settings on top of the network's own
   * @throws SystemError (`namespaces-unavailable`, `tun-...`, `lab-service`, `lab-program`)
   */
  static async open(network: LabNetwork, settings: LabSettings): Promise<Lab> {
    const wanted = { ...network.settings, ...withoutUndefined(settings), seed: settings.seed }
    await removeLeftovers()
    const directory = await mkdtemp(join(tmpdir(), `${SCRATCH_PREFIX}${process.pid}-`))
    const hotel = await openHotel(network, wanted).catch(async (error: unknown) => {
      await rm(directory, { recursive: true, force: true })
      throw error
    })
    const lab = new Lab(network, wanted, hotel, directory)
    try {
      await lab.#build()
      return lab
    } catch (error) {
      await lab.close()
      throw error
    }
  }

  get client(): LabNamespace {
    return this.hotel.client.namespace
  }

  /** Of a web server behind the gateway: `/bytes/N` has so many bytes, and what is sent to it is counted. */
  get bulkUrl(): string {
    return `http://${INNER_ADDRESS}:${BULK_PORT}`
  }

  /** The environment of a command in the client's namespace: the caller's, and what the lab has to say. */
  commandEnvironment(): Record<string, string> {
    const base = Object.fromEntries(Object.entries(childEnvironment()).filter(([name]) => !PROXY.test(name)))
    return { ...base, ...this.environment, PATH: `${this.#path('bin')}:${base['PATH']}` }
  }

  /** Starts a JSON-speaking program in the client's namespace. */
  start(name: string, argv: readonly string[], more: Readonly<Record<string, string>> = {}): LabProgram {
    return new LabProgram(name, this.client, argv, { ...this.commandEnvironment(), ...more })
  }

  /** Starts `ikestream <args>` there, with the credentials of this lab in its environment. */
  ikestream(name: string, args: readonly string[]): LabProgram {
    return this.start(name, [process.execPath, IKESTREAM, ...args])
  }

  /** Starts the lab's own tool there. */
  tool(args: readonly string[]): LabProgram {
    return this.start(`tool ${this.#tools++} (${args[0]})`, [process.execPath, TOOL, ...args])
  }

  /** Logs in at the portal, as a person with a browser would; resolves when it lets the client out. */
  async login(): Promise<void> {
    const letOut = this.#loggedIn
    const line = await runToEnd(this.tool(['post', LOGIN_URL]), START_TIMEOUT_MS)
    if (line['status'] !== 200) throw new Error(`the portal answered with ${JSON.stringify(line)}`)
    await letOut
  }

  /** Ends everything. May be called again. */
  async close(): Promise<void> {
    await Promise.all(this.#services.splice(0).map((services) => services.close()))
    await this.hotel.close()
    await rm(this.#directory, { recursive: true, force: true })
  }

  #letOut: () => void = () => undefined
  readonly #loggedIn = new Promise<void>((resolve) => {
    this.#letOut = resolve
  })

  #path(name: string): string {
    return join(this.#directory, name)
  }

  async #build(): Promise<void> {
    const { network, settings, hotel } = this
    const identities = await this.#writeFiles()
    await this.#addWebAddress()
    await this.#startGateway()
    await allOf([
      this.#serve(hotel.gateway.namespace, this.#outsideServices()),
      this.#serve(hotel.middle, this.#routerServices()),
      this.#serveWall(identities.interceptor),
      this.#startBulkServer(),
      this.#mountEtc(hotel.client.namespace, 'client-etc'),
      this.#mountEtc(hotel.middle, 'router-etc').then(() => this.#serve(hotel.middle, this.#proxies())),
      hotel.setFaults(network.faults ?? []),
      settings.mtu === undefined ? undefined : hotel.setMtu(settings.mtu, { silent: true })
    ])
    if (network.families === 'ipv6') await this.#dropIpv4()
    if (network.loggedIn === true) await this.login()
  }

  /** @returns the identity of whoever reads along */
  async #writeFiles(): Promise<{ interceptor: TlsIdentity }> {
    const validity = { notBeforeMs: Date.now() - HOUR_MS, notAfterMs: Date.now() + 24 * HOUR_MS }
    const authority = createCertificateAuthority('Lab CA', validity)
    const issued = issueServerCertificate(authority, [SERVER_NAME], validity)
    const secret = (name: string, text: string): Promise<void> =>
      writeFile(this.#path(name), text, { mode: 0o600 })
    await Promise.all(
      ['client-etc', 'router-etc', 'bin', 'client', 'gateway'].map((name) => mkdir(this.#path(name)))
    )
    await Promise.all([
      secret('ca.pem', authority.certificatePem),
      secret('gateway.pem', issued.certificatePem),
      secret('gateway.key', issued.privateKeyPem.revealText()),
      secret('users', `${USER}:${PASSWORD}\n`),
      secret('password', `${PASSWORD}\n`),
      secret('psk', `${PSK}\n`),
      writeFile(this.#path('bin/ikestream'), ikestreamScript(), { mode: 0o755 })
    ])
    const other = createCertificateAuthority('Nosy Networks', validity)
    const forged = issueServerCertificate(other, [SERVER_NAME], validity)
    return {
      interceptor: { certificatePem: forged.certificatePem, keyPem: forged.privateKeyPem.revealText() }
    }
  }

  async #addWebAddress(): Promise<void> {
    const { namespace, device } = this.hotel.gateway
    await namespace.run(['ip', 'addr', 'add', `${WEB_ADDRESS}/24`, 'dev', device])
    if (this.hotel.gateway.address6 === null) return
    await namespace.run(['ip', 'addr', 'add', `${this.#webAddress6}/64`, 'dev', device, 'nodad'])
  }

  /** Beside the gateway's. */
  get #webAddress6(): string {
    return (this.hotel.gateway.address6 ?? '').replace(/::.*$/, '::80')
  }

  /** Of a host, in the families that this lab has. */
  #both(v4: string, v6: string | null): string[] {
    return [v4, ...(v6 === null ? [] : [v6])]
  }

  async #startGateway(): Promise<void> {
    const { address, address6, namespace } = this.hotel.gateway
    const args = [
      ...['gateway', '--json', '--identity', SERVER_NAME],
      ...this.#both(address, address6).flatMap((one) => ['--listen', one]),
      ...['--certificate', this.#path('gateway.pem'), '--sslkey', this.#path('gateway.key')],
      ...['--users-file', this.#path('users'), '--psk-file', this.#path('psk')],
      ...['--pool', '10.99.0.0/24', '--pool', 'fd00:99::/64', '--dns', INNER_ADDRESS]
    ]
    const gateway = new LabProgram('gateway', namespace, [process.execPath, IKESTREAM, ...args], {
      ...childEnvironment(),
      IKESTREAM_STATE_DIR: this.#path('gateway')
    })
    await gateway.waitFor('listening', (line) => line['event'] === 'listening', START_TIMEOUT_MS)
  }

  #outsideServices(): ServicePlan[] {
    const web = this.#both(WEB_ADDRESS, this.hotel.gateway.address6 === null ? null : this.#webAddress6)
    return [
      ...[...web, INNER_ADDRESS].map((address) => ({ service: 'web', address, port: 80 }) as const),
      { service: 'names', address: INNER_ADDRESS, names: this.#names() }
    ]
  }

  #routerServices(): ServicePlan[] {
    const { router, router6 } = this.hotel.client
    const names = this.#names()
    return this.#both(router, router6).map((address) => ({ service: 'names', address, names }))
  }

  /** They resolve names where they run. */
  #proxies(): ServicePlan[] {
    const { router } = this.hotel.client
    const { proxy } = this.network
    if (proxy === undefined) return []
    const service = { service: 'proxy', address: router } as const
    return [
      proxy === 'http'
        ? { ...service, httpPort: HTTP_PROXY_PORT, ports: [443] }
        : { ...service, socksPort: SOCKS_PORT }
    ]
  }

  async #serveWall(interceptor: TlsIdentity): Promise<void> {
    const everywhere = { address: this.hotel.client.address6 === null ? '0.0.0.0' : '::' }
    const { wall } = this.network
    if (wall === 'interceptor')
      await this.#serve(this.hotel.wall, [
        { service: 'interceptor', ...everywhere, port: 443, tls: interceptor }
      ])
    if (wall !== 'portal') return
    const portal = await this.#serve(this.hotel.wall, [
      { service: 'portal', ...everywhere, port: 80, name: PORTAL_NAME, manner: 'redirect' }
    ])
    portal.onEvent = ({ event }) => {
      if (event === 'login') void this.hotel.setFaults([]).then(this.#letOut)
    }
  }

  async #serve(namespace: LabNamespace, plans: readonly ServicePlan[]): Promise<LabServices> {
    const services = await LabServices.start(namespace, plans)
    this.#services.push(services)
    return services
  }

  async #startBulkServer(): Promise<void> {
    const argv = [process.execPath, TOOL, 'serve', INNER_ADDRESS, String(BULK_PORT)]
    const server = new LabProgram('web server', this.hotel.gateway.namespace, argv)
    await server.waitFor('listening', (line) => line['listening'] === BULK_PORT, START_TIMEOUT_MS)
  }

  async #mountEtc(namespace: LabNamespace, directory: string): Promise<void> {
    const { router, router6 } = this.hotel.client
    const servers = this.network.families === 'ipv6' ? [router6] : [router]
    await PrivateEtc.mount(namespace, this.#path(directory), {
      hosts: '127.0.0.1 localhost\n::1 localhost\n',
      'resolv.conf': servers.map((server) => `nameserver ${server}\n`).join('')
    })
  }

  #names(): Record<string, readonly string[]> {
    const { address, address6 } = this.hotel.gateway
    const six = this.network.families === 'ipv6'
    const web6 = address6 === null ? [] : [this.#webAddress6]
    return {
      ...Object.fromEntries(PROBE_NAMES.map((name) => [name, [WEB_ADDRESS, ...web6]])),
      [SERVER_NAME]: six ? [address6 ?? address] : this.#both(address, address6),
      [PORTAL_NAME]: [PORTAL_ADDRESS],
      [INNER_NAME]: [INNER_ADDRESS],
      // The one name that everybody knows (RFC 7050).
      'ipv4only.arpa': ['192.0.0.170', '192.0.0.171']
    }
  }

  async #dropIpv4(): Promise<void> {
    const { namespace, device } = this.hotel.client
    await namespace.run(['ip', '-4', 'addr', 'flush', 'dev', device])
  }

  #makeEnvironment(): Record<string, string> {
    const { router } = this.hotel.client
    const { address, address6 } = this.hotel.gateway
    const six = this.network.families === 'ipv6'
    const proxy = {
      http: { https_proxy: `http://${router}:${HTTP_PROXY_PORT}` },
      socks: { all_proxy: `socks5://${router}:${SOCKS_PORT}` }
    }
    return {
      LAB_NETWORK: this.network.name,
      LAB_SERVER: SERVER_NAME,
      LAB_SERVER_ADDRESS: (six ? address6 : null) ?? address,
      LAB_CAFILE: this.#path('ca.pem'),
      LAB_USER: USER,
      LAB_PASSWORD_FILE: this.#path('password'),
      LAB_PSK_FILE: this.#path('psk'),
      LAB_INNER_ADDRESS: INNER_ADDRESS,
      LAB_INNER_URL: `http://${INNER_ADDRESS}/success.txt`,
      LAB_BULK_URL: `${this.bulkUrl}/bytes/1000000`,
      ...(this.network.wall === 'portal' ? { LAB_LOGIN_URL: LOGIN_URL } : {}),
      ...(this.network.proxy === undefined ? {} : proxy[this.network.proxy]),
      // So that `ikestream connect gateway.test` is all that has to be typed.
      IKESTREAM_STATE_DIR: this.#path('client'),
      IKESTREAM_USER: USER,
      IKESTREAM_PASSWORD_FILE: this.#path('password'),
      IKESTREAM_CAFILE: this.#path('ca.pem'),
      IKESTREAM_TLS_CAFILE: this.#path('ca.pem')
    }
  }
}

/** Folders of labs that were killed; a process of this number may also be in another container that shares the folder. */
async function removeLeftovers(): Promise<void> {
  for (const name of await readdir(tmpdir()).catch(() => [])) {
    const pid = name.startsWith(SCRATCH_PREFIX)
      ? /^\d+/.exec(name.slice(SCRATCH_PREFIX.length))?.[0]
      : undefined
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue
    const path = join(tmpdir(), name)
    const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Date.now() }))
    if (Date.now() - mtimeMs > LEFTOVER_AGE_MS)
      await rm(path, { recursive: true, force: true }).catch(() => undefined)
  }
}

function openHotel(network: LabNetwork, settings: LabSettings): Promise<HotelNetwork> {
  const { natTimeoutMs, seed } = settings
  const conditions = linkConditions(settings)
  const nat =
    natTimeoutMs === undefined
      ? undefined
      : {
          inside: '10.66.0.2',
          outside: NAT_ADDRESS,
          timeoutMs: natTimeoutMs,
          tcpTimeoutMs: tcpTimeoutMs(natTimeoutMs)
        }
  const isCable = conditions === undefined && nat === undefined
  const clientLink = isCable ? undefined : { forward: conditions, backward: conditions, seed, nat }
  return HotelNetwork.open({ ipv6: network.families !== 'ipv4', clientLink })
}

function ikestreamScript(): string {
  return `#!/bin/sh\nexec '${process.execPath}' '${IKESTREAM}' "$@"\n`
}

/** Like Promise.all, but when one fails the others have come to their end, too: nothing goes on in a lab that is being closed. */
async function allOf(work: readonly (Promise<unknown> | undefined)[]): Promise<void> {
  const failed = (await Promise.allSettled(work)).find(({ status }) => status === 'rejected')
  if (failed !== undefined) throw (failed as PromiseRejectedResult).reason
}

function withoutUndefined(settings: LabSettings): Partial<LabSettings> {
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined))
}
