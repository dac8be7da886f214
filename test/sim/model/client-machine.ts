/**
 * The client's machine: a real `VpnSession` with its `Tunnel`, on a clock, transports and a device of the simulated world.
 * @module
 */
import type { ClientEvent } from '../../../src/client/events.ts'
import { GatewayAddresses } from '../../../src/client/gateway-addresses.ts'
import type { Candidate, Opened } from '../../../src/client/openings.ts'
import type { ConnectOptions } from '../../../src/client/options.ts'
import { Redirects } from '../../../src/client/redirects.ts'
import { VpnSession } from '../../../src/client/session.ts'
import { SessionFactory } from '../../../src/client/session-factory.ts'
import { Tunnel } from '../../../src/client/tunnel.ts'
import type { TunnelPlace } from '../../../src/client/tunnel-place.ts'
import type { RandomSource } from '../../../src/crypto/types.ts'
import type { IkeSession } from '../../../src/ike/session.ts'
import { silentLogger } from '../../../src/log.ts'
import { StreamTransport } from '../../../src/transport/stream.ts'
import type { Transport, TransportFailure } from '../../../src/transport/types.ts'
import type { Auditor } from './auditor.ts'
import { HostClock } from './clock.ts'
import { Connection } from './connection.ts'
import { ClientDatagrams } from './datagram-transports.ts'
import type { GatewayMachine } from './gateway-machine.ts'
import { SimulatedTun } from './inner-traffic.ts'
import { GATEWAY_ADDRESS, type Network } from './network.ts'
import { ObservedTransport } from './observed-transport.ts'
import type { World } from './world.ts'

/** When SYNs leave (RFC 6298 section 2). */
const SYN_AT_MS = [0, 1_000, 3_000, 7_000] as const
/** Round trips of a TLS 1.3 handshake. */
const TLS_ROUND_TRIPS = 1
/** What a kernel keeps for a program that does not run. */
const KEPT_DELIVERIES = 200
const PORTS = { tcp: 4500, tls: 443 } as const

export type ClientEnd = 'running' | 'stopped' | 'failed' | 'killed'

/** One process: `ikestream connect`. */
export class ClientMachine {
  readonly clock: HostClock
  readonly tun: SimulatedTun
  readonly session: VpnSession
  readonly events: ClientEvent[] = []
  readonly connections = new Set<Connection>()
  state: ClientEnd = 'running'
  error: unknown
  /** Transports that were opened and have not told their end. */
  openTransports = 0
  readonly #world: World
  readonly #network: Network
  readonly #gateway: GatewayMachine
  readonly #auditor: Auditor
  readonly #tunnel: Tunnel
  readonly #kept: (() => void)[] = []

  static async start(
    world: World,
    network: Network,
    gateway: GatewayMachine,
    auditor: Auditor,
    options: ConnectOptions,
    life: number,
    onTun: (packet: Uint8Array) => void
  ): Promise<ClientMachine> {
    const clock = new HostClock(world.clock)
    const random = world.randomFor(life)
    const tun = new SimulatedTun(`client${life}`)
    tun.onPacket = onTun
    const factory = new WatchedFactory(options, random, (session) => spy(auditor, session))
    const addresses = new GatewayAddresses(async () => [GATEWAY_ADDRESS], clock)
    let machine: ClientMachine | undefined
    const tunnel = await Tunnel.open(options, {
      log: silentLogger,
      random,
      now: () => clock.now(),
      place: placeOf(tun),
      keyTables: undefined,
      capture: undefined,
      softLimits: factory.softLimits,
      gatewayAddresses: () => addresses.known,
      onSoftLimit: (spiIn) => machine?.session.childLimitReached(spiIn),
      onDeviceGone: () => undefined
    })
    machine = new ClientMachine(
      { world, network, gateway, auditor },
      { clock, tun, tunnel, factory, addresses, options, random }
    )
    return machine
  }

