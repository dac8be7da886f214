/**
 * The parts of a gateway and how they hang together: the IKE responder, the clients, one TUN device for all of them, and the
 * listeners, which a cluster's standby does without. `gateway.ts` and `cluster.ts` say when it serves.
 *
 * One owner: everything that is opened here is closed in `close`, whatever happened before.
 * @module
 */
import { randomBytes } from 'node:crypto'
import { type Clock, systemClock } from '../clock.ts'
import type { RandomSource } from '../crypto/types.ts'
import { GatewayPump } from '../dataplane/gateway-pump.ts'
import { STREAM_TUNNEL_MTU } from '../dataplane/mtu.ts'
import { SystemError } from '../errors.ts'
import { DEFAULT_FRAGMENT_SIZE, DEFAULT_TIMERS } from '../ike/options.ts'
import { IkeResponder } from '../ike/responder.ts'
import type { RestoreInputs } from '../ike/restore.ts'
import type { IkeSession } from '../ike/session.ts'
import type { SnapshotPath } from '../ike/snapshot.ts'
import { TicketVault } from '../ike/ticket-vault.ts'
import type { IkeTimers, ResponderConfig } from '../ike/types.ts'
import type { Logger } from '../log.ts'
import { nextPathId } from '../transport/path-id.ts'
import type { Path } from '../wire/endpoint.ts'
import { recognisesIke } from '../wire/recognise-ike.ts'
import { AddressPool, type Lease } from './address-pool.ts'
import { Carriers } from './carriers.ts'
import { Clients } from './clients.ts'
import { type GatewayDevice, openGatewayDevice } from './device.ts'
import type { GatewayEvent } from './events.ts'
import { Listeners, type ListenersSurroundings, type OpenListeners } from './listeners.ts'
import {
  COOKIE_THRESHOLD,
  DEFAULT_GATEWAY_LIMITS,
  type GatewayLimits,
  type GatewayOptions,
  MAX_HALF_OPEN_PER_ADDRESS,
  PUZZLE_DIFFICULTY,
  PUZZLE_SHARE
} from './options.ts'
import { gatewayPolicy } from './policy.ts'
import { ResponderDriver, type SessionEvent } from './responder-driver.ts'

export interface GatewayEnvironment {
  readonly log: Logger
  onEvent(event: GatewayEvent): void
  readonly clock?: Clock | undefined
  readonly random?: RandomSource | undefined
  /** Milliseconds since 1970. */
  readonly wallClockMs?: (() => number) | undefined
  /** Makes the TUN device; a real one by default. */
  readonly openDevice?: ((addresses: readonly Lease[]) => Promise<GatewayDevice>) | undefined
  /** Begins to listen; on real sockets by default. */
  readonly openListeners?:
    | ((options: GatewayOptions, around: ListenersSurroundings) => Promise<OpenListeners>)
    | undefined
}

/** What a cluster listens in on. */
export interface CoreWatcher {
  /** A session wants this sent. */
  onSend(message: Uint8Array, path: Path, session: IkeSession | undefined): void
  onSessionEvent(session: IkeSession): void
  /** An input and all that followed from it are done. */
  onSettled(): void
}

/** How often deadlines of connections are checked and traffic is told to the engine. */
const TICK_MS = 1000

export class GatewayCore {
  readonly pool: AddressPool
  readonly responder: IkeResponder
  readonly driver: ResponderDriver
  readonly carriers: Carriers
  readonly clock: Clock
  readonly failed: Promise<SystemError>
  readonly #options: GatewayOptions
  readonly #environment: GatewayEnvironment
  readonly #random: RandomSource
  readonly #timers: IkeTimers
  readonly #limits: GatewayLimits
  #clients: Clients | undefined
  #device: GatewayDevice | undefined
  #pump: GatewayPump | undefined
  #listeners: OpenListeners | undefined
  #tick: { cancel(): void } | undefined
  #closed = false
  #fail: (error: SystemError) => void = () => undefined

