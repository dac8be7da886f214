import { describe, expect, it } from 'vitest'
import { decodeMessage } from '../../../src/wire/ike-codec.ts'
import { NotifyType } from '../../../src/wire/ike-constants.ts'
import { findNotify } from '../../../src/wire/ike-helpers.ts'
import { setUp } from '../../support/virtual-session.ts'

const SECOND = '203.0.113.2'

describe('a session whose gateway sends it to another', () => {
  it.each(['init', 'auth'] as const)('goes there at once (%s), and says so', async (at) => {
    const { site, connected, of, tunnel, finish } = setUp({
      site: { gateway: { redirect: { to: SECOND, at } } }
    })
    site.addGateway(SECOND)
    await connected()
    expect(of('redirected')).toEqual([{ event: 'redirected', from: '203.0.113.1', to: SECOND, phase: at }])
    expect(tunnel.transport?.path.remote.address).toBe(SECOND)
    // Before anything was sent there.
    expect(tunnel.calls).toContain(`keepOutside ${SECOND}`)
    await finish()
  })

  it('tells the second by whom it was sent', async () => {
    const seen: (Uint8Array | undefined)[] = []
    const { site, connected, finish } = setUp({ site: { gateway: { redirect: { to: SECOND, at: 'init' } } } })
    site.addGateway(SECOND)
    site.onRequest = (transport, message) => {
      const decoded = decodeMessage(message)
      if (transport.address === SECOND && decoded.ok && decoded.message.header.messageId === 0)
        seen.push(findNotify(decoded.message.payloads, NotifyType.REDIRECTED_FROM)?.data)
    }
    await connected()
    expect(seen[0]).toEqual(Uint8Array.of(1, 4, 203, 0, 113, 1))
    await finish()
  })

  it('finds the address of a gateway that is named', async () => {
    const lookUpOther = async (host: string) => (host === 'gw2.example.org' ? [SECOND] : [])
    const { site, connected, tunnel, finish } = setUp({
      site: { gateway: { redirect: { to: 'gw2.example.org', at: 'init' } } },
      environment: { lookUpOther }
    })
    site.addGateway(SECOND)
    await connected()
    expect(tunnel.transport?.path.remote.address).toBe(SECOND)
    await finish()
  })

  it('gives up when it is sent round in circles', async () => {
    const { site, begin, ended, of, state } = setUp({
      site: { gateway: { redirect: { to: SECOND, at: 'init' } } },
      options: { timeoutMs: 10_000 }
    })
    site.addGateway(SECOND, { redirect: { to: '203.0.113.1', at: 'init' } })
    begin()
    await ended(20_000)
    expect(state.error).toMatchObject({ code: 'redirect-loop' })
    expect(of('redirected')).toHaveLength(5)
  })

  it.each(['127.0.0.1', '::1', '0.0.0.0', '224.0.0.1', 'ff02::1', 'fe80::1'])(
    'does not go to %s',
    async (to) => {
      const { begin, ended, state } = setUp({
        site: { gateway: { redirect: { to, at: 'init' } } },
        options: { timeoutMs: 5_000 }
      })
      begin()
      await ended(20_000)
      expect(state.error).toMatchObject({ code: 'redirect-refused' })
    }
  )

  it('stays where it is with --no-redirect', async () => {
    const { connected, of, tunnel, finish } = setUp({
      site: { gateway: { redirect: { to: SECOND, at: 'init' } } },
      options: { redirect: false }
    })
    await connected()
    expect(of('redirected')).toEqual([])
    expect(tunnel.transport?.path.remote.address).toBe('203.0.113.1')
    await finish()
  })

  it('is asked to in the middle: the second is up before the first is left', async () => {
    const { site, clock, connected, moved, of, tunnel, finish } = setUp()
    const second = site.addGateway(SECOND)
    await connected()
    tunnel.startTraffic()
    site.tell((session, now) => void session.redirect(now, SECOND))
    expect(await moved(1)).toBe(true)
    expect(of('path-changed')[0]).toMatchObject({ reason: 'redirected' })
    expect(of('path-changed')[0]?.outageMs).toBeLessThan(100)
    expect(of('reconnecting')).toEqual([])
    expect(second.sessions).toHaveLength(1)
    await clock.advance(5_000)
    // Deleted, as section 5 asks for.
    expect(site.gateway.sessions).toHaveLength(0)
    // What happens to the path there is mended there.
    site.last('udp').end({ code: 'connection-reset', message: 'gone' })
    await clock.advance(5_000)
    expect(site.attempts.slice(-2).every(({ address }) => address === SECOND)).toBe(true)
    await finish()
  })

  it('stays with the first while the second does not answer', async () => {
    const { site, clock, connected, of, finish } = setUp({ options: { timeoutMs: 5_000 } })
    await connected()
    site.swallow = (transport) => transport.address === SECOND
    site.tell((session, now) => void session.redirect(now, SECOND))
    await clock.advance(30_000)
    expect(of('path-changed')).toEqual([])
    expect(of('reconnecting')).toEqual([])
    expect(site.gateway.sessions).toHaveLength(1)
    await finish()
  })

  it('asks the gateway that the user named again when the second is gone', async () => {
    const { site, clock, connected, moved, of, tunnel, finish } = setUp({
      site: { gateway: {} },
      options: { reconnectTimeoutMs: 120_000 }
    })
    site.addGateway(SECOND)
    await connected()
    tunnel.startTraffic()
    site.tell((session, now) => void session.redirect(now, SECOND))
    expect(await moved(1)).toBe(true)
    await clock.advance(2_000)
    site.swallow = (transport) => transport.address === SECOND
    site.last('udp').end({ code: 'connection-reset', message: 'gone' })
    expect(await moved(2, 120_000)).toBe(true)
    expect(of('reconnecting')).toHaveLength(1)
    expect(tunnel.transport?.path.remote.address).toBe('203.0.113.1')
    await finish()
  })
})
