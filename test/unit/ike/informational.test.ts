import { describe, expect, it } from 'vitest'
import { DEFAULT_ESP_PROPOSALS } from '../../../src/crypto/proposal.ts'
import { espOffer } from '../../../src/ike/tasks/child.ts'
import {
  ConfigType,
  ExchangeType,
  NotifyType,
  PayloadType,
  ProtocolId
} from '../../../src/wire/ike-constants.ts'
import { espSpiToBytes, findNotify, findPayload, notify } from '../../../src/wire/ike-helpers.ts'
import { Pair, pathPair, selectors } from '../../support/ike-pair.ts'
import { ManualPeer } from '../../support/manual-peer.ts'

const { INFORMATIONAL, CREATE_CHILD_SA } = ExchangeType

/** A connected client whose gateway is from now on played by hand. */
function clientWithPeer() {
  const path = pathPair()
  const pair = new Pair({ logKeys: true }).connect(path)
  const peer = new ManualPeer(pair.client, path.client, false)
  pair.client.said()
  return { pair, client: pair.client, peer, path }
}

/** A connected gateway whose client is from now on played by hand. */
function gatewayWithPeer(mobike = true) {
  const path = pathPair()
  const changes = { mobike }
  const pair = new Pair({ logKeys: true, client: changes, gateway: changes }).connect(path)
  const peer = new ManualPeer(pair.gateway, path.gateway, true)
  return { pair, gateway: pair.gateway, peer, path }
}

