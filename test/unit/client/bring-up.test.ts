import { describe, expect, it } from 'vitest'
import { Bell } from '../../../src/client/bell.ts'
import { FAREWELL_MS } from '../../../src/client/farewell.ts'
import { sessionPath } from '../../../src/client/link.ts'
import { parseProposals } from '../../../src/crypto/proposal.ts'
import { AuthenticationError, TemporaryError, UnreachableError } from '../../../src/errors.ts'
import { Secret } from '../../../src/secret.ts'
import type { TransportKind } from '../../../src/wire/endpoint.ts'
import { encodeMessage } from '../../../src/wire/ike-codec.ts'
import { ExchangeType, NotifyType } from '../../../src/wire/ike-constants.ts'
import { readMessageHeader } from '../../../src/wire/ike-header.ts'
import { notify } from '../../../src/wire/ike-helpers.ts'
import type { IkeHeader } from '../../../src/wire/ike-message.ts'
import { clientSession, climb, GATEWAY_ADDRESS } from '../../support/virtual-client.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'
import {
  type FakeTransport,
  REFUSED,
  RESET,
  type SiteOptions,
  VirtualSite
} from '../../support/virtual-site.ts'

const LIMIT_MS = 120_000

function setUp(options: SiteOptions = {}): VirtualSite {
  return new VirtualSite(new VirtualClock(), options)
}

async function run(site: VirtualSite, climbing: ReturnType<typeof climb>): Promise<void> {
  await site.clock.until(climbing.isOver, LIMIT_MS)
  expect(climbing.isOver()).toBe(true)
  await site.clock.settle()
}

/** Nothing stays behind but the transport that was chosen. */
async function expectTidy(site: VirtualSite, chosen?: unknown): Promise<void> {
  await site.clock.advance(FAREWELL_MS)
  for (const transport of site.transports) {
    if (transport === chosen) expect(transport.closeCalls, transport.kind).toBe(0)
    else expect(transport.ended, `${transport.kind} is still open`).toBeDefined()
    expect(transport.closeCalls, transport.kind).toBeLessThanOrEqual(1)
  }
}

const exchanges = (transport: FakeTransport) => transport.sent.map(({ exchangeType }) => exchangeType)

const only = (kind: TransportKind) => ({ ladder: { addresses: [GATEWAY_ADDRESS], order: [kind] } })

/** Somebody says in the gateway's name that it does not know the IKE SA of a request. */
function slander(transport: FakeTransport, header: IkeHeader): void {
  const answer = { ...header, fromInitiator: false, isResponse: true }
  const bytes = encodeMessage({ header: answer, payloads: [notify(NotifyType.INVALID_IKE_SPI)] })
  queueMicrotask(() => transport.handlers?.onIke(bytes, sessionPath(transport)))
}

/** Closes the connection right behind the first answers, as some gateways do behind error notifies. */
function closeBehindAnswers(site: VirtualSite, count: number): void {
  let left = count
  site.onAnswer = (transport, message) => {
    const isInit = readMessageHeader(message).header.exchangeType === ExchangeType.IKE_SA_INIT
    if (transport.kind !== 'udp' && isInit && left-- > 0)
      transport.end({ code: 'closed-by-peer', message: 'The peer closed the connection' })
  }
}

