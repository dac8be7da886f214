import { describe, expect, it } from 'vitest'
import { ecnOf } from '../../../src/dataplane/ecn.ts'
import { FlowQueue, QueueMemory } from '../../../src/dataplane/flow-queue.ts'
import { internetChecksum } from '../../../src/wire/checksum.ts'
import { ipv6, udp } from '../../support/packet-factory.ts'
import { SeededRandom } from '../../support/seeded-random.ts'

const BULK_BYTES = 1400

/** A packet of a flow that is told by its port, with a number inside. */
function packet(flow: number, number: number, length = BULK_BYTES, ecn = 0): Uint8Array {
  const bytes = new Uint8Array(length)
  bytes.set([0x45, ecn, length >> 8, length & 255, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2])
  const sum = internetChecksum(bytes, 0, 20)
  bytes.set([sum >> 8, sum & 255], 10)
  const port = 1000 + flow
  bytes.set([port >> 8, port & 255, 0, 9, 0, 0, 0, 0, number >> 8, number & 255], 20)
  return bytes
}

/** Flow and number of the packet that `front` chose. */
function chosen(queue: FlowQueue): [number, number] {
  const bytes = queue.buffer.subarray(queue.offset, queue.offset + queue.length)
  return [((bytes[20] ?? 0) << 8) + (bytes[21] ?? 0) - 1000, ((bytes[28] ?? 0) << 8) + (bytes[29] ?? 0)]
}

function take(queue: FlowQueue, nowMs: number): [number, number] | undefined {
  if (!queue.front(nowMs)) return undefined
  const result = chosen(queue)
  queue.pop()
  return result
}

function makeQueue(maxPackets = 4096, memory = new QueueMemory(Number.MAX_SAFE_INTEGER)): FlowQueue {
  return new FlowQueue({ memory, slotBytes: 1500, maxPackets, maxBytes: 10_000_000 })
}

const push = (queue: FlowQueue, nowMs: number, bytes: Uint8Array): boolean =>
  queue.push(nowMs, bytes, 0, bytes.length)