describe('requests of the peer', () => {
  it('are answered once and, when repeated, with the same bytes', () => {
    const { pair, client, peer, path } = clientWithPeer()
    const [message] = peer.seal(peer.header(INFORMATIONAL, false, 0), [])
    if (message === undefined) throw new Error('nothing sealed')
    for (let count = 0; count < 3; count++) client.session.receive(pair.now, message, path.client)
    client.drain()
    expect(client.sent).toHaveLength(3)
    expect(client.sent[1]?.message).toEqual(client.sent[0]?.message)
    expect(client.sent[2]?.message).toEqual(client.sent[0]?.message)
  })

  it('outside the window are dropped', () => {
    const { pair, client, peer } = clientWithPeer()
    for (const messageId of [1, 2, 0xffffffff])
      peer.say(pair.now, peer.header(INFORMATIONAL, false, messageId), [])
    expect(client.sent).toEqual([])
    peer.say(pair.now, peer.header(INFORMATIONAL, false, 0), [])
    peer.say(pair.now, peer.header(INFORMATIONAL, false, 1), [])
    peer.say(pair.now, peer.header(INFORMATIONAL, false, 0), [])
    expect(client.sent).toHaveLength(2)
  })

  it('that are not authentic change nothing', () => {
    const { pair, client, peer, path } = clientWithPeer()
    const [message] = peer.seal(peer.header(INFORMATIONAL, false, 0), [
      { type: PayloadType.DELETE, protocolId: ProtocolId.IKE, spis: [] }
    ])
    if (message === undefined) throw new Error('nothing sealed')
    for (let index = 0; index < message.length; index++) {
      const broken = Uint8Array.from(message)
      broken[index] = (broken[index] ?? 0) ^ 0x10
      client.session.receive(pair.now, broken, path.client)
    }
    client.drain()
    expect(client.sent).toEqual([])
    expect(client.session.state).toBe('ESTABLISHED')
  })

  it('with an unknown critical payload are refused by its number, and nothing else happens', () => {
    const { pair, client, peer } = clientWithPeer()
    const body = new Uint8Array(4)
    peer.say(pair.now, peer.header(INFORMATIONAL, false, 0), [
      { type: PayloadType.DELETE, protocolId: ProtocolId.IKE, spis: [] },
      { type: 'unknown', payloadType: 200, critical: true, body }
    ])
    const answer = peer.hear()
    expect(answer.payloads).toEqual([notify(NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD, Uint8Array.of(200))])
    expect(client.session.state).toBe('ESTABLISHED')
  })

  it('with unknown payloads and notifies that are not critical are answered as if those were not there', () => {
    const { pair, client, peer } = clientWithPeer()
    const body = new Uint8Array(4)
    peer.say(pair.now, peer.header(INFORMATIONAL, false, 0), [
      notify(40_000),
      notify(NotifyType.ADDITIONAL_IP4_ADDRESS, Uint8Array.of(10, 0, 0, 1)),
      notify(NotifyType.NO_ADDITIONAL_ADDRESSES),
      notify(9999),
      { type: PayloadType.CP, cfgType: ConfigType.CFG_SET, attributes: [] },
      { type: 'unknown', payloadType: 200, critical: false, body }
    ])
    expect(peer.hear().payloads).toEqual([])
    expect(client.session.state).toBe('ESTABLISHED')
  })

  it('that are malformed end the IKE SA at both ends with INVALID_SYNTAX', () => {
    const { pair, client, peer } = clientWithPeer()
    peer.say(pair.now, peer.header(CREATE_CHILD_SA, false, 0), [
      { type: PayloadType.NONCE, data: new Uint8Array(32) }
    ])
    expect(peer.hear().payloads).toEqual([notify(NotifyType.INVALID_SYNTAX)])
    expect(client.of('closed')[0]).toMatchObject({ reason: 'protocol-error', error: { exitCode: 76 } })
    expect(client.children.size).toBe(0)
  })

  it('delete several Child SAs at once, known and unknown', () => {
    const { pair, client, peer } = clientWithPeer()
    const [child] = client.children.values()
    if (child === undefined) throw new Error('no Child SA')
    const spis = [0x1234_5678, child.outbound.spi, child.outbound.spi].map(espSpiToBytes)
    peer.say(pair.now, peer.header(INFORMATIONAL, false, 0), [
      { type: PayloadType.DELETE, protocolId: ProtocolId.ESP, spis }
    ])
    expect(findPayload(peer.hear().payloads, PayloadType.DELETE)?.spis).toEqual([
      espSpiToBytes(child.inbound.spi)
    ])
    expect(client.of('child-down')).toHaveLength(1)
  })

  it('delete the IKE SA: an empty answer, and the session is over', () => {
    const { pair, client, peer } = clientWithPeer()
    peer.say(pair.now, peer.header(INFORMATIONAL, false, 0), [
      { type: PayloadType.DELETE, protocolId: ProtocolId.IKE, spis: [] }
    ])
    expect(peer.hear().payloads).toEqual([])
    expect(client.events.slice(-3).map(({ type }) => type)).toEqual(['child-down', 'spi-released', 'closed'])
    expect(client.of('closed')[0]).toMatchObject({ reason: 'deleted-by-peer', error: undefined })
  })

  it('get COOKIE2 and NAT detection back (RFC 4555)', () => {
    const { pair, peer } = clientWithPeer()
    const cookie = Uint8Array.from({ length: 16 }, (_, index) => index)
    peer.say(pair.now, peer.header(INFORMATIONAL, false, 0), [
      notify(NotifyType.COOKIE2, cookie),
      notify(NotifyType.NAT_DETECTION_SOURCE_IP, new Uint8Array(20)),
      notify(NotifyType.NAT_DETECTION_DESTINATION_IP, new Uint8Array(20))
    ])
    const { payloads } = peer.hear()
    expect(findNotify(payloads, NotifyType.COOKIE2)?.data).toEqual(cookie)
    expect(findNotify(payloads, NotifyType.NAT_DETECTION_DESTINATION_IP)?.data).toHaveLength(20)
  })

  it('rekey a Child SA that is not there: CHILD_SA_NOT_FOUND with its SPI', () => {
    const { pair, peer } = clientWithPeer()
    const about = { protocolId: ProtocolId.ESP, spi: espSpiToBytes(0xdeadbeef) }
    peer.say(pair.now, peer.header(CREATE_CHILD_SA, false, 0), [
      notify(NotifyType.REKEY_SA, undefined, about),
      { type: PayloadType.SA, proposals: espOffer(DEFAULT_ESP_PROPOSALS, 0x1000, true) },
      { type: PayloadType.NONCE, data: new Uint8Array(32) },
      { type: PayloadType.TSi, selectors: selectors('10.0.0.0/8') },
      { type: PayloadType.TSr, selectors: selectors('10.9.0.5') }
    ])
    expect(peer.hear().payloads).toEqual([notify(NotifyType.CHILD_SA_NOT_FOUND, undefined, about)])
  })
})

