import { describe, expect, it } from 'vitest'
import { FragmentRoom } from '../../../src/ike/fragments.ts'
import {
  COOKIE_SECRET_LIFETIME_MS,
  HALF_OPEN_GRACE_MS,
  MAX_INIT_REQUEST_LENGTH
} from '../../../src/ike/options.ts'
import { IkeResponder } from '../../../src/ike/responder.ts'
import type { IkeSessionOptions } from '../../../src/ike/session.ts'
import type { IkeOutput, ResponderConfig, ResponderPolicy } from '../../../src/ike/types.ts'
import type { Path } from '../../../src/wire/endpoint.ts'
import { decodeMessage, encodeMessage } from '../../../src/wire/ike-codec.ts'
import { ExchangeType, NotifyType } from '../../../src/wire/ike-constants.ts'
import { findNotify, notify } from '../../../src/wire/ike-helpers.ts'
import { End, initiatorConfig, pathPair, responderConfig } from '../../support/ike-pair.ts'
import { SeededRandom } from '../../support/seeded-random.ts'

/** A responder and any number of clients, each on a path of its own. */
class Hub {
  readonly responder: IkeResponder
  readonly events: IkeOutput[] = []
  now = 1000
  readonly #clients = new Map<number, { end: End; path: Path }>()
  #seed = 100

  constructor(
    config: Partial<ResponderConfig> = {},
    policy: Partial<ResponderPolicy> = {},
    options: IkeSessionOptions = {}
  ) {
    const environment = { random: new SeededRandom(7), wallClockMs: () => 0 }
    this.responder = new IkeResponder(responderConfig(config, policy), environment, options)
  }

