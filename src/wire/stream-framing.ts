/**
 * IKE and ESP in a byte stream (RFC 9329 sections 3 and 4).
 *
 *     stream:  "IKETCP" (originator only, once) | frame | frame | ...
 *     frame:   Length (2, counts itself) | 00 00 00 00 | IKE message
 *              Length (2, counts itself) | ESP packet
 *
 * `StreamDeframer` cuts the stream back into messages wherever the chunks were split. One deframer serves one
 * connection, behind the prefix, and is thrown away with it. It hands out views into the chunk, or into its own buffer for a frame that
 * came in several chunks: they are valid only during the call, and may be overwritten (ESP is decrypted in place).
 *
 * Corruption (sections 6.1 and 10): whoever takes the messages may say what became of each. A few in a row that nobody
 * knows, or that fail their integrity check, are tolerated. Then the next boundary is searched for, once in the life of
 * a connection and within bounds (`boundary-search.ts`); after that the stream counts as corrupted.
 * Invariant: it never holds more than one incomplete frame, 65535 bytes at most, or what is being searched.
 * @module
 */
import { InternalError } from '../errors.ts'
import { BoundarySearch, RECOGNISABLE_LENGTH, SearchOutcome } from './boundary-search.ts'
import { CorruptionWatch } from './corruption-watch.ts'
import { FrameFate, type Judgement, type StreamFaults } from './frame-fate.ts'
import { classifyDatagram, DatagramKind, NON_ESP_MARKER_LENGTH } from './non-esp-marker.ts'

/** "IKETCP" (RFC 9329 section 4). */
export const STREAM_PREFIX: Uint8Array = Uint8Array.of(0x49, 0x4b, 0x45, 0x54, 0x43, 0x50)
export const FRAME_LENGTH_SIZE = 2
/** Bytes in front of an IKE message: Length and non-ESP marker. */
export const IKE_FRAME_OVERHEAD = FRAME_LENGTH_SIZE + NON_ESP_MARKER_LENGTH
export const MAX_FRAME_LENGTH = 0xffff
export const MAX_FRAMED_IKE_LENGTH = MAX_FRAME_LENGTH - IKE_FRAME_OVERHEAD
export const MAX_FRAMED_ESP_LENGTH = MAX_FRAME_LENGTH - FRAME_LENGTH_SIZE

const INITIAL_CAPACITY = 4096
/** ESP longer than any link's packets, jumbo frames included: such a Length is more likely none. */
const LONGEST_LIKELY_FRAME = 9216

/**
 * One IKE message as a frame.
 * @throws InternalError above `MAX_FRAMED_IKE_LENGTH`, which no frame can carry
 */
export function frameIke(message: Uint8Array): Uint8Array {
  if (message.length > MAX_FRAMED_IKE_LENGTH) {
    throw new InternalError(
      'frame-too-long',
      `An IKE message of ${message.length} bytes fits no stream frame.`
    )
  }
  const frame = new Uint8Array(IKE_FRAME_OVERHEAD + message.length)
  writeFrameLength(frame, 0, NON_ESP_MARKER_LENGTH + message.length)
  frame.set(message, IKE_FRAME_OVERHEAD)
  return frame
}

/** Writes the Length of a frame whose body (ESP packet, or marker and IKE message) has `bodyLength` bytes. */
export function writeFrameLength(buffer: Uint8Array, offset: number, bodyLength: number): void {
  const length = bodyLength + FRAME_LENGTH_SIZE
  buffer[offset] = length >>> 8
  buffer[offset + 1] = length
}

/** What became of the stream after a `push`. Anything but `OPEN` is final: nothing more will be delivered. */
export const DeframeStatus = {
  OPEN: 0,
  /** A Length of 0 or 1: the connection must be closed (RFC 9329 section 3.1). */
  BAD_LENGTH: 1,
  /** `stop` was called. */
  STOPPED: 2,
  /** Too much of it made no sense, and no boundary was found again: to be closed (RFC 9329 section 6.1). */
  CORRUPTED: 3
} as const
export type DeframeStatus = (typeof DeframeStatus)[keyof typeof DeframeStatus]

export interface FrameSink {
  /** One IKE message without Length and marker; its header's Length is `length`. */
  onIke(buffer: Uint8Array, offset: number, length: number): Judgement
  /** One ESP packet of at least 8 bytes; its SPI is not 0. */
  onEsp(buffer: Uint8Array, offset: number, length: number): Judgement
  /**
   * Could a message for us begin here, behind its Length? There are `RECOGNISABLE_LENGTH` bytes: a known ESP SPI and a
   * Sequence Number that may come, or the non-ESP marker and the SPIs of a known IKE SA. Absent: nothing is searched for.
   */
  readonly recognise?: ((buffer: Uint8Array, offset: number) => boolean) | undefined
}

