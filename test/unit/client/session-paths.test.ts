import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { DEFAULT_SESSION_TIMINGS } from '../../../src/client/options.ts'
import { ExchangeType } from '../../../src/wire/ike-constants.ts'
import { readMessageHeader } from '../../../src/wire/ike-header.ts'
import { expectNothingLeft, KINDS, setUp } from '../../support/virtual-session.ts'
import { REFUSED, RESET } from '../../support/virtual-site.ts'

// Pauses between attempts have a random part.
beforeEach(() => {
  vi.spyOn(Math, 'random').mockReturnValue(0.5)
})
afterEach(() => {
  vi.restoreAllMocks()
})

describe('a session whose stream breaks', () => {
  const onStreams = { options: { order: ['tcp', 'tls'] as const } }

  it('goes on over a new connection with the same SA, and says how long the break was', async () => {
    const { connected, of, moved, site, tunnel, clock, finish } = setUp(onStreams)
    await connected()
    tunnel.startTraffic()
    await clock.advance(2000)
    site.last('tcp').end(RESET)
    expect(await moved(1)).toBe(true)
    expect(of('path-changed')[0]).toMatchObject({ from: 'tcp', to: 'tcp', reason: 'connection-reset' })
    expect(of('path-changed')[0]?.outageMs).toBeLessThan(300)
    expect(site.of('tcp')).toHaveLength(2)
    expect(tunnel.transport).toBe(site.last('tcp'))
    expect(of('reconnecting')).toEqual([])
    expect(site.sessions).toHaveLength(1)
    await finish()
  })

  it('moves to the next transport when the first is refused', async () => {
    const { connected, of, moved, site, tunnel, finish } = setUp(onStreams)
    await connected()
    tunnel.startTraffic()
    site.weather.tcp.open = REFUSED
    site.last('tcp').end(RESET)
    expect(await moved(1)).toBe(true)
    expect(of('path-changed')[0]).toMatchObject({ from: 'tcp', to: 'tls' })
    await finish()
  })

  it('notices a stream that ends right behind the answer that brought it up', async () => {
    const { connected, of, moved, site, finish } = setUp(onStreams)
    let isFirst = true
    site.onAnswer = (transport, message) => {
      if (!isFirst || readMessageHeader(message).header.exchangeType !== ExchangeType.IKE_AUTH) return
      isFirst = false
      transport.end({ code: 'closed-by-peer', message: 'The peer closed the connection' })
    }
    await connected()
    expect(await moved(1, 5000)).toBe(true)
    expect(of('path-changed')[0]).toMatchObject({ from: 'tcp', to: 'tcp', reason: 'closed-by-peer' })
    expect(site.alive).toHaveLength(1)
    await finish()
  })

  it.each([
    [true, 0],
    [false, 1]
  ])('keeps its SA if a dying gateway takes one more connection: a cluster %s', async (haSync, fresh) => {
    const { connected, of, moved, site, clock, finish } = setUp({
      options: { order: ['tcp'] },
      site: { gateway: { haSync } }
    })
    await connected()
    site.weather.tcp.ike = false
    site.last('tcp').end(RESET)
    expect(await clock.until(() => site.of('tcp').length === 2, 1000)).toBe(true)
    site.last('tcp').end({ code: 'closed-by-peer', message: 'The peer closed the connection' })
    await clock.settle()
    site.weather.tcp.ike = true
    expect(await moved(1)).toBe(true)
    expect(of('reconnecting')).toHaveLength(fresh)
    await finish()
  })

  it('sets a fresh SA up when no path carries the old one, asking for the same addresses', async () => {
    const { connected, of, moved, site, tunnel, clock, finish } = setUp(onStreams)
    await connected()
    site.restart()
    site.last('tcp').end(RESET)
    expect(await moved(1)).toBe(true)
    expect(of('reconnecting')).toHaveLength(1)
    expect(of('reconnecting')[0]).toMatchObject({ reason: 'connection-reset' })
    expect(tunnel.configured).toHaveLength(2)
    expect(of('connected')).toHaveLength(1)
    expect(site.sessions).toHaveLength(1)
    await clock.advance(10_000)
    // What the gateway has forgotten is not kept here either.
    expect(tunnel.children.size).toBe(1)
    await finish()
  })

  it('ends with the last error when it cannot come back in time', async () => {
    const { connected, of, ended, state, site, clock } = setUp({
      options: { order: ['tcp', 'tls'], timeoutMs: 20_000 }
    })
    await connected()
    for (const kind of KINDS) site.weather[kind].open = REFUSED
    const at = clock.now()
    site.last('tcp').end(RESET)
    await ended(60_000)
    expect(clock.now() - at).toBeLessThan(25_000)
    expect(state.error).toMatchObject({ exitCode: expect.any(Number) })
    expect(of('disconnected')[0]).toMatchObject({ reason: 'error' })
    await expectNothingLeft(site)
  })

  it('keeps trying with --persist, also for the first time', async () => {
    const persisting = { options: { timeoutMs: Number.POSITIVE_INFINITY } }
    const { begin, clock, state, of, site, finish, moved } = setUp(persisting)
    for (const kind of KINDS) site.weather[kind].ike = false
    begin()
    await clock.advance(1_800_000)
    expect(state.isOver).toBe(false)
    for (const kind of KINDS) site.weather[kind].ike = true
    expect(await clock.until(() => of('connected').length > 0, 120_000)).toBe(true)
    for (const kind of KINDS) site.weather[kind].ike = false
    site.last('udp').end({ code: 'network-unreachable', message: 'No route' })
    await clock.advance(1_800_000)
    expect(state.isOver).toBe(false)
    for (const kind of KINDS) site.weather[kind].ike = true
    expect(await moved(1, 120_000)).toBe(true)
    await finish()
  })
})

