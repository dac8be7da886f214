/**
 * One direction of an emulated link, as an engine: packets in with the time, packets out when they are due. No clock, no socket, no
 * chance of its own: the same seed and the same packets at the same times give the same result.
 *
 * Each kind of misfortune has its own random sequence, so that switching one on does not change what another one hits.
 * @module
 */
import { type Chance, seededChance } from './chance.ts'
import type { LinkConditions } from './conditions.ts'
import { PacketStore } from './packet-store.ts'

/** Default of `reorderByMs`. */
const REORDER_BY_MS = 1
/** Bytes at the start of a packet that corruption leaves alone, so that it still arrives: an IPv4 header. */
const UNTOUCHED_BYTES = 20
/** More cannot be on the way: 80 MB of slots for 1500-byte packets, half a second at 1 Gbit/s. */
const MAX_PACKETS = 40_960

export interface LinkDirectionOptions {
  readonly conditions?: LinkConditions | undefined
  readonly seed: number
  /** Longest packet, `headerBytes` included; 2048 by default. */
  readonly slotBytes?: number | undefined
  /** Bytes in front of each packet that travel along but are no part of it, such as a virtio-net header; 0 by default. */
  readonly headerBytes?: number | undefined
}

/** Packets and bytes as they were offered and delivered, and why those between are missing. */
export interface LinkCounters {
  offered: number
  offeredBytes: number
  delivered: number
  deliveredBytes: number
  lost: number
  lostInBursts: number
  /** Tail drop. */
  queueFull: number
  outage: number
  /** Longer than a slot, or more packets on the way than fit. */
  noRoom: number
  duplicated: number
  corrupted: number
  heldBack: number
}

export class LinkDirection {
  readonly counters: LinkCounters = {
    offered: 0,
    offeredBytes: 0,
    delivered: 0,
    deliveredBytes: 0,
    lost: 0,
    lostInBursts: 0,
    queueFull: 0,
    outage: 0,
    noRoom: 0,
    duplicated: 0,
    corrupted: 0,
    heldBack: 0
  }
  readonly #store: PacketStore
  readonly #headerBytes: number
  readonly #chance: Readonly<
    Record<'loss' | 'burst' | 'jitter' | 'reorder' | 'duplicate' | 'corrupt', Chance>
  >
  readonly #line = new LineQueue()
  #conditions: LinkConditions
  #inBurst = false
  #down = false
  /** When the packet before is due: what must not be overtaken. */
  #lastDueMs = 0

