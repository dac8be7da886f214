/**
 * The client's side of a virtual site: options, a tunnel that counts instead of carrying, and shortcuts for links.
 * @module
 */
import { type BringUpOptions, type BringUpResult, bringUp } from '../../src/client/bring-up.ts'
import type { ClientEvent } from '../../src/client/events.ts'
import { Farewells } from '../../src/client/farewell.ts'
import { GatewayAddresses } from '../../src/client/gateway-addresses.ts'
import { ikeOnlyHandlers, type Link } from '../../src/client/link.ts'
import { type ConnectOptions, DEFAULT_SESSION_TIMINGS } from '../../src/client/options.ts'
import { Redirects } from '../../src/client/redirects.ts'
import type { SessionEnvironment } from '../../src/client/session-environment.ts'
import { SessionFactory } from '../../src/client/session-factory.ts'
import type { Tunnel } from '../../src/client/tunnel.ts'
import type { TrafficCounters } from '../../src/client/watchdog.ts'
import type { ChildSaParameters } from '../../src/esp/types.ts'
import { IkeSession } from '../../src/ike/session.ts'
import type { EstablishedInfo, InitiatorConfig } from '../../src/ike/types.ts'
import { silentLogger } from '../../src/log.ts'
import type { RungReport } from '../../src/transport/ladder-types.ts'
import type { Transport, TransportHandlers } from '../../src/transport/types.ts'
import { initiatorConfig } from './ike-pair.ts'
import { SeededRandom } from './seeded-random.ts'
import type { FakeTransport, VirtualSite } from './virtual-site.ts'

export const GATEWAY_ADDRESS = '203.0.113.1'

let seeds = 100

export function clientSession(changes: Partial<InitiatorConfig> = {}): IkeSession {
  const environment = { random: new SeededRandom(++seeds), wallClockMs: () => Date.UTC(2026, 5, 1) }
  return new IkeSession(initiatorConfig(changes), environment)
}

/** One climb of the ladder on a site. */
export function climb(site: VirtualSite, changes: Partial<BringUpOptions> = {}) {
  const abort = new AbortController()
  const reports: RungReport[] = []
  const outcome: { result?: BringUpResult; error?: unknown } = {}
  const done = bringUp({
    ladder: { addresses: [GATEWAY_ADDRESS], order: ['udp', 'tcp', 'tls'] },
    timings: {},
    clock: site.clock,
    log: silentLogger,
    open: site.open,
    makeSession: () => clientSession(),
    onReport: (report) => reports.push(report),
    farewells: new Farewells(site.clock),
    signal: abort.signal,
    ...changes
  }).then(
    (result) => {
      outcome.result = result
    },
    (error: unknown) => {
      outcome.error = error
    }
  )
  return {
    abort,
    reports,
    outcome,
    done,
    isOver: () => outcome.result !== undefined || outcome.error !== undefined,
    /** What was said, such as `udp failed timeout`. */
    said: () =>
      reports.map(({ rung, outcome: what, reason }) => [rung.transport, what, reason ?? ''].join(' ').trim())
  }
}

/** An established link on a transport of the first kind in the order. */
export async function establish(site: VirtualSite, order: readonly ('udp' | 'tcp' | 'tls')[]): Promise<Link> {
  const climbing = climb(site, { ladder: { addresses: [GATEWAY_ADDRESS], order } })
  await site.clock.until(climbing.isOver, 30_000)
  const { result, error } = climbing.outcome
  if (result === undefined) throw error
  const { link } = result
  link.transport.setHandlers(
    ikeOnlyHandlers(
      (message, path) => link.driver.receive(message, path),
      () => undefined
    )
  )
  return link
}

