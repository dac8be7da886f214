import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { AuthenticationError } from '../../../src/errors.ts'
import { encodeMessage } from '../../../src/wire/ike-codec.ts'
import { ExchangeType, NotifyType } from '../../../src/wire/ike-constants.ts'
import { espSpiToBytes, notify } from '../../../src/wire/ike-helpers.ts'
import { selectors } from '../../support/ike-pair.ts'
import { expectNothingLeft, KINDS, setUp } from '../../support/virtual-session.ts'
import { RESET, type VirtualSite } from '../../support/virtual-site.ts'

// Pauses between attempts have a random part.
beforeEach(() => {
  vi.spyOn(Math, 'random').mockReturnValue(0.5)
})
afterEach(() => {
  vi.restoreAllMocks()
})

/** The gateway deletes every Child SA and keeps the IKE SA. */
function takeChildren(site: VirtualSite): void {
  site.tell((session, now) => {
    for (const { spiIn } of session.info().childSas) session.deleteChild(now, Number.parseInt(spiIn, 16))
  })
}

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
    takeChildren(site)
    await clock.advance(1000)
    expect(tunnel.children.size).toBe(1)
    expect([...tunnel.children]).not.toEqual([before])
    expect(of('reconnecting')).toEqual([])
    await finish()
  })

  it('asks for another Child SA while those of a replaced IKE SA are still there', async () => {
    const { connected, of, session, site, clock, tunnel, finish } = setUp()
    await connected()
    const [before] = tunnel.children
    const old = session.link
    site.restart()
    expect(await clock.until(() => session.link !== old && tunnel.children.size > 1, 60_000)).toBe(true)
    takeChildren(site)
    await clock.until(() => !tunnel.children.has(before ?? 0), 5000)
    await clock.advance(4000)
    expect(tunnel.children.size).toBe(1)
    expect(of('reconnecting')).toHaveLength(1)
    await finish()
  })

  it('asks for another Child SA while the IKE SA is being rekeyed', async () => {
    const { connected, of, session, site, clock, tunnel, finish } = setUp()
    await connected()
    session.link?.driver.input((ike, now) => ike.rekeyIke(now))
    takeChildren(site)
    await clock.advance(4000)
    expect(tunnel.children.size).toBe(1)
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
    takeChildren(site)
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

describe('a session whose gateway has lost its state', () => {
  const orders = [[KINDS], [['udp'] as const], [['tcp', 'tls'] as const]] as const

  it.each(orders)('is set up afresh within two seconds, when there is traffic (%s)', async (order) => {
    const { connected, moved, of, site, clock, tunnel, finish } = setUp({ options: { order } })
    await connected()
    tunnel.startTraffic()
    await clock.advance(20_000)
    site.restart()
    if (order[0] !== 'udp') site.last('tcp').end(RESET)
    expect(await moved(1, 2000)).toBe(true)
    expect(of('reconnecting')).toHaveLength(1)
    expect(of('path-changed')[0]).toMatchObject({ from: order[0], to: order[0] })
    expect(of('path-changed')[0]?.outageMs).toBeLessThan(2000)
    expect(tunnel.configured).toHaveLength(2)
    await clock.advance(5000)
    expect(site.sessions).toHaveLength(1)
    expect(tunnel.children.size).toBe(1)
    await finish()
  })

  it('is kept when that is no more than a rumour', async () => {
    const { connected, of, site, clock, tunnel, finish } = setUp()
    await connected()
    tunnel.startTraffic()
    const { handlers, path } = site.last('udp')
    const header = {
      ...{ spiI: 0n, spiR: 0n, majorVersion: 2, minorVersion: 0, messageId: 0 },
      ...{ exchangeType: ExchangeType.INFORMATIONAL, fromInitiator: true, isResponse: false }
    }
    const payloads = [notify(NotifyType.INVALID_SPI, espSpiToBytes(tunnel.spisOut[0] ?? 0))]
    for (let count = 0; count < 60; count++) {
      handlers?.onIke(encodeMessage({ header, payloads }), path.natT ?? path)
      await clock.advance(1000)
    }
    expect(of('path-changed')).toEqual([])
    expect(of('reconnecting')).toEqual([])
    expect(of('liveness').length).toBeGreaterThan(2)
    expect(of('liveness').length).toBeLessThan(10)
    await finish()
  })
})

describe('a session whose authentication holds for a while only', () => {
  it('is authenticated anew in time, keeping its addresses, and nobody notices', async () => {
    const { connected, of, site, clock, tunnel, finish } = setUp({
      site: { gateway: { authLifetimeMs: 60_000 } }
    })
    await connected()
    tunnel.startTraffic()
    const [first] = site.sessions
    const before = tunnel.espPacketsOut - tunnel.espPacketsIn
    await clock.advance(150_000)
    const changes = of('path-changed')
    for (const change of changes) expect(change).toMatchObject({ to: 'udp', reason: 'reauthentication' })
    expect(changes.length).toBeGreaterThanOrEqual(2)
    expect(changes.length).toBeLessThanOrEqual(5)
    expect(of('reconnecting')).toEqual([])
    expect(site.sessions).toHaveLength(1)
    expect(site.sessions).not.toContain(first)
    expect(tunnel.espPacketsOut - tunnel.espPacketsIn).toBe(before)
    await finish()
  })

  it('goes on with what it has when the gateway does not answer, until that is over', async () => {
    const { connected, of, site, clock, moved, tunnel, finish } = setUp({
      site: { gateway: { authLifetimeMs: 60_000 } }
    })
    await connected()
    tunnel.startTraffic()
    site.swallow = (_, exchangeType) => exchangeType === ExchangeType.IKE_SA_INIT
    await clock.advance(62_000)
    expect(of('reconnecting')).toEqual([])
    await clock.advance(10_000)
    expect(of('reconnecting')).toMatchObject([{ reason: 'deleted-by-peer' }])
    site.swallow = () => false
    expect(await moved(1, 40_000)).toBe(true)
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
    // The gateway is told, also of what it only just agreed to.
    await clock.advance(100)
    expect(site.sessions.filter(({ state: its }) => its === 'ESTABLISHED')).toEqual([])
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

describe('--initial-contact', () => {
  it('is said once, at the beginning of the session, and not when it comes back', async () => {
    const said: number[] = []
    const { site, connected, moved, tunnel, finish } = setUp({ options: { initialContact: true } })
    await connected()
    said.push(site.sessions.filter(({ initialContact }) => initialContact).length)
    tunnel.startTraffic()
    site.restart()
    expect(await moved(1)).toBe(true)
    said.push(site.sessions.filter(({ initialContact }) => initialContact).length)
    expect(said).toEqual([1, 0])
    await finish()
  })

  it('is not said unless asked for', async () => {
    const { site, connected, finish } = setUp()
    await connected()
    expect(site.sessions.filter(({ initialContact }) => initialContact)).toEqual([])
    await finish()
  })
})
