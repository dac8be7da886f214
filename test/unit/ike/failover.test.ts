import { describe, expect, it } from 'vitest'
import { decodeSnapshot, encodeSnapshot } from '../../../src/ike/snapshot-codec.ts'
import type { ResponderConfig } from '../../../src/ike/types.ts'
import { ExchangeType, NotifyType } from '../../../src/wire/ike-constants.ts'
import { findNotify, notify } from '../../../src/wire/ike-helpers.ts'
import type { Payload } from '../../../src/wire/ike-message.ts'
import { End, Pair, pathPair, responderConfig } from '../../support/ike-pair.ts'
import { ManualPeer } from '../../support/manual-peer.ts'

const { INFORMATIONAL, CREATE_CHILD_SA } = ExchangeType
const DELTA = 1n << 20n

interface Failover {
  readonly transport?: 'udp' | 'tcp'
  readonly haSync?: ResponderConfig['haSync']
  /** What happens before the active member dies. */
  readonly before?: (pair: Pair) => void
  readonly ageMs?: number
}

/** A client, by hand, and the member of the cluster that has taken over from the one that the client connected to. */
function failover({ transport = 'udp', haSync = true, before, ageMs = 0 }: Failover = {}) {
  const path = pathPair(transport)
  const pair = new Pair({ logKeys: true, gateway: { haSync } }).connect(path)
  before?.(pair)
  const snapshot = pair.gateway.session.snapshot(pair.now)
  if (snapshot === undefined) throw new Error('nothing to take over')
  const decoded = decodeSnapshot(encodeSnapshot(snapshot))
  if (!decoded.ok) throw decoded.error
  const member = new End(responderConfig({ haSync }), 41, {
    logKeys: true,
    restore: {
      now: pair.now,
      inputs: {
        snapshot: decoded.value,
        esp: pair.gateway.children,
        path: path.gateway,
        isOpen: transport === 'udp',
        ageMs,
        replayDelta: DELTA
      }
    }
  })
  member.drain()
  const peer = new ManualPeer(member, path.gateway, true)
  return { pair, member, peer, path, now: pair.now }
}

function countersIn(payloads: readonly Payload[]) {
  const data = findNotify(payloads, NotifyType.IKEV2_MESSAGE_ID_SYNC)?.data
  if (data === undefined) throw new Error('no synchronisation')
  const view = Buffer.from(data)
  return { nonce: view.readUInt32BE(0), sends: view.readUInt32BE(4), expects: view.readUInt32BE(8) }
}

function answer(nonce: number, sends: number, expects: number): Payload {
  const data = Buffer.alloc(12)
  data.writeUInt32BE(nonce, 0)
  data.writeUInt32BE(sends, 4)
  data.writeUInt32BE(expects, 8)
  return notify(NotifyType.IKEV2_MESSAGE_ID_SYNC, Uint8Array.from(data))
}

