import { expect, it } from 'vitest'
import { PacketStore } from '../../../../src/host/link/packet-store.ts'
import { SeededRandom } from '../../../support/seeded-random.ts'

it('gives packets in the order of a stable sort, whatever comes and goes', () => {
  const random = new SeededRandom(3)
  const store = new PacketStore(64, 5000)
  let twin: { dueMs: number; bytes: Uint8Array }[] = []
  for (let round = 0; round < 4_000; round++) {
    // More in than out, then more out than in: it grows, wraps around and empties.
    if (random.fraction() < (round < 2_000 ? 0.6 : 0.4)) {
      const bytes = random.bytes(1 + random.integer(64))
      const dueMs = random.integer(300)
      expect(store.put(dueMs, bytes, 0, bytes.length)).toBe(true)
      const place = twin.findIndex((other) => other.dueMs > dueMs)
      twin = twin.toSpliced(place < 0 ? twin.length : place, 0, { dueMs, bytes })
    } else {
      expect(store.nextDueMs).toBe(twin[0]?.dueMs ?? Number.POSITIVE_INFINITY)
      const length = store.take()
      const first = twin.shift()
      expect(length).toBe(first?.bytes.length ?? 0)
      if (first !== undefined)
        expect(store.buffer.slice(store.offset, store.offset + length)).toEqual(first.bytes)
    }
    expect(store.size).toBe(twin.length)
  }
})

it('takes no more packets than it was told, and none that is longer than a slot', () => {
  const store = new PacketStore(10, 2)
  const packet = new Uint8Array(11)
  expect([11, 10, 1, 1].map((length) => store.put(0, packet, 0, length))).toEqual([false, true, true, false])
  store.take()
  expect(store.put(0, packet, 0, 1)).toBe(true)
})
