/**
 * The gateway's TCP and TLS listeners (RFC 9329 section 6.1 and appendix A): hands over streams that begin with the
 * prefix, as transports. Everything else is closed.
 * @module
 */
import type { Duplex } from 'node:stream'
import type { Logger } from '../log.ts'
import { formatEndpoint } from '../transport/failure.ts'
import type { SocketSettings } from '../transport/socket-settings.ts'
import type { StreamTransport } from '../transport/stream.ts'
import { acceptStream } from '../transport/stream-accept.ts'
import {
  type Connection,
  type StreamCredentials,
  type StreamListener,
  StreamServer
} from '../transport/stream-server.ts'
import type { ConnectionLimits } from './connection-limits.ts'

export interface GatewayStreamOptions {
  readonly listeners: readonly (Omit<StreamListener, 'tls'> & { readonly kind: 'tcp' | 'tls' })[]
  /** Of all TLS listeners. */
  readonly tls: StreamCredentials
  readonly limits: ConnectionLimits
  readonly prefixTimeoutMs: number
  readonly sockets?: SocketSettings | undefined
  readonly log: Logger
  onStream(transport: StreamTransport): void
}

/** Listens on all, or on none. @throws SystemError `listen-failed`, DataError `bad-tls-credentials` */
export function openGatewayStreams(options: GatewayStreamOptions): Promise<StreamServer> {
  const { listeners, tls, limits, prefixTimeoutMs, sockets, log } = options
  return StreamServer.open({
    listeners: listeners.map(({ kind, address, port }) => ({
      address,
      port,
      tls: kind === 'tls' ? tls : undefined
    })),
    handshakeTimeoutMs: prefixTimeoutMs,
    sockets,
    log,
    admit: (address) => {
      const admitted = limits.admit(address)
      if (!admitted) log.log('debug', 'too many connections', { address })
      return admitted
    },
    release: (address) => limits.release(address),
    onConnection: (stream, connection) => void accept(stream, connection, options)
  })
}

async function accept(
  stream: Duplex,
  { kind, local, remote }: Connection,
  { prefixTimeoutMs, log, onStream, sockets = {} }: GatewayStreamOptions
): Promise<void> {
  const accepted = await acceptStream(stream, kind, { local, remote, prefixTimeoutMs, sockets })
  if (accepted.outcome === 'accepted') {
    onStream(accepted.transport)
    return
  }
  if (accepted.outcome === 'other-protocol') accepted.stream.destroy()
  const from = formatEndpoint(remote.address, remote.port)
  log.log('debug', 'a connection without the IKETCP prefix', { from, kind, outcome: accepted.outcome })
}
