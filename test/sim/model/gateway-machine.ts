/**
 * The gateway's machine: a real `GatewayCore` with simulated listeners; it may be restarted, crash, or hand over to another node that
 * knows everything it knew.
 * @module
 */
import {
  createCertificateAuthority,
  issueServerCertificate
} from '../../../src/crypto/certificate-authority.ts'
import type { ReplicaMessage } from '../../../src/gateway/cluster-node.ts'
import type { ClusterMessage } from '../../../src/gateway/cluster-protocol.ts'
import { ClusterDeframer, encodeClusterMessage } from '../../../src/gateway/cluster-protocol.ts'
import { ClusterReplicator } from '../../../src/gateway/cluster-replicator.ts'
import { ClusterStore } from '../../../src/gateway/cluster-store.ts'
import { takeoverOf } from '../../../src/gateway/cluster-takeover.ts'
import { type CoreWatcher, GatewayCore } from '../../../src/gateway/gateway-core.ts'
import type { ListenersSurroundings, OpenListeners } from '../../../src/gateway/listeners.ts'
import type { GatewayOptions } from '../../../src/gateway/options.ts'
import type { IkeSession } from '../../../src/ike/session.ts'
import { silentLogger } from '../../../src/log.ts'
import { acceptStream } from '../../../src/transport/stream-accept.ts'
import { addressToBytes } from '../../../src/wire/address.ts'
import type { Endpoint } from '../../../src/wire/endpoint.ts'
import type { Auditor } from './auditor.ts'
import { HostClock } from './clock.ts'
import type { Connection } from './connection.ts'
import { GatewayDatagrams } from './datagram-transports.ts'
import { SimulatedTun } from './inner-traffic.ts'
import { GATEWAY_ADDRESS, type GatewaySide, type Network } from './network.ts'
import { ObservedTransport, observedHandlers } from './observed-transport.ts'
import type { World } from './world.ts'

const EPOCH_MS = Date.UTC(2026, 5, 1)
const validity = { notBeforeMs: EPOCH_MS - 60_000, notAfterMs: EPOCH_MS + 86_400_000 }

let made: GatewayOptions['certificate'] | undefined

/** One for all worlds: with pre-shared keys nobody ever looks at it. */
export function simulatedCertificate(): GatewayOptions['certificate'] {
  if (made === undefined) {
    const authority = createCertificateAuthority('Simulated CA', validity)
    const server = issueServerCertificate(authority, ['gw.example.org'], validity)
    made = { chain: [server.certificate], key: server.privateKey }
  }
  return made
}

interface Running {
  readonly core: GatewayCore
  readonly clock: HostClock
  readonly tun: SimulatedTun
  readonly connections: Set<Connection>
  udp: GatewayDatagrams | undefined
  readonly replicator: ClusterReplicator | undefined
}

export class GatewayMachine implements GatewaySide {
  /** Counts machines, and restarts of one. */
  life = 0
  #moves = 0
  readonly #world: World
  readonly #network: Network
  readonly #auditor: Auditor
  readonly #options: GatewayOptions
  readonly #isCluster: boolean
  readonly #onTun: (packet: Uint8Array) => void
  #running: Running | undefined
  #isOff = false
  #store: ClusterStore | undefined
  #deframer = new ClusterDeframer()
  /** Connections that a machine had which is no more. */
  #orphans = new Set<Connection>()

