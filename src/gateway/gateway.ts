/**
 * The embedded gateway: listeners, the IKE responder, one TUN device for all clients (RFC 7296, RFC 9329).
 *
 * One owner: everything that is opened here is closed in `close`, whatever happened before.
 * @module
 */
import { randomBytes } from 'node:crypto'
import { type Clock, systemClock } from '../clock.ts'
import type { RandomSource } from '../crypto/types.ts'
import { GatewayPump } from '../dataplane/gateway-pump.ts'
import { STREAM_TUNNEL_MTU } from '../dataplane/mtu.ts'
import { ConfigurationError, SystemError } from '../errors.ts'
import { formatIdentity } from '../ike/auth/identity.ts'
import { DEFAULT_FRAGMENT_SIZE, DEFAULT_TIMERS } from '../ike/options.ts'
import { IkeResponder } from '../ike/responder.ts'
import type { IkeTimers, ResponderConfig } from '../ike/types.ts'
import type { Logger } from '../log.ts'
import { formatCidr } from '../wire/cidr.ts'
import { AddressPool, type Lease } from './address-pool.ts'
import { Carriers } from './carriers.ts'
import { Clients } from './clients.ts'
import { familiesWithoutForwarding, type GatewayDevice, openGatewayDevice } from './device.ts'
import type { GatewayEvent, ListeningAddress } from './events.ts'
import { Listeners } from './listeners.ts'
import {
  COOKIE_THRESHOLD,
  DEFAULT_GATEWAY_LIMITS,
  type GatewayLimits,
  type GatewayOptions,
  MAX_HALF_OPEN_PER_ADDRESS
} from './options.ts'
import { gatewayPolicy } from './policy.ts'
import { ResponderDriver } from './responder-driver.ts'

export interface GatewayEnvironment {
  readonly log: Logger
  onEvent(event: GatewayEvent): void
  readonly clock?: Clock | undefined
  readonly random?: RandomSource | undefined
  /** Makes the TUN device; a real one by default. */
  readonly openDevice?: ((addresses: readonly Lease[]) => Promise<GatewayDevice>) | undefined
}

export interface Gateway {
  readonly listening: readonly ListeningAddress[]
  readonly interfaceName: string
  readonly clients: number
  /** What a monitor may want to know. */
  readonly counters: GatewayCounters
  /** Resolves when it cannot go on: somebody deleted its device. `close` is still to be called. */
  readonly failed: Promise<SystemError>
  /** Says goodbye to all clients (DELETE), closes the listeners and takes the device down. */
  close(): Promise<void>
}

export interface GatewayCounters {
  readonly halfOpen: number
  readonly streams: number
  /** Sockets of UDP clients. */
  readonly udpSockets: number
  readonly unknownSpi: number
}