describe('answers of the peer', () => {
  it('are taken only with the Message ID and the exchange that were asked for', () => {
    const { pair, client, peer } = clientWithPeer()
    client.session.checkLiveness(pair.now)
    client.drain()
    const { header } = peer.hear()
    peer.say(pair.now, peer.header(INFORMATIONAL, true, header.messageId + 1), [])
    peer.say(pair.now, peer.header(CREATE_CHILD_SA, true, header.messageId), [])
    expect(client.of('liveness')).toEqual([])
    peer.say(pair.now + 30, peer.header(INFORMATIONAL, true, header.messageId), [])
    expect(client.of('liveness')).toEqual([{ type: 'liveness', outcome: 'alive', rttMs: 30 }])
  })

  it('CHILD_SA_NOT_FOUND: the Child SA is dropped and made anew (RFC 7296 section 2.25)', () => {
    const { pair, client, peer } = clientWithPeer()
    const [child] = client.children.values()
    if (child === undefined) throw new Error('no Child SA')
    client.session.rekeyChild(pair.now, child.inbound.spi)
    client.drain()
    const { header } = peer.hear()
    peer.say(pair.now, peer.header(CREATE_CHILD_SA, true, header.messageId), [
      notify(NotifyType.CHILD_SA_NOT_FOUND)
    ])
    expect(client.of('child-down')[0]).toMatchObject({ spiIn: child.inbound.spi })
    const next = peer.hear()
    expect(next.header.exchangeType).toBe(CREATE_CHILD_SA)
    expect(findNotify(next.payloads, NotifyType.REKEY_SA)).toBeUndefined()
    // Whoever would ask as well, having been told of the loss, learns that it has been done.
    expect(client.session.isAskingForChild).toBe(true)
    const refusal = [notify(NotifyType.NO_ADDITIONAL_SAS)]
    peer.say(pair.now, peer.header(CREATE_CHILD_SA, true, next.header.messageId), refusal)
    expect(client.session.isAskingForChild).toBe(false)
  })

  it('with selectors outside the offer are not believed, and the Child SA is taken back', () => {
    const { pair, client, peer } = clientWithPeer()
    const [child] = client.children.values()
    if (child === undefined) throw new Error('no Child SA')
    client.session.rekeyChild(pair.now, child.inbound.spi)
    client.drain()
    const request = peer.hear()
    const offer = findPayload(request.payloads, PayloadType.SA)?.proposals[0]
    const tsI = findPayload(request.payloads, PayloadType.TSi)
    const tsR = findPayload(request.payloads, PayloadType.TSr)
    if (offer === undefined || tsI === undefined || tsR === undefined) throw new Error('no offer')
    const [encryption] = offer.transforms
    const esn = offer.transforms.at(-1)
    if (encryption === undefined || esn === undefined) throw new Error('no transforms')
    peer.say(pair.now, peer.header(CREATE_CHILD_SA, true, request.header.messageId), [
      {
        type: PayloadType.SA,
        proposals: [{ ...offer, spi: espSpiToBytes(0x1000), transforms: [encryption, esn] }]
      },
      { type: PayloadType.NONCE, data: new Uint8Array(32) },
      { type: PayloadType.TSi, selectors: tsR.selectors },
      { type: PayloadType.TSr, selectors: tsI.selectors }
    ])
    expect(client.children.size).toBe(1)
    const next = peer.hear()
    expect(findPayload(next.payloads, PayloadType.DELETE)?.spis).toEqual([offer.spi])
  })

  it('that are malformed end the session without a word', () => {
    const { pair, client, peer } = clientWithPeer()
    client.session.checkLiveness(pair.now)
    client.drain()
    const { header } = peer.hear()
    peer.say(pair.now, peer.header(INFORMATIONAL, true, header.messageId), [
      { type: 'unknown', payloadType: 200, critical: true, body: new Uint8Array(0) }
    ])
    expect(client.sent).toEqual([])
    expect(client.of('closed')[0]?.error).toMatchObject({ code: 'unsupported-critical-payload' })
  })
})

