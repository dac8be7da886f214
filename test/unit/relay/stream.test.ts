import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import { silentLogger } from '../../../src/log.ts'
import type { Lane } from '../../../src/relay/lane.ts'
import { RelayMetrics } from '../../../src/relay/metrics.ts'
import { DEFAULT_RELAY_LIMITS, type RelayLimits } from '../../../src/relay/options.ts'
import { RelayStream } from '../../../src/relay/stream.ts'
import type { UdpLeg, UdpLegHandlers } from '../../../src/relay/udp-leg.ts'
import { espPacket, frame, ikeFrame, ikeMessage, withMarker } from '../../support/relay-fixture.ts'
import { CLIENTS } from './fake-client.ts'

vi.mock('../../../src/native/poller.ts', () => import('./fake-poller.ts'))

class FakeLeg implements UdpLeg {
  readonly local = { address: '127.0.0.1', port: 40_000 }
  readonly sent: Buffer[] = []
  flushes = 0
  blocked = false
  closed = false

  queue(buffer: Uint8Array, offset: number, length: number): void {
    this.sent.push(Buffer.from(buffer.subarray(offset, offset + length)))
  }
  flush(): void {
    this.flushes++
  }
  close(): void {
    this.closed = true
  }
}

type Kind = keyof typeof CLIENTS

