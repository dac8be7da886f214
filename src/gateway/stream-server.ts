/**
 * TCP and TLS listeners (RFC 9329 section 6.1 and appendix A): admits connections, waits for the prefix, and hands
 * over streams that begin with it. Everything else is closed.
 * @module
 */
import { createServer, type Server, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { createServer as createTlsServer, type TLSSocket } from 'node:tls'
import { DataError, SystemError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { formatEndpoint } from '../transport/failure.ts'
import { plainAddress } from '../transport/plain-address.ts'
import type { SocketSettings } from '../transport/socket-settings.ts'
import { tuneStream } from '../transport/socket-tuning.ts'
import type { StreamTransport } from '../transport/stream.ts'
import { acceptStream } from '../transport/stream-accept.ts'
import { tapped } from '../transport/takeover.ts'
import { noteKeyLog, tapOf } from '../transport/tls-tap.ts'
import type { Endpoint } from '../wire/endpoint.ts'
import type { ConnectionLimits } from './connection-limits.ts'

export interface StreamListener {
  readonly kind: 'tcp' | 'tls'
  /** Undefined: all of both families. */
  readonly address: string | undefined
  readonly port: number
}

export interface StreamServerOptions {
  readonly listeners: readonly StreamListener[]
  /** PEM. */
  readonly tls: { readonly cert: string; readonly key: string }
  readonly limits: ConnectionLimits
  readonly prefixTimeoutMs: number
  readonly sockets?: SocketSettings | undefined
  readonly log: Logger
  onStream(transport: StreamTransport): void
}

export class StreamServer {
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

  /** Takes no more connections, and drops those that are still there. */
  async close(): Promise<void> {
    const closed = this.#servers.map(
      (server) => new Promise<void>((resolve) => server.close(() => resolve()))
    )
    for (const socket of this.#sockets) socket.destroy()
    await Promise.all(closed)
  }

  async #listen(listener: StreamListener): Promise<void> {
    const server = listener.kind === 'tcp' ? this.#tcpServer() : this.#tlsServer()
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause: NodeJS.ErrnoException) => reject(listenError(listener, cause)))
      server.listen({ port: listener.port, host: listener.address }, resolve)
    })
    server.removeAllListeners('error')
    // accept(2) fails for want of descriptors, say: the listener stays.
    server.on('error', (error) =>
      this.#options.log.log('error', 'a listener failed', { message: error.message })
    )
    this.#servers.push(server)
    const at = server.address()
    if (at !== null && typeof at !== 'string')
      this.listening.push({ kind: listener.kind, address: at.address, port: at.port })
  }

  #tcpServer(): Server {
    return createServer((socket) => {
      if (this.#admit(socket)) this.#accept(socket, socket, 'tcp')
    })
  }

  #tlsServer(): Server {
    const { tls, prefixTimeoutMs, log } = this.#options
    let server: ReturnType<typeof createTlsServer>
    try {
      // No client certificate is asked for (RFC 9329 appendix B.1): IKE authenticates.
      server = createTlsServer({ ...tls, minVersion: 'TLSv1.2', handshakeTimeout: prefixTimeoutMs })
    } catch (cause) {
      throw new DataError('bad-tls-credentials', 'The certificate or its key cannot be used for TLS.', {
        cause
      })
    }
    server.on('keylog', noteKeyLog)
    server.on('secureConnection', (socket: TLSSocket) =>
      this.#accept(socket, tapOf(socket)?.socket ?? socket, 'tls')
    )
    server.on('tlsClientError', (error, socket) => {
      log.log('debug', 'a TLS handshake failed', { message: error.message })
      socket.destroy()
    })
    return createServer((socket) => {
      if (this.#admit(socket)) server.emit('connection', tapped(socket, true))
    })
  }

  /** @returns false: the socket was closed */
  #admit(socket: Socket): boolean {
    const { limits, log } = this.#options
    const address = plainAddress(socket.remoteAddress ?? '')
    if (!limits.admit(address)) {
      log.log('debug', 'too many connections', { address })
      socket.destroy()
      return false
    }
    this.#sockets.add(socket)
    tuneStream(socket, this.#options.sockets)
    // Whoever reads from it is told by its own listener.
    socket.on('error', () => undefined)
    socket.once('close', () => {
      this.#sockets.delete(socket)
      limits.release(address)
    })
    return true
  }

  #accept(stream: Duplex, socket: Socket, kind: 'tcp' | 'tls'): void {
    const remote = { address: plainAddress(socket.remoteAddress ?? ''), port: socket.remotePort ?? 0 }
    const local = { address: plainAddress(socket.localAddress ?? ''), port: socket.localPort ?? 0 }
    const { prefixTimeoutMs, log, onStream } = this.#options
    void acceptStream(stream, kind, { local, remote, prefixTimeoutMs }).then((accepted) => {
      if (accepted.outcome === 'accepted') {
        onStream(accepted.transport)
        return
      }
      if (accepted.outcome === 'other-protocol') {
        accepted.stream.on('error', () => undefined)
        accepted.stream.destroy()
      }
      const from = formatEndpoint(remote.address, remote.port)
      log.log('debug', 'a connection without the IKETCP prefix', { from, kind, outcome: accepted.outcome })
    })
  }
}

const HINTS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'Another program listens there already: end it, or choose another port.',
  EACCES: 'Ports below 1024 need root or CAP_NET_BIND_SERVICE.',
  EADDRNOTAVAIL: 'This machine does not have that address.'
}

function listenError(listener: StreamListener, cause: NodeJS.ErrnoException): SystemError {
  const { address, port, kind } = listener
  const where = address === undefined ? `port ${port}` : formatEndpoint(address, port)
  const why = cause.code ?? cause.message
  return new SystemError('listen-failed', `Cannot listen on ${where} ${kind.toUpperCase()}: ${why}.`, {
    hint: HINTS[cause.code ?? ''],
    cause
  })
}
