/**
 * Opens the TCP connection that a stream transport rides on: straight to the gateway, or through a proxy.
 * @module
 */
import { isIP, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Endpoint } from '../wire/endpoint.ts'
import type { StreamFaults } from '../wire/frame-fate.ts'
import { formatEndpoint } from './failure.ts'
import { plainAddress } from './plain-address.ts'
import { connectThroughProxy } from './proxy.ts'
import type { SocketSettings } from './socket-settings.ts'
import { type AppliedTuning, tuneStream } from './socket-tuning.ts'
import { connectSocket } from './tcp-socket.ts'

/** What TCP and TLS transports have in common. */
export interface ConnectStreamOptions {
  /** An address; or a name, which only a proxy may be given to resolve. */
  readonly host: string
  readonly port: number
  readonly localAddress?: string | undefined
  /** `http:`, `https:` or `socks5:` URL, with credentials if it needs them. */
  readonly proxy?: URL | undefined
  readonly signal?: AbortSignal | undefined
  /** For everything until the stream is usable; default 10 s. */
  readonly timeoutMs?: number | undefined
  readonly sockets?: SocketSettings | undefined
  /** Where what is wrong with the frames is counted. */
  readonly faults?: StreamFaults | undefined
}

export interface ConnectedStream {
  readonly stream: Duplex
  /** Bytes that the far end sent already. */
  readonly head: Uint8Array
  readonly local: Endpoint
  readonly remote: Endpoint
  /** Where the packets really go. */
  readonly outerRemote: Endpoint
  /** The proxy's URL without credentials. */
  readonly via: string | null
  readonly tuning: AppliedTuning
  readonly sockets: SocketSettings
}

export const DEFAULT_OPEN_TIMEOUT_MS = 10_000
/** What NAT detection hashes for a gateway whose address only the proxy knows; a NAT is then found, as it should. */
const UNKNOWN_ADDRESS = '0.0.0.0'

/** @throws TransportError */
export async function connectStream(options: ConnectStreamOptions): Promise<ConnectedStream> {
  const { host, port, proxy } = options
  const sockets = options.sockets ?? {}
  const timeoutMs = options.timeoutMs ?? DEFAULT_OPEN_TIMEOUT_MS
  const remote = { address: isIP(host) === 0 ? UNKNOWN_ADDRESS : host, port }
  if (proxy === undefined) {
    const what = `${formatEndpoint(host, port)} over TCP`
    const { localAddress, signal } = options
    const socket = await connectSocket({ host, port, localAddress, signal, timeoutMs, what })
    const tuning = tuneStream(socket, sockets)
    const local = localEndpoint(socket)
    const head = new Uint8Array(0)
    return { stream: socket, head, local, remote, outerRemote: remote, via: null, tuning, sockets }
  }
  const { signal, localAddress } = options
  const tunnel = await connectThroughProxy(proxy, { host, port }, { signal, timeoutMs, localAddress })
  const tuning = tuneStream(tunnel.tcp, sockets)
  return {
    stream: tunnel.stream,
    head: tunnel.head,
    local: localEndpoint(tunnel.tcp),
    remote,
    outerRemote: {
      address: plainAddress(tunnel.tcp.remoteAddress ?? UNKNOWN_ADDRESS),
      port: tunnel.tcp.remotePort ?? 0
    },
    via: tunnel.via,
    tuning,
    sockets
  }
}

function localEndpoint(socket: Socket): Endpoint {
  return { address: plainAddress(socket.localAddress ?? UNKNOWN_ADDRESS), port: socket.localPort ?? 0 }
}
