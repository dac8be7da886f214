/**
 * The embedded gateway: listeners, the IKE responder, one TUN device for all clients (RFC 7296, RFC 9329); alone, or as one
 * of the two nodes of a cluster (RFC 6311).
 * @module
 */
import { ConfigurationError, type SystemError } from '../errors.ts'
import { formatIdentity } from '../ike/auth/identity.ts'
import { formatCidr } from '../wire/cidr.ts'
import { Cluster } from './cluster.ts'
import { familiesWithoutForwarding } from './device.ts'
import type { ListeningAddress } from './events.ts'
import { GatewayCore, type GatewayEnvironment } from './gateway-core.ts'
import type { GatewayOptions } from './options.ts'

export type { GatewayEnvironment } from './gateway-core.ts'

export interface Gateway {
  readonly listening: readonly ListeningAddress[]
  readonly interfaceName: string
  readonly clients: number
  /** What a monitor may want to know. */
  readonly counters: GatewayCounters
  /** Resolves when it cannot go on: somebody deleted its device. `close` is still to be called. */
  readonly failed: Promise<SystemError>
  /**
   * Asks all clients to go where `redirect` of the options says (RFC 5685 section 5).
   * @returns how many of them follow such requests
   */
  redirectClients(): number
  /**
   * The clean end: says goodbye to all clients (DELETE), or hands them to the other node of the cluster; closes the listeners
   * and takes the device down.
   */
  close(): Promise<void>
}

export interface GatewayCounters {
  readonly halfOpen: number
  readonly streams: number
  /** Sockets of UDP clients. */
  readonly udpSockets: number
  readonly unknownSpi: number
}

/**
 * Starts a gateway. Rejects when that is not possible: nothing is left open then.
 * @throws ConfigurationError, SystemError (`listen-failed`, TUN), AuthenticationError (privileges), DataError
 */
export async function startGateway(
  options: GatewayOptions,
  environment: GatewayEnvironment
): Promise<Gateway> {
  const gateway = new GatewayServer(options, environment)
  try {
    await gateway.start()
  } catch (error) {
    await gateway.close()
    throw error
  }
  return gateway
}

class GatewayServer implements Gateway {
  readonly #options: GatewayOptions
  readonly #environment: GatewayEnvironment
  readonly #core: GatewayCore
  readonly #cluster: Cluster | undefined
  #closing: Promise<void> | undefined

  constructor(options: GatewayOptions, environment: GatewayEnvironment) {
    const { cluster } = options
    this.#options = options
    this.#environment = environment
    this.#cluster = cluster && new Cluster(cluster, options, environment, () => this.#tellListening())
    this.#core = new GatewayCore(options, environment, cluster !== undefined, this.#cluster)
  }

  get listening(): readonly ListeningAddress[] {
    return this.#core.listening
  }

  get interfaceName(): string {
    return this.#core.interfaceName
  }

  get clients(): number {
    return this.#core.clients?.size ?? 0
  }

  get failed(): Promise<SystemError> {
    return this.#core.failed
  }

  get counters(): GatewayCounters {
    const { responder, carriers, clients } = this.#core
    return {
      halfOpen: responder.halfOpen,
      streams: carriers.streamCount,
      udpSockets: carriers.udpCount,
      unknownSpi: clients?.unknownSpi ?? 0
    }
  }

  async start(): Promise<void> {
    this.#refuseNonsense()
    await this.#core.open()
    this.#warnOfForwarding()
    if (this.#cluster !== undefined) {
      await this.#cluster.start(this.#core)
      return
    }
    await this.#core.serve()
    this.#tellListening()
  }

  redirectClients(): number {
    const { redirect } = this.#options
    const { driver } = this.#core
    if (redirect === undefined) return 0
    let asked = 0
    for (const session of driver.sessions)
      driver.input(session, (one, now) => {
        if (one.redirect(now, redirect.to)) asked++
      })
    this.#environment.log.log('info', 'clients were asked to go elsewhere', { to: redirect.to, asked })
    return asked
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    if ((await this.#cluster?.stop()) !== 'handed-over') await this.#core.sayGoodbye()
    await this.#cluster?.close()
    await this.#core.close()
  }

  #tellListening(): void {
    const { identity, pools, cafile } = this.#options
    this.#environment.onEvent({
      event: 'listening',
      listening: this.listening,
      identity: formatIdentity(identity),
      interface: this.interfaceName,
      pools: pools.map(formatCidr),
      cafile: cafile ?? null
    })
  }

  #warnOfForwarding(): void {
    const unforwarded = familiesWithoutForwarding()
    if (unforwarded.length > 0)
      this.#environment.log.log('warn', 'the kernel does not forward: clients reach this machine only', {
        families: unforwarded.map((family) => `IPv${family}`).join(', ')
      })
  }

  #refuseNonsense(): void {
    const { udp, tcp, tls, psk, users, clientTrust } = this.#options
    if (!udp && !tcp && !tls)
      throw new ConfigurationError('no-transport', 'UDP, TCP and TLS are all switched off.', {
        hint: 'Leave out one of --no-udp, --no-tcp and --no-tls.'
      })
    if (psk === undefined && users.size === 0 && clientTrust === undefined)
      throw new ConfigurationError('no-clients', 'Nothing says who may connect.', {
        hint: 'Give --users-file, --psk-file or --client-cafile.'
      })
  }
}
