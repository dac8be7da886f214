import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { SystemError, TemporaryError } from '../../../src/errors.ts'
import { ExchangeType } from '../../../src/wire/ike-constants.ts'
import { expectNothingLeft, KINDS, setUp } from '../../support/virtual-session.ts'

// Pauses between attempts have a random part.
beforeEach(() => {
  vi.spyOn(Math, 'random').mockReturnValue(0.5)
})
afterEach(() => {
  vi.restoreAllMocks()
})

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
        outerTls: null,
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
