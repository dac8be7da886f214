import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Errno } from '../../../src/native/libc-constants.ts'
import { addressOf } from '../../../src/native/memory.ts'
import { type Facility, IN_USE, notInUse } from '../../../src/native/speedups.ts'
import { UdpTransmit } from '../../../src/transport/udp-transmit.ts'

/** A socket that answers as it is told, and remembers what it took. */
class FakeSocket {
  readonly overhead = 28
  mtu = 1500
  readonly calls: {
    readonly packets: number
    readonly bytes: number
    readonly segmented: boolean
    readonly ecn: number
  }[] = []
  readonly sent: Buffer[] = []
  /** The mark of each packet in `sent`. */
  readonly marks: number[] = []
  /** Errno for the next calls; 0: taken. */
  script: number[] = []
  transmit: UdpTransmit | undefined
  /** Refuses UDP_SEGMENT with this. */
  refusesSegments = 0

  pathMtu(): number {
    return this.mtu
  }

  send(address: number, length: number, ecn: number): number {
    return this.#take(address, length, length, ecn)
  }

  sendSegmented(address: number, length: number, segment: number, ecn: number): number {
    if (this.refusesSegments !== 0) return -this.refusesSegments
    if (segment + this.overhead > this.mtu) return -Errno.EINVAL
    return this.#take(address, length, segment, ecn, true)
  }

  #take(address: number, length: number, segment: number, ecn: number, segmented = false): number {
    const errno = this.script.shift() ?? 0
    if (errno !== 0) return -errno
    if (segment + this.overhead > this.mtu) return -Errno.EMSGSIZE
    const buffer = this.transmit?.buffer
    if (buffer === undefined) throw new Error('no buffer')
    const at = address - addressOf(buffer)
    let packets = 0
    for (let offset = 0; offset < length; offset += segment, packets++) {
      this.sent.push(Buffer.from(buffer.subarray(at + offset, at + Math.min(length, offset + segment))))
      this.marks.push(ecn)
    }
    this.calls.push({ packets, bytes: length, segmented, ecn })
    return length
  }
}

function open(segmentation: Facility = IN_USE) {
  const socket = new FakeSocket()
  const counts = { dropped: 0, mtu: 0, blocked: 0, sent: 0 }
  const errors: number[] = []
  const transmit = new UdpTransmit(socket, segmentation, {
    onSocketError: (errno) => errors.push(errno),
    onPathMtuExceeded: () => counts.mtu++,
    onBlocked: () => counts.blocked++,
    onDropped: (packets) => {
      counts.dropped += packets
    },
    onSent: (bytes) => {
      counts.sent += bytes
    }
  })
  socket.transmit = transmit
  let sequence = 0
  const put = (...lengths: number[]): Buffer[] => putMarked(undefined, ...lengths)
  const putMarked = (ecn: number | undefined, ...lengths: number[]): Buffer[] =>
    lengths.flatMap((length) => {
      const at = transmit.reserve(length)
      if (at < 0) return []
      const packet = Buffer.alloc(length, ++sequence & 0xff)
      packet.writeUInt32BE(sequence)
      transmit.buffer.set(packet, at)
      transmit.commit(length, ecn)
      return [packet]
    })
  return { socket, transmit, put, putMarked, counts, errors }
}

const repeat = (count: number, length: number) => new Array<number>(count).fill(length)

