import { describe, expect, it } from 'vitest'
import { NotifyType } from '../../../src/wire/ike-constants.ts'
import { findNotify, notify } from '../../../src/wire/ike-helpers.ts'
import { Pair, pathPair } from '../../support/ike-pair.ts'
import { ManualPeer } from '../../support/manual-peer.ts'

const roaming = () => pathPair('udp', { address: '192.0.2.77', port: 40_000 })

describe('an initiator that moves to another path', () => {
  it('tells the gateway with UPDATE_SA_ADDRESSES, and both ends use it from then on', () => {
    const pair = new Pair().connect()
    const path = roaming()
    pair.addPath(path)
    pair.client.said()
    pair.client.session.movePath(pair.now, path.client)
    pair.settle()
    expect(pair.client.said()).toEqual([
      expect.stringContaining('N(UPDATE_SA_ADDRESSES)'),
      expect.stringMatching(/INFORMATIONAL response \d+ \[ N\(COOKIE2\) \]/)
    ])
    expect(pair.client.of('path-changed')).toEqual([{ type: 'path-changed', path: path.client }])
    expect(pair.gateway.of('path-changed')).toEqual([{ type: 'path-changed', path: path.gateway }])
  })

  it('says so as well when it comes back to a path that it had before', () => {
    const pair = new Pair()
    const [stream, other] = [pathPair('tcp'), pathPair('tcp')]
    pair.connect(stream)
    pair.addPath(other)
    for (const path of [other, stream, other]) {
      pair.client.session.movePath(pair.now, path.client)
      pair.settle()
    }
    expect(pair.client.of('path-changed').map(({ path }) => path)).toEqual([
      other.client,
      stream.client,
      other.client
    ])
    // Also after an attempt elsewhere that nobody answered.
    const dead = roaming()
    pair.client.session.movePath(pair.now, dead.client)
    pair.settle()
    pair.client.session.pathLost(pair.now, dead.client)
    pair.client.session.movePath(pair.now, other.client)
    pair.settle()
    expect(pair.client.of('path-changed')).toHaveLength(4)
  })

  it('without MOBIKE sends an empty INFORMATIONAL instead', () => {
    const pair = new Pair({ gateway: { mobike: false } }).connect()
    const path = roaming()
    pair.addPath(path)
    pair.client.said()
    pair.client.session.movePath(pair.now, path.client)
    pair.settle()
    expect(pair.client.said()).toEqual([expect.stringMatching(/INFORMATIONAL request \d+ \[ \]/)])
    expect(pair.gateway.of('path-changed')).toHaveLength(1)
    expect(pair.client.of('path-changed')).toHaveLength(1)
  })

  it('sends what is outstanding there at once, bit for bit, and only then the update', () => {
    const pair = new Pair().connect()
    const [spi = 0] = pair.client.sendingOn.values()
    pair.client.session.rekeyChild(pair.now, spi)
    pair.drain()
    const lost = pair.client.sent.shift()
    const path = pathPair('tcp')
    pair.addPath(path)
    pair.client.session.movePath(pair.now, path.client)
    pair.drain()
    expect(pair.client.sent).toHaveLength(1)
    expect(pair.client.sent[0]?.message).toEqual(lost?.message)
    expect(pair.client.sent[0]?.path).toBe(path.client)
    pair.settle()
    expect(pair.client.of('path-changed')).toHaveLength(1)
    expect(pair.client.of('rekeyed')).toHaveLength(1)
  })

  it('waits in silence while there is no path, and loses nothing', () => {
    const pair = new Pair()
    const first = pathPair('tcp')
    pair.connect(first)
    pair.client.session.pathLost(pair.now, first.client)
    pair.gateway.session.pathLost(pair.now, first.gateway)
    const [spi = 0] = pair.client.sendingOn.values()
    pair.client.session.rekeyChild(pair.now, spi)
    pair.advance(200_000)
    expect(pair.client.sent).toEqual([])
    expect(pair.client.of('closed')).toEqual([])
    const next = pathPair('tcp')
    pair.addPath(next)
    pair.client.session.movePath(pair.now, next.client)
    pair.settle()
    expect(pair.client.of('path-changed')).toHaveLength(1)
    expect(pair.client.of('rekeyed')).toHaveLength(1)
  })

  it('starts over when it moves again before the answer came (RFC 4555 section 3.5)', () => {
    const pair = new Pair().connect()
    const [first, second] = [roaming(), pathPair('tcp')]
    pair.addPath(first)
    pair.addPath(second)
    pair.client.session.movePath(pair.now, first.client)
    pair.drain()
    pair.client.session.movePath(pair.now, second.client)
    pair.settle()
    expect(pair.client.of('path-changed')).toEqual([{ type: 'path-changed', path: second.client }])
    expect(pair.gateway.of('path-changed').at(-1)).toEqual({ type: 'path-changed', path: second.gateway })
  })

  it('during IKE_AUTH repeats it there, and sets the address right once established', () => {
    const pair = new Pair()
    const first = pathPair()
    pair.addPath(first)
    pair.client.session.connect(pair.now, first.client)
    pair.drain()
    pair.pass(pair.client)
    pair.pass(pair.gateway)
    const auth = pair.client.sent.shift()
    const next = pathPair('tcp')
    pair.addPath(next)
    pair.client.session.movePath(pair.now, next.client)
    pair.drain()
    expect(pair.client.sent[0]?.message).toEqual(auth?.message)
    pair.settle()
    expect(pair.client.of('established')).toHaveLength(1)
    expect(pair.client.of('path-changed')).toHaveLength(1)
  })

  it('updates the gateway when liveness shows that a NAT has changed its mapping', () => {
    const pair = new Pair({ client: { haSync: false } })
    const path = pathPair()
    pair.connect(path)
    pair.client.session.checkLiveness(pair.now)
    pair.settle()
    // The NAT forgets: from now on the gateway sees another port.
    const rebound = {
      ...path.gateway,
      id: path.gateway.id + 100_000,
      remote: { ...path.gateway.remote, port: 9 }
    }
    pair.addPath({ client: path.client, gateway: rebound })
    pair.client.said()
    pair.client.session.checkLiveness(pair.now)
    pair.settle()
    expect(pair.client.said()[1]).toContain('N(UPDATE_SA_ADDRESSES)')
    expect(pair.gateway.of('path-changed')).toEqual([{ type: 'path-changed', path: rebound }])
  })
})