function setUp(kind: Kind, limits: Partial<RelayLimits> = {}, openLeg?: () => UdpLeg | Promise<UdpLeg>) {
  const stream = CLIENTS[kind]()
  const leg = new FakeLeg()
  const metrics = new RelayMetrics()
  const state = { now: 0, done: 0, legs: 0 }
  let lane: Lane | undefined
  const relayed = new RelayStream(
    (events) => {
      lane = stream.openLane(events)
      return lane
    },
    { address: '198.51.100.9', port: 50_000 },
    {
      limits: { ...DEFAULT_RELAY_LIMITS, ...limits },
      metrics,
      log: silentLogger,
      now: () => state.now,
      openLeg: (_client, _handlers: UdpLegHandlers) => {
        state.legs++
        return openLeg === undefined ? leg : openLeg()
      }
    },
    () => {
      state.done++
    }
  )
  relayed.start()
  const waiting = (): number => lane?.waitingBytes ?? 0
  const at = (ms: number): void => {
    state.now = ms
    relayed.checkDeadlines(ms)
  }
  const fromServer = (...datagrams: Buffer[]): void => {
    for (const datagram of datagrams) relayed.onDatagram(datagram, 0, datagram.length)
    relayed.onBatchEnd()
  }
  const endedBy = (): string[] =>
    [...metrics.format().matchAll(/streams_ended_total\{reason="([a-z-]+)"\} 1/g)].map(
      (match) => match[1] ?? ''
    )
  return { stream, leg, metrics, state, relayed, at, fromServer, endedBy, waiting }
}

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe.each(['direct', 'node'] as const)('a stream that is read %s', (kind) => {
  describe('from the client to the server', () => {
    test('a stream on which every packet has another SPI is closed, a client with several SAs is not', () => {
      const withSpi = (spi: number): Buffer => {
        const packet = espPacket(60)
        packet.writeUInt32BE(spi)
        return frame(packet)
      }
      const sane = setUp(kind)
      const few = Array.from({ length: 200 }, (_, index) => withSpi(0x1000 + (index % 20)))
      sane.stream.arrive(Buffer.concat([withSpi(0x1000), withSpi(0x1000), ...few.slice(0, 10), ...few]))
      expect(sane.endedBy()).toEqual([])
      const odd = setUp(kind)
      const many = Array.from({ length: 17 }, (_, index) => withSpi(0x0100_0000 * (index + 1) + 77))
      odd.stream.arrive(Buffer.concat([withSpi(0x1000), withSpi(0x1000), ...many.slice(0, 16)]))
      expect(odd.endedBy()).toEqual([])
      odd.stream.arrive(many[16] as Buffer)
      expect(odd.endedBy()).toEqual(['corrupted'])
    })

    test('only Length is taken off: the marker stays, ESP passes as it is', () => {
      const { stream, leg } = setUp(kind)
      const [init, esp] = [ikeMessage(300), espPacket(1400)]
      stream.arrive(Buffer.concat([ikeFrame(init), frame(esp)]))
      expect(leg.sent).toEqual([withMarker(init), esp])
      expect(leg.flushes).toBe(1)
    })

    test('every way to split the stream in two gives the same datagrams', () => {
      const messages = [
        withMarker(ikeMessage(28, 1)),
        espPacket(8),
        espPacket(33),
        withMarker(ikeMessage(90, 2))
      ]
      const bytes = Buffer.concat(messages.map(frame))
      for (let cut = 1; cut < bytes.length; cut++) {
        const { stream, leg } = setUp(kind)
        stream.arrive(bytes.subarray(0, cut))
        stream.arrive(bytes.subarray(cut))
        expect(leg.sent).toEqual(messages)
      }
    })

    test('frames of every size in chunks of any size keep content and order', () => {
      const message = fc.oneof(
        fc.integer({ min: 28, max: 65_529 }).map((length) => withMarker(ikeMessage(length, length))),
        fc.integer({ min: 8, max: 65_533 }).map((length) => espPacket(length, length))
      )
      const property = fc.property(
        fc.array(message, { maxLength: 5 }),
        fc.array(fc.integer({ min: 1, max: 70_000 }), { minLength: 1, maxLength: 20 }),
        (messages, sizes) => {
          const { stream, leg } = setUp(kind)
          const bytes = Buffer.concat(messages.map(frame))
          for (let at = 0, turn = 0; at < bytes.length; turn++) {
            const size = sizes[turn % sizes.length] ?? 1
            stream.arrive(bytes.subarray(at, at + size))
            at += size
          }
          expect(leg.sent.map((datagram) => datagram.length)).toEqual(messages.map((one) => one.length))
          expect(Buffer.concat(leg.sent).equals(Buffer.concat(messages))).toBe(true)
        }
      )
      fc.assert(property, { seed: 9329, numRuns: 40 })
    })

    test('keepalives and empty frames go no further, nor do runts and IKE with a wrong length', () => {
      const { stream, leg, metrics } = setUp(kind)
      const lying = ikeMessage(40)
      lying.writeUInt32BE(41, 24)
      stream.arrive(
        Buffer.concat([
          frame(Buffer.of(0xff)),
          frame(Buffer.alloc(0)),
          frame(Buffer.of(1, 2, 3)),
          ikeFrame(lying),
          frame(espPacket(100))
        ])
      )
      expect(leg.sent).toEqual([espPacket(100)])
      expect(metrics.toServer.keepalives.value).toBe(1)
      expect(metrics.toServer.malformed.value).toBe(2)
    })

    test.each([0, 1])('a Length of %d closes the stream, after what came before it', (length) => {
      const { stream, leg, endedBy } = setUp(kind)
      stream.arrive(Buffer.concat([frame(espPacket(50)), Buffer.of(0, length), frame(espPacket(60))]))
      expect(leg.sent).toEqual([espPacket(50)])
      expect(leg.closed).toBe(true)
      expect(stream.destroyed).toBe(true)
      expect(endedBy()).toEqual(['bad-frame-length'])
    })

    test('a full socket stops the reading, room in it starts it again', () => {
      const { stream, leg, relayed } = setUp(kind)
      leg.blocked = true
      stream.arrive(frame(espPacket(50)))
      expect(stream.isPaused).toBe(true)
      relayed.onWritable()
      expect(stream.isPaused).toBe(false)
    })

    test('no socket is opened for a stream that says nothing behind the prefix', () => {
      const { stream, state } = setUp(kind)
      expect(state.legs).toBe(0)
      stream.arrive(frame(espPacket(50)))
      expect(state.legs).toBe(1)
    })

    test('what came while a socket was being opened is sent first', async () => {
      const leg = new FakeLeg()
      let opened: (leg: UdpLeg) => void = () => {}
      const { stream } = setUp(kind, {}, () => new Promise((resolve) => (opened = resolve)))
      stream.arrive(Buffer.concat([frame(espPacket(50)), frame(espPacket(60))]))
      expect(stream.isPaused).toBe(true)
      opened(leg)
      await nextTurn()
      expect(leg.sent).toEqual([espPacket(50), espPacket(60)])
      expect(stream.isPaused).toBe(false)
    })

    test('a client that leaves while its socket is being opened leaves no socket behind', async () => {
      const leg = new FakeLeg()
      let opened: (leg: UdpLeg) => void = () => {}
      const { stream } = setUp(kind, {}, () => new Promise((resolve) => (opened = resolve)))
      stream.arrive(frame(espPacket(50)))
      stream.close()
      await nextTurn()
      opened(leg)
      await nextTurn()
      expect(leg.closed).toBe(true)
      expect(leg.sent).toEqual([])
    })

    test('without a socket the stream ends', () => {
      const { stream, endedBy } = setUp(kind, {}, () => {
        throw new Error('too many open files')
      })
      stream.arrive(Buffer.concat([frame(espPacket(50)), frame(espPacket(51))]))
      expect(endedBy()).toEqual(['no-socket'])
      expect(stream.destroyed).toBe(true)
    })
  })

  describe('deadlines', () => {
    test('a stream that says nothing after its prefix is closed', () => {
      const { at, endedBy } = setUp(kind, { firstMessageTimeoutMs: 10_000 })
      at(10_000)
      expect(endedBy()).toEqual([])
      at(10_001)
      expect(endedBy()).toEqual(['first-message-timeout'])
    })

    test('a frame that trickles in is not waited for, however steadily', () => {
      const { stream, state, at, endedBy } = setUp(kind, { frameTimeoutMs: 10_000 })
      stream.arrive(frame(espPacket(50)))
      const slow = frame(espPacket(1400))
      for (let sent = 0; endedBy().length === 0 && sent < 100; sent++) {
        stream.arrive(slow.subarray(sent, sent + 1))
        at(state.now + 1000)
      }
      expect(endedBy()).toEqual(['frame-timeout'])
      expect(state.now).toBe(11_000)
    })

    test('a busy stream whose chunks end inside frames is none of those', () => {
      const { stream, state, at, endedBy } = setUp(kind, { frameTimeoutMs: 10_000 })
      const bytes = frame(espPacket(100))
      stream.arrive(bytes.subarray(0, 50))
      for (let turn = 0; turn < 100; turn++) {
        stream.arrive(Buffer.concat([bytes.subarray(50), bytes.subarray(0, 50)]))
        at(state.now + 1000)
      }
      expect(endedBy()).toEqual([])
    })

    test('idle means neither IKE nor ESP in either direction; keepalives do not count', () => {
      const { stream, state, at, fromServer, endedBy } = setUp(kind, { idleTimeoutMs: 60_000 })
      stream.arrive(frame(espPacket(50)))
      state.now = 40_000
      fromServer(espPacket(50))
      at(100_000)
      expect(endedBy()).toEqual([])
      fromServer(Buffer.of(0xff))
      stream.arrive(frame(Buffer.of(0xff)))
      at(100_001)
      expect(endedBy()).toEqual(['idle'])
    })

    test('an idle timeout of 0 is none', () => {
      const { stream, at, endedBy } = setUp(kind, { idleTimeoutMs: 0 })
      stream.arrive(frame(espPacket(50)))
      at(1e9)
      expect(endedBy()).toEqual([])
    })

    test('a client that takes nothing of what waits for it is given up', () => {
      const { stream, at, fromServer, endedBy } = setUp(kind, { stallTimeoutMs: 60_000 })
      stream.arrive(frame(espPacket(50)))
      stream.stalled = true
      fromServer(espPacket(50))
      at(60_000)
      expect(endedBy()).toEqual([])
      at(60_001)
      expect(endedBy()).toEqual(['stalled'])
    })

    test('a client that does not answer the end of the stream is cut off', () => {
      const { stream, at, relayed, state } = setUp(kind, { closeGraceMs: 2000 })
      stream.arrive(frame(espPacket(50)))
      stream.stalled = true
      relayed.onDatagram(espPacket(50), 0, 50)
      relayed.end('shutdown')
      expect(stream.destroyed).toBe(false)
      at(2001)
      expect(stream.destroyed).toBe(true)
      expect(state.done).toBeLessThanOrEqual(1)
    })
  })

  describe('from the server to the client', () => {
    test('a batch leaves in one write, each datagram in a frame', () => {
      const { stream, fromServer } = setUp(kind)
      stream.arrive(frame(espPacket(50)))
      const response = ikeMessage(500)
      fromServer(withMarker(response), espPacket(1400, 1), espPacket(900, 2))
      expect(stream.written).toEqual([
        Buffer.concat([ikeFrame(response), frame(espPacket(1400, 1)), frame(espPacket(900, 2))])
      ])
    })

    test('NAT-keepalives and runts are dropped', () => {
      const { stream, metrics, fromServer } = setUp(kind)
      stream.arrive(frame(espPacket(50)))
      fromServer(Buffer.of(0xff), Buffer.alloc(0), Buffer.of(0, 0, 0, 0), Buffer.of(1, 2, 3, 4, 5))
      expect(stream.written).toEqual([])
      expect(metrics.toClient.keepalives.value).toBe(1)
      expect(metrics.toClient.malformed.value).toBe(3)
    })

    test('for a stalled client memory is bounded: ESP is dropped, every IKE message is kept', () => {
      const { stream, metrics, fromServer, waiting } = setUp(kind, {
        espQueueBytes: 100_000,
        ikeQueueBytes: 300_000
      })
      stream.arrive(frame(espPacket(50)))
      stream.stalled = true
      for (let round = 0; round < 200; round++) {
        fromServer(...Array.from({ length: 50 }, (_, index) => espPacket(1400, index)))
        fromServer(withMarker(ikeMessage(400, round)))
      }
      expect(metrics.toClient.ike.value).toBe(200)
      expect(metrics.toClient.espDropped.value).toBeGreaterThan(9000)
      expect(waiting()).toBeLessThan(200_000)
    })

    test('what waited for a client is sent in order once it takes something again', () => {
      const { stream, fromServer, at, endedBy } = setUp(kind, { stallTimeoutMs: 60_000 })
      stream.arrive(frame(espPacket(50)))
      stream.stalled = true
      const batches = Array.from({ length: 90 }, (_, index) => [
        espPacket(1400, index),
        espPacket(700, index)
      ])
      for (const batch of batches) fromServer(...batch)
      at(59_000)
      stream.takeAll()
      expect(Buffer.concat(stream.written).equals(Buffer.concat(batches.flat().map(frame)))).toBe(true)
      at(70_000)
      fromServer(espPacket(60))
      expect(stream.written.at(-1)).toEqual(frame(espPacket(60)))
      at(125_000)
      expect(endedBy()).toEqual([])
    })

    test('a stream of IKE that nobody reads ends the stream', () => {
      const { stream, fromServer, endedBy, waiting } = setUp(kind, { ikeQueueBytes: 100_000 })
      stream.arrive(frame(espPacket(50)))
      stream.stalled = true
      for (let round = 0; round < 100 && endedBy().length === 0; round++)
        fromServer(withMarker(ikeMessage(4000)))
      expect(endedBy()).toEqual(['queue-full'])
      expect(waiting()).toBeLessThanOrEqual(100_000)
    })

    test('the way to the server may fail a few times, then the stream is closed', () => {
      const { stream, leg, relayed, fromServer, endedBy } = setUp(kind)
      stream.arrive(frame(espPacket(50)))
      for (let error = 0; error < 4; error++) relayed.onError('ECONNREFUSED')
      fromServer(espPacket(50))
      for (let error = 0; error < 4; error++) relayed.onError('ECONNREFUSED')
      expect(endedBy()).toEqual([])
      relayed.onError('ECONNREFUSED')
      expect(endedBy()).toEqual(['target-unreachable'])
      expect(leg.closed).toBe(true)
    })
  })

  describe('the end', () => {
    test.each(['end', 'close', 'error'] as const)(
      'the socket goes when the client does (%s)',
      async (how) => {
        const { stream, leg, state } = setUp(kind)
        stream.arrive(frame(espPacket(50)))
        if (how === 'end') stream.end()
        else if (how === 'error') stream.reset()
        else stream.close()
        await nextTurn()
        await nextTurn()
        expect(leg.closed).toBe(true)
        expect(state.done).toBe(1)
        expect(leg.sent).toHaveLength(1)
      }
    )
  })
})
