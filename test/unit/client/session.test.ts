import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { ClientEvent } from '../../../src/client/events.ts'
import { type ConnectOptions, DEFAULT_SESSION_TIMINGS } from '../../../src/client/options.ts'
import { VpnSession } from '../../../src/client/session.ts'
import { AuthenticationError, SystemError, TemporaryError } from '../../../src/errors.ts'
import { ExchangeType } from '../../../src/wire/ike-constants.ts'
import { readMessageHeader } from '../../../src/wire/ike-header.ts'
import { selectors } from '../../support/ike-pair.ts'
import { connectOptions, type Overrides, sessionEnvironment } from '../../support/virtual-client.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'
import { REFUSED, RESET, type SiteOptions, VirtualSite } from '../../support/virtual-site.ts'

// Pauses between attempts have a random part.
beforeEach(() => {
  vi.spyOn(Math, 'random').mockReturnValue(0.5)
})
afterEach(() => {
  vi.restoreAllMocks()
})

const KINDS = ['udp', 'tcp', 'tls'] as const

interface SetUp {
  readonly options?: Partial<ConnectOptions>
  readonly site?: SiteOptions
  readonly environment?: Overrides
}

function setUp(wanted: SetUp = {}) {
  const site = new VirtualSite(new VirtualClock(), wanted.site)
  const options = connectOptions(wanted.options)
  const { environment, tunnel, events } = sessionEnvironment(site, options, wanted.environment)
  const session = new VpnSession(options, environment)
  const state: { isOver: boolean; error: unknown } = { isOver: false, error: undefined }
  const begin = () => {
    void session.run().then(
      () => {
        state.isOver = true
      },
      (error: unknown) => {
        state.error = error
        state.isOver = true
      }
    )
  }
  const of = <E extends ClientEvent['event']>(name: E) =>
    events.filter((event): event is Extract<ClientEvent, { event: E }> => event.event === name)
  const { clock } = site
  const connected = async () => {
    begin()
    expect(await clock.until(() => of('connected').length > 0, 60_000)).toBe(true)
  }
  const ended = async (limitMs: number) => {
    expect(await clock.until(() => state.isOver, limitMs)).toBe(true)
  }
  const moved = (count: number, limitMs = 60_000) =>
    clock.until(() => of('path-changed').length >= count, limitMs)
  /** Ends it and looks for what was left behind. */
  const finish = async () => {
    session.stop()
    tunnel.stopTraffic()
    await ended(4000)
    await expectNothingLeft(site)
    expect(events.at(-1)?.event).toBe('disconnected')
    expect(of('disconnected')).toHaveLength(1)
  }
  return { site, clock, options, tunnel, events, session, state, begin, of, connected, ended, moved, finish }
}

/** No timer, no transport, and each was closed once at most (those that broke need not be). */
async function expectNothingLeft(site: VirtualSite): Promise<void> {
  site.tell((session) => session.replaced())
  await site.clock.advance(1000)
  expect(site.alive.map(({ kind }) => kind)).toEqual([])
  site.restart()
  await site.clock.advance(600_000)
  expect(site.clock.armed).toBe(0)
}

describe('a session', () => {
  it('comes up, says so once with everything that there is to know, and ends when asked', async () => {
    const { connected, of, finish, site, session, tunnel } = setUp()
    await connected()
    expect(session.connected).toBe(true)
    expect(of('connected')).toEqual([
      {
        event: 'connected',
        transport: 'udp',
        via: null,
        gateway: '203.0.113.1',
        gatewayId: 'gw.example.org',
        virtualIps: ['10.9.0.5', 'fd09::5'],
        dns: ['10.9.0.1'],
        interface: 'ike7',
        mtu: 1400,
        remoteTs: ['10.0.0.0/8'],
        ikeSuite: expect.stringMatching(/^aes/),
        espSuite: expect.stringMatching(/^aes/),
        cluster: true,
        elapsedMs: expect.any(Number)
      }
    ])
    expect(tunnel.transport).toBe(site.last('udp'))
    expect(site.sessions).toHaveLength(1)
    await finish()
    expect(of('disconnected')[0]).toMatchObject({ reason: 'requested', bytesIn: 0, bytesOut: 0 })
  })

  it('sends DELETE when it ends, and waits for the answer', async () => {
    const { connected, session, site, ended, clock } = setUp()
    await connected()
    const before = site.last('udp').sent.length
    session.stop()
    const at = clock.now()
    await ended(4000)
    expect(clock.now() - at).toBeLessThan(100)
    expect(
      site
        .last('udp')
        .sent.slice(before)
        .map(({ exchangeType }) => exchangeType)
    ).toContain(ExchangeType.INFORMATIONAL)
    expect(site.sessions).toHaveLength(0)
    expect(site.last('udp').closeCalls).toBe(1)
  })

  it('does not wait for ever for a gateway that does not answer the DELETE', async () => {
    const { connected, session, site, ended } = setUp()
    await connected()
    site.weather.udp.ike = false
    session.stop()
    await ended(2000)
    await expectNothingLeft(site)
  })

  it('sends keepalives through NATs while it is on UDP', async () => {
    const { connected, site, clock, finish } = setUp()
    await connected()
    await clock.advance(65_000)
    expect(site.last('udp').keepalives).toBe(3)
    await finish()
  })
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
    expect(of('path-changed')[0]?.outageMs).toBeLessThan(3000)
    expect(of('reconnecting')).toEqual([])
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

  it('does not change anything while an idle tunnel has nothing to say', async () => {
    const { connected, of, clock, finish, site } = setUp()
    await connected()
    await clock.advance(600_000)
    expect(of('path-changed')).toEqual([])
    expect(site.transports).toHaveLength(1)
    await finish()
  })
})

