/**
 * A channel on a direct stream: reads into memory that all transports share, where packets are decrypted in place, and sends a batch
 * of frames in one call.
 *
 * Invariants: what came before the end is told before it, also where sending was the first to notice; nothing is told from
 * inside a call of the owner's; the stream is destroyed exactly once.
 * @module
 */
import type { Clock } from '../clock.ts'
import { Errno } from '../native/libc-constants.ts'
import { type Watch, watch } from '../native/poller.ts'
import type { Channel, ChannelEvents } from './channel.ts'
import type { DirectStream } from './direct-stream.ts'
import { DirectTransmit } from './direct-transmit.ts'
import { type ReceiveMemory, receiveMemory } from './receive-memory.ts'
import type { EspTransmit, TransportFailure } from './types.ts'

/** Reads of one readiness event: bounds how long other streams and the other direction wait. */
const READS_PER_EVENT = 4

export class DirectChannel implements Channel {
  readonly esp: EspTransmit
  readonly #stream: DirectStream
  readonly #events: ChannelEvents
  readonly #clock: Clock
  readonly #describe: (errno: number) => TransportFailure
  readonly #transmit: DirectTransmit
  readonly #memory: ReceiveMemory = receiveMemory()
  #watch: Watch | undefined
  /** Nobody wants to hear of what is read. */
  #stopped = false
  /** Our end follows as soon as everything has left. */
  #closing = false
  #endSent = false
  /** The peer's end, or an error, was met: nothing more can be read. */
  #ended = false
  #destroyed = false
  /** What sending failed with; told once everything was read. */
  #sendErrno = 0
  readonly #onDestroyed: (() => void)[] = []

  constructor(
    stream: DirectStream,
    originator: boolean,
    events: ChannelEvents,
    clock: Clock,
    describe: (errno: number) => TransportFailure
  ) {
    this.#stream = stream
    this.#events = events
    this.#clock = clock
    this.#describe = describe
    this.#transmit = this.esp = new DirectTransmit(stream, originator, {
      onBlocked: () => this.#wait(),
      onSent: (bytes) => events.onSent(bytes),
      onError: (errno) => {
        this.#sendErrno = errno
        setImmediate(() => (this.#ended ? this.#fail(errno) : this.#readable()))
      }
    })
    stream.onGone = () => {
      this.destroy()
      this.#events.onEnd(undefined)
    }
  }

  start(): void {
    if (this.#destroyed || this.#watch !== undefined) return
    this.#watch = watch(this.#stream.fd, {}, (readable, writable) => {
      if (readable) this.#readable()
      if (writable) this.#writable()
    })
    this.#wait()
    // What the stream holds already is nothing that the descriptor would tell of.
    setImmediate(() => this.#readable())
  }

  sendFrame(frame: Uint8Array): void {
    this.#transmit.sendFrame(frame)
  }

  stop(): void {
    this.#stopped = true
    this.#transmit.stop()
    this.#wait()
  }

  close(graceMs: number): Promise<void> {
    if (this.#destroyed) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = this.#clock.setTimer(graceMs, () => this.destroy())
      this.#onDestroyed.push(() => {
        timer.cancel()
        resolve()
      })
      this.#closing = true
      this.#transmit.flush()
      this.start()
      this.#finishSending()
    })
  }

  destroy(): void {
    if (this.#destroyed) return
    this.#destroyed = this.#ended = true
    this.#transmit.stop()
    this.#watch?.close()
    this.#watch = undefined
    this.#stream.destroy()
    for (const told of this.#onDestroyed.splice(0)) told()
  }

  #readable(): void {
    if (this.#ended || (this.#stopped && !this.#closing)) return
    let errno = 0
    for (let reads = 0; reads < READS_PER_EVENT && !this.#ended; reads++) {
      const count = this.#stream.read(this.#memory)
      errno = count < 0 ? -count : 0
      if (errno === Errno.EINTR) continue
      if (count === 0) this.#ended = true
      if (count <= 0) break
      if (!this.#stopped) this.#events.onBytes(this.#memory.buffer, 0, count)
      if (!this.#stream.more && this.#sendErrno === 0) break
    }
    if (!this.#stopped) this.#events.onBatchEnd()
    this.#judge(errno)
  }

  /** What the last read means for the channel. */
  #judge(errno: number): void {
    if (this.#destroyed) return
    const waits = errno === 0 || errno === Errno.EAGAIN || errno === Errno.EINTR
    if (this.#sendErrno !== 0 && (this.#ended || errno === Errno.EAGAIN)) this.#fail(this.#sendErrno)
    else if (!waits) this.#fail(errno)
    else if (this.#ended) {
      this.#wait()
      this.#finishSending()
      this.#events.onEnd(undefined)
    } else if (this.#sendErrno !== 0 || this.#stream.pending) setImmediate(() => this.#readable())
  }

  #writable(): void {
    if (this.#destroyed) return
    const takesMore = this.#transmit.resume()
    this.#wait()
    this.#finishSending()
    if (takesMore && !this.#stopped) this.#events.onWritable()
  }

  /** Our end, once everything has left; when the peer's is there, too, that is all. */
  #finishSending(): void {
    if (!this.#closing || this.#destroyed || !this.#transmit.drained) return
    if (!this.#endSent) this.#stream.end()
    this.#endSent = true
    if (this.#ended) this.destroy()
    else this.#wait()
  }

  #fail(errno: number): void {
    if (this.#destroyed) return
    const failure = this.#describe(errno)
    this.destroy()
    this.#events.onEnd(failure)
  }

  /** Waits for what there is a use for just now. */
  #wait(): void {
    this.#watch?.modify({
      readable: !this.#ended && (!this.#stopped || this.#closing),
      writable: !this.#transmit.drained
    })
  }
}
