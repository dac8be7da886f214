/**
 * TCP as the two programs at its ends see it: bytes in order, in pieces of any size, later when segments get lost; and every way in
 * which that can end or hang.
 * @module
 */
import { Duplex } from 'node:stream'
import type { Endpoint } from '../../../src/wire/endpoint.ts'
import type { Timer } from './clock.ts'
import type { Filter, Network } from './network.ts'
import type { World } from './world.ts'

/** What a kernel takes before a program has to wait. */
const SEND_BUFFER_BYTES = 65_536
/** RFC 6298: first retransmission and its longest distance. */
const FIRST_RTO_MS = 200
const MAX_RTO_MS = 30_000
/** Linux gives up after about a quarter of an hour (tcp_retries2). */
const GIVE_UP_MS = 924_000
const MAX_SEGMENT_BYTES = 8_192

type Side = 'client' | 'gateway'

export interface ConnectionWorld {
  readonly world: World
  readonly network: Network
  /** Runs it now, or when that end's program runs again. */
  readonly atEnd: Readonly<Record<Side, (deliver: () => void) => void>>
  /** The machine of the gateway as it was when the connection was made: another one knows nothing of it. */
  readonly knowsGateway: () => 'yes' | 'off' | 'forgotten'
}

/** One direction's sender. */
class Half {
  readonly queue: Uint8Array[] = []
  bytes = 0
  waiting: (() => void) | undefined
  wantsFin = false
  finSent = false
  lastArrivalAt = 0
  timer: Timer | undefined
  rtoMs = FIRST_RTO_MS
  stuckSince: number | undefined
  /** What arrived and was not read. */
  readonly unread: Uint8Array[] = []
  isWindowOpen = true
}

export class Connection {
  readonly kind: 'tcp' | 'tls'
  readonly client: SimulatedSocket
  readonly gateway: SimulatedSocket
  readonly clientEnd: Endpoint
  /** The public address and port that the gateway sees. */
  readonly publicEnd: Endpoint
  /** Until then the receiver of this direction takes nothing. */
  readonly stalledUntil: Record<Side, number> = { client: 0, gateway: 0 }
  /** Corrupts the next segment towards this end. */
  readonly corrupts: Record<Side, boolean> = { client: false, gateway: false }
  /** Segments vanish without a word, in both directions: the peer is gone, or the NAT has forgotten. */
  isHalfOpen = false
  readonly #around: ConnectionWorld
  readonly #halves: Record<Side, Half> = { client: new Half(), gateway: new Half() }

  constructor(kind: 'tcp' | 'tls', clientEnd: Endpoint, publicEnd: Endpoint, around: ConnectionWorld) {
    this.kind = kind
    this.clientEnd = clientEnd
    this.publicEnd = publicEnd
    this.#around = around
    this.client = new SimulatedSocket(this, 'client')
    this.gateway = new SimulatedSocket(this, 'gateway')
  }

  get isAlive(): boolean {
    return !this.client.destroyed && !this.gateway.destroyed
  }

  get queuedBytes(): number {
    return this.#halves.client.bytes + this.#halves.gateway.bytes
  }

  /** Both ends hear of a reset. */
  reset(): void {
    this.#resetAt('client')
    this.#resetAt('gateway')
  }

  // ---- what sockets do

  write(side: Side, chunk: Uint8Array, taken: () => void): void {
    const half = this.#halves[side]
    half.queue.push(Uint8Array.from(chunk))
    half.bytes += chunk.length
    if (half.bytes <= SEND_BUFFER_BYTES) taken()
    else half.waiting = taken
    this.#pump(side)
  }

  finish(side: Side): void {
    this.#halves[side].wantsFin = true
    this.#pump(side)
  }

  /** The program has closed it, or is gone: what it wrote is still sent, as far as the kernel can. */
  closed(side: Side): void {
    const half = this.#halves[side]
    half.waiting = undefined
    half.wantsFin = true
    this.#pump(side)
  }

  /** The program reads again. */
  wanted(side: Side): void {
    const from = this.#halves[side === 'client' ? 'gateway' : 'client']
    from.isWindowOpen = true
    while (from.isWindowOpen) {
      const next = from.unread.shift()
      if (next === undefined) break
      this.#hand(side, from, next)
    }
  }

  // ---- the kernels