describe('a member that takes over (RFC 6311)', () => {
  it('has the same SAs, and tells the data plane of them', () => {
    const { pair, member } = failover()
    const [before, after] = [pair.gateway.session.info(), member.session.info()]
    for (const key of ['initiatorSpi', 'responderSpi', 'suite', 'localId', 'remoteId'] as const)
      expect(after[key]).toBe(before[key])
    expect(after.virtualIps).toEqual(before.virtualIps)
    expect(member.children).toEqual(pair.gateway.children)
    expect(member.sendingOn).toEqual(pair.gateway.sendingOn)
    const [told] = pair.gateway.of('established')
    expect(member.of('established')[0]?.info).toEqual({ ...told?.info, resumed: true })
    expect(member.of('spi-claimed')).toEqual(pair.gateway.of('spi-claimed'))
  })

  it('asks for both counters in one request with Message ID 0', () => {
    const { member, peer } = failover()
    const request = peer.hear()
    expect(request.header).toMatchObject({ messageId: 0, isResponse: false, exchangeType: INFORMATIONAL })
    expect(request.payloads).toHaveLength(2)
    // More than any that can have been used; the client's last was its IKE_AUTH, 1.
    expect(countersIn(request.payloads)).toMatchObject({ sends: 4096, expects: 2 })
    const delta = findNotify(request.payloads, NotifyType.IPSEC_REPLAY_COUNTER_SYNC)?.data
    expect(delta).toEqual(Uint8Array.of(0, 16, 0, 0))
    expect(member.sent).toEqual([])
  })

  it('believes the answer with its nonce alone, and goes on with the higher numbers', () => {
    const { member, peer, now } = failover()
    const { nonce } = countersIn(peer.hear().payloads)
    const header = peer.header(INFORMATIONAL, true, 0)
    const isWaiting = () => member.session.info().tasksActive.includes('counter-sync')
    peer.say(now, header, [answer((nonce ^ 1) >>> 0, 5, 4096)])
    peer.say(now, header, [answer(nonce, 1, 4096)])
    peer.say(now, header, [answer(nonce, 5, 4095)])
    peer.say(now, header, [answer(nonce, 5, 4096), notify(NotifyType.COOKIE2)])
    peer.say(now, header, [])
    expect(isWaiting()).toBe(true)
    peer.say(now, header, [answer(nonce, 5, 4200)])
    expect(isWaiting()).toBe(false)
    expect(member.session.info()).toMatchObject({ nextRequestId: 4200, expectedRequestId: 5 })
    // Once answered, never again.
    peer.say(now, header, [answer(nonce, 9, 4300)])
    expect(member.session.info()).toMatchObject({ nextRequestId: 4200, expectedRequestId: 5 })
    expect(member.session.state).toBe('ESTABLISHED')
  })

  it('repeats its request bit for bit, and gives up like with any other', () => {
    const { member, now } = failover()
    const [first] = member.sent
    for (let count = 0; count < 6; count++) {
      const at = member.session.nextTimeout() ?? now
      member.session.timeout(at)
      member.drain()
    }
    expect(new Set(member.sent.map(({ message }) => Buffer.from(message).toString('hex'))).size).toBe(1)
    expect(member.sent).toHaveLength(7)
    expect(first).toBeDefined()
    member.session.timeout(member.session.nextTimeout() ?? now)
    member.drain()
    expect(member.of('closed')).toMatchObject([{ reason: 'timeout' }])
  })

  it('begins nothing else before it is answered, and then everything that waits', () => {
    const { member, peer, now } = failover()
    const { nonce } = countersIn(peer.hear().payloads)
    member.session.checkLiveness(now)
    const [spi = 0] = member.sendingOn.values()
    member.session.rekeyChild(now, spi)
    member.drain()
    expect(member.sent).toEqual([])
    peer.say(now, peer.header(INFORMATIONAL, true, 0), [answer(nonce, 2, 4096)])
    expect(peer.hear().header).toMatchObject({ exchangeType: CREATE_CHILD_SA, messageId: 4096 })
  })

  it('drops requests until then, new ones and old ones, but asks where they come from', () => {
    const { member, peer, now } = failover()
    const request = member.sent.shift()
    const elsewhere = pathPair('udp', { address: '198.51.100.77', port: 9 }).gateway
    for (const id of [0, 1, 2, 3]) {
      peer.say(now, peer.header(INFORMATIONAL, false, id), [], elsewhere)
      expect(member.sent.shift()).toMatchObject({ message: request?.message, path: { id: elsewhere.id } })
      // What had been answered is answered again: the client's IKE_AUTH.
      expect(member.sent.splice(0)).toHaveLength(id === 1 ? 1 : 0)
    }
    expect(member.session.info().remoteHost).toBe('198.51.100.2')
    const forged = Uint8Array.from(peer.seal(peer.header(INFORMATIONAL, false, 2), [])[0] ?? [])
    forged[40] = (forged[40] ?? 0) ^ 1
    member.session.receive(now, forged, elsewhere)
    member.drain()
    expect(member.sent).toEqual([])
  })

  it('waits for the client on streams, and asks on the one that it comes with', () => {
    const { member, peer, now } = failover({ transport: 'tcp' })
    expect(member.sent).toEqual([])
    const stream = pathPair('tcp').gateway
    peer.say(now, peer.header(INFORMATIONAL, false, 2), [], stream)
    const request = peer.hear()
    expect(request.path.id).toBe(stream.id)
    expect(member.of('path-changed')).toEqual([])
    const { nonce } = countersIn(request.payloads)
    peer.say(now, peer.header(INFORMATIONAL, true, 0), [answer(nonce, 3, 4096)], stream)
    expect(member.of('path-changed')).toMatchObject([{ path: { id: stream.id } }])
    peer.say(now, peer.header(INFORMATIONAL, false, 3), [], stream)
    expect(peer.hear().header).toMatchObject({ messageId: 3, isResponse: true })
  })

  it('gives up a client that does not come back within five minutes', () => {
    const { member, now } = failover({ transport: 'tcp' })
    expect(member.session.nextTimeout()).toBe(now + 300_000)
    member.session.timeout(now + 300_000)
    member.drain()
    expect(member.of('closed')).toMatchObject([{ reason: 'timeout' }])
  })

  it('uses no IV of the IKE SA again', () => {
    const ivOf = (end: End) => Buffer.from(end.sent[0]?.message ?? []).readBigUInt64BE(32)
    const { pair, member } = failover()
    pair.gateway.session.checkLiveness(pair.now)
    pair.gateway.drain()
    expect(ivOf(pair.gateway)).toBeLessThan(1n << 32n)
    expect(ivOf(member)).toBeGreaterThanOrEqual(1n << 40n)
  })

  it('goes on at once with a peer that knows neither, and asks for sequence numbers alone with one that knows these', () => {
    const without = failover({ haSync: false })
    expect(without.member.sent).toEqual([])
    without.peer.say(without.now, without.peer.header(INFORMATIONAL, false, 2), [])
    expect(without.peer.hear().header).toMatchObject({ messageId: 2, isResponse: true })
    const { peer, member, now } = failover({ haSync: 'replay-counters' })
    const request = peer.hear()
    expect(request.header.messageId).toBe(0)
    expect(request.payloads).toMatchObject([{ notifyType: NotifyType.IPSEC_REPLAY_COUNTER_SYNC }])
    peer.say(now, peer.header(INFORMATIONAL, true, 0), [])
    expect(member.session.info()).toMatchObject({ tasksActive: [], nextRequestId: 1 })
    const ids = failover({ haSync: 'message-ids' })
    expect(ids.peer.hear().payloads).toHaveLength(1)
  })

  it('keeps the lifetimes, less the time that has passed', () => {
    const { pair, member } = failover({ ageMs: 10_000, before: (one) => one.advance(600_000) })
    const [before] = pair.gateway.session.info(pair.now).childSas
    const [after] = member.session.info(pair.now).childSas
    expect(after?.lifeTimeMs).toBeCloseTo((before?.lifeTimeMs ?? 0) - 10_000, -2)
    expect(after?.installTimeMs).toBe(before?.installTimeMs)
    expect(member.session.info(pair.now).lifeTimeMs).toBeCloseTo(
      (pair.gateway.session.info(pair.now).lifeTimeMs ?? 0) - 10_000,
      -2
    )
  })

  it('takes over from a member that had taken over, with higher numbers', () => {
    const { member, peer, path, now } = failover()
    const first = countersIn(peer.hear().payloads)
    const snapshot = member.session.snapshot(now)
    if (snapshot === undefined) throw new Error('nothing to take over')
    const third = new End(responderConfig(), 43, {
      logKeys: true,
      restore: {
        now,
        inputs: {
          snapshot,
          esp: member.children,
          path: path.gateway,
          isOpen: true,
          ageMs: 0,
          replayDelta: DELTA
        }
      }
    })
    third.drain()
    const second = countersIn(new ManualPeer(third, path.gateway, true).hear().payloads)
    expect(second.sends).toBeGreaterThan(first.sends)
    expect(second.nonce).not.toBe(first.nonce)
  })
})

