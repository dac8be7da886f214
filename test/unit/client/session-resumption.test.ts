import { describe, expect, it } from 'vitest'
import { TicketVault } from '../../../src/ike/ticket-vault.ts'
import type { ResponderPolicy } from '../../../src/ike/types.ts'
import { responderPolicy } from '../../support/ike-pair.ts'
import { SeededRandom } from '../../support/seeded-random.ts'
import { type SetUp, setUp } from '../../support/virtual-session.ts'

function vault(first: number): TicketVault {
  const key = { id: Uint8Array.of(first, 0, 0, 0), key: new Uint8Array(32).fill(first) }
  return new TicketVault([key], new SeededRandom(first))
}

/** A session with a gateway that gives tickets, and how often it was authenticated to. */
function withTickets(more: SetUp = {}, policy: Partial<ResponderPolicy> = {}) {
  const usual = responderPolicy()
  const counted = { authentications: 0 }
  const all = setUp({
    ...more,
    site: {
      gateway: { tickets: vault(1), ...more.site?.gateway },
      policy: {
        ...policy,
        authenticationFor: (...asked) => {
          counted.authentications++
          return usual.authenticationFor(...asked)
        }
      }
    }
  })
  return { ...all, counted }
}

describe('a session whose gateway gives tickets', () => {
  it('is resumed by a gateway that was restarted, without authentication', async () => {
    const { site, clock, connected, moved, of, tunnel, session, counted, finish } = withTickets()
    await connected()
    tunnel.startTraffic()
    expect(session.link?.ticket).toBeDefined()
    site.restart()
    expect(await moved(1)).toBe(true)
    expect(of('resumed')).toEqual([{ event: 'resumed', gateway: '203.0.113.1' }])
    expect(counted.authentications).toBe(1)
    expect(session.link?.info.byTicket).toBe(true)
    // And once more, with the ticket that it got this time.
    await clock.advance(15_000)
    site.restart()
    expect(await moved(2)).toBe(true)
    expect(of('resumed')).toHaveLength(2)
    expect(counted.authentications).toBe(1)
    await finish()
  })

  it('presents no ticket as long as the gateway may still have the SA, which that would end', async () => {
    const { site, clock, connected, moved, of, tunnel, counted, finish } = withTickets({
      options: { reconnectTimeoutMs: 600_000 }
    })
    await connected()
    tunnel.startTraffic()
    const [session] = site.sessions
    for (const kind of ['udp', 'tcp', 'tls'] as const)
      Object.assign(site.weather[kind], { ike: false, esp: false })
    await clock.advance(40_000)
    expect(of('reconnecting')).toHaveLength(1)
    for (const kind of ['udp', 'tcp', 'tls'] as const)
      Object.assign(site.weather[kind], { ike: true, esp: true })
    expect(await moved(1)).toBe(true)
    expect(of('resumed')).toEqual([])
    expect(counted.authentications).toBeLessThanOrEqual(2)
    expect(session?.state).toBe('ESTABLISHED')
    await finish()
  })

  it.each([
    ['another key', { gateway: { tickets: vault(2) } }],
    ['no tickets', { gateway: { tickets: undefined } }]
  ])('is authenticated anew by a gateway that came back with %s', async (_what, changes) => {
    const { site, connected, moved, of, tunnel, counted, finish } = withTickets()
    await connected()
    tunnel.startTraffic()
    site.restart(changes)
    expect(await moved(1)).toBe(true)
    expect(of('resumed')).toEqual([])
    expect(counted.authentications).toBe(2)
    await finish()
  })

  it('is authenticated anew after the gateway has deleted it', async () => {
    const { site, clock, connected, moved, of, tunnel, counted, finish } = withTickets()
    await connected()
    tunnel.startTraffic()
    await clock.advance(15_000)
    site.tell((session, now) => session.close(now))
    expect(await moved(1)).toBe(true)
    expect(of('resumed')).toEqual([])
    expect(counted.authentications).toBe(2)
    await finish()
  })

  it('is authenticated anew when whoever it was is not let in by ticket any more', async () => {
    const { site, connected, moved, of, tunnel, counted, finish } = withTickets({}, { admits: () => false })
    await connected()
    tunnel.startTraffic()
    site.restart()
    expect(await moved(1)).toBe(true)
    expect(of('resumed')).toEqual([])
    expect(counted.authentications).toBe(2)
    await finish()
  })

  it('asks for none with --no-resume', async () => {
    const { site, connected, moved, of, tunnel, session, counted, finish } = withTickets({
      options: { resume: false }
    })
    await connected()
    tunnel.startTraffic()
    expect(session.link?.ticket).toBeUndefined()
    site.restart()
    expect(await moved(1)).toBe(true)
    expect(of('resumed')).toEqual([])
    expect(counted.authentications).toBe(2)
    await finish()
  })

  it('does not present a ticket that has expired', async () => {
    const { site, clock, connected, moved, of, tunnel, session, counted, finish } = withTickets({
      options: { reconnectTimeoutMs: 3_600_000 }
    })
    await connected()
    const { ticket } = session.link ?? {}
    expect(ticket).toBeDefined()
    tunnel.startTraffic()
    Object.assign(ticket ?? {}, { expiresAt: clock.now() })
    site.restart()
    expect(await moved(1)).toBe(true)
    expect(of('resumed')).toEqual([])
    expect(counted.authentications).toBe(2)
    await finish()
  })

  it('overwrites the key of a ticket with its session', async () => {
    const { connected, session, finish } = withTickets()
    await connected()
    const skD = session.link?.ticket?.skD
    expect(skD?.some((byte) => byte !== 0)).toBe(true)
    await finish()
    expect(skD?.every((byte) => byte === 0)).toBe(true)
  })
})