  /** A client that has sent its first message, at `address` and `port`. */
  client(
    address = '198.51.100.2',
    port = 4500,
    transport: Path['transport'] = 'udp',
    changes: Parameters<typeof initiatorConfig>[0] = {}
  ) {
    const path = pathPair(transport, { address, port })
    const end = new End(initiatorConfig(changes), ++this.#seed)
    this.#clients.set(path.gateway.id, { end, path: path.client })
    end.session.connect(this.now, path.client)
    end.drain()
    return { end, path }
  }

  /** Delivers the oldest message of a client. */
  pass(client: { end: End; path: { gateway: Path } }): void {
    const output = client.end.sent.shift()
    if (output !== undefined) this.responder.receive(this.now, output.message, client.path.gateway)
  }

  /** Delivers the responder's messages; @returns them. */
  flush(deliver = true): Uint8Array[] {
    const messages: Uint8Array[] = []
    for (let next = this.responder.poll(); next !== undefined; next = this.responder.poll()) {
      const { output } = next
      if (output.type !== 'send') {
        this.events.push(output)
        continue
      }
      messages.push(output.message)
      const client = this.#clients.get(output.path.id)
      if (!deliver || client === undefined) continue
      client.end.session.receive(this.now, output.message, client.path)
      client.end.drain()
    }
    return messages
  }

  settle(client: { end: End; path: { gateway: Path } }): void {
    for (let count = 0; count < 50 && client.end.sent.length > 0; count++) {
      this.pass(client)
      this.flush()
    }
  }
}

function notifyIn(message: Uint8Array | undefined, notifyType: number) {
  const decoded = decodeMessage(message ?? new Uint8Array(0))
  if (!decoded.ok) throw decoded.error
  return findNotify(decoded.message.payloads, notifyType)
}

describe('a flood of strangers with keys', () => {
  it('that send first fragments only holds no more than the room for them, and an honest client comes in', () => {
    const room = new FragmentRoom(4 * 1024)
    const hub = new Hub({}, {}, { fragmentRoom: room })
    const small = { fragmentSize: 300 }
    let most = 0
    for (let number = 0; number < 30; number++) {
      const client = hub.client(`198.51.100.${number + 1}`, 4500, 'udp', small)
      // Twice where a cookie is asked for.
      while (client.end.sent.length === 1) {
        hub.pass(client)
        hub.flush()
      }
      expect(client.end.sent.length).toBeGreaterThan(1)
      // IKE_AUTH without its last fragment.
      client.end.sent.length--
      while (client.end.sent.length > 0) hub.pass(client)
      most = Math.max(most, room.heldBytes)
    }
    expect(most).toBeGreaterThan(2 * 1024)
    expect(most).toBeLessThanOrEqual(4 * 1024)
    expect(hub.responder.halfOpen).toBe(30)
    const honest = hub.client('203.0.113.1', 4500, 'udp', small)
    hub.settle(honest)
    expect(honest.end.of('established')).toHaveLength(1)
  })

  it('that begin with messages of great length costs nothing', () => {
    const hub = new Hub()
    const { end, path } = hub.client()
    const [request] = end.sent
    const decoded = decodeMessage(request?.message ?? new Uint8Array(0))
    if (!decoded.ok) throw decoded.error
    const { header, payloads } = decoded.message
    const padded = (length: number) =>
      encodeMessage({ header, payloads: [...payloads, notify(40_960, new Uint8Array(length))] })
    hub.responder.receive(hub.now, padded(MAX_INIT_REQUEST_LENGTH), path.gateway)
    expect(hub.responder.sessions).toEqual([])
    hub.responder.receive(hub.now, padded(8_000), path.gateway)
    expect(hub.responder.sessions).toHaveLength(1)
  })
})

describe('a responder', () => {
  it('keeps several clients apart by SPI', () => {
    const hub = new Hub()
    const clients = [hub.client('198.51.100.2'), hub.client('198.51.100.3'), hub.client('198.51.100.2', 7)]
    for (const client of clients) hub.settle(client)
    for (const { end } of clients) expect(end.of('established')).toHaveLength(1)
    expect(hub.responder.sessions).toHaveLength(3)
    expect(hub.responder.halfOpen).toBe(0)
  })

  it('answers a repeated IKE_SA_INIT with the same bytes and no second session', () => {
    const hub = new Hub()
    const client = hub.client()
    const [first] = client.end.sent
    if (first === undefined) throw new Error('nothing sent')
    hub.responder.receive(hub.now, first.message, client.path.gateway)
    const [answer] = hub.flush(false)
    hub.responder.receive(hub.now, first.message, client.path.gateway)
    const [again] = hub.flush(false)
    expect(again).toEqual(answer)
    expect(hub.responder.sessions).toHaveLength(1)
  })

  it('forgets an IKE_SA_INIT that it refuses', () => {
    const hub = new Hub({ ikeProposals: [] })
    const client = hub.client()
    hub.pass(client)
    expect(notifyIn(hub.flush(false)[0], NotifyType.NO_PROPOSAL_CHOSEN)).toBeDefined()
    expect(hub.responder.sessions).toEqual([])
    expect(hub.responder.halfOpen).toBe(0)
  })

  it('asks for cookies above the threshold, statelessly, and lets those in who bring them', () => {
    const hub = new Hub({ cookieThreshold: 1, maxHalfOpenPerAddress: 5 })
    hub.pass(hub.client('198.51.100.9'))
    hub.flush()
    const client = hub.client()
    hub.pass(client)
    expect(notifyIn(hub.flush()[0], NotifyType.COOKIE)?.data).toHaveLength(33)
    expect(hub.responder.sessions).toHaveLength(1)
    hub.settle(client)
    expect(client.end.of('established')).toHaveLength(1)
  })

  describe('that is flooded', () => {
    const flooded = (more: Partial<ResponderConfig> = {}) => {
      const hub = new Hub({
        ...{ cookieThreshold: 2, maxHalfOpen: 40, maxHalfOpenPerAddress: 40 },
        ...{ puzzles: { threshold: 4, difficulty: 9 } },
        ...more
      })
      for (let index = 0; index < 4; index++) {
        const client = hub.client(`198.51.100.${10 + index}`)
        hub.pass(client)
        hub.flush()
        // Once more, with the cookie.
        if (hub.responder.halfOpen > index) continue
        hub.pass(client)
        hub.flush()
      }
      expect(hub.responder.halfOpen).toBe(4)
      return hub
    }
    /** Time passes for a client, in which it may work. */
    const work = (hub: Hub, { end }: { end: End }) => {
      for (let slice = 0; slice < 500 && end.sent.length === 0; slice++) {
        hub.now += 1
        end.session.timeout(hub.now)
        end.drain()
      }
    }

    it('wants puzzles solved (RFC 8019), and lets those in who do', () => {
      const hub = flooded()
      const client = hub.client('198.51.100.99')
      hub.pass(client)
      const challenge = hub.flush()[0]
      expect(notifyIn(challenge, NotifyType.PUZZLE)?.data).toEqual(Uint8Array.of(0, 5, 9))
      expect(notifyIn(challenge, NotifyType.COOKIE)).toBeDefined()
      expect(hub.responder.halfOpen).toBe(4)
      work(hub, client)
      hub.settle(client)
      expect(client.end.session.state).toBe('ESTABLISHED')
    })

    it('lets in but few of those who only bring the cookie back', () => {
      const hub = flooded({ maxHalfOpen: 6 })
      let begun = 0
      for (let index = 0; index < 40; index++) {
        const client = hub.client(`203.0.113.${index + 10}`)
        const first = client.end.sent[0]?.message ?? new Uint8Array(0)
        hub.pass(client)
        const cookie = notifyIn(hub.flush(false)[0], NotifyType.COOKIE)
        const request = decodeMessage(first)
        if (!request.ok || cookie === undefined) throw new Error('no cookie')
        const { header, payloads } = request.message
        const before = hub.responder.halfOpen
        hub.responder.receive(
          hub.now,
          encodeMessage({ header, payloads: [cookie, ...payloads] }),
          client.path.gateway
        )
        hub.flush(false)
        if (hub.responder.halfOpen > before) begun++
      }
      expect(begun).toBeLessThanOrEqual(2)
    })
  })

  it('takes a cookie over another port, but not from another address, nor when it is old', () => {
    const hub = new Hub({ cookies: 'always' })
    const client = hub.client('198.51.100.2', 4500)
    hub.pass(client)
    hub.flush()
    const [withCookie] = client.end.sent
    if (withCookie === undefined) throw new Error('no second IKE_SA_INIT')
    const elsewhere = pathPair('udp', { address: '198.51.100.200', port: 4500 }).gateway
    hub.responder.receive(hub.now, withCookie.message, elsewhere)
    expect(notifyIn(hub.flush(false)[0], NotifyType.COOKIE)).toBeDefined()
    hub.responder.receive(hub.now + 3 * COOKIE_SECRET_LIFETIME_MS, withCookie.message, client.path.gateway)
    expect(notifyIn(hub.flush(false)[0], NotifyType.COOKIE)).toBeDefined()
    expect(hub.responder.sessions).toEqual([])
    const fresh = new Hub({ cookies: 'always' })
    const other = fresh.client('198.51.100.2', 4500)
    fresh.pass(other)
    fresh.flush()
    const otherPort = pathPair('udp', { address: '198.51.100.2', port: 61_000 }).gateway
    fresh.responder.receive(fresh.now, other.end.sent[0]?.message ?? new Uint8Array(0), otherPort)
    fresh.flush(false)
    expect(fresh.responder.sessions).toHaveLength(1)
  })

  it('asks for no cookie on a stream unless told to', () => {
    const hub = new Hub({ cookieThreshold: 0 })
    const client = hub.client('198.51.100.2', 4500, 'tcp')
    hub.settle(client)
    expect(client.end.of('established')).toHaveLength(1)
  })

  it('bounds half-open sessions in all and for each address, and forgets them in time', () => {
    const hub = new Hub({ cookies: 'never', maxHalfOpen: 5, maxHalfOpenPerAddress: 2 })
    for (let port = 1; port <= 4; port++) hub.pass(hub.client('198.51.100.2', port))
    expect(hub.responder.halfOpen).toBe(2)
    for (let host = 3; host <= 20; host++) hub.pass(hub.client(`198.51.100.${host}`))
    expect(hub.responder.halfOpen).toBe(5)
    hub.flush(false)
    expect(hub.responder.nextTimeout()).toBe(hub.now + 30_000)
    hub.responder.timeout(hub.now + 30_000)
    hub.flush(false)
    expect(hub.responder.sessions).toEqual([])
    expect(hub.responder.halfOpen).toBe(0)
  })

  it('counts the /64 of an IPv6 address, whoever in it says something', () => {
    const hub = new Hub({ cookies: 'never', maxHalfOpenPerAddress: 2 })
    for (let host = 1; host <= 9; host++) hub.pass(hub.client(`2001:db8:0:1::${host}`))
    expect(hub.responder.halfOpen).toBe(2)
    for (let net = 2; net <= 4; net++) hub.pass(hub.client(`2001:db8:0:${net}::1`))
    expect(hub.responder.halfOpen).toBe(5)
  })

  it('is not closed to the honest by strangers who take every place: the oldest makes room', () => {
    const hub = new Hub({ maxHalfOpen: 5, cookies: 'never' })
    const strangers = Array.from({ length: 5 }, (_, host) => hub.client(`198.51.100.${host + 10}`))
    for (const stranger of strangers) hub.pass(stranger)
    hub.flush(false)
    const early = hub.client('203.0.113.9')
    hub.settle(early)
    expect(early.end.of('established')).toEqual([])
    hub.now += HALF_OPEN_GRACE_MS
    const honest = hub.client('203.0.113.10')
    hub.settle(honest)
    expect(honest.end.of('established')).toHaveLength(1)
    expect(hub.responder.halfOpen).toBe(4)
    expect(hub.responder.sessions).toHaveLength(5)
    expect(hub.events.filter(({ type }) => type === 'closed')).toMatchObject([{ reason: 'timeout' }])
  })

  it('takes a place from strangers who have more than one, at once', () => {
    const hub = new Hub({ maxHalfOpen: 6, maxHalfOpenPerAddress: 4, cookies: 'never' })
    for (let port = 1; port <= 4; port++) {
      hub.pass(hub.client('198.51.100.20', port))
      hub.pass(hub.client('198.51.100.21', port))
    }
    expect(hub.responder.halfOpen).toBe(6)
    hub.flush(false)
    const honest = hub.client('203.0.113.10')
    hub.settle(honest)
    expect(honest.end.of('established')).toHaveLength(1)
    expect(hub.responder.halfOpen).toBe(5)
    // Among themselves they gain nothing: who has as many as anybody waits like everybody.
    for (let port = 5; port <= 9; port++) {
      hub.pass(hub.client('198.51.100.20', port))
      hub.pass(hub.client('198.51.100.21', port))
    }
    expect(hub.responder.halfOpen).toBe(6)
  })

  it('tells requests for unknown SPIs so, not too often, and never answers a response', () => {
    const hub = new Hub()
    const { path } = hub.client()
    const message = Uint8Array.from(Buffer.alloc(32))
    const header = (flags: number) => {
      message.set([1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2])
      message.set([0, 0x20, ExchangeType.INFORMATIONAL, flags, 0, 0, 0, 9, 0, 0, 0, 32], 16)
      return message
    }
    hub.responder.receive(hub.now, header(0x20), path.gateway)
    hub.responder.receive(hub.now, header(0x28), path.gateway)
    expect(hub.flush(false)).toEqual([])
    for (let count = 0; count < 50; count++) hub.responder.receive(hub.now, header(0x08), path.gateway)
    const answers = hub.flush(false)
    expect(answers).toHaveLength(10)
    expect(notifyIn(answers[0], NotifyType.INVALID_IKE_SPI)).toBeDefined()
    // The same SPIs and Message ID, from the responder's side.
    expect(answers[0]?.subarray(0, 16)).toEqual(message.subarray(0, 16))
    expect(answers[0]?.subarray(18, 24)).toEqual(Uint8Array.of(37, 0x20, 0, 0, 0, 9))
    hub.responder.receive(hub.now + 1000, header(0x08), path.gateway)
    expect(hub.flush(false)).toHaveLength(1)
  })

  it('tells whoever sends ESP of no SA so, not too often, and not to those it has an IKE SA with', () => {
    const hub = new Hub()
    const { path } = hub.client()
    hub.responder.unknownEsp(hub.now, 0xc0ffee01, path.gateway)
    const [answer, ...others] = hub.flush(false)
    expect(others).toEqual([])
    expect(notifyIn(answer, NotifyType.INVALID_SPI)?.data).toEqual(Uint8Array.of(0xc0, 0xff, 0xee, 0x01))
    // A request that means no IKE SA and that nobody answers.
    expect(answer?.subarray(0, 16)).toEqual(new Uint8Array(16))
    expect(answer?.subarray(18, 24)).toEqual(Uint8Array.of(37, 0x08, 0, 0, 0, 0))
    for (let count = 0; count < 50; count++) hub.responder.unknownEsp(hub.now, count + 256, path.gateway)
    expect(hub.flush(false)).toHaveLength(9)
  })

  it('answers a higher major version with its own, and an IKEv1 peer not at all', () => {
    const hub = new Hub()
    const { path } = hub.client()
    const message = new Uint8Array(28)
    message.set([1, 1, 1, 1, 1, 1, 1, 1])
    message.set([33, 0x30, 34, 0x08, 0, 0, 0, 0, 0, 0, 0, 28], 16)
    hub.responder.receive(hub.now, message, path.gateway)
    const [answer] = hub.flush(false)
    expect(notifyIn(answer, NotifyType.INVALID_MAJOR_VERSION)).toBeDefined()
    message[17] = 0x10
    hub.responder.receive(hub.now, message, path.gateway)
    expect(hub.flush(false)).toEqual([])
  })

  it('gives addresses back and forgets the session when the client leaves', () => {
    const released: string[] = []
    const hub = new Hub({}, { release: (peer) => released.push(peer) })
    const client = hub.client()
    hub.settle(client)
    client.end.session.close(hub.now)
    client.end.drain()
    hub.settle(client)
    expect(client.end.of('closed')).toMatchObject([{ reason: 'requested', error: undefined }])
    expect(released).toEqual(['alice@example.org'])
    expect(hub.responder.sessions).toEqual([])
  })

  it('follows a session over rekeyings and drains what its methods leave behind', () => {
    const hub = new Hub()
    const client = hub.client()
    hub.settle(client)
    const [session] = hub.responder.sessions
    session?.rekeyIke(hub.now)
    hub.flush()
    hub.settle(client)
    client.end.session.checkLiveness(hub.now)
    client.end.drain()
    hub.settle(client)
    expect(client.end.of('rekeyed')).toHaveLength(1)
    expect(client.end.of('liveness')).toHaveLength(1)
  })
})
