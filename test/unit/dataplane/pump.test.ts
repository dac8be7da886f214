import { describe, expect, it } from 'vitest'
import {
  type MemoryTransport,
  type MemoryTransportOptions,
  memoryTransportPair
} from '../../../src/dataplane/memory-transport.ts'
import { Pump, type PumpOptions } from '../../../src/dataplane/pump.ts'
import { OpenResult } from '../../../src/esp/inbound-sa.ts'
import { Sad, type SoftLimits } from '../../../src/esp/sad.ts'
import { silentLogger } from '../../../src/log.ts'
import { MemoryTun } from '../../../src/tun/memory-tun.ts'
import { VNET_HEADER_LENGTH } from '../../../src/tun/vnet-header.ts'
import type { TrafficSelector } from '../../../src/wire/ike-message.ts'
import { childPair, EVERYTHING, seededRandom } from '../../support/esp-parameters.ts'
import {
  address,
  icmp,
  ipv4,
  ipv6,
  slowChecksum,
  tcp,
  udp,
  upperChecksum,
  withUpperChecksum
} from '../../support/packet-factory.ts'
import { type SegmentFields, segment, segmentsOf, superFrame } from '../../support/tcp-segments.ts'

const MTU = 1400
const SYN = 0x02

class End {
  readonly tun = new MemoryTun({ offload: false })
  readonly sad: Sad
  readonly pump: Pump
  readonly captured: string[] = []
  activity = 0
  softLimits = 0
  clockMs = 0
  /** ECN field that the outer header is said to have. */
  outerEcn: number | undefined

  constructor(softLimits?: SoftLimits, options: Partial<PumpOptions> = {}) {
    this.sad = new Sad({ random: seededRandom('pump'), softLimits })
    this.pump = new Pump({
      tun: this.tun,
      sad: this.sad,
      logger: silentLogger,
      mtu: MTU,
      now: () => this.clockMs,
      capture: (buffer, offset, length, outbound) =>
        this.captured.push(
          `${outbound ? 'out' : 'in'} ${Buffer.from(buffer.subarray(offset, offset + length)).toString('hex')}`
        ),
      observer: { onInboundActivity: () => this.activity++, onSoftLimit: () => this.softLimits++ },
      ...options
    })
  }

  attach(transport: MemoryTransport): void {
    transport.setHandlers({
      onIke() {},
      onEsp: (buffer, offset, length, _path, ecn) => {
        // As a transport would: in the middle of a buffer of its own.
        const received = new Uint8Array(length + 60)
        received.set(buffer.subarray(offset, offset + length), 30)
        this.pump.handleEsp(received, 30, length, this.outerEcn ?? ecn)
      },
      onEspBatchEnd: () => this.pump.handleEspBatchEnd(),
      onWritable: () => this.pump.handleWritable(),
      onClose() {}
    })
    this.pump.setTransport(transport)
  }

  /** Packets that came out of the tunnel since the last call. */
  received(): Uint8Array[] {
    return this.tun.written.splice(0).map((frame) => frame.slice(VNET_HEADER_LENGTH))
  }
}

interface Setup {
  readonly leftTs?: readonly TrafficSelector[]
  readonly rightTs?: readonly TrafficSelector[]
  /** The right end's own idea of the selectors, where it differs. */
  readonly rightRemoteTs?: readonly TrafficSelector[]
  readonly softLimits?: SoftLimits
  readonly transport?: MemoryTransportOptions
  readonly options?: Partial<PumpOptions>
}

/** Two ends, and what is on its way between them: `deliver` lets it arrive. */
function tunnel(setup: Setup = {}) {
  const queue: (() => void)[] = []
  const [leftTransport, rightTransport] = memoryTransportPair({
    schedule: (deliver) => queue.push(deliver),
    ...setup.transport
  })
  const left = new End(setup.softLimits, setup.options)
  const right = new End()
  const pair = childPair({ leftTs: setup.leftTs ?? EVERYTHING, rightTs: setup.rightTs ?? EVERYTHING })
  left.sad.install(pair.left)
  right.sad.install({ ...pair.right, remoteTs: setup.rightRemoteTs ?? pair.right.remoteTs })
  left.sad.activateOutbound(pair.left.inbound.spi)
  right.sad.activateOutbound(pair.right.inbound.spi)
  left.attach(leftTransport)
  right.attach(rightTransport)
  left.pump.resume()
  right.pump.resume()
  const step = () => queue.shift()?.()
  const deliver = () => {
    while (queue.length > 0) step()
  }
  const send = (...packets: Uint8Array[]) => {
    for (const packet of packets) left.tun.inject(packet)
    left.tun.run()
    deliver()
  }
  return { left, right, leftTransport, rightTransport, queue, step, deliver, send }
}

