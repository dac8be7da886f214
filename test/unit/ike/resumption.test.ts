/** RFC 5723: sessions that are resumed with a ticket. */
import { createHmac } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { prfById } from '../../../src/crypto/prf.ts'
import { identityFromText } from '../../../src/ike/auth/identity.ts'
import { resumptionSkeyseed } from '../../../src/ike/keymat.ts'
import { TicketVault } from '../../../src/ike/ticket-vault.ts'
import type { InitiatorConfig, ResponderConfig, SessionTicket } from '../../../src/ike/types.ts'
import { decodeMessage } from '../../../src/wire/ike-codec.ts'
import { ExchangeType, NotifyType, PayloadType, PrfId } from '../../../src/wire/ike-constants.ts'
import { findNotify, findPayload } from '../../../src/wire/ike-helpers.ts'
import { arePaired, floatingPathPair, Pair, pathPair } from '../../support/ike-pair.ts'
import { SeededRandom } from '../../support/seeded-random.ts'

const KEY = { id: Uint8Array.of(1, 2, 3, 4), key: new Uint8Array(32).fill(9) }
const OTHER_KEY = { id: Uint8Array.of(5, 6, 7, 8), key: new Uint8Array(32).fill(8) }

function vault(keys: ConstructorParameters<typeof TicketVault>[0] = [KEY], seed = 4711): TicketVault {
  return new TicketVault(keys, new SeededRandom(seed))
}

interface Ends {
  readonly tickets?: TicketVault | undefined
  readonly ticket?: SessionTicket | undefined
  readonly client?: Partial<InitiatorConfig>
  readonly gateway?: Partial<ResponderConfig>
  readonly policy?: ConstructorParameters<typeof Pair>[0] extends infer O
    ? O extends { policy?: infer P }
      ? P
      : never
    : never
  readonly seed?: number
}

function ends({ tickets, ticket, client, gateway, policy, seed = 1 }: Ends): Pair {
  return new Pair({
    client: { resumption: { ticket }, ...client },
    gateway: { tickets, ...gateway },
    ...(policy === undefined ? {} : { policy }),
    logKeys: true,
    seed
  })
}

function ticketOf(pair: Pair): SessionTicket {
  const ticket = pair.client.of('ticket').at(-1)?.ticket
  if (ticket === undefined) throw new Error('no ticket')
  // The session's own one is overwritten with it.
  return { ...ticket, skD: Uint8Array.from(ticket.skD) }
}

/** A session that ended without anybody's purpose, and its ticket. */
function lost(tickets: TicketVault, more: Ends = {}): SessionTicket {
  return ticketOf(ends({ tickets, ...more }).connect())
}

