/**
 * One lane of `bench:loss`: two namespaces with an emulated link between them, and over it one tunnel for each way to carry ESP, all
 * up at the same time, so that measurements can take turns without setting anything up. Each tunnel has a gateway of its own, since
 * the congestion control of what goes down is the gateway's.
 * @module
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { openLink } from '../../dist/host/link/lab-link.js'
import { NetLab } from '../../dist/host/netlab.js'
import { startClient, startGateway } from './site.mjs'
import { Traffic } from './traffic.mjs'

const CLIENT_ADDRESS = '198.18.0.1'
/** Of the gateway namespace itself, for traffic without a tunnel. */
const BARE_ADDRESS = '198.18.0.2'
const FIRST_GATEWAY = 10
/** A reconnection that takes longer has failed; then the tunnel is set up anew. */
const RECONNECT_MS = 15_000

/** The ways to carry ESP that are compared; `null`: none, traffic goes over the bare link; `before`: by an earlier build. */
export const TUNNELS = [
  { name: 'no tunnel', transport: null },
  { name: 'UDP', transport: 'udp' },
  { name: 'TCP, CUBIC', transport: 'tcp', congestionControl: 'cubic' },
  { name: 'TCP, BBR', transport: 'tcp', congestionControl: 'bbr' },
  { name: 'TLS, CUBIC', transport: 'tls', congestionControl: 'cubic' },
  { name: 'TLS, BBR', transport: 'tls', congestionControl: 'bbr' },
  { name: 'TCP, as it comes', transport: 'tcp' },
  { name: 'TCP, as it came before', transport: 'tcp', before: true }
]

export class Lane {
  link
  #lab
  #client
  #gateway
  #tunnels = new Map()
  #receiver
  #directory
  #credentials

  /** @param options `directory`, `credentials`, `seed`, `mtu`, `clientArgs` and `gatewayArgs` for every tunnel, `names` of the tunnels wanted, `earlier`: command of an earlier build */
  static async open(options) {
    const lane = new Lane()
    lane.#directory = options.directory
    mkdirSync(options.directory, { recursive: true })
    lane.#credentials = options.credentials
    lane.#lab = await NetLab.open()
    try {
      await lane.#build(options)
    } catch (error) {
      await lane.close()
      throw error
    }
    return lane
  }

  async #build({ seed, mtu, names, clientArgs = [], gatewayArgs = [], earlier }) {
    this.#client = await this.#lab.addNamespace('client')
    this.#gateway = await this.#lab.addNamespace('gateway')
    const wanted = TUNNELS.filter(({ name }) => names.includes(name))
    const addresses = wanted.map((_, index) => `198.18.0.${FIRST_GATEWAY + index}/24`)
    this.link = await openLink(
      this.#lab,
      { namespace: this.#client, device: 'wan0', addresses: [`${CLIENT_ADDRESS}/24`] },
      { namespace: this.#gateway, device: 'wan0', addresses: [`${BARE_ADDRESS}/24`, ...addresses] },
      { seed, mtu }
    )
    // What one measurement has learnt about the path must not help or harm the next.
    for (const namespace of [this.#client, this.#gateway])
      await namespace.sysctl(['net.ipv4.tcp_no_metrics_save'], 1)
    await Traffic.start(this.#gateway, 'server')
    this.#receiver = await Traffic.start(this.#client, 'client')
    for (const [index, tunnel] of wanted.entries()) {
      if (tunnel.transport === null) this.#tunnels.set(tunnel.name, { inner: BARE_ADDRESS })
      else
        await this.#addTunnel(tunnel, index, {
          clientArgs,
          gatewayArgs,
          program: tunnel.before ? earlier : undefined
        })
    }
  }

  async #addTunnel(
    { name, transport, congestionControl },
    index,
    { clientArgs, gatewayArgs, program: path }
  ) {
    const address = `198.18.0.${FIRST_GATEWAY + index}`
    const congestion = congestionControl === undefined ? [] : ['--congestion-control', congestionControl]
    const stateDirectory = join(this.#directory, `state-${index}`)
    await startGateway(this.#gateway, {
      address,
      credentials: this.#credentials,
      stateDirectory,
      program: path,
      args: ['--pool', `10.99.${index}.0/24`, '--interface', `gw${index}`, ...congestion, ...gatewayArgs]
    })
    const start = () =>
      startClient(this.#client, {
        address,
        credentials: this.#credentials,
        stateDirectory,
        program: path,
        args: [
          ...['--transport', transport, '--interface', `ike${index}`, '--remote-ts', `10.99.${index}.0/24`],
          ...['--persist', ...congestion, ...clientArgs]
        ]
      })
    const { program } = await start()
    this.#tunnels.set(name, { inner: `10.99.${index}.1`, transport, start, program })
  }

  /**
   * Brings the tunnel and the link into the state in which a measurement begins: a connection that has seen nothing but this delay,
   * and then the loss.
   * @param conditions of both directions
   */
  async prepare(name, conditions) {
    const tunnel = this.#tunnels.get(name)
    const { loss: _loss, burstLoss: _bursts, ...clean } = conditions
    await this.link.setConditions(clean, clean)
    if (tunnel.transport === 'tcp' || tunnel.transport === 'tls') await this.#reconnect(tunnel)
    await this.link.setConditions(conditions, conditions)
    return { address: tunnel.inner, mark: tunnel.program?.mark ?? 0 }
  }

  /** Changes of path and fresh starts of this tunnel's session since `mark`. */
  incidents(name, mark) {
    const events = []
    this.#tunnels.get(name).program?.onLine((line) => events.push(line))
    return events
      .slice(mark)
      .filter(({ event }) => event === 'path-changed' || event === 'reconnecting')
      .map(({ event, reason }) => `${event}: ${reason}`)
  }

  bulk(options) {
    return this.#receiver.bulk(options)
  }

  latency(options) {
    return this.#receiver.latency(options)
  }

  async close() {
    await this.link?.close()
    await this.#lab.close()
  }

  async #reconnect(tunnel) {
    if (!tunnel.program.ended) {
      const { mark } = tunnel.program
      tunnel.program.kill('SIGUSR2')
      try {
        await tunnel.program.waitFor(
          'a fresh connection',
          ({ event }) => event === 'path-changed' || event === 'connected',
          RECONNECT_MS,
          mark
        )
        return
      } catch {
        await tunnel.program.stop()
      }
    }
    tunnel.program = (await tunnel.start()).program
  }
}
