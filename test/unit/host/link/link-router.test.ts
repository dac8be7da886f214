import { expect, it } from 'vitest'
import type { LinkConditions } from '../../../../src/host/link/conditions.ts'
import { LinkDirection } from '../../../../src/host/link/link-direction.ts'
import { LinkRouter } from '../../../../src/host/link/link-router.ts'
import { MemoryTun } from '../../../../src/tun/memory-tun.ts'
import { VNET_HEADER_LENGTH } from '../../../../src/tun/vnet-header.ts'

/** Two devices, a router between them, and a clock that stands until it is moved. */
function site(forward: LinkConditions, backward: LinkConditions = {}) {
  const [a, b] = [new MemoryTun({ name: 'a' }), new MemoryTun({ name: 'b' })]
  let nowMs = 0
  let armed: { atMs: number; fire: () => void } | undefined
  const gone: string[] = []
  const direction = (conditions: LinkConditions) =>
    new LinkDirection({ conditions, seed: 1, headerBytes: VNET_HEADER_LENGTH })
  const router = new LinkRouter({
    a,
    b,
    forward: direction(forward),
    backward: direction(backward),
    now: () => nowMs,
    makeTimer: (fire) => ({
      arm: (delayMs) => {
        armed = { atMs: nowMs + delayMs, fire }
      },
      close: () => {
        armed = undefined
      }
    }),
    onGone: (reason) => gone.push(reason)
  })
  const moveTo = (untilMs: number): void => {
    while (armed !== undefined && armed.atMs <= untilMs) {
      const { atMs, fire } = armed
      armed = undefined
      nowMs = atMs
      fire()
    }
    nowMs = untilMs
  }
  return { a, b, router, moveTo, gone, armed: () => armed?.atMs }
}

const packet = (value: number): Uint8Array => new Uint8Array(100).fill(value)
const values = (tun: MemoryTun): (number | undefined)[] =>
  tun.written.map((frame) => frame[VNET_HEADER_LENGTH])

it('carries packets both ways, each with the conditions of its way', () => {
  const { a, b, moveTo } = site({ delayMs: 30 }, { delayMs: 10 })
  a.inject(packet(1))
  a.run()
  b.inject(packet(2))
  b.run()
  moveTo(9)
  expect([values(a), values(b)]).toEqual([[], []])
  moveTo(11)
  expect([values(a), values(b)]).toEqual([[2], []])
  moveTo(31)
  expect([values(a), values(b)]).toEqual([[2], [1]])
})

it('hands over at once what has no delay', () => {
  const { a, b } = site({})
  a.inject(packet(1))
  a.run()
  expect(values(b)).toEqual([1])
})

it('sets its timer anew for a packet that is due before all others, and for those that remain', () => {
  const { a, b, moveTo, armed } = site({ delayMs: 50 }, { delayMs: 5 })
  a.inject(packet(1))
  a.run()
  const late = armed() ?? 0
  moveTo(20)
  b.inject(packet(2))
  b.run()
  expect(armed()).toBeLessThan(26)
  moveTo(26)
  expect(values(a)).toEqual([2])
  expect(armed()).toBeCloseTo(late)
})

it('is never more than its slack late, and lets what is due together leave together', () => {
  const { a, b, moveTo } = site({ rateBitsPerSecond: 8_000_000 })
  const times: number[] = []
  b.onWritten = () => times.push(last)
  let last = 0
  for (let index = 0; index < 20; index++) a.inject(packet(index))
  a.run()
  for (last = 0; last < 3; last += 0.01) moveTo(last)
  expect(times).toHaveLength(20)
  for (const [index, atMs] of times.entries()) {
    expect(atMs).toBeGreaterThanOrEqual((index + 1) * 0.1 - 0.001)
    expect(atMs).toBeLessThanOrEqual((index + 1) * 0.1 + 0.27)
  }
})

it('counts what the device on the other side does not take', () => {
  const { a, b, router } = site({})
  b.release()
  a.inject(packet(1))
  a.run()
  expect(router.refused).toBe(1)
})

it('carries nothing after it was closed', () => {
  const { a, b, router, moveTo, armed } = site({ delayMs: 1 })
  a.inject(packet(1))
  a.run()
  router.close()
  expect([a.reading, b.reading, armed()]).toEqual([false, false, undefined])
  moveTo(10)
  expect(b.written).toEqual([])
})
