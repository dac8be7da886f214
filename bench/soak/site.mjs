/**
 * The place of the soak, in namespaces of its own: two clients behind a router that hides their addresses (where nft is there), a gateway
 * outside, a relay outside, and a server on an inner network behind the gateway.
 *
 *     client-a --\                 /-- gateway == inner server
 *                 router (faults) <       |
 *     client-b --/                 \-- relay (TCP and TLS to the gateway's UDP)
 *
 * `client-a` connects to the gateway, `client-b` to the relay.
 * @module
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  createCertificateAuthority,
  issueServerCertificate
} from '../../dist/crypto/certificate-authority.js'
import { HotelNetwork } from '../../dist/host/netlab-hotel.js'
import { GATEWAY_NAME, IKESTREAM, makeCredentials } from '../lib/site.mjs'
import { Program } from './program.mjs'

const TRAFFIC = fileURLToPath(new URL('./traffic-tool.mjs', import.meta.url))
const SIZE_TOOL = fileURLToPath(new URL('./size-tool.mjs', import.meta.url))
const SERVER = { address: '10.1.0.2', gateway: '10.1.0.1', tcpPort: 7000, udpPort: 7001 }
/** The cable between relay and gateway, which no fault touches. */
const BACK = { relay: '10.2.0.2', gateway: '10.2.0.1' }
const NODE = [process.execPath, '--expose-gc', '--import', SIZE_TOOL, IKESTREAM]
const POOL = '10.99.0.0/24'
const CONNECTIONS = 2
/** The traffic's own limit, and some more. */
const STOP_LIMIT_MS = 90_000
const BYTES_PER_SECOND = 100_000
/** Short, so that rekeyings meet every kind of fault. */
const LIFETIMES = ['--child-lifetime', '12', '--ike-lifetime', '31']

export class SoakSite {
  hotel
  hasNft = canRun('nft')
  clients = []
  gateway
  relay
  #directory
  #credentials
  #relayFiles
  #inner
  #server
  #relayHost
  #transport
  #onLine

  /** @param options `transport` of the clients; `onLine(name, line)` hears what each program says */
  static async open({ transport, onLine }) {
    const site = new SoakSite()
    site.#transport = transport
    site.#onLine = onLine
    site.#directory = mkdtempSync(join(tmpdir(), 'ikestream-soak-'))
    site.hotel = await HotelNetwork.open({ ipv6: false })
    try {
      await site.#build()
    } catch (error) {
      await site.close()
      throw error
    }
    return site
  }

