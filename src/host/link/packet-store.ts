/**
 * Packets that are on their way, the one that is due first in front: a binary heap over slots of equal size.
 *
 * Invariant: packets that are due at the same time leave in the order in which they came.
 * @module
 */

/** Slots are added this many at a time. */
const SLOTS_PER_BLOCK = 256
const FIRST_CAPACITY = 1024

export class PacketStore {
  readonly #slotBytes: number
  readonly #maxPackets: number
  readonly #blocks: Uint8Array[] = []
  #free: Int32Array = new Int32Array(0)
  #freeCount = 0
  #dueMs = new Float64Array(FIRST_CAPACITY)
  #order = new Float64Array(FIRST_CAPACITY)
  #slot = new Int32Array(FIRST_CAPACITY)
  #length = new Int32Array(FIRST_CAPACITY)
  #count = 0
  #nextOrder = 0
  /** Where the packet is that `take` or `put` spoke of last. */
  buffer: Uint8Array = new Uint8Array(0)
  offset = 0

  constructor(slotBytes: number, maxPackets: number) {
    this.#slotBytes = slotBytes
    this.#maxPackets = maxPackets
  }

  get size(): number {
    return this.#count
  }

  /** Infinity: nothing is on its way. */
  get nextDueMs(): number {
    return this.#count === 0 ? Number.POSITIVE_INFINITY : (this.#dueMs[0] ?? 0)
  }

  /** Copies a packet; `buffer` and `offset` then say where to. @returns false when there is no room */
  put(dueMs: number, from: Uint8Array, at: number, length: number): boolean {
    if (length > this.#slotBytes || this.#count >= this.#maxPackets) return false
    if (this.#freeCount === 0) this.#addBlock()
    if (this.#count === this.#dueMs.length) this.#growHeap()
    const slot = this.#free[--this.#freeCount] ?? 0
    this.#point(slot)
    this.buffer.set(from.subarray(at, at + length), this.offset)
    const place = this.#siftUp(dueMs)
    this.#dueMs[place] = dueMs
    this.#order[place] = this.#nextOrder++
    this.#slot[place] = slot
    this.#length[place] = length
    return true
  }

  /** Takes the first packet out. Its bytes stay where they are until the next `put`. @returns its length; 0: there is none */
  take(): number {
    if (this.#count === 0) return 0
    const slot = this.#slot[0] ?? 0
    const length = this.#length[0] ?? 0
    this.#free[this.#freeCount++] = slot
    this.#point(slot)
    this.#count--
    if (this.#count > 0) this.#siftDown(this.#count)
    return length
  }

  #point(slot: number): void {
    this.buffer = this.#blocks[Math.floor(slot / SLOTS_PER_BLOCK)] ?? this.buffer
    this.offset = (slot % SLOTS_PER_BLOCK) * this.#slotBytes
  }

  #addBlock(): void {
    const first = this.#blocks.length * SLOTS_PER_BLOCK
    // A backing store of its own: the system calls that read from it want an address that stays.
    this.#blocks.push(new Uint8Array(new ArrayBuffer(SLOTS_PER_BLOCK * this.#slotBytes)))
    const free = new Int32Array(first + SLOTS_PER_BLOCK)
    for (let index = 0; index < SLOTS_PER_BLOCK; index++) free[index] = first + index
    this.#free = free
    this.#freeCount = SLOTS_PER_BLOCK
  }

  #growHeap(): void {
    const larger = this.#dueMs.length * 2
    const copy = <T extends Float64Array | Int32Array>(into: T, from: T): T => {
      into.set(from)
      return into
    }
    this.#dueMs = copy(new Float64Array(larger), this.#dueMs)
    this.#order = copy(new Float64Array(larger), this.#order)
    this.#slot = copy(new Int32Array(larger), this.#slot)
    this.#length = copy(new Int32Array(larger), this.#length)
  }

  /** Makes a hole for a packet that is due then. Later than all before it is the common case, and costs one comparison. */
  #siftUp(dueMs: number): number {
    let place = this.#count++
    while (place > 0) {
      const parent = (place - 1) >> 1
      if ((this.#dueMs[parent] ?? 0) <= dueMs) break
      this.#move(parent, place)
      place = parent
    }
    return place
  }

  /** Puts the element at `last` into the hole at the top, and then where it belongs. */
  #siftDown(last: number): void {
    let place = 0
    for (;;) {
      let child = place * 2 + 1
      if (child >= last) break
      if (child + 1 < last && this.#before(child + 1, child)) child++
      if (this.#before(last, child)) break
      this.#move(child, place)
      place = child
    }
    this.#move(last, place)
  }

  #before(a: number, b: number): boolean {
    const difference = (this.#dueMs[a] ?? 0) - (this.#dueMs[b] ?? 0)
    return difference === 0 ? (this.#order[a] ?? 0) < (this.#order[b] ?? 0) : difference < 0
  }

  #move(from: number, to: number): void {
    this.#dueMs[to] = this.#dueMs[from] ?? 0
    this.#order[to] = this.#order[from] ?? 0
    this.#slot[to] = this.#slot[from] ?? 0
    this.#length[to] = this.#length[from] ?? 0
  }
}