  private constructor(
    around: { world: World; network: Network; gateway: GatewayMachine; auditor: Auditor },
    parts: {
      clock: HostClock
      tun: SimulatedTun
      tunnel: Tunnel
      factory: SessionFactory
      addresses: GatewayAddresses
      options: ConnectOptions
      random: RandomSource
    }
  ) {
    this.#world = around.world
    this.#network = around.network
    this.#gateway = around.gateway
    this.#auditor = around.auditor
    const { clock, tun, tunnel, factory, addresses, options, random } = parts
    this.clock = clock
    this.tun = tun
    this.#tunnel = tunnel
    this.session = new VpnSession(options, {
      clock,
      chance: () => (random.bytes(1)[0] ?? 0) / 256,
      log: silentLogger,
      tunnel,
      factory,
      open: (candidate, signal, timeoutMs) => this.#open(candidate, signal, timeoutMs),
      addresses,
      redirects: new Redirects({ clock, lookUp: async () => [], onEvent: () => undefined }),
      sourceFor: () => this.#network.clientAddress ?? 'none',
      streamTarget: { via: null, addresses: undefined },
      recall: async () => undefined,
      remember: async () => undefined,
      onEvent: (event) => {
        this.events.push(event)
        this.#world.note(`client ${event.event}`, detailOf(event))
      }
    })
    this.#auditor.setEnd('client', {
      handedOver: () => this.tun.handedOver,
      effects: () => this.tun.handedOver,
      takes: (session) =>
        this.session.link?.driver.session === session &&
        tunnel.sendsOnAny(this.#auditor.of(session)?.children ?? new Set())
    })
    void this.session
      .run()
      .then(
        () => {
          this.state = 'stopped'
        },
        (error: unknown) => {
          this.state = this.state === 'killed' ? 'killed' : 'failed'
          this.error = error
          this.#world.note('client failed', String(error))
        }
      )
      .then(() => tunnel.close())
  }

  get ike(): IkeSession | undefined {
    return this.session.link?.driver.session
  }

  get hasConnected(): boolean {
    return this.events.some(({ event }) => event === 'connected')
  }

  /** Inbound SPIs that its data plane holds. */
  get children(): ReadonlySet<number> {
    return new Set(this.state === 'running' ? this.#tunnel.report().children.keys() : [])
  }

  get tunnel(): Tunnel {
    return this.#tunnel
  }

  /** The process is killed: its kernel closes what it had open. */
  kill(): void {
    this.state = 'killed'
    this.clock.die()
    this.tun.release()
    for (const connection of this.connections) connection.client.destroy()
    for (const socket of this.#network.sockets) this.#network.unbind(socket)
    this.#auditor.died('client')
  }

  /** Runs it now, or when the process runs again; not at all once it is gone. */
  deliver(receive: () => void): void {
    if (this.state === 'killed') return
    if (this.clock.isRunning) receive()
    else if (this.#kept.length < KEPT_DELIVERIES) this.#kept.push(receive)
  }

  /** It runs again. @param asleepMs how long the machine slept; 0: only the process stood still */
  goOn(pausedMs: number, isAsleep: boolean): void {
    this.clock.goOn(isAsleep)
    for (const receive of this.#kept.splice(0)) this.#world.clock.setTimer(0, () => this.deliver(receive))
    // The next tick of the watch notices.
    this.clock.setTimer(this.#world.between(0, 500), () => this.session.woke(pausedMs))
  }

  // ---- transports

  async #open({ kind }: Candidate, signal: AbortSignal, timeoutMs: number): Promise<Opened> {
    // Code of a process that is no more may still be called; nothing comes of it.
    if (this.state === 'killed') return new Promise(() => undefined)
    const opened = kind === 'udp' ? this.#openUdp() : await this.#openStream(kind, signal, timeoutMs)
    if ('failure' in opened) return opened
    this.openTransports++
    return {
      transport: new ObservedTransport(this.#counted(opened.transport), this.#auditor.observer('client'))
    }
  }

  #openUdp(): Opened {
    const transport = ClientDatagrams.open(this.#network, (receive) => this.deliver(receive))
    return transport === undefined ? { failure: UNREACHABLE } : { transport }
  }

  async #openStream(kind: 'tcp' | 'tls', signal: AbortSignal, timeoutMs: number): Promise<Opened> {
    const { clientAddress } = this.#network
    if (clientAddress === undefined) return { failure: UNREACHABLE }
    const local = { address: clientAddress, port: this.#network.freshPort() }
    const outcome = await this.#connect(kind, local, signal, timeoutMs)
    if (!(outcome instanceof Connection)) return { failure: outcome }
    const remote = { address: GATEWAY_ADDRESS, port: PORTS[kind] }
    const { client: stream } = outcome
    return {
      transport: new StreamTransport({ stream, kind, role: 'originator', local, remote, clock: this.clock })
    }
  }

  #connect(
    kind: 'tcp' | 'tls',
    local: { address: string; port: number },
    signal: AbortSignal,
    timeoutMs: number
  ): Promise<Connection | TransportFailure> {
    return new Promise((resolve) => {
      let isOver = false
      const timers: { cancel(): void }[] = []
      const finish = (outcome: Connection | TransportFailure): void => {
        if (isOver) {
          if (outcome instanceof Connection) outcome.client.destroy()
          return
        }
        isOver = true
        for (const timer of timers) timer.cancel()
        resolve(outcome)
      }
      const attempt = (): void => this.#syn(kind, local, () => isOver, finish)
      for (const delayMs of SYN_AT_MS) timers.push(this.clock.setTimer(delayMs, attempt))
      timers.push(this.clock.setTimer(timeoutMs, () => finish({ code: 'timeout', message: 'No answer' })))
      const onAbort = (): void => finish({ code: 'closed', message: 'Given up' })
      if (signal.aborted) onAbort()
      else signal.addEventListener('abort', onAbort, { once: true })
    })
  }

  #syn(
    kind: 'tcp' | 'tls',
    local: { address: string; port: number },
    isOver: () => boolean,
    finish: (outcome: Connection | TransportFailure) => void
  ): void {
    const world = this.#world
    const network = this.#network
    const filter = network.streamFilter(kind, local.address)
    const { loss } = network.weather
    const isLost = world.chance(loss) || world.chance(loss)
    const roundTripMs = network.delayMs() + network.delayMs()
    if (filter === 'swallow' || (filter === undefined && (isLost || this.#gateway.isServing === undefined))) {
      world.fault('segment-lost', `${kind} SYN`)
      return
    }
    const roundTrips = kind === 'tls' ? 1 + TLS_ROUND_TRIPS : 1
    world.clock.setTimer(roundTripMs * roundTrips, () => {
      if (isOver()) return
      if (filter === 'refuse' || this.#gateway.isServing !== true) {
        world.fault('connection-refused', kind)
        finish({ code: 'connection-refused', message: 'Refused' })
        return
      }
      this.deliver(() => {
        if (isOver()) return
        const connection = this.#newConnection(kind, local)
        if (this.#gateway.accept(connection)) finish(connection)
        else finish({ code: 'connection-refused', message: 'Refused' })
      })
    })
  }

  #newConnection(kind: 'tcp' | 'tls', local: { address: string; port: number }): Connection {
    const network = this.#network
    const { port } = network.nat.out(this.#world.now, `${local.address} ${local.port}/${kind}`)
    const publicEnd = { address: network.nat.publicAddress, port }
    const connection: Connection = new Connection(kind, local, publicEnd, {
      world: this.#world,
      network,
      atEnd: {
        client: (deliver) => this.deliver(deliver),
        gateway: (deliver) => deliver()
      },
      knowsGateway: () => this.#gateway.knows(connection)
    })
    this.connections.add(connection)
    connection.client.on('error', () => undefined)
    this.#world.note('client opened', `${kind} ${local.port}`)
    connection.client.once('close', () => {
      this.#world.note('client closed', `${kind} ${local.port}`)
      this.connections.delete(connection)
    })
    return connection
  }

  /** Counts its end. */
  #counted(transport: Transport): Transport {
    const setHandlers = transport.setHandlers.bind(transport)
    let isTold = false
    transport.setHandlers = (handlers) =>
      setHandlers({
        ...handlers,
        onClose: (failure) => {
          if (!isTold) this.openTransports--
          isTold = true
          handlers.onClose(failure)
        }
      })
    return transport
  }
}

const UNREACHABLE: TransportFailure = { code: 'network-unreachable', message: 'No way leads out' }

class WatchedFactory extends SessionFactory {
  readonly #spy: (session: IkeSession) => void

  constructor(options: ConnectOptions, random: RandomSource, onMade: (session: IkeSession) => void) {
    super(options, { random, wallClockMs: () => Date.UTC(2026, 5, 1) })
    this.#spy = onMade
  }

  override make(preferred: readonly string[]): IkeSession {
    const session = super.make(preferred)
    this.#spy(session)
    return session
  }
}

/** Everything that the engine says is told first. */
function spy(auditor: Auditor, session: IkeSession): void {
  auditor.watch('client', session)
  const poll = session.poll.bind(session)
  session.poll = () => {
    const output = poll()
    if (output !== undefined) auditor.output('client', session, output)
    return output
  }
}

function placeOf(tun: SimulatedTun): TunnelPlace {
  return {
    isolated: true,
    openDevice: () => tun,
    configure: async () => ({
      conflicts: [],
      dnsMode: null,
      undo: async () => undefined,
      updatePinned: async () => undefined,
      repin: async () => [],
      reconfigure: async () => [],
      setMtu: async () => undefined
    }),
    close: async () => undefined
  }
}

function detailOf(event: ClientEvent): string {
  return ['transport', 'outcome', 'from', 'to', 'reason', 'outageMs', 'what']
    .flatMap((key) => (key in event ? [String(Reflect.get(event, key))] : []))
    .join(' ')
}
