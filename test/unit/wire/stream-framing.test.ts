import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  DeframeStatus,
  type FrameSink,
  frameIke,
  IKE_FRAME_OVERHEAD,
  MAX_FRAMED_ESP_LENGTH,
  MAX_FRAMED_IKE_LENGTH,
  STREAM_PREFIX,
  StreamDeframer,
  writeFrameLength
} from '../../../src/wire/stream-framing.ts'
import { be, rawMessage, toHex } from '../../support/message-factory.ts'

const SEED = 9329

interface Outcome {
  readonly frames: readonly string[]
  readonly malformed: number
  readonly keepalives: number
  readonly status: DeframeStatus
}

/** Collects what is delivered, and spoils the delivered bytes as in-place decryption would. */
class Collector implements FrameSink {
  readonly frames: string[] = []
  onIke(buffer: Uint8Array, offset: number, length: number): void {
    this.#take('ike', buffer, offset, length)
  }
  onEsp(buffer: Uint8Array, offset: number, length: number): void {
    this.#take('esp', buffer, offset, length)
  }
  #take(kind: string, buffer: Uint8Array, offset: number, length: number): void {
    this.frames.push(`${kind} ${toHex(buffer.subarray(offset, offset + length))}`)
    buffer.fill(0xa5, offset, offset + length)
  }
}

function deframe(chunks: readonly Uint8Array[]): Outcome {
  const deframer = new StreamDeframer()
  const collector = new Collector()
  let status = deframer.status
  for (const chunk of chunks) {
    const own = chunk.slice()
    status = deframer.push(own, collector)
    // The socket's buffer is used again at once.
    own.fill(0x5a)
  }
  const { malformed, keepalives } = deframer
  return { frames: collector.frames, malformed, keepalives, status }
}

/** The same from RFC 9329 section 3, over the whole stream at once. */
function naiveDeframe(stream: Uint8Array): Outcome {
  const frames: string[] = []
  let malformed = 0
  let keepalives = 0
  let rest = toHex(stream)
  while (rest.length >= 4) {
    const length = Number.parseInt(rest.slice(0, 4), 16)
    if (length < 2) return { frames, malformed, keepalives, status: DeframeStatus.BAD_LENGTH }
    if (rest.length < length * 2) break
    const body = rest.slice(4, length * 2)
    rest = rest.slice(length * 2)
    if (body === '') continue
    if (body === 'ff') keepalives++
    else if (body.length < 16) malformed++
    else if (!body.startsWith('00000000')) frames.push(`esp ${body}`)
    else if (Number.parseInt(body.slice(56, 64), 16) === length - 6) frames.push(`ike ${body.slice(8)}`)
    else malformed++
  }
  return { frames, malformed, keepalives, status: DeframeStatus.OPEN }
}

function frame(body: readonly number[] | Uint8Array): number[] {
  return [...be(body.length + 2, 2), ...body]
}

function cut(stream: Uint8Array, at: readonly number[]): Uint8Array[] {
  const points = [0, ...[...at].sort((a, b) => a - b), stream.length]
  return points.slice(1).map((end, i) => stream.subarray(points[i], end))
}

const ike = rawMessage({ payloads: [{ type: 43, body: [1, 2, 3, 4, 5] }] })
const esp = Uint8Array.from([0x11, 0x22, 0x33, 0x44, 0, 0, 0, 1, 9, 9, 9, 9])
const ikeFrame = frame([0, 0, 0, 0, ...ike])
/** One of everything that may stand in a stream. */
const everything = Uint8Array.from([
  ...ikeFrame,
  ...frame(esp),
  ...frame([]),
  ...frame([0xff]),
  ...frame([0x00]),
  ...frame([0, 0, 0, 0]),
  ...frame([0, 0, 0, 0, ...ike.subarray(0, 20)]),
  ...frame([0, 0, 0, 0, ...ike, 0]),
  ...frame([1, 2, 3, 4, 5, 6, 7]),
  ...ikeFrame,
  ...frame(esp.subarray(0, 8))
])

describe('frames', () => {
  it('puts 01 B6 and the marker in front of an IKE_SA_INIT of 432 bytes (F-2)', () => {
    const message = new Uint8Array(432).fill(0x77)
    const framed = frameIke(message)
    expect(toHex(framed.subarray(0, 7))).toBe('01b60000000077')
    expect(framed.length).toBe(0x01b6)
  })

  it('begins a stream with IKETCP (F-8)', () => {
    expect(new TextDecoder().decode(STREAM_PREFIX)).toBe('IKETCP')
    expect(toHex(STREAM_PREFIX)).toBe('494b45544350')
  })

  it('counts its own two bytes in Length (F-1)', () => {
    const buffer = new Uint8Array(4)
    writeFrameLength(buffer, 1, 100)
    expect(toHex(buffer)).toBe('00006600')
    writeFrameLength(buffer, 0, MAX_FRAMED_ESP_LENGTH)
    expect(toHex(buffer)).toBe('ffff6600')
  })

  it('refuses to frame what 16 bits cannot tell (F-6)', () => {
    expect(frameIke(new Uint8Array(MAX_FRAMED_IKE_LENGTH)).subarray(0, 2)).toEqual(Uint8Array.of(0xff, 0xff))
    expect(() => frameIke(new Uint8Array(MAX_FRAMED_IKE_LENGTH + 1))).toThrow('fits no stream frame')
  })
})

