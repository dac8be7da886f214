/**
 * The data plane of a client: one TUN device, one peer. The owner holds the transport's handlers and forwards what concerns
 * ESP; the pump does the rest.
 * @module
 */
import type { Sad } from '../esp/sad.ts'
import type { Transport } from '../transport/types.ts'
import type { PeerLink, PeerObserver } from './peer-link.ts'
import { type PumpStats, sumStats } from './stats.ts'
import { TunSide, type TunSideOptions } from './tun-side.ts'

export interface PumpOptions extends TunSideOptions {
  readonly sad: Sad
  readonly observer?: PeerObserver | undefined
}

export class Pump {
  readonly #side: TunSide
  readonly #peer: PeerLink

  /** Begins paused: call `resume` when addresses and routes are in place. */
  constructor(options: PumpOptions) {
    const router: { sole: PeerLink | undefined; peerFor(): PeerLink | undefined } = {
      sole: undefined,
      peerFor: () => router.sole
    }
    this.#side = new TunSide(options, router)
    this.#peer = this.#side.addPeer(options.sad, options.observer ?? {})
    router.sole = this.#peer
  }

  get stats(): PumpStats {
    return sumStats([this.#peer.counters, this.#side.counters])
  }

  get mtu(): number {
    return this.#side.mtu
  }

  setMtu(mtu: number): void {
    this.#side.setMtu(mtu)
  }

  /** Where ESP goes from now on. Undefined: nowhere yet, packets wait in the TUN device. */
  setTransport(transport: Transport | undefined): void {
    this.#peer.setTransport(transport)
  }

  /** One ESP packet from any transport of this peer. Result and `ecn`: see `PeerLink.handleEsp`. */
  handleEsp(buffer: Uint8Array, offset: number, length: number, ecn?: number): number {
    return this.#peer.handleEsp(buffer, offset, length, ecn)
  }

  handleEspBatchEnd(): void {
    this.#peer.handleEspBatchEnd()
  }

  handleWritable(): void {
    this.#peer.handleWritable()
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
}
