/**
 * Opens one rung's transport with the session's settings: ports, proxy, outer TLS.
 * @module
 */
import { failureFrom } from '../transport/failure.ts'
import { parseProxyUrl, proxyFromEnvironment } from '../transport/proxy-url.ts'
import { openTcp } from '../transport/tcp.ts'
import { openTls, type TlsSessionCache } from '../transport/tls.ts'
import type { Transport } from '../transport/types.ts'
import { openUdp } from '../transport/udp.ts'
import type { TransportKind } from '../wire/endpoint.ts'
import { streamFaults } from '../wire/frame-fate.ts'
import type { Candidate, Opened } from './openings.ts'
import type { TransportOptions } from './options.ts'

export class TransportOpener {
  readonly #options: TransportOptions
  readonly #sessions: TlsSessionCache
  /** Of all streams that were opened here. */
  readonly faults = streamFaults()

  /** @param sessions outer TLS sessions to resume: reconnecting then costs one round trip less */
  constructor(options: TransportOptions, sessions: TlsSessionCache) {
    this.#options = options
    this.#sessions = sessions
  }

  /** The proxy that a stream to this server goes through. @throws UsageError or TransportError for an unusable URL */
  proxyFor(kind: TransportKind): URL | undefined {
    const { proxy, server } = this.#options
    if (kind === 'udp' || proxy.kind === 'none') return undefined
    return proxy.kind === 'url' ? parseProxyUrl(proxy.url) : proxyFromEnvironment(process.env, server)
  }

  /** Never rejects. */
  async open(candidate: Candidate, signal: AbortSignal, timeoutMs: number): Promise<Opened> {
    try {
      return { transport: await this.#open(candidate, signal, timeoutMs) }
    } catch (error) {
      return { failure: failureFrom(error) }
    }
  }

  #open({ kind, address }: Candidate, signal: AbortSignal, timeoutMs: number): Promise<Transport> {
    const { ports, tls, server, sockets } = this.#options
    if (kind === 'udp') {
      return openUdp({ remoteAddress: address, ikePort: ports.ike, natTPort: ports.natT, signal, sockets })
    }
    const proxy = this.proxyFor(kind)
    const { faults } = this
    if (kind === 'tcp')
      return openTcp({ host: address, port: ports.tcp, proxy, signal, timeoutMs, sockets, faults })
    return openTls({
      host: address,
      port: ports.tls,
      proxy,
      signal,
      timeoutMs,
      sockets,
      faults,
      serverName: tls.name ?? server,
      verify: tls.verify,
      ca: tls.ca.length === 0 ? undefined : tls.ca,
      sessions: this.#sessions
    })
  }
}
