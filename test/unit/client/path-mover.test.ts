import { describe, expect, it } from 'vitest'
import type { IkeEvent } from '../../../src/client/ike-driver.ts'
import { ikeOnlyHandlers, type Link, sessionPath } from '../../../src/client/link.ts'
import type { Candidate } from '../../../src/client/openings.ts'
import { MoveWatch, moveLink } from '../../../src/client/path-mover.ts'
import { silentLogger } from '../../../src/log.ts'
import { ExchangeType } from '../../../src/wire/ike-constants.ts'
import { establish, GATEWAY_ADDRESS } from '../../support/virtual-client.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'
import { RESET, VirtualSite } from '../../support/virtual-site.ts'

const ANSWER_MS = 1500
const to = (kind: Candidate['kind']): Candidate => ({ kind, address: GATEWAY_ADDRESS })

/** A link over TCP, and how to move it. */
async function setUp() {
  const site = new VirtualSite(new VirtualClock())
  const link = await establish(site, ['tcp'])
  const watch = new MoveWatch()
  const abort = new AbortController()
  const events: IkeEvent[] = []
  link.driver.onEvent = (event) => {
    events.push(event)
    watch.offer(event)
  }
  const move = (candidates: readonly Candidate[]) =>
    moveLink(
      link,
      candidates,
      watch,
      {
        clock: site.clock,
        log: silentLogger,
        open: site.open,
        handlers: (transport, driver) =>
          ikeOnlyHandlers(
            (message, path) => driver.receive(message, path),
            () => {
              watch.transportClosed(sessionPath(transport).id)
              driver.input((session, now) => session.pathLost(now, sessionPath(transport)))
            }
          ),
        answerMs: ANSWER_MS,
        graceMs: 300
      },
      abort.signal
    )
  return { site, link, watch, abort, events, move }
}

/** Runs until the promise has settled, at most so long. */
async function within<T>(site: VirtualSite, work: Promise<T>, limitMs = 30_000): Promise<T> {
  let settled = false
  const done = work.finally(() => {
    settled = true
  })
  void done.catch(() => undefined)
  expect(await site.clock.until(() => settled, limitMs)).toBe(true)
  return work
}

const isAlive = async (site: VirtualSite, link: Link): Promise<boolean> => {
  link.driver.input((session, now) => session.checkLiveness(now))
  await site.clock.advance(100)
  return link.driver.session.info().tasksActive.length === 0
}

describe('moving a session', () => {
  it('is done when the peer has answered on the new path', async () => {
    const { site, link, move, events } = await setUp()
    const moved = await within(site, move([to('tls')]))
    const tls = site.last('tls')
    expect(moved).toEqual({ transport: tls, candidate: to('tls') })
    expect(tls.sent[0]?.exchangeType).toBe(ExchangeType.INFORMATIONAL)
    expect(events.map(({ type }) => type)).toContain('path-changed')
    // Whoever asked for the move closes the old transport, when it likes.
    expect(link.transport).toBe(site.last('tcp'))
    expect(site.last('tcp').closeCalls).toBe(0)
    expect(await isAlive(site, link)).toBe(true)
  })

  it('uses the NAT traversal path of UDP', async () => {
    const { site, move } = await setUp()
    await within(site, move([to('udp')]))
    expect(new Set(site.last('udp').sent.map(({ path }) => path.remote.port))).toEqual(new Set([4500]))
  })

  it('sends an outstanding request again, bit for bit, before anything else', async () => {
    const { site, link, move } = await setUp()
    site.weather.tcp.ike = false
    link.driver.input((session, now) => session.checkLiveness(now))
    const [request] = site.last('tcp').sent.slice(-1)
    await within(site, move([to('tls')]))
    expect(site.last('tls').sent[0]?.bytes).toEqual(request?.bytes)
  })

  it('goes on with the next candidate where nobody answers, and closes the silent one', async () => {
    const { site, link, move } = await setUp()
    site.weather.udp.natT = false
    const startedAt = site.clock.now()
    const moved = await within(site, move([to('udp'), to('tls')]))
    expect(moved?.candidate).toEqual(to('tls'))
    expect(site.clock.now() - startedAt).toBeGreaterThanOrEqual(ANSWER_MS)
    expect(site.last('udp').closeCalls).toBe(1)
    expect(link.driver.transportOf(sessionPath(site.last('udp')))).toBeUndefined()
    expect(await isAlive(site, link)).toBe(true)
  })

  it('does not wait for an answer over a transport that has ended', async () => {
    const { site, move } = await setUp()
    site.weather.tls.ike = false
    const startedAt = site.clock.now()
    const moving = move([to('tls')])
    await site.clock.advance(100)
    site.last('tls').end(RESET)
    expect(await within(site, moving)).toBeUndefined()
    expect(site.clock.now() - startedAt).toBeLessThan(ANSWER_MS)
  })

  it('yields nothing when no path is answered, and can be tried again', async () => {
    const { site, link, move } = await setUp()
    for (const kind of ['udp', 'tcp', 'tls'] as const) site.weather[kind].ike = false
    expect(await within(site, move([to('udp'), to('tls')]))).toBeUndefined()
    for (const kind of ['udp', 'tcp', 'tls'] as const) site.weather[kind].ike = true
    expect((await within(site, move([to('tls')])))?.candidate).toEqual(to('tls'))
    expect(await isAlive(site, link)).toBe(true)
  })

  it('ends when the peer no longer has the session', async () => {
    const { site, link, move } = await setUp()
    const moving = move([to('udp')])
    await site.clock.settle()
    link.driver.input((session) => session.replaced())
    expect(await within(site, moving)).toBeUndefined()
    expect(site.last('udp').closeCalls).toBe(1)
    expect(site.attempts.filter(({ kind }) => kind === 'udp')).toHaveLength(1)
  })

  it.each([0, 50, 250, 700])('ends at once when it is aborted after %i ms', async (afterMs) => {
    const { site, abort, move } = await setUp()
    site.weather.udp.natT = false
    site.weather.tls.open = 600
    const before = site.transports.length
    const moving = move([to('tls'), to('udp')])
    await site.clock.advance(afterMs)
    site.weather.tls.ike = false
    abort.abort(new Error('stopped'))
    await site.clock.settle()
    expect(await within(site, moving, 0)).toBeUndefined()
    await site.clock.advance(1000)
    for (const transport of site.transports.slice(before))
      expect(transport.closeCalls, transport.kind).toBe(1)
  })

  it('does nothing when it was aborted before it began', async () => {
    const { site, abort, move } = await setUp()
    abort.abort()
    expect(await within(site, move([to('tls')]), 0)).toBeUndefined()
    for (const transport of site.of('tls')) expect(transport.closeCalls).toBe(1)
  })
})

describe('the watch over a move', () => {
  it('lets a newer move replace an older one', async () => {
    const clock = new VirtualClock()
    const watch = new MoveWatch()
    const older = watch.wait(1, clock, 1000)
    const newer = watch.wait(2, clock, 1000)
    expect(await older).toBe(false)
    watch.transportClosed(1)
    expect(clock.armed).toBe(1)
    watch.transportClosed(2)
    expect(await newer).toBe(false)
    expect(clock.armed).toBe(0)
  })

  it('gives up after the time for an answer', async () => {
    const clock = new VirtualClock()
    const waiting = new MoveWatch().wait(1, clock, 1000)
    await clock.advance(1000)
    expect(await waiting).toBe(false)
  })
})
