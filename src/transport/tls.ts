/**
 * RFC 9329 inside TLS 1.2 or 1.3 (appendix A): for networks that let nothing but HTTPS pass.
 *
 * TLS is a disguise here, and never stands in for IKE authentication: whether its certificate is good is reported,
 * and only decides where the caller asks for it.
 * @module
 */
import { createHash } from 'node:crypto'
import { isIP } from 'node:net'
import { connect, type TLSSocket } from 'node:tls'
import {
  type ConnectedStream,
  type ConnectStreamOptions,
  connectStream,
  DEFAULT_OPEN_TIMEOUT_MS
} from './connect.ts'
import {
  abortedError,
  failureOf,
  formatEndpoint,
  systemCode,
  TransportError,
  transportError
} from './failure.ts'
import { StreamTransport, type StreamTransportOptions } from './stream.ts'
import { tapped } from './takeover.ts'
import { noteKeyLog, tapOf } from './tls-tap.ts'
import type { Transport } from './types.ts'

export interface TlsOptions extends ConnectStreamOptions {
  /** SNI, and the name that the certificate is checked for; default: `host` where that is a name. */
  readonly serverName?: string | undefined
  /** True: an untrusted certificate is an error, `tls-untrusted`. */
  readonly verify?: boolean | undefined
  /** Trust anchors in PEM; none: Node's own. */
  readonly ca?: readonly string[] | undefined
  /** Sessions to resume (RFC 9329 appendix A recommends it). */
  readonly sessions?: TlsSessionCache | undefined
}

/** What the outer TLS turned out to be. */
export interface TlsInfo {
  /** `TLSv1.2` or `TLSv1.3`. */
  readonly protocol: string
  readonly cipher: string
  readonly authorized: boolean
  /** A stable code such as `DEPTH_ZERO_SELF_SIGNED_CERT` or `ERR_TLS_CERT_ALTNAME_INVALID`. */
  readonly authorizationError: string | undefined
  readonly issuer: string
  readonly subject: string
  /** SHA-256 of the certificate, colon-separated hex. Empty on a resumed session, which brings no certificate. */
  readonly fingerprint: string
  readonly resumed: boolean
}

export interface TlsTransport extends Transport {
  readonly tlsInfo: TlsInfo
}

/** Of a TLS transport; undefined for any other. */
export function tlsInfoOf(transport: Transport): TlsInfo | undefined {
  return (transport as Partial<TlsTransport>).tlsInfo
}

class TlsStreamTransport extends StreamTransport implements TlsTransport {
  readonly tlsInfo: TlsInfo

  constructor(options: StreamTransportOptions, tlsInfo: TlsInfo) {
    super(options)
    this.tlsInfo = tlsInfo
  }
}

const MAX_SESSIONS = 32

/**
 * The newest TLS session of each gateway. Sessions that were made under other verification settings are never
 * offered: a resumed session is as trusted as the one that it came from.
 */
export class TlsSessionCache {
  readonly #sessions = new Map<string, Buffer>()

  /** TLS 1.3 tickets are for one use (RFC 8446 appendix C.4), so that what is handed out is forgotten. */
  take(key: string): Buffer | undefined {
    const session = this.#sessions.get(key)
    this.#sessions.delete(key)
    return session
  }

