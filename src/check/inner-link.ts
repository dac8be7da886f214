/**
 * A tunnel without a device: packets are put into it and taken out of it by the program itself. Nothing of the machine changes,
 * and no privilege is needed.
 * @module
 */
import type { BringUpResult } from '../client/bring-up.ts'
import { Farewells } from '../client/farewell.ts'
import type { IkeEvent } from '../client/ike-driver.ts'
import type { Clock } from '../clock.ts'
import type { RandomSource } from '../crypto/types.ts'
import { QueueMemory } from '../dataplane/flow-queue.ts'
import { STREAM_TUNNEL_MTU } from '../dataplane/mtu.ts'
import { PeerLink, type PeerSurroundings, SendResult } from '../dataplane/peer-link.ts'
import { Sad } from '../esp/sad.ts'

export interface InnerLinkHandlers {
  /** A packet came out of the tunnel; the bytes are the callee's. */
  onPacket(packet: Uint8Array): void
  /** All packets of a batch were told, or the transport takes packets again. */
  onReady(): void
  /** Nothing passes any more. */
  onEnd(): void
}

export class InnerLink implements PeerSurroundings {
  readonly mtu = STREAM_TUNNEL_MTU
  readonly segmentMtu = STREAM_TUNNEL_MTU
  readonly capture = undefined
  /** Nothing is queued here: what the transport does not take is told to the caller. */
  readonly queueMemory = new QueueMemory(0)
  readonly #established: BringUpResult
  readonly #clock: Clock
  readonly #sad: Sad
  readonly #peer: PeerLink
  #handlers: InnerLinkHandlers = { onPacket() {}, onReady() {}, onEnd() {} }

  constructor(established: BringUpResult, clock: Clock, random: RandomSource) {
    this.#established = established
    this.#clock = clock
    this.#sad = new Sad({ random })
    this.#peer = new PeerLink(this.#sad, this, {})
    const { link, events } = established
    link.driver.onEvent = (event) => this.#ikeEvent(event)
    for (const event of events) this.#ikeEvent(event)
    link.transport.setHandlers({
      onIke: (message, path) => link.driver.receive(message, path),
      onEsp: (buffer, offset, length, _path, ecn) => void this.#peer.handleEsp(buffer, offset, length, ecn),
      onEspBatchEnd: () => this.#peer.handleEspBatchEnd(),
      onWritable: () => this.#handlers.onReady(),
      onClose: () => this.#handlers.onEnd()
    })
    this.#peer.setTransport(link.transport)
  }

  setHandlers(handlers: InnerLinkHandlers): void {
    this.#handlers = handlers
  }

  /** @returns false when the packet does not fit the selectors, or the transport is full just now */
  send(packet: Uint8Array): boolean {
    const child = this.#sad.sending.find((one) => one.matches(packet, 0, packet.length, true))
    return child !== undefined && this.#peer.send(child, packet, 0, packet.length) === SendResult.sent
  }

  /** Ends a batch of `send`. */
  flush(): void {
    this.#peer.flushSending()
  }

  /** Would the selectors let it pass? */
  takes(packet: Uint8Array): boolean {
    return this.#sad.sending.some((one) => one.matches(packet, 0, packet.length, true))
  }

  /** Authentic packets that came out so far. */
  get received(): number {
    const { packetsIn, dummies } = this.#peer.counters
    return packetsIn + dummies
  }

  /** DELETE and its answer, then the connection (RFC 7296 section 1.4.1). */
  async close(): Promise<void> {
    this.#handlers = { onPacket() {}, onReady() {}, onEnd() {} }
    this.#peer.setTransport(undefined)
    const { driver, transport } = this.#established.link
    const farewells = new Farewells(this.#clock)
    farewells.say(driver, transport)
    await farewells.settled()
    this.#sad.clear()
  }

  // --- what the data plane needs in place of a device

  deliver(buffer: Uint8Array, offset: number, length: number): void {
    this.#handlers.onPacket(buffer.slice(offset, offset + length))
  }

  flushDelivery(): void {
    this.#handlers.onReady()
  }

  writableAgain(): void {}

  now(): number {
    return this.#clock.now()
  }

  #ikeEvent(event: IkeEvent): void {
    switch (event.type) {
      case 'child-up':
        this.#sad.install(event.child)
        return
      case 'child-outbound':
        this.#sad.activateOutbound(event.spiIn)
        return
      case 'child-down':
        this.#sad.remove(event.spiIn)
        return
      case 'closed':
        this.#handlers.onEnd()
        return
      default:
    }
  }
}
