/**
 * Numbered packets through the tunnel, in both directions, and a check of every one that comes out: echo requests of the client that a
 * host behind the gateway answers, and datagrams of that host's own.
 * @module
 */
import { notInUse } from '../../../src/native/speedups.ts'
import type { Tun, TunHandlers } from '../../../src/tun/types.ts'
import { VNET_HEADER_LENGTH } from '../../../src/tun/vnet-header.ts'
import { addressToBytes } from '../../../src/wire/address.ts'
import { finishChecksum, sum16 } from '../../../src/wire/checksum.ts'
import { IpProtocol, read16, read32, write16 } from '../../../src/wire/ip.ts'
import type { World } from './world.ts'

/** A kernel's queue in front of a device that nobody reads. */
const QUEUED_FRAMES = 64
const IPV4_LENGTH = 20
const ICMP_LENGTH = 8
/** Marks our packets, in front of their number. */
const MAGIC = 0x1ce57ea4
const INSIDE_HOST = addressToBytes('10.1.0.9') ?? new Uint8Array(4)
const INSIDE_PORT = 7007

/** A TUN device without a kernel, with little memory. */
export class SimulatedTun implements Tun {
  readonly name: string
  readonly offloads = {
    checksum: notInUse('simulated'),
    tcp: notInUse('simulated'),
    udp: notInUse('simulated')
  }
  readonly readBuffer = new Uint8Array(new ArrayBuffer(2048))
  /** Called with each packet that comes out of the tunnel. */
  onPacket: (packet: Uint8Array) => void = () => undefined
  handedOver = 0
  /** Found no room in the queue. */
  dropped = 0
  readonly #waiting: Uint8Array[] = []
  #handlers: TunHandlers | undefined
  #reading = false
  #released = false
  #inRun = false

  constructor(name: string) {
    this.name = name
  }

  get waiting(): number {
    return this.#waiting.length
  }

  get isReleased(): boolean {
    return this.#released
  }