  put(key: string, session: Buffer): void {
    this.#sessions.delete(key)
    this.#sessions.set(key, session)
    const oldest = this.#sessions.keys().next()
    if (this.#sessions.size > MAX_SESSIONS && oldest.done !== true) this.#sessions.delete(oldest.value)
  }

  get size(): number {
    return this.#sessions.size
  }
}

/**
 * Opens TCP (or a proxy's tunnel) and completes the TLS handshake; nothing is sent inside before the first message.
 * @throws TransportError
 */
export async function openTls(options: TlsOptions): Promise<TlsTransport> {
  const timeoutMs = options.timeoutMs ?? DEFAULT_OPEN_TIMEOUT_MS
  const deadline = performance.now() + timeoutMs
  const connected = await connectStream(options)
  const what = `${formatEndpoint(options.host, options.port)} over TLS`
  try {
    if (connected.head.length > 0)
      throw new TransportError('tls-error', `${what}: something that is not TLS speaks first`)
    // Verification has been decided by then; what Node still writes belongs to the handshake.
    const secured = await handshake(connected, options, what, deadline - performance.now())
    await tapOf(secured.socket)?.settled()
    return new TlsStreamTransport(
      { ...connected, stream: secured.socket, kind: 'tls', role: 'originator', faults: options.faults },
      secured.info
    )
  } catch (error) {
    connected.stream.destroy()
    throw error
  }
}

interface Secured {
  readonly socket: TLSSocket
  readonly info: TlsInfo
}

function handshake(
  connected: ConnectedStream,
  options: TlsOptions,
  what: string,
  timeoutMs: number
): Promise<Secured> {
  const { signal, sessions } = options
  if (signal?.aborted === true) return Promise.reject(abortedError(what))
  const name = options.serverName ?? options.host
  const key = sessionKey(options, name)
  return new Promise((resolve, reject) => {
    const session = sessions?.take(key)
    const socket = connect({
      socket: tapped(connected.stream, false),
      minVersion: 'TLSv1.2',
      // A problem is wanted as data: whether it matters is decided below.
      rejectUnauthorized: false,
      // An IP address may not be sent as SNI (RFC 6066 section 3); the certificate is checked for it all the same.
      ...(isIP(name) === 0 ? { servername: name } : { host: name }),
      ...(options.ca === undefined || options.ca.length === 0 ? {} : { ca: [...options.ca] }),
      ...(session === undefined ? {} : { session })
    })
    const settle = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      socket.off('close', onClosed)
    }
    const fail = (error: TransportError) => {
      settle()
      socket.destroy()
      reject(error)
    }
    const onAbort = () => fail(abortedError(what))
    const onClosed = () => fail(new TransportError('connection-reset', `${what} closed during the handshake`))
    const timer = setTimeout(
      () => fail(new TransportError('timeout', `${what}: the TLS handshake did not finish in time`)),
      Math.max(0, timeoutMs)
    )
    signal?.addEventListener('abort', onAbort, { once: true })
    socket.once('close', onClosed)
    // Stays, see connectSocket.
    socket.on('error', (error) => fail(tlsFailure(error, what)))
    socket.on('keylog', (line: Buffer) => noteKeyLog(line, socket))
    socket.on('session', (ticket: Buffer) => sessions?.put(key, ticket))
    socket.once('secureConnect', () => {
      const info = describe(socket)
      if (options.verify === true && !info.authorized) {
        fail(untrusted(info, what))
        return
      }
      settle()
      resolve({ socket, info })
    })
  })
}

function sessionKey(options: TlsOptions, name: string): string {
  const anchors = createHash('sha256')
    .update((options.ca ?? []).join('\0'))
    .digest('hex')
  return [options.host, options.port, name, options.verify === true, anchors].join('|')
}

function describe(socket: TLSSocket): TlsInfo {
  const certificate = socket.getPeerCertificate()
  const error: unknown = socket.authorizationError
  return {
    protocol: socket.getProtocol() ?? 'unknown',
    cipher: socket.getCipher().standardName,
    authorized: socket.authorized,
    authorizationError: socket.authorized || error == null ? undefined : String(error),
    issuer: nameText(certificate.issuer),
    subject: nameText(certificate.subject),
    fingerprint: certificate.fingerprint256 ?? '',
    resumed: socket.isSessionReused()
  }
}

function nameText(name: object | undefined): string {
  return Object.entries(name ?? {})
    .map(([type, value]) => `${type}=${Array.isArray(value) ? value.join('+') : String(value)}`)
    .join(', ')
}

function untrusted(info: TlsInfo, what: string): TransportError {
  return new TransportError(
    'tls-untrusted',
    `${what}: the certificate of ${info.subject || 'the server'} is not trusted (${info.authorizationError ?? 'unknown'})`,
    'Give its CA with --tls-cafile or its name with --tls-name, or leave out --tls-verify: IKE authenticates the gateway anyway'
  )
}

function tlsFailure(error: Error, what: string): TransportError {
  const name = systemCode(error)
  if (/^E[A-Z]+$/.test(name)) return transportError(failureOf(name, what), error)
  return new TransportError('tls-error', `${what}: ${tlsReason(error)}`, undefined, error)
}

/** OpenSSL's `reason` is a sentence; its whole message has file names and addresses in it. */
function tlsReason(error: Error): string {
  const reason: unknown = 'reason' in error ? error.reason : undefined
  return typeof reason === 'string' ? `the handshake failed (${reason})` : error.message
}
