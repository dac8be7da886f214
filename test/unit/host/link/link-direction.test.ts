import { describe, expect, it } from 'vitest'
import { seededChance } from '../../../../src/host/link/chance.ts'
import { type LinkConditions, meanBurstLoss } from '../../../../src/host/link/conditions.ts'
import { LinkDirection } from '../../../../src/host/link/link-direction.ts'
import { SeededRandom } from '../../../support/seeded-random.ts'

const SEED = 7

interface Arrival {
  readonly number: number
  readonly atMs: number
  readonly bytes: Uint8Array
}

/** Sends numbered packets, one every `everyMs`, and takes each when it is due. */
function send(
  conditions: LinkConditions,
  { count = 10_000, everyMs = 1, length = 100, seed = SEED } = {}
): { arrivals: Arrival[]; direction: LinkDirection } {
  const direction = new LinkDirection({ conditions, seed })
  const arrivals: Arrival[] = []
  const takeUntil = (nowMs: number): void => {
    while (direction.nextDueMs <= nowMs) {
      const atMs = direction.nextDueMs
      const taken = direction.take(atMs)
      const bytes = direction.buffer.slice(direction.offset, direction.offset + taken)
      arrivals.push({ number: new DataView(bytes.buffer).getUint32(0), atMs, bytes })
    }
  }
  const packet = new Uint8Array(length)
  for (let number = 0; number < count; number++) {
    const nowMs = number * everyMs
    takeUntil(nowMs)
    new DataView(packet.buffer).setUint32(0, number)
    direction.offer(nowMs, packet, 0, length)
  }
  takeUntil(Number.MAX_VALUE)
  return { arrivals, direction }
}

const numbers = (arrivals: readonly Arrival[]): number[] => arrivals.map(({ number }) => number)
const delays = (arrivals: readonly Arrival[], everyMs = 1): number[] =>
  arrivals.map(({ number, atMs }) => atMs - number * everyMs)
const mean = (values: readonly number[]): number => values.reduce((sum, one) => sum + one, 0) / values.length

/** Lengths of runs of missing numbers. */
function gaps(arrivals: readonly Arrival[]): number[] {
  const seen = numbers(arrivals)
  return seen.slice(1).flatMap((number, index) => {
    const missing = number - (seen[index] ?? 0) - 1
    return missing > 0 ? [missing] : []
  })
}

describe('seeded chance', () => {
  it('is xoshiro128** like the one of the tests', () => {
    const twin = new SeededRandom(SEED ^ 0x85ebca6b)
    const chance = seededChance(SEED)
    for (let index = 0; index < 1000; index++) expect(chance()).toBe(twin.fraction())
  })

  it('gives streams of one seed that have nothing to do with each other', () => {
    const [one, other] = [seededChance(SEED, 0), seededChance(SEED, 1)]
    const both = Array.from({ length: 10_000 }, () => [one(), other()])
    expect(mean(both.map(([a = 0, b = 0]) => (a - 0.5) * (b - 0.5)))).toBeCloseTo(0, 2)
  })
})

