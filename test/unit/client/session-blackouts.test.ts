import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { TemporaryError } from '../../../src/errors.ts'
import { expectNothingLeft, KINDS, type SetUp, setUp } from '../../support/virtual-session.ts'
import { REFUSED, RESET } from '../../support/virtual-site.ts'

// Pauses between attempts have a random part.
beforeEach(() => {
  vi.spyOn(Math, 'random').mockReturnValue(0.5)
})
afterEach(() => {
  vi.restoreAllMocks()
})

/** A session under load, and a switch for everything around it. */
async function underLoad(wanted: SetUp = {}) {
  const all = setUp(wanted)
  const { site, clock, tunnel, connected } = all
  await connected()
  tunnel.startTraffic()
  await clock.advance(2000)
  const dark = () => {
    for (const kind of KINDS) Object.assign(site.weather[kind], { ike: false, esp: false, open: 'never' })
  }
  const light = () => {
    for (const kind of KINDS) Object.assign(site.weather[kind], { ike: true, esp: true, open: 0 })
  }
  return { ...all, dark, light }
}

describe('a session whose whole network is gone', () => {
  it.each([[KINDS], [['tcp', 'tls'] as const], [['udp'] as const]])(
    'says so within five seconds (%s)',
    async (order) => {
      const { of, clock, dark, light, finish } = await underLoad({ options: { order } })
      dark()
      const at = clock.now()
      expect(await clock.until(() => of('reconnecting').length > 0, 30_000)).toBe(true)
      expect(clock.now() - at).toBeLessThan(5000)
      light()
      await finish()
    }
  )

  it.each(
    [2_000, 5_000, 9_300, 14_800, 31_000, 58_000].flatMap((darkMs) =>
      [KINDS, ['tcp', 'tls'] as const, ['udp'] as const].map((order) => [darkMs, order] as const)
    )
  )('is back soon after it returns, on the same SA (after %i ms, %s)', async (darkMs, order) => {
    const { of, clock, dark, light, moved, site, tunnel, finish } = await underLoad({ options: { order } })
    const [before] = site.sessions
    dark()
    await clock.advance(darkMs)
    light()
    expect(await moved(1, 4000 + darkMs / 20), 'back in time').toBe(true)
    await clock.advance(1000)
    expect(site.sessions.filter(({ state }) => state === 'ESTABLISHED')).toEqual([before])
    expect(tunnel.configured).toHaveLength(1)
    expect(of('reconnecting').length).toBeLessThanOrEqual(1)
    expect(of('path-changed')[0]?.outageMs).toBeGreaterThan(darkMs - 200)
    expect(of('path-changed')[0]?.outageMs).toBeLessThan(darkMs + 4000 + darkMs / 20)
    await finish()
  })

  it('is back at once when it hears that the network has returned', async () => {
    const { clock, dark, light, moved, session, tunnel, finish } = await underLoad({
      options: { reconnectTimeoutMs: Number.POSITIVE_INFINITY }
    })
    dark()
    await clock.advance(3_600_000)
    light()
    tunnel.repinned = true
    session.networkChanged()
    expect(await moved(1, 1000)).toBe(true)
    tunnel.repinned = false
    await finish()
  })

  it('sets up a fresh SA where the gateway has forgotten everything meanwhile', async () => {
    const { clock, dark, light, moved, site, tunnel, finish } = await underLoad()
    dark()
    await clock.advance(20_000)
    site.restart()
    light()
    expect(await moved(1, 8000)).toBe(true)
    expect(tunnel.configured).toHaveLength(2)
    await clock.advance(10_000)
    expect(tunnel.children.size).toBe(1)
    expect(site.sessions).toHaveLength(1)
    await finish()
  })

  it('keeps one SA only when the old one and a fresh one get through in the same moment', async () => {
    for (let darkMs = 10_000; darkMs < 14_000; darkMs += 130) {
      const { clock, dark, light, moved, site, finish } = await underLoad()
      dark()
      await clock.advance(darkMs)
      light()
      expect(await moved(1, 8000)).toBe(true)
      await clock.advance(40_000)
      expect(site.sessions, `after ${darkMs} ms`).toHaveLength(1)
      await finish()
    }
  })

  it('does not hammer a gateway that is not there', async () => {
    const { clock, dark, site, session, tunnel, ended } = await underLoad({
      options: { reconnectTimeoutMs: Number.POSITIVE_INFINITY }
    })
    dark()
    await clock.advance(600_000)
    const before = site.attempts.length
    await clock.advance(600_000)
    expect(site.attempts.length - before).toBeLessThan(400)
    session.stop()
    tunnel.stopTraffic()
    await ended(4000)
    await expectNothingLeft(site)
  })

  it('gives up after its time, keeping none of what it tried', async () => {
    const { clock, dark, site, tunnel, ended, state } = await underLoad({
      options: { reconnectTimeoutMs: 20_000 }
    })
    dark()
    const at = clock.now()
    await ended(60_000)
    tunnel.stopTraffic()
    expect(clock.now() - at).toBeGreaterThan(20_000)
    expect(clock.now() - at).toBeLessThan(28_000)
    expect(state.error).toBeInstanceOf(TemporaryError)
    await expectNothingLeft(site)
  })

  it('ends within bounds at whatever moment it is stopped', async () => {
    for (let afterMs = 0; afterMs < 20_000; afterMs += 670) {
      const { clock, dark, site, session, tunnel, ended } = await underLoad()
      dark()
      await clock.advance(afterMs)
      session.stop()
      tunnel.stopTraffic()
      await ended(3500)
      await expectNothingLeft(site)
    }
  })
})

describe('a session whose path comes back by itself', () => {
  it.each([1_500, 2_000, 2_600, 3_500])(
    'stays on it, on the same connection (after %i ms)',
    async (darkMs) => {
      const { of, clock, dark, site, tunnel, moved, finish } = await underLoad()
      dark()
      await clock.advance(darkMs)
      Object.assign(site.weather.udp, { ike: true, esp: true, open: 0 })
      expect(await moved(1, 2000)).toBe(true)
      expect(of('path-changed')[0]).toMatchObject({ from: 'udp', to: 'udp', reason: 'peer-silent' })
      expect(Math.abs((of('path-changed')[0]?.outageMs ?? 0) - darkMs)).toBeLessThan(300)
      expect(tunnel.transport).toBe(site.of('udp')[0])
      expect(tunnel.configured).toHaveLength(1)
      await finish()
    }
  )
})

describe('a session whose gateway is away', () => {
  it('waits for it where connections are refused, and takes the session up again', async () => {
    const { clock, moved, site, tunnel, of, finish } = await underLoad({ options: { order: ['tcp', 'tls'] } })
    for (const kind of KINDS) site.weather[kind].open = REFUSED
    site.last('tcp').end(RESET)
    await clock.advance(30_000)
    expect(of('reconnecting')).toHaveLength(1)
    for (const kind of KINDS) site.weather[kind].open = 0
    expect(await moved(1, 6000)).toBe(true)
    expect(tunnel.configured).toHaveLength(1)
    await finish()
  })
})
