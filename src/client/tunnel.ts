/**
 * The client's end of the tunnel: TUN device, SAs, pump, and what the host was told about them.
 *
 * One owner: the device, its addresses, routes and DNS are made here and taken back here, in `close`, whatever happened.
 * Where and by whom, its `TunnelPlace` knows.
 * The device outlives changes of path and fresh IKE SAs, so that inner connections live on.
 * @module
 */
import { libcryptoFacility } from '../crypto/packet-cipher.ts'
import type { RandomSource } from '../crypto/types.ts'
import { espFate } from '../dataplane/esp-fate.ts'
import type { DataPathFacts } from '../dataplane/facts.ts'
import { maxInnerLength, STREAM_TUNNEL_MTU } from '../dataplane/mtu.ts'
import type { InnerCapture } from '../dataplane/peer-link.ts'
import { Pump } from '../dataplane/pump.ts'
import type { PumpStats } from '../dataplane/stats.ts'
import { Sad, type SoftLimits } from '../esp/sad.ts'
import type { ChildSaParameters } from '../esp/types.ts'
import type { EstablishedInfo, IkeKeyLog } from '../ike/types.ts'
import type { Transport, TransportHandlers } from '../transport/types.ts'
import type { Tun } from '../tun/types.ts'
import { addressToBytes } from '../wire/address.ts'
import { formatTrafficSelector } from '../wire/traffic-selectors.ts'
import { type ChildTerms, termsOf } from './child-terms.ts'
import { HostSide, type HostSideEnvironment } from './host-side.ts'
import { InnerProbes } from './inner-probes.ts'
import type { KeyTables } from './key-tables.ts'
import type { ConnectOptions } from './options.ts'
import { PathSize } from './path-size.ts'
import type { TrafficCounters } from './watchdog.ts'

/** What a Child SA has carried, in ESP packets and their bytes. */
export interface ChildTraffic {
  readonly packetsIn: number
  readonly bytesIn: number
  readonly packetsOut: number
  readonly bytesOut: number
}

/** The tunnel as people and monitors see it. */
export interface TunnelReport {
  /** Where ESP goes now; undefined: nowhere. */
  readonly transport: Transport | undefined
  readonly interface: string
  readonly mtu: number
  readonly dns: readonly string[]
  readonly dnsMode: string | null
  /** What could not be set as asked. */
  readonly notes: readonly string[]
  /** Of packets inside. */
  readonly traffic: PumpStats
  /** By inbound SPI. */
  readonly children: ReadonlyMap<number, ChildTraffic>
  readonly dataPath: DataPathFacts
}

export interface TunnelEnvironment extends HostSideEnvironment {
  readonly random: RandomSource
  readonly now: () => number
  readonly keyTables: KeyTables | undefined
  readonly capture: InnerCapture | undefined
  /** Bytes and packets after which a Child SA is rekeyed. */
  readonly softLimits: SoftLimits
  readonly onSoftLimit: (spiIn: number) => void
  readonly onDeviceGone: (reason: string) => void
}

const LEAST_IPV6_MTU = 1280
const LEAST_IPV4_MTU = 576

export class Tunnel {
  readonly #options: ConnectOptions
  readonly #environment: TunnelEnvironment
  readonly #tun: Tun
  readonly #sad: Sad
  readonly #pump: Pump
  readonly #host: HostSide
  #info: EstablishedInfo | undefined
  #transport: Transport | undefined
  /** Of the Child SA that came last. */
  #lastTerms: ChildTerms | undefined
  #mtu = STREAM_TUNNEL_MTU
  readonly #probes: InnerProbes
  /** Questions of ours; and those of them that nobody has to answer. */
  #probesSent = 0
  #probesNotCounted = 0
  readonly #size: PathSize
  /** What passes on the path in use, as far as it had to be found out. */
  #pathLimit = Number.POSITIVE_INFINITY
  /** Authentic ESP that came over another transport than the one in use. */
  #strayPacketsIn = 0

  /**
   * Makes the device, before anybody is asked for a connection: what is missing shows at once.
   * @throws SystemError, AuthenticationError (privileges), UsageError (its name)
   */
  static async open(options: ConnectOptions, environment: TunnelEnvironment): Promise<Tunnel> {
    const { place } = environment
    try {
      return new Tunnel(options, environment, place.openDevice())
    } catch (error) {
      await place.close()
      throw error
    }
  }