describe('a ticket', () => {
  it('comes with IKE_AUTH to whoever asks, and to nobody else', () => {
    const tickets = vault()
    const pair = ends({ tickets }).connect()
    const ticket = ticketOf(pair)
    expect(ticket.remoteIdentity).toEqual(identityFromText('gw.example.org'))
    expect(ticket.expiresAt - pair.now).toBe(4 * 3_600_000)
    expect(ticket.opaque.length).toBeLessThan(600)
    const silent = new Pair({ gateway: { tickets } }).connect()
    expect(silent.client.of('ticket')).toEqual([])
    const without = ends({}).connect()
    expect(without.client.of('ticket')).toEqual([])
  })

  it('says nothing to whoever has it without the key, and is refused when it was touched', () => {
    const tickets = vault()
    const { opaque, skD } = lost(tickets)
    const text = Buffer.from(opaque)
    expect(text.includes(Buffer.from(skD))).toBe(false)
    expect(text.includes('alice@example.org')).toBe(false)
    const nowMs = Date.UTC(2026, 5, 1)
    expect(vault().open(opaque, nowMs)?.peerName).toBe('alice@example.org')
    expect(vault([OTHER_KEY]).open(opaque, nowMs)).toBeUndefined()
    expect(vault([OTHER_KEY, KEY]).open(opaque, nowMs)?.peerName).toBe('alice@example.org')
    for (let at = 0; at < opaque.length; at++) {
      const touched = Uint8Array.from(opaque)
      touched[at] = (touched[at] ?? 0) ^ 1
      expect(vault().open(touched, nowMs), `byte ${at}`).toBeUndefined()
      expect(vault().open(opaque.subarray(0, at), nowMs)).toBeUndefined()
    }
  })

  it('expires', () => {
    const { opaque } = lost(vault())
    const at = Date.UTC(2026, 5, 1) + 4 * 3_600_000
    expect(vault().open(opaque, at - 1)).toBeDefined()
    expect(vault().open(opaque, at)).toBeUndefined()
  })

  it('is renewed with the keys of a rekeyed IKE SA, and the one before is refused', () => {
    const tickets = vault()
    const pair = ends({ tickets }).connect()
    const first = ticketOf(pair)
    pair.client.session.rekeyIke(pair.now)
    pair.settle()
    const second = ticketOf(pair)
    expect(Buffer.from(second.skD).equals(first.skD)).toBe(false)
    expect(pair.client.of('ticket').map(({ ticket }) => ticket !== undefined)).toEqual([true, false, true])
    expect(tickets.open(first.opaque, Date.UTC(2026, 5, 1))).toBeUndefined()
    const resumed = ends({ tickets, ticket: second, seed: 2 }).connect()
    expect(resumed.client.of('established')[0]?.info.byTicket).toBe(true)
  })

  it('is worth nothing once its session was ended on purpose', () => {
    const tickets = vault()
    const pair = ends({ tickets }).connect()
    const ticket = ticketOf(pair)
    pair.client.session.close(pair.now)
    pair.settle()
    expect(tickets.open(ticket.opaque, Date.UTC(2026, 5, 1))).toBeUndefined()
  })
})

