/**
 * Packets that wait for a transport that takes no more just now: FQ-CoDel (RFC 8290), a queue for each flow, served in turns, each
 * kept short by CoDel (RFC 8289). Bulk transfers share what there is, a packet of a flow that sends little goes first, and a queue
 * that stays long is told so by drops, or by ECN marks where the flow understands them.
 *
 * It is here because nothing in front of it does that: a TUN device puts packets into a ring of its own and never pushes
 * back, so that the kernel's queue discipline on it stays empty, fq_codel or not.
 *
 * Invariants: packets of a flow leave in order; nothing is allocated per packet; memory goes back when the queue is empty, and all
 * queues together hold no more than they may (`QueueMemory`).
 * @module
 */
import { copyBytes } from '../native/packet-memory.ts'
import { findUpperLayer, hasPorts, upperOffset, upperProtocol } from '../wire/ip.ts'
import { applyOuterEcn, Ecn } from './ecn.ts'

/**
 * RFC 8289 section 4.4 has 5 and 100 for round trips of up to 100 ms. Inside a stream, a flow's round trip is that of the path, plus as
 * much again for each lost segment that holds up those behind it, and a long queue of a flow harms nobody but itself. Measured at 3 %
 * loss and 50 ms: 5 and 100 cost a CUBIC flow a third of its throughput, these cost it nothing that shows.
 */
const TARGET_MS = 50
const INTERVAL_MS = 500
/** CoDel never drops the last packet's worth, and a flow's turn is one full packet (RFC 8290 section 5.2.2). */
const QUANTUM_BYTES = 1514
/** RFC 8290 has 1024; a client's tunnel has fewer flows at a time, and two that meet in a queue merely share its turn. */
const FLOWS = 256
const SLOTS_PER_BLOCK = 16
const NONE = -1

/** What became of packets that were not delivered as they came. */
export interface FlowQueueCounters {
  /** The queue was full; packets of the longest flow made room. */
  full: number
  /** CoDel: waited too long, for too long. */
  late: number
  marked: number
}

/** What several queues share, so that a thousand slow peers cannot hold a thousand times as much as one. */
export class QueueMemory {
  readonly limitBytes: number
  usedBytes = 0

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes
  }
}

export interface FlowQueueOptions {
  readonly memory: QueueMemory
  /** Longest packet. */
  readonly slotBytes: number
  readonly maxPackets: number
  readonly maxBytes: number
}

class Flow {
  readonly index: number
  head = NONE
  tail = NONE
  bytes = 0
  deficit = 0
  /** Where it is listed: not, among the new ones, or among the old ones. */
  listed: 0 | 1 | 2 = 0
  next: Flow | undefined
  // CoDel's own state (RFC 8289 section 5.3).
  firstAboveMs = 0
  dropNextMs = 0
  count = 0
  lastCount = 0
  dropping = false

  constructor(index: number) {
    this.index = index
  }
}

/** Flows in turn. */
class FlowList {
  first: Flow | undefined
  #last: Flow | undefined

  push(flow: Flow): void {
    flow.next = undefined
    if (this.#last === undefined) this.first = flow
    else this.#last.next = flow
    this.#last = flow
  }

  shift(): void {
    this.first = this.first?.next
    if (this.first === undefined) this.#last = undefined
  }
}

export class FlowQueue {
  readonly counters: FlowQueueCounters = { full: 0, late: 0, marked: 0 }
  packets = 0
  bytes = 0
  /** The packet that `front` chose. */
  buffer: Uint8Array = new Uint8Array(0)
  offset = 0
  length = 0
  readonly slotBytes: number
  readonly #memory: QueueMemory
  readonly #maxPackets: number
  readonly #maxBytes: number
  readonly #flows: Flow[] = []
  readonly #new = new FlowList()
  readonly #old = new FlowList()
  readonly #blocks: Uint8Array[] = []
  /** By slot: the one behind it in its flow (or among the free ones), its length, when it came. */
  #next = new Int32Array(0)
  #lengths = new Int32Array(0)
  #since = new Float64Array(0)
  #free = NONE
  /** Chosen and not yet taken away. */
  #chosen = NONE

  constructor(options: FlowQueueOptions) {
    this.slotBytes = options.slotBytes
    this.#memory = options.memory
    this.#maxPackets = options.maxPackets
    this.#maxBytes = options.maxBytes
    for (let index = 0; index < FLOWS; index++) this.#flows.push(new Flow(index))
  }