describe('bringing up', () => {
  it('takes UDP where UDP works, on port 4500 from IKE_AUTH on', async () => {
    const site = setUp()
    const climbing = climb(site)
    await run(site, climbing)
    const { result } = climbing.outcome
    const udp = site.last('udp')
    expect(result?.link).toMatchObject({
      transport: udp,
      candidate: { kind: 'udp', address: GATEWAY_ADDRESS },
      fresh: true
    })
    expect(result?.link.info.remoteIdentity).toBe('gw.example.org')
    expect(result?.events.map(({ type }) => type)).toEqual(
      expect.arrayContaining(['established', 'child-up', 'child-outbound'])
    )
    expect(udp.sent.map(({ path }) => path.remote.port)).toEqual([500, 4500])
    expect(climbing.said()).toEqual(['udp trying', 'udp answered'])
    expect(result?.probeLater).toEqual([])
    await expectTidy(site, udp)
  })

  it('falls back to TCP with a session of its own when UDP is silent', async () => {
    const site = setUp()
    site.weather.udp.ike = false
    const startedAt = site.clock.now()
    const climbing = climb(site)
    await run(site, climbing)
    const tcp = site.last('tcp')
    expect(climbing.outcome.result?.link.transport).toBe(tcp)
    expect(climbing.outcome.result?.probeLater).toEqual(['udp'])
    expect(site.clock.now() - startedAt).toBeLessThan(4000)
    // RFC 9329 section 5.1: a new SPI, not the message that went over UDP.
    const [overUdp] = site.last('udp').sent
    const [overTcp] = tcp.sent
    expect(overTcp?.bytes.subarray(0, 8)).not.toEqual(overUdp?.bytes.subarray(0, 8))
    expect(climbing.said()).toContain('udp failed timeout')
    await expectTidy(site, tcp)
  })

  it('falls back when IKE passes on port 500 but not on 4500', async () => {
    const site = setUp()
    site.weather.udp.natT = false
    const climbing = climb(site)
    await run(site, climbing)
    expect(climbing.outcome.result?.link.transport.kind).toBe('tcp')
    expect(climbing.said()).toContain('udp failed ike-auth-silent')
    await expectTidy(site, site.last('tcp'))
  })

  it('is not held back by a gateway that has forgotten between IKE_SA_INIT and IKE_AUTH, and says so', async () => {
    const site = setUp()
    let restarts = 0
    site.onRequest = (_, message) => {
      if (message[18] === ExchangeType.IKE_AUTH && restarts++ === 0) site.restart()
    }
    const climbing = climb(site)
    expect(await site.clock.until(climbing.isOver, 5_000)).toBe(true)
    expect(climbing.outcome.result?.link.transport).toBe(site.last('udp'))
    expect(climbing.said()).not.toContain('udp failed ike-auth-silent')
    await expectTidy(site, site.last('udp'))
  })

  it.each(['udp', 'tcp'] as const)('begins anew where %s is the only transport, too', async (kind) => {
    const site = setUp()
    let restarts = 0
    site.onRequest = (_, message) => {
      if (message[18] === ExchangeType.IKE_AUTH && restarts++ === 0) site.restart()
    }
    const climbing = climb(site, only(kind))
    expect(await site.clock.until(climbing.isOver, 3_000)).toBe(true)
    expect(climbing.outcome.result?.link.transport).toBe(site.last(kind))
    expect(site.sessions).toHaveLength(1)
    // What was said about the old session is not said about the new one.
    expect(climbing.outcome.result?.events.map(({ type }) => type)).not.toContain('hint')
    await expectTidy(site, site.last(kind))
  })

  it.each(['udp', 'tcp'] as const)(
    'begins anew on another network when IKE_AUTH over %s was lost with the old one',
    async (kind) => {
      const site = setUp()
      const news = new Bell()
      site.swallow = (transport, exchangeType) =>
        transport === site.transports[0] && exchangeType === ExchangeType.IKE_AUTH
      const climbing = climb(site, { ...only(kind), news })
      await site.clock.advance(20_000)
      expect(site.of(kind)).toHaveLength(1)
      news.ring()
      expect(await site.clock.until(climbing.isOver, 3_000)).toBe(true)
      expect(climbing.outcome.result?.link.transport).toBe(site.last(kind))
      await expectTidy(site, site.last(kind))
    }
  )

  it('goes on where it was when the network changes and the gateway is still heard', async () => {
    const site = setUp()
    const news = new Bell()
    site.onRequest = () => news.ring()
    const climbing = climb(site, { ...only('udp'), news })
    await run(site, climbing)
    await site.clock.advance(5_000)
    expect(site.of('udp')).toHaveLength(1)
  })

  it('goes on as long as the gateway proves that it was slandered', async () => {
    const site = setUp()
    const climbing = climb(site, only('udp'))
    let slandered = 0
    site.onRequest = (transport, message) => {
      const { header } = readMessageHeader(message)
      if (header.exchangeType !== ExchangeType.IKE_AUTH) return
      slandered++
      slander(transport, header)
    }
    await run(site, climbing)
    expect(slandered).toBeGreaterThan(0)
    expect(site.of('udp')).toHaveLength(1)
  })

  it('begins anew so often and not more while nothing but slander answers', async () => {
    const site = setUp()
    site.swallow = (transport, exchangeType) => {
      if (exchangeType !== ExchangeType.IKE_AUTH) return false
      const sent = transport.sent.at(-1)
      if (sent !== undefined) slander(transport, readMessageHeader(sent.bytes).header)
      return true
    }
    const climbing = climb(site, only('udp'))
    await run(site, climbing)
    expect(site.of('udp')).toHaveLength(4)
    expect(climbing.outcome.error).toBeInstanceOf(UnreachableError)
    await expectTidy(site)
  })

  it('falls back to TLS when TCP is refused', async () => {
    const site = setUp()
    site.weather.udp.ike = false
    site.weather.tcp.open = REFUSED
    const climbing = climb(site)
    await run(site, climbing)
    expect(climbing.outcome.result?.link.transport.kind).toBe('tls')
    expect(climbing.said()).toContain('tcp failed connection-refused')
    await expectTidy(site, site.last('tls'))
  })

  it('says the last word on every rung that it began to try', async () => {
    const site = setUp()
    site.weather.udp.ike = false
    const climbing = climb(site)
    await run(site, climbing)
    expect(climbing.said()).toContain('tls trying')
    expect(climbing.said()).toContain('tls skipped not-needed')
  })

  it('goes on at once with the next transport when UDP ends behind its first answer', async () => {
    const site = setUp({ gateway: { cookies: 'always' } })
    site.onAnswer = (transport) => {
      if (transport.kind === 'udp') transport.end({ code: 'io-error', message: 'The socket failed' })
    }
    const startedAt = site.clock.now()
    const climbing = climb(site, { timings: { streamOpenAtMs: 0 } })
    await run(site, climbing)
    expect(climbing.outcome.result?.link.transport.kind).toBe('tcp')
    expect(climbing.said()).toContain('udp failed io-error')
    expect(site.clock.now() - startedAt).toBeLessThan(1000)
    await expectTidy(site, site.last('tcp'))
  })

  it('fails at once when UDP ends behind its first answer and there is nothing else', async () => {
    const site = setUp({ gateway: { cookies: 'always' } })
    site.onAnswer = (transport) => transport.end({ code: 'io-error', message: 'The socket failed' })
    const climbing = climb(site, { ladder: { addresses: [GATEWAY_ADDRESS], order: ['udp'] } })
    await run(site, climbing)
    expect(climbing.outcome.error).toBeInstanceOf(UnreachableError)
    expect((climbing.outcome.error as Error).message).toContain('UDP: The socket failed')
    await expectTidy(site)
  })

  it.each([
    ['COOKIE', { cookies: 'always' } as const],
    ['INVALID_KE_PAYLOAD', { ikeProposals: parseProposals(['aes256gcm16-prfsha384-ecp521'], 'ike') }]
  ])(
    'goes on with the same session over a new connection when the gateway closes behind %s',
    async (_, gateway) => {
      const site = setUp({ gateway })
      closeBehindAnswers(site, 1)
      const climbing = climb(site, {
        ladder: { addresses: [GATEWAY_ADDRESS], order: ['tcp'] },
        makeSession: () =>
          clientSession({
            ikeProposals: parseProposals(
              ['aes256gcm16-prfsha384-x25519', 'aes256gcm16-prfsha384-ecp521'],
              'ike'
            )
          })
      })
      await run(site, climbing)
      expect(climbing.outcome.error).toBeUndefined()
      const [first, second] = site.of('tcp')
      expect(site.of('tcp')).toHaveLength(2)
      expect(exchanges(first as FakeTransport)).not.toContain(ExchangeType.IKE_AUTH)
      expect(exchanges(second as FakeTransport)).toEqual([ExchangeType.IKE_SA_INIT, ExchangeType.IKE_AUTH])
      expect(second?.sent[0]?.bytes.subarray(0, 8)).toEqual(first?.sent[0]?.bytes.subarray(0, 8))
      expect(climbing.outcome.result?.link.transport).toBe(second)
      expect(climbing.outcome.result?.events.filter(({ type }) => type === 'established')).toHaveLength(1)
      await expectTidy(site, second)
    }
  )

  it('survives COOKIE and INVALID_KE_PAYLOAD in a row, each with its own connection', async () => {
    const site = setUp({
      gateway: { cookies: 'always', ikeProposals: parseProposals(['aes256gcm16-prfsha384-ecp521'], 'ike') }
    })
    closeBehindAnswers(site, 2)
    const climbing = climb(site, {
      ladder: { addresses: [GATEWAY_ADDRESS], order: ['tcp'] },
      makeSession: () =>
        clientSession({
          ikeProposals: parseProposals(
            ['aes256gcm16-prfsha384-x25519', 'aes256gcm16-prfsha384-ecp521'],
            'ike'
          )
        })
    })
    await run(site, climbing)
    expect(climbing.outcome.result?.link.transport).toBe(site.of('tcp')[2])
    await expectTidy(site, site.of('tcp')[2])
  })

  it('gives a gateway up that closes every connection', async () => {
    const site = setUp({ gateway: { cookies: 'always' } })
    closeBehindAnswers(site, 100)
    site.onRequest = (transport, message) => {
      const isAuth = readMessageHeader(message).header.exchangeType === ExchangeType.IKE_AUTH
      if (isAuth) transport.end({ code: 'closed-by-peer', message: 'The peer closed the connection' })
    }
    const climbing = climb(site, { ladder: { addresses: [GATEWAY_ADDRESS], order: ['tcp'] } })
    await run(site, climbing)
    expect(climbing.outcome.error).toBeInstanceOf(UnreachableError)
    expect(site.of('tcp').length).toBeLessThan(6)
    await expectTidy(site)
  })

  it("ends with the gateway's verdict, whatever else might be tried", async () => {
    const site = setUp()
    const climbing = climb(site, {
      timings: { streamOpenAtMs: 0 },
      makeSession: () => clientSession({ localAuth: { method: 'psk', secret: new Secret('wrong') } })
    })
    await run(site, climbing)
    expect(climbing.outcome.error).toBeInstanceOf(AuthenticationError)
    expect(climbing.said()).toContain('udp failed ike-rejected')
    await expectTidy(site)
    expect(site.clock.armed).toBeLessThanOrEqual(1)
  })

  it('names every rung and why it failed when nothing is left', async () => {
    const site = setUp()
    site.weather.udp.ike = false
    site.weather.tcp.open = REFUSED
    site.weather.tls.ike = false
    const climbing = climb(site)
    await run(site, climbing)
    const error = climbing.outcome.error as UnreachableError
    expect(error).toBeInstanceOf(UnreachableError)
    expect(error.exitCode).toBe(69)
    expect(error.message).toMatch(/\bTCP: The connection was refused\b.*TLS: IKE_SA_INIT was not answered/)
    expect(error.message).toContain('UDP: IKE_SA_INIT was not answered')
    await expectTidy(site)
  })

  it('closes what it opened when it is told to stop, at each moment of a climb', async () => {
    for (let afterMs = 0; afterMs < 8000; afterMs += 250) {
      const site = setUp()
      site.weather.udp.ike = false
      site.weather.tcp.ike = false
      site.weather.tls.open = 4000
      const climbing = climb(site)
      await site.clock.advance(afterMs)
      const reason = new TemporaryError('stopped', 'The session was stopped.')
      climbing.abort.abort(reason)
      await site.clock.settle()
      if (climbing.outcome.result !== undefined) continue
      expect(climbing.outcome.error).toBe(reason)
      await site.clock.advance(LIMIT_MS)
      await expectTidy(site)
      expect(site.clock.armed).toBe(0)
    }
  })

  it('does nothing when it is stopped before it began', async () => {
    const site = setUp()
    const reason = new Error('stopped')
    const climbing = climb(site, { signal: AbortSignal.abort(reason) })
    await run(site, climbing)
    expect(climbing.outcome.error).toBe(reason)
    expect(site.attempts).toEqual([])
  })

  it('tells a transport that is being opened to stop', async () => {
    const site = setUp()
    site.weather.udp.ike = false
    site.weather.tcp.open = 'never'
    site.weather.tls.open = 'never'
    const climbing = climb(site)
    await run(site, climbing)
    expect(climbing.outcome.error).toBeInstanceOf(UnreachableError)
    expect(climbing.said().filter((line) => line.startsWith('tcp'))).toEqual([
      'tcp trying',
      'tcp failed timeout'
    ])
    await expectTidy(site)
  })

  it('loses a stream that breaks before it is used, and takes the other', async () => {
    const site = setUp()
    site.weather.udp.ike = false
    const climbing = climb(site)
    await site.clock.until(() => site.of('tcp').length > 0, LIMIT_MS)
    site.last('tcp').end(RESET)
    site.weather.tcp.open = REFUSED
    await run(site, climbing)
    expect(climbing.outcome.result?.link.transport.kind).toBe('tls')
    await expectTidy(site, site.last('tls'))
  })
})
