/**
 * The data plane of a gateway: one TUN device, many peers, told apart by the inner address that packets go to.
 * @module
 */
import type { Sad } from '../esp/sad.ts'
import type { TrafficSelector } from '../wire/ike-message.ts'
import { destinationOffset } from '../wire/ip.ts'
import type { PeerLink, PeerObserver } from './peer-link.ts'
import { PeerTable } from './peer-table.ts'
import { type PumpStats, sumStats } from './stats.ts'
import { type PeerRouter, TunSide, type TunSideOptions } from './tun-side.ts'

export class GatewayPump {
  readonly #side: TunSide
  readonly #table = new PeerTable<PeerLink>()
  readonly #peers = new Set<PeerLink>()
  readonly #router: { sole: PeerLink | undefined; peerFor: PeerRouter['peerFor'] } = {
    sole: undefined,
    peerFor: (buffer, offset) =>
      this.#table.find((buffer[offset] ?? 0) >>> 4 === 6 ? 6 : 4, buffer, destinationOffset(buffer, offset))
  }
  /** What peers that have left had counted. */
  #past: PumpStats = sumStats([])

  /** Begins paused: call `resume` when addresses and routes are in place. */
  constructor(options: TunSideOptions) {
    this.#side = new TunSide(options, this.#router)
  }

  get stats(): PumpStats {
    return sumStats([this.#past, this.#side.counters, ...[...this.#peers].map((peer) => peer.counters)])
  }

  get mtu(): number {
    return this.#side.mtu
  }

  setMtu(mtu: number): void {
    this.#side.setMtu(mtu)
  }

  /** A new peer; it gets packets once it has a transport, ranges, and a sending SA in its `sad`. */
  addPeer(sad: Sad, observer: PeerObserver = {}): PeerLink {
    const peer = this.#side.addPeer(sad, observer)
    this.#peers.add(peer)
    this.#peersChanged()
    return peer
  }

  /** Packets to these inner addresses go to this peer: the remote traffic selectors of its Child SAs. Replaces those given before. */
  setRanges(peer: PeerLink, selectors: readonly TrafficSelector[]): void {
    this.#table.remove(peer)
    if (this.#peers.has(peer)) this.#table.add(selectors, peer)
  }

  removePeer(peer: PeerLink): void {
    if (!this.#peers.delete(peer)) return
    this.#table.remove(peer)
    peer.setTransport(undefined)
    this.#side.forget(peer)
    this.#past = sumStats([this.#past, peer.counters])
    this.#peersChanged()
  }

  pause(): void {
    this.#side.pause()
  }

  resume(): void {
    this.#side.resume()
  }

  /** Stops for good; the TUN device and the SAs are their owner's. */
  stop(): void {
    this.#side.stop()
  }

  #peersChanged(): void {
    const [first] = this.#peers
    this.#router.sole = this.#peers.size === 1 ? first : undefined
    this.#side.peersChanged()
  }
}