describe('a responder that the peer tells of a new address', () => {
  const moved = (path = roaming()) => {
    const first = pathPair()
    const pair = new Pair({ logKeys: true }).connect(first)
    const peer = new ManualPeer(pair.gateway, path.gateway, true)
    peer.say(pair.now, peer.header(37, false, 2), [notify(NotifyType.UPDATE_SA_ADDRESSES)])
    peer.hear()
    return { pair, gateway: pair.gateway, peer }
  }

  it('checks that the peer really is there, with COOKIE2', () => {
    const { pair, gateway, peer } = moved()
    const check = peer.hear()
    const cookie = findNotify(check.payloads, NotifyType.COOKIE2)
    expect(cookie?.data).toHaveLength(16)
    peer.say(pair.now, peer.header(37, true, check.header.messageId), cookie === undefined ? [] : [cookie])
    expect(gateway.of('closed')).toEqual([])
  })

  it('closes the IKE SA when COOKIE2 comes back changed (RFC 4555 section 3.7)', () => {
    const { pair, gateway, peer } = moved()
    const check = peer.hear()
    const changed = notify(NotifyType.COOKIE2, new Uint8Array(16))
    peer.say(pair.now, peer.header(37, true, check.header.messageId), [changed])
    expect(gateway.of('closed')).toMatchObject([{ reason: 'protocol-error' }])
  })

  it('asks where authentic ESP comes from, when a NAT has given the peer another port', () => {
    const pair = new Pair().connect()
    const [rebound, stream] = [roaming(), pathPair('tcp')]
    pair.addPath(rebound)
    pair.gateway.session.checkLiveness(pair.now)
    pair.drain()
    // The NAT knows nothing of the old port any more.
    const [lost] = pair.gateway.sent.splice(0)
    pair.gateway.session.peerSeenOn(pair.now, rebound.gateway)
    pair.drain()
    const [again] = pair.gateway.sent
    expect(again?.path.id).toBe(rebound.gateway.id)
    expect(again?.message).toEqual(lost?.message)
    pair.settle()
    expect(pair.gateway.of('liveness').map(({ outcome }) => outcome)).toEqual(['alive'])
    // Streams are another matter: there the peer's next request decides.
    pair.gateway.session.peerSeenOn(pair.now, stream.gateway)
    pair.gateway.session.checkLiveness(pair.now)
    pair.drain()
    expect(pair.gateway.sent.map(({ path }) => path.id)).toEqual([rebound.gateway.id])
  })

  it('needs no such proof from a stream', () => {
    const { gateway } = moved(pathPair('tcp'))
    expect(gateway.sent).toEqual([])
    expect(gateway.of('path-changed')).toHaveLength(1)
  })
})

