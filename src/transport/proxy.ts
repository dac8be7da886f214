/**
 * Streams through a proxy: HTTP CONNECT (RFC 9110 section 9.3.6) with Basic credentials, and SOCKS5 (RFC 1928, 1929)
 * with the name resolved by the proxy.
 *
 * Invariants: credentials are in no error and not in `via`; bytes behind the proxy's answer belong to the stream.
 * @module
 */
import { request } from 'node:http'
import type { Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { abortedError, failureFrom, formatEndpoint, TransportError } from './failure.ts'
import { proxyEndpoint, proxyLabel } from './proxy-url.ts'
import { connectSocket } from './tcp-socket.ts'

export interface ProxyTarget {
  /** A name (the proxy resolves it) or an address. */
  readonly host: string
  readonly port: number
}

export interface ProxyOptions {
  readonly signal?: AbortSignal | undefined
  readonly timeoutMs: number
  readonly localAddress?: string | undefined
  /** Trust anchors in PEM for an `https:` proxy; none: Node's own. Its certificate is always checked. */
  readonly ca?: readonly string[] | undefined
}

export interface ProxyTunnel {
  /** The stream to the target. */
  readonly stream: Socket
  /** The TCP connection underneath; the same as `stream` unless the proxy itself speaks TLS. */
  readonly tcp: Socket
  /** Bytes that the target sent already. */
  readonly head: Uint8Array
  /** The proxy's URL without credentials. */
  readonly via: string
}

/** @throws TransportError `proxy-unreachable`, `proxy-refused`, `proxy-auth-required`, `timeout`, `closed` */
export async function connectThroughProxy(
  proxy: URL,
  target: ProxyTarget,
  options: ProxyOptions
): Promise<ProxyTunnel> {
  const via = proxyLabel(proxy)
  const what = `the proxy ${via}`
  const { signal, timeoutMs, localAddress } = options
  const deadline = performance.now() + timeoutMs
  const tcp = await connectToProxy(proxy, { signal, timeoutMs, localAddress }, what)
  try {
    const stream = proxy.protocol === 'https:' ? await secure(tcp, proxy, options, what, deadline) : tcp
    const attempt: Attempt = { proxy, target, stream, what, signal, timeoutMs: deadline - performance.now() }
    const head = await (isSocks(proxy) ? socksConnect(attempt) : httpConnect(attempt))
    return { stream, tcp, head, via }
  } catch (error) {
    tcp.destroy()
    throw error
  }
}

interface Attempt {
  readonly proxy: URL
  readonly target: ProxyTarget
  readonly stream: Socket
  readonly what: string
  readonly signal: AbortSignal | undefined
  readonly timeoutMs: number
}

function isSocks(proxy: URL): boolean {
  return proxy.protocol.startsWith('socks')
}

async function connectToProxy(
  proxy: URL,
  options: Pick<ProxyOptions, 'signal' | 'timeoutMs' | 'localAddress'>,
  what: string
): Promise<Socket> {
  const { signal, timeoutMs, localAddress } = options
  try {
    return await connectSocket({ ...proxyEndpoint(proxy), localAddress, signal, timeoutMs, what })
  } catch (error) {
    const failure = failureFrom(error)
    if (failure.code === 'closed') throw error
    throw new TransportError(
      'proxy-unreachable',
      `No connection to ${what}: ${failure.message}`,
      'Check the proxy setting, or leave it out with --no-proxy',
      error
    )
  }
}

/** TLS to an `https:` proxy. It is about to see credentials: its certificate must be good. */
function secure(
  tcp: Socket,
  proxy: URL,
  options: ProxyOptions,
  what: string,
  deadline: number
): Promise<Socket> {
  const { host } = proxyEndpoint(proxy)
  const ca = options.ca === undefined || options.ca.length === 0 ? {} : { ca: [...options.ca] }
  const socket = connectTls({ socket: tcp, servername: host, host, ...ca })
  return withDeadline(what, options.signal, deadline - performance.now(), (resolve, reject) => {
    socket.on('error', (cause) =>
      reject(
        new TransportError('proxy-unreachable', `TLS to ${what} failed: ${cause.message}`, undefined, cause)
      )
    )
    socket.once('close', () =>
      reject(new TransportError('proxy-unreachable', `TLS to ${what} failed: it closed the connection`))
    )
    socket.once('secureConnect', () => resolve(socket))
  })
}

function httpConnect(attempt: Attempt): Promise<Uint8Array> {
  const { proxy, target, stream, what, signal, timeoutMs } = attempt
  const authority = formatEndpoint(target.host, target.port)
  const headers: Record<string, string> = { Host: authority, 'Proxy-Connection': 'keep-alive' }
  if (proxy.username !== '' || proxy.password !== '') headers['Proxy-Authorization'] = basic(proxy)
  return withDeadline(what, signal, timeoutMs, (resolve, reject) => {
    const outgoing = request({
      method: 'CONNECT',
      path: authority,
      headers,
      createConnection: () => stream
    })
    outgoing.once('connect', (response, _socket, head) => {
      const status = response.statusCode ?? 0
      if (status >= 200 && status < 300) resolve(head)
      else reject(refusal(what, status, response.statusMessage ?? ''))
    })
    outgoing.once('response', () => reject(notAProxy(what, 'it did not treat CONNECT as a request')))
    outgoing.on('error', (cause) => reject(notAProxy(what, cause.message, cause)))
    outgoing.once('close', () => reject(notAProxy(what, 'it closed the connection')))
    outgoing.end()
  })
}

function basic(proxy: URL): string {
  const credentials = `${decoded(proxy.username)}:${decoded(proxy.password)}`
  return `Basic ${Buffer.from(credentials).toString('base64')}`
}

/** Percent-decoded; a stray `%` stands for itself. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

function refusal(what: string, status: number, statusText: string): TransportError {
  // The proxy chose the text: only what is harmless on a terminal is repeated.
  const said = `${status} ${statusText}`
    .replace(/[^\x20-\x7e]/g, '?')
    .slice(0, 120)
    .trim()
  if (status === 407)
    return new TransportError(
      'proxy-auth-required',
      `${capitalised(what)} wants credentials (${said})`,
      'Put user name and password into the proxy URL: http://user:password@host:port'
    )
  return new TransportError('proxy-refused', `${capitalised(what)} refused the connection: ${said}`)
}

function notAProxy(what: string, why: string, cause?: unknown): TransportError {
  return new TransportError(
    'proxy-refused',
    `${capitalised(what)} gave no usable answer: ${why}`,
    undefined,
    cause
  )
}

function capitalised(sentence: string): string {
  return sentence.charAt(0).toUpperCase() + sentence.slice(1)
}

async function socksConnect(attempt: Attempt): Promise<Uint8Array> {
  const { proxy, target, stream, what, signal, timeoutMs } = attempt
  const { SocksClient } = await import('socks')
  const { host, port } = proxyEndpoint(proxy)
  return withDeadline(what, signal, timeoutMs, (resolve, reject) => {
    const client = new SocksClient({
      command: 'connect',
      destination: { host: target.host, port: target.port },
      proxy: {
        host,
        port,
        type: 5,
        ...(proxy.username === '' ? {} : { userId: decoded(proxy.username) }),
        ...(proxy.password === '' ? {} : { password: decoded(proxy.password) })
      },
      timeout: Math.max(1, Math.ceil(timeoutMs))
    })
    client.once('error', (error: Error) => reject(socksFailure(error, what)))
    client.connect(stream)
    client.once('established', () => resolve(earlyBytes(stream)))
  })
}

/** The client emits what it read too much from `setImmediate`, and lets the socket flow: catch it, and stop it. */
function earlyBytes(stream: Socket): Promise<Uint8Array> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = []
    const onData = (chunk: Buffer) => chunks.push(chunk)
    stream.on('data', onData)
    setImmediate(() =>
      setImmediate(() => {
        stream.pause()
        stream.off('data', onData)
        resolve(Buffer.concat(chunks))
      })
    )
  })
}

