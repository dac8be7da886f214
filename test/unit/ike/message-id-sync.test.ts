import { describe, expect, it } from 'vitest'
import type { ResponderConfig } from '../../../src/ike/types.ts'
import { ExchangeType, NotifyType } from '../../../src/wire/ike-constants.ts'
import { findNotify, notify } from '../../../src/wire/ike-helpers.ts'
import type { Payload } from '../../../src/wire/ike-message.ts'
import { Pair, pathPair } from '../../support/ike-pair.ts'
import { ManualPeer } from '../../support/manual-peer.ts'

const { INFORMATIONAL } = ExchangeType

function client(options: { haSync?: ResponderConfig['haSync'] } = {}) {
  const path = pathPair()
  const pair = new Pair({ logKeys: true, gateway: { haSync: options.haSync ?? true } }).connect(path)
  const peer = new ManualPeer(pair.client, path.client, false)
  return { pair, end: pair.client, peer, path }
}

function sync(sends: number, expects: number, nonce = 0xabad1dea): Payload {
  const data = Buffer.alloc(12)
  data.writeUInt32BE(nonce, 0)
  data.writeUInt32BE(sends, 4)
  data.writeUInt32BE(expects, 8)
  return notify(NotifyType.IKEV2_MESSAGE_ID_SYNC, Uint8Array.from(data))
}

/** `[nonce, EXPECTED_SEND, EXPECTED_RECV]` of the answer. */
function countersIn(payloads: readonly Payload[]): number[] {
  const data = findNotify(payloads, NotifyType.IKEV2_MESSAGE_ID_SYNC)?.data
  if (data === undefined) throw new Error('no synchronisation in the answer')
  const view = Buffer.from(data)
  return [0, 4, 8].map((offset) => view.readUInt32BE(offset))
}

