/**
 * The relay: TCP and TLS listeners in front of a standard IKEv2 server's UDP port 4500 (RFC 9329). Each stream that begins with
 * the prefix gets a UDP socket of its own; see `stream.ts` for what is and is not done to what passes.
 * @module
 */
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import type { Duplex } from 'node:stream'
import { ResolveError } from '../errors.ts'
import { NativeUnavailableError } from '../native/libc.ts'
import { awaitPrefix, type Unaccepted } from '../transport/stream-accept.ts'
import { type Connection, StreamServer } from '../transport/stream-server.ts'
import type { Endpoint } from '../wire/endpoint.ts'
import { Admission } from './admission.ts'
import { DatagramLeg } from './datagram-leg.ts'
import { handToWebServer } from './fallback.ts'
import { MetricsServer, RelayMetrics, type StreamEnd } from './metrics.ts'
import { openLane } from './open-lane.ts'
import { DEFAULT_RELAY_LIMITS, formatEndpoint, type RelayLimits, type RelayOptions } from './options.ts'
import { loopbackSource } from './source-address.ts'
import { RelayStream } from './stream.ts'
import { NativeUdpLeg, type UdpLeg, type UdpLegHandlers } from './udp-leg.ts'

export interface Relay {
  /** Where it listens, in the order of the options. */
  readonly listening: readonly Endpoint[]
  readonly metricsListening: Endpoint | undefined
  readonly target: Endpoint
  readonly metrics: RelayMetrics
  /** Takes no new connections, ends all streams after what they hold, and resolves when all is closed. */
  close(): Promise<void>
}

/** Deadlines are checked so often. */
const SWEEP_INTERVAL_MS = 500
const WITHOUT_PREFIX = {
  'other-protocol': 'wrong-prefix',
  timeout: 'prefix-timeout',
  closed: 'client-closed',
  broken: 'client-reset'
} as const

/**
 * Listens. Rejects when that is not possible: nothing is left open then.
 * @throws ResolveError (`target-not-found`), SystemError (`listen-failed`), DataError (`bad-tls-credentials`)
 */
export async function startRelay(options: RelayOptions): Promise<Relay> {
  const relay = new RelayServer(options, await resolveTarget(options))
  try {
    await relay.listen()
  } catch (error) {
    await relay.close()
    throw error
  }
  return relay
}

class RelayServer implements Relay {
  readonly target: Endpoint
  readonly metrics = new RelayMetrics()
  readonly #options: RelayOptions
  readonly #limits: RelayLimits
  readonly #admission: Admission
  readonly #streams = new Set<RelayStream>()
  /** Connections that have not said the whole prefix. */
  readonly #silent = new Set<Duplex>()
  readonly #sweep: NodeJS.Timeout
  #server: StreamServer | undefined
  #metricsServer: MetricsServer | undefined
  #native: boolean
  #closing = false

  constructor(options: RelayOptions, target: Endpoint) {
    this.#options = options
    this.target = target
    this.#limits = { ...DEFAULT_RELAY_LIMITS, ...options.limits }
    this.#admission = new Admission(this.#limits)
    this.#native = options.nativeSockets ?? true
    this.#sweep = setInterval(() => this.#checkDeadlines(), SWEEP_INTERVAL_MS)
  }

  get listening(): readonly Endpoint[] {
    return (this.#server?.listening ?? []).map(({ address, port }) => ({ address, port }))
  }

  get metricsListening(): Endpoint | undefined {
    return this.#metricsServer?.listening
  }

  async listen(): Promise<void> {
    const { listeners, metrics, sockets, log } = this.#options
    this.#server = await StreamServer.open({
      listeners,
      handshakeTimeoutMs: this.#limits.tlsHandshakeTimeoutMs,
      sockets,
      log,
      admit: (address, kind) => this.#admit(address, kind),
      release: (address) => this.#release(address),
      onHandshakeFailed: () => this.metrics.refused('tls-failed'),
      onConnection: (stream, connection) => void this.#accept(stream, connection)
    })
    for (const { kind, ...at } of this.#server.listening)
      log.log('info', 'listening', { at: formatEndpoint(at), kind, target: formatEndpoint(this.target) })
    if (metrics === undefined) return
    this.#metricsServer = await MetricsServer.open(this.metrics, metrics, log)
    log.log('info', 'metrics', { at: `http://${formatEndpoint(this.#metricsServer.listening)}/metrics` })
  }

