/**
 * Outgoing ESP on a stream: packets are built into one ring, each behind its two bytes of Length (RFC 9329 section
 * 3), and a batch leaves in one write.
 *
 * Invariants: memory that was given to a write is not touched until the stream has taken it; batches leave in the
 * order in which they were committed; with nothing outstanding the ring starts again at 0.
 * @module
 */
import type { Duplex } from 'node:stream'
import {
  FRAME_LENGTH_SIZE,
  MAX_FRAMED_ESP_LENGTH,
  STREAM_PREFIX,
  writeFrameLength
} from '../wire/stream-framing.ts'
import type { EspTransmit } from './types.ts'

const BUFFER_BYTES = 1024 * 1024

export interface StreamTransmitEvents {
  onWritable(): void
  onSent(bytes: number): void
}

export class StreamTransmit implements EspTransmit {
  readonly buffer: Buffer = Buffer.from(new ArrayBuffer(BUFFER_BYTES))
  readonly #stream: Duplex
  readonly #events: StreamTransmitEvents
  /** Bytes that the stream may hold before packets are refused. */
  readonly #pendingLimit: number
  /** The stream's first bytes; they go out together with whatever is sent first. */
  #prefix: Uint8Array | undefined
  /** The batch that is being built is [#batchStart, #end). */
  #batchStart = 0
  #end = 0
  #packets = 0
  /** Where the batches begin that the stream still holds, oldest first. */
  readonly #outstanding: number[] = []
  /** Callbacks still to come for batches that are known to have left. */
  #settledEarly = 0
  #blocked = false
  #closed = false

  constructor(stream: Duplex, originator: boolean, pendingLimit: number, events: StreamTransmitEvents) {
    this.#stream = stream
    this.#pendingLimit = pendingLimit
    this.#events = events
    this.#prefix = originator ? STREAM_PREFIX : undefined
  }

  get writable(): boolean {
    if (this.#closed) return false
    if (this.#stream.writableLength <= this.#pendingLimit) return true
    this.#blocked = true
    return false
  }

  /** What an IKE message sent now must be preceded by: the prefix, once. */
  takePrefix(): Uint8Array | undefined {
    const prefix = this.#prefix
    this.#prefix = undefined
    if (prefix !== undefined && this.#packets > 0) this.#batchStart += prefix.length
    return prefix
  }

  reserve(maxLength: number): number {
    if (this.#closed || maxLength > MAX_FRAMED_ESP_LENGTH) return -1
    if (this.#packets === 0) this.#settle()
    const lead = this.#packets === 0 && this.#prefix !== undefined ? STREAM_PREFIX.length : 0
    const needed = lead + FRAME_LENGTH_SIZE + maxLength
    if (!this.#makeRoom(needed)) {
      this.#blocked = true
      return -1
    }
    return this.#end + lead + FRAME_LENGTH_SIZE
  }

  commit(length: number): void {
    if (this.#closed) return
    if (this.#packets === 0) {
      this.#batchStart = this.#end
      if (this.#prefix !== undefined) {
        this.buffer.set(this.#prefix, this.#end)
        this.#end += this.#prefix.length
      }
    }
    writeFrameLength(this.buffer, this.#end, length)
    this.#end += FRAME_LENGTH_SIZE + length
    this.#packets++
  }

  flush(): void {
    if (this.#packets === 0 || this.#closed) return
    const batch = this.buffer.subarray(this.#batchStart, this.#end)
    this.#packets = 0
    this.#prefix = undefined
    this.#outstanding.push(this.#batchStart)
    this.#stream.write(batch, this.#onWritten)
    this.#events.onSent(batch.length)
  }

  close(): void {
    this.#closed = true
    this.#packets = 0
  }

  /** Told whenever the stream has taken something: may unblock. */
  drained(): void {
    if (!this.#blocked || this.#closed || this.#stream.writableLength > this.#pendingLimit) return
    this.#blocked = false
    this.#events.onWritable()
  }

  readonly #onWritten = (): void => {
    if (this.#settledEarly > 0) this.#settledEarly--
    else this.#outstanding.shift()
    this.drained()
  }

  /** A write that the kernel took at once is over before its callback runs: `writableLength` tells. */
  #settle(): void {
    if (this.#stream.writableLength > 0) return
    this.#settledEarly += this.#outstanding.length
    this.#outstanding.length = 0
    this.#end = 0
  }

  /** Makes [#end, #end + needed) free, at the ring's start if it must. */
  #makeRoom(needed: number): boolean {
    if (this.#fits(needed)) return true
    // A batch is contiguous: what was built so far leaves before the ring starts again.
    this.flush()
    this.#settle()
    if (this.#fits(needed)) return true
    const oldest = this.#outstanding[0] ?? BUFFER_BYTES
    if (this.#end < oldest || needed >= oldest) return false
    this.#end = 0
    return true
  }

  /**
   * Memory in use reaches from the oldest outstanding batch up to #end, around the ring's end if #end is below it.
   * The two never become equal again while something is outstanding, which would look like an empty ring.
   */
  #fits(needed: number): boolean {
    const oldest = this.#outstanding[0]
    const wrapped = oldest !== undefined && this.#end < oldest
    return wrapped ? this.#end + needed < oldest : this.#end + needed <= BUFFER_BYTES
  }
}
