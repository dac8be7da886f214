/** RFC 9329 sections 6.1 and 10: what corruption of the stream costs, and when the stream is given up. */
import { describe, expect, it } from 'vitest'
import { FrameFate, type StreamFaults, streamFaults } from '../../../src/wire/frame-fate.ts'
import { recognisesIke } from '../../../src/wire/recognise-ike.ts'
import {
  DeframeStatus,
  type FrameSink,
  frameIke,
  StreamDeframer,
  writeFrameLength
} from '../../../src/wire/stream-framing.ts'
import { be, fromHex, rawMessage } from '../../support/message-factory.ts'
import { SeededRandom } from '../../support/seeded-random.ts'

const SPI = 0xc0ffee01
const SPI_I = 0x0102030405060708n
const SPI_R = 0x1112131415161718n

/** A frame with an ESP packet whose last four bytes are a checksum over the rest: it stands for the ICV. */
function espFrame(sequence: number, length = 120, spi = SPI): Uint8Array {
  const packet = new SeededRandom(sequence).bytes(length)
  const view = new DataView(packet.buffer)
  view.setUint32(0, spi)
  view.setUint32(4, sequence)
  view.setUint32(length - 4, checksum(packet.subarray(0, length - 4)))
  const frame = new Uint8Array(2 + length)
  writeFrameLength(frame, 0, length)
  frame.set(packet, 2)
  return frame
}

function checksum(bytes: Uint8Array): number {
  let sum = 0x811c9dc5
  for (const byte of bytes) sum = Math.imul(sum ^ byte, 0x01000193) >>> 0
  return sum
}

/** Checks as an owner of keys would, and spoils every packet that it looks at, as decryption in place does. */
class Keyed implements FrameSink {
  readonly seen: number[] = []
  ike = 0
  onIke(): FrameFate {
    this.ike++
    return FrameFate.GOOD
  }
  onEsp(buffer: Uint8Array, offset: number, length: number): FrameFate {
    const packet = buffer.subarray(offset, offset + length)
    const view = new DataView(packet.buffer, packet.byteOffset, length)
    if (view.getUint32(0) !== SPI) return FrameFate.STRANGE
    const sequence = view.getUint32(4)
    const isSound = length >= 12 && view.getUint32(length - 4) === checksum(packet.subarray(0, length - 4))
    packet.fill(0xa5)
    if (!isSound) return FrameFate.BROKEN
    this.seen.push(sequence)
    return FrameFate.GOOD
  }
  readonly recognise = (buffer: Uint8Array, offset: number): boolean =>
    recognisesIke(buffer, offset, (spiI, spiR) => spiI === SPI_I && spiR === SPI_R) ??
    new DataView(buffer.buffer, buffer.byteOffset + offset, 4).getUint32(0) === SPI
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(parts))
}

interface Outcome {
  readonly sink: Keyed
  readonly faults: StreamFaults
  readonly status: DeframeStatus
}

/** Pushes a stream in pieces of random length. */
function run(stream: Uint8Array, random = new SeededRandom(1), sink = new Keyed()): Outcome {
  const faults = streamFaults()
  const deframer = new StreamDeframer({ faults })
  for (let at = 0; at < stream.length; ) {
    const length = 1 + random.integer(4000)
    deframer.push(stream.slice(at, at + length), sink)
    at += length
  }
  return { sink, faults, status: deframer.status }
}

const frames = (from: number, count: number) =>
  Array.from({ length: count }, (_, index) => espFrame(from + index, 60 + ((from + index) % 1300)))