/** Counts what a real one would carry; whether a packet arrives, the site decides. */
export class FakeTunnel {
  readonly interfaceName = 'ike7'
  readonly mtu = 1400
  readonly remoteTs: readonly string[] = ['10.0.0.0/8']
  readonly calls: string[] = []
  readonly children = new Set<number>()
  /** Generation of the gateway, and its SPI, by our inbound SPI. */
  readonly #known = new Map<number, { readonly generation: number; readonly spiOut: number }>()
  readonly configured: EstablishedInfo[] = []
  active: number | undefined
  transport: Transport | undefined
  virtualAddresses: readonly string[] = []
  probes = 0
  repinned = false
  /** What `configure` waits for. */
  configuring: () => Promise<void> = () => Promise.resolve()
  espPacketsIn = 0
  espPacketsOut = 0
  expectingOut = 0
  trafficOut = 0
  blocked = false
  /** Somebody inside answers questions. */
  witness = false
  /** Whoever the traffic is for does not answer. */
  unheard = false
  /** The gateway's ESP follows where its IKE goes. */
  follows = true
  /** Where the SA in use was set up. */
  #boundTo: string | undefined
  #witnessProved = false
  #witnessMissed = 0
  readonly #site: VirtualSite
  #traffic: { cancel(): void } | undefined

  constructor(site: VirtualSite) {
    this.#site = site
  }

  asTunnel(): Tunnel {
    return this as unknown as Tunnel
  }

  ignoreProbes(): void {
    this.#witnessProved = false
    this.calls.push('ignore-probes')
  }

