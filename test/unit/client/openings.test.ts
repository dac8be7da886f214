import { describe, expect, it } from 'vitest'
import { type Candidate, type Opened, Openings } from '../../../src/client/openings.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'
import { REFUSED, VirtualSite } from '../../support/virtual-site.ts'

const GRACE_MS = 300
const UDP: Candidate = { kind: 'udp', address: '203.0.113.1' }
const TCP: Candidate = { kind: 'tcp', address: '203.0.113.1' }
const TLS: Candidate = { kind: 'tls', address: '203.0.113.1' }

function setUp(candidates: readonly Candidate[], open?: (candidate: Candidate) => Promise<Opened>) {
  const clock = new VirtualClock()
  const site = new VirtualSite(clock)
  const abort = new AbortController()
  const start = () =>
    new Openings(candidates, open ?? ((candidate) => site.open(candidate, abort.signal)), clock, GRACE_MS)
  return { clock, site, start }
}

describe('openings', () => {
  it('opens all side by side and hands them out best first', async () => {
    const { site, start } = setUp([UDP, TCP, TLS])
    const openings = start()
    expect(site.attempts).toEqual([UDP, TCP, TLS])
    expect((await openings.next())?.candidate).toBe(UDP)
    expect((await openings.next())?.candidate).toBe(TCP)
    expect((await openings.next())?.candidate).toBe(TLS)
    expect(await openings.next()).toBeUndefined()
  })

  it('waits a while for a better one that is still opening', async () => {
    const { clock, site, start } = setUp([TCP, TLS])
    site.weather.tcp.open = 200
    const openings = start()
    const first = openings.next()
    await clock.advance(200)
    expect((await first)?.candidate).toBe(TCP)
  })

  it('takes the worse one once the grace is over, and the better one later', async () => {
    const { clock, site, start } = setUp([TCP, TLS])
    site.weather.tcp.open = 1000
    const openings = start()
    const first = openings.next()
    let taken: Candidate | undefined
    void first.then((opened) => {
      taken = opened?.candidate
    })
    await clock.advance(GRACE_MS - 1)
    expect(taken).toBeUndefined()
    await clock.advance(1)
    expect(taken).toBe(TLS)
    const second = openings.next()
    await clock.advance(1000)
    expect((await second)?.candidate).toBe(TCP)
    expect(clock.armed).toBe(0)
  })

  it('does not wait for a better one that has failed', async () => {
    const { site, start } = setUp([TCP, TLS])
    site.weather.tcp.open = REFUSED
    expect((await start().next())?.candidate).toBe(TLS)
  })

  it('yields nothing when everything failed, and nothing for no candidates', async () => {
    const { site, start } = setUp([TCP, TLS])
    site.weather.tcp.open = REFUSED
    site.weather.tls.open = REFUSED
    expect(await start().next()).toBeUndefined()
    expect(await setUp([]).start().next()).toBeUndefined()
  })

  it('closes what was not handed out, once, and leaves alone what was', async () => {
    const { site, start } = setUp([UDP, TCP])
    const openings = start()
    const taken = await openings.next()
    openings.close()
    openings.close()
    expect(site.last('tcp').closeCalls).toBe(1)
    expect(taken?.transport).toBe(site.last('udp'))
    expect(site.last('udp').closeCalls).toBe(0)
    expect(await openings.next()).toBeUndefined()
  })

  it('closes what opens after it was closed itself, and ends who waits', async () => {
    const { clock, site, start } = setUp([TCP])
    site.weather.tcp.open = 500
    const openings = start()
    const waiting = openings.next()
    openings.close()
    expect(await waiting).toBeUndefined()
    await clock.advance(500)
    expect(site.last('tcp').closeCalls).toBe(1)
  })
})
