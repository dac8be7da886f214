/**
 * A gateway and the network in front of it on a virtual clock: a real `IkeResponder`, fake transports that lead to it,
 * and switches for everything that a network can do to them.
 * @module
 */
import type { Candidate, Opened } from '../../src/client/openings.ts'
import { IkeResponder } from '../../src/ike/responder.ts'
import type { IkeSession } from '../../src/ike/session.ts'
import type { ResponderConfig, ResponderPolicy } from '../../src/ike/types.ts'
import {
  type EspTransmit,
  NO_FACTS,
  type Transport,
  type TransportFailure,
  type TransportHandlers,
  type TransportStats
} from '../../src/transport/types.ts'
import type { Endpoint, Path, TransportKind } from '../../src/wire/endpoint.ts'
import { readMessageHeader } from '../../src/wire/ike-header.ts'
import { pathPair, responderConfig } from './ike-pair.ts'
import { SeededRandom } from './seeded-random.ts'
import type { VirtualClock } from './virtual-clock.ts'

/** What the network does with one kind of transport. */
export interface Weather {
  /** Opening takes this long; a failure: it does not open; `never`: it stays pending until it is aborted. */
  open: number | TransportFailure | 'never'
  /** IKE messages pass. */
  ike: boolean
  /** IKE messages to port 4500 pass (UDP). */
  natT: boolean
  /** ESP packets pass. */
  esp: boolean
}

const ONE_WAY_MS = 5
const PORTS = { udp: 500, tcp: 4500, tls: 443 } as const
export const REFUSED: TransportFailure = { code: 'connection-refused', message: 'The connection was refused' }
export const RESET: TransportFailure = { code: 'connection-reset', message: 'The connection was reset' }

/** A transport that remembers everything that was done to it. */
export class FakeTransport implements Transport {
  readonly kind: TransportKind
  readonly via = null
  readonly address: string
  readonly path: Path
  readonly outerRemote: Endpoint
  readonly maxEspLength = 1400
  readonly stats: TransportStats = { bytesIn: 0, bytesOut: 0, espDropped: 0, malformed: 0 }
  readonly facts = NO_FACTS
  readonly esp: EspTransmit = {
    buffer: new Uint8Array(0),
    writable: true,
    reserve: () => -1,
    commit() {},
    flush() {}
  }
  /** Exchange types of the requests and answers that were sent on it, in order. */
  readonly sent: { exchangeType: number; messageId: number; bytes: Uint8Array; path: Path }[] = []
  closeCalls = 0
  keepalives = 0
  /** Why it ended. */
  ended: TransportFailure | undefined
  handlers: TransportHandlers | undefined
  #told = false
  readonly #send: (from: FakeTransport, message: Uint8Array, path: Path) => void

  constructor(
    kind: TransportKind,
    address: string,
    path: Path,
    send: (from: FakeTransport, message: Uint8Array, path: Path) => void
  ) {
    this.kind = kind
    this.address = address
    this.path = path
    this.outerRemote = path.remote
    this.#send = send
  }