  /** A program sends this packet. */
  send(packet: Uint8Array): void {
    if (this.#released) return
    if (this.#waiting.length >= QUEUED_FRAMES) {
      this.dropped++
      return
    }
    const frame = new Uint8Array(VNET_HEADER_LENGTH + packet.length)
    frame.set(packet, VNET_HEADER_LENGTH)
    this.#waiting.push(frame)
    this.#run()
  }

  setHandlers(handlers: TunHandlers): void {
    this.#handlers = handlers
  }

  setReading(on: boolean): void {
    this.#reading = on
    // As the poller would: not from inside the caller.
    if (on && this.#waiting.length > 0 && !this.#inRun) queueMicrotask(() => this.#run())
  }

  read(): number {
    const frame = this.#released ? undefined : this.#waiting.shift()
    if (frame === undefined) return 0
    this.readBuffer.set(frame)
    return frame.length
  }

  write(buffer: Uint8Array, offset: number, length: number): boolean {
    if (this.#released) return false
    this.handedOver++
    this.onPacket(Uint8Array.from(buffer.subarray(offset + VNET_HEADER_LENGTH, offset + length)))
    return true
  }

  release(): void {
    this.#released = true
  }

  #run(): void {
    if (this.#inRun) return
    this.#inRun = true
    for (let before = -1; this.#reading && !this.#released; ) {
      if (this.#waiting.length === 0 || this.#waiting.length === before) break
      before = this.#waiting.length
      this.#handlers?.onReadable()
    }
    this.#inRun = false
  }
}

export class InnerTraffic {
  readonly client: () => SimulatedTun | undefined
  readonly gateway: () => SimulatedTun | undefined
  /** Numbers of the last packet that was sent, and that came back. */
  sent = 0
  answered = 0
  lastAnswerAt = Number.NEGATIVE_INFINITY
  sentDown = 0
  receivedDown = 0
  /** The host inside says nothing. */
  isHostSilent = false
  readonly #world: World
  readonly #sentAt = new Map<number, number>()
  readonly #seen = { up: new Set<number>(), back: new Set<number>(), down: new Set<number>() }
  #clientAddress: Uint8Array | undefined

  constructor(world: World, client: () => SimulatedTun | undefined, gateway: () => SimulatedTun | undefined) {
    this.#world = world
    this.client = client
    this.gateway = gateway
  }

  /** The address that the gateway has given the client. */
  set clientAddress(address: string | undefined) {
    this.#clientAddress = address === undefined ? undefined : addressToBytes(address)
  }

  /** The client asks the host inside something. */
  ask(): void {
    const tun = this.client()
    if (tun === undefined || this.#clientAddress === undefined) return
    this.#sentAt.set(++this.sent, this.#world.now)
    tun.send(echo(8, this.#clientAddress, INSIDE_HOST, this.sent))
  }

  /** The host inside sends something by itself. */
  push(): void {
    const tun = this.gateway()
    if (tun === undefined || this.#clientAddress === undefined) return
    tun.send(datagram(INSIDE_HOST, this.#clientAddress, ++this.sentDown))
  }

  /** Which packets have not come out, for people. */
  missing(): string {
    const { up, back, down } = this.#seen
    const asked = [...this.#sentAt.keys()].filter((number) => !back.has(number))
    const pushed = Array.from({ length: this.sentDown }, (_, index) => index + 1)
    const when = (number: number): string => ((this.#sentAt.get(number) ?? 0) / 1000).toFixed(3)
    return [
      ...asked.map((number) => `${up.has(number) ? 'back' : 'up'} ${number} (${when(number)})`),
      ...pushed.filter((number) => !down.has(number)).map((number) => `down ${number}`)
    ]
      .slice(0, 12)
      .join(', ')
  }

  /** Out of the client's device. */
  atClient(packet: Uint8Array): void {
    const number = numberIn(packet)
    if (number === undefined) return
    if (packet[9] === IpProtocol.ICMP) {
      this.#once('back', number)
      this.answered++
      this.lastAnswerAt = this.#world.now
    } else {
      this.#once('down', number)
      this.receivedDown++
    }
  }

  /** Out of the gateway's device. */
  atGateway(packet: Uint8Array): void {
    const source = packet.slice(12, 16)
    const destination = packet.slice(16, 20)
    const isEcho = packet[9] === IpProtocol.ICMP && packet[IPV4_LENGTH] === 8
    const number = numberIn(packet)
    if (number !== undefined) this.#once('up', number)
    if (this.isHostSilent || !isEcho) return
    const answer = packet.slice()
    answer.set(destination, 12)
    answer.set(source, 16)
    answer[IPV4_LENGTH] = 0
    finish(answer)
    this.gateway()?.send(answer)
  }

  #once(direction: 'up' | 'back' | 'down', number: number): void {
    const seen = this.#seen[direction]
    if (seen.has(number))
      this.#world.broken('no-duplicates', `packet ${number} (${direction}) was handed over twice`)
    seen.add(number)
  }
}

function ipv4(source: Uint8Array, destination: Uint8Array, protocol: number, length: number): Uint8Array {
  const packet = new Uint8Array(IPV4_LENGTH + length)
  packet[0] = 0x45
  write16(packet, 2, packet.length)
  packet[8] = 64
  packet[9] = protocol
  packet.set(source, 12)
  packet.set(destination, 16)
  return packet
}

function echo(type: number, source: Uint8Array, destination: Uint8Array, number: number): Uint8Array {
  const packet = ipv4(source, destination, IpProtocol.ICMP, ICMP_LENGTH + 8)
  packet[IPV4_LENGTH] = type
  write16(packet, IPV4_LENGTH + 6, number & 0xffff)
  mark(packet, IPV4_LENGTH + ICMP_LENGTH, number)
  finish(packet)
  return packet
}

function datagram(source: Uint8Array, destination: Uint8Array, number: number): Uint8Array {
  const packet = ipv4(source, destination, IpProtocol.UDP, 8 + 8)
  write16(packet, IPV4_LENGTH, INSIDE_PORT)
  write16(packet, IPV4_LENGTH + 2, INSIDE_PORT)
  write16(packet, IPV4_LENGTH + 4, 16)
  mark(packet, IPV4_LENGTH + 8, number)
  write16(packet, 10, 0)
  write16(packet, 10, finishChecksum(sum16(packet, 0, IPV4_LENGTH)))
  return packet
}

function mark(packet: Uint8Array, at: number, number: number): void {
  const view = new DataView(packet.buffer)
  view.setUint32(at, MAGIC)
  view.setUint32(at + 4, number)
}

/** Both checksums of an ICMP packet. */
function finish(packet: Uint8Array): void {
  write16(packet, 10, 0)
  write16(packet, 10, finishChecksum(sum16(packet, 0, IPV4_LENGTH)))
  write16(packet, IPV4_LENGTH + 2, 0)
  write16(packet, IPV4_LENGTH + 2, finishChecksum(sum16(packet, IPV4_LENGTH, packet.length - IPV4_LENGTH)))
}

/** The number of a packet of ours. */
function numberIn(packet: Uint8Array): number | undefined {
  if (packet.length !== IPV4_LENGTH + 16 || read16(packet, 2) !== packet.length) return undefined
  return read32(packet, IPV4_LENGTH + 8) === MAGIC ? read32(packet, IPV4_LENGTH + 12) : undefined
}