describe('packets that wait for a transport', () => {
  it('leave in order, whole, from wherever they were copied', () => {
    const queue = makeQueue()
    const bytes = packet(1, 7, 900)
    const around = new Uint8Array(2000).fill(9)
    around.set(bytes, 300)
    queue.push(0, around, 300, bytes.length)
    around.fill(0)
    for (let number = 8; number < 200; number++) push(queue, 0, packet(1, number, 900))
    expect(queue.front(1)).toBe(true)
    expect(queue.buffer.slice(queue.offset, queue.offset + queue.length)).toEqual(bytes)
    const numbers = []
    for (let next = take(queue, 1); next !== undefined; next = take(queue, 1)) numbers.push(next[1])
    expect(numbers).toEqual(Array.from({ length: 193 }, (_, index) => index + 7))
    expect([queue.packets, queue.bytes]).toEqual([0, 0])
  })

  it('are chosen once: whoever could not send asks again for the same', () => {
    const queue = makeQueue()
    for (const flow of [1, 2]) push(queue, 0, packet(flow, 0))
    queue.front(0)
    const first = chosen(queue)
    push(queue, 0, packet(3, 0, 100))
    queue.front(0)
    expect(chosen(queue)).toEqual(first)
  })

  it('share what there is by bytes, not by packets', () => {
    const queue = makeQueue()
    for (let number = 0; number < 400; number++) push(queue, 0, packet(1, number))
    for (let number = 0; number < 3000; number++) push(queue, 0, packet(2, number, 200))
    const bytes = [0, 0, 0]
    for (let taken = 0; taken < 800; taken++) {
      const [flow] = take(queue, 0) ?? [0]
      bytes[flow] = (bytes[flow] ?? 0) + (flow === 1 ? BULK_BYTES : 200)
    }
    expect((bytes[1] ?? 0) / (bytes[2] ?? 1)).toBeCloseTo(1, 1)
  })

  it('of a flow that sends little go before those of bulk flows', () => {
    const queue = makeQueue()
    for (let number = 0; number < 300; number++)
      for (const flow of [1, 2, 3]) push(queue, 0, packet(flow, number))
    for (let taken = 0; taken < 10; taken++) take(queue, 0)
    push(queue, 0, packet(9, 1, 160))
    expect(take(queue, 0)).toEqual([9, 1])
  })

  it('do not starve each other: a flow that always comes back as new waits for the others', () => {
    const queue = makeQueue()
    for (let number = 0; number < 10; number++) push(queue, 0, packet(1, number))
    let bulk = 0
    for (let number = 0; number < 40; number++) {
      push(queue, 0, packet(2, number))
      if (take(queue, 0)?.[0] === 1) bulk++
    }
    expect(bulk).toBe(10)
  })

  it('are told apart by addresses and ports, in IPv6 too', () => {
    const queue = makeQueue()
    const of6 = (port: number) => ipv6(udp(port, 9, new Array<number>(1000).fill(0)))
    for (let number = 0; number < 50; number++) push(queue, 0, of6(1001))
    for (let taken = 0; taken < 5; taken++) {
      queue.front(0)
      queue.pop()
    }
    push(queue, 0, of6(1002))
    queue.front(0)
    expect((queue.buffer[queue.offset + 40] ?? 0) * 256 + (queue.buffer[queue.offset + 41] ?? 0)).toBe(1002)
  })

  it('are refused when they are longer than a slot', () => {
    const queue = new FlowQueue({
      memory: new QueueMemory(100_000),
      slotBytes: 500,
      maxPackets: 10,
      maxBytes: 10_000
    })
    expect(push(queue, 0, packet(1, 0, 501))).toBe(false)
    expect(queue.packets).toBe(0)
  })

  it('make room at the head of the longest flow when there are too many', () => {
    const queue = makeQueue(20)
    for (let number = 0; number < 18; number++) push(queue, 0, packet(1, number))
    for (let number = 0; number < 5; number++) push(queue, 0, packet(2, number))
    expect([queue.packets, queue.counters.full]).toEqual([20, 3])
    const left = []
    for (let next = take(queue, 0); next !== undefined; next = take(queue, 0)) left.push(next)
    expect(left.filter(([flow]) => flow === 2)).toHaveLength(5)
    expect(left.find(([flow]) => flow === 1)).toEqual([1, 3])
  })
})

it('holds no more bytes than it was told, at the cost of the longest flow', () => {
  const queue = new FlowQueue({
    memory: new QueueMemory(1_000_000),
    slotBytes: 1500,
    maxPackets: 1000,
    maxBytes: 14_000
  })
  push(queue, 0, packet(2, 0, 160))
  for (let number = 0; number < 20; number++) push(queue, number, packet(1, number))
  expect(queue.bytes).toBeLessThanOrEqual(14_000)
  expect([queue.packets, queue.counters.full]).toEqual([10, 11])
  expect(queue.oldestMs(20)).toBe(20)
  take(queue, 20)
  take(queue, 20)
  expect(queue.oldestMs(20)).toBeLessThan(10)
})

/**
 * A line that sends one packet a millisecond, with a sender that keeps `standing` packets waiting.
 * @returns what was counted, and when
 */
function standingQueue(standing: number, forMs: number, ecn = 0) {
  const queue = makeQueue()
  const late: number[] = []
  let number = 0
  for (let nowMs = 0; nowMs < forMs; nowMs++) {
    while (queue.packets < standing) push(queue, nowMs, packet(1, number++ & 0xffff, BULK_BYTES, ecn))
    const before = queue.counters.late + queue.counters.marked
    take(queue, nowMs)
    if (queue.counters.late + queue.counters.marked > before) late.push(nowMs)
  }
  return { queue, late }
}