describe('a session that the gateway ends', () => {
  it('sets a fresh one up with the addresses that it had', async () => {
    const requests: string[][] = []
    const { connected, of, moved, site, clock, tunnel, finish } = setUp({
      site: {
        policy: {
          assign: (_, wanted) => {
            requests.push(wanted.map(({ value }) => Buffer.from(value).toString('hex')))
            return {
              addresses: [{ address: '10.9.0.5', prefixLength: 32 }],
              dns: [],
              dnsDomains: [],
              subnets: []
            }
          }
        }
      }
    })
    await connected()
    await clock.advance(20_000)
    site.tell((session, now) => session.close(now))
    expect(await moved(1)).toBe(true)
    expect(of('reconnecting')[0]).toMatchObject({ reason: 'deleted-by-peer' })
    expect(requests).toHaveLength(2)
    expect(requests[0]).not.toContain('0a090005')
    expect(requests[1]).toContain('0a090005')
    expect(tunnel.children.size).toBe(1)
    expect(of('connected')).toHaveLength(1)
    await finish()
  })

  it('does not hammer a gateway that ends every SA at once', async () => {
    const { connected, of, site, clock, finish } = setUp()
    await connected()
    for (let second = 0; second < 60; second++) {
      site.tell((session, now) => session.close(now))
      await clock.advance(1000)
    }
    expect(of('reconnecting').length).toBeGreaterThan(1)
    expect(of('reconnecting').length).toBeLessThan(15)
    await finish()
  })

  it('asks for another Child SA when the gateway only takes that away', async () => {
    const { connected, of, site, clock, tunnel, finish } = setUp()
    await connected()
    const [before] = tunnel.children
    site.tell((session, now) => {
      for (const { spiIn } of session.info().childSas) session.deleteChild(now, Number.parseInt(spiIn, 16))
    })
    await clock.advance(1000)
    expect(tunnel.children.size).toBe(1)
    expect([...tunnel.children]).not.toEqual([before])
    expect(of('reconnecting')).toEqual([])
    await finish()
  })

  it('sets a fresh SA up when the gateway takes the Child SA away and refuses another', async () => {
    const networks = selectors('10.0.0.0/8')
    const { connected, of, moved, site, clock, tunnel, finish } = setUp({
      site: { policy: { localTs: networks } }
    })
    await connected()
    const taken = networks.splice(0)
    site.tell((session, now) => {
      for (const { spiIn } of session.info().childSas) session.deleteChild(now, Number.parseInt(spiIn, 16))
    })
    await clock.advance(3000)
    expect(tunnel.children.size).toBe(0)
    expect(of('reconnecting')).toEqual([])
    networks.push(...taken)
    expect(await moved(1, 10_000)).toBe(true)
    expect(of('reconnecting')[0]).toMatchObject({ reason: 'rejected' })
    expect(tunnel.children.size).toBe(1)
    await clock.advance(1000)
    expect(site.sessions).toHaveLength(1)
    await finish()
  })

  it('stops trying when the gateway no longer accepts the credentials', async () => {
    const { connected, of, ended, site, clock, state } = setUp()
    await connected()
    await clock.advance(20_000)
    site.tell((session, now) => session.close(now))
    site.restart({ policy: { authenticationFor: () => undefined } })
    await ended(60_000)
    expect(state.error).toBeInstanceOf(AuthenticationError)
    expect(of('disconnected')).toHaveLength(1)
    await expectNothingLeft(site)
  })
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

describe('stopping', () => {
  it.each(
    KINDS.flatMap((kind) => [0, 3, 7, 12, 500, 1200, 2600, 3300].map((afterMs) => [kind, afterMs] as const))
  )('ends within bounds while it comes up (only %s works, after %i ms)', async (kind, afterMs) => {
    const { begin, clock, session, ended, state, events, site } = setUp()
    for (const other of KINDS) site.weather[other].ike = other === kind
    begin()
    await clock.advance(afterMs)
    const wasConnected = session.connected
    session.stop()
    await ended(3500)
    expect(state.error).toBeUndefined()
    expect(events.some(({ event }) => event === 'disconnected')).toBe(wasConnected)
    // The gateway is told.
    await clock.advance(100)
    if (wasConnected) expect(site.sessions).toEqual([])
    await expectNothingLeft(site)
  })

  it.each([0, 100, 700, 1500, 2200, 4000, 9000])(
    'ends within bounds while it looks for another path (after %i ms)',
    async (afterMs) => {
      const { connected, clock, session, ended, site, events, tunnel } = setUp()
      await connected()
      tunnel.startTraffic()
      for (const kind of KINDS) site.weather[kind].ike = false
      site.last('udp').end({ code: 'io-error', message: 'The socket failed' })
      await clock.advance(afterMs)
      session.stop()
      tunnel.stopTraffic()
      await ended(3500)
      expect(events.at(-1)?.event).toBe('disconnected')
      const count = events.length
      await expectNothingLeft(site)
      expect(events).toHaveLength(count)
    }
  )

  it('ends while a name is looked up', async () => {
    const { begin, clock, session, ended, state } = setUp({
      environment: {
        lookUp: (signal) =>
          new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('given up'))))
      }
    })
    begin()
    await clock.advance(1000)
    session.stop()
    await ended(0)
    expect(state.error).toBeUndefined()
  })

  it('ends while it is still looking up what it remembers of the network', async () => {
    const { begin, clock, session, ended, state } = setUp({
      options: { rememberNetworks: true },
      environment: { recall: () => new Promise(() => undefined) }
    })
    begin()
    await clock.advance(1000)
    session.stop()
    await ended(0)
    expect(state.error).toBeUndefined()
  })

  it('ends in the middle of a move without an event behind the last', async () => {
    for (let afterMs = 0; afterMs < 600; afterMs += 45) {
      const { connected, clock, session, ended, site, events, tunnel } = setUp()
      await connected()
      tunnel.startTraffic()
      site.last('udp').end(RESET)
      await clock.advance(afterMs)
      session.stop()
      tunnel.stopTraffic()
      await ended(3500)
      expect(events.at(-1)?.event).toBe('disconnected')
      const count = events.length
      await clock.advance(60_000)
      expect(events).toHaveLength(count)
      expect(site.alive).toEqual([])
    }
  })

  it('may be asked for twice, and before it began', async () => {
    const { session, begin, ended, state, site } = setUp()
    session.stop()
    session.stop('again')
    begin()
    await ended(0)
    expect(state.error).toBeUndefined()
    expect(site.attempts).toEqual([])
  })
})

