/**
 * The data plane of a client: one TUN device, one peer. The owner holds the transport's handlers and forwards what concerns
 * ESP; the pump does the rest.
 * @module
 */
import type { Sad } from '../esp/sad.ts'
import { nativeBuffer } from '../native/memory.ts'
import type { Transport } from '../transport/types.ts'
import type { InnerInspector, PeerLink, PeerObserver } from './peer-link.ts'
import { type PumpStats, sumStats } from './stats.ts'
import { TunSide, type TunSideOptions } from './tun-side.ts'

export interface PumpOptions extends TunSideOptions {
  readonly sad: Sad
  readonly observer?: PeerObserver | undefined
}

/** Questions of our own may ask how long a packet may be. */
const MAX_INJECTED_LENGTH = 2048

export class Pump {
  readonly #side: TunSide
  readonly #peer: PeerLink
  /** Ciphers need to know where a packet is. */
  readonly #injected = nativeBuffer(MAX_INJECTED_LENGTH)

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

  /** What TCP inside is held to, if that is less than the MTU allows; undefined: no less. */
  setSegmentLimit(packetBytes: number | undefined): void {
    this.#side.setSegmentLimit(packetBytes)
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

  /** A transport is there and takes nothing: whatever is on its way waits. */
  get blocked(): boolean {
    return this.#peer.transport !== undefined && !this.#peer.ready
  }

  /** Who looks at the inner packets that pass. */
  set inspector(inspector: InnerInspector | undefined) {
    this.#peer.inspector = inspector
  }

  /** Sends an inner packet of our own, of at most `MAX_INJECTED_LENGTH` bytes. @returns whether it left */
  inject(packet: Uint8Array): boolean {
    this.#injected.set(packet)
    return this.#peer.inject(this.#injected.subarray(0, packet.length))
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
