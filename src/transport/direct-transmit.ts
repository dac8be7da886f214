/**
 * Outgoing frames on a direct stream: ESP packets are built one behind the other in one buffer, each behind its two bytes of
 * Length (RFC 9329 section 3), IKE messages are copied in between, and a batch leaves in one call.
 *
 * Invariants: bytes leave in the order of `commit` and `sendFrame`; the originator's prefix stands in front of the first message
 * and never alone; while the stream is full, ESP is refused and IKE is kept.
 * @module
 */
import { Errno } from '../native/libc-constants.ts'
import { addressOf, nativeBuffer } from '../native/memory.ts'
import {
  FRAME_LENGTH_SIZE,
  MAX_FRAMED_ESP_LENGTH,
  STREAM_PREFIX,
  writeFrameLength
} from '../wire/stream-framing.ts'
import type { DirectSender, DirectSenderEvents } from './direct-conduit.ts'
import type { DirectStream } from './direct-stream.ts'
import type { StreamGovernor } from './stream-governor.ts'
import type { EspTransmit } from './types.ts'

/** Small enough to stay in the processor's cache from sealing to the system call. */
const BUFFER_BYTES = 262_144

export class DirectTransmit implements EspTransmit, DirectSender {
  readonly buffer: Buffer = nativeBuffer(BUFFER_BYTES)
  readonly #address = addressOf(this.buffer)
  readonly #stream: DirectStream
  readonly #events: DirectSenderEvents
  readonly #governor: StreamGovernor | undefined
  /** The stream's first bytes; they go out together with whatever is sent first. */
  #prefix: Uint8Array | undefined
  /** What is still to leave is [#sent, #end). */
  #sent = 0
  #end = 0
  /** IKE that found no room in the buffer, in order. While there is any, the stream is blocked. */
  readonly #waiting: Uint8Array[] = []
  #blocked = false
  #stopped = false
  #failed = false

  constructor(
    stream: DirectStream,
    originator: boolean,
    events: DirectSenderEvents,
    governor?: StreamGovernor
  ) {
    this.#stream = stream
    this.#governor = governor
    this.#events = events
    this.#prefix = originator ? STREAM_PREFIX : undefined
  }

  get writable(): boolean {
    return !this.#blocked && !this.#stopped
  }

  /** Is there a use for being told that the stream is writable? */
  get waits(): boolean {
    return (this.#blocked && !this.#failed) || !this.drained
  }

  /** Everything that was to be sent has left, or never will. */
  get drained(): boolean {
    return this.#failed || (this.#sent === this.#end && this.#waiting.length === 0 && !this.#stream.unsent)
  }

  reserve(maxLength: number): number {
    if (this.#blocked || this.#stopped || maxLength > MAX_FRAMED_ESP_LENGTH) return -1
    const full = this.#end + this.#lead() + FRAME_LENGTH_SIZE + maxLength > BUFFER_BYTES
    if (full || this.#end - this.#sent >= this.#budget) {
      this.flush()
      if (this.#blocked || this.#stopped) return -1
    }
    return this.#end + this.#lead() + FRAME_LENGTH_SIZE
  }

  commit(length: number): void {
    if (this.#stopped) return
    this.#putPrefix()
    writeFrameLength(this.buffer, this.#end, length)
    this.#end += FRAME_LENGTH_SIZE + length
  }

  flush(): void {
    if (!this.#blocked && this.#end > this.#sent) this.#drain()
  }

  sendFrame(frame: Uint8Array): void {
    if (this.#stopped) return
    if (this.#waiting.length > 0 || this.#end + this.#lead() + frame.length > BUFFER_BYTES) {
      this.#waiting.push(Uint8Array.from(frame))
      if (!this.#blocked) this.#drain()
    } else {
      this.#put(frame)
      this.flush()
    }
  }

  /** The stream is writable. @returns whether packets are taken again */
  resume(): boolean {
    if (!this.#blocked) return false
    this.#blocked = false
    this.#governor?.writable()
    this.#drain()
    return this.writable
  }

  /** Takes nothing more; `flush` and `resume` still send what is there. */
  stop(): void {
    this.#stopped = true
  }

  get #budget(): number {
    return this.#governor?.budget ?? Number.POSITIVE_INFINITY
  }

  #block(): void {
    this.#blocked = true
    this.#governor?.blocked()
    this.#events.onBlocked()
  }

  #lead(): number {
    return this.#prefix?.length ?? 0
  }

  #putPrefix(): void {
    const prefix = this.#prefix
    if (prefix === undefined) return
    this.#prefix = undefined
    this.buffer.set(prefix, this.#end)
    this.#end += prefix.length
  }

  #put(frame: Uint8Array): void {
    this.#putPrefix()
    this.buffer.set(frame, this.#end)
    this.#end += frame.length
  }

  #drain(): void {
    while (!this.#failed) {
      if (this.#sent === this.#end) this.#refill()
      const length = Math.min(this.#end - this.#sent, this.#budget)
      const taken =
        length === 0 ? this.#stream.push() : this.#stream.write(this.#address + this.#sent, length)
      if (taken < 0 && taken !== -Errno.EAGAIN && taken !== -Errno.EINTR) {
        this.#failed = this.#stopped = true
        this.#events.onError(-taken)
        return
      }
      this.#advance(taken)
      const enough = taken > 0 && this.#governor?.took(taken) === true
      if (this.drained && !enough) return
      if (enough || taken < length || length === 0) {
        this.#block()
        return
      }
    }
  }

  #advance(taken: number): void {
    if (taken <= 0) return
    this.#sent += taken
    this.#events.onSent(taken)
    if (this.#sent === this.#end) this.#sent = this.#end = 0
  }

  /** Into the empty buffer with as much as fits of what waits. */
  #refill(): void {
    this.#sent = this.#end = 0
    for (;;) {
      const [next] = this.#waiting
      if (next === undefined || this.#end + this.#lead() + next.length > BUFFER_BYTES) return
      this.#put(next)
      this.#waiting.shift()
    }
  }
}