describe('a queue that stays long', () => {
  it('is left alone when it is short, however long that lasts', () => {
    expect(standingQueue(40, 5000).late).toEqual([])
  })

  it('loses a packet after an interval, and then more and more often', () => {
    const { late } = standingQueue(200, 8000)
    expect(late[0]).toBeGreaterThanOrEqual(500)
    expect(late[0]).toBeLessThan(600)
    const gaps = late.slice(1).map((at, index) => at - (late[index] ?? 0))
    // RFC 8289: interval / sqrt(count).
    expect(gaps[0]).toBe(500)
    expect(gaps[1]).toBeCloseTo(500 / Math.sqrt(2), -1)
    expect(gaps.at(-1)).toBeLessThan(150)
  })

  it('is forgiven a burst that drains within the interval', () => {
    const queue = makeQueue()
    for (let number = 0; number < 400; number++) push(queue, 0, packet(1, number))
    for (let nowMs = 0; nowMs < 400; nowMs++) take(queue, nowMs)
    expect([queue.counters.late, queue.packets]).toEqual([0, 0])
  })

  it('marks instead of dropping where the flow understands that, with a checksum that holds', () => {
    const { queue, late } = standingQueue(200, 4000, 2)
    expect(late.length).toBeGreaterThan(3)
    expect(queue.counters).toMatchObject({ late: 0, marked: late.length })
    let marks = 0
    for (let nowMs = 4000; queue.front(nowMs); nowMs++) {
      if (ecnOf(queue.buffer, queue.offset) === 3) marks++
      expect(internetChecksum(queue.buffer, queue.offset, 20)).toBe(0)
      queue.pop()
    }
    expect(marks).toBeGreaterThan(0)
  })
})

it('holds no more memory than there is for all queues together, and gives it back', () => {
  const memory = new QueueMemory(1_000_000)
  const queues = Array.from({ length: 50 }, () => makeQueue(4096, memory))
  for (let number = 0; number < 300; number++) for (const queue of queues) push(queue, 0, packet(1, number))
  expect(memory.usedBytes).toBeGreaterThan(900_000)
  expect(memory.usedBytes).toBeLessThanOrEqual(memory.limitBytes)
  const waiting = queues.reduce((sum, { packets }) => sum + packets, 0)
  const full = queues.reduce((sum, { counters }) => sum + counters.full, 0)
  expect(waiting).toBeGreaterThan(600)
  expect(waiting + full).toBe(50 * 300)
  // The latest are kept, where a queue has any.
  const [first] = queues
  const numbers = []
  for (let next = first && take(first, 0); next !== undefined; next = first && take(first, 0))
    numbers.push(next[1])
  expect(numbers.at(-1)).toBe(299)
  for (const queue of queues) queue.clear()
  expect(memory.usedBytes).toBe(0)
})

it('accounts for every packet, whatever comes and goes', () => {
  const random = new SeededRandom(11)
  const queue = makeQueue(300)
  const last = new Map<number, number>()
  let [pushed, taken, nowMs] = [0, 0, 0]
  for (let step = 0; step < 20_000; step++) {
    nowMs += random.fraction()
    if (random.fraction() < (Math.floor(step / 2000) % 2 === 0 ? 0.7 : 0.3)) {
      push(queue, nowMs, packet(random.integer(5), pushed++ & 0xffff, 40 + random.integer(1400)))
      continue
    }
    const next = take(queue, nowMs)
    if (next === undefined) continue
    taken++
    const [flow, number] = next
    expect(number).toBeGreaterThan(last.get(flow) ?? -1)
    last.set(flow, number)
  }
  expect(taken + queue.packets + queue.counters.full + queue.counters.late).toBe(pushed)
  queue.clear()
  expect([queue.packets, queue.bytes, queue.front(nowMs)]).toEqual([0, 0, false])
  push(queue, nowMs, packet(3, 77))
  expect(take(queue, nowMs)).toEqual([3, 77])
})
