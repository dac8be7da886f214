/**
 * What carries traffic to clients: stream connections, and the sockets of UDP paths that clients use. Knows which
 * client uses which, and closes streams that are of no use to anybody.
 *
 * Invariants: a UDP path has a socket of its own exactly as long as an authenticated peer uses it; a stream lives until
 * its other end closes it, or until a deadline of `sweep`.
 * @module
 */
import type { PeerLink } from '../dataplane/peer-link.ts'
import type { IkeSession } from '../ike/session.ts'
import type { Logger } from '../log.ts'
import { formatEndpoint } from '../transport/failure.ts'
import type { Transport, TransportFailure, TransportHandlers } from '../transport/types.ts'
import type { Path } from '../wire/endpoint.ts'
import type { UdpService } from './listeners.ts'
import type { GatewayLimits } from './options.ts'

export interface Carrier {
  readonly path: Path
  readonly transport: Transport
  /** Peers whose path this is. */
  readonly peers: Set<Passenger>
}

/** A peer as far as it is carried. */
export interface Passenger {
  readonly link: Pick<PeerLink, 'setTransport' | 'handleWritable'>
  carrier: Carrier | undefined
}

interface Stream extends Carrier {
  readonly openedAtMs: number
  /** The session that spoke over it last, half-open ones included. */
  session: IkeSession | undefined
  bytesIn: number
  /** Since when it has neither been used nor said anything. */
  quietSinceMs: number
}

export interface CarrierEvents {
  onIke: TransportHandlers['onIke']
  onEsp: TransportHandlers['onEsp']
  readonly recognise: NonNullable<TransportHandlers['recognise']>
  onEspBatchEnd(): void
  onStreamLost(path: Path, session: IkeSession | undefined): void
  /** A hint from the network that nobody authenticates. */
  onTrouble(carrier: Carrier, failure: TransportFailure): void
}

export class Carriers {
  readonly #events: CarrierEvents
  readonly #limits: GatewayLimits
  readonly #log: Logger
  readonly #streams = new Map<number, Stream>()
  readonly #udpCarriers = new Map<number, Carrier>()
  #udp: UdpService | undefined

  constructor(events: CarrierEvents, limits: GatewayLimits, log: Logger) {
    this.#events = events
    this.#limits = limits
    this.#log = log
  }

  get streamCount(): number {
    return this.#streams.size
  }

  /** Paths with a socket of their own. */
  get udpCount(): number {
    return this.#udpCarriers.size
  }