  constructor(options: LinkDirectionOptions) {
    const { seed } = options
    this.#conditions = options.conditions ?? {}
    this.#headerBytes = options.headerBytes ?? 0
    this.#store = new PacketStore(options.slotBytes ?? 2048, MAX_PACKETS)
    this.#chance = {
      loss: seededChance(seed, 0),
      burst: seededChance(seed, 1),
      jitter: seededChance(seed, 2),
      reorder: seededChance(seed, 3),
      duplicate: seededChance(seed, 4),
      corrupt: seededChance(seed, 5)
    }
  }

  get conditions(): LinkConditions {
    return this.#conditions
  }

  /** For packets that are offered from now on. */
  setConditions(conditions: LinkConditions): void {
    this.#conditions = conditions
  }

  /** While down, whatever is offered vanishes; what is on its way arrives. */
  setDown(down: boolean): void {
    this.#down = down
  }

  get inFlight(): number {
    return this.#store.size
  }

  /** When `take` has something; Infinity: nothing is on its way. */
  get nextDueMs(): number {
    return this.#store.nextDueMs
  }

  /** Memory of the packet that `take` gave, header included, until the next `offer`. */
  get buffer(): Uint8Array {
    return this.#store.buffer
  }

  get offset(): number {
    return this.#store.offset
  }

  /** A packet enters the link; it is copied. `length` includes the header. Times never go back. */
  offer(nowMs: number, buffer: Uint8Array, offset: number, length: number): void {
    const wireBytes = length - this.#headerBytes
    this.counters.offered++
    this.counters.offeredBytes += wireBytes
    if (this.#down) {
      this.counters.outage++
      return
    }
    const sentMs = this.#transmit(nowMs, wireBytes)
    if (Number.isNaN(sentMs)) {
      this.counters.queueFull++
      return
    }
    if (this.#isLost()) return
    const dueMs = this.#arrival(sentMs)
    if (!this.#store.put(dueMs, buffer, offset, length)) {
      this.counters.noRoom++
      return
    }
    this.#maybeCorrupt(wireBytes)
    if (!this.#happens(this.#conditions.duplicate, this.#chance.duplicate)) return
    const copied = this.#store.buffer
    if (this.#store.put(dueMs, copied, this.#store.offset, length)) this.counters.duplicated++
  }

  /** The next packet that is due by now. @returns its length with the header; 0: none yet */
  take(nowMs: number): number {
    if (this.#store.nextDueMs > nowMs) return 0
    const length = this.#store.take()
    this.counters.delivered++
    this.counters.deliveredBytes += length - this.#headerBytes
    return length
  }

  /** @returns when the last bit has left, NaN: the queue is full */
  #transmit(nowMs: number, bytes: number): number {
    const { rateBitsPerSecond, queueBytes, queuePackets } = this.#conditions
    this.#line.advance(nowMs)
    if (rateBitsPerSecond === undefined) return Math.max(nowMs, this.#line.freeAtMs)
    if (queueBytes !== undefined && this.#line.bytes + bytes > queueBytes) return Number.NaN
    if (queuePackets !== undefined && this.#line.packets + 1 > queuePackets) return Number.NaN
    return this.#line.push(nowMs, bytes, (bytes * 8000) / rateBitsPerSecond)
  }

  #isLost(): boolean {
    const { burstLoss } = this.#conditions
    if (burstLoss !== undefined) {
      const turns = this.#inBurst ? burstLoss.leave : burstLoss.enter
      if (this.#chance.burst() < turns) this.#inBurst = !this.#inBurst
      const share = this.#inBurst ? (burstLoss.lossInside ?? 1) : (burstLoss.lossOutside ?? 0)
      if (share > 0 && this.#chance.burst() < share) {
        this.counters.lostInBursts++
        return true
      }
    } else this.#inBurst = false
    if (!this.#happens(this.#conditions.loss, this.#chance.loss)) return false
    this.counters.lost++
    return true
  }

  #arrival(sentMs: number): number {
    const { delayMs = 0, jitterMs = 0, jitterReorders = false, reorder, reorderByMs } = this.#conditions
    const jitter = jitterMs === 0 ? 0 : (this.#chance.jitter() * 2 - 1) * jitterMs
    let dueMs = sentMs + Math.max(0, delayMs + jitter)
    if (!jitterReorders) dueMs = Math.max(dueMs, this.#lastDueMs)
    this.#lastDueMs = dueMs
    if (!this.#happens(reorder, this.#chance.reorder)) return dueMs
    this.counters.heldBack++
    return dueMs + (reorderByMs ?? REORDER_BY_MS)
  }

  #maybeCorrupt(wireBytes: number): void {
    if (!this.#happens(this.#conditions.corrupt, this.#chance.corrupt)) return
    const room = wireBytes - UNTOUCHED_BYTES
    if (room <= 0) return
    const at = UNTOUCHED_BYTES + Math.floor(this.#chance.corrupt() * room)
    const index = this.#store.offset + this.#headerBytes + at
    const { buffer } = this.#store
    buffer[index] = (buffer[index] ?? 0) ^ (1 << Math.floor(this.#chance.corrupt() * 8))
    this.counters.corrupted++
  }

  #happens(share: number | undefined, chance: Chance): boolean {
    return share !== undefined && share > 0 && chance() < share
  }
}

/** Packets in front of a line, as the times at which each will have left it. */
class LineQueue {
  bytes = 0
  packets = 0
  freeAtMs = 0
  #leavesMs = new Float64Array(256)
  #lengths = new Int32Array(256)
  #first = 0

  /** Forgets those that have left by now. */
  advance(nowMs: number): void {
    const mask = this.#lengths.length - 1
    while (this.packets > 0 && (this.#leavesMs[this.#first] ?? 0) <= nowMs) {
      this.bytes -= this.#lengths[this.#first] ?? 0
      this.packets--
      this.#first = (this.#first + 1) & mask
    }
  }

  /** @returns when it will have left */
  push(nowMs: number, bytes: number, onLineMs: number): number {
    if (this.packets === this.#lengths.length) this.#grow()
    const place = (this.#first + this.packets) & (this.#lengths.length - 1)
    this.freeAtMs = Math.max(nowMs, this.freeAtMs) + onLineMs
    this.#leavesMs[place] = this.freeAtMs
    this.#lengths[place] = bytes
    this.bytes += bytes
    this.packets++
    return this.freeAtMs
  }

  #grow(): void {
    const old = this.#lengths.length
    const leaves = new Float64Array(old * 2)
    const lengths = new Int32Array(old * 2)
    for (let index = 0; index < old; index++) {
      const place = (this.#first + index) & (old - 1)
      leaves[index] = this.#leavesMs[place] ?? 0
      lengths[index] = this.#lengths[place] ?? 0
    }
    this.#leavesMs = leaves
    this.#lengths = lengths
    this.#first = 0
  }
}