  #pump(side: Side): void {
    const half = this.#halves[side]
    if (half.timer !== undefined) return
    if (half.queue.length > 0 || (half.wantsFin && !half.finSent)) this.#later(side, 0)
  }

  #later(side: Side, delayMs: number): void {
    const half = this.#halves[side]
    half.timer?.cancel()
    half.timer = this.#around.world.clock.setTimer(delayMs, () => {
      half.timer = undefined
      this.#transmit(side)
    })
  }

  #transmit(side: Side): void {
    const { world, network, knowsGateway } = this.#around
    const half = this.#halves[side]
    const other: Side = side === 'client' ? 'gateway' : 'client'
    const peer = knowsGateway()
    if (side === 'gateway' && peer !== 'yes') return
    const filter = network.streamFilter(this.kind, this.clientEnd.address)
    const isStalled = this.stalledUntil[other] > world.now || !half.isWindowOpen
    if (this.isHalfOpen || filter !== undefined || peer === 'off' || isStalled) {
      this.#stuck(side, filter)
      return
    }
    half.stuckSince = undefined
    half.rtoMs = FIRST_RTO_MS
    const segment = this.#cut(half)
    if (segment === undefined) {
      half.finSent = true
      this.#arrive(side, () => this.#finArrived(other))
      return
    }
    this.#arrive(side, () => this.#segmentArrived(other, half, segment))
    if (half.queue.length > 0 || half.wantsFin) this.#later(side, 0)
  }

  #stuck(side: Side, filter: Filter | undefined): void {
    const { world } = this.#around
    const half = this.#halves[side]
    half.stuckSince ??= world.now
    if (filter === 'refuse') {
      world.fault('stream-reset', `${this.kind} refused`)
      world.clock.setTimer(this.#around.network.delayMs(), () => this.#resetAt(side))
      return
    }
    world.fault('segment-lost', side)
    if (world.now - half.stuckSince > GIVE_UP_MS) {
      this.#resetAt(side, 'ETIMEDOUT')
      return
    }
    this.#later(side, half.rtoMs)
    half.rtoMs = Math.min(half.rtoMs * 2, MAX_RTO_MS)
  }

  /** In pieces of any size: framing must not depend on where they are cut. */
  #cut(half: Half): Uint8Array | undefined {
    const first = half.queue.shift()
    if (first === undefined) return undefined
    const { world } = this.#around
    const parts = [first]
    let length = first.length
    const wanted = world.chance(0.2) ? 1 + world.random.integer(first.length) : MAX_SEGMENT_BYTES
    for (;;) {
      const next = half.queue[0]
      if (next === undefined || length + next.length > wanted) break
      half.queue.shift()
      parts.push(next)
      length += next.length
    }
    let segment: Uint8Array = Buffer.concat(parts)
    if (length > wanted) {
      half.queue.unshift(segment.subarray(wanted))
      segment = segment.subarray(0, wanted)
    }
    half.bytes -= segment.length
    const { waiting } = half
    if (waiting !== undefined && half.bytes <= SEND_BUFFER_BYTES / 2) {
      half.waiting = undefined
      waiting()
    }
    return segment
  }

  #arrive(side: Side, deliver: () => void): void {
    const { world, network } = this.#around
    const half = this.#halves[side]
    let delayMs = network.delayMs()
    // Each loss costs a retransmission, and everything behind it waits.
    for (let rtoMs = FIRST_RTO_MS; rtoMs < MAX_RTO_MS && world.chance(network.weather.loss); rtoMs *= 2) {
      world.fault('segment-lost', side)
      delayMs += rtoMs
    }
    half.lastArrivalAt = Math.max(half.lastArrivalAt, world.now + delayMs)
    world.clock.setTimer(half.lastArrivalAt - world.now, deliver)
  }

  #segmentArrived(to: Side, half: Half, segment: Uint8Array): void {
    const { world, atEnd } = this.#around
    if (this.isHalfOpen) return
    if (this.#isGone(to)) {
      this.#answerReset(to)
      return
    }
    world.note(to === 'gateway' ? 'stream-up' : 'stream-down', segment.length)
    let bytes = segment
    if (this.corrupts[to]) {
      this.corrupts[to] = false
      world.fault('segment-corrupted', `${this.kind} ${to}`)
      if (this.kind === 'tls') {
        // A record whose MAC is wrong ends the connection at both ends.
        atEnd[to](() => this[to].destroy(systemError('ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC')))
        return
      }
      bytes = Uint8Array.from(segment)
      const at = world.random.integer(bytes.length)
      bytes[at] = (bytes[at] ?? 0) ^ (1 << world.random.integer(8))
    }
    atEnd[to](() => {
      if (half.isWindowOpen && half.unread.length === 0) this.#hand(to, half, bytes)
      else half.unread.push(bytes)
    })
  }

  #hand(to: Side, half: Half, bytes: Uint8Array): void {
    const socket = this[to]
    if (socket.destroyed || socket.readableEnded) return
    if (!socket.push(Buffer.from(Uint8Array.from(bytes).buffer))) half.isWindowOpen = false
  }

  #finArrived(to: Side): void {
    if (this.isHalfOpen || this.#isGone(to)) return
    this.#around.atEnd[to](() => {
      if (!this[to].destroyed) this[to].push(null)
    })
  }

  #isGone(to: Side): boolean {
    return this[to].destroyed || (to === 'gateway' && this.#around.knowsGateway() === 'forgotten')
  }

  #answerReset(by: Side): void {
    const other: Side = by === 'client' ? 'gateway' : 'client'
    const { world, network } = this.#around
    world.clock.setTimer(network.delayMs(), () => {
      if (network.streamFilter(this.kind, this.clientEnd.address) === undefined) this.#resetAt(other)
    })
  }

  #resetAt(side: Side, code = 'ECONNRESET'): void {
    this.#around.atEnd[side](() => {
      if (!this[side].destroyed) this[side].destroy(systemError(code))
    })
  }
}

/** One end, as a program has it. */
export class SimulatedSocket extends Duplex {
  readonly #connection: Connection
  readonly #side: Side

  constructor(connection: Connection, side: Side) {
    super({ allowHalfOpen: false })
    this.#connection = connection
    this.#side = side
  }

  override _write(chunk: Uint8Array, _encoding: string, taken: () => void): void {
    this.#connection.write(this.#side, chunk, taken)
  }

  override _final(done: () => void): void {
    this.#connection.finish(this.#side)
    done()
  }

  override _read(): void {
    this.#connection.wanted(this.#side)
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#connection.closed(this.#side)
    done(error)
  }
}

function systemError(code: string): Error {
  return Object.assign(new Error(code), { code })
}
