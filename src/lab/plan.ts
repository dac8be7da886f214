/**
 * Who is who in a lab: names, addresses, services and the environment of commands, as they follow from the network and the
 * addresses that were given out. Pure.
 * @module
 */
import type { LabHost } from '../host/netlab-hotel.ts'
import type { ServicePlan } from '../host/services/types.ts'
import type { LabNetwork } from './networks.ts'

export const SERVER_NAME = 'gateway.test'
export const PORTAL_NAME = 'portal.test'
export const LOGIN_URL = `http://${PORTAL_NAME}/login`
/** The gateway's own address inside the tunnel, where a web server and a name server are. */
export const INNER_ADDRESS = '10.99.0.1'
const INNER_NAME = 'inside.test'
export const BULK_PORT = 8080
export const USER = 'traveller'
/** It protects a gateway that nobody else reaches, and which lives for minutes. */
export const PASSWORD = 'correct horse battery staple'
export const PSK = 'a shared key of some length'

const WEB_ADDRESS = '198.18.0.80'
/** Nobody's: only the wall answers for it. */
const PORTAL_ADDRESS = '198.18.66.66'
export const NAT_ADDRESS = '10.66.0.3'
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

export class LabPlan {
  readonly #network: LabNetwork
  readonly #client: LabHost
  readonly #gateway: LabHost

  constructor(
    network: LabNetwork,
    { client, gateway }: { readonly client: LabHost; readonly gateway: LabHost }
  ) {
    this.#network = network
    this.#client = client
    this.#gateway = gateway
  }

  /** Beside the gateway's. */
  get webAddresses(): readonly string[] {
    return this.#both(WEB_ADDRESS, this.#gateway.address6?.replace(/::.*$/, '::80') ?? null)
  }

  /** Where the gateway listens. */
  get gatewayAddresses(): readonly string[] {
    return this.#both(this.#gateway.address, this.#gateway.address6)
  }

  /** Of the web, and behind the gateway. */
  outsideServices(): ServicePlan[] {
    return [
      ...[...this.webAddresses, INNER_ADDRESS].map(
        (address) => ({ service: 'web', address, port: 80 }) as const
      ),
      { service: 'names', address: INNER_ADDRESS, names: this.#names() }
    ]
  }

  routerServices(): ServicePlan[] {
    const { router, router6 } = this.#client
    const names = this.#names()
    return this.#both(router, router6).map((address) => ({ service: 'names', address, names }))
  }

  /** They resolve names where they run. */
  proxies(): ServicePlan[] {
    const { router } = this.#client
    const { proxy } = this.#network
    if (proxy === undefined) return []
    const service = { service: 'proxy', address: router } as const
    return [
      proxy === 'http'
        ? { ...service, httpPort: HTTP_PROXY_PORT, ports: [443] }
        : { ...service, socksPort: SOCKS_PORT }
    ]
  }

  /** What a command in the client's namespace is told. @param path of a file of the lab */
  environment(path: (name: string) => string): Record<string, string> {
    const { router } = this.#client
    const { address, address6 } = this.#gateway
    const six = this.#network.families === 'ipv6'
    const proxy = {
      http: { https_proxy: `http://${router}:${HTTP_PROXY_PORT}` },
      socks: { all_proxy: `socks5://${router}:${SOCKS_PORT}` }
    }
    return {
      LAB_NETWORK: this.#network.name,
      LAB_SERVER: SERVER_NAME,
      LAB_SERVER_ADDRESS: (six ? address6 : null) ?? address,
      LAB_CAFILE: path('ca.pem'),
      LAB_USER: USER,
      LAB_PASSWORD_FILE: path('password'),
      LAB_PSK_FILE: path('psk'),
      LAB_INNER_ADDRESS: INNER_ADDRESS,
      LAB_INNER_URL: `http://${INNER_ADDRESS}/success.txt`,
      LAB_BULK_URL: `${bulkUrl()}/bytes/1000000`,
      ...(this.#network.wall === 'portal' ? { LAB_LOGIN_URL: LOGIN_URL } : {}),
      ...(this.#network.proxy === undefined ? {} : proxy[this.#network.proxy]),
      // So that `ikestream connect gateway.test` is all that has to be typed.
      IKESTREAM_STATE_DIR: path('client'),
      IKESTREAM_USER: USER,
      IKESTREAM_PASSWORD_FILE: path('password'),
      IKESTREAM_CAFILE: path('ca.pem'),
      IKESTREAM_TLS_CAFILE: path('ca.pem')
    }
  }

  /** Of a host, in the families that this lab has. */
  #both(v4: string, v6: string | null): string[] {
    return [v4, ...(v6 === null ? [] : [v6])]
  }

  #names(): Record<string, readonly string[]> {
    const { address, address6 } = this.#gateway
    const six = this.#network.families === 'ipv6'
    return {
      ...Object.fromEntries(PROBE_NAMES.map((name) => [name, this.webAddresses])),
      [SERVER_NAME]: six ? [address6 ?? address] : this.#both(address, address6),
      [PORTAL_NAME]: [PORTAL_ADDRESS],
      [INNER_NAME]: [INNER_ADDRESS],
      // The one name that everybody knows (RFC 7050).
      'ipv4only.arpa': ['192.0.0.170', '192.0.0.171']
    }
  }
}

/** Of a web server behind the gateway. */
export function bulkUrl(): string {
  return `http://${INNER_ADDRESS}:${BULK_PORT}`
}