  async #build() {
    this.#credentials = makeCredentials(this.#directory)
    this.#relayFiles = this.#makeRelayFiles()
    const { hotel } = this
    this.#relayHost = await hotel.addHost('outside', 'relay')
    const hostB = await hotel.addHost('inside', 'client-b')
    this.#inner = await hotel.lab.addNamespace('inner')
    const { namespace: gatewayHost } = hotel.gateway
    await hotel.lab.connect(gatewayHost, this.#inner, { a: 'lan0', b: 'lan0' })
    await gatewayHost.run(['ip', 'addr', 'add', `${SERVER.gateway}/24`, 'dev', 'lan0'])
    await hotel.lab.connect(gatewayHost, this.#relayHost.namespace, { a: 'back0', b: 'back0' })
    await gatewayHost.run(['ip', 'addr', 'add', `${BACK.gateway}/24`, 'dev', 'back0'])
    await this.#relayHost.namespace.run(['ip', 'addr', 'add', `${BACK.relay}/24`, 'dev', 'back0'])
    await gatewayHost.sysctl(['net.ipv4.ip_forward'], 1)
    await this.#inner.run(['ip', 'addr', 'add', `${SERVER.address}/24`, 'dev', 'lan0'])
    await this.#inner.run(['ip', 'route', 'add', POOL, 'via', SERVER.gateway])
    if (this.hasNft) await this.mapPorts()
    this.#server = this.#start('server', this.#inner, [
      ...[process.execPath, TRAFFIC, 'server', SERVER.address, SERVER.tcpPort, SERVER.udpPort].map(String)
    ])
    await this.#server.next('its port', ({ event }) => event === 'listening')
    await this.startGateway()
    await this.startRelay()
    await this.#startClient('client-a', hotel.client, hotel.gateway.address)
    await this.#startClient('client-b', hostB, this.#relayHost.address)
  }

  #makeRelayFiles() {
    const now = Date.now()
    const validity = { notBeforeMs: now - 3_600_000, notAfterMs: now + 24 * 3_600_000 }
    const issued = issueServerCertificate(
      createCertificateAuthority('Relay CA', validity),
      ['relay.test'],
      validity
    )
    const file = (name, text) => {
      const path = join(this.#directory, name)
      writeFileSync(path, text, { mode: 0o600 })
      return path
    }
    return {
      certificate: file('relay.pem', issued.certificatePem),
      key: file('relay.key', issued.privateKeyPem.revealText())
    }
  }

  #start(name, namespace, argv) {
    return new Program(name, namespace, argv, {
      env: { IKESTREAM_STATE_DIR: this.#state(name) },
      onLine: (line) => this.#onLine(name, line)
    })
  }

  #state(name) {
    return join(this.#directory, 'state', name)
  }

  async startGateway() {
    const { address, namespace } = this.hotel.gateway
    this.gateway = this.#start('gateway', namespace, [
      ...[...NODE, 'gateway', '--json', '--listen', address, '--listen', BACK.gateway],
      ...['--identity', GATEWAY_NAME],
      ...['--certificate', this.#credentials.gateway, '--client-cafile', this.#credentials.ca],
      ...['--pool', POOL, '--interface', 'gw0', ...LIFETIMES]
    ])
    await this.gateway.next('its ports', ({ event }) => event === 'listening')
  }

  async startRelay() {
    const { address, namespace } = this.#relayHost
    this.relay = this.#start('relay', namespace, [
      ...[...NODE, 'relay', '--json', '--listen', `${address}:4500`],
      ...['--listen', `${address}:443`, '--tls', '--certificate', this.#relayFiles.certificate],
      ...['--sslkey', this.#relayFiles.key, '--target', BACK.gateway]
    ])
    await this.relay.next('its ports', ({ event }) => event === 'listening')
  }

  async #startClient(name, host, server) {
    const before = await hostState(host.namespace)
    mkdirSync(this.#state(name), { recursive: true, mode: 0o700 })
    const program = this.#start(name, host.namespace, [
      ...[...NODE, 'connect', server, '--json', '--non-inter', '--no-dns', '--no-proxy'],
      ...['--remote-identity', GATEWAY_NAME, '--certificate', this.#credentials.client],
      ...['--cafile', this.#credentials.ca, '--no-system-trust', '--no-portal', '--name', name],
      ...['--interface', 'ike0', '--persist', '--dpd', '2', '--udp-probe', '2'],
      ...['--transport', this.#transport, ...LIFETIMES]
    ])
    await program.next('a connection', ({ event }) => event === 'connected')
    const { tcpPort, udpPort } = SERVER
    const traffic = this.#start(`traffic of ${name}`, host.namespace, [
      ...[process.execPath, TRAFFIC, 'client', SERVER.address, tcpPort, udpPort].map(String),
      ...[String(CONNECTIONS), String(BYTES_PER_SECOND)]
    ])
    await traffic.next('its traffic', ({ event, received }) => event === 'traffic' && received > 0)
    const address = await innerAddress(host.namespace)
    this.clients.push({ name, host, program, traffic, address, before })
  }

  /** The router hides who is inside behind ports from here on; what it knew of flows is forgotten. Needs nft. */
  async mapPorts(firstPort = 20_000) {
    const rules = [
      'table inet nat',
      'delete table inet nat',
      'table inet nat { chain post { type nat hook postrouting priority 100;',
      `  oifname "out*" meta l4proto { tcp, udp } masquerade to :${firstPort}-${firstPort + 999}`,
      '  oifname "out*" masquerade; }; }'
    ]
    await this.hotel.middle.run(['nft', '-f', '-'], { input: `${rules.join('\n')}\n` })
    for (const host of [this.hotel.gateway, this.#relayHost]) {
      // The bindings of masquerading go with the cable that they lead to.
      await this.hotel.setLink(host, false)
      await this.hotel.setLink(host, true)
    }
  }

  /** Loses this share of what the router forwards. Needs nft. */
  async lose(percent) {
    const chain = `chain forward { type filter hook forward priority 0; numgen random mod 100 < ${percent} drop; }`
    const rules = [
      'table inet loss',
      'delete table inet loss',
      percent === 0 ? '' : `table inet loss { ${chain}; }`
    ]
    await this.hotel.middle.run(['nft', '-f', '-'], { input: `${rules.join('\n')}\n` })
  }

  /** Stops traffic and clients in good order. @returns what is left of them on their hosts, a line each */
  async endClients() {
    const left = []
    for (const { traffic } of this.clients) {
      const stopped = traffic.next('its totals', ({ event }) => event === 'stopped', STOP_LIMIT_MS)
      traffic.write('stop')
      await stopped
      await traffic.stop()
    }
    for (const { name, host, program, address, before } of this.clients) {
      const now = await innerAddress(host.namespace)
      if (now !== address) left.push(`${name} has ${now} inside and had ${address}`)
      await program.stop()
      const code = await program.exited
      if (code !== 0) left.push(`${name} ended with ${code}: ${program.stderr}`)
      const after = await hostState(host.namespace)
      if (after !== before) left.push(`${name} left changes behind:\n${before}---\n${after}`)
      const journals = readdirSync(join(this.#state(name), 'sessions'))
      if (journals.length > 0) left.push(`${name} left journals behind: ${journals.join(' ')}`)
    }
    return left
  }

  /** @returns namespaces that live on */
  async close() {
    const holders = [this.hotel.middle, this.hotel.client.namespace, this.hotel.gateway.namespace]
    await this.hotel.close()
    rmSync(this.#directory, { recursive: true, force: true })
    return holders.filter(({ pid }) => isAlive(pid)).length
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

function canRun(program) {
  try {
    execFileSync(program, ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

async function innerAddress(namespace) {
  const { stdout } = await namespace.run(['ip', '-4', '-o', 'addr', 'show', 'dev', 'ike0'])
  return /inet (\S+)\//.exec(stdout)?.[1]
}

/** What a session may change on its host, without what faults change: the address of the cable. */
async function hostState(namespace) {
  const looks = [
    ['ip', '-o', 'link', 'show'],
    ['ip', '-4', 'route', 'show', 'table', 'main'],
    ['ip', 'rule']
  ]
  const parts = await Promise.all(looks.map((argv) => namespace.run(argv)))
  return parts
    .map(({ stdout }) => stdout)
    .join('')
    .split('\n')
    .filter((line) => !line.includes('proto kernel'))
    .sort()
    .join('\n')
}
