/** Messages and packets said again, turned round or made up. Each test first shows that the attack gets as far as it can. */
import { describe, expect, it } from 'vitest'
import { InboundSa, OpenResult } from '../../src/esp/inbound-sa.ts'
import { NextHeader, OutboundSa } from '../../src/esp/outbound-sa.ts'
import { IkeResponder } from '../../src/ike/responder.ts'
import { decodeMessage } from '../../src/wire/ike-codec.ts'
import { ExchangeType, PayloadType, ProtocolId } from '../../src/wire/ike-constants.ts'
import { ALL_SUITES, saParameters, seededRandom } from '../support/esp-parameters.ts'
import { type End, Pair, pathPair, responderConfig } from '../support/ike-pair.ts'
import { settleThrough } from '../support/man-in-the-middle.ts'
import { ManualPeer } from '../support/manual-peer.ts'
import { ipv4, udp } from '../support/packet-factory.ts'
import { SeededRandom } from '../support/seeded-random.ts'

const FLAG_INITIATOR = 0x08
const FLAG_RESPONSE = 0x20
const FLAGS_AT = 19
const MESSAGE_ID_AT = 20

function recorded(options: ConstructorParameters<typeof Pair>[0] = {}) {
  const pair = new Pair(options)
  const path = pathPair()
  pair.addPath(path)
  pair.client.session.connect(pair.now, path.client)
  const passed = settleThrough(pair, (message) => [message])
  expect(pair.client.of('established')).toHaveLength(1)
  return { pair, path, passed }
}

/** All of a session that an attack must not change. */
function stateOf(end: End): string {
  const { session, children, sendingOn, events } = end
  return JSON.stringify([session.state, [...children.keys()], [...sendingOn], events.length])
}

const flip = (message: Uint8Array, bits: number): Uint8Array => {
  const copy = Uint8Array.from(message)
  copy[FLAGS_AT] = (copy[FLAGS_AT] ?? 0) ^ bits
  return copy
}

describe('IKE messages that are said again', () => {
  it('are answered with the same octets, or not at all, and change nothing', () => {
    const { pair, path, passed } = recorded()
    pair.client.session.checkLiveness(pair.now)
    passed.push(...settleThrough(pair, (message) => [message]))
    const [client, gateway] = [stateOf(pair.client), stateOf(pair.gateway)]
    const answers = passed.filter(({ direction }) => direction === 'down').map(({ message }) => message)
    for (const { direction, message } of [...passed, ...passed]) {
      if (direction === 'up') pair.gateway.session.receive(pair.now, message, path.gateway)
      else pair.client.session.receive(pair.now, message, path.client)
      pair.drain()
    }
    // The replay of the last request is one that got lost, as far as anybody can tell.
    const repeated = pair.gateway.sent.splice(0)
    expect(repeated.length).toBeGreaterThan(0)
    for (const { message } of repeated) expect(answers).toContainEqual(message)
    expect(pair.client.sent).toEqual([])
    expect([stateOf(pair.client), stateOf(pair.gateway)]).toEqual([client, gateway])
  })

  it('do not bring a session up again: the other end does not know its keys any more', () => {
    const { passed } = recorded()
    const config = responderConfig()
    const responder = new IkeResponder(config, { random: new SeededRandom(77), wallClockMs: () => 0 })
    const { gateway } = pathPair()
    for (const { direction, message } of passed)
      if (direction === 'up') responder.receive(1, message, gateway)
    const outputs = []
    for (let next = responder.poll(); next !== undefined; next = responder.poll()) outputs.push(next.output)
    // Its first message is as good as anybody's.
    expect(responder.halfOpen).toBe(1)
    expect(outputs.filter(({ type }) => type === 'established' || type === 'child-up')).toEqual([])
  })

  it('lead no path away, for the owner’s own MOBIKE request neither', () => {
    const { pair, path } = recorded()
    const moved = pathPair('udp', { address: '198.51.100.7', port: 4500 })
    pair.addPath(moved)
    pair.client.session.movePath(pair.now, moved.client)
    const update = settleThrough(pair, (message) => [message]).find(({ direction }) => direction === 'up')
    expect(pair.gateway.of('path-changed').at(-1)?.path.remote.address).toBe('198.51.100.7')
    pair.client.session.movePath(pair.now, path.client)
    settleThrough(pair, (message) => [message])
    const before = stateOf(pair.gateway)
    pair.gateway.session.receive(pair.now, update?.message ?? new Uint8Array(0), moved.gateway)
    pair.drain()
    expect(stateOf(pair.gateway)).toBe(before)
  })
})

describe('IKE messages that come back to who sent them', () => {
  it.each([
    ['as they are', 0],
    ['with the other direction', FLAG_INITIATOR],
    ['as a response', FLAG_RESPONSE],
    ['as a response of the other end', FLAG_INITIATOR | FLAG_RESPONSE]
  ])('%s change nothing', (_how, bits) => {
    const { pair, path } = recorded()
    for (const [end, where] of [
      [pair.client, path.client],
      [pair.gateway, path.gateway]
    ] as const) {
      end.session.checkLiveness(pair.now)
      end.drain()
      const before = stateOf(end)
      const logged = end.logs.length
      const [request] = end.sent.splice(0)
      end.session.receive(pair.now, flip(request?.message ?? new Uint8Array(0), bits), where)
      end.drain()
      expect(end.sent).toEqual([])
      expect(stateOf(end)).toBe(before)
      // The one that looks like the awaited answer comes as far as its integrity check.
      if (bits === (FLAG_INITIATOR | FLAG_RESPONSE))
        expect(end.logs.slice(logged).join()).toContain('not authentic')
    }
  })
})

