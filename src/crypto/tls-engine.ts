/**
 * TLS as an engine of bytes in and bytes out, for EAP-TLS (RFC 5216, RFC 9190): node:tls over an in-memory stream.
 *
 * Node runs handshakes in turns of its event loop, so a caller pushes what came in, waits for `settled()`, and pulls
 * what is to go out. A peer whose certificate does not pass never reaches `established`; whatever it sends can make
 * the engine fail but never throw.
 * @module
 */
import { constants } from 'node:crypto'
import { isIP } from 'node:net'
import { Duplex } from 'node:stream'
import { checkServerIdentity, connect, createServer, type SecureVersion, type TLSSocket } from 'node:tls'
import { InternalError } from '../errors.ts'
import type { Secret } from '../secret.ts'

export interface TlsEngineOptions {
  readonly role: 'client' | 'server'
  /** PEM, leaf first. Required of servers. */
  readonly cert?: string | undefined
  /** PEM of the private key that belongs to `cert`. */
  readonly key?: Secret | undefined
  /** PEM trust anchors for the peer's certificate; the system's are never used. Empty: no peer can pass. */
  readonly ca: readonly string[]
  /** Client: the name that the server's certificate must carry; undefined: any name that chains to `ca`. */
  readonly serverName?: string | undefined
  readonly minVersion?: 'TLSv1.2' | 'TLSv1.3' | undefined
  readonly maxVersion?: 'TLSv1.2' | 'TLSv1.3' | undefined
  /** Server: ask for a client certificate, and fail without a valid one. */
  readonly requestCert?: boolean | undefined
}

type TlsEngineState =
  | { readonly phase: 'handshaking' }
  | { readonly phase: 'established' }
  /** One clause for the log. */
  | { readonly phase: 'failed'; readonly reason: string }
  | { readonly phase: 'closed' }

export interface TlsEngine {
  /** TLS records from the peer, split anywhere. */
  push(bytes: Uint8Array): void
  /** Everything that is to be sent to the peer since the last call; may be empty. */
  pull(): Uint8Array
  /** Resolves when all input has been digested and nothing more will come out by itself. */
  settled(): Promise<void>
  readonly state: TlsEngineState
  /** `TLSv1.2` or `TLSv1.3`, once established. */
  readonly protocol: string | undefined
  /** DER of the peer's leaf certificate, once established. */
  readonly peerCertificate: Uint8Array | undefined
  /**
   * The exporter of RFC 5705 and RFC 8446 section 7.5.
   * @throws InternalError unless established
   */
  exportKeyingMaterial(length: number, label: string, context?: Uint8Array): Uint8Array
  /** Sends application data (the commitment message of RFC 9190 section 2.5). Ignored unless established. */
  writeApplicationData(bytes: Uint8Array): void
  /** Application data that the peer sent since the last call. */
  takeApplicationData(): Uint8Array
  close(): void
}

/**
 * Turns of the event loop without activity after which TLS is quiet: input passes from the stream to OpenSSL and its
 * answer back in at most two, and nothing in the handshake waits for anything else.
 */
const QUIET_TURNS = 4

/** The wire as node:tls sees it; counts what moves so that quiet can be told. */
class MemoryWire extends Duplex {
  outgoing: Uint8Array[] = []
  activity = 0

  override _read(): void {}
  override _write(chunk: Uint8Array, _encoding: string, done: () => void): void {
    this.activity++
    this.outgoing.push(chunk)
    done()
  }
  override _final(done: () => void): void {
    this.activity++
    done()
  }
}

class NodeTlsEngine implements TlsEngine {
  readonly #wire = new MemoryWire()
  #socket: TLSSocket | undefined
  #state: TlsEngineState = { phase: 'handshaking' }
  #received: Uint8Array[] = []

  constructor(options: TlsEngineOptions) {
    this.#wire.on('error', (error) => this.#fail(error))
    try {
      if (options.role === 'client') this.#startClient(options)
      else this.#startServer(options)
    } catch (error) {
      // Certificate or key that OpenSSL cannot read.
      this.#fail(error)
    }
  }

  get state(): TlsEngineState {
    return this.#state
  }

  get protocol(): string | undefined {
    return this.#state.phase === 'established' ? (this.#socket?.getProtocol() ?? undefined) : undefined
  }

