/**
 * The relay: TCP and TLS listeners in front of a standard IKEv2 server's UDP port 4500 (RFC 9329). Each stream gets a
 * UDP socket of its own; see `stream.ts` for what it does and does not do to what passes.
 * @module
 */
import { lookup } from 'node:dns/promises'
import { createServer, isIP, type Server, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { createServer as createTlsServer, type TlsOptions, type Server as TlsServer } from 'node:tls'
import { DataError, ResolveError, SystemError } from '../errors.ts'
import { NativeUnavailableError } from '../native/libc.ts'
import { plainAddress } from '../transport/plain-address.ts'
import { tuneStream } from '../transport/socket-tuning.ts'
import type { Endpoint } from '../wire/endpoint.ts'
import { Admission } from './admission.ts'
import { DatagramLeg } from './datagram-leg.ts'
import { handToWebServer } from './fallback.ts'
import { metricsServer, RelayMetrics } from './metrics.ts'
import {
  DEFAULT_RELAY_LIMITS,
  formatEndpoint,
  type RelayLimits,
  type RelayListener,
  type RelayOptions
} from './options.ts'
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
  readonly listening: Endpoint[] = []
  metricsListening: Endpoint | undefined
  readonly #options: RelayOptions
  readonly #limits: RelayLimits
  readonly #admission: Admission
  readonly #servers: Server[] = []
  readonly #sockets = new Set<Socket>()
  readonly #streams = new Set<RelayStream>()
  readonly #sweep: NodeJS.Timeout
  #native: boolean

  constructor(options: RelayOptions, target: Endpoint) {
    this.#options = options
    this.target = target
    this.#limits = { ...DEFAULT_RELAY_LIMITS, ...options.limits }
    this.#admission = new Admission(this.#limits)
    this.#native = options.nativeSockets ?? true
    this.#sweep = setInterval(() => this.#checkDeadlines(), SWEEP_INTERVAL_MS)
  }

  async listen(): Promise<void> {
    const { listeners, metrics, log } = this.#options
    for (const listener of listeners) {
      const at = await this.#listenOn(this.#createServer(listener), listener)
      this.listening.push(at)
      const kind = listener.tls === undefined ? 'tcp' : 'tls'
      log.log('info', 'listening', { at: formatEndpoint(at), kind, target: formatEndpoint(this.target) })
    }
    if (metrics !== undefined) {
      this.metricsListening = await this.#listenOn(metricsServer(this.metrics), metrics)
      log.log('info', 'metrics', { at: `http://${formatEndpoint(this.metricsListening)}/metrics` })
    }
  }

  async close(): Promise<void> {
    const closed = this.#servers.map(closeServer)
    for (const stream of this.#streams) stream.end('shutdown')
    const deadline = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy()
    }, this.#limits.closeGraceMs)
    await Promise.all(closed)
    clearTimeout(deadline)
    clearInterval(this.#sweep)
  }

  #createServer({ tls }: RelayListener): Server {
    if (tls === undefined) {
      return createServer((socket) => {
        if (this.#admit(socket, 'tcp')) this.#relay(socket, socket)
      })
    }
    const server = tlsServer({
      ...tls,
      minVersion: 'TLSv1.2',
      handshakeTimeout: this.#limits.tlsHandshakeTimeoutMs
    })
    server.on('connection', (socket: Socket) => this.#admit(socket, 'tls'))
    server.on('secureConnection', (socket) => this.#relay(socket, socket))
    server.on('tlsClientError', (error, socket) => {
      this.#options.log.log('debug', 'TLS handshake failed', {
        client: nameOf(socket),
        message: error.message
      })
      this.metrics.refused('tls-failed')
      socket.destroy()
    })
    return server
  }

  async #listenOn(server: Server, at: { address: string | undefined; port: number }): Promise<Endpoint> {
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause: NodeJS.ErrnoException) => reject(listenError(at, cause)))
      server.listen({ port: at.port, host: at.address }, resolve)
    })
    server.removeAllListeners('error')
    // accept(2) fails for want of descriptors, say: the listener stays
    server.on('error', (error) => this.#options.log.log('error', 'listener', { message: error.message }))
    this.#servers.push(server)
    return endpointOf(server)
  }

  /** @returns false: the socket was closed */
  #admit(socket: Socket, kind: 'tcp' | 'tls'): boolean {
    const address = plainAddress(socket.remoteAddress ?? '')
    const refusal = this.#admission.admit(address, performance.now())
    if (refusal !== undefined) {
      this.metrics.refused(refusal)
      this.#options.log.log('debug', 'connection refused', { client: nameOf(socket), reason: refusal })
      socket.destroy()
      return false
    }
    this.metrics.connected(kind)
    this.metrics.connectionsOpen.value = this.#admission.openConnections
    tuneStream(socket, this.#options.sockets)
    this.#sockets.add(socket)
    socket.on('error', () => {}) // whoever reads from it is told by its own listener
    socket.once('close', () => {
      this.#sockets.delete(socket)
      this.#admission.release(address)
      this.metrics.connectionsOpen.value = this.#admission.openConnections
    })
    return true
  }

  #relay(stream: Duplex, socket: Socket): void {
    const { fallback, log } = this.#options
    const client: Endpoint = {
      address: plainAddress(socket.remoteAddress ?? ''),
      port: socket.remotePort ?? 0
    }
    const relayed = new RelayStream(
      stream,
      client,
      {
        limits: this.#limits,
        metrics: this.metrics,
        log,
        now: () => performance.now(),
        openLeg: (from, handlers) => this.#openLeg(from, handlers),
        handOver:
          fallback === undefined
            ? undefined
            : (other, said, from) => handToWebServer(other, said, from, fallback, log)
      },
      () => this.#streams.delete(relayed)
    )
    this.#streams.add(relayed)
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

function tlsServer(options: TlsOptions): TlsServer {
  try {
    return createTlsServer(options)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new DataError('bad-tls-credentials', `The certificate or key for TLS cannot be used: ${why}.`, {
      hint: 'Both have to be PEM, and the key has to belong to the certificate.',
      cause
    })
  }
}

function listenError(
  at: { address: string | undefined; port: number },
  cause: NodeJS.ErrnoException
): SystemError {
  const where =
    at.address === undefined ? `port ${at.port}` : formatEndpoint({ address: at.address, port: at.port })
  const hints: Readonly<Record<string, string>> = {
    EADDRINUSE: 'Another program listens there already: choose another port, or end that program.',
    EACCES: 'Ports below 1024 need root or CAP_NET_BIND_SERVICE.',
    EADDRNOTAVAIL: 'This machine does not have that address.'
  }
  return new SystemError('listen-failed', `Cannot listen on ${where}: ${cause.code ?? cause.message}.`, {
    hint: hints[cause.code ?? ''],
    cause
  })
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
    if ('closeAllConnections' in server && typeof server.closeAllConnections === 'function')
      server.closeAllConnections()
  })
}

function endpointOf(server: Server): Endpoint {
  const at = server.address()
  return at === null || typeof at === 'string'
    ? { address: '', port: 0 }
    : { address: at.address, port: at.port }
}

function nameOf(socket: Socket): string {
  return formatEndpoint({ address: plainAddress(socket.remoteAddress ?? ''), port: socket.remotePort ?? 0 })
}