  useUdp(udp: UdpService): void {
    this.#udp = udp
    udp.setHandlers(this.#events)
  }

  addStream(transport: Transport, nowMs: number): void {
    const { path } = transport
    const stream: Stream = {
      path,
      transport,
      peers: new Set(),
      openedAtMs: nowMs,
      session: undefined,
      bytesIn: 0,
      quietSinceMs: nowMs
    }
    this.#streams.set(path.id, stream)
    this.#log.log('debug', 'a stream', { kind: path.transport, from: nameOf(path) })
    transport.setHandlers(
      this.#handlers(stream, (failure) => {
        this.#streams.delete(path.id)
        const isCorrupted = failure.code === 'stream-corrupted'
        const level = isCorrupted ? 'info' : 'debug'
        this.#log.log(level, 'a stream ended', { from: nameOf(path), why: failure.code })
        for (const peer of stream.peers) this.#leave(peer)
        this.#events.onStreamLost(path, stream.session)
      })
    )
  }

  send(message: Uint8Array, path: Path, session: IkeSession | undefined): void {
    const stream = this.#streams.get(path.id)
    if (stream !== undefined) {
      if (session !== undefined) stream.session = session
      stream.transport.sendIke(message, path)
    } else if (path.transport === 'udp') this.#udp?.sendIke(message, path)
  }

  /** Is there still a way to send on it? */
  isOpen(path: Path): boolean {
    return path.transport === 'udp' ? this.#udp !== undefined : this.#streams.has(path.id)
  }

  /** Can ESP travel on it? Not on the UDP port of plain IKE. */
  carriesEsp(path: Path): boolean {
    return path.transport === 'udp' ? this.#udp?.carriesEsp(path) === true : this.#streams.has(path.id)
  }

  /** The peer's traffic goes over the path from now on, as far as that is possible. */
  attach(peer: Passenger, path: Path): void {
    if (peer.carrier?.path.id === path.id) return
    const carrier = this.#streams.get(path.id) ?? this.#udpCarrier(path)
    carrier?.peers.add(peer)
    const before = peer.carrier
    peer.carrier = carrier
    peer.link.setTransport(carrier?.transport)
    if (before !== undefined) this.#forget(before, peer)
  }

  detach(peer: Passenger): void {
    const { carrier } = peer
    this.#leave(peer)
    if (carrier !== undefined) this.#forget(carrier, peer)
  }

  /** Closes streams without an SA, and replaced ones that are silent (RFC 9329 section 6.1). */
  sweep(nowMs: number): void {
    for (const stream of this.#streams.values()) {
      const { bytesIn } = stream.transport.stats
      const ended = stream.session?.state === 'DESTROYED'
      if (ended || stream.session?.state === 'CREATED') stream.session = undefined
      const inUse = stream.peers.size > 0 || isUnderWay(stream.session)
      if (inUse || (bytesIn !== stream.bytesIn && stream.session !== undefined) || ended)
        stream.quietSinceMs = nowMs
      stream.bytesIn = bytesIn
      const limitMs =
        stream.session === undefined ? this.#limits.noSessionTimeoutMs : this.#limits.replacedIdleMs
      if (nowMs - stream.quietSinceMs >= limitMs) void stream.transport.close()
    }
  }

  /** Ends all streams in good order; UDP sockets are the server's. */
  async close(): Promise<void> {
    await Promise.all([...this.#streams.values()].map(({ transport }) => transport.close()))
    this.#udpCarriers.clear()
    this.#udp = undefined
  }

  #handlers(carrier: Carrier, onClose: (failure: TransportFailure) => void): TransportHandlers {
    const { onIke, onEsp, recognise, onEspBatchEnd, onTrouble } = this.#events
    return {
      onIke,
      onEsp,
      recognise,
      onEspBatchEnd,
      onClose,
      onTrouble: (failure) => onTrouble(carrier, failure),
      onWritable() {
        for (const peer of carrier.peers) peer.link.handleWritable()
      }
    }
  }

  #udpCarrier(path: Path): Carrier | undefined {
    const known = this.#udpCarriers.get(path.id)
    if (known !== undefined) return known
    if (!this.carriesEsp(path)) {
      if (path.transport === 'udp')
        this.#log.log('warn', 'a client without NAT traversal: its traffic cannot be carried', {
          from: nameOf(path)
        })
      return undefined
    }
    let transport: Transport | undefined
    try {
      transport = this.#udp?.adopt(path)
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      this.#log.log('error', 'no socket for a client', { from: nameOf(path), message })
    }
    if (transport === undefined) return undefined
    const carrier: Carrier = { path, transport, peers: new Set() }
    this.#udpCarriers.set(path.id, carrier)
    transport.setHandlers(this.#handlers(carrier, () => undefined))
    return carrier
  }

  #leave(peer: Passenger): void {
    peer.carrier = undefined
    peer.link.setTransport(undefined)
  }

  #forget(carrier: Carrier, peer: Passenger): void {
    carrier.peers.delete(peer)
    if (carrier.peers.size > 0 || !this.#udpCarriers.delete(carrier.path.id)) return
    this.#udp?.release(carrier.path)
  }
}

/** On its way to be authenticated, or to be told why not. A session that was refused at once stays `CREATED`. */
function isUnderWay(session: IkeSession | undefined): boolean {
  return session?.state === 'CONNECTING' || session?.state === 'DELETING'
}

function nameOf(path: Path): string {
  return formatEndpoint(path.remote.address, path.remote.port)
}