describe('IKE messages that are made up', () => {
  const bye = [{ type: PayloadType.DELETE, protocolId: ProtocolId.IKE, spis: [] }] as const

  it('end a session with its keys, and do nothing without', () => {
    const one = recorded({ logKeys: true })
    const other = recorded({ logKeys: true, seed: 9 })
    const header = (peer: ManualPeer) => peer.header(ExchangeType.INFORMATIONAL, false, 0)
    const stranger = new ManualPeer(other.pair.client, one.path.client, false)
    const insider = new ManualPeer(one.pair.client, one.path.client, false)
    const [forged] = stranger.seal(header(insider), bye)
    const before = stateOf(one.pair.client)
    one.pair.client.session.receive(one.pair.now, forged ?? new Uint8Array(0), one.path.client)
    one.pair.drain()
    expect(stateOf(one.pair.client)).toBe(before)
    expect(one.pair.client.logs.at(-1)).toContain('not authentic')
    insider.say(one.pair.now, header(insider), bye)
    expect(one.pair.client.of('closed')).toMatchObject([{ reason: 'deleted-by-peer' }])
  })

  it('with any single bit of an authentic one changed do nothing', () => {
    const { pair, path } = recorded({ logKeys: true })
    const insider = new ManualPeer(pair.client, path.client, false)
    const [message] = insider.seal(insider.header(ExchangeType.INFORMATIONAL, false, 0), bye)
    if (message === undefined) throw new Error('nothing sealed')
    const before = stateOf(pair.client)
    for (let bit = 0; bit < message.length * 8; bit++) {
      const forged = Uint8Array.from(message)
      forged[bit >> 3] = (forged[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      pair.client.session.receive(pair.now, forged, path.client)
    }
    pair.drain()
    expect(stateOf(pair.client)).toBe(before)
    pair.client.session.receive(pair.now, message, path.client)
    pair.drain()
    expect(pair.client.of('closed')).toHaveLength(1)
  })

  it('do not move the window of Message IDs', () => {
    const { pair, path, passed } = recorded()
    const last = passed.findLast(({ direction }) => direction === 'up')?.message ?? new Uint8Array(0)
    for (const id of [2, 3, 1000, 0xffff_ffff]) {
      const forged = Uint8Array.from(last)
      new DataView(forged.buffer).setUint32(MESSAGE_ID_AT, id)
      expect(decodeMessage(forged).ok).toBe(true)
      pair.gateway.session.receive(pair.now, forged, path.gateway)
    }
    pair.drain()
    expect(pair.gateway.sent).toEqual([])
    pair.client.session.checkLiveness(pair.now)
    pair.settle()
    expect(pair.client.of('liveness')).toHaveLength(1)
  })
})

const INNER = ipv4(udp(1000, 2000, new Array<number>(64).fill(7)))

function sealed(sa: OutboundSa): Uint8Array {
  const packet = new Uint8Array(sa.sealedLength(INNER.length))
  const length = sa.seal(INNER, 0, INNER.length, NextHeader.IPV4, packet, 0)
  return packet.slice(0, length)
}

const opened = (sa: InboundSa, packet: Uint8Array): number => {
  const buffer = new Uint8Array(packet.length + 32)
  buffer.set(packet)
  return sa.open(buffer, 0, packet.length)
}

describe.each(ALL_SUITES)('ESP packets (%s)', (_name, ids) => {
  const random = seededRandom('attack')

  it('that are replayed are refused, though they are good', () => {
    const sender = new OutboundSa(saParameters(ids), random)
    const receiver = new InboundSa(saParameters(ids))
    const packets = Array.from({ length: 40 }, () => sealed(sender))
    for (const packet of packets) expect(opened(receiver, packet)).toBeGreaterThan(0)
    for (const packet of packets) {
      // Somebody with the same keys and no memory takes each of them.
      expect(opened(new InboundSa(saParameters(ids)), packet)).toBeGreaterThan(0)
      expect(opened(receiver, packet)).toBe(OpenResult.replay)
    }
    expect(receiver.packets).toBe(40)
  })

  it('that are forged are refused, wherever a bit is changed, and close the window to nobody', () => {
    const sender = new OutboundSa(saParameters(ids), random)
    const receiver = new InboundSa(saParameters(ids))
    const packet = sealed(sender)
    for (let at = 4; at < packet.length; at++) {
      const forged = Uint8Array.from(packet)
      forged[at] = (forged[at] ?? 0) ^ (1 << (at & 7))
      expect(opened(receiver, forged)).toBeLessThan(0)
    }
    // The highest number there is, made up: had it moved the window, nothing honest would fit any more.
    const far = Uint8Array.from(packet)
    far.set([0xff, 0xff, 0xff, 0xf0], 4)
    expect(opened(receiver, far)).toBeLessThan(0)
    expect(opened(receiver, packet)).toBeGreaterThan(0)
  })

  it('that come back to who sent them are refused, with the SPI of the way back too', () => {
    const [there, back] = [1, 2].map((seed) => saParameters(ids, { seed, spi: 0x1000 + seed }))
    if (there === undefined || back === undefined) throw new Error('no parameters')
    const packet = sealed(new OutboundSa(saParameters(ids, { seed: 1, spi: there.spi }), random))
    const own = new InboundSa(back)
    new DataView(packet.buffer).setUint32(0, back.spi)
    expect(opened(own, packet)).toBeLessThan(0)
    expect(own.packets).toBe(0)
  })
})
