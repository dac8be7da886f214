/**
 * Everything that one interoperability suite needs: network, strongSwan gateway, `ikestream relay` in front of it where the
 * suite is about streams, and clients with credentials for each connection of the gateway.
 * @module
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { TransportKind } from '../../src/wire/endpoint.ts'
import type { BackgroundProcess } from './background.ts'
import type { Charon } from './charon.ts'
import { CLI, ClientProcess } from './client-process.ts'
import { InteropNetwork } from './interop-network.ts'
import { GATEWAY_DOMAIN, type Pki, testPki } from './pki.ts'
import { tryCommand } from './run-command.ts'
import { type GatewayOptions, startGateway } from './strongswan.ts'
import { EAP_USERS, TEST_PSK } from './strongswan-connections.ts'
import { waitUntil } from './wait-until.ts'

export const TRANSPORTS: readonly TransportKind[] = ['udp', 'tcp', 'tls']

export interface SiteOptions extends GatewayOptions {
  readonly transport: TransportKind
}

export class InteropSite {
  readonly network: InteropNetwork
  readonly gateway: Charon
  readonly pki: Pki
  readonly transport: TransportKind
  /** What a client may change, as it was before any. */
  #stateBefore = ''
  readonly #clients: ClientProcess[] = []
  #relay: BackgroundProcess | undefined
  #secrets = 0

  private constructor(network: InteropNetwork, gateway: Charon, pki: Pki, transport: TransportKind) {
    this.network = network
    this.gateway = gateway
    this.pki = pki
    this.transport = transport
  }

  static async open({ transport, ...gatewayOptions }: SiteOptions): Promise<InteropSite> {
    const network = await InteropNetwork.create()
    let gateway: Charon | undefined
    try {
      gateway = await startGateway(network, gatewayOptions)
      const site = new InteropSite(network, gateway, await testPki(), transport)
      if (transport !== 'udp') await site.#startRelay()
      site.#stateBefore = await network.clientState()
      return site
    } catch (error) {
      await gateway?.stop()
      await network.destroy()
      throw error
    }
  }

  async close(): Promise<void> {
    await this.endClients()
    await this.gateway.stop()
    await this.network.destroy()
  }

  async endClients(): Promise<void> {
    await Promise.all(this.#clients.splice(0).map((client) => client.end()))
  }

  /**
   * Starts `ikestream connect` for a connection of the gateway.
   * @param credentials the authentication options; see below for the usual ones
   */
  async start(
    connection: string,
    credentials: readonly string[],
    {
      server = this.network.gatewayV4,
      more = []
    }: { readonly server?: string; readonly more?: readonly string[] } = {}
  ): Promise<ClientProcess> {
    const identity = ['--remote-identity', `${connection}.${GATEWAY_DOMAIN}`]
    const args = ['--transport', this.transport, ...identity, ...credentials, ...more]
    const client = await ClientProcess.start(this.network, server, args)
    this.#clients.push(client)
    return client
  }

  /** The same, and up. */
  async connect(...args: Parameters<InteropSite['start']>): Promise<ClientProcess> {
    const client = await this.start(...args)
    await client.connected()
    return client
  }

  /** All streams break; new ones are taken a moment later. */
  async restartRelay(): Promise<void> {
    await this.#relay?.stop('SIGKILL')
    await this.#startRelay()
  }

  // --- credentials

  async psk(secret = TEST_PSK, identity = 'client.test'): Promise<string[]> {
    return ['--identity', identity, '--psk-file', await this.#secretFile(secret)]
  }

  /** @param name a client leaf of the test PKI @param root the gateway's root */
  certificate(name: string, root: string): string[] {
    const key = [
      '--certificate',
      this.pki.path(`${name}.chain.pem`),
      '--sslkey',
      this.pki.path(`${name}.key`)
    ]
    return [...key, '--identity', `${name}.test`, ...this.trust(root)]
  }

  async pkcs12(name: string, root: string, password: string): Promise<string[]> {
    const key = [
      '--certificate',
      this.pki.path(`${name}.p12`),
      '--key-password-file',
      await this.#secretFile(password)
    ]
    return [...key, '--identity', `${name}.test`, ...this.trust(root)]
  }

  async eap(user: string, root: string, password = EAP_USERS[user] ?? ''): Promise<string[]> {
    return ['--user', user, '--password-file', await this.#secretFile(password), ...this.trust(root)]
  }

  async pskAndEap(user: string): Promise<string[]> {
    const files = [
      ...['--psk-file', await this.#secretFile(TEST_PSK)],
      ...['--password-file', await this.#secretFile(EAP_USERS[user] ?? '')]
    ]
    return ['--user', user, ...files]
  }

  eapTls(name: string, root: string): string[] {
    const key = [
      '--certificate',
      this.pki.path(`${name}.chain.pem`),
      '--sslkey',
      this.pki.path(`${name}.key`)
    ]
    return ['--user', `${name}.test`, ...key, ...this.trust(root)]
  }

  trust(root: string): string[] {
    return ['--cafile', this.pki.path(`${root}.pem`), '--no-system-trust']
  }

  // --- what is left behind

  /** Addresses, routes, rules, devices and resolv.conf as they were before the first client: the difference, or ''. */
  async leftovers(): Promise<string> {
    const before = new Set(this.#stateBefore.split('\n'))
    const now = (await this.network.clientState()).split('\n')
    const added = now.filter((line) => !before.has(line)).map((line) => `+ ${line}`)
    const present = new Set(now)
    const gone = [...before].filter((line) => !present.has(line)).map((line) => `- ${line}`)
    return [...added, ...gone].join('\n')
  }

  async #secretFile(secret: string): Promise<string> {
    const file = join(this.network.directory, `secret-${this.#secrets++}`)
    await writeFile(file, `${secret}\n`, { mode: 0o600 })
    return file
  }

  async #startRelay(): Promise<void> {
    const { network, pki } = this
    const tls = ['--tls', '--certificate', pki.path('gw-rsa.chain.pem'), '--sslkey', pki.path('gw-rsa.key')]
    const args = ['--listen', '4500', '--listen', '443', ...tls, '--target', '127.0.0.1:4500']
    const relay = network.run(network.inGateway, [process.execPath, CLI, 'relay', ...args], 'relay')
    this.#relay = relay
    await waitUntil('the relay to listen', async () => {
      if (!relay.running) throw new Error(`the relay ended:\n${await relay.output()}`)
      const sockets = await tryCommand(
        network.inGateway(['ss', '-Hltn', '( sport = :443 or sport = :4500 )'])
      )
      return sockets.stdout.trim().split('\n').length >= 2
    })
  }
}