  /** @param isCluster offer what RFC 6311 needs to the clients */
  constructor(
    options: GatewayOptions,
    environment: GatewayEnvironment,
    isCluster: boolean,
    watcher?: CoreWatcher
  ) {
    const { log, clock = systemClock, random = systemRandom, wallClockMs = Date.now } = environment
    this.#options = options
    this.#environment = environment
    this.clock = clock
    this.#random = random
    this.#timers = { ...DEFAULT_TIMERS, ...options.timers }
    this.#limits = { ...DEFAULT_GATEWAY_LIMITS, ...options.limits }
    this.pool = new AddressPool(options.pools)
    this.failed = new Promise((resolve) => {
      this.#fail = resolve
    })
    this.responder = new IkeResponder(this.#responderConfig(isCluster), {
      random,
      wallClockMs
    })
    this.driver = new ResponderDriver(this.responder, clock, log.child('ike'), {
      send: (message, path, session) => {
        if (watcher === undefined) this.carriers.send(message, path, session)
        else watcher.onSend(message, path, session)
      },
      onEvent: (session, event: SessionEvent) => {
        this.#clients?.onSessionEvent(session, event)
        watcher?.onSessionEvent(session)
      },
      onSettled: () => watcher?.onSettled(),
      onFault: (error) => this.#onFault(error)
    })
    this.carriers = new Carriers(
      {
        onIke: (message, path) => this.driver.receive(message, path),
        onEsp: (buffer, offset, length, path, ecn) =>
          this.#clients?.receiveEsp(buffer, offset, length, path, ecn),
        recognise: (buffer, offset, path) =>
          recognisesIke(buffer, offset, (spiI, spiR) => this.driver.knowsSpis(spiI, spiR)) ??
          this.#clients?.recognisesEsp(buffer, offset, path) === true,
        onEspBatchEnd: () => this.#clients?.endEspBatch(),
        onStreamLost: (path, session) => this.#clients?.onStreamLost(path, session),
        onTrouble: (carrier) => this.#clients?.onTrouble(carrier)
      },
      this.#limits,
      log.child('transport')
    )
  }

  get listening() {
    return this.#listeners?.addresses ?? []
  }

  get interfaceName(): string {
    return this.#device?.tun.name ?? ''
  }

  get clients(): Clients | undefined {
    return this.#clients
  }

  /** Makes the device; nobody can connect yet. @throws SystemError, AuthenticationError (privileges) */
  async open(): Promise<void> {
    const { log, onEvent, openDevice } = this.#environment
    const open =
      openDevice ??
      ((leases: readonly Lease[]) =>
        openGatewayDevice(this.#options.interfaceName, leases, log.child('host')))
    this.#device = await open(this.pool.gatewayAddresses())
    this.#pump = new GatewayPump({
      tun: this.#device.tun,
      logger: log.child('dataplane'),
      mtu: STREAM_TUNNEL_MTU,
      now: () => this.clock.now(),
      onTunGone: (reason) => this.fail(new SystemError('tun-gone', `${reason}.`))
    })
    this.#clients = new Clients({
      pump: this.#pump,
      carriers: this.carriers,
      driver: this.driver,
      random: this.#random,
      timers: this.#timers,
      idleLivenessMs: this.#limits.idleLivenessMs,
      log,
      now: () => this.clock.now(),
      onEvent
    })
    this.#pump.resume()
    this.#scheduleTick()
  }

  /**
   * Listens. What comes is taken from the next turn of the event loop on.
   * @throws SystemError `listen-failed`, DataError
   */
  async serve(): Promise<void> {
    const { log, openListeners = Listeners.open } = this.#environment
    this.#listeners = await openListeners(this.#options, {
      limits: this.#limits,
      log: log.child('transport'),
      onStream: (transport) => this.carriers.addStream(transport, this.clock.now())
    })
    if (this.#listeners.udp !== undefined) this.carriers.useUdp(this.#listeners.udp)
  }

  /** Closes the listeners and whatever is connected. */
  async stopServing(): Promise<void> {
    await this.carriers.close()
    await this.#listeners?.close()
    this.#listeners = undefined
  }

  /** The path of a client of another node; streams ended with that one. */
  pathOf(where: SnapshotPath): { readonly path: Path; readonly isOpen: boolean } {
    const known =
      where.transport === 'udp' ? this.#listeners?.udp?.pathBetween(where.local, where.remote) : undefined
    if (known !== undefined) return { path: known, isOpen: true }
    return { path: { ...where, id: nextPathId(), reliable: where.transport !== 'udp' }, isOpen: false }
  }

  /** Goes on with a client of another node. @returns false when that is not possible */
  adopt(inputs: RestoreInputs): boolean {
    return this.driver.adopt(inputs)
  }

  /** Forgets all sessions without a word to the clients: another node goes on with them. */
  abandon(): void {
    for (const session of this.driver.sessions)
      this.driver.input(session, (one) => one.replaced('handed-over'))
  }

  /** Deletes all IKE SAs, and waits for the answers for a moment. */
  async sayGoodbye(): Promise<void> {
    const clients = this.#clients
    if (clients === undefined) return
    let patience: ReturnType<Clock['setTimer']> | undefined
    const over = new Promise<void>((resolve) => {
      clients.onEmpty = resolve
      patience = this.clock.setTimer(this.#limits.closePatienceMs, resolve)
    })
    for (const session of this.driver.sessions) this.driver.input(session, (one, now) => one.close(now))
    if (clients.size > 0) await over
    patience?.cancel()
  }

  /** Ends everything; `sayGoodbye` comes before, where it is due. */
  async close(): Promise<void> {
    this.#closed = true
    this.#tick?.cancel()
    this.driver.dispose()
    await this.stopServing()
    this.#pump?.stop()
    await this.#device?.close()
  }

  /** It cannot go on. */
  fail(error: SystemError): void {
    this.#fail(error)
  }

  #responderConfig(isCluster: boolean): ResponderConfig {
    const options = this.#options
    return {
      role: 'responder',
      ikeProposals: options.ikeProposals,
      espProposals: options.espProposals,
      timers: this.#timers,
      fragmentSize: DEFAULT_FRAGMENT_SIZE,
      mobike: true,
      haSync: isCluster,
      policy: gatewayPolicy(options, this.pool),
      authLifetimeMs: options.authLifetimeMs,
      tickets: options.ticketKeys && new TicketVault(options.ticketKeys, this.#random),
      redirect: redirectAtOnce(options.redirect),
      puzzles: {
        threshold: Math.max(COOKIE_THRESHOLD, Math.floor(options.maxHalfOpen * PUZZLE_SHARE)),
        difficulty: PUZZLE_DIFFICULTY
      },
      cookies: options.cookies,
      cookieThreshold: Math.min(COOKIE_THRESHOLD, Math.floor(options.maxHalfOpen / 2)),
      maxHalfOpen: options.maxHalfOpen,
      maxHalfOpenPerAddress: Math.min(MAX_HALF_OPEN_PER_ADDRESS, options.maxHalfOpen)
    }
  }

  #scheduleTick(): void {
    this.#tick = this.clock.setTimer(TICK_MS, () => {
      this.#clients?.tick()
      this.carriers.sweep(this.clock.now())
      if (!this.#closed) this.#scheduleTick()
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

/** As far as new clients are concerned. */
function redirectAtOnce(redirect: GatewayOptions['redirect']): ResponderConfig['redirect'] {
  return redirect === undefined || redirect.at === 'request'
    ? undefined
    : { to: redirect.to, at: redirect.at }
}

const systemRandom: RandomSource = { bytes: (length) => randomBytes(length) }
