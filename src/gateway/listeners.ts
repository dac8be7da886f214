/**
 * Where a gateway can be reached: UDP, TCP and TLS on each of its addresses, opened and closed together.
 * @module
 */
import { toPem } from '../crypto/trust-store.ts'
import type { Logger } from '../log.ts'
import type { StreamServer } from '../transport/stream-server.ts'
import type { Transport } from '../transport/types.ts'
import { UdpServer } from '../transport/udp-server.ts'
import { ConnectionLimits } from './connection-limits.ts'
import type { ListeningAddress } from './events.ts'
import type { GatewayLimits, GatewayOptions } from './options.ts'
import { type GatewayStreamOptions, openGatewayStreams } from './stream-server.ts'

export interface ListenersSurroundings {
  readonly limits: GatewayLimits
  readonly log: Logger
  /** A stream that began with the prefix. */
  onStream(transport: Transport): void
}

/** What the rest of the gateway uses of a `UdpServer`. */
export type UdpService = Pick<
  UdpServer,
  'setHandlers' | 'sendIke' | 'carriesEsp' | 'pathBetween' | 'adopt' | 'release'
>

/** What a gateway needs of its listeners, whatever they listen on. */
export interface OpenListeners {
  /** Undefined without UDP. */
  readonly udp: UdpService | undefined
  readonly addresses: readonly ListeningAddress[]
  close(): Promise<void>
}

export class Listeners implements OpenListeners {
  readonly udp: UdpServer | undefined
  readonly #streams: StreamServer

  private constructor(udp: UdpServer | undefined, streams: StreamServer) {
    this.udp = udp
    this.#streams = streams
  }

  /** Opens all, or none. @throws SystemError `listen-failed`, DataError `bad-tls-credentials` */
  static async open(options: GatewayOptions, around: ListenersSurroundings): Promise<Listeners> {
    const { listen, ports, certificate, sockets } = options
    const udp = options.udp
      ? new UdpServer({ addresses: listen, ikePort: ports.ike, natTPort: ports.natT, sockets })
      : undefined
    const { maxConnections, maxConnectionsPerAddress, prefixTimeoutMs } = around.limits
    try {
      const streams = await openGatewayStreams({
        listeners: streamListeners(options),
        tls: {
          cert: certificate.chain.map((der) => toPem('CERTIFICATE', der)).join(''),
          key: certificate.key.export({ format: 'pem', type: 'pkcs8' }).toString()
        },
        limits: new ConnectionLimits(maxConnections, maxConnectionsPerAddress),
        prefixTimeoutMs,
        sockets,
        log: around.log,
        onStream: around.onStream
      })
      return new Listeners(udp, streams)
    } catch (error) {
      await udp?.close()
      throw error
    }
  }

  get addresses(): ListeningAddress[] {
    const udp = this.udp?.listening ?? []
    return [
      ...udp.map(({ address, port }) => ({ transport: 'udp', address, port }) as const),
      ...this.#streams.listening.map(({ kind, address, port }) => ({ transport: kind, address, port }))
    ]
  }

  async close(): Promise<void> {
    await this.#streams.close()
    await this.udp?.close()
  }
}

function streamListeners({ listen, ports, tcp, tls }: GatewayOptions): GatewayStreamOptions['listeners'] {
  const addresses = listen.length === 0 ? [undefined] : listen
  return addresses.flatMap((address) => [
    ...(tcp ? [{ kind: 'tcp', address, port: ports.tcp } as const] : []),
    ...(tls ? [{ kind: 'tls', address, port: ports.tls } as const] : [])
  ])
}