  /** SPIs that the gateway receives on. */
  get spisOut(): number[] {
    return [...this.#known.values()].map(({ spiOut }) => spiOut)
  }

  sendsOnAny(spisIn: Pick<ReadonlySet<number>, 'has'>): boolean {
    return [...this.children].some((spiIn) => spisIn.has(spiIn))
  }

  counters(): TrafficCounters & { bytesIn: number; bytesOut: number } {
    const { espPacketsIn, espPacketsOut, expectingOut, trafficOut, blocked } = this
    return {
      ...{ espPacketsIn, espPacketsHere: espPacketsIn, espPacketsOut, expectingOut, trafficOut, blocked },
      witness: this.#witnessProved ? (this.#witnessMissed >= 3 ? 'silent' : 'answers') : 'none',
      ...{ bytesIn: espPacketsIn * 100, bytesOut: espPacketsOut * 100 }
    }
  }

  look() {
    return this.counters()
  }

  /** A conversation: packets go out every 20 ms, and each is answered where ESP passes. */
  startTraffic(): void {
    const tick = (): void => {
      this.send()
      this.#traffic = this.#site.clock.setTimer(20, tick)
    }
    tick()
  }

  stopTraffic(): void {
    this.#traffic?.cancel()
    this.#traffic = undefined
  }

  /** One packet that expects an answer. */
  send(): void {
    const transport = this.transport as FakeTransport | undefined
    if (transport === undefined || this.active === undefined) return
    this.espPacketsOut++
    this.expectingOut++
    this.trafficOut++
    if (this.unheard) return
    if (this.#passes(transport)) this.espPacketsIn++
  }

  #passes(transport: FakeTransport): boolean {
    if (!this.follows && transport.kind !== this.#boundTo) return false
    const known = this.#known.get(this.active ?? 0)
    if (known?.generation !== this.#site.generation) {
      this.#site.strayEsp(transport, known?.spiOut ?? 0)
      return false
    }
    return transport.ended === undefined && this.#site.weather[transport.kind].esp
  }

  install(child: ChildSaParameters): void {
    this.children.add(child.inbound.spi)
    this.#known.set(child.inbound.spi, { generation: this.#site.generation, spiOut: child.outbound.spi })
  }
  activate(spiIn: number): void {
    this.active = spiIn
  }
  remove(spiIn: number): void {
    this.children.delete(spiIn)
    if (this.active === spiIn) this.active = undefined
  }
  addToSequences(delta: bigint): void {
    this.calls.push(`addToSequences ${delta}`)
  }
  logKeys(): void {}
  handlers(
    _transport: Transport,
    onIke: TransportHandlers['onIke'],
    onClose: TransportHandlers['onClose']
  ): TransportHandlers {
    return ikeOnlyHandlers(onIke, onClose)
  }
  use(transport: Transport | undefined): void {
    this.transport = transport
    this.calls.push(`use ${transport?.kind ?? 'nothing'}`)
  }
  sendProbe(isFirst: boolean): void {
    this.probes++
    if (isFirst) this.#witnessMissed = 0
    const transport = this.transport as FakeTransport | undefined
    if (transport === undefined || !this.witness) return
    this.espPacketsOut++
    if (this.#witnessProved) this.expectingOut++
    this.#witnessMissed++
    if (!this.#passes(transport)) return
    this.espPacketsIn++
    this.#witnessProved = true
    this.#witnessMissed = 0
  }
  async configure(info: EstablishedInfo, transport: Transport): Promise<void> {
    this.#boundTo = transport.kind
    this.configured.push(info)
    this.virtualAddresses = info.config?.addresses.map(({ address }) => address) ?? []
    await this.configuring()
  }
  async keepOutside(addresses: readonly string[]): Promise<void> {
    this.calls.push(`keepOutside ${addresses.join()}`)
  }
  repin(): Promise<boolean> {
    return Promise.resolve(this.repinned)
  }
}

/** Options of a session with the virtual site's gateway. */
export function connectOptions(changes: Partial<ConnectOptions> = {}): ConnectOptions {
  const { localIdentity, remoteIdentity, localAuth, remoteAuth, ikeProposals, espProposals, timers } =
    initiatorConfig()
  return {
    server: 'gw.example.org',
    sessionName: 'gw',
    ...{ localIdentity, remoteIdentity, localAuth, remoteAuth, ikeProposals, espProposals, timers },
    order: ['udp', 'tcp', 'tls'],
    ports: { ike: 500, natT: 4500, tcp: 4500, tls: 443 },
    tls: { name: undefined, verify: false, ca: [] },
    proxy: { kind: 'none' },
    portal: { enabled: false, url: 'http://portal.test/', api: undefined },
    localTs: [],
    remoteTs: [],
    interfaceName: undefined,
    mtu: undefined,
    netns: undefined,
    routes: true,
    dns: true,
    script: undefined,
    timeoutMs: 60_000,
    reconnectTimeoutMs: changes.timeoutMs ?? 60_000,
    timings: DEFAULT_SESSION_TIMINGS,
    ladder: {},
    initialContact: false,
    resume: true,
    redirect: true,
    setuid: undefined,
    pidFile: undefined,
    capture: { outer: undefined, inner: undefined },
    keyDirectory: undefined,
    rememberNetworks: false,
    ...changes
  }
}

/** Parts of a session's world that a test replaces. */
export interface Overrides {
  readonly lookUp?: (signal: AbortSignal) => Promise<readonly string[]>
  /** Of gateways that others send us to. */
  readonly lookUpOther?: (host: string, signal: AbortSignal) => Promise<readonly string[]>
  readonly recall?: SessionEnvironment['recall']
  readonly remember?: SessionEnvironment['remember']
}

/** Everything that a session needs, on a virtual site. */
export function sessionEnvironment(site: VirtualSite, options: ConnectOptions, changes: Overrides = {}) {
  const tunnel = new FakeTunnel(site)
  const events: ClientEvent[] = []
  const lookUp = changes.lookUp ?? (async () => [GATEWAY_ADDRESS])
  const environment: SessionEnvironment = {
    clock: site.clock,
    chance: Math.random,
    log: silentLogger,
    factory: new SessionFactory(options, {
      random: new SeededRandom(++seeds),
      wallClockMs: () => Date.UTC(2026, 5, 1)
    }),
    tunnel: tunnel.asTunnel(),
    open: site.open,
    addresses: new GatewayAddresses(lookUp, site.clock),
    redirects: new Redirects({
      clock: site.clock,
      lookUp: changes.lookUpOther ?? (async () => []),
      onEvent: (event) => events.push(event)
    }),
    sourceFor: () => site.localAddress,
    streamTarget: { via: null, addresses: undefined },
    recall: changes.recall ?? (async () => undefined),
    remember: changes.remember ?? (async () => undefined),
    onEvent: (event) => events.push(event)
  }
  return { environment, tunnel, events }
}