function socksFailure(error: Error, what: string): TransportError {
  // The client's error object carries its options, credentials included: only the message is kept.
  const message = error.message
  if (/authentication/i.test(message))
    return new TransportError(
      'proxy-auth-required',
      `${capitalised(what)} did not accept the authentication (${message})`,
      'Put user name and password into the proxy URL: socks5://user:password@host:port'
    )
  return new TransportError('proxy-refused', `${capitalised(what)} refused the connection: ${message}`)
}

/** A promise that is also settled by the signal and the time. Settling twice does nothing. */
function withDeadline<T>(
  what: string,
  signal: AbortSignal | undefined,
  timeoutMs: number,
  start: (resolve: (value: T | Promise<T>) => void, reject: (error: TransportError) => void) => void
): Promise<T> {
  return new Promise((resolve, reject) => {
    const settle = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
    }
    const fail = (error: TransportError) => {
      settle()
      reject(error)
    }
    const onAbort = () => fail(abortedError(what))
    const timer = setTimeout(
      () => fail(new TransportError('timeout', `${capitalised(what)} did not answer in time`)),
      Math.max(0, timeoutMs)
    )
    signal?.addEventListener('abort', onAbort, { once: true })
    if (signal?.aborted === true) {
      onAbort()
      return
    }
    start((value) => {
      settle()
      resolve(value)
    }, fail)
  })
}