describe('a session whose path falls silent', () => {
  it('moves to a stream when the peer is silent on UDP', async () => {
    const { connected, of, moved, site, tunnel, clock, finish } = setUp()
    await connected()
    tunnel.startTraffic()
    await clock.advance(1000)
    Object.assign(site.weather.udp, { ike: false, esp: false })
    expect(await moved(1)).toBe(true)
    expect(of('path-changed')[0]).toMatchObject({ from: 'udp', to: 'tcp', reason: 'peer-silent' })
    expect(of('path-changed')[0]?.outageMs).toBeLessThan(2000)
    expect(of('reconnecting')).toEqual([])
    await finish()
  })

  it('moves when a liveness check of the IKE engine is not answered', async () => {
    const { connected, of, moved, site, tunnel, clock, finish } = setUp({
      options: { timers: { livenessMs: 10_000 } }
    })
    await connected()
    Object.assign(site.weather.udp, { ike: false, esp: false })
    // Nothing that anybody would have to answer.
    tunnel.espPacketsOut++
    const at = clock.now()
    expect(await moved(1)).toBe(true)
    expect(clock.now() - at).toBeLessThan(13_000)
    expect(of('path-changed')[0]).toMatchObject({ from: 'udp', to: 'tcp', reason: 'peer-silent' })
    await finish()
  })

  it('leaves a path on which IKE is answered but ESP is not', async () => {
    const { connected, of, moved, site, tunnel, finish } = setUp()
    site.weather.udp.esp = false
    await connected()
    tunnel.startTraffic()
    expect(await moved(1)).toBe(true)
    expect(of('path-changed')[0]).toMatchObject({ from: 'udp', to: 'tcp', reason: 'esp-silent' })
    expect(tunnel.transport?.kind).toBe('tcp')
    await finish()
  })

  it('takes the best path back when nobody inside answers over any, and asks no more', async () => {
    const { connected, of, moved, site, tunnel, clock, finish } = setUp()
    for (const kind of ['udp', 'tcp', 'tls'] as const) site.weather[kind].esp = false
    await connected()
    // Three questions to a name server that is not there, on each path.
    tunnel.expectingOut += 3
    expect(await moved(1)).toBe(true)
    tunnel.expectingOut += 3
    expect(await moved(2)).toBe(true)
    expect(of('path-changed').map(({ from, to }) => `${from} ${to}`)).toEqual(['udp tcp', 'tcp udp'])
    expect(of('path-changed')[1]?.reason).toBe('no-better-path')
    expect(tunnel.calls).toContain('ignore-probes')
    await clock.advance(120_000)
    expect(of('path-changed')).toHaveLength(2)
    expect(tunnel.transport?.kind).toBe('udp')
    await finish()
  })

  it('stays where it is, ever more patiently, when no other path carries ESP either', async () => {
    const { connected, of, site, tunnel, clock, state, finish } = setUp({ options: { order: ['udp'] } })
    site.weather.udp.esp = false
    await connected()
    tunnel.startTraffic()
    const asksIn = async (durationMs: number): Promise<number> => {
      const before = site.last('udp').sent.length
      await clock.advance(durationMs)
      return site.last('udp').sent.length - before
    }
    const early = await asksIn(60_000)
    const late = await asksIn(60_000)
    expect(early).toBeGreaterThan(late)
    expect(of('path-changed')).toEqual([])
    expect(state.isOver).toBe(false)
    // As soon as ESP passes, all is well.
    site.weather.udp.esp = true
    await clock.advance(1000)
    expect(tunnel.espPacketsIn).toBeGreaterThan(0)
    await finish()
  })

  it('still has an IKE SA that can ask when it stays because no other path has it', async () => {
    const { connected, of, session, site, clock, tunnel, finish } = setUp()
    tunnel.witness = true
    await connected()
    tunnel.startTraffic()
    await clock.advance(2000)
    site.weather.udp.esp = false
    for (const kind of ['tcp', 'tls'] as const) site.weather[kind].ike = false
    const { length } = site.transports
    expect(await clock.until(() => site.transports.length > length, 10_000)).toBe(true)
    await clock.advance(5000)
    site.weather.udp.esp = true
    await clock.advance(30_000)
    expect(of('reconnecting')).toEqual([])
    expect(tunnel.transport?.kind).toBe('udp')
    const before = of('liveness').length
    session.link?.driver.input((ike, now) => ike.checkLiveness(now))
    await clock.advance(1000)
    expect(of('liveness').length).toBeGreaterThan(before)
    await finish()
  })

  it('does not change anything while an idle tunnel has nothing to say', async () => {
    const { connected, of, clock, finish, site } = setUp()
    await connected()
    await clock.advance(600_000)
    expect(of('path-changed')).toEqual([])
    expect(site.transports).toHaveLength(1)
    await finish()
  })
})