describe('Message ID synchronisation with a cluster (RFC 6311)', () => {
  it('raises both counters: the answer has Message ID 0 and our side of them', () => {
    const { pair, end, peer } = client()
    peer.say(pair.now, peer.header(INFORMATIONAL, false, 0), [sync(5, 7)])
    const answer = peer.hear()
    expect(answer.header).toMatchObject({ messageId: 0, isResponse: true })
    expect(answer.payloads).toHaveLength(1)
    // P2 is the higher of P1 and our next; M2 is M1.
    expect(countersIn(answer.payloads)).toEqual([0xabad1dea, 7, 5])
    expect(end.session.info()).toMatchObject({ nextRequestId: 7, expectedRequestId: 5 })
    peer.say(pair.now, peer.header(INFORMATIONAL, false, 5), [])
    expect(peer.hear().header.messageId).toBe(5)
  })

  it('never lowers our own counter', () => {
    const { pair, peer } = client()
    peer.say(pair.now, peer.header(INFORMATIONAL, false, 0), [sync(3, 0)])
    // IKE_SA_INIT and IKE_AUTH were 0 and 1.
    expect(countersIn(peer.hear().payloads)).toEqual([0xabad1dea, 2, 3])
  })

  it('abandons what was outstanding and pursues it under the new number', () => {
    const { pair, end, peer } = client()
    const [spi = 0] = end.sendingOn.values()
    end.session.rekeyChild(pair.now, spi)
    end.drain()
    const first = peer.hear()
    peer.say(pair.now, peer.header(INFORMATIONAL, false, 0), [sync(5, 1)])
    // The request with the old number counts as used.
    expect(countersIn(peer.hear().payloads)[1]).toBe(first.header.messageId + 1)
    const again = peer.hear()
    expect(again.header).toMatchObject({
      exchangeType: ExchangeType.CREATE_CHILD_SA,
      messageId: first.header.messageId + 1
    })
  })

  it('drops a value that it has seen, yet repeats its answer to the same octets', () => {
    const { pair, end, peer, path } = client()
    const [message] = peer.seal(peer.header(INFORMATIONAL, false, 0), [sync(5, 7)])
    if (message === undefined) throw new Error('nothing sealed')
    for (let count = 0; count < 2; count++) end.session.receive(pair.now, message, path.client)
    end.drain()
    expect(end.sent).toHaveLength(2)
    expect(end.sent[0]?.message).toEqual(end.sent[1]?.message)
    end.sent.length = 0
    for (const sends of [0, 4, 5])
      peer.say(pair.now, peer.header(INFORMATIONAL, false, 0), [sync(sends, 9, sends)])
    expect(end.sent).toEqual([])
    expect(end.session.info()).toMatchObject({ nextRequestId: 7, expectedRequestId: 5 })
    peer.say(pair.now, peer.header(INFORMATIONAL, false, 0), [sync(6, 9)])
    expect(countersIn(peer.hear().payloads)).toEqual([0xabad1dea, 9, 6])
  })

  it('works for the very first request of the cluster, whose Message ID would be 0 anyway', () => {
    const { pair, end, peer } = client()
    expect(end.session.info().expectedRequestId).toBe(0)
    peer.say(pair.now, peer.header(INFORMATIONAL, false, 0), [])
    expect(peer.hear().payloads).toEqual([])
    peer.say(pair.now, peer.header(INFORMATIONAL, false, 0), [sync(2, 2)])
    expect(countersIn(peer.hear().payloads)).toEqual([0xabad1dea, 2, 2])
  })

  it('hands the replay counter on', () => {
    const { pair, end, peer } = client()
    const delta = notify(NotifyType.IPSEC_REPLAY_COUNTER_SYNC, Uint8Array.of(0, 1, 0, 0))
    peer.say(pair.now, peer.header(INFORMATIONAL, false, 0), [sync(5, 7), delta])
    expect(end.of('replay-counter-sync')).toEqual([{ type: 'replay-counter-sync', delta: 65_536n }])
    const large = notify(NotifyType.IPSEC_REPLAY_COUNTER_SYNC, Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 0))
    peer.say(pair.now, peer.header(INFORMATIONAL, false, 5), [large])
    expect(end.of('replay-counter-sync').at(-1)?.delta).toBe(2n ** 32n)
  })

  it('is dropped in silence with any other payload, twice in one message, or at another length', () => {
    const spoilt: Payload[][] = [
      [sync(5, 7), notify(NotifyType.NAT_DETECTION_SOURCE_IP, new Uint8Array(20))],
      [sync(5, 7), sync(6, 7)],
      [notify(NotifyType.IKEV2_MESSAGE_ID_SYNC, new Uint8Array(11))],
      [sync(5, 7), ...[1, 2].map(() => notify(NotifyType.IPSEC_REPLAY_COUNTER_SYNC, new Uint8Array(4)))]
    ]
    for (const payloads of spoilt) {
      const { pair, end, peer } = client()
      peer.say(pair.now, peer.header(INFORMATIONAL, false, 0), payloads)
      expect(end.sent).toEqual([])
      expect(end.session.info()).toMatchObject({ nextRequestId: 2, expectedRequestId: 0 })
      expect(end.of('replay-counter-sync')).toEqual([])
    }
  })

  it('is dropped when a part of a request with that Message ID has been seen', () => {
    const { pair, end, peer, path } = client()
    const long = notify(40_000, new Uint8Array(3000))
    const [first] = peer.seal(peer.header(INFORMATIONAL, false, 0), [long], 1000)
    if (first === undefined) throw new Error('nothing sealed')
    end.session.receive(pair.now, first, path.client)
    peer.say(pair.now, peer.header(INFORMATIONAL, false, 0), [sync(0, 2)])
    expect(end.sent).toEqual([])
    peer.say(pair.now, peer.header(INFORMATIONAL, false, 0), [sync(1, 2)])
    expect(countersIn(peer.hear().payloads)).toEqual([0xabad1dea, 2, 1])
  })

  it('changes nothing when it is forged or altered', () => {
    const { pair, end, peer, path } = client()
    const [message] = peer.seal(peer.header(INFORMATIONAL, false, 0), [sync(5, 7)])
    if (message === undefined) throw new Error('nothing sealed')
    for (let index = 0; index < message.length; index++) {
      const altered = Uint8Array.from(message)
      altered[index] = (altered[index] ?? 0) ^ 1
      end.session.receive(pair.now, altered, path.client)
    }
    end.drain()
    expect(end.session.info()).toMatchObject({ nextRequestId: 2, expectedRequestId: 0, state: 'ESTABLISHED' })
  })

  it('shows that the peer lives: a liveness check that it interrupts has its answer', () => {
    const { pair, end, peer } = client()
    end.session.checkLiveness(pair.now)
    end.drain()
    expect(peer.hear().payloads).toHaveLength(2)
    peer.say(pair.now, peer.header(INFORMATIONAL, false, 0), [sync(5, 1)])
    expect(end.of('liveness')).toMatchObject([{ outcome: 'alive' }])
    expect(end.session.info().tasksActive).toEqual([])
  })

  it('of either kind works without the other', () => {
    const delta = notify(NotifyType.IPSEC_REPLAY_COUNTER_SYNC, Uint8Array.of(0, 1, 0, 0))
    const alone = client({ haSync: 'replay-counters' })
    alone.peer.say(alone.pair.now, alone.peer.header(INFORMATIONAL, false, 0), [delta])
    expect(alone.peer.hear().payloads).toEqual([])
    expect(alone.end.of('replay-counter-sync')).toHaveLength(1)
    alone.peer.say(alone.pair.now, alone.peer.header(INFORMATIONAL, false, 0), [sync(5, 7)])
    expect(alone.end.session.info().nextRequestId).toBe(2)
    const ids = client({ haSync: 'message-ids' })
    ids.peer.say(ids.pair.now, ids.peer.header(INFORMATIONAL, false, 0), [sync(5, 7), delta])
    expect(ids.end.session.info().nextRequestId).toBe(7)
    expect(ids.end.of('replay-counter-sync')).toEqual([])
  })

  it('is none where it was not negotiated', () => {
    const without = client({ haSync: false })
    without.peer.say(without.pair.now, without.peer.header(INFORMATIONAL, false, 0), [sync(5, 7)])
    expect(without.end.session.info().nextRequestId).toBe(2)
    expect(without.end.of('established')[0]?.info.cluster).toBe(false)
  })
})
