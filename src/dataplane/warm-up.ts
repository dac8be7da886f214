/**
 * Sends packets of our own through a data plane without device and network, once, while the first real ones are awaited: code
 * that has never run costs a packet many times what it costs later, and an idle tunnel would need hundreds of packets to get there.
 *
 * Invariants: it touches nothing but what is made here, has keys of its own, and leaves nothing behind; it works in small
 * pieces, so that a real packet waits for one of them at most, and never keeps the process alive.
 * @module
 */
import { Sad } from '../esp/sad.ts'
import { silentLogger } from '../log.ts'
import { packetBuffer } from '../native/packet-memory.ts'
import { IN_USE } from '../native/speedups.ts'
import { type EspTransmit, NO_FACTS, type Transport } from '../transport/types.ts'
import type { Tun, TunHandlers } from '../tun/types.ts'
import { VNET_HEADER_LENGTH } from '../tun/vnet-header.ts'
import type { Endpoint, Path } from '../wire/endpoint.ts'
import { EncryptionId, IntegrityId } from '../wire/ike-constants.ts'
import type { TrafficSelector } from '../wire/ike-message.ts'
import { echoRequest } from '../wire/probe-packets.ts'
import type { PeerLink } from './peer-link.ts'
import { TunSide } from './tun-side.ts'

/** Packets in all: after so many, measured, an idle tunnel's round trips get no shorter any more. */
export const WARM_UP_PACKETS = 400
/** Packets of one turn of the event loop: half a millisecond at first. */
const PACKETS_PER_TURN = 8
/** Data of an echo as `ping` sends it. */
const ECHO_BYTES = 56
const BUFFER_BYTES = 2048
const KEY_LENGTH = 20
const KEY_BITS = 128
const SPI = 0x7fffffff
const ADDRESS = Uint8Array.of(198, 18, 0, 1)
const ANY: TrafficSelector = {
  family: 4,
  protocol: 0,
  startPort: 0,
  endPort: 0xffff,
  startAddress: new Uint8Array(4),
  endAddress: new Uint8Array(4).fill(0xff)
}

let done = false

/** Once a process, from the first call on, in turns of the event loop that nobody else uses. */
export function warmUp(): void {
  if (done) return
  done = true
  const tunnel = new WarmTunnel()
  const turn = (): void => {
    if (tunnel.run(PACKETS_PER_TURN)) setImmediate(turn).unref()
    else tunnel.close()
  }
  setImmediate(turn).unref()
}

/** A tunnel whose packets come back to it: what it seals is what it opens. */
class WarmTunnel {
  readonly #sad = new Sad({ random: { bytes: (length) => new Uint8Array(length) } })
  readonly #tun = new EchoTun()
  readonly #side: TunSide
  #left = WARM_UP_PACKETS

  constructor() {
    const child = { childId: 1, inbound: direction(), outbound: direction(), localTs: [ANY], remoteTs: [ANY] }
    this.#sad.install(child)
    this.#sad.activateOutbound(SPI)
    const router: { sole: PeerLink | undefined; peerFor(): PeerLink | undefined } = {
      sole: undefined,
      peerFor: () => router.sole
    }
    const options = { tun: this.#tun, logger: silentLogger, mtu: BUFFER_BYTES, now: () => 0 }
    this.#side = new TunSide(options, router)
    const peer = this.#side.addPeer(this.#sad, {})
    router.sole = peer
    peer.setTransport(new EchoTransport(peer))
    this.#side.resume()
  }

  /** @returns whether there are more */
  run(packets: number): boolean {
    for (let left = Math.min(packets, this.#left); left > 0; left--) this.#tun.offer()
    this.#left -= packets
    return this.#left > 0
  }

  close(): void {
    this.#side.stop()
    this.#sad.clear()
  }
}

function direction() {
  return {
    spi: SPI,
    encryptionId: EncryptionId.AES_GCM_16,
    encryptionKeyBits: KEY_BITS,
    integrityId: IntegrityId.NONE,
    encryptionKey: new Uint8Array(KEY_LENGTH),
    integrityKey: new Uint8Array(0),
    esn: false
  }
}

/** Always the same packet. */
class EchoTun implements Tun {
  readonly name = 'warm-up'
  readonly offloads = { checksum: IN_USE, tcp: IN_USE, udp: IN_USE }
  readonly readBuffer = packetBuffer(BUFFER_BYTES)
  readonly #length: number
  #offered = false
  #handlers: TunHandlers | undefined

  constructor() {
    const ends = { source: ADDRESS, destination: ADDRESS, identifier: 1, sequence: 1 }
    const packet = echoRequest({ ...ends, dataBytes: ECHO_BYTES })
    this.readBuffer.set(packet, VNET_HEADER_LENGTH)
    this.#length = VNET_HEADER_LENGTH + packet.length
  }

  offer(): void {
    this.#offered = true
    this.#handlers?.onReadable()
  }
  setHandlers(handlers: TunHandlers): void {
    this.#handlers = handlers
  }
  setReading(): void {}
  read(): number {
    const length = this.#offered ? this.#length : 0
    this.#offered = false
    return length
  }
  write(): boolean {
    return true
  }
  release(): void {}
}

class EchoTransport implements Transport, EspTransmit {
  readonly kind = 'udp'
  readonly via = null
  readonly outerRemote: Endpoint = { address: '127.0.0.1', port: 0 }
  readonly path: Path = {
    id: 0,
    transport: 'udp',
    reliable: false,
    local: this.outerRemote,
    remote: this.outerRemote
  }
  readonly maxEspLength = BUFFER_BYTES
  readonly stats = { bytesIn: 0, bytesOut: 0, espDropped: 0, malformed: 0 }
  readonly facts = NO_FACTS
  readonly writable = true
  readonly buffer = packetBuffer(BUFFER_BYTES)
  readonly #peer: PeerLink
  #committed = 0

  constructor(peer: PeerLink) {
    this.#peer = peer
  }

  get esp(): EspTransmit {
    return this
  }
  reserve(): number {
    return 0
  }
  commit(length: number): void {
    this.#committed = length
  }
  flush(): void {
    const length = this.#committed
    this.#committed = 0
    if (length === 0) return
    this.#peer.handleEsp(this.buffer, 0, length)
    this.#peer.handleEspBatchEnd()
  }
  setHandlers(): void {}
  sendIke(): void {}
  sendNatKeepalive(): void {}
  close(): Promise<void> {
    return Promise.resolve()
  }
}