describe('what can go wrong around a session', () => {
  it('gives up within --timeout', async () => {
    const { begin, ended, state, site, clock, events } = setUp({ options: { timeoutMs: 6000 } })
    for (const kind of KINDS) site.weather[kind].ike = false
    begin()
    const at = clock.now()
    await ended(60_000)
    expect(clock.now() - at).toBe(6000)
    expect(state.error).toBeInstanceOf(TemporaryError)
    expect(events.map(({ event }) => event)).not.toContain('disconnected')
    await expectNothingLeft(site)
  })

  it('leaves nothing open when the system refuses addresses or routes', async () => {
    const { begin, ended, state, site, tunnel } = setUp()
    tunnel.configuring = () => Promise.reject(new SystemError('routes', 'Routes cannot be set.'))
    begin()
    await ended(60_000)
    expect(state.error).toBeInstanceOf(SystemError)
    await expectNothingLeft(site)
  })

  it('leaves nothing open when that happens with a fresh SA either', async () => {
    const { connected, ended, state, site, tunnel, clock } = setUp()
    await connected()
    await clock.advance(20_000)
    tunnel.configuring = () => Promise.reject(new SystemError('routes', 'Routes cannot be set.'))
    site.weather.udp.esp = false
    // The SA does not follow to a stream, so that a fresh one is set up beside it.
    site.swallow = (transport, exchangeType) =>
      transport.kind !== 'udp' && exchangeType === ExchangeType.INFORMATIONAL
    tunnel.startTraffic()
    await ended(60_000)
    tunnel.stopTraffic()
    expect(state.error).toBeInstanceOf(SystemError)
    await expectNothingLeft(site)
  })

  it('begins with what worked last on this network, and remembers what works', async () => {
    const remembered: string[] = []
    const { connected, of, site, finish } = setUp({
      options: { rememberNetworks: true },
      environment: {
        recall: async () => ({ transport: 'tls' }),
        remember: async (transport, address) => {
          remembered.push(`${transport} ${address}`)
        }
      }
    })
    site.weather.udp.ike = false
    site.weather.tcp.ike = false
    await connected()
    expect(of('connected')[0]).toMatchObject({ transport: 'tls', elapsedMs: expect.any(Number) })
    expect(of('connected')[0]?.elapsedMs).toBeLessThan(1000)
    expect(remembered).toEqual(['tls 203.0.113.1'])
    await finish()
  })
})