export interface DeframerOptions {
  /** Where faults are counted, for several streams together. */
  readonly faults?: StreamFaults | undefined
  /** Strange or broken ones in a row. */
  readonly toleratedMessages?: number
}

export class StreamDeframer {
  /** Frames that were neither IKE nor ESP nor to be ignored. */
  malformed = 0
  /** NAT-keepalives, which do not belong on a stream but are harmless (RFC 9329 section 6.6). */
  keepalives = 0
  #status: DeframeStatus = DeframeStatus.OPEN
  readonly #watch: CorruptionWatch
  #search: BoundarySearch | undefined
  /** The incomplete frame: `#heldLength` bytes of it, Length included. */
  #held = new Uint8Array(0)
  #heldLength = 0

  constructor(options: DeframerOptions = {}) {
    this.#watch = new CorruptionWatch(options.faults, options.toleratedMessages)
  }

  get status(): DeframeStatus {
    return this.#status
  }

  /** True while a frame is incomplete: the end of the stream now would cut it off. */
  get isMidFrame(): boolean {
    return this.#heldLength > 0
  }

  /** Delivers nothing more, even from a `push` that is under way (a sink may call this). */
  stop(): void {
    if (this.#status === DeframeStatus.OPEN) this.#status = DeframeStatus.STOPPED
  }

  /** Takes the next bytes of the stream, `chunk[start, end)`, and delivers every message that they complete. */
  push(chunk: Uint8Array, sink: FrameSink, start: number = 0, end: number = chunk.length): DeframeStatus {
    if (this.#status !== DeframeStatus.OPEN) return this.#status
    let at = start
    if (this.#heldLength > 0) at = this.#completeHeld(chunk, at, end, sink)
    while (this.#status === DeframeStatus.OPEN && this.#search === undefined) {
      const available = end - at
      if (available < FRAME_LENGTH_SIZE) break
      const length = readLength(chunk, at)
      if (length < FRAME_LENGTH_SIZE) return this.#fail(DeframeStatus.BAD_LENGTH)
      if (this.#isUnlikely(chunk, at, available, length, sink)) {
        this.#loseTrack(sink)
        break
      }
      if (available < length) break
      this.#deliver(chunk, at, length, sink)
      at += length
    }
    if (this.#status !== DeframeStatus.OPEN) return this.#status
    if (this.#search !== undefined) this.#searchIn(this.#search, chunk.subarray(at, end), sink)
    else if (at < end) this.#hold(chunk, at, end)
    return this.#status
  }

  /** Moves bytes from the chunk to the held frame, and delivers it when it is whole. */
  #completeHeld(chunk: Uint8Array, at: number, end: number, sink: FrameSink): number {
    if (this.#heldLength < FRAME_LENGTH_SIZE) {
      if (at === end) return at
      this.#hold(chunk, at, at + 1)
      at++
    }
    const length = readLength(this.#held, 0)
    if (length < FRAME_LENGTH_SIZE) {
      this.#fail(DeframeStatus.BAD_LENGTH)
      return at
    }
    const take = Math.min(length - this.#heldLength, end - at)
    this.#hold(chunk, at, at + take)
    if (this.#isUnlikely(this.#held, 0, this.#heldLength, length, sink)) {
      this.#loseTrack(sink)?.add(this.#held.subarray(0, this.#heldLength))
      this.#heldLength = 0
    } else if (this.#heldLength === length) {
      // Forgotten before it is delivered: a sink that throws must not see the same frame again.
      this.#heldLength = 0
      this.#deliver(this.#held, 0, length, sink)
    }
    return at + take
  }

  #hold(chunk: Uint8Array, start: number, end: number): void {
    const heldLength = this.#heldLength + end - start
    if (heldLength > this.#held.length) {
      const larger = new Uint8Array(
        Math.min(Math.max(INITIAL_CAPACITY, this.#held.length * 2, heldLength), MAX_FRAME_LENGTH)
      )
      larger.set(this.#held.subarray(0, this.#heldLength))
      this.#held = larger
    }
    this.#held.set(chunk.subarray(start, end), this.#heldLength)
    this.#heldLength = heldLength
  }

  #deliver(buffer: Uint8Array, at: number, length: number, sink: FrameSink): void {
    // An empty frame is ignored (RFC 9329 section 3).
    if (length === FRAME_LENGTH_SIZE) return
    if (length <= LONGEST_LIKELY_FRAME || !this.#mayJudge(sink)) {
      this.#judge(this.#handOver(buffer, at, length, sink), buffer, at, sink)
      return
    }
    // What is in it is looked at once more if it turns out to be several frames: it must not be decrypted in place.
    const end = at + length
    const fate = this.#handOver(buffer.slice(at, end), 0, length, sink)
    this.#judge(fate, buffer, at, sink)
    if (fate !== FrameFate.BROKEN || this.#status !== DeframeStatus.OPEN) return
    const search = this.#search ?? this.#loseTrack(sink)
    search?.add(buffer.subarray(at + 1, end))
  }

  #handOver(buffer: Uint8Array, at: number, length: number, sink: FrameSink): FrameFate {
    const body = at + FRAME_LENGTH_SIZE
    const bodyLength = length - FRAME_LENGTH_SIZE
    switch (classifyDatagram(buffer, body, bodyLength)) {
      case DatagramKind.IKE: {
        const header = body + NON_ESP_MARKER_LENGTH
        return sink.onIke(buffer, header, bodyLength - NON_ESP_MARKER_LENGTH) ?? FrameFate.UNKNOWN
      }
      case DatagramKind.ESP:
        return sink.onEsp(buffer, body, bodyLength) ?? FrameFate.UNKNOWN
      case DatagramKind.KEEPALIVE:
        this.keepalives++
        return FrameFate.UNKNOWN
      case DatagramKind.MALFORMED:
        this.malformed++
        return FrameFate.MALFORMED
    }
  }

  // ---- corruption

  #judge(fate: FrameFate, buffer: Uint8Array, at: number, sink: FrameSink): void {
    // Of an IKE message it is half of the initiator's.
    const body = at + FRAME_LENGTH_SIZE
    const spi =
      fate === FrameFate.STRANGE ? read32(buffer, body) || read32(buffer, body + NON_ESP_MARKER_LENGTH) : 0
    if (this.#watch.judge(fate, spi) && this.#search === undefined) this.#loseTrack(sink)
  }

  #mayJudge(sink: FrameSink): boolean {
    return this.#watch.isTrusted && sink.recognise !== undefined
  }

  /** A frame that is far too long for ESP, and nobody's: its Length is most likely the middle of something else. */
  #isUnlikely(buffer: Uint8Array, at: number, available: number, length: number, sink: FrameSink): boolean {
    if (length <= LONGEST_LIKELY_FRAME || available < FRAME_LENGTH_SIZE + RECOGNISABLE_LENGTH) return false
    const body = at + FRAME_LENGTH_SIZE
    if (!this.#mayJudge(sink) || read32(buffer, body) === 0) return false
    return sink.recognise?.(buffer, body) === false
  }

  /** The boundaries are lost. @returns the search for the next; undefined: there is none, the stream is over */
  #loseTrack(sink: FrameSink): BoundarySearch | undefined {
    if (this.#status !== DeframeStatus.OPEN) return undefined
    if (!this.#mayJudge(sink) || !this.#watch.takeSearch()) {
      this.#giveUp()
      return undefined
    }
    this.#search = new BoundarySearch()
    return this.#search
  }

  #searchIn(search: BoundarySearch, bytes: Uint8Array, sink: FrameSink): void {
    const judge = {
      recognise: (buffer: Uint8Array, offset: number) => sink.recognise?.(buffer, offset) === true,
      verify: (frame: Uint8Array) => this.#handOver(frame, 0, frame.length, sink) === FrameFate.GOOD
    }
    let taken = 0
    for (;;) {
      taken += search.add(bytes.subarray(taken))
      const end = search.find(judge)
      // Whoever took a message may have stopped us.
      if (this.#status !== DeframeStatus.OPEN) return
      if (end === SearchOutcome.GIVEN_UP) this.#giveUp()
      else if (end !== SearchOutcome.MORE) this.#found(search.rest(end), bytes.subarray(taken), sink)
      if (end !== SearchOutcome.MORE || taken === bytes.length) return
    }
  }

  #found(rest: Uint8Array, after: Uint8Array, sink: FrameSink): void {
    this.#search = undefined
    this.#watch.found()
    this.push(rest, sink)
    this.push(after, sink)
  }

  #giveUp(): void {
    this.#watch.gaveUp()
    this.#search = undefined
    this.#fail(DeframeStatus.CORRUPTED)
  }

  #fail(status: DeframeStatus): DeframeStatus {
    this.#status = status
    return status
  }
}

function readLength(buffer: Uint8Array, at: number): number {
  // Callers have checked that two bytes are there.
  return (buffer[at]! << 8) | buffer[at + 1]!
}

function read32(buffer: Uint8Array, at: number): number {
  return (
    (((buffer[at] ?? 0) << 24) |
      ((buffer[at + 1] ?? 0) << 16) |
      ((buffer[at + 2] ?? 0) << 8) |
      (buffer[at + 3] ?? 0)) >>>
    0
  )
}
