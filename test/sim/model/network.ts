/**
 * The network between the client and the gateway: delay, loss, repetition, reordering, corruption, filters for single protocols, and
 * a NAT. Datagrams cross it here; streams ask it whether and when their segments arrive (`connection.ts`).
 * @module
 */
import type { Endpoint } from '../../../src/wire/endpoint.ts'
import { classifyDatagram, DatagramKind } from '../../../src/wire/non-esp-marker.ts'
import { Nat } from './nat.ts'
import type { World } from './world.ts'

export interface Weather {
  readonly delayMs: number
  readonly jitterMs: number
  /** Probabilities. */
  readonly loss: number
  /** Of IKE alone, on top of that. */
  readonly ikeLoss: number
  readonly duplication: number
  readonly reordering: number
  readonly corruption: number
}

export const FAIR: Weather = {
  delayMs: 10,
  jitterMs: 2,
  loss: 0,
  ikeLoss: 0,
  duplication: 0,
  reordering: 0,
  corruption: 0
}

/** What filters tell apart. */
export const LANES = ['ike-500', 'ike-4500', 'esp-4500', 'tcp', 'tls'] as const
export type Lane = (typeof LANES)[number]
export type Filter = 'swallow' | 'refuse'

export const GATEWAY_ADDRESS = '203.0.113.1'
/** A packet that is overtaken is this much later than the others. */
const OVERTAKEN_MS = { least: 5, most: 400 } as const

/** A socket of the client's. */
export interface ClientSocket {
  readonly local: Endpoint
  datagram(bytes: Uint8Array, fromPort: number): void
  /** ICMP says that nobody listens, or that nothing leads there. */
  unreachable(port: number): void
}

/** The machine at the gateway's address. */
export interface GatewaySide {
  /** Undefined: it is off. False: its kernel answers that nobody listens. */
  readonly isServing: boolean | undefined
  datagram(localPort: number, remote: Endpoint, bytes: Uint8Array): void
}

export class Network {
  weather: Weather = FAIR
  readonly filters = new Map<Lane, Filter>()
  readonly nat: Nat
  /** The address that the client has; undefined: no way leads out. */
  clientAddress: string | undefined = '192.168.1.2'
  /** The client's machine is off: nothing reaches it. */
  isClientOff = false
  gateway: GatewaySide = { isServing: undefined, datagram: () => undefined }
  /** Sees every datagram that leaves. */
  onDatagram: (bytes: Uint8Array, toGateway: boolean, port: number, remote?: Endpoint) => void = () =>
    undefined
  readonly #world: World
  readonly #sockets = new Map<string, ClientSocket>()
  #nextPort = 40_000
  /** Number of the packet that arrived last, in each direction. */
  readonly #arrived = { up: 0, down: 0 }
  #sent = 0

  constructor(world: World) {
    this.#world = world
    this.nat = new Nat('198.51.100.7', 120_000, 20_000 + world.random.integer(20_000))
  }

  // ---- the client's sockets

  bind(make: (local: Endpoint) => ClientSocket): ClientSocket | undefined {
    if (this.clientAddress === undefined) return undefined
    const socket = make({ address: this.clientAddress, port: ++this.#nextPort })
    this.#sockets.set(keyOf(socket.local), socket)
    return socket
  }

  unbind({ local }: ClientSocket): void {
    this.#sockets.delete(keyOf(local))
  }

  get socketCount(): number {
    return this.#sockets.size
  }

  freshPort(): number {
    return ++this.#nextPort
  }

  // ---- datagrams

  fromClient(socket: ClientSocket, toPort: number, bytes: Uint8Array): void {
    // The address has gone, and the route with it.
    if (socket.local.address !== this.clientAddress) return
    const lane = laneOf(toPort, bytes)
    const now = this.#world.now
    const { port, expired } = this.nat.out(now, `${keyOf(socket.local)}/${toPort}`)
    if (expired) this.#world.fault('nat-expired')
    const remote = { address: this.nat.publicAddress, port }
    this.onDatagram(bytes, true, toPort, remote)
    const filter = this.filters.get(lane)
    if (filter !== undefined) {
      this.#filtered(filter, lane, socket, toPort)
      return
    }
    this.#launch(bytes, 'up', lane, (arrived) => {
      const { isServing } = this.gateway
      if (isServing === true) this.gateway.datagram(toPort, remote, arrived)
      else if (isServing === false) this.#icmp(socket, toPort)
    })
  }

