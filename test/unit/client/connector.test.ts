import { describe, expect, it } from 'vitest'
import { Backoff } from '../../../src/client/backoff.ts'
import { pause } from '../../../src/client/bell.ts'
import { Connector } from '../../../src/client/connector.ts'
import type { ConnectOptions } from '../../../src/client/options.ts'
import { AuthenticationError, ResolveError, TemporaryError, UnreachableError } from '../../../src/errors.ts'
import { Secret } from '../../../src/secret.ts'
import { ExchangeType } from '../../../src/wire/ike-constants.ts'
import { connectOptions, sessionEnvironment } from '../../support/virtual-client.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'
import { VirtualSite } from '../../support/virtual-site.ts'

function setUp(
  changes: Partial<ConnectOptions> = {},
  lookUp: (signal: AbortSignal) => Promise<readonly string[]> = async () => ['203.0.113.1']
) {
  const site = new VirtualSite(new VirtualClock())
  const options = connectOptions(changes)
  const { environment, events } = sessionEnvironment(site, options, { lookUp })
  const abort = new AbortController()
  const connector = new Connector(options, environment, abort.signal, new Backoff(500, 30_000, () => 0))
  const connect = async (patient: boolean) => {
    const startedAt = site.clock.now()
    let outcome: unknown
    let isOver = false
    const { order, timeoutMs } = options
    void connector.connect({ order, preferred: [], timeoutMs }, { patient }).then(
      (result) => {
        outcome = result.link.transport.kind
        isOver = true
      },
      (error: unknown) => {
        outcome = error
        isOver = true
      }
    )
    const run = async (limitMs: number) => {
      await site.clock.until(() => isOver, limitMs)
      return { outcome, isOver, afterMs: site.clock.now() - startedAt }
    }
    return run
  }
  const silence = () => {
    for (const kind of ['udp', 'tcp', 'tls'] as const) site.weather[kind].ike = false
  }
  return { site, abort, connect, events, silence }
}

describe('connector', () => {
  it('is content with one failure when nobody asked for patience', async () => {
    const { connect, silence, site } = setUp()
    silence()
    const run = await connect(false)
    const { outcome } = await run(60_000)
    expect(outcome).toBeInstanceOf(UnreachableError)
    expect(site.clock.armed).toBe(0)
  })

  it('gives up at its deadline on the session clock, whatever it is doing', async () => {
    const { connect, silence, site } = setUp({ timeoutMs: 5000 })
    silence()
    const run = await connect(false)
    const { outcome, afterMs } = await run(60_000)
    expect(outcome).toBeInstanceOf(TemporaryError)
    expect(outcome).toMatchObject({ code: 'timeout', exitCode: 75 })
    expect((outcome as Error).message).toContain('within 5 s')
    expect(afterMs).toBe(5000)
    expect(site.alive).toEqual([])
    expect(site.clock.armed).toBe(0)
  })

  it('counts all attempts together towards the deadline', async () => {
    const { connect, silence } = setUp({ timeoutMs: 25_000, order: ['tcp'] })
    silence()
    const run = await connect(true)
    const { outcome, afterMs } = await run(120_000)
    expect(outcome).toBeInstanceOf(TemporaryError)
    expect(afterMs).toBeLessThanOrEqual(25_000)
  })

  it('never gives up with an infinite timeout', async () => {
    const { connect, silence, site } = setUp({ timeoutMs: Number.POSITIVE_INFINITY })
    silence()
    const run = await connect(false)
    expect((await run(3_600_000)).isOver).toBe(false)
    expect(site.attempts.length).toBeGreaterThan(60)
    for (const kind of ['udp', 'tcp', 'tls'] as const) site.weather[kind].ike = true
    expect((await run(60_000)).outcome).toMatch(/^(udp|tcp|tls)$/)
  })

  it('does not repeat credentials that were refused', async () => {
    const { connect, site } = setUp({
      timeoutMs: Number.POSITIVE_INFINITY,
      localAuth: { method: 'psk', secret: new Secret('wrong') }
    })
    const run = await connect(true)
    expect((await run(600_000)).outcome).toBeInstanceOf(AuthenticationError)
    expect(site.alive).toEqual([])
  })

  it.each([
    [1, 'udp'],
    [2, 'udp'],
    [3, 'AuthenticationError']
  ])(
    'gives credentials that were good before the benefit of the doubt: %i times spoilt',
    async (times, last) => {
      const { connect, site } = setUp({ timeoutMs: Number.POSITIVE_INFINITY })
      expect((await (await connect(false))(60_000)).outcome).toBe('udp')
      let left = times
      // Nobody protects IKE_SA_INIT before IKE_AUTH; a bit of its last payload is changed on the way.
      site.onRequest = (_, message) => {
        const at = message.length - 1
        if (message[18] === ExchangeType.IKE_SA_INIT && left-- > 0) message[at] = (message[at] ?? 0) ^ 1
      }
      const { outcome } = await (await connect(true))(600_000)
      expect(outcome instanceof Error ? outcome.name : outcome).toBe(last)
    }
  )

  it("ends with the signal's reason, also in a pause between attempts", async () => {
    for (let afterMs = 0; afterMs < 60_000; afterMs += 3700) {
      const { connect, silence, abort, site } = setUp({ timeoutMs: Number.POSITIVE_INFINITY })
      silence()
      const run = await connect(true)
      expect((await run(afterMs)).isOver).toBe(false)
      const reason = new TemporaryError('stopped', 'The session was stopped.')
      abort.abort(reason)
      expect((await run(0)).outcome).toBe(reason)
      expect(site.clock.armed).toBe(0)
      expect(site.alive).toEqual([])
    }
  })

  it('says that a name does not resolve', async () => {
    const { connect } = setUp({}, () => Promise.reject(new ResolveError('name-not-found', 'No such name.')))
    const run = await connect(false)
    expect((await run(1000)).outcome).toMatchObject({ code: 'name-not-found', exitCode: 68 })
  })

  it('reports rungs as events with rounded times', async () => {
    const { connect, events } = setUp()
    const run = await connect(false)
    await run(1000)
    expect(events).toContainEqual({
      event: 'rung',
      transport: 'udp',
      via: null,
      address: '203.0.113.1',
      outcome: 'answered',
      reason: null,
      message: null,
      elapsedMs: 10
    })
  })
})

describe('a pause', () => {
  it('rejects at once with the reason of a signal that has fired', async () => {
    const clock = new VirtualClock()
    await expect(pause(10, clock, AbortSignal.abort('why'))).rejects.toBe('why')
    expect(clock.armed).toBe(0)
  })
})

describe('growing pauses', () => {
  it('double up to the longest, are shortened by up to a quarter, and begin anew', () => {
    const backoff = new Backoff(100, 500, () => 0)
    expect([backoff.next(), backoff.next(), backoff.next(), backoff.next(), backoff.next()]).toEqual([
      100, 200, 400, 500, 500
    ])
    backoff.reset()
    expect(backoff.next()).toBe(100)
    backoff.exhaust()
    expect(backoff.next()).toBe(500)
    expect(new Backoff(100, 500, () => 0.999).next()).toBeGreaterThanOrEqual(75)
  })
})