describe('deframing', () => {
  it('delivers IKE and ESP, drops keepalives and empty frames, counts the rest (F-2 to F-5, F-7)', () => {
    const ikeText = `ike ${toHex(ike)}`
    expect(deframe([everything])).toEqual({
      frames: [ikeText, `esp ${toHex(esp)}`, ikeText, `esp ${toHex(esp.subarray(0, 8))}`],
      malformed: 5,
      keepalives: 1,
      status: DeframeStatus.OPEN
    })
  })

  it('does the same wherever the stream is cut in two, in three, or into single bytes', () => {
    const expected = naiveDeframe(everything)
    expect(deframe([everything])).toEqual(expected)
    for (let first = 0; first <= everything.length; first++) {
      expect(deframe(cut(everything, [first]))).toEqual(expected)
      for (let second = first; second <= Math.min(first + 5, everything.length); second++) {
        expect(deframe(cut(everything, [first, second]))).toEqual(expected)
      }
    }
    expect(deframe(Array.from(everything, (byte) => Uint8Array.of(byte)))).toEqual(expected)
  })

  it('agrees with a naive twin on random streams in random pieces', () => {
    const body = fc.oneof(
      fc.uint8Array({ maxLength: 12 }),
      fc.uint8Array({ minLength: 8, maxLength: 3000 }),
      fc.constant(Uint8Array.of(0xff)),
      fc
        .uint8Array({ minLength: 28, maxLength: 600 })
        .map((bytes) =>
          Uint8Array.from([
            0,
            0,
            0,
            0,
            ...bytes.subarray(0, 24),
            ...be(bytes.length, 4),
            ...bytes.subarray(28)
          ])
        )
    )
    const stream = fc
      .tuple(
        fc.array(body, { maxLength: 12 }),
        fc.option(fc.constantFrom([0, 0], [0, 1]), { freq: 4, nil: [] })
      )
      .map(([bodies, fatal]) => Uint8Array.from([...bodies.flatMap(frame), ...fatal, ...frame(esp)]))
    fc.assert(
      fc.property(stream, fc.array(fc.nat(), { maxLength: 10 }), (bytes, points) => {
        const chunks = cut(
          bytes,
          points.map((point) => point % (bytes.length + 1))
        )
        expect(deframe(chunks)).toEqual(naiveDeframe(bytes))
      }),
      { seed: SEED, numRuns: 400 }
    )
  })

  it('carries the longest frames in pieces of any size', () => {
    const longest = new Uint8Array(MAX_FRAMED_ESP_LENGTH).fill(0x3c)
    const stream = Uint8Array.from([...frame(longest), ...frame(esp)])
    for (const size of [1, 1000, 4096, 65_536, stream.length]) {
      const points = Array.from({ length: Math.floor(stream.length / size) }, (_, i) => i * size)
      const { frames } = deframe(cut(stream, points))
      expect(frames.map((text) => text.length)).toEqual([4 + longest.length * 2, 4 + esp.length * 2])
    }
  })

  it.each([0, 1])('ends for good at Length %i, after delivering what stood before (F-3)', (length) => {
    const stream = Uint8Array.from([...frame(esp), 0, length, ...frame(esp)])
    for (let point = 0; point <= stream.length; point++) {
      const deframer = new StreamDeframer()
      const collector = new Collector()
      for (const chunk of cut(stream, [point])) deframer.push(chunk.slice(), collector)
      expect(collector.frames).toEqual([`esp ${toHex(esp)}`])
      expect(deframer.push(Uint8Array.from(frame(esp)), collector)).toBe(DeframeStatus.BAD_LENGTH)
      expect(collector.frames).toHaveLength(1)
    }
  })

  it('stops in the middle of a chunk when the sink asks for it', () => {
    const deframer = new StreamDeframer()
    let count = 0
    const sink = {
      onIke() {},
      onEsp() {
        count++
        deframer.stop()
      }
    }
    const two = Uint8Array.from([...frame(esp), ...frame(esp)])
    expect(deframer.push(two, sink)).toBe(DeframeStatus.STOPPED)
    expect(deframer.push(two, sink)).toBe(DeframeStatus.STOPPED)
    expect(count).toBe(1)
  })

  it('knows whether the stream ended inside a frame', () => {
    const deframer = new StreamDeframer()
    const collector = new Collector()
    expect(deframer.isMidFrame).toBe(false)
    deframer.push(Uint8Array.of(0), collector)
    expect(deframer.isMidFrame).toBe(true)
    deframer.push(Uint8Array.of(2), collector)
    expect(deframer.isMidFrame).toBe(false)
  })
})

it('takes the prefix, which is not its business, for an ordinary, broken frame', () => {
  const stream = Uint8Array.from([...STREAM_PREFIX, ...everything])
  expect(deframe([stream]).frames).toEqual(naiveDeframe(stream).frames)
})

it('leaves room for Length and marker in front of an IKE message', () => {
  expect(IKE_FRAME_OVERHEAD).toBe(6)
})