describe('a session on which ESP alone falls silent', () => {
  it('leaves the path although IKE is answered, when somebody is silent who used to answer', async () => {
    const { connected, of, moved, site, tunnel, clock, finish } = setUp()
    tunnel.witness = true
    await connected()
    tunnel.startTraffic()
    await clock.advance(3000)
    site.weather.udp.esp = false
    expect(await moved(1, 3000)).toBe(true)
    expect(of('path-changed')[0]).toMatchObject({ from: 'udp', to: 'tcp', reason: 'esp-silent' })
    expect(of('path-changed')[0]?.outageMs).toBeLessThan(2800)
    expect(of('reconnecting')).toEqual([])
    expect(tunnel.configured).toHaveLength(1)
    await finish()
  })

  it('sets a fresh SA up where the ESP of the gateway does not follow', async () => {
    const { connected, of, moved, site, tunnel, clock, finish } = setUp()
    tunnel.witness = true
    tunnel.follows = false
    await connected()
    tunnel.startTraffic()
    await clock.advance(3000)
    site.weather.udp.esp = false
    const at = clock.now()
    expect(await clock.until(() => tunnel.configured.length === 2, 4000)).toBe(true)
    expect(clock.now() - at).toBeLessThan(3000)
    expect(await moved(1, 1000)).toBe(true)
    expect(tunnel.transport?.kind).toBe('tcp')
    const before = tunnel.espPacketsIn
    await clock.advance(3000)
    expect(tunnel.espPacketsIn).toBeGreaterThan(before + 100)
    expect(site.sessions).toHaveLength(1)
    expect(of('path-changed').length).toBeLessThanOrEqual(2)
    await finish()
  })

  it('stays for a host that does not answer, while others do', async () => {
    const { connected, of, tunnel, clock, finish } = setUp()
    tunnel.witness = true
    await connected()
    tunnel.startTraffic()
    await clock.advance(3000)
    tunnel.unheard = true
    await clock.advance(300_000)
    expect(of('path-changed')).toEqual([])
    await finish()
  })

  it('looks once, and not again, when the only one who ever answers inside has gone', async () => {
    const { connected, of, tunnel, site, clock, finish } = setUp()
    tunnel.witness = true
    await connected()
    tunnel.startTraffic()
    await clock.advance(3000)
    tunnel.unheard = true
    for (const kind of KINDS) site.weather[kind].esp = false
    await clock.advance(30_000)
    const looks = of('path-changed').length
    expect(looks).toBeLessThanOrEqual(4)
    expect(tunnel.transport?.kind).toBe('udp')
    await clock.advance(600_000)
    expect(of('path-changed')).toHaveLength(looks)
    // Afterwards everything is as before.
    tunnel.unheard = false
    for (const kind of KINDS) site.weather[kind].esp = true
    await clock.advance(30_000)
    site.weather.udp.esp = false
    expect(await clock.until(() => tunnel.transport?.kind === 'tcp', 60_000)).toBe(true)
    await finish()
  })

  it('is back on the stream that it has not closed yet, when UDP turns out to carry no ESP', async () => {
    const { connected, of, site, tunnel, clock, finish } = setUp({
      options: { timings: { ...DEFAULT_SESSION_TIMINGS, udpProbeFirstMs: 4000 } }
    })
    Object.assign(site.weather.udp, { ike: false, esp: false })
    await connected()
    tunnel.startTraffic()
    await clock.advance(2000)
    site.weather.udp.ike = true
    expect(await clock.until(() => of('path-changed').length > 0, 20_000)).toBe(true)
    expect(of('path-changed')[0]).toMatchObject({ to: 'tcp', reason: 'esp-silent' })
    expect(of('path-changed')[0]?.outageMs).toBeLessThan(1500)
    expect(site.of('tcp')).toHaveLength(1)
    expect(tunnel.transport).toBe(site.last('tcp'))
    expect(tunnel.configured).toHaveLength(1)
    await clock.advance(120_000)
    expect(of('path-changed')).toHaveLength(1)
    await finish()
  })
})

describe('a session whose stream takes nothing any more', () => {
  it('leaves it, although nothing can be missed', async () => {
    const { connected, of, moved, site, tunnel, clock, finish } = setUp({
      options: { order: ['tcp', 'tls'] }
    })
    await connected()
    tunnel.startTraffic()
    await clock.advance(2000)
    tunnel.stopTraffic()
    // A zero window: nothing is sent, hence nothing unanswered.
    tunnel.blocked = true
    site.weather.tcp.ike = false
    expect(await clock.until(() => tunnel.transport?.kind === 'tls', 4000)).toBe(true)
    tunnel.blocked = false
    expect(await moved(1)).toBe(true)
    expect(of('path-changed')[0]).toMatchObject({ from: 'tcp', to: 'tls', reason: 'peer-silent' })
    await finish()
  })
})
