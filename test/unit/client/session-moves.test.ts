import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { DEFAULT_SESSION_TIMINGS } from '../../../src/client/options.ts'
import { ExchangeType } from '../../../src/wire/ike-constants.ts'
import { type SetUp, setUp } from '../../support/virtual-session.ts'
import { RESET } from '../../support/virtual-site.ts'

// Pauses between attempts have a random part.
beforeEach(() => {
  vi.spyOn(Math, 'random').mockReturnValue(0.5)
})
afterEach(() => {
  vi.restoreAllMocks()
})

describe('a session on a stream that would rather be on UDP', () => {
  const blocked = (setUpOptions: SetUp = {}) => {
    const all = setUp({
      ...setUpOptions,
      options: { timings: { ...DEFAULT_SESSION_TIMINGS, udpProbeFirstMs: 4000 }, ...setUpOptions.options }
    })
    Object.assign(all.site.weather.udp, { ike: false })
    return all
  }

  it('takes UDP back once it works', async () => {
    const { connected, of, moved, site, tunnel, clock, finish } = blocked()
    await connected()
    tunnel.startTraffic()
    expect(of('connected')[0]?.transport).toBe('tcp')
    await clock.advance(6000)
    expect(of('path-changed')).toEqual([])
    site.weather.udp.ike = true
    expect(await moved(1)).toBe(true)
    expect(of('path-changed')[0]).toMatchObject({ from: 'tcp', to: 'udp', reason: 'udp-available' })
    expect(of('path-changed')[0]?.outageMs).toBeLessThan(100)
    await clock.advance(1000)
    expect(site.last('tcp').closeCalls).toBe(1)
    await finish()
  })

  it('probes at growing intervals, and leaves nothing open while UDP stays dead', async () => {
    const { connected, site, clock, finish } = blocked()
    await connected()
    const before = site.of('udp').length
    await clock.advance(600_000)
    const probes = site.of('udp').length - before
    expect(probes).toBeGreaterThan(4)
    expect(probes).toBeLessThan(12)
    expect(site.alive.map(({ kind }) => kind)).toEqual(['tcp'])
    await finish()
  })

  it('is back on the stream when the probe is answered but the move is not', async () => {
    const { connected, of, site, tunnel, clock, finish } = blocked()
    await connected()
    tunnel.startTraffic()
    site.weather.udp.ike = true
    // IKE_SA_INIT of the probe passes, everything else over UDP is swallowed.
    site.swallow = (transport, exchangeType) =>
      transport.kind === 'udp' && exchangeType !== ExchangeType.IKE_SA_INIT
    await clock.advance(30_000)
    expect(site.of('udp').length).toBeGreaterThan(1)
    expect(of('path-changed')).toEqual([])
    expect(of('reconnecting')).toEqual([])
    expect(tunnel.transport).toBe(site.of('tcp')[0])
    expect(site.of('tcp')).toHaveLength(1)
    expect(site.sessions.filter(({ state }) => state === 'ESTABLISHED')).toHaveLength(1)
    expect(site.alive.map(({ kind }) => kind)).toEqual(['tcp'])
    await finish()
  })

  it('recovers once, not twice, when the stream dies while UDP is tried', async () => {
    const { connected, of, moved, site, tunnel, clock, finish } = blocked()
    await connected()
    tunnel.startTraffic()
    site.weather.udp.ike = true
    site.swallow = (transport, exchangeType) =>
      transport.kind === 'udp' && exchangeType !== ExchangeType.IKE_SA_INIT
    await clock.until(() => site.last('udp').sent.some(({ exchangeType }) => exchangeType === 37), 60_000)
    site.last('tcp').end(RESET)
    expect(await moved(1)).toBe(true)
    await clock.advance(20_000)
    expect(of('path-changed').map(({ from, to }) => `${from} ${to}`)).toEqual(['tcp tcp'])
    await finish()
  })

  it('never probes when UDP is not wanted, or probing is switched off', async () => {
    for (const options of [
      { order: ['tcp', 'tls'] as const },
      { timings: { ...DEFAULT_SESSION_TIMINGS, udpProbeFirstMs: 0 } }
    ]) {
      const { connected, site, clock, finish } = blocked({ options })
      await connected()
      const before = site.of('udp').length
      await clock.advance(600_000)
      expect(site.of('udp')).toHaveLength(before)
      await finish()
    }
  })
})

describe('a session that is told to reconnect', () => {
  it('climbs from the best transport on and keeps its SA', async () => {
    const { connected, of, moved, session, site, tunnel, clock, finish } = setUp({
      options: { timings: { ...DEFAULT_SESSION_TIMINGS, udpProbeFirstMs: 0 } }
    })
    site.weather.udp.ike = false
    await connected()
    tunnel.startTraffic()
    site.weather.udp.ike = true
    await clock.advance(1000)
    session.reconnect()
    expect(await moved(1)).toBe(true)
    expect(of('path-changed')[0]).toMatchObject({ from: 'tcp', to: 'udp', reason: 'requested' })
    expect(of('reconnecting')).toEqual([])
    expect(site.sessions).toHaveLength(1)
    await finish()
  })

  it('moves when the network changed under it, and only then', async () => {
    const { connected, of, moved, session, tunnel, clock, finish } = setUp()
    await connected()
    tunnel.startTraffic()
    session.networkChanged()
    await clock.advance(3000)
    expect(of('path-changed')).toEqual([])
    tunnel.repinned = true
    session.networkChanged()
    expect(await moved(1)).toBe(true)
    expect(of('path-changed')[0]).toMatchObject({ from: 'udp', to: 'udp', reason: 'network-changed' })
    await finish()
  })
})