describe('liveness', () => {
  it('is checked when traffic goes out and none comes back, and only then', () => {
    const pair = new Pair({ client: { haSync: false } }).connect()
    pair.client.said()
    pair.client.session.noteTraffic(pair.now, { sent: true, received: true })
    pair.client.session.noteTraffic(pair.now, { received: true })
    pair.advance(60_000)
    expect(pair.client.said()).toEqual([])
    pair.client.session.noteTraffic(pair.now, { sent: true })
    pair.advance(9_999)
    expect(pair.client.said()).toEqual([])
    pair.advance(1)
    expect(pair.client.said()).toHaveLength(1)
    expect(pair.client.of('liveness')).toMatchObject([{ outcome: 'alive' }])
  })

  it('of a cluster is checked whenever nothing passes at all', () => {
    const pair = new Pair().connect()
    pair.client.said()
    pair.advance(5_000)
    expect(pair.client.said()).toHaveLength(1)
    for (let count = 0; count < 10; count++) {
      pair.client.session.noteTraffic(pair.now, { sent: true, received: true })
      pair.advance(2_000)
    }
    expect(pair.client.said()).toEqual([])
    pair.advance(3_000)
    expect(pair.client.said()).toHaveLength(1)
  })

  it('that fails ends the session as a timeout after every retransmission', () => {
    const pair = new Pair().connect()
    pair.client.session.checkLiveness(pair.now)
    pair.drain()
    pair.client.sent.length = 0
    const sentAt: number[] = []
    const start = pair.now
    for (let count = 0; count < 40 && pair.client.of('closed').length === 0; count++) {
      pair.now = pair.client.session.nextTimeout() ?? pair.now
      pair.client.session.timeout(pair.now)
      pair.drain()
      if (pair.client.sent.length > 0) sentAt.push((pair.now - start) / 1000)
      pair.client.sent.length = 0
    }
    expect(sentAt).toHaveLength(6)
    for (const [index, at] of sentAt.entries()) {
      expect(at).toBeGreaterThanOrEqual(0.5 * (2 ** (index + 1) - 1))
      expect(at).toBeLessThanOrEqual(0.55 * (2 ** (index + 1) - 1))
    }
    expect(pair.client.of('liveness')).toMatchObject([{ outcome: 'dead' }])
    expect(pair.client.of('closed')[0]).toMatchObject({ reason: 'timeout', error: { exitCode: 75 } })
  })

  it('is checked at a rumour that the peer forgot us, but not at every one', () => {
    const pair = new Pair().connect()
    const { client } = pair
    client.said()
    const info = client.of('established')[0]
    const header = Buffer.alloc(36)
    header.writeBigUInt64BE(info?.info.spiI ?? 0n, 0)
    header.writeBigUInt64BE(info?.info.spiR ?? 0n, 8)
    // INFORMATIONAL response 7 { N(INVALID_IKE_SPI) }, unprotected.
    header.set([41, 0x20, 37, 0x20, 0, 0, 0, 7, 0, 0, 0, 36, 0, 0, 0, 8, 0, 0, 0, 4], 16)
    for (let count = 0; count < 5; count++) {
      if (info !== undefined) client.session.receive(pair.now, header, info.path)
      pair.settle()
    }
    expect(client.said()).toHaveLength(1)
    expect(client.session.state).toBe('ESTABLISHED')
  })
})

describe('a responder', () => {
  it('follows authentic requests to another path where MOBIKE is not in use (RFC 7296 section 2.23)', () => {
    const { pair, gateway, peer } = gatewayWithPeer(false)
    const rebound = pathPair('udp', { address: '198.51.100.2', port: 61_000 })
    peer.say(pair.now, peer.header(INFORMATIONAL, false, 2), [], rebound.gateway)
    expect(gateway.of('path-changed')).toEqual([{ type: 'path-changed', path: rebound.gateway }])
    expect(peer.hear().path).toBe(rebound.gateway)
  })

  it('with MOBIKE moves for UPDATE_SA_ADDRESSES alone, but answers where the request came from', () => {
    const { pair, gateway, peer } = gatewayWithPeer()
    const rebound = pathPair('udp', { address: '198.51.100.2', port: 61_000 })
    peer.say(pair.now, peer.header(INFORMATIONAL, false, 2), [], rebound.gateway)
    expect(gateway.of('path-changed')).toEqual([])
    expect(peer.hear().path).toBe(rebound.gateway)
    peer.say(
      pair.now,
      peer.header(INFORMATIONAL, false, 3),
      [notify(NotifyType.UPDATE_SA_ADDRESSES)],
      rebound.gateway
    )
    expect(gateway.of('path-changed')).toHaveLength(1)
  })

  it('follows to a stream with the first fresh message, and not with a repeated one', () => {
    const { pair, gateway, peer } = gatewayWithPeer()
    const stream = pathPair('tcp')
    const [message] = peer.seal(peer.header(INFORMATIONAL, false, 2), [])
    if (message === undefined) throw new Error('nothing sealed')
    gateway.session.receive(pair.now, message, gateway.of('established')[0]?.path ?? stream.gateway)
    gateway.session.receive(pair.now, message, stream.gateway)
    gateway.drain()
    expect(gateway.of('path-changed')).toEqual([])
    expect(gateway.sent.at(-1)?.path).toBe(stream.gateway)
    peer.say(pair.now, peer.header(INFORMATIONAL, false, 3), [], stream.gateway)
    expect(gateway.of('path-changed')).toHaveLength(1)
  })
})