  /**
   * Copies a sound IP packet into its flow's queue, or drops it where there is no memory for it.
   * @returns false when it is longer than a slot
   */
  push(nowMs: number, buffer: Uint8Array, offset: number, length: number): boolean {
    if (length > this.slotBytes) return false
    while (this.packets >= this.#maxPackets || this.bytes + length > this.#maxBytes)
      if (!this.#makeRoom()) break
    if (this.#free === NONE && !this.#addBlock() && !this.#makeRoom()) {
      this.counters.full++
      return true
    }
    const slot = this.#free
    this.#free = this.#next[slot] ?? NONE
    copyBytes(buffer, offset, this.#blockOf(slot), this.#at(slot), length)
    this.#next[slot] = NONE
    this.#lengths[slot] = length
    this.#since[slot] = nowMs
    this.packets++
    this.bytes += length
    this.#append(this.#flowOf(buffer, offset, length), slot, length)
    return true
  }

  /** Chooses whose turn it is; `buffer`, `offset` and `length` then say which packet. The same until `pop`. @returns false: nothing waits */
  front(nowMs: number): boolean {
    if (this.#chosen !== NONE) return true
    for (;;) {
      const list = this.#new.first !== undefined ? this.#new : this.#old
      const flow = list.first
      if (flow === undefined) return false
      if (flow.deficit <= 0) {
        flow.deficit += QUANTUM_BYTES
        this.#relist(list, flow)
        continue
      }
      const slot = this.#dequeue(flow, nowMs)
      if (slot === NONE) {
        // A new flow has to wait for the old ones once, or it would stay new for ever (RFC 8290 section 4.2).
        if (list === this.#new && this.#old.first !== undefined) this.#relist(list, flow)
        else {
          list.shift()
          flow.listed = 0
        }
        continue
      }
      flow.deficit -= this.#lengths[slot] ?? 0
      this.#choose(slot)
      return true
    }
  }

  /** Takes away what `front` chose; its bytes stay valid until the next `push`. */
  pop(): void {
    if (this.#chosen === NONE) return
    this.#release(this.#chosen)
    this.#chosen = NONE
    if (this.packets === 0) this.#shrink(1)
  }

  /** How long the packet that came first has been waiting. */
  oldestMs(nowMs: number): number {
    let since = nowMs
    for (const { head } of this.#flows) if (head !== NONE) since = Math.min(since, this.#since[head] ?? nowMs)
    return nowMs - since
  }

  /** Forgets everything that waits, and gives all memory back. */
  clear(): void {
    for (const flow of this.#flows) while (flow.head !== NONE) this.#release(this.#unlink(flow))
    this.pop()
    this.#shrink(0)
  }

  #choose(slot: number): void {
    this.#chosen = slot
    this.buffer = this.#blockOf(slot)
    this.offset = this.#at(slot)
    this.length = this.#lengths[slot] ?? 0
  }

  #append(flow: Flow, slot: number, length: number): void {
    if (flow.tail === NONE) flow.head = slot
    else this.#next[flow.tail] = slot
    flow.tail = slot
    flow.bytes += length
    if (flow.listed !== 0) return
    flow.listed = 1
    flow.deficit = QUANTUM_BYTES
    this.#new.push(flow)
  }

  #relist(list: FlowList, flow: Flow): void {
    list.shift()
    flow.listed = 2
    this.#old.push(flow)
  }

  /** CoDel (RFC 8289 section 5.5). @returns a slot, taken out of the flow; NONE: it is empty */
  #dequeue(flow: Flow, nowMs: number): number {
    let slot = this.#unlink(flow)
    if (slot === NONE) {
      flow.dropping = false
      return NONE
    }
    let late = this.#isLate(flow, slot, nowMs)
    if (flow.dropping) {
      if (!late) flow.dropping = false
      while (flow.dropping && nowMs >= flow.dropNextMs) {
        flow.count++
        if (this.#mark(slot)) {
          flow.dropNextMs = nextDrop(flow.dropNextMs, flow.count)
          return slot
        }
        slot = this.#drop(flow, slot)
        if (slot === NONE) {
          flow.dropping = false
          return NONE
        }
        late = this.#isLate(flow, slot, nowMs)
        if (!late) flow.dropping = false
        else flow.dropNextMs = nextDrop(flow.dropNextMs, flow.count)
      }
      return slot
    }
    if (!late) return slot
    const marked = this.#mark(slot)
    if (!marked) slot = this.#drop(flow, slot)
    flow.dropping = slot !== NONE
    // What was found out not long ago still holds.
    const recent = nowMs - flow.dropNextMs < 16 * INTERVAL_MS
    const before = flow.count - flow.lastCount
    flow.count = recent && before > 1 ? before : 1
    flow.lastCount = flow.count
    flow.dropNextMs = nextDrop(nowMs, flow.count)
    return slot
  }

  /** Have packets of this flow waited longer than the target for a whole interval? */
  #isLate(flow: Flow, slot: number, nowMs: number): boolean {
    const waitedMs = nowMs - (this.#since[slot] ?? nowMs)
    if (waitedMs < TARGET_MS || flow.bytes <= QUANTUM_BYTES) {
      flow.firstAboveMs = 0
      return false
    }
    if (flow.firstAboveMs === 0) {
      flow.firstAboveMs = nowMs + INTERVAL_MS
      return false
    }
    return nowMs >= flow.firstAboveMs
  }

  #mark(slot: number): boolean {
    if (!applyOuterEcn(this.#blockOf(slot), this.#at(slot), Ecn.CE)) return false
    this.counters.marked++
    return true
  }

  /** @returns the next of the flow */
  #drop(flow: Flow, slot: number): number {
    this.counters.late++
    this.#release(slot)
    return this.#unlink(flow)
  }

  /** The first packet of the flow that has the most waiting makes room (RFC 8290 section 4.1). */
  #makeRoom(): boolean {
    let fattest = this.#flows[0]
    for (const flow of this.#flows) if (flow.bytes > (fattest?.bytes ?? 0)) fattest = flow
    if (fattest === undefined || fattest.head === NONE) return false
    this.counters.full++
    this.#release(this.#unlink(fattest))
    return true
  }

  #unlink(flow: Flow): number {
    const slot = flow.head
    if (slot === NONE) return NONE
    flow.head = this.#next[slot] ?? NONE
    if (flow.head === NONE) flow.tail = NONE
    flow.bytes -= this.#lengths[slot] ?? 0
    return slot
  }

  #release(slot: number): void {
    this.packets--
    this.bytes -= this.#lengths[slot] ?? 0
    this.#next[slot] = this.#free
    this.#free = slot
  }

  #blockOf(slot: number): Uint8Array {
    return this.#blocks[Math.floor(slot / SLOTS_PER_BLOCK)] ?? this.buffer
  }

  #at(slot: number): number {
    return (slot % SLOTS_PER_BLOCK) * this.slotBytes
  }