  private constructor(options: ConnectOptions, environment: TunnelEnvironment, tun: Tun) {
    this.#options = options
    this.#environment = environment
    this.#tun = tun
    this.#host = new HostSide(options, environment)
    this.#sad = new Sad({ random: environment.random, softLimits: environment.softLimits })
    this.#pump = new Pump({
      tun,
      sad: this.#sad,
      logger: environment.log.child('dataplane'),
      mtu: this.#mtu,
      now: environment.now,
      capture: environment.capture,
      onTunGone: environment.onDeviceGone,
      observer: { onSoftLimit: (child) => environment.onSoftLimit(child.parameters.inbound.spi) }
    })
    this.#size = new PathSize(environment.random)
    this.#size.onResult = (lengthBytes) => this.#sizeFound(lengthBytes)
    this.#probes = new InnerProbes(environment.random, this.#size)
    this.#pump.inspector = this.#probes
  }

  get interfaceName(): string {
    return this.#tun.name
  }

  get mtu(): number {
    return this.#mtu
  }

  get virtualAddresses(): readonly string[] {
    return this.#info?.config?.addresses.map(({ address }) => address) ?? []
  }

  /** @returns whether one of the Child SAs with these inbound SPIs is sent on */
  sendsOnAny(spisIn: Pick<ReadonlySet<number>, 'has'>): boolean {
    return this.#sad.sending.some(({ parameters }) => spisIn.has(parameters.inbound.spi))
  }

  /**
   * What was agreed on last: while a fresh SA takes over, the old one is still there; and where the peer took the only one away, another
   * with the same selectors is being asked for.
   */
  get #terms(): ChildTerms | undefined {
    const child = this.#sad.sending.at(-1)
    return child === undefined ? this.#lastTerms : termsOf(child.parameters)
  }

  get remoteTs(): readonly string[] {
    return this.#terms?.remoteTs.map(formatTrafficSelector) ?? []
  }

  /** What the data path is made of now, and what is off and why. */
  get dataPathFacts(): DataPathFacts {
    const [child] = this.#sad.sending
    return {
      cipher: { backend: child?.outbound.backend ?? null, libcrypto: libcryptoFacility() },
      tun: this.#tun.offloads,
      transport: this.#transport?.facts ?? null
    }
  }

  get stats(): Pump['stats'] {
    return this.#pump.stats
  }

  /** For the watchdog, ten times a second. */
  look(): TrafficCounters {
    this.#probes.tick()
    this.#askSize()
    return this.counters()
  }

  counters(): TrafficCounters & { readonly bytesIn: number; readonly bytesOut: number } {
    const { packetsIn, packetsOut, bytesIn, bytesOut, dummies, expectingOut } = this.#pump.stats
    return {
      espPacketsIn: packetsIn + dummies,
      espPacketsHere: packetsIn + dummies - this.#strayPacketsIn,
      espPacketsOut: packetsOut,
      expectingOut: expectingOut - this.#probesNotCounted,
      trafficOut: expectingOut - this.#probesSent,
      witness: this.#probes.witness,
      blocked: this.#pump.blocked,
      bytesIn,
      bytesOut
    }
  }

  report(): TunnelReport {
    const children = this.#sad.children.map(({ inbound, outbound }) => {
      const traffic = {
        ...{ packetsIn: inbound.packets, bytesIn: inbound.bytes },
        ...{ packetsOut: outbound.packets, bytesOut: outbound.bytes }
      }
      return [inbound.spi, traffic] as const
    })
    return {
      transport: this.#transport,
      interface: this.#tun.name,
      mtu: this.#mtu,
      dns: !this.#host.isApplied || !this.#options.dns ? [] : (this.#info?.config?.dns ?? []),
      dnsMode: this.#host.dnsMode,
      notes: this.#host.notes,
      traffic: this.#pump.stats,
      children: new Map(children),
      dataPath: this.dataPathFacts
    }
  }

  // --- Child SAs

  install(child: ChildSaParameters): void {
    this.#environment.keyTables?.addChild(child)
    this.#sad.install(child)
    this.#lastTerms = termsOf(child)
  }

  activate(spiIn: number): void {
    this.#sad.activateOutbound(spiIn)
  }

  remove(spiIn: number): void {
    this.#sad.remove(spiIn)
  }

  addToSequences(delta: bigint): void {
    this.#sad.addToSequences(delta)
  }

  logKeys(keys: IkeKeyLog): void {
    this.#environment.keyTables?.addIke(keys)
  }

  // --- transports

  /** Could one of our ESP packets begin with these eight bytes? */
  recognisesEsp(buffer: Uint8Array, offset: number): boolean {
    return this.#sad.mayComeNext(buffer, offset)
  }

  /** Handlers for a transport of this session: ESP goes to the pump whichever transport brings it. */
  handlers(
    transport: Transport,
    onIke: TransportHandlers['onIke'],
    onClose: TransportHandlers['onClose']
  ): TransportHandlers {
    const pump = this.#pump
    return {
      onIke,
      onClose,
      onEsp: (buffer, offset, length, _path, ecn) => {
        const result = pump.handleEsp(buffer, offset, length, ecn)
        if (result >= 0 && transport !== this.#transport) this.#strayPacketsIn++
        return espFate(result)
      },
      onEspBatchEnd: () => pump.handleEspBatchEnd(),
      onWritable: () => pump.handleWritable(),
      onMaxEspLength: () => this.#fitMtu()
    }
  }

  /** Packets to these addresses must not go into the tunnel: a gateway may be there. */
  async keepOutside(addresses: readonly string[]): Promise<void> {
    await this.#host.keepOutside(addresses, this.#transport)
  }

  /** Where ESP goes from now on. */
  use(transport: Transport | undefined): void {
    this.#transport = transport
    this.#pump.setTransport(transport)
    this.#pathLimit = Number.POSITIVE_INFINITY
    this.#fitMtu()
    this.#measure()
    if (transport !== undefined) void this.#host.updatePinned(transport)
  }

  /**
   * Asks those inside the tunnel who are likely to answer, so that ESP can be judged without waiting for traffic.
   * @param isFirst of a series: a path, or a silence, begins
   */
  sendProbe(isFirst: boolean): void {
    if (isFirst) this.#probes.begin()
    for (const { packet, counts } of this.#probes.burst()) {
      if (!this.#pump.inject(packet)) continue
      this.#probesSent++
      if (!counts) this.#probesNotCounted++
    }
  }

  /** Whoever was asked does not answer over any path. */
  ignoreProbes(): void {
    this.#probes.disbelieve()
  }

  // --- the host

  /** Addresses, routes and DNS for this SA: applied the first time, adjusted when a fresh SA brings other addresses. */
  async configure(info: EstablishedInfo, transport: Transport): Promise<void> {
    const before = this.#info
    this.#info = info
    this.#transport = transport
    this.#probes.configure(info.config)
    if (before === undefined) {
      this.#mtu = this.#mtuFor(transport)
      this.#pump.setMtu(this.#mtu)
      await this.#host.apply(this.#tun.name, this.#mtu, { info, terms: this.#terms, transport })
    } else {
      this.#fitMtu()
      await this.#host.adjust({ info, terms: this.#terms, transport })
    }
    this.#measure()
    this.#askSize()
    this.#pump.resume()
  }

  /**
   * The network may have changed under us: finds the gateway's way outside the tunnel anew.
   * @returns true if it leads another way now
   */
  async repin(): Promise<boolean> {
    return this.#host.repin()
  }

  /** Takes everything back. Never rejects: what could not be undone is logged and stays in the journal. */
  async close(): Promise<void> {
    this.#pump.stop()
    await this.#host.undo()
    this.#tun.release()
    this.#sad.clear()
    await this.#environment.place.close().catch((error) => this.#complain(error))
  }

  /** A path has been taken into use: over UDP it may lose what is long, and nobody may say so. */
  #measure(): void {
    const { kind } = this.#transport ?? {}
    if (kind === 'udp' && this.#options.mtu === undefined && this.#info !== undefined)
      this.#size.begin(this.#mtu)
    else this.#size.end()
    this.#pump.setSegmentLimit(this.#size.caution)
  }

  #askSize(): void {
    const transport = this.#transport
    if (!this.#size.isAsking || transport === undefined) return
    const route = this.#probes.firstHop(addressToBytes(transport.outerRemote.address))
    for (const packet of this.#size.tick(route)) {
      if (!this.#pump.inject(packet)) continue
      this.#probesSent++
      this.#probesNotCounted++
    }
  }

  #sizeFound(lengthBytes: number): void {
    const isShort = lengthBytes < this.#mtu
    if (isShort) {
      this.#pathLimit = lengthBytes
      this.#environment.log.log('info', 'Longer packets are lost on this path without a word', {
        lengthBytes
      })
      this.#fitMtu()
    }
    // IPv6 inside keeps the MTU that it must have; TCP at least gets along with less.
    this.#pump.setSegmentLimit(isShort ? lengthBytes : undefined)
  }

  /** The MTU only shrinks while the session lasts: connections inside have got used to it. */
  #fitMtu(): void {
    const transport = this.#transport
    if (transport === undefined || this.#info === undefined) return
    const wanted = Math.min(this.#mtu, this.#mtuFor(transport))
    if (wanted === this.#mtu) return
    this.#mtu = wanted
    this.#pump.setMtu(wanted)
    this.#host.setMtu(wanted)
  }

  #mtuFor(transport: Transport): number {
    if (this.#options.mtu !== undefined) return this.#options.mtu
    const suite = this.#terms?.suite
    if (transport.kind !== 'udp' || suite === undefined) return STREAM_TUNNEL_MTU
    const hasIpv6 = this.virtualAddresses.some((address) => address.includes(':'))
    const least = hasIpv6 ? LEAST_IPV6_MTU : LEAST_IPV4_MTU
    const fits = maxInnerLength(transport.maxEspLength, suite)
    return Math.max(least, Math.min(STREAM_TUNNEL_MTU, fits, this.#pathLimit))
  }

  #complain(error: unknown): void {
    this.#environment.log.log('error', error instanceof Error ? error.message : String(error))
  }
}