  setHandlers(handlers: TransportHandlers): void {
    this.handlers = handlers
    if (this.ended !== undefined) queueMicrotask(() => this.#tell())
  }

  sendIke(message: Uint8Array, path: Path): void {
    if (this.ended !== undefined) return
    const { header } = readMessageHeader(message)
    const bytes = Uint8Array.from(message)
    this.sent.push({ exchangeType: header.exchangeType, messageId: header.messageId, bytes, path })
    this.#send(this, bytes, path)
  }

  sendNatKeepalive(): void {
    this.keepalives++
  }

  close(): Promise<void> {
    this.closeCalls++
    this.end({ code: 'closed', message: 'Closed' })
    return Promise.resolve()
  }

  /** The transport ends, by itself or because it was closed; told once and not from inside the caller. */
  end(failure: TransportFailure): void {
    if (this.ended !== undefined) return
    this.ended = failure
    queueMicrotask(() => this.#tell())
  }

  #tell(): void {
    if (this.#told || this.handlers === undefined || this.ended === undefined) return
    this.#told = true
    this.handlers.onClose(this.ended)
  }
}

export interface SiteOptions {
  readonly gateway?: Partial<ResponderConfig>
  readonly policy?: Partial<ResponderPolicy>
  readonly seed?: number
}

export class VirtualSite {
  readonly clock: VirtualClock
  readonly weather: Record<TransportKind, Weather> = {
    udp: fair(),
    tcp: fair(),
    tls: fair()
  }
  /** Every transport that was ever opened. */
  readonly transports: FakeTransport[] = []
  /** Openings that were begun, in order. */
  readonly attempts: Candidate[] = []
  /** Called when the gateway has answered on a transport; for gateways that close behind their answers. */
  onAnswer: (transport: FakeTransport, message: Uint8Array) => void = () => undefined
  /** Messages of either direction that get lost although the weather is fair. */
  swallow: (transport: FakeTransport, exchangeType: number) => boolean = () => false
  /** Called when the client's message is about to reach the gateway. */
  onRequest: (transport: FakeTransport, message: Uint8Array) => void = () => undefined
  /** Where the client is. */
  localAddress = '198.51.100.2'
  gateway: IkeResponder
  /** Further gateways, by address. */
  readonly #others = new Map<string, IkeResponder>()
  #options: SiteOptions
  readonly #wire = new Map<number, { transport: FakeTransport; path: Path }>()
  readonly #gatewayPaths = new Map<number, Path>()
  #timer: { cancel(): void } | undefined
  #generation = 0

  constructor(clock: VirtualClock, options: SiteOptions = {}) {
    this.clock = clock
    this.#options = options
    this.gateway = this.#newGateway()
  }

  /** The gateway forgets everything; what is given is new in its configuration. */
  restart(changes: SiteOptions = {}): void {
    this.#options = { ...this.#options, ...changes }
    this.gateway = this.#newGateway()
  }

  /** Counts its restarts: SAs of an earlier one are unknown. */
  get generation(): number {
    return this.#generation
  }

  /** Another gateway, at an address of its own. */
  addGateway(address: string, changes: Partial<ResponderConfig> = {}): IkeResponder {
    const gateway = new IkeResponder(responderConfig(changes, this.#options.policy), {
      random: new SeededRandom(1000 + this.#others.size),
      wallClockMs: () => Date.UTC(2026, 5, 1)
    })
    this.#others.set(address, gateway)
    return gateway
  }

  /** ESP with an SPI that the gateway does not know arrives. */
  strayEsp(transport: FakeTransport, spi: number): void {
    const { path } = transport
    const gatewayPath = this.#gatewayPaths.get((path.natT ?? path).id)
    if (gatewayPath === undefined || transport.ended !== undefined || !this.weather[transport.kind].esp)
      return
    this.clock.setTimer(ONE_WAY_MS, () => {
      this.gateway.unknownEsp(this.clock.now(), spi, gatewayPath)
      this.#drain()
    })
  }

  get sessions(): readonly IkeSession[] {
    return [this.gateway, ...this.#others.values()].flatMap(({ sessions }) => sessions)
  }

  /** Transports that are neither closed nor broken. */
  get alive(): FakeTransport[] {
    return this.transports.filter(({ ended }) => ended === undefined)
  }

  of(kind: TransportKind): FakeTransport[] {
    return this.transports.filter((transport) => transport.kind === kind)
  }

  last(kind: TransportKind): FakeTransport {
    const transport = this.of(kind).at(-1)
    if (transport === undefined) throw new Error(`no ${kind} transport was opened`)
    return transport
  }

  /** Applies something to a session of the gateway's, such as closing it. */
  tell(apply: (session: IkeSession, now: number) => void): void {
    for (const session of this.sessions) apply(session, this.clock.now())
    this.#drain()
  }

  readonly open = async (candidate: Candidate, signal: AbortSignal): Promise<Opened> => {
    this.attempts.push(candidate)
    const { open } = this.weather[candidate.kind]
    if (typeof open === 'object') return { failure: open }
    if (open === 'never') {
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve()
        else signal.addEventListener('abort', () => resolve(), { once: true })
      })
      return { failure: { code: 'closed', message: 'Given up' } }
    }
    if (open > 0) await new Promise<void>((resolve) => void this.clock.setTimer(open, resolve))
    return { transport: this.makeTransport(candidate) }
  }

  makeTransport({ kind, address }: Candidate): FakeTransport {
    const local = { address: this.localAddress, port: 40_000 + this.transports.length }
    const first = pathPair(kind, local, { address, port: PORTS[kind] })
    let path = first.client
    this.#gatewayPaths.set(first.client.id, first.gateway)
    let natT: { client: Path; gateway: Path } | undefined
    if (kind === 'udp') {
      natT = pathPair('udp', { ...local, port: local.port + 10_000 }, { address, port: 4500 })
      this.#gatewayPaths.set(natT.client.id, natT.gateway)
      path = { ...path, natT: natT.client }
    }
    const transport = new FakeTransport(kind, address, path, (from, message, on) =>
      this.#fromClient(from, message, on)
    )
    this.#wire.set(first.gateway.id, { transport, path })
    if (natT !== undefined) this.#wire.set(natT.gateway.id, { transport, path: natT.client })
    this.transports.push(transport)
    return transport
  }

  #newGateway(): IkeResponder {
    const { gateway, policy, seed = 7 } = this.#options
    return new IkeResponder(responderConfig(gateway, policy), {
      random: new SeededRandom(seed + this.#generation++),
      wallClockMs: () => Date.UTC(2026, 5, 1)
    })
  }

  #passes(transport: FakeTransport, clientPath: Path, message: Uint8Array): boolean {
    const { ike, natT } = this.weather[transport.kind]
    if (transport.ended !== undefined || !ike) return false
    if (this.swallow(transport, readMessageHeader(message).header.exchangeType)) return false
    return transport.kind !== 'udp' || clientPath.remote.port !== 4500 || natT
  }

  #fromClient(transport: FakeTransport, message: Uint8Array, clientPath: Path): void {
    const path = this.#gatewayPaths.get(clientPath.id)
    if (path === undefined || !this.#passes(transport, clientPath, message)) return
    this.clock.setTimer(ONE_WAY_MS, () => {
      this.onRequest(transport, message)
      const gateway = this.#others.get(path.local.address) ?? this.gateway
      gateway.receive(this.clock.now(), message, path)
      this.#drain()
    })
  }

  #drain(): void {
    const gateways = [this.gateway, ...this.#others.values()]
    for (const gateway of gateways)
      for (let next = gateway.poll(); next !== undefined; next = gateway.poll()) {
        const { output } = next
        if (output.type === 'send') this.#toClient(output.message, output.path)
      }
    this.#timer?.cancel()
    const at = Math.min(...gateways.map((gateway) => gateway.nextTimeout() ?? Number.POSITIVE_INFINITY))
    if (at === Number.POSITIVE_INFINITY) return
    this.#timer = this.clock.setTimer(at - this.clock.now(), () => {
      for (const gateway of gateways) gateway.timeout(this.clock.now())
      this.#drain()
    })
  }

  #toClient(message: Uint8Array, gatewayPath: Path): void {
    const wire = this.#wire.get(gatewayPath.id)
    if (wire === undefined || !this.#passes(wire.transport, wire.path, message)) return
    const bytes = Uint8Array.from(message)
    this.clock.setTimer(ONE_WAY_MS, () => {
      const { transport, path } = wire
      if (!this.#passes(transport, path, bytes)) return
      transport.handlers?.onIke(bytes, path)
      this.onAnswer(transport, bytes)
    })
  }
}

function fair(): Weather {
  return { open: 0, ike: true, natT: true, esp: true }
}