describe('runs of datagrams', () => {
  test('equal packets and a shorter last one are one call', () => {
    const { socket, transmit, put, counts } = open()
    const packets = put(...repeat(20, 1400), 300)
    transmit.flush()
    expect(socket.calls).toEqual([{ packets: 21, bytes: 28_300, segmented: true, ecn: 0 }])
    expect(socket.sent).toEqual(packets)
    expect(counts).toEqual({ dropped: 0, mtu: 0, blocked: 0, sent: 28_300 })
  })

  test('a longer packet begins a new run', () => {
    const { socket, transmit, put } = open()
    const packets = put(100, 100, 200, 200, 50, 60)
    transmit.flush()
    expect(socket.calls.map(({ packets: count }) => count)).toEqual([2, 3, 1])
    expect(socket.sent).toEqual(packets)
  })

  test('a run has at most 64 packets and 65507 bytes', () => {
    const { socket, transmit, put } = open()
    put(...repeat(130, 40))
    put(...repeat(100, 1472))
    transmit.flush()
    for (const { packets, bytes } of socket.calls) {
      expect(packets).toBeLessThanOrEqual(64)
      expect(bytes).toBeLessThanOrEqual(65_507)
    }
    expect(socket.sent).toHaveLength(230)
  })

  test('a single packet goes without segmentation', () => {
    const { socket, transmit, put } = open()
    put(1400)
    transmit.flush()
    transmit.flush()
    expect(socket.calls).toEqual([{ packets: 1, bytes: 1400, segmented: false, ecn: 0 }])
  })

  test('another ECN field begins a new run, and every packet leaves with its own', () => {
    const { socket, transmit, putMarked } = open()
    const packets = [
      ...putMarked(2, 500, 500, 500),
      ...putMarked(0, 500),
      ...putMarked(3, 500, 500),
      // No value is Not-ECT.
      ...putMarked(undefined, 500, 500),
      ...putMarked(1, 400)
    ]
    transmit.flush()
    expect(socket.calls.map(({ packets: count, ecn, segmented }) => [count, ecn, segmented])).toEqual([
      [3, 2, true],
      [1, 0, false],
      [2, 3, true],
      [2, 0, true],
      [1, 1, false]
    ])
    expect(socket.sent).toEqual(packets)
  })

  test('a shorter packet of another ECN field is not the last of the run before', () => {
    const { socket, transmit, putMarked } = open()
    putMarked(2, 500, 500)
    putMarked(0, 300)
    putMarked(2, 500)
    transmit.flush()
    expect(socket.calls.map(({ packets, ecn }) => [packets, ecn])).toEqual([
      [2, 2],
      [1, 0],
      [1, 2]
    ])
  })

  test('the ECN field stays with a run that waits, and with packets that must go one by one', () => {
    const { socket, transmit, putMarked } = open()
    socket.refusesSegments = Errno.EIO
    socket.script = [0, Errno.EAGAIN]
    putMarked(3, 500, 500, 500)
    transmit.flush()
    expect(socket.marks).toEqual([3])
    transmit.resume()
    putMarked(2, 500, 500)
    transmit.flush()
    expect(socket.marks).toEqual([3, 3, 3, 2, 2])
  })

  test('the ECN field stays when an ICMP error was told instead of sending', () => {
    const { socket, transmit, putMarked } = open()
    socket.script = [Errno.ECONNREFUSED, 0, Errno.ECONNREFUSED]
    putMarked(2, 500, 500)
    putMarked(1, 600)
    transmit.flush()
    expect(socket.marks).toEqual([2, 2, 1])
  })

  test.each(['EIO', 'EINVAL', 'EOPNOTSUPP'] as const)(
    '%s means that segmentation is not to be had: every packet still leaves, then and later',
    (name) => {
      const { socket, transmit, put, counts } = open()
      socket.refusesSegments = Errno[name]
      const packets = [...put(...repeat(5, 1000))]
      transmit.flush()
      packets.push(...put(...repeat(5, 1000)))
      transmit.flush()
      expect(socket.sent).toEqual(packets)
      expect(transmit.segmentation.why).toMatch(/refused UDP_SEGMENT/)
      expect(counts.dropped).toBe(0)
    }
  )

  test('packets above the path MTU are dropped and told, the others of the run leave, segmentation stays', () => {
    const { socket, transmit, put, counts } = open()
    socket.mtu = 1300
    const packets = put(1400, 1400, 900)
    transmit.flush()
    expect(socket.sent).toEqual(packets.slice(2))
    expect(counts).toMatchObject({ dropped: 2, mtu: 2 })
    expect(transmit.segmentation.inUse).toBe(true)
  })

  test('a full socket keeps what is committed, refuses more, and goes on in order', () => {
    const { socket, transmit, put, counts } = open()
    socket.script = [Errno.EAGAIN]
    const packets = put(500, 500)
    transmit.flush()
    expect(transmit.writable).toBe(false)
    expect(counts.blocked).toBe(1)
    expect(transmit.reserve(10)).toBe(-1)
    socket.script = [Errno.EAGAIN]
    expect(transmit.resume()).toBe(false)
    expect(transmit.resume()).toBe(true)
    packets.push(...put(400))
    transmit.flush()
    expect(socket.sent).toEqual(packets)
    expect(counts.dropped).toBe(0)
  })

  test('a run that fills the socket half-way is not sent twice', () => {
    const { socket, transmit, put } = open(notInUse('not wanted'))
    socket.script = [0, 0, Errno.EAGAIN]
    const packets = put(...repeat(5, 300))
    transmit.flush()
    transmit.resume()
    expect(socket.sent).toEqual(packets)
  })

  test('an ICMP error from before is told, and the run leaves all the same', () => {
    const { socket, transmit, put, errors } = open()
    socket.script = [Errno.ECONNREFUSED]
    const packets = put(500, 500)
    transmit.flush()
    expect(errors).toEqual([Errno.ECONNREFUSED])
    expect(socket.sent).toEqual(packets)
  })

  test('a local firewall is told, and the packets count as dropped', () => {
    const { socket, transmit, put, counts, errors } = open()
    socket.script = [Errno.EPERM]
    put(500, 500)
    transmit.flush()
    expect(errors).toEqual([Errno.EPERM])
    expect(counts.dropped).toBe(2)
    expect(transmit.writable).toBe(true)
  })

  test('nothing after close', () => {
    const { socket, transmit, put } = open()
    put(500)
    transmit.close()
    transmit.flush()
    expect(transmit.reserve(10)).toBe(-1)
    expect(socket.sent).toEqual([])
  })

  test('whatever the socket says: what was taken leaves once and in order, or is counted', () => {
    const operation = fc.oneof(
      {
        weight: 8,
        arbitrary: fc.record({
          length: fc.integer({ min: 8, max: 1472 }),
          times: fc.integer({ min: 1, max: 90 }),
          ecn: fc.integer({ min: 0, max: 3 })
        })
      },
      { weight: 3, arbitrary: fc.constant('flush' as const) },
      { weight: 2, arbitrary: fc.constant('resume' as const) },
      {
        weight: 3,
        arbitrary: fc.record({
          errno: fc.constantFrom(Errno.EAGAIN, Errno.ENOBUFS, Errno.EPERM, Errno.ECONNREFUSED, Errno.EIO)
        })
      }
    )
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
        const { socket, transmit, putMarked, counts } = open()
        const taken: Buffer[] = []
        const marks: number[] = []
        for (const what of operations) {
          if (what === 'flush') transmit.flush()
          else if (what === 'resume') transmit.resume()
          else if ('errno' in what) socket.script.push(0, what.errno)
          else {
            taken.push(...putMarked(what.ecn, ...repeat(what.times, what.length)))
            while (marks.length < taken.length) marks.push(what.ecn)
          }
        }
        socket.script = []
        transmit.resume()
        transmit.flush()
        expect(socket.sent.length + counts.dropped).toBe(taken.length)
        const sequence = socket.sent.map((packet) => packet.readUInt32BE())
        for (let i = 1; i < sequence.length; i++) expect(sequence[i]).toBeGreaterThan(sequence[i - 1] ?? 0)
        expect(socket.marks).toEqual(sequence.map((number) => marks[number - 1]))
        for (const packet of socket.sent)
          expect(packet.equals(taken[packet.readUInt32BE() - 1] ?? packet)).toBe(true)
      }),
      { seed: 5, numRuns: 300 }
    )
  })
})
