/**
 * What a relay is told, with its defaults. Every figure is an option; the comment beside a default says where it comes from.
 * @module
 */
import { UsageError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { formatEndpoint as formatAddressAndPort } from '../transport/failure.ts'
import type { SocketSettings } from '../transport/socket-settings.ts'
import type { StreamListener } from '../transport/stream-server.ts'
import type { Endpoint } from '../wire/endpoint.ts'

/** A name or address, and a port. */
export interface HostPort {
  readonly host: string
  readonly port: number
}

export interface RelayOptions {
  readonly listeners: readonly StreamListener[]
  /** The IKEv2 server's UDP port for encapsulated ESP. A name is resolved once, at the start. */
  readonly target: HostPort
  /** Web server that gets every stream that does not begin with `IKETCP`. */
  readonly fallback?: HostPort | undefined
  /** Where Prometheus may ask. */
  readonly metrics?: { readonly address: string | undefined; readonly port: number } | undefined
  readonly limits?: Partial<RelayLimits> | undefined
  /**
   * A target on IPv4 loopback sees each client under an address of its own in 127/8, so that its limits for each
   * peer address (cookies, half-open IKE SAs) keep their meaning. Default true; elsewhere it has no effect.
   */
  readonly spreadSources?: boolean | undefined
  /** False: Node's own datagrams even where the C library can be called. Default true. */
  readonly nativeSockets?: boolean | undefined
  /** Of the streams, and of the UDP sockets behind them. */
  readonly sockets?: SocketSettings | undefined
  readonly log: Logger
}

export interface RelayLimits {
  readonly maxConnections: number
  readonly maxConnectionsPerAddress: number
  /** New connections of all addresses, and of one, within each half-second; the rest is closed at once. */
  readonly maxAccepts: number
  readonly maxAcceptsPerAddress: number
  /** From the connection, or the end of the TLS handshake, to the whole prefix. */
  readonly prefixTimeoutMs: number
  readonly tlsHandshakeTimeoutMs: number
  /** From the prefix to the first message: an initiator has something to say at once (RFC 9329 section 6.1). */
  readonly firstMessageTimeoutMs: number
  /** From the first byte of a frame to its last. */
  readonly frameTimeoutMs: number
  /** A stream that carries neither IKE nor ESP in either direction for so long is closed. 0: never. */
  readonly idleTimeoutMs: number
  /** A client that takes nothing of what waits for it for so long is gone. */
  readonly stallTimeoutMs: number
  /** Bytes that wait for a slow client before its ESP is dropped. */
  readonly espQueueBytes: number
  /** The same for IKE, which is never dropped: beyond this the stream is closed. */
  readonly ikeQueueBytes: number
  /** How long a stream that was ended here may take to send what it holds and to see the client's FIN. */
  readonly closeGraceMs: number
}

export const DEFAULT_RELAY_LIMITS: RelayLimits = {
  maxConnections: 1024,
  maxConnectionsPerAddress: 64, // an office behind one NAT; each client holds one stream, two for a moment
  maxAccepts: 200,
  maxAcceptsPerAddress: 20,
  prefixTimeoutMs: 5_000, // libreswan's responder gives the first IKE packet 5 s
  tlsHandshakeTimeoutMs: 10_000, // three round trips on a link that loses packets
  firstMessageTimeoutMs: 10_000,
  frameTimeoutMs: 10_000,
  idleTimeoutMs: 3_600_000, // a tunnel may be silent; one that died is found by TCP keepalives long before
  stallTimeoutMs: 60_000,
  espQueueBytes: 262_144, // 20 ms at 100 Mbit/s: more is only delay (RFC 9329 section 9.1)
  ikeQueueBytes: 1_048_576,
  closeGraceMs: 2_000
}

/** UDP port for encapsulated ESP and IKE behind the non-ESP marker (RFC 3948). */
export const DEFAULT_TARGET_PORT = 4500

/** `443`, `198.51.100.7:443` or `[2001:db8::7]:443`. @throws UsageError */
export function parseListen(text: string, option: string): { address: string | undefined; port: number } {
  if (/^\d+$/.test(text)) return { address: undefined, port: parsePort(text, text, option) }
  const { host, port } = parseHostPort(text, undefined, option)
  return { address: host === '*' ? undefined : host, port }
}

/** `host:port`, or `host` where there is a default port; an IPv6 address in brackets. @throws UsageError */
export function parseHostPort(text: string, defaultPort: number | undefined, option: string): HostPort {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+))(?::(\d+))?$/.exec(text)
  const host = match?.[1] ?? match?.[2]
  const port = match?.[3] === undefined ? defaultPort : parsePort(match[3], text, option)
  if (host === undefined || port === undefined) {
    throw new UsageError('bad-host-port', `${option} ${text} is not an address with a port.`, {
      hint: 'Examples: 4500, 198.51.100.7:4500, [2001:db8::7]:4500, vpn.example.com:4500'
    })
  }
  return { host, port }
}

function parsePort(digits: string, text: string, option: string): number {
  const port = Number(digits)
  if (port > 65_535) throw new UsageError('bad-port', `${option} ${text}: a port is at most 65535.`)
  return port
}

export function formatEndpoint({ address, port }: Endpoint): string {
  return formatAddressAndPort(address, port)
}
