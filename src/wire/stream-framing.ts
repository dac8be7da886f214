/**
 * IKE and ESP in a byte stream (RFC 9329 sections 3 and 4).
 *
 *     stream:  "IKETCP" (originator only, once) | frame | frame | ...
 *     frame:   Length (2, counts itself) | 00 00 00 00 | IKE message
 *              Length (2, counts itself) | ESP packet
 *
 * `StreamDeframer` cuts the stream back into messages wherever the chunks were split. One deframer serves one
 * connection and is thrown away with it. It hands out views into the chunk, or into its own buffer for a frame that
 * came in several chunks: they are valid only during the call, and may be overwritten (ESP is decrypted in place).
 * Invariant: it never holds more than one incomplete frame, 65535 bytes at most.
 * @module
 */
import { InternalError } from '../errors.ts'
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
  /** The stream does not begin with the prefix: `rejected` holds what it begins with. */
  BAD_PREFIX: 2,
  /** `stop` was called. */
  STOPPED: 3
} as const
export type DeframeStatus = (typeof DeframeStatus)[keyof typeof DeframeStatus]

export interface FrameSink {
  /** One IKE message without Length and marker; its header's Length is `length`. */
  onIke(buffer: Uint8Array, offset: number, length: number): void
  /** One ESP packet of at least 8 bytes; its SPI is not 0. */
  onEsp(buffer: Uint8Array, offset: number, length: number): void
}

export interface DeframerOptions {
  /** The stream must begin with `STREAM_PREFIX`: true for the end that was connected to (RFC 9329 section 6.1). */
  readonly expectPrefix?: boolean
}

export class StreamDeframer {
  /** Frames that were neither IKE nor ESP nor to be ignored. */
  malformed = 0
  /** NAT-keepalives, which do not belong on a stream but are harmless (RFC 9329 section 6.6). */
  keepalives = 0
  #status: DeframeStatus = DeframeStatus.OPEN
  #rejected: Uint8Array | undefined
  /** Bytes of the prefix that are still to come. */
  #prefixLeft: number
  /** The incomplete frame: `#heldLength` bytes of it, Length included. */
  #held = new Uint8Array(0)
  #heldLength = 0

  constructor(options: DeframerOptions = {}) {
    this.#prefixLeft = options.expectPrefix ? STREAM_PREFIX.length : 0
  }

  get status(): DeframeStatus {
    return this.#status
  }

  /** True while a frame, or the prefix, is incomplete: the end of the stream now would cut it off. */
  get isMidFrame(): boolean {
    return this.#heldLength > 0 || (this.#prefixLeft > 0 && this.#prefixLeft < STREAM_PREFIX.length)
  }

  /** True while the prefix that was asked for has not arrived whole. */
  get awaitsPrefix(): boolean {
    return this.#prefixLeft > 0
  }

  /** After `BAD_PREFIX`: every byte of the stream so far, for whoever speaks another protocol on this port. */
  get rejected(): Uint8Array | undefined {
    return this.#rejected
  }

  /** Delivers nothing more, even from a `push` that is under way (a sink may call this). */
  stop(): void {
    if (this.#status === DeframeStatus.OPEN) this.#status = DeframeStatus.STOPPED
  }

  /** Takes the next bytes of the stream and delivers every message that they complete. */
  push(chunk: Uint8Array, sink: FrameSink): DeframeStatus {
    if (this.#status !== DeframeStatus.OPEN) return this.#status
    let at = this.#prefixLeft > 0 ? this.#matchPrefix(chunk) : 0
    if (this.#heldLength > 0) at = this.#completeHeld(chunk, at, sink)
    while (this.#status === DeframeStatus.OPEN) {
      const available = chunk.length - at
      if (available < FRAME_LENGTH_SIZE) break
      const length = readLength(chunk, at)
      if (length < FRAME_LENGTH_SIZE) return this.#fail(DeframeStatus.BAD_LENGTH)
      if (available < length) break
      this.#deliver(chunk, at, length, sink)
      at += length
    }
    if (this.#status === DeframeStatus.OPEN && at < chunk.length) this.#hold(chunk, at, chunk.length)
    return this.#status
  }

  /** @returns the offset in the chunk where frames begin; sets BAD_PREFIX at the first byte that differs */
  #matchPrefix(chunk: Uint8Array): number {
    const seen = STREAM_PREFIX.length - this.#prefixLeft
    const count = Math.min(this.#prefixLeft, chunk.length)
    for (let i = 0; i < count; i++) {
      if (chunk[i] === STREAM_PREFIX[seen + i]) continue
      const rejected = new Uint8Array(seen + chunk.length)
      rejected.set(STREAM_PREFIX.subarray(0, seen))
      rejected.set(chunk, seen)
      this.#rejected = rejected
      this.#fail(DeframeStatus.BAD_PREFIX)
      return 0
    }
    this.#prefixLeft -= count
    return count
  }

  /** Moves bytes from the chunk to the held frame, and delivers it when it is whole. */
  #completeHeld(chunk: Uint8Array, at: number, sink: FrameSink): number {
    if (this.#heldLength < FRAME_LENGTH_SIZE) {
      if (at === chunk.length) return at
      this.#hold(chunk, at, at + 1)
      at++
    }
    const length = readLength(this.#held, 0)
    if (length < FRAME_LENGTH_SIZE) {
      this.#fail(DeframeStatus.BAD_LENGTH)
      return at
    }
    const take = Math.min(length - this.#heldLength, chunk.length - at)
    this.#hold(chunk, at, at + take)
    if (this.#heldLength === length) {
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
    const body = at + FRAME_LENGTH_SIZE
    const bodyLength = length - FRAME_LENGTH_SIZE
    switch (classifyDatagram(buffer, body, bodyLength)) {
      case DatagramKind.IKE:
        sink.onIke(buffer, body + NON_ESP_MARKER_LENGTH, bodyLength - NON_ESP_MARKER_LENGTH)
        break
      case DatagramKind.ESP:
        sink.onEsp(buffer, body, bodyLength)
        break
      case DatagramKind.KEEPALIVE:
        this.keepalives++
        break
      case DatagramKind.MALFORMED:
        this.malformed++
        break
    }
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