  async close(): Promise<void> {
    this.#closing = true
    const closed = [this.#server?.close(this.#limits.closeGraceMs), this.#metricsServer?.close()]
    for (const stream of this.#streams) stream.end('shutdown')
    for (const stream of this.#silent) stream.destroy()
    await Promise.all(closed)
    clearInterval(this.#sweep)
  }

  #admit(address: string, kind: 'tcp' | 'tls'): boolean {
    const refusal = this.#admission.admit(address, performance.now())
    if (refusal !== undefined) {
      this.metrics.refused(refusal)
      this.#options.log.log('debug', 'connection refused', { client: address, reason: refusal })
      return false
    }
    this.metrics.connected(kind)
    this.metrics.connectionsOpen.value = this.#admission.openConnections
    return true
  }

  #release(address: string): void {
    this.#admission.release(address)
    this.metrics.connectionsOpen.value = this.#admission.openConnections
  }

  async #accept(stream: Duplex, { remote }: Connection): Promise<void> {
    const { prefixTimeoutMs } = this.#limits
    this.#silent.add(stream)
    const prefixed = await awaitPrefix(stream, { prefixTimeoutMs }, (head) => {
      this.#silent.delete(stream)
      this.#relay(stream, head, remote)
    })
    this.#silent.delete(stream)
    if (prefixed.outcome !== 'accepted') this.#turnAway(prefixed, remote)
  }

  #turnAway(unaccepted: Unaccepted, client: Endpoint): void {
    const { fallback, log } = this.#options
    let reason: StreamEnd = this.#closing ? 'shutdown' : WITHOUT_PREFIX[unaccepted.outcome]
    if (unaccepted.outcome === 'other-protocol' && fallback !== undefined && !this.#closing) {
      reason = 'fallback'
      handToWebServer(unaccepted.stream, client, fallback, log)
    } else if (unaccepted.outcome === 'other-protocol') unaccepted.stream.destroy()
    this.metrics.ended(reason)
    log.log('info', 'stream ended', { client: formatEndpoint(client), reason })
  }

  /** @param head what came behind the prefix */
  #relay(stream: Duplex, head: Uint8Array, client: Endpoint): void {
    const relayed = new RelayStream(
      (events) => {
        const { lane, directStream } = openLane(stream, head, events)
        this.metrics.relayed(directStream)
        return lane
      },
      client,
      {
        limits: this.#limits,
        metrics: this.metrics,
        log: this.#options.log,
        now: () => performance.now(),
        openLeg: (from, handlers) => this.#openLeg(from, handlers)
      },
      () => this.#streams.delete(relayed)
    )
    this.#streams.add(relayed)
    relayed.start()
    if (this.#closing) relayed.end('shutdown')
  }

  #openLeg(client: Endpoint, handlers: UdpLegHandlers): UdpLeg | Promise<UdpLeg> {
    const spread = this.#options.spreadSources ?? true
    const localAddress = spread ? loopbackSource(client.address, this.target.address) : undefined
    const bufferBytes = this.#options.sockets?.bufferBytes
    const leg = { remote: this.target, localAddress, bufferBytes }
    if (this.#native) {
      try {
        return new NativeUdpLeg(leg, handlers)
      } catch (error) {
        if (!(error instanceof NativeUnavailableError)) throw error
        this.#native = false
        this.#options.log.log('warn', "Node's own datagrams are used: slower", { message: error.message })
      }
    }
    return DatagramLeg.open(leg, handlers)
  }

  #checkDeadlines(): void {
    const now = performance.now()
    for (const stream of this.#streams) stream.checkDeadlines(now)
  }
}

async function resolveTarget({ target }: RelayOptions): Promise<Endpoint> {
  if (isIP(target.host) !== 0) return { address: target.host, port: target.port }
  try {
    const { address } = await lookup(target.host)
    return { address, port: target.port }
  } catch (cause) {
    throw new ResolveError('target-not-found', `The target ${target.host} does not resolve to an address.`, {
      hint: 'Check the name after --target, or give an address.',
      cause
    })
  }
}
