/**
 * A direct stream and the loop: reads into memory that all transports share, where packets are worked on in place, has a
 * `DirectSender` send, and knows how a stream ends. For the channels of client and gateway, and for the relay.
 *
 * Invariants: what came before the end is told before it, also where sending was the first to notice; nothing is told from
 * inside a call of the owner's; the stream is destroyed exactly once.
 * @module
 */
import type { Clock } from '../clock.ts'
import { Errno } from '../native/libc-constants.ts'
import { type Watch, watch } from '../native/poller.ts'
import type { ChannelEvents } from './channel.ts'
import type { DirectStream } from './direct-stream.ts'
import { type ReceiveMemory, receiveMemory } from './receive-memory.ts'
import type { TransportFailure } from './types.ts'

/** Reads of one readiness event: bounds how long other streams and the other direction wait. */
const READS_PER_EVENT = 4

/** What holds the bytes that are to be sent on a direct stream. */
export interface DirectSender {
  /** Everything that was to be sent has left, or never will. */
  readonly drained: boolean
  /** Is there a use for being told that the stream is writable? */
  readonly waits: boolean
  /** Sends what was gathered. */
  flush(): void
  /** The stream is writable. @returns whether more is taken now that was not before */
  resume(): boolean
  /** Takes nothing more; `flush` and `resume` still send what is there. */
  stop(): void
}

export interface DirectSenderEvents {
  /** The stream is full: call `resume` when it is writable. */
  onBlocked(): void
  onSent(bytes: number): void
  onError(errno: number): void
}

export interface ConduitEvents extends ChannelEvents {
  /** Closed, by whomever: nothing is told any more. */
  onDestroyed?(): void
}

export class DirectConduit<Sender extends DirectSender = DirectSender> {
  readonly sender: Sender
  readonly #stream: DirectStream
  readonly #events: ConduitEvents
  readonly #clock: Clock
  readonly #describe: (errno: number) => TransportFailure
  readonly #memory: ReceiveMemory = receiveMemory()
  #watch: Watch | undefined
  /** Nobody wants to hear of what is read. */
  #stopped = false
  /** Nobody has room for what is read just now. */
  #paused = false
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
    createSender: (events: DirectSenderEvents) => Sender,
    events: ConduitEvents,
    clock: Clock,
    describe: (errno: number) => TransportFailure
  ) {
    this.#stream = stream
    this.#events = events
    this.#clock = clock
    this.#describe = describe
    this.sender = createSender({
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

  /** Reads nothing until `resume`. */
  pause(): void {
    this.#paused = true
    this.#wait()
  }

  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    this.#wait()
    // What the stream holds, and what sending failed with meanwhile.
    setImmediate(() => this.#readable())
  }

  /** Tells of nothing read any more. What was flushed still leaves with `end` or `close`. */
  stop(): void {
    this.#stopped = true
    this.sender.stop()
    this.#wait()
  }

  /** Sends what there is, then the end of the stream; closed as soon as the peer has done the same. */
  end(): void {
    if (this.#destroyed || this.#closing) return
    this.#closing = true
    this.#paused = false
    this.sender.flush()
    this.start()
    this.#finishSending()
  }

  /** As `end`, but closed after `graceMs` at the latest, when it resolves. */
  close(graceMs: number): Promise<void> {
    if (this.#destroyed) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = this.#clock.setTimer(graceMs, () => this.destroy())
      this.#onDestroyed.push(() => {
        timer.cancel()
        resolve()
      })
      this.end()
    })
  }

  /** Closes at once. */
  destroy(): void {
    if (this.#destroyed) return
    this.#destroyed = this.#ended = true
    this.sender.stop()
    this.#watch?.close()
    this.#watch = undefined
    this.#stream.destroy()
    for (const told of this.#onDestroyed.splice(0)) told()
    this.#events.onDestroyed?.()
  }

  #readable(): void {
    if (this.#ended || this.#paused || (this.#stopped && !this.#closing)) return
    let errno = 0
    for (let reads = 0; reads < READS_PER_EVENT && !this.#ended && !this.#paused; reads++) {
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
    const takesMore = this.sender.resume()
    this.#wait()
    this.#finishSending()
    if (takesMore && !this.#stopped) this.#events.onWritable()
  }

  /** Our end, once everything has left; when the peer's is there, too, that is all. */
  #finishSending(): void {
    if (!this.#closing || this.#destroyed || !this.sender.drained) return
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
      readable: !this.#ended && !this.#paused && (!this.#stopped || this.#closing),
      writable: this.sender.waits
    })
  }
}
