/**
 * The link between the two nodes of a cluster: one connection, TLS 1.3 with a pre-shared key and a fresh key exchange
 * (RFC 8446 section 2.2, psk_dhe_ke). Keys of clients travel over it; a secret that leaks later does not open what was recorded.
 *
 * Of the two ends, the one with the lower address dials. While there is no link the other one asks the peer's machine whether
 * anybody listens at all: that a program has died shows at once, and not only by its silence.
 *
 * Invariants: at most one connection is the link; nothing of an unauthenticated one is read; messages keep their order.
 * @module
 */
import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls, createServer, type Server, type TLSSocket } from 'node:tls'
import type { Clock } from '../clock.ts'
import { SystemError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { formatEndpoint } from '../transport/failure.ts'
import { plainAddress } from '../transport/plain-address.ts'
import { addressToBytes } from '../wire/address.ts'
import type { Endpoint } from '../wire/endpoint.ts'
import { ClusterDeframer, type ClusterMessage, encodeClusterMessage } from './cluster-protocol.ts'

export interface ClusterLinkOptions {
  readonly listen: Endpoint
  readonly peer: Endpoint
  readonly key: Buffer
  readonly clock: Clock
  readonly log: Logger
}

export interface ClusterLinkEvents {
  onUp(): void
  onMessage(message: ClusterMessage): void
  onDown(): void
  /** The peer's machine answers, and nobody listens there. */
  onPeerGone(): void
}

/** The one name that the key goes by. */
const KEY_NAME = 'ikestream-cluster'
const TLS = {
  minVersion: 'TLSv1.3',
  maxVersion: 'TLSv1.3',
  ciphers: 'TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256'
} as const
/** The first pauses between attempts: a program that dies may take connections for another moment. */
const RETRY_FIRST_MS = 20
const RETRY_MAX_MS = 200
/** A machine that does not answer is asked again after this long. */
const CONNECT_TIMEOUT_MS = 1_000
const HANDSHAKE_TIMEOUT_MS = 2_000
/** Connections that are not authenticated yet. */
const MAX_PENDING = 8
/** Complaints about the same thing. */
const COMPLAIN_EVERY_MS = 60_000
/** More than this waiting to be sent: the peer does not read. */
const MAX_UNSENT_BYTES = 64 * 1024 * 1024

export class ClusterLink {
  readonly #options: ClusterLinkOptions
  readonly #events: ClusterLinkEvents
  readonly #server: Server
  readonly #dials: boolean
  #socket: TLSSocket | undefined
  #attempt: Socket | undefined
  #retry: { cancel(): void } | undefined
  #complainedAt = Number.NEGATIVE_INFINITY
  #retryMs = RETRY_FIRST_MS
  #pending = 0
  #closed = false

  private constructor(options: ClusterLinkOptions, events: ClusterLinkEvents) {
    this.#options = options
    this.#events = events
    this.#dials = isLower(options.listen, options.peer)
    this.#server = createServer({
      ...TLS,
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      pskCallback: (_socket, name) => (name === KEY_NAME ? options.key : null)
    })
    this.#server.on('connection', (socket: Socket) => this.#admit(socket))
    this.#server.on('secureConnection', (socket) => this.#accepted(socket))
    this.#server.on('tlsClientError', (error, socket) => {
      socket.destroy()
      // A peer that only looks whether we are there does not begin a handshake.
      if (/binder|decrypt|psk/i.test(error.message)) this.#complain()
    })
  }

  /** Listens, and looks for the peer from then on. @throws SystemError `listen-failed` */
  static async open(options: ClusterLinkOptions, events: ClusterLinkEvents): Promise<ClusterLink> {
    const link = new ClusterLink(options, events)
    const { address: host, port } = options.listen
    await new Promise<void>((resolve, reject) => {
      link.#server.once('error', (cause: NodeJS.ErrnoException) => {
        const where = formatEndpoint(host, port)
        reject(
          new SystemError('listen-failed', `Cannot listen for the other node on ${where}: ${cause.code}.`, {
            hint: 'listen in the cluster file must be an address of this machine, with a free port.',
            cause
          })
        )
      })
      link.#server.listen({ host, port }, resolve)
    })
    link.#server.removeAllListeners('error')
    link.#server.on('error', (error) => options.log.log('error', error.message))
    link.#look()
    return link
  }

  get isUp(): boolean {
    return this.#socket !== undefined
  }

  send(message: ClusterMessage): void {
    const socket = this.#socket
    if (socket === undefined) return
    socket.write(encodeClusterMessage(message))
    if (socket.writableLength > MAX_UNSENT_BYTES) this.drop()
  }

  /** Ends the connection; another one is looked for. */
  drop(): void {
    this.#socket?.destroy()
    this.#lost(this.#socket)
  }

  /** Everything that was sent leaves, then the end. */
  async close(): Promise<void> {
    this.#closed = true
    this.#retry?.cancel()
    this.#attempt?.destroy()
    const socket = this.#socket
    this.#socket = undefined
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    if (socket !== undefined) {
      const timer = this.#options.clock.setTimer(CONNECT_TIMEOUT_MS, () => socket.destroy())
      socket.once('close', () => timer.cancel())
      socket.end()
    }
    await closed
  }

  #admit(socket: Socket): void {
    const { peer } = this.#options
    // Strangers cost nothing; the peer's address proves nothing, the key does.
    const isPeer = plainAddress(socket.remoteAddress ?? '') === peer.address
    if (!isPeer || this.#pending >= MAX_PENDING || this.#closed) {
      socket.destroy()
      return
    }
    this.#pending++
    socket.on('error', () => undefined)
    socket.once('close', () => {
      this.#pending--
    })
  }

  #accepted(socket: TLSSocket): void {
    if (this.#closed || this.#dials) socket.destroy()
    else this.#use(socket)
  }

  #use(socket: TLSSocket): void {
    this.#retry?.cancel()
    // The peer has begun anew: it knows better than the old connection.
    if (this.#socket !== undefined) this.drop()
    this.#retry?.cancel()
    this.#socket = socket
    socket.setNoDelay(true)
    const deframer = new ClusterDeframer()
    socket.on('error', () => undefined)
    socket.on('close', () => this.#lost(socket))
    socket.on('end', () => this.#lost(socket))
    this.#events.onUp()
    socket.on('data', (chunk: Buffer) => {
      if (this.#socket !== socket) return
      const messages = deframer.push(chunk)
      for (const message of messages ?? []) if (this.#socket === socket) this.#events.onMessage(message)
      if (messages !== undefined) return
      this.#options.log.log('error', 'the other node sent something that makes no sense')
      this.drop()
    })
  }

  #lost(socket: TLSSocket | undefined): void {
    if (socket === undefined || this.#socket !== socket) return
    this.#socket = undefined
    this.#retryMs = RETRY_FIRST_MS
    socket.destroy()
    this.#events.onDown()
    this.#look()
  }

  /** Dials, or looks whether the one who should dial is there. */
  #look(): void {
    if (this.#closed || this.#socket !== undefined || this.#attempt !== undefined) return
    const { peer, listen, clock } = this.#options
    const socket = connectTcp({ host: peer.address, port: peer.port, localAddress: listen.address })
    this.#attempt = socket
    const timeout = clock.setTimer(CONNECT_TIMEOUT_MS, () => socket.destroy())
    let isGone = false
    socket.on('error', (error: NodeJS.ErrnoException) => {
      isGone = error.code === 'ECONNREFUSED'
    })
    socket.once('connect', () => {
      timeout.cancel()
      if (this.#dials) this.#dial(socket)
      else socket.destroy()
    })
    socket.once('close', () => {
      timeout.cancel()
      if (this.#attempt === socket) this.#attempt = undefined
      if (this.#closed || this.#socket !== undefined) return
      if (isGone) this.#events.onPeerGone()
      this.#retry?.cancel()
      this.#retry = clock.setTimer(this.#retryMs, () => this.#look())
      this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MAX_MS)
    })
  }

  #dial(socket: Socket): void {
    const { key, clock } = this.#options
    const secure = connectTls({
      ...TLS,
      socket,
      pskCallback: () => ({ psk: key, identity: KEY_NAME }),
      // There is no certificate: the key proves both ends.
      checkServerIdentity: () => undefined
    })
    const timeout = clock.setTimer(HANDSHAKE_TIMEOUT_MS, () => secure.destroy())
    secure.on('error', () => this.#complain())
    secure.once('close', () => timeout.cancel())
    secure.once('secureConnect', () => {
      timeout.cancel()
      this.#attempt = undefined
      if (this.#closed) secure.destroy()
      else this.#use(secure)
    })
  }

  #complain(): void {
    const { clock, log } = this.#options
    if (this.#socket !== undefined || clock.now() - this.#complainedAt < COMPLAIN_EVERY_MS) return
    this.#complainedAt = clock.now()
    log.log('warn', 'no link to the other node: it has another secret, or is none of ours')
  }
}

/** Addresses byte by byte, then ports: the same answer on both nodes, the other way round. */
function isLower(a: Endpoint, b: Endpoint): boolean {
  const order = Buffer.compare(
    addressToBytes(a.address) ?? new Uint8Array(0),
    addressToBytes(b.address) ?? new Uint8Array(0)
  )
  return order < 0 || (order === 0 && a.port < b.port)
}