describe('fragments', () => {
  it('go out on UDP only, and are taken on every path', () => {
    const small = { fragmentSize: 400 }
    const onUdp = new Pair({ client: small, gateway: small })
    const path = pathPair()
    onUdp.addPath(path)
    onUdp.client.session.connect(onUdp.now, path.client)
    onUdp.drain()
    onUdp.pass(onUdp.client)
    onUdp.pass(onUdp.gateway)
    expect(onUdp.client.sent.length).toBeGreaterThan(1)
    for (const { message } of onUdp.client.sent) {
      expect(message.length + 20 + 8 + 4).toBeLessThanOrEqual(400)
      expect(message[16]).toBe(53)
    }
    // They arrive over a stream, in the wrong order, some twice.
    const stream = pathPair('tcp').gateway
    for (const { message } of [...onUdp.client.sent.reverse(), ...onUdp.client.sent.slice(0, 1)]) {
      onUdp.gateway.session.receive(onUdp.now, message, stream)
    }
    onUdp.gateway.drain()
    expect(onUdp.gateway.of('established')).toHaveLength(1)
    // The answer goes where the request came from: a stream, so it is whole.
    expect(onUdp.gateway.sent.map(({ path: { id } }) => id)).toEqual([stream.id])
  })

  it('of a repeated request are answered for the first fragment only (RFC 7383 section 2.6.1)', () => {
    const small = { fragmentSize: 400 }
    const pair = new Pair({ client: small, gateway: small })
    const path = pathPair()
    pair.addPath(path)
    pair.client.session.connect(pair.now, path.client)
    pair.drain()
    pair.pass(pair.client)
    pair.pass(pair.gateway)
    const fragments = pair.client.sent.splice(0)
    const receive = () => {
      for (const { message } of fragments) pair.gateway.session.receive(pair.now, message, path.gateway)
      pair.gateway.drain()
      return pair.gateway.sent.splice(0).map(({ message }) => Buffer.from(message).toString('hex'))
    }
    const answer = receive()
    expect(answer.length).toBeGreaterThan(0)
    expect(receive()).toEqual(answer)
  })
})

describe('a responder without a path', () => {
  it('keeps the session for minutes, then gives it up', () => {
    const pair = new Pair()
    const path = pathPair('tcp')
    pair.connect(path)
    pair.gateway.session.pathLost(pair.now, path.gateway)
    pair.gateway.session.timeout(pair.now + 299_999)
    pair.gateway.drain()
    expect(pair.gateway.of('closed')).toEqual([])
    pair.gateway.session.timeout(pair.now + 300_000)
    pair.gateway.drain()
    expect(pair.gateway.of('closed')).toMatchObject([{ reason: 'timeout' }])
  })
})