  /** @returns false: there is no memory left */
  #addBlock(): boolean {
    const blockBytes = SLOTS_PER_BLOCK * this.slotBytes
    if (this.#memory.usedBytes + blockBytes > this.#memory.limitBytes) return false
    this.#memory.usedBytes += blockBytes
    const first = this.#blocks.length * SLOTS_PER_BLOCK
    const slots = first + SLOTS_PER_BLOCK
    // A backing store of its own, whose address stays: packets are sealed from here.
    this.#blocks.push(new Uint8Array(new ArrayBuffer(blockBytes)))
    if (slots > this.#next.length) this.#growTables(Math.max(slots, this.#next.length * 2))
    this.#freeSlots(first, slots)
    return true
  }

  #freeSlots(first: number, end: number): void {
    for (let slot = end - 1; slot >= first; slot--) {
      this.#next[slot] = this.#free
      this.#free = slot
    }
  }

  #growTables(slots: number): void {
    const [next, lengths, since] = [this.#next, this.#lengths, this.#since]
    this.#next = new Int32Array(slots)
    this.#lengths = new Int32Array(slots)
    this.#since = new Float64Array(slots)
    this.#next.set(next)
    this.#lengths.set(lengths)
    this.#since.set(since)
  }

  /** Nothing waits: one block is enough for the next time. */
  #shrink(blocks: number): void {
    const surplus = this.#blocks.length - blocks
    if (surplus <= 0) return
    this.#memory.usedBytes -= surplus * SLOTS_PER_BLOCK * this.slotBytes
    this.#blocks.length = blocks
    this.#free = NONE
    this.#freeSlots(0, blocks * SLOTS_PER_BLOCK)
  }

  /** By addresses, protocol and ports; of fragments and other protocols without the ports. */
  #flowOf(buffer: Uint8Array, offset: number, length: number): Flow {
    const isIpv6 = (buffer[offset] ?? 0) >>> 4 === 6
    const [from, to] = isIpv6 ? [8, 40] : [12, 20]
    let hash = 0x811c9dc5
    for (let at = from; at < to; at++) hash = Math.imul(hash ^ (buffer[offset + at] ?? 0), 0x01000193)
    const upper = findUpperLayer(buffer, offset, length)
    if (upper >= 0) {
      const protocol = upperProtocol(upper)
      const ports = offset + upperOffset(upper)
      hash = Math.imul(hash ^ protocol, 0x01000193)
      if (ports > offset && ports + 4 <= offset + length && hasPorts(protocol))
        for (let at = ports; at < ports + 4; at++)
          hash = Math.imul(hash ^ (buffer[offset + at] ?? 0), 0x01000193)
    }
    return this.#flows[(hash ^ (hash >>> 16)) & (FLOWS - 1)]! // As many as the mask can say.
  }
}

/** The pace of drops grows with the square root of their number. */
function nextDrop(afterMs: number, count: number): number {
  return afterMs + INTERVAL_MS / Math.sqrt(count)
}