function selector(family: 4 | 6, start: string, end = start): TrafficSelector {
  return {
    family,
    protocol: 0,
    startPort: 0,
    endPort: 65535,
    startAddress: address(start),
    endAddress: address(end)
  }
}

const PACKET4 = ipv4(udp(1, 2, [1, 2, 3]), { source: '10.0.0.1', destination: '10.0.0.2' })
const PACKET6 = ipv6(udp(1, 2, [1, 2, 3, 4]))
const numbered = (number: number, size = 100) =>
  ipv4(udp(1, number, new Array<number>(size).fill(number & 255)))

describe('pump', () => {
  it('carries packets of both families unchanged, and counts them', () => {
    const { left, right, send } = tunnel()
    left.clockMs = 5
    right.clockMs = 9
    send(PACKET4, PACKET6)
    expect(right.received()).toEqual([PACKET4, PACKET6])
    const bytes = PACKET4.length + PACKET6.length
    expect(left.pump.stats).toMatchObject({
      packetsOut: 2,
      bytesOut: bytes,
      lastSentMs: 5,
      lastReceivedMs: undefined
    })
    expect(right.pump.stats).toMatchObject({
      packetsIn: 2,
      bytesIn: bytes,
      lastReceivedMs: 9,
      lastSentMs: undefined
    })
    expect(right.activity).toBe(1)
    expect(left.captured).toEqual(
      [PACKET4, PACKET6].map((packet) => `out ${Buffer.from(packet).toString('hex')}`)
    )
    expect(right.captured).toEqual(
      [PACKET4, PACKET6].map((packet) => `in ${Buffer.from(packet).toString('hex')}`)
    )
  })

  it('cuts super-packets on the way in', () => {
    const { left, right, deliver } = tunnel()
    const fields: SegmentFields = { family: 6, payload: new Array<number>(5000).fill(3) }
    left.tun.injectFrame(superFrame(fields, 1300))
    left.tun.run()
    deliver()
    expect(right.received()).toEqual(segmentsOf(fields, 1300))
  })

  it('sends questions of its own, and shows what passes to whoever looks', () => {
    const { left, right, deliver, send } = tunnel()
    const seen: string[] = []
    const hex = (buffer: Uint8Array, offset: number, length: number) =>
      Buffer.from(buffer.subarray(offset, offset + length)).toString('hex')
    const inspector = {
      inbound: (...packet: [Uint8Array, number, number]) => seen.push(`in ${hex(...packet)}`),
      outbound: (...packet: [Uint8Array, number, number]) => seen.push(`out ${hex(...packet)}`)
    }
    left.pump.inspector = inspector
    right.pump.inspector = inspector
    const question = ipv4(icmp(8, 0), { protocol: 1 })
    expect(left.pump.inject(question)).toBe(true)
    deliver()
    expect(right.received()).toEqual([question])
    const text = Buffer.from(question).toString('hex')
    expect(seen.splice(0)).toEqual([`out ${text}`, `in ${text}`])
    // What nobody has to answer is not looked at on its way out.
    send(PACKET4)
    expect(seen).toEqual([`in ${Buffer.from(PACKET4).toString('hex')}`])
    left.pump.setTransport(undefined)
    expect(left.pump.inject(question)).toBe(false)
    expect(left.pump.blocked).toBe(false)
  })

  it('asks nothing that no Child SA is meant for', () => {
    const { left } = tunnel({ rightTs: [selector(4, '10.1.0.0', '10.1.255.255')] })
    expect(left.pump.inject(ipv4(icmp(8, 0), { protocol: 1, destination: '10.2.0.1' }))).toBe(false)
  })

  it('stops reading while the transport is blocked, and loses nothing, not even in the middle of a super-packet', () => {
    const { left, right, step, queue, deliver } = tunnel({ transport: { queueLimit: 3000 } })
    const fields: SegmentFields = { family: 4, payload: new Array<number>(9000).fill(3) }
    const later = Array.from({ length: 40 }, (_, index) => numbered(index))
    left.tun.injectFrame(superFrame(fields, 1000))
    for (const packet of later) left.tun.inject(packet)
    left.tun.run()
    expect(left.tun.reading).toBe(false)
    expect(left.tun.waiting).toBe(40)
    while (queue.length > 0) step()
    left.tun.run()
    deliver()
    while (left.tun.waiting > 0) {
      left.tun.run()
      deliver()
    }
    expect(left.tun.reading).toBe(true)
    expect(right.received()).toEqual([...segmentsOf(fields, 1000), ...later])
    expect(left.pump.stats.dropped.noPath).toBe(0)
  })

  /** A tunnel whose transport let it wait for long once. */
  function onSlowLine(queueLimit = 3000) {
    const ends = tunnel({ transport: { queueLimit } })
    const { left, right, deliver } = ends
    const count = Math.ceil(queueLimit / 50)
    for (let number = 0; number < count; number++) left.tun.inject(numbered(number))
    while (left.tun.waiting > 0) {
      left.tun.run()
      left.clockMs += 50
      deliver()
    }
    expect(right.received()).toHaveLength(count)
    return ends
  }

  it('reads on while a slow line is blocked, lets flows take turns, and loses nothing, not even in the middle of a super-packet', () => {
    const { left, right, deliver } = onSlowLine()
    const fields: SegmentFields = { family: 4, payload: new Array<number>(9000).fill(3) }
    const later = Array.from({ length: 14 }, (_, index) => numbered(index))
    left.tun.injectFrame(superFrame(fields, 1000))
    for (const packet of later) left.tun.inject(packet)
    left.tun.run()
    expect(left.tun.waiting).toBe(0)
    expect(left.tun.reading).toBe(true)
    left.clockMs += 50
    deliver()
    const received = right.received()
    const isLarge = (packet: Uint8Array) => packet.length > 500
    expect(received.filter(isLarge)).toEqual(segmentsOf(fields, 1000))
    const byPort = (one: Uint8Array, other: Uint8Array) => (one[23] ?? 0) - (other[23] ?? 0)
    expect(received.filter((packet) => !isLarge(packet)).sort(byPort)).toEqual(later)
    // What sends little did not wait for the last of what sends much.
    expect(received.slice(-2).every(isLarge)).toBe(true)
    expect(left.pump.stats.dropped).toMatchObject({ noPath: 0, queueFull: 0, queueLate: 0 })
  })

  it('stops reading when much waits for a slow line, and goes on when that has gone', () => {
    const { left, right, step, queue } = onSlowLine()
    const count = 2000
    for (let index = 0; index < count; index++) left.tun.inject(numbered(index))
    left.tun.run()
    expect(left.tun.reading).toBe(false)
    expect(left.tun.waiting).toBeGreaterThan(0)
    while (queue.length > 0) {
      step()
      left.tun.run()
    }
    expect(left.tun.reading).toBe(true)
    expect(right.received()).toHaveLength(count)
  })

  it('does no work for a queue on a line that has become fast', () => {
    const { left, right, step, queue } = onSlowLine(60_000)
    const count = 4000
    for (let number = 0; number < count; number++) left.tun.inject(numbered(1, 1300))
    left.tun.run()
    while (queue.length > 0) {
      left.clockMs += 0.25
      step()
      left.tun.run()
    }
    expect(right.received()).toHaveLength(count)
    for (let number = 0; number < 100; number++) left.tun.inject(numbered(number, 1300))
    for (let turn = 0; turn < 10; turn++) left.tun.run()
    expect(left.tun.reading).toBe(false)
    expect(left.tun.waiting).toBeGreaterThan(0)
  })

  it('leaves packets in the device while there is no transport, or while it is paused', () => {
    const { left, right, leftTransport, send } = tunnel()
    left.pump.setTransport(undefined)
    send(PACKET4, PACKET6)
    expect(left.tun.reading).toBe(false)
    left.pump.pause()
    left.pump.setTransport(leftTransport)
    expect(left.tun.reading).toBe(false)
    left.pump.resume()
    send()
    expect(right.received()).toEqual([PACKET4, PACKET6])
    left.pump.stop()
    send(PACKET4)
    expect(right.received()).toEqual([])
  })

  it('sends a packet that waited on the Child SA that is current when its turn comes', () => {
    const { left, right, send, queue, deliver } = tunnel({ transport: { queueLimit: 100 } })
    for (const number of [1, 2, 3]) left.tun.inject(numbered(number))
    left.tun.run()
    const fresh = childPair({ generation: 2 })
    left.sad.install(fresh.left)
    right.sad.install(fresh.right)
    left.sad.activateOutbound(fresh.left.inbound.spi)
    left.sad.remove(childPair().left.inbound.spi)
    expect(queue.length).toBe(1)
    deliver()
    send()
    expect(right.received()).toEqual([1, 2, 3].map((number) => numbered(number)))
  })

  it('drops and counts packets outside the selectors, and says so with ICMP, a few times a second', () => {
    const { left, right, send } = tunnel({ rightTs: [selector(4, '10.0.0.0', '10.0.0.255')] })
    const stranger = ipv4(udp(1, 2), { source: '10.0.0.1', destination: '10.9.0.2' })
    send(stranger)
    const [answer = new Uint8Array(0)] = left.received()
    expect([...answer.subarray(20, 22)]).toEqual([3, 13])
    expect(slowChecksum([...answer.subarray(20)])).toBe(0)
    send(...Array.from({ length: 50 }, () => stranger), PACKET6)
    expect(left.received().length).toBe(9)
    left.clockMs = 1000
    send(stranger)
    expect(left.received().length).toBe(1)
    expect(left.pump.stats.dropped.outsideSelectors).toBe(53)
    expect(right.received()).toEqual([])
  })

  it('drops what comes in outside the selectors of its SA', () => {
    const { right, send } = tunnel({ rightRemoteTs: [selector(4, '10.0.0.1')] })
    send(PACKET4, ipv4(udp(1, 2), { source: '10.0.0.7', destination: '10.0.0.2' }))
    expect(right.received()).toEqual([PACKET4])
    expect(right.pump.stats.dropped.wrongSelectors).toBe(1)
  })

  it('tells apart and counts ESP that cannot be taken', () => {
    const { right, left, leftTransport, queue, send } = tunnel()
    const pump = right.pump
    expect(pump.handleEsp(new Uint8Array(7), 0, 7)).toBe(OpenResult.malformed)
    expect(pump.handleEsp(new Uint8Array(100), 0, 100)).toBe(OpenResult.wrongSpi)
    const seen: Uint8Array[] = []
    const { commit } = leftTransport
    leftTransport.commit = (length, ecn) => {
      const at = leftTransport.reserve(0)
      seen.push(leftTransport.buffer.slice(at, at + length))
      commit.call(leftTransport, length, ecn)
    }
    send(PACKET4)
    const [packet = new Uint8Array(0)] = seen
    expect(pump.handleEsp(Uint8Array.from(packet), 0, packet.length)).toBe(OpenResult.replay)
    queue.splice(0)
    left.tun.inject(PACKET4)
    left.tun.run()
    const broken = Uint8Array.from(seen[1] ?? [])
    broken[30] = (broken[30] ?? 0) ^ 1
    expect(pump.handleEsp(broken, 0, broken.length)).toBe(OpenResult.authenticationFailed)
    expect(pump.stats.dropped).toMatchObject({ malformedEsp: 1, unknownSpi: 1, replayed: 1, notAuthentic: 1 })
  })

  it('takes dummy packets as a sign of life and delivers nothing', () => {
    const { left, right, leftTransport, deliver } = tunnel()
    const [child] = left.sad.children
    const at = leftTransport.reserve(200)
    leftTransport.commit(child?.outbound.sealDummy(50, leftTransport.buffer, at) ?? 0)
    leftTransport.flush()
    deliver()
    expect(right.received()).toEqual([])
    expect(right.activity).toBe(1)
    expect(right.pump.stats.dummies).toBe(1)
  })

  it('answers packets that are too big, and fragments IPv4 that allows it', () => {
    const { left, right, send } = tunnel()
    left.pump.setMtu(1000)
    const big4 = numbered(9, 1100)
    const big6 = ipv6(udp(1, 2, new Array<number>(1300).fill(1)))
    send(big4, big6, ipv6(udp(1, 2, new Array<number>(1200).fill(1))))
    const [answer4 = new Uint8Array(0), answer6 = new Uint8Array(0)] = left.received()
    expect([...answer4.subarray(20, 22), ...answer4.subarray(26, 28)]).toEqual([3, 4, 3, 232])
    expect([...answer6.subarray(40, 42), ...answer6.subarray(44, 48)]).toEqual([2, 0, 0, 0, 5, 0])
    expect(upperChecksum(answer6, 40, 58)).toBe(0)
    // IPv6 up to 1280 bytes always passes (RFC 8200 section 5).
    expect(right.received().map((packet) => packet.length)).toEqual([1248])
    expect(left.pump.stats.dropped.tooBig).toBe(2)
    const may = ipv4(udp(1, 2, new Array<number>(1800).fill(5)), { fragment: 0 })
    send(may)
    const pieces = right.received()
    expect(pieces.map((piece) => piece.length)).toEqual([996, 852])
    expect(pieces.flatMap((piece) => [...piece.subarray(20)])).toEqual([...may.subarray(20)])
  })

  it('lowers the MSS in both directions', () => {
    const { left, right, send } = tunnel()
    const syn = withUpperChecksum(ipv4(tcp(SYN, [2, 4, 0x05, 0xb4]), { protocol: 6 }), 20, 16, 6)
    send(syn)
    const [clamped = new Uint8Array(0)] = right.received()
    expect((clamped[42] ?? 0) * 256 + (clamped[43] ?? 0)).toBe(1360)
    expect(upperChecksum(clamped, 20, 6)).toBe(0)
    const fields: SegmentFields = { family: 6, flags: SYN, options: [2, 4, 0x05, 0xb4], payload: [] }
    right.pump.setMtu(1500)
    left.pump.setMtu(1300)
    send(segment(fields))
    expect(right.received()[0]?.subarray(62, 64)).toEqual(Uint8Array.of(1240 >> 8, 1240 & 255))
  })

  it('copies the ECN field to the outer header on UDP, and combines it on the way out (RFC 6040)', () => {
    const { left, right, send } = tunnel()
    const ect: SegmentFields = { family: 6, tos: 2, payload: [1] }
    right.outerEcn = 3
    send(segment(ect), PACKET4)
    expect(right.received()).toEqual([segment({ ...ect, tos: 3 })])
    expect(right.pump.stats.dropped.congestion).toBe(1)
    right.outerEcn = undefined
    send(segment({ ...ect, family: 4, tos: 3 }))
    expect(right.received()).toEqual([segment({ ...ect, family: 4, tos: 3 })])
    expect(left.pump.stats.packetsOut).toBe(3)
  })

  it('tells once that an SA has carried its soft limit', () => {
    const { left, send } = tunnel({ softLimits: { bytes: 0, packets: 3 } })
    send(PACKET4, PACKET4)
    expect(left.softLimits).toBe(0)
    send(PACKET4)
    send(PACKET4)
    expect(left.softLimits).toBe(1)
  })

  it('counts what is no IP packet, and answers nothing', () => {
    const { left, right, send } = tunnel()
    send(Uint8Array.of(1), new Uint8Array(40), PACKET4.subarray(0, 25), Uint8Array.from([...PACKET4, 0]))
    expect(left.pump.stats.dropped.malformed).toBe(4)
    expect([...left.received(), ...right.received()]).toEqual([])
  })

  it('counts frames that the device refuses', () => {
    const { right, send } = tunnel()
    right.tun.release()
    send(PACKET4)
    expect(right.pump.stats.dropped.tunRefused).toBe(1)
  })

  it('does not answer ICMP errors with ICMP errors', () => {
    const { left, send } = tunnel({ rightTs: [selector(4, '10.0.0.0')] })
    send(ipv4(icmp(3, 1), { protocol: 1 }))
    expect(left.received()).toEqual([])
    expect(left.pump.stats.dropped.outsideSelectors).toBe(1)
  })
})