  get peerCertificate(): Uint8Array | undefined {
    if (this.#state.phase !== 'established') return undefined
    const raw = this.#socket?.getPeerX509Certificate()?.raw
    return raw === undefined ? undefined : Uint8Array.from(raw)
  }

  #startClient(options: TlsEngineOptions): void {
    const { serverName } = options
    const socket = connect({
      ...commonOptions(options),
      socket: this.#wire,
      // An empty name sends no SNI; addresses are not allowed in it (RFC 6066 section 3).
      servername: serverName === undefined || isIP(serverName) !== 0 ? '' : serverName,
      checkServerIdentity: (_host, certificate) =>
        serverName === undefined ? undefined : checkServerIdentity(serverName, certificate),
      rejectUnauthorized: true
    })
    socket.on('secureConnect', () => this.#establish())
    this.#adopt(socket)
  }

  #startServer(options: TlsEngineOptions): void {
    const requestCert = options.requestCert === true
    // Rejecting is done below, where the reason is still known.
    const server = createServer({ ...commonOptions(options), requestCert, rejectUnauthorized: false })
    server.on('tlsClientError', (error) => this.#fail(error))
    server.on('secureConnection', (socket) => {
      this.#adopt(socket)
      if (!requestCert || socket.authorized) return this.#establish()
      const presented = socket.getPeerX509Certificate() !== undefined
      const error = presented ? String(socket.authorizationError) : 'the client sent no certificate'
      this.#fail(new Error(error))
      socket.destroy()
    })
    // The server never listens: it is here for its handling of one injected connection.
    server.emit('connection', this.#wire)
  }

  #adopt(socket: TLSSocket): void {
    this.#socket = socket
    socket.on('error', (error) => this.#fail(error))
    socket.on('data', (chunk: Uint8Array) => {
      this.#wire.activity++
      this.#received.push(chunk)
    })
    socket.on('close', () => this.#fail(new Error('the peer closed the TLS session')))
  }

  #establish(): void {
    this.#wire.activity++
    if (this.#state.phase === 'handshaking') this.#state = { phase: 'established' }
  }

  #fail(error: unknown): void {
    this.#wire.activity++
    if (!this.#isOver()) this.#state = { phase: 'failed', reason: reasonOf(error) }
  }

  #isOver(): boolean {
    return this.#state.phase === 'failed' || this.#state.phase === 'closed'
  }

  push(bytes: Uint8Array): void {
    if (this.#isOver() || this.#wire.destroyed || bytes.length === 0) return
    this.#wire.activity++
    // A copy: the caller's buffer may be reused before TLS gets to it.
    this.#wire.push(Buffer.from(bytes))
  }

  pull(): Uint8Array {
    const all = Buffer.concat(this.#wire.outgoing)
    this.#wire.outgoing = []
    return all
  }

  async settled(): Promise<void> {
    for (let quiet = 0, seen = this.#wire.activity; quiet < QUIET_TURNS; quiet++) {
      await new Promise((resolve) => setImmediate(resolve))
      if (this.#wire.activity === seen && this.#wire.readableLength === 0) continue
      seen = this.#wire.activity
      // A session that is over leaves input lying, which must not keep anyone waiting.
      quiet = this.#isOver() ? quiet : -1
    }
  }

  exportKeyingMaterial(length: number, label: string, context?: Uint8Array): Uint8Array {
    if (this.#socket === undefined || this.#state.phase !== 'established')
      throw new InternalError('tls-not-established', 'keys were asked of a TLS session that is not up')
    const socket: TlsExporter = this.#socket
    return context === undefined
      ? socket.exportKeyingMaterial(length, label)
      : socket.exportKeyingMaterial(length, label, Buffer.from(context))
  }

  writeApplicationData(bytes: Uint8Array): void {
    if (this.#state.phase === 'established') this.#socket?.write(bytes)
  }

  takeApplicationData(): Uint8Array {
    const all = Buffer.concat(this.#received)
    this.#received = []
    return all
  }

  close(): void {
    if (this.#state.phase !== 'failed') this.#state = { phase: 'closed' }
    this.#socket?.destroy()
    this.#wire.destroy()
    this.#received = []
  }
}

/** Node leaves the context out as "no context", which its types do not say. */
interface TlsExporter {
  exportKeyingMaterial(length: number, label: string, context?: Buffer): Buffer
}

function commonOptions(options: TlsEngineOptions) {
  const minVersion: SecureVersion = options.minVersion ?? 'TLSv1.2'
  const maxVersion: SecureVersion = options.maxVersion ?? 'TLSv1.3'
  return {
    cert: options.cert,
    key: options.key?.revealText(),
    ca: [...options.ca],
    minVersion,
    maxVersion,
    // strongSwan's TLS knows no renegotiation_info (RFC 5746) and OpenSSL 3 would then refuse; nothing renegotiates inside EAP.
    secureOptions: constants.SSL_OP_LEGACY_SERVER_CONNECT | constants.SSL_OP_NO_RENEGOTIATION
  }
}

/** OpenSSL's short reason where there is one (`tlsv1 alert unknown ca`), else the message. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { reason } = error as Error & { reason?: unknown }
  return typeof reason === 'string' ? reason : error.message
}

/** Starts one TLS session; a client has its first flight ready after `settled()`. */
export function createTlsEngine(options: TlsEngineOptions): TlsEngine {
  return new NodeTlsEngine(options)
}