describe('a resumed session', () => {
  it('is up after two round trips, with keys of its own, and without credentials', () => {
    const tickets = vault()
    const ticket = lost(tickets)
    // Another responder with the same key: the gateway was restarted.
    const pair = ends({
      tickets: vault([KEY], 99),
      ticket,
      seed: 2,
      policy: {
        authenticationFor: () => {
          throw new Error('nobody is authenticated')
        }
      }
    }).connect()
    expect(pair.client.session.state).toBe('ESTABLISHED')
    const [client] = pair.client.of('established')
    expect(client?.info).toMatchObject({
      byTicket: true,
      remoteIdentity: 'gw.example.org',
      ikeSuite: expect.any(String)
    })
    expect(pair.gateway.of('established')[0]?.info).toMatchObject({
      byTicket: true,
      remoteIdentity: 'alice@example.org'
    })
    const said = pair.client.said()
    expect(said).toHaveLength(2)
    expect(said[0]).toMatch(/^IKE_SESSION_RESUME request 0/)
    expect(said[1]).not.toMatch(/CERT/)
    const [one] = pair.client.children.values()
    const [other] = pair.gateway.children.values()
    expect(one !== undefined && other !== undefined && arePaired(one, other)).toBe(true)
    // And a new ticket for the next time.
    const next = ticketOf(pair)
    const again = ends({ tickets: vault([KEY], 99), ticket: next, seed: 3 }).connect()
    expect(again.client.of('established')[0]?.info.byTicket).toBe(true)
  })

  it('has exactly the keys of RFC 5723 section 5.1', () => {
    const tickets = vault()
    const ticket = lost(tickets)
    const pair = ends({ tickets, ticket, seed: 5 })
    const paths = pathPair()
    pair.addPath(paths)
    pair.client.session.connect(pair.now, paths.client)
    pair.drain()
    const request = decodeMessage(pair.pass(pair.client))
    const response = decodeMessage(pair.pass(pair.gateway))
    if (!request.ok || !response.ok) throw new Error('cannot be read')
    const [ni, nr] = [request, response].map(
      ({ message }) => findPayload(message.payloads, PayloadType.NONCE)?.data
    )
    const { spiI, spiR } = response.message.header
    const keys = pair.client.of('keys')[0]?.keys
    if (ni === undefined || nr === undefined || keys === undefined) throw new Error('incomplete')
    expect(request.message.header).toMatchObject({
      exchangeType: ExchangeType.IKE_SESSION_RESUME,
      spiR: 0n,
      messageId: 0
    })
    // The naive twin: hex strings and one HMAC, straight from the text of the RFC.
    const hmac = (key: string, data: string) =>
      createHmac('sha256', Buffer.from(key, 'hex')).update(Buffer.from(data, 'hex')).digest('hex')
    const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
    const spi = (value: bigint) => value.toString(16).padStart(16, '0')
    expect(ticket.chosen.transforms.some(({ id, type }) => type === 2 && id === PrfId.HMAC_SHA2_256)).toBe(
      true
    )
    const skeyseed = hmac(hex(ticket.skD), Buffer.from('Resumption').toString('hex') + hex(ni) + hex(nr))
    const seed = hex(ni) + hex(nr) + spi(spiI) + spi(spiR)
    let stream = ''
    for (let n = 1, block = ''; stream.length < 2 * 400; n++) {
      block = hmac(skeyseed, `${block}${seed}${n.toString(16).padStart(2, '0')}`)
      stream += block
    }
    // SK_d, no SK_a* with an AEAD, SK_ei, SK_er.
    const encryption = keys.skEi.length
    expect(keys.skAi).toHaveLength(0)
    expect(hex(keys.skEi)).toBe(stream.slice(64, 64 + 2 * encryption))
    expect(hex(keys.skEr)).toBe(stream.slice(64 + 2 * encryption, 64 + 4 * encryption))
    pair.settle()
    expect(pair.client.session.state).toBe('ESTABLISHED')
  })

  it('derives SKEYSEED as a fixed vector says', () => {
    const prf = prfById(PrfId.HMAC_SHA2_256)
    if (prf === undefined) throw new Error('no PRF')
    const skD = Uint8Array.from({ length: 32 }, (_, at) => at)
    const [ni, nr] = [new Uint8Array(32).fill(0xaa), new Uint8Array(16).fill(0xbb)]
    const expected = createHmac('sha256', skD)
      .update('526573756d7074696f6e', 'hex')
      .update('aa'.repeat(32), 'hex')
      .update('bb'.repeat(16), 'hex')
      .digest('hex')
    expect(Buffer.from(resumptionSkeyseed(prf, skD, ni, nr)).toString('hex')).toBe(expected)
  })

  it('begins on port 500, floats, and has its NAT found out anew', () => {
    const tickets = vault()
    const ticket = lost(tickets)
    const pair = ends({ tickets, ticket, seed: 6 })
    const paths = floatingPathPair()
    pair.addPath(paths.natT)
    pair.connect(paths)
    expect(pair.client.of('established')[0]?.path.id).toBe(paths.natT.client.id)
  })

  it('answers a cookie', () => {
    const tickets = vault()
    const ticket = lost(tickets)
    const pair = ends({ tickets, ticket, seed: 7 })
    const paths = pathPair()
    pair.addPath(paths)
    pair.client.session.connect(pair.now, paths.client)
    pair.drain()
    const first = decodeMessage(pair.client.sent[0]?.message ?? new Uint8Array(0))
    if (!first.ok) throw first.error
    expect(findNotify(first.message.payloads, NotifyType.TICKET_OPAQUE)?.data).toEqual(ticket.opaque)
    pair.settle()
    expect(pair.client.session.state).toBe('ESTABLISHED')
  })
})