describe('one direction of an emulated link', () => {
  it('without conditions gives every packet at once, as it was', () => {
    const { arrivals, direction } = send({}, { count: 500 })
    expect(numbers(arrivals)).toEqual(Array.from({ length: 500 }, (_, index) => index))
    expect(new Set(delays(arrivals))).toEqual(new Set([0]))
    expect(direction.counters).toMatchObject({
      offered: 500,
      delivered: 500,
      deliveredBytes: 50_000,
      lost: 0
    })
  })

  it('delays every packet by the same time, and says when the next is due', () => {
    const direction = new LinkDirection({ conditions: { delayMs: 20 }, seed: SEED })
    expect(direction.nextDueMs).toBe(Number.POSITIVE_INFINITY)
    direction.offer(5, new Uint8Array(50), 0, 50)
    expect([direction.nextDueMs, direction.take(24.9), direction.take(25)]).toEqual([25, 0, 50])
    expect(new Set(delays(send({ delayMs: 20 }).arrivals))).toEqual(new Set([20]))
  })

  it('repeats itself with the same seed, and only with that', () => {
    const conditions = { loss: 0.1, delayMs: 10, jitterMs: 5, jitterReorders: true, duplicate: 0.01 }
    const [one, same, other] = [SEED, SEED, SEED + 1].map(
      (seed) => send(conditions, { seed, count: 500 }).arrivals
    )
    expect(same).toEqual(one)
    expect(other).not.toEqual(one)
  })

  it.each([0.001, 0.01, 0.03, 0.5])('loses a share of %d, each packet on its own', (loss) => {
    const { arrivals, direction } = send({ loss }, { count: 100_000 })
    const lost = 100_000 - arrivals.length
    // Four standard deviations of the binomial distribution.
    expect(Math.abs(lost - 100_000 * loss)).toBeLessThan(4 * Math.sqrt(100_000 * loss * (1 - loss)))
    expect(direction.counters.lost).toBe(lost)
    // Runs of independent losses are 1 / (1 - loss) long.
    expect(mean(gaps(arrivals))).toBeCloseTo(1 / (1 - loss), 1)
  })

  it('loses in bursts as Gilbert and Elliott say: mean loss, and runs that are as long as asked for', () => {
    const burstLoss = { enter: 0.005, leave: 0.25 }
    const { arrivals, direction } = send({ burstLoss }, { count: 200_000 })
    const share = direction.counters.lostInBursts / 200_000
    expect(share).toBeCloseTo(meanBurstLoss(burstLoss), 2)
    expect(mean(gaps(arrivals))).toBeGreaterThan(3.8)
    expect(mean(gaps(arrivals))).toBeLessThan(4.2)
  })

  it('loses in and out of bursts with the shares that were given', () => {
    const burstLoss = { enter: 0.01, leave: 0.1, lossInside: 0.5, lossOutside: 0.001 }
    const { direction } = send({ burstLoss }, { count: 200_000 })
    expect(direction.counters.lostInBursts / 200_000).toBeCloseTo(meanBurstLoss(burstLoss), 2)
  })

  it('loses the same packets whatever else goes wrong', () => {
    const plain = numbers(send({ loss: 0.05 }).arrivals)
    const more = send({ loss: 0.05, delayMs: 30, jitterMs: 20, corrupt: 0.1 }).arrivals
    expect(numbers(more)).toEqual(plain)
  })

  it('spreads delays evenly over the jitter, and keeps the order', () => {
    const { arrivals } = send({ delayMs: 50, jitterMs: 10 }, { everyMs: 100 })
    const own = delays(arrivals, 100)
    expect(Math.min(...own)).toBeGreaterThanOrEqual(40)
    expect(Math.max(...own)).toBeLessThanOrEqual(60)
    expect(mean(own)).toBeCloseTo(50, 0)
    // An even distribution over 20 ms has a standard deviation of 20 / sqrt(12).
    expect(Math.sqrt(mean(own.map((one) => (one - 50) ** 2)))).toBeCloseTo(5.77, 1)
    const dense = numbers(send({ delayMs: 50, jitterMs: 10 }).arrivals)
    expect(dense).toEqual([...dense].sort((a, b) => a - b))
  })

  it('lets jitter reorder where that was asked for', () => {
    const seen = numbers(send({ delayMs: 50, jitterMs: 10, jitterReorders: true }).arrivals)
    expect(seen).not.toEqual([...seen].sort((a, b) => a - b))
    expect([...seen].sort((a, b) => a - b)).toEqual(Array.from({ length: 10_000 }, (_, index) => index))
  })

  it('holds the asked-for share of packets back, so that exactly those behind overtake them', () => {
    const { arrivals, direction } = send({ delayMs: 10, reorder: 0.02, reorderByMs: 2.5 }, { count: 50_000 })
    const late = arrivals.filter(({ number, atMs }) => atMs - number > 10)
    expect(late.length / 50_000).toBeCloseTo(0.02, 2)
    expect(late.length).toBe(direction.counters.heldBack)
    expect(new Set(late.map(({ number, atMs }) => atMs - number))).toEqual(new Set([12.5]))
  })

  it('takes the time on the line that the rate says, and queues what comes faster', () => {
    // 100 bytes at 800 kbit/s: 1 ms each.
    const { arrivals } = send({ rateBitsPerSecond: 800_000, delayMs: 5 }, { count: 10, everyMs: 0 })
    expect(arrivals.map(({ atMs }) => atMs)).toEqual([6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
  })

  it('delivers at its rate for as long as more is offered', () => {
    const { arrivals } = send({ rateBitsPerSecond: 400_000, queueBytes: 5000 }, { count: 20_000 })
    const seconds = ((arrivals.at(-1)?.atMs ?? 0) - (arrivals[0]?.atMs ?? 0)) / 1000
    expect(((arrivals.length - 1) * 800) / seconds / 400_000).toBeCloseTo(1, 3)
  })

  it.each([
    ['bytes', { queueBytes: 500 }],
    ['packets', { queuePackets: 5 }]
  ])('drops at the tail when the queue holds as many %s as it may', (_, limit) => {
    const conditions = { rateBitsPerSecond: 800_000, ...limit }
    const { arrivals, direction } = send(conditions, { count: 8, everyMs: 0 })
    expect(numbers(arrivals)).toEqual([0, 1, 2, 3, 4])
    expect(direction.counters.queueFull).toBe(3)
  })

  it('frees the queue as packets leave the line, also when it has grown long', () => {
    const direction = new LinkDirection({
      conditions: { rateBitsPerSecond: 800_000, queuePackets: 1000 },
      seed: SEED
    })
    const packet = new Uint8Array(100)
    for (let round = 0; round < 5; round++) {
      for (let index = 0; index < 1200; index++) direction.offer(round * 1000, packet, 0, 100)
      expect(direction.counters.queueFull).toBe(200 * (round + 1))
    }
  })

  it('lets a lost packet use the line all the same', () => {
    const lossy = send({ rateBitsPerSecond: 800_000, loss: 0.5 }, { count: 100, everyMs: 0 }).arrivals
    expect(lossy.every(({ number, atMs }) => atMs === number + 1)).toBe(true)
  })

  it('duplicates and corrupts the shares that were asked for; a corrupted packet differs by one bit behind its header', () => {
    const { arrivals, direction } = send({ duplicate: 0.1, corrupt: 0.05 }, { count: 20_000 })
    expect(direction.counters.duplicated / 20_000).toBeCloseTo(0.1, 2)
    expect(arrivals.length).toBe(20_000 + direction.counters.duplicated)
    expect(direction.counters.corrupted / 20_000).toBeCloseTo(0.05, 2)
    const bits = arrivals.map(({ bytes }) => {
      const differing = bytes
        .subarray(4)
        .reduce((sum, byte) => sum + byte.toString(2).replaceAll('0', '').length, 0)
      expect(bytes.subarray(4, 20).every((byte) => byte === 0)).toBe(true)
      return differing
    })
    expect(new Set(bits)).toEqual(new Set([0, 1]))
  })

  it('swallows what is offered while it is down, and delivers what was on its way', () => {
    const direction = new LinkDirection({ conditions: { delayMs: 10 }, seed: SEED })
    const packet = new Uint8Array(60)
    direction.offer(0, packet, 0, 60)
    direction.setDown(true)
    direction.offer(1, packet, 0, 60)
    direction.setDown(false)
    direction.offer(2, packet, 0, 60)
    expect([direction.take(10), direction.take(11), direction.take(12)]).toEqual([60, 0, 60])
    expect(direction.counters).toMatchObject({ offered: 3, outage: 1, delivered: 2 })
  })

  it('applies changed conditions to what comes after the change, never out of turn', () => {
    const direction = new LinkDirection({ conditions: { delayMs: 100 }, seed: SEED })
    const packet = new Uint8Array(60)
    direction.offer(0, packet, 0, 60)
    direction.setConditions({ delayMs: 1 })
    direction.offer(1, packet, 0, 60)
    expect([direction.take(99), direction.take(100), direction.take(100)]).toEqual([0, 60, 60])
  })

  it('counts what is too long for it instead of cutting it', () => {
    const direction = new LinkDirection({ seed: SEED, slotBytes: 100 })
    direction.offer(0, new Uint8Array(101), 0, 101)
    expect(direction.counters.noRoom).toBe(1)
    expect(direction.inFlight).toBe(0)
  })

  it('carries a header along without counting it', () => {
    const direction = new LinkDirection({
      conditions: { rateBitsPerSecond: 800_000 },
      seed: SEED,
      headerBytes: 10
    })
    direction.offer(0, new Uint8Array(110), 0, 110)
    expect(direction.nextDueMs).toBe(1)
    expect(direction.take(1)).toBe(110)
    expect(direction.counters.deliveredBytes).toBe(100)
  })
})