  constructor(
    world: World,
    network: Network,
    auditor: Auditor,
    options: GatewayOptions,
    isCluster: boolean,
    onTun: (packet: Uint8Array) => void
  ) {
    this.#world = world
    this.#network = network
    this.#auditor = auditor
    this.#options = options
    this.#isCluster = isCluster
    this.#onTun = onTun
    auditor.setEnd('gateway', {
      handedOver: () => this.#running?.tun.handedOver ?? 0,
      effects: () => (this.#running?.tun.handedOver ?? 0) + this.#moves,
      takes: () => this.#running !== undefined
    })
  }

  get isServing(): boolean | undefined {
    if (this.#isOff) return undefined
    return this.#running !== undefined
  }

  get core(): GatewayCore | undefined {
    return this.#running?.core
  }

  get tun(): SimulatedTun | undefined {
    return this.#running?.tun
  }

  get clock(): HostClock | undefined {
    return this.#running?.clock
  }

  get pathCount(): number {
    return this.#running?.udp?.pathCount ?? 0
  }

  get connections(): readonly Connection[] {
    return [...(this.#running?.connections ?? [])]
  }

  /** A fresh process, which knows of nobody. */
  async start(): Promise<void> {
    await this.#begin()
  }

  /** The process ends, and its kernel says so to everybody who is connected. */
  stopProcess(): void {
    for (const connection of this.#running?.connections ?? [])
      this.#world.clock.setTimer(this.#network.delayMs(), () => connection.reset())
    this.#end()
  }

  /** The machine loses its power. */
  crash(): void {
    for (const connection of this.#running?.connections ?? []) this.#orphans.add(connection)
    this.#isOff = true
    this.#end()
  }

  /** The machine is back, with a fresh process. */
  async restart(): Promise<void> {
    this.#isOff = false
    await this.#begin()
  }

  /** Another machine takes over, with what it was told. */
  async takeOver(): Promise<void> {
    this.#isOff = false
    const store = this.#store
    this.#auditor.takenOver()
    await this.#begin()
    const core = this.core
    if (core === undefined || store === undefined) return
    const { now } = this.#world
    for (const stored of store.take()) {
      const { path, isOpen } = core.pathOf(stored.snapshot.path)
      const { peerName, assigned } = stored.snapshot
      for (const { address } of assigned?.addresses ?? [])
        core.pool.adopt(peerName, addressToBytes(address) ?? new Uint8Array(0))
      core.adopt(takeoverOf(now, stored, path, isOpen))
    }
    this.#running?.replicator?.copy(now)
  }

  // ---- the network

  datagram(localPort: number, remote: Endpoint, bytes: Uint8Array): void {
    this.#running?.udp?.datagram(localPort, remote, bytes)
  }

  /** What the machine that is there now knows of a connection. */
  knows(connection: Connection): 'yes' | 'off' | 'forgotten' {
    if (this.#isOff) return 'off'
    if (this.#orphans.has(connection)) return 'forgotten'
    return this.#running?.connections.has(connection) ? 'yes' : 'forgotten'
  }

  /** Somebody connects. @returns false when nobody listens */
  accept(connection: Connection): boolean {
    const running = this.#running
    if (running === undefined) return false
    running.connections.add(connection)
    connection.gateway.on('error', () => undefined)
    connection.gateway.once('close', () => running.connections.delete(connection))
    this.#accept(running, connection)
    return true
  }

  #accept(running: Running, { gateway: stream, kind, publicEnd }: Connection): void {
    const { core, clock } = running
    const local = { address: GATEWAY_ADDRESS, port: kind === 'tcp' ? 4500 : 443 }
    const accepting = acceptStream(stream, kind, { local, remote: publicEnd, prefixTimeoutMs: 5_000, clock })
    void accepting.then((accepted) => {
      if (accepted.outcome === 'accepted') {
        const transport = new ObservedTransport(accepted.transport, this.#auditor.observer('gateway'))
        core.carriers.addStream(transport, clock.now())
      } else if (accepted.outcome === 'other-protocol') accepted.stream.destroy()
    })
  }

  // ---- processes

  async #begin(): Promise<void> {
    const life = ++this.life
    const clock = new HostClock(this.#world.clock)
    const tun = new SimulatedTun(`gateway${life}`)
    tun.onPacket = this.#onTun
    const replicator = this.#isCluster ? this.#newReplicator() : undefined
    const core = new GatewayCore(
      this.#options,
      {
        log: silentLogger,
        clock,
        random: this.#world.randomFor(1000 + life),
        wallClockMs: () => EPOCH_MS + this.#world.now,
        openDevice: async () => ({ tun, close: async () => tun.release() }),
        openListeners: async (_, around) => this.#listen(around),
        onEvent: (event) => {
          if (event.event === 'client-moved') this.#moves++
          if (event.event !== 'error') this.#world.note(`gateway ${event.event}`, detailOf(event))
          else this.#fault(event.message)
        }
      },
      this.#isCluster,
      replicator && watcherOf(replicator, () => this.#world.now)
    )
    this.#running = { core, clock, tun, connections: new Set(), udp: undefined, replicator }
    this.#spy(core)
    await core.open()
    await core.serve()
    replicator?.copy(this.#world.now)
  }

  #end(): void {
    const running = this.#running
    if (running === undefined) return
    this.#running = undefined
    running.clock.die()
    running.core.driver.dispose()
    running.udp?.close()
    running.tun.release()
    this.#auditor.died('gateway')
  }

  #fault(message: string): void {
    this.#world.broken('engine', `the gateway's IKE engine threw: ${message}`)
  }

  #spy({ responder }: GatewayCore): void {
    const poll = responder.poll.bind(responder)
    responder.poll = () => {
      const next = poll()
      if (next?.session !== undefined) this.#auditor.output('gateway', next.session, next.output)
      return next
    }
  }

  async #listen(_around: ListenersSurroundings): Promise<OpenListeners> {
    const observer = this.#auditor.observer('gateway')
    const udp = new GatewayDatagrams(this.#network, (transport) => new ObservedTransport(transport, observer))
    const running = this.#running
    if (running !== undefined) running.udp = udp
    const service = {
      setHandlers: (handlers: Parameters<GatewayDatagrams['setHandlers']>[0]) =>
        udp.setHandlers(observedHandlers(handlers, observer)),
      sendIke: (...[message, path]: Parameters<GatewayDatagrams['sendIke']>) => {
        observer.ikeSent(message)
        udp.sendIke(message, path)
      },
      carriesEsp: udp.carriesEsp.bind(udp),
      pathBetween: udp.pathBetween.bind(udp),
      adopt: udp.adopt.bind(udp),
      release: udp.release.bind(udp)
    }
    return { udp: service, addresses: [], close: async () => udp.close() }
  }

  // ---- the other node

  #newReplicator(): ClusterReplicator {
    const store = new ClusterStore({
      onPut: () => undefined,
      onDrop: () => undefined,
      onMalformed: (problem) => this.#world.broken('engine', `a replica cannot be read: ${problem}`)
    })
    this.#store = store
    this.#deframer = new ClusterDeframer()
    const replicator: ClusterReplicator = new ClusterReplicator({
      tell: (message) => this.#tell(store, replicator, message),
      send: (message, path, session) => this.core?.carriers.send(message, path, session),
      sessions: () => this.core?.driver.sessions ?? [],
      dataOf: (session: IkeSession) => this.core?.clients?.dataOf(session) ?? { children: [], activity: 0 }
    })
    return replicator
  }

  /** Through the same bytes as on a link. The acknowledgement takes its time, as it would there. */
  #tell(store: ClusterStore, replicator: ClusterReplicator, message: ClusterMessage): void {
    for (const heard of this.#deframer.push(encodeClusterMessage(message)) ?? [])
      store.apply(this.#world.now, heard as ReplicaMessage)
    if (!('serial' in message)) return
    const { serial } = message
    this.#running?.clock.setTimer(1, () => replicator.acknowledged(serial))
  }
}

function watcherOf(replicator: ClusterReplicator, now: () => number): CoreWatcher {
  return {
    onSend: (message, path, session) => replicator.say(message, path, session),
    onSessionEvent: (session) => replicator.touch(session),
    onSettled: () => replicator.settle(now())
  }
}

function detailOf(event: object): string {
  return ['transport', 'from', 'to', 'by', 'reason', 'resumed']
    .flatMap((key) => (key in event ? [String(Reflect.get(event, key))] : []))
    .join(' ')
}