  fromGateway(localPort: number, remote: Endpoint, bytes: Uint8Array): void {
    this.onDatagram(bytes, false, localPort)
    const lane = laneOf(localPort, bytes)
    if (this.filters.has(lane)) {
      this.#world.fault('swallowed', lane)
      return
    }
    this.#launch(bytes, 'down', lane, (arrived) => {
      const key = this.nat.in(this.#world.now, remote.address, remote.port)
      const [local = '', port = ''] = key?.split('/') ?? []
      if (this.isClientOff || Number(port) !== localPort || !local.startsWith(`${this.clientAddress} `))
        return
      this.#sockets.get(local)?.datagram(arrived, localPort)
    })
  }

  /** Somebody on the way sends this, in the name of the gateway. */
  forgeToClient(socket: ClientSocket, fromPort: number, bytes: Uint8Array): void {
    this.#world.clock.setTimer(this.delayMs(), () => {
      if (!this.isClientOff && socket.local.address === this.clientAddress) socket.datagram(bytes, fromPort)
    })
  }

  /** The same in anybody's name. */
  forgeToGateway(localPort: number, remote: Endpoint, bytes: Uint8Array): void {
    this.#world.clock.setTimer(this.delayMs(), () => {
      if (this.gateway.isServing === true) this.gateway.datagram(localPort, remote, bytes)
    })
  }

  get sockets(): readonly ClientSocket[] {
    return [...this.#sockets.values()]
  }

  /** One way, as the weather is. */
  delayMs(): number {
    return this.weather.delayMs + this.#world.random.fraction() * this.weather.jitterMs
  }

  /** Does a segment of this kind of stream get through now? */
  streamFilter(kind: 'tcp' | 'tls', clientAddress: string): Filter | undefined {
    if (clientAddress !== this.clientAddress || this.isClientOff) return 'swallow'
    return this.filters.get(kind)
  }

  #filtered(filter: Filter, lane: Lane, socket: ClientSocket, toPort: number): void {
    this.#world.fault('swallowed', lane)
    if (filter === 'refuse') this.#icmp(socket, toPort)
  }

  #icmp(socket: ClientSocket, toPort: number): void {
    this.#world.clock.setTimer(this.delayMs(), () => {
      if (this.isClientOff || socket.local.address !== this.clientAddress) return
      this.#world.fault('icmp-error', toPort)
      socket.unreachable(toPort)
    })
  }

  #launch(
    bytes: Uint8Array,
    direction: 'up' | 'down',
    lane: Lane,
    deliver: (bytes: Uint8Array) => void
  ): void {
    const world = this.#world
    const { loss, ikeLoss, duplication, corruption } = this.weather
    if (world.chance(loss) || (lane !== 'esp-4500' && world.chance(ikeLoss))) {
      world.fault('lost', direction)
      return
    }
    this.#fly(Uint8Array.from(bytes), direction, deliver)
    if (world.chance(duplication)) {
      world.fault('duplicated', direction)
      this.#fly(Uint8Array.from(bytes), direction, deliver)
    }
    if (world.chance(corruption)) {
      // Beside the packet as it was: it would otherwise just be lost, which is another fault.
      const broken = Uint8Array.from(bytes)
      const at = world.random.integer(broken.length)
      broken[at] = (broken[at] ?? 0) ^ (1 << world.random.integer(8))
      world.fault('corrupted', direction)
      this.#fly(broken, direction, deliver)
    }
  }

  #fly(bytes: Uint8Array, direction: 'up' | 'down', deliver: (bytes: Uint8Array) => void): void {
    const world = this.#world
    const number = ++this.#sent
    let delayMs = this.delayMs()
    if (world.chance(this.weather.reordering)) {
      delayMs += world.between(OVERTAKEN_MS.least, OVERTAKEN_MS.most)
      world.fault('delayed', direction)
    }
    world.clock.setTimer(delayMs, () => {
      if (number < this.#arrived[direction]) world.fault('reordered', direction)
      else this.#arrived[direction] = number
      world.note(direction, bytes.length)
      deliver(bytes)
    })
  }
}

export function keyOf({ address, port }: Endpoint): string {
  return `${address} ${port}`
}

export function laneOf(gatewayPort: number, bytes: Uint8Array): Lane {
  if (gatewayPort === 500) return 'ike-500'
  return classifyDatagram(bytes, 0, bytes.length) === DatagramKind.ESP ? 'esp-4500' : 'ike-4500'
}
