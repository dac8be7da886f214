/**
 * TCP and TLS listeners for RFC 9329 streams (section 6.1 and appendix A), of the gateway and of the relay: admit
 * connections, do the TLS handshake, and hand over what is connected, silent as yet.
 *
 * Invariants: every connection that was admitted is released exactly once, when it is closed; the handshake of TLS is done in a way that
 * leaves the connection free to be taken over afterwards (`takeover.ts`).
 * @module
 */
import { createServer, type Server, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import {
  createServer as createTlsServer,
  type SecureContextOptions,
  type TLSSocket,
  type Server as TlsServer
} from 'node:tls'
import { DataError, SystemError } from '../errors.ts'
import type { Logger } from '../log.ts'
import type { Endpoint } from '../wire/endpoint.ts'
import { formatEndpoint } from './failure.ts'
import { plainAddress } from './plain-address.ts'
import type { SocketSettings } from './socket-settings.ts'
import { tuneStream } from './socket-tuning.ts'
import { tapped } from './takeover.ts'
import { noteKeyLog, tapOf } from './tls-tap.ts'

/** A place to listen on. Port 0: any free one. */
export interface StreamListener {
  /** Undefined: all of both families. */
  readonly address: string | undefined
  readonly port: number
  /** Present: the stream is inside TLS. PEM. */
  readonly tls?: StreamCredentials | undefined
}

export type StreamCredentials = Pick<SecureContextOptions, 'cert' | 'key'>

export interface Connection {
  readonly kind: 'tcp' | 'tls'
  readonly local: Endpoint
  readonly remote: Endpoint
}

export interface StreamServerOptions {
  readonly listeners: readonly StreamListener[]
  readonly handshakeTimeoutMs: number
  readonly sockets?: SocketSettings | undefined
  readonly log: Logger
  /** @returns false: the connection is closed at once */
  admit(address: string, kind: 'tcp' | 'tls'): boolean
  /** A connection that was admitted is closed. */
  release(address: string): void
  onHandshakeFailed?(): void
  /** Owns the stream from here on. An error of it ends no process. */
  onConnection(stream: Duplex, connection: Connection): void
}

export class StreamServer {
  /** In the order of the listeners. */
  readonly listening: (Endpoint & { readonly kind: 'tcp' | 'tls' })[] = []
  readonly #options: StreamServerOptions
  readonly #servers: Server[] = []
  readonly #sockets = new Set<Socket>()

  private constructor(options: StreamServerOptions) {
    this.#options = options
  }

  /** Listens on all, or on none. @throws SystemError `listen-failed`, DataError `bad-tls-credentials` */
  static async open(options: StreamServerOptions): Promise<StreamServer> {
    const server = new StreamServer(options)
    try {
      for (const listener of options.listeners) await server.#listen(listener)
    } catch (error) {
      await server.close()
      throw error
    }
    return server
  }

  /** Takes no more connections, and drops those that are still there after `graceMs`. */
  async close(graceMs: number = 0): Promise<void> {
    const closed = this.#servers.map(closeServer)
    if (graceMs === 0) this.#dropAll()
    const deadline = setTimeout(() => this.#dropAll(), graceMs)
    await Promise.all(closed)
    clearTimeout(deadline)
  }

  #dropAll(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  async #listen(listener: StreamListener): Promise<void> {
    const { tls } = listener
    const server = tls === undefined ? this.#tcpServer() : this.#tlsServer(tls)
    const at = await listenOn(server, listener, this.#options.log)
    this.#servers.push(server)
    this.listening.push({ ...at, kind: tls === undefined ? 'tcp' : 'tls' })
  }

  #tcpServer(): Server {
    return createServer((socket) => {
      if (this.#admit(socket, 'tcp')) this.#handOver(socket, socket, 'tcp')
    })
  }

  #tlsServer(credentials: StreamCredentials): Server {
    const { handshakeTimeoutMs, log, onHandshakeFailed } = this.#options
    const server = tlsServer(credentials, handshakeTimeoutMs)
    server.on('keylog', noteKeyLog)
    server.on('secureConnection', (socket: TLSSocket) =>
      this.#handOver(socket, tapOf(socket)?.socket ?? socket, 'tls')
    )
    server.on('tlsClientError', (error, socket) => {
      log.log('debug', 'a TLS handshake failed', { message: error.message })
      onHandshakeFailed?.()
      socket.destroy()
    })
    return createServer((socket) => {
      if (this.#admit(socket, 'tls')) server.emit('connection', tapped(socket, true))
    })
  }

  /** @returns false: the socket was closed */
  #admit(socket: Socket, kind: 'tcp' | 'tls'): boolean {
    const { admit, release, sockets } = this.#options
    const address = plainAddress(socket.remoteAddress ?? '')
    if (!admit(address, kind)) {
      socket.destroy()
      return false
    }
    this.#sockets.add(socket)
    tuneStream(socket, sockets)
    // Whoever reads from it is told by its own listener.
    socket.on('error', () => undefined)
    socket.once('close', () => {
      this.#sockets.delete(socket)
      release(address)
    })
    return true
  }

  #handOver(stream: Duplex, socket: Socket, kind: 'tcp' | 'tls'): void {
    const remote = { address: plainAddress(socket.remoteAddress ?? ''), port: socket.remotePort ?? 0 }
    const local = { address: plainAddress(socket.localAddress ?? ''), port: socket.localPort ?? 0 }
    this.#options.onConnection(stream, { kind, local, remote })
  }
}

/** Resolves once the server listens. Errors after that are logged; it stays. @throws SystemError `listen-failed` */
export async function listenOn(
  server: Server,
  at: Pick<StreamListener, 'address' | 'port'>,
  log: Logger
): Promise<Endpoint> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => reject(listenError(at, cause)))
    server.listen({ port: at.port, host: at.address }, resolve)
  })
  server.removeAllListeners('error')
  // accept(2) fails for want of descriptors, say.
  server.on('error', (error) => log.log('error', 'a listener failed', { message: error.message }))
  const bound = server.address()
  return bound === null || typeof bound === 'string'
    ? { address: '', port: 0 }
    : { address: bound.address, port: bound.port }
}

/** Takes no more connections. Resolves when those that there are have ended. */
export function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()))
}

function tlsServer({ cert, key }: StreamCredentials, handshakeTimeout: number): TlsServer {
  try {
    // No client certificate is asked for (RFC 9329 appendix B.1): IKE authenticates.
    return createTlsServer({ cert, key, minVersion: 'TLSv1.2', handshakeTimeout })
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new DataError('bad-tls-credentials', `The certificate or key for TLS cannot be used: ${why}.`, {
      hint: 'Both have to be PEM, and the key has to belong to the certificate.',
      cause
    })
  }
}

const HINTS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'Another program listens there already: end it, or choose another port.',
  EACCES: 'Ports below 1024 need root or CAP_NET_BIND_SERVICE.',
  EADDRNOTAVAIL: 'This machine does not have that address.'
}

function listenError(
  { address, port }: Pick<StreamListener, 'address' | 'port'>,
  cause: NodeJS.ErrnoException
): SystemError {
  const where = address === undefined ? `TCP port ${port}` : `${formatEndpoint(address, port)} TCP`
  return new SystemError('listen-failed', `Cannot listen on ${where}: ${cause.code ?? cause.message}.`, {
    hint: HINTS[cause.code ?? ''],
    cause
  })
}