describe('a stream that is corrupted', () => {
  it('goes on after a bit flip inside of packets, which costs those alone', () => {
    const stream = frames(1, 50)
    for (const index of [10, 11, 30]) stream[index]?.fill(0x33, 20, 21)
    const { sink, faults, status } = run(join(stream))
    expect(status).toBe(DeframeStatus.OPEN)
    expect(sink.seen).toHaveLength(47)
    expect(faults).toEqual({ ...streamFaults(), failedChecks: 3 })
  })

  it.each([
    ['a bit of a Length', 'flip'],
    ['lost bytes', 'lose'],
    ['bytes too many', 'insert']
  ] as const)('is cut at the right places again after %s', (_what, kind) => {
    const before = join(frames(1, 30))
    const after = join(frames(31, 400))
    let closed = 0
    for (let seed = 0; seed < 40; seed++) {
      const random = new SeededRandom(seed)
      const middle = damaged(after, kind, random)
      const { sink, faults, status } = run(join([before, middle]), random)
      expect(new Set(sink.seen).size, 'none is seen twice').toBe(sink.seen.length)
      // Chance may put a Length of 0 or 1 there, which is fatal (RFC 9329 section 3.1).
      if (status === DeframeStatus.BAD_LENGTH) {
        closed++
        continue
      }
      expect(status, `seed ${seed}`).toBe(DeframeStatus.OPEN)
      // What the damage swallows is bounded by what a Length can say, a few times over.
      expect(sink.seen.at(-1), `seed ${seed}`).toBe(430)
      expect(faults.corrupted).toBe(0)
    }
    expect(closed).toBeLessThan(4)
  })

  it('finds an IKE message as well', () => {
    const ike = frameIke(rawMessage({ header: { spiI: SPI_I, spiR: SPI_R } }))
    const garbage = new SeededRandom(7).bytes(3000)
    garbage.set([0xff, 0xff, 1, 2, 3, 4])
    const { sink, faults, status } = run(join([...frames(1, 3), garbage, ike, ...frames(4, 2)]))
    expect({ seen: sink.seen, ike: sink.ike, status }).toEqual({
      ...{ seen: [1, 2, 3, 4, 5], ike: 1 },
      status: DeframeStatus.OPEN
    })
    expect(faults.resynchronised).toBe(1)
  })

  it('is given up when it loses its boundaries a second time', () => {
    const garbage = Uint8Array.of(...fromHex('ffff01020304'), ...new Uint8Array(34))
    const { sink, faults, status } = run(
      join([...frames(1, 3), garbage, ...frames(4, 3), garbage, ...frames(7, 3)])
    )
    expect(status).toBe(DeframeStatus.CORRUPTED)
    expect(sink.seen).toEqual([1, 2, 3, 4, 5, 6])
    expect(faults).toMatchObject({ resynchronised: 1, corrupted: 1 })
  })

  it('is given up when no boundary comes within the bound', () => {
    const random = new SeededRandom(3)
    const { faults, status } = run(join([...frames(1, 3), fromHex('ffff01020304'), random.bytes(300_000)]))
    expect(status).toBe(DeframeStatus.CORRUPTED)
    expect(faults).toMatchObject({ resynchronised: 0, corrupted: 1 })
  })

  it('costs a bounded number of checks, whatever it looks like', () => {
    const sink = new Keyed()
    let checks = 0
    const counting: FrameSink = {
      onIke: () => FrameFate.UNKNOWN,
      onEsp: (buffer, offset, length) => {
        checks++
        return sink.onEsp(buffer, offset, length)
      },
      recognise: sink.recognise
    }
    const deframer = new StreamDeframer()
    // Each piece looks like the beginning of a packet of ours, and is none.
    const bait = Uint8Array.of(...be(30, 2), ...be(SPI, 4), ...new Uint8Array(24))
    const start = join([...frames(1, 2), fromHex('ffff01020304'), new Uint8Array(30)])
    const stream = join([start, ...Array.from({ length: 5000 }, () => bait)])
    deframer.push(stream, counting)
    expect(deframer.status).toBe(DeframeStatus.CORRUPTED)
    expect(checks).toBeLessThan(100)
  })

  it('is not doubted because of an SA that is not known (yet, or any more)', () => {
    const strangers = Array.from({ length: 40 }, (_, index) => espFrame(index + 1, 200, 0x12345678))
    const { sink, faults, status } = run(join([...frames(1, 2), ...strangers, ...frames(3, 2)]))
    expect({ seen: sink.seen, status }).toEqual({ seen: [1, 2, 3, 4], status: DeframeStatus.OPEN })
    expect(faults).toEqual({ ...streamFaults(), unknownSpi: 40 })
  })

  it('is not searched for whoever has proved nothing, nor where nobody can tell', () => {
    const strangers = Array.from({ length: 6 }, (_, index) => espFrame(1, 200, 0x1000 + index))
    expect(run(join(strangers)).status).toBe(DeframeStatus.CORRUPTED)
    const plain: FrameSink = { onIke() {}, onEsp() {} }
    const deframer = new StreamDeframer()
    expect(deframer.push(join(strangers), plain)).toBe(DeframeStatus.OPEN)
  })
})

/** The frames from a random one on, damaged in its Length or somewhere inside. */
function damaged(stream: Uint8Array, kind: 'flip' | 'lose' | 'insert', random: SeededRandom): Uint8Array {
  if (kind === 'flip') {
    const copy = stream.slice()
    // 31 is the first one here; the Length of the next begins behind its 60 + 31 bytes.
    const at = 2 + 60 + 31
    const bit = 1 + random.integer(15)
    const flipped = ((copy[at] ?? 0) << 8) | (copy[at + 1] ?? 0)
    new DataView(copy.buffer).setUint16(at, flipped ^ (1 << bit))
    return copy
  }
  const at = 2 + random.integer(3000)
  const length = 1 + random.integer(200)
  if (kind === 'lose') return join([stream.subarray(0, at), stream.subarray(at + length)])
  return join([stream.subarray(0, at), random.bytes(length), stream.subarray(at)])
}
