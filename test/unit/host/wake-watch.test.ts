import { afterEach, describe, expect, it } from 'vitest'
import { type Wake, watchWakes } from '../../../src/host/wake-watch.ts'
import { bootTimeMs } from '../../../src/native/boot-time.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

const watches: { close(): void }[] = []
afterEach(() => {
  for (const watch of watches.splice(0)) watch.close()
})

/** A clock whose timers can be late, and one that goes on in sleep. */
function setUp(hasBootTime = true) {
  const clock = new VirtualClock()
  let skippedMs = 0
  let asleepMs = 0
  const late = { now: () => clock.now() + skippedMs, setTimer: clock.setTimer.bind(clock) }
  const wakes: Wake[] = []
  const bootTime = () => (hasBootTime ? late.now() + asleepMs + 12_345 : undefined)
  const watch = watchWakes((wake) => wakes.push(wake), late, bootTime)
  watches.push(watch)
  return {
    clock,
    wakes,
    watch,
    stopFor: (durationMs: number) => {
      skippedMs += durationMs
    },
    sleepFor: (durationMs: number) => {
      asleepMs += durationMs
    }
  }
}

describe('watching for wakes', () => {
  it('says nothing while everything runs, or is only a little late', async () => {
    const { clock, wakes, stopFor } = setUp()
    for (let round = 0; round < 20; round++) {
      stopFor(1500)
      await clock.advance(3000)
    }
    expect(wakes).toEqual([])
  })

  it('tells how long the process was stopped', async () => {
    const { clock, wakes, stopFor } = setUp()
    await clock.advance(2000)
    stopFor(60_000)
    await clock.advance(500)
    expect(wakes).toEqual([{ pausedMs: 60_000, asleepMs: 0 }])
    await clock.advance(10_000)
    expect(wakes).toHaveLength(1)
  })

  it('tells how long the machine slept', async () => {
    const { clock, wakes, sleepFor } = setUp()
    await clock.advance(2000)
    sleepFor(3_600_000)
    await clock.advance(500)
    expect(wakes).toEqual([{ pausedMs: 3_600_000, asleepMs: 3_600_000 }])
    await clock.advance(10_000)
    expect(wakes).toHaveLength(1)
  })

  it('notices a stop even where there is no clock that goes on in sleep', async () => {
    const { clock, wakes, stopFor, watch } = setUp(false)
    stopFor(10_000)
    await clock.advance(500)
    expect(wakes).toEqual([{ pausedMs: 10_000, asleepMs: 0 }])
    watch.close()
    expect(clock.armed).toBe(0)
  })
})

it('reads the clock that goes on in sleep', () => {
  const before = bootTimeMs()
  const after = bootTimeMs()
  if (before === undefined || after === undefined) throw new Error('no C library here')
  expect(after).toBeGreaterThanOrEqual(before)
  expect(before).toBeGreaterThan(1000)
})
