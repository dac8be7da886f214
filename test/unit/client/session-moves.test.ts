import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { DEFAULT_SESSION_TIMINGS } from '../../../src/client/options.ts'
import type { TransportFailure } from '../../../src/transport/types.ts'
import { ExchangeType } from '../../../src/wire/ike-constants.ts'
import { KINDS, type SetUp, setUp } from '../../support/virtual-session.ts'
import { RESET } from '../../support/virtual-site.ts'

// Pauses between attempts have a random part.
beforeEach(() => {
  vi.spyOn(Math, 'random').mockReturnValue(0.5)
})
afterEach(() => {
  vi.restoreAllMocks()
})

const NO_ROUTE: TransportFailure = { code: 'network-unreachable', message: 'No route' }

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
})

describe('a session whose network changes', () => {
  const connectedWithTraffic = async (wanted: SetUp = {}) => {
    const all = setUp(wanted)
    await all.connected()
    all.tunnel.startTraffic()
    await all.clock.advance(1000)
    return all
  }

  it('moves when its address is another one, at once', async () => {
    const { of, moved, session, site, clock, finish } = await connectedWithTraffic()
    session.networkChanged()
    await clock.advance(3000)
    expect(of('path-changed')).toEqual([])
    site.localAddress = '198.51.100.77'
    session.networkChanged()
    expect(await moved(1, 300)).toBe(true)
    expect(of('path-changed')[0]).toMatchObject({ from: 'udp', to: 'udp', reason: 'network-changed' })
    expect(site.last('udp').path.local.address).toBe('198.51.100.77')
    expect(site.sessions).toHaveLength(1)
    await finish()
  })

  it('moves when packets to the gateway go another way, although the address is the same', async () => {
    const { of, moved, session, tunnel, finish } = await connectedWithTraffic()
    tunnel.repinned = true
    session.networkChanged()
    expect(await moved(1, 300)).toBe(true)
    tunnel.repinned = false
    expect(of('path-changed')[0]).toMatchObject({ reason: 'network-changed' })
    await finish()
  })

  it('asks the gateway when everything looks the same, also without traffic, and leaves if it does not answer', async () => {
    const { connected, of, session, site, clock, finish } = setUp()
    await connected()
    session.networkChanged()
    await clock.advance(1000)
    expect(of('liveness')).toMatchObject([{ outcome: 'alive' }])
    await clock.advance(10_000)
    expect(of('path-changed')).toEqual([])
    // Another network with the same addresses, say, in which UDP is dead.
    Object.assign(site.weather.udp, { ike: false, esp: false })
    session.networkChanged()
    expect(await clock.until(() => of('path-changed').length > 0, 3000)).toBe(true)
    expect(of('path-changed')[0]).toMatchObject({ from: 'udp', to: 'tcp' })
    await finish()
  })

  it('does not ask at every hint of a network that is never at rest', async () => {
    const { of, session, clock, finish } = await connectedWithTraffic()
    for (let count = 0; count < 300; count++) {
      session.networkChanged()
      await clock.advance(100)
    }
    expect(of('liveness').length).toBeLessThan(15)
    expect(of('path-changed')).toEqual([])
    await finish()
  })

  it('says so when nothing leads to the gateway any more, and is back as soon as something does', async () => {
    const { of, moved, session, site, tunnel, clock, finish } = await connectedWithTraffic({
      options: { reconnectTimeoutMs: Number.POSITIVE_INFINITY }
    })
    const address = site.localAddress
    site.localAddress = 'none'
    for (const kind of KINDS) Object.assign(site.weather[kind], { open: NO_ROUTE, ike: false, esp: false })
    session.networkChanged()
    await clock.advance(2500)
    expect(of('reconnecting')).toMatchObject([{ reason: 'network-unreachable' }])
    await clock.advance(600_000)
    site.localAddress = address
    for (const kind of KINDS) Object.assign(site.weather[kind], { open: 0, ike: true, esp: true })
    session.networkChanged()
    expect(await moved(1, 300)).toBe(true)
    await clock.advance(2000)
    expect(site.sessions.filter(({ state }) => state === 'ESTABLISHED')).toHaveLength(1)
    expect(tunnel.configured).toHaveLength(1)
    await finish()
  })

  it('asks at once when it wakes up, and moves where it was moved in its sleep', async () => {
    const { connected, of, moved, session, site, clock, finish } = setUp()
    await connected()
    session.woke(60_000)
    await clock.advance(1000)
    expect(of('liveness')).toMatchObject([{ outcome: 'alive' }])
    site.localAddress = '198.51.100.77'
    session.woke(60_000)
    expect(await moved(1, 1500)).toBe(true)
    expect(of('path-changed')[0]).toMatchObject({ reason: 'network-changed' })
    await finish()
  })
})