/** How often deadlines of connections are checked and traffic is told to the engine. */
const TICK_MS = 1000

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
  readonly #clock: Clock
  readonly #random: RandomSource
  readonly #timers: IkeTimers
  readonly #limits: GatewayLimits
  readonly #pool: AddressPool
  readonly #responder: IkeResponder
  readonly #driver: ResponderDriver
  readonly #carriers: Carriers
  #clients: Clients | undefined
  #device: GatewayDevice | undefined
  #pump: GatewayPump | undefined
  #listeners: Listeners | undefined
  #tick: { cancel(): void } | undefined
  #closing: Promise<void> | undefined
  readonly failed: Promise<SystemError>
  #fail: (error: SystemError) => void = () => undefined

  constructor(options: GatewayOptions, environment: GatewayEnvironment) {
    const { log, clock = systemClock, random = systemRandom } = environment
    this.#options = options
    this.#environment = environment
    this.#clock = clock
    this.#random = random
    this.#timers = { ...DEFAULT_TIMERS, ...options.timers }
    this.#limits = { ...DEFAULT_GATEWAY_LIMITS, ...options.limits }
    this.#pool = new AddressPool(options.pools)
    this.failed = new Promise((resolve) => {
      this.#fail = resolve
    })
    this.#responder = new IkeResponder(this.#responderConfig(), { random, wallClockMs: () => Date.now() })
    this.#driver = new ResponderDriver(this.#responder, clock, log.child('ike'), {
      send: (message, path, session) => this.#carriers.send(message, path, session),
      onEvent: (session, event) => this.#clients?.onSessionEvent(session, event),
      onFault: (error) => this.#onFault(error)
    })
    this.#carriers = new Carriers(
      {
        onIke: (message, path) => this.#driver.receive(message, path),
        onEsp: (buffer, offset, length, path, ecn) =>
          this.#clients?.receiveEsp(buffer, offset, length, path, ecn),
        onEspBatchEnd: () => this.#clients?.endEspBatch(),
        onStreamLost: (path, session) => this.#clients?.onStreamLost(path, session),
        onTrouble: (carrier) => this.#clients?.onTrouble(carrier)
      },
      this.#limits,
      log.child('transport')
    )
  }

  get listening(): readonly ListeningAddress[] {
    return this.#listeners?.addresses ?? []
  }

  get interfaceName(): string {
    return this.#device?.tun.name ?? ''
  }

  get clients(): number {
    return this.#clients?.size ?? 0
  }

  get counters(): GatewayCounters {
    return {
      halfOpen: this.#responder.halfOpen,
      streams: this.#carriers.streamCount,
      udpSockets: this.#carriers.udpCount,
      unknownSpi: this.#clients?.unknownSpi ?? 0
    }
  }

  async start(): Promise<void> {
    const { log, onEvent } = this.#environment
    this.#refuseNonsense()
    await this.#openDataPlane()
    this.#listeners = await Listeners.open(this.#options, {
      limits: this.#limits,
      log: log.child('transport'),
      onStream: (transport) => this.#carriers.addStream(transport, this.#clock.now())
    })
    if (this.#listeners.udp !== undefined) this.#carriers.useUdp(this.#listeners.udp)
    this.#scheduleTick()
    const { identity, pools, cafile } = this.#options
    const unforwarded = familiesWithoutForwarding()
    if (unforwarded.length > 0)
      log.log('warn', 'the kernel does not forward: clients reach this machine only', {
        families: unforwarded.map((family) => `IPv${family}`).join(', ')
      })
    onEvent({
      event: 'listening',
      listening: this.listening,
      identity: formatIdentity(identity),
      interface: this.interfaceName,
      pools: pools.map(formatCidr),
      cafile: cafile ?? null
    })
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#tick?.cancel()
    await this.#sayGoodbye()
    this.#driver.dispose()
    await this.#carriers.close()
    await this.#listeners?.close()
    this.#pump?.stop()
    await this.#device?.close()
  }

  /** Deletes all IKE SAs, and waits for the answers for a moment. */
  async #sayGoodbye(): Promise<void> {
    const clients = this.#clients
    if (clients === undefined) return
    let patience: ReturnType<Clock['setTimer']> | undefined
    const over = new Promise<void>((resolve) => {
      clients.onEmpty = resolve
      patience = this.#clock.setTimer(this.#limits.closePatienceMs, resolve)
    })
    for (const session of this.#driver.sessions) this.#driver.input(session, (one, now) => one.close(now))
    if (clients.size > 0) await over
    patience?.cancel()
  }

  #responderConfig(): ResponderConfig {
    const options = this.#options
    return {
      role: 'responder',
      ikeProposals: options.ikeProposals,
      espProposals: options.espProposals,
      timers: this.#timers,
      fragmentSize: DEFAULT_FRAGMENT_SIZE,
      mobike: true,
      haSync: false,
      policy: gatewayPolicy(options, this.#pool),
      cookies: options.cookies,
      cookieThreshold: Math.min(COOKIE_THRESHOLD, Math.floor(options.maxHalfOpen / 2)),
      maxHalfOpen: options.maxHalfOpen,
      maxHalfOpenPerAddress: Math.min(MAX_HALF_OPEN_PER_ADDRESS, options.maxHalfOpen)
    }
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

  async #openDataPlane(): Promise<void> {
    const { log, onEvent, openDevice } = this.#environment
    const addresses = this.#pool.gatewayAddresses()
    const open =
      openDevice ??
      ((leases: readonly Lease[]) =>
        openGatewayDevice(this.#options.interfaceName, leases, log.child('host')))
    this.#device = await open(addresses)
    this.#pump = new GatewayPump({
      tun: this.#device.tun,
      logger: log.child('dataplane'),
      mtu: STREAM_TUNNEL_MTU,
      now: () => this.#clock.now(),
      onTunGone: (reason) => this.#fail(new SystemError('tun-gone', `${reason}.`))
    })
    this.#clients = new Clients({
      pump: this.#pump,
      carriers: this.#carriers,
      driver: this.#driver,
      random: this.#random,
      timers: this.#timers,
      idleLivenessMs: this.#limits.idleLivenessMs,
      log,
      now: () => this.#clock.now(),
      onEvent
    })
    this.#pump.resume()
  }

  #scheduleTick(): void {
    this.#tick = this.#clock.setTimer(TICK_MS, () => {
      this.#clients?.tick()
      this.#carriers.sweep(this.#clock.now())
      if (this.#closing === undefined) this.#scheduleTick()
    })
  }

  #onFault(error: unknown): void {
    const message = error instanceof Error ? error.message : String(error)
    this.#environment.log.log('error', 'a fault of the IKE engine: please report it', {
      message,
      stack: error instanceof Error ? error.stack : undefined
    })
    this.#environment.onEvent({ event: 'error', code: 'internal', message })
  }
}

const systemRandom: RandomSource = { bytes: (length) => randomBytes(length) }
