/**
 * One network of the lab, built: a client's namespace behind a router with faults, the gateway and a web outside, and everything
 * that a client needs to know in its environment. Nothing of it touches the machine's own network or /etc, and all of it ends with
 * the process that built it, however that ends.
 * @module
 */
import { childEnvironment } from '../host/commands.ts'
import type { LabNamespace } from '../host/netlab.ts'
import { HotelNetwork } from '../host/netlab-hotel.ts'
import { packageFile } from '../host/package-file.ts'
import { PrivateEtc } from '../host/private-etc.ts'
import { LabServices } from '../host/services/lab-services.ts'
import type { ServicePlan, TlsIdentity } from '../host/services/types.ts'
import { IKESTREAM, LabFolder } from './folder.ts'
import type { LabNetwork } from './networks.ts'
import {
  BULK_PORT,
  bulkUrl,
  INNER_ADDRESS,
  LabPlan,
  LOGIN_URL,
  NAT_ADDRESS,
  PORTAL_NAME,
  SERVER_NAME
} from './plan.ts'
import { LabProgram, runToEnd } from './program.ts'
import { type LabSettings, linkConditions, tcpTimeoutMs } from './settings.ts'

/** The way out of the machine's own network is not one of the lab's. */
const PROXY = /^(https?|all|no|ftp)_proxy$/i

const TOOL = packageFile('dist/lab/tool.js')
const START_TIMEOUT_MS = 30_000

export class Lab {
  readonly network: LabNetwork
  readonly settings: LabSettings
  readonly hotel: HotelNetwork
  /** What a command in the client's namespace is told. */
  readonly environment: Readonly<Record<string, string>>
  readonly #folder: LabFolder
  readonly #plan: LabPlan
  readonly #services: LabServices[] = []
  #tools = 0

  private constructor(network: LabNetwork, settings: LabSettings, hotel: HotelNetwork, folder: LabFolder) {
    this.network = network
    this.settings = settings
    this.hotel = hotel
    this.#folder = folder
    this.#plan = new LabPlan(network, hotel)
    this.environment = this.#plan.environment((name) => folder.path(name))
  }

  /**
   * Builds it; resolves when the gateway listens and every service runs.
   * @param settings on top of the network's own
   * @throws SystemError (`namespaces-unavailable`, `tun-...`, `lab-service`, `lab-program`)
   */
  static async open(network: LabNetwork, settings: LabSettings): Promise<Lab> {
    const wanted = { ...network.settings, ...withoutUndefined(settings), seed: settings.seed }
    const folder = await LabFolder.make()
    const hotel = await openHotel(network, wanted).catch(async (error: unknown) => {
      await folder.remove()
      throw error
    })
    const lab = new Lab(network, wanted, hotel, folder)
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
    return bulkUrl()
  }

  /** The environment of a command in the client's namespace: the caller's, and what the lab has to say. */
  commandEnvironment(): Record<string, string> {
    const base = Object.fromEntries(Object.entries(childEnvironment()).filter(([name]) => !PROXY.test(name)))
    return { ...base, ...this.environment, PATH: `${this.#folder.path('bin')}:${base['PATH']}` }
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
    await this.#folder.remove()
  }

  #letOut: () => void = () => undefined
  readonly #loggedIn = new Promise<void>((resolve) => {
    this.#letOut = resolve
  })

  async #build(): Promise<void> {
    const { network, settings, hotel } = this
    const identities = await this.#folder.write()
    await this.#addWebAddress()
    await this.#startGateway()
    await allOf([
      this.#serve(hotel.gateway.namespace, this.#plan.outsideServices()),
      this.#serve(hotel.middle, this.#plan.routerServices()),
      this.#serveWall(identities.interceptor),
      this.#startBulkServer(),
      this.#mountEtc(hotel.client.namespace, 'client-etc'),
      this.#mountEtc(hotel.middle, 'router-etc').then(() => this.#serve(hotel.middle, this.#plan.proxies())),
      hotel.setFaults(network.faults ?? []),
      settings.mtu === undefined ? undefined : hotel.setMtu(settings.mtu, { silent: true })
    ])
    if (network.families === 'ipv6') await this.#dropIpv4()
    if (network.loggedIn === true) await this.login()
  }

  async #addWebAddress(): Promise<void> {
    const { namespace, device } = this.hotel.gateway
    for (const address of this.#plan.webAddresses) {
      const how = address.includes(':') ? [`${address}/64`, 'nodad'] : [`${address}/24`]
      await namespace.run(['ip', 'addr', 'add', ...how, 'dev', device])
    }
  }

  async #startGateway(): Promise<void> {
    const args = [
      ...['gateway', '--json', '--identity', SERVER_NAME],
      ...this.#plan.gatewayAddresses.flatMap((one) => ['--listen', one]),
      ...['--certificate', this.#folder.path('gateway.pem'), '--sslkey', this.#folder.path('gateway.key')],
      ...['--users-file', this.#folder.path('users'), '--psk-file', this.#folder.path('psk')],
      ...['--pool', '10.99.0.0/24', '--pool', 'fd00:99::/64', '--dns', INNER_ADDRESS]
    ]
    const gateway = new LabProgram(
      'gateway',
      this.hotel.gateway.namespace,
      [process.execPath, IKESTREAM, ...args],
      {
        ...childEnvironment(),
        IKESTREAM_STATE_DIR: this.#folder.path('gateway')
      }
    )
    await gateway.waitFor('listening', (line) => line['event'] === 'listening', START_TIMEOUT_MS)
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
    await PrivateEtc.mount(namespace, this.#folder.path(directory), {
      hosts: '127.0.0.1 localhost\n::1 localhost\n',
      'resolv.conf': servers.map((server) => `nameserver ${server}\n`).join('')
    })
  }

  async #dropIpv4(): Promise<void> {
    const { namespace, device } = this.hotel.client
    await namespace.run(['ip', '-4', 'addr', 'flush', 'dev', device])
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

/** Like Promise.all, but when one fails the others have come to their end, too: nothing goes on in a lab that is being closed. */
async function allOf(work: readonly (Promise<unknown> | undefined)[]): Promise<void> {
  const failed = (await Promise.allSettled(work)).find(({ status }) => status === 'rejected')
  if (failed !== undefined) throw (failed as PromiseRejectedResult).reason
}

function withoutUndefined(settings: LabSettings): Partial<LabSettings> {
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined))
}