describe('a ticket that is refused', () => {
  const from = (
    change: Partial<SessionTicket> | undefined,
    tickets: TicketVault | undefined,
    seed: number
  ) => {
    const ticket = { ...lost(vault()), ...change }
    return ends({ tickets, ticket, seed }).connect()
  }
  const established = (pair: Pair) => pair.client.of('established')[0]?.info

  it.each([
    ['it is not the responder’s', undefined, vault([OTHER_KEY])],
    ['the responder gives none', undefined, undefined],
    ['it is rubbish', { opaque: new Uint8Array(100).fill(3) }, vault()]
  ])('leads to a session from scratch: %s', (_what, change, tickets) => {
    const pair = from(change, tickets, 8)
    expect(established(pair)?.byTicket).toBe(false)
    const said = pair.client.said()
    expect(said[0]).toMatch(/^IKE_SESSION_RESUME/)
    expect(said[1]).toMatch(/^IKE_SA_INIT/)
  })

  it('was used before', () => {
    const tickets = vault()
    const ticket = lost(tickets)
    const first = ends({
      tickets,
      ticket: { ...ticket, skD: Uint8Array.from(ticket.skD) },
      seed: 9
    }).connect()
    expect(established(first)?.byTicket).toBe(true)
    const second = ends({ tickets, ticket, seed: 10 }).connect()
    expect(established(second)?.byTicket).toBe(false)
  })

  it('does not help whoever has seen it on the way', () => {
    const tickets = vault()
    const ticket = { ...lost(tickets), skD: new Uint8Array(32).fill(1) }
    const pair = ends({ tickets, ticket, seed: 11 })
    const paths = pathPair()
    pair.addPath(paths)
    pair.client.session.connect(pair.now, paths.client)
    pair.drain()
    pair.pass(pair.client)
    pair.pass(pair.gateway)
    pair.pass(pair.client)
    // IKE_AUTH under other keys is as if it had not come.
    expect(pair.gateway.of('established')).toEqual([])
    expect(pair.gateway.sent).toEqual([])
  })

  it('belongs to somebody who is not let in any more', () => {
    const tickets = vault()
    const ticket = lost(tickets)
    const pair = ends({ tickets, ticket, seed: 12, policy: { admits: () => false } })
    pair.connect()
    expect(pair.gateway.of('closed')[0]?.error?.code ?? pair.client.said().at(-1)).toBeDefined()
    expect(pair.gateway.of('established').filter(({ info }) => info.byTicket)).toEqual([])
  })

  it('is given up when nobody answers: IKE_SA_INIT follows within two seconds', () => {
    const ticket = lost(vault())
    const pair = ends({ ticket, seed: 13 })
    const paths = pathPair()
    pair.addPath(paths)
    pair.client.session.connect(pair.now, paths.client)
    pair.drain()
    // A responder that does not know the exchange says nothing.
    while (pair.client.sent.length > 0) pair.client.sent.shift()
    for (let at = 0; at < 20 && !pair.client.said().some((line) => line.startsWith('IKE_SA_INIT')); at++) {
      pair.client.sent.length = 0
      pair.advance(100, { deliver: false })
    }
    expect(pair.now).toBeLessThan(3000)
    pair.settle()
    expect(pair.client.of('established')[0]?.info.byTicket).toBe(false)
  })
})

describe('an authentication that holds for a while only (RFC 4478)', () => {
  it('is not extended by resuming', () => {
    const tickets = vault()
    const limited: Partial<ResponderConfig> = { authLifetimeMs: 600_000 }
    const first = ends({ tickets, gateway: limited }).connect()
    const ticket = ticketOf(first)
    expect(ticket.expiresAt - first.now).toBe(600_000)
    const opened = tickets.open(ticket.opaque, Date.UTC(2026, 5, 1))
    expect(opened?.authenticatedUntilMs).toBe(Date.UTC(2026, 5, 1) + 600_000)
    const resumed = ends({ tickets, ticket, gateway: limited, seed: 14 }).connect()
    expect(resumed.client.of('established')[0]?.info.byTicket).toBe(true)
    resumed.advance(620_000)
    expect(resumed.gateway.of('closed')[0]?.reason).toBe('expired')
  })
})