describe('the sequence numbers that the client was asked to leave out', () => {
  const pendingOf = (end: End, now: number) => {
    const snapshot = end.session.snapshot(now)
    if (snapshot === undefined) throw new Error('nothing to take over')
    const decoded = decodeSnapshot(encodeSnapshot(snapshot))
    return decoded.ok ? decoded.value.pendingReplayDelta : undefined
  }

  it('are told to whoever takes over next, until the client has agreed', () => {
    const { pair, member, peer, now } = failover()
    expect(pendingOf(pair.gateway, now)).toBe(0n)
    expect(pendingOf(member, now)).toBe(DELTA)
    const { nonce, sends } = countersIn(peer.hear().payloads)
    peer.say(now, peer.header(INFORMATIONAL, true, 0), [answer(nonce, 5, sends)])
    expect(pendingOf(member, now)).toBe(0n)
  })

  it('are nothing where the client does not know how', () => {
    const { member, now } = failover({ haSync: 'message-ids' })
    expect(pendingOf(member, now)).toBe(0n)
  })
})

describe('both ends that fail over at once (RFC 6311 appendix A.4)', () => {
  it('come to the same, higher numbers', () => {
    const path = pathPair()
    const pair = new Pair({}).connect(path)
    const ends = [pair.client, pair.gateway].map((end, index) => {
      const snapshot = end.session.snapshot(pair.now)
      if (snapshot === undefined) throw new Error('nothing to take over')
      const inputs = {
        snapshot,
        esp: end.children,
        path: index === 0 ? path.client : path.gateway,
        isOpen: true,
        ageMs: 0,
        replayDelta: DELTA
      }
      return new End(end.config, 50 + index, { restore: { now: pair.now, inputs } })
    })
    const [client, gateway] = ends
    if (client === undefined || gateway === undefined) throw new Error('two ends')
    for (let count = 0; count < 6; count++) {
      for (const end of ends) end.drain()
      for (const { message } of client.sent.splice(0))
        gateway.session.receive(pair.now, message, path.gateway)
      for (const { message } of gateway.sent.splice(0)) client.session.receive(pair.now, message, path.client)
    }
    const [a, b] = [client.session.info(), gateway.session.info()]
    expect([a.tasksActive, b.tasksActive]).toEqual([[], []])
    expect([a.nextRequestId, a.expectedRequestId]).toEqual([b.expectedRequestId, b.nextRequestId])
    expect(client.of('replay-counter-sync')).toHaveLength(1)
    expect(gateway.of('replay-counter-sync')).toHaveLength(1)
  })
})
