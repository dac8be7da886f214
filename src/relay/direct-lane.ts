/**
 * A lane on a direct stream: one `recv` brings up to 128 KiB, a batch of frames leaves in one `send` from the memory that it was
 * gathered in.
 * @module
 */
import { type Clock, monotonicClock } from '../clock.ts'
import { errnoName } from '../native/libc-constants.ts'
import { AddressCache } from '../native/memory.ts'
import { DirectBatch } from '../transport/direct-batch.ts'
import { DirectConduit } from '../transport/direct-conduit.ts'
import type { DirectStream } from '../transport/direct-stream.ts'
import type { Lane, LaneEvents } from './lane.ts'

/** All lanes send from the same memory. */
const addresses = new AddressCache()

export class DirectLane implements Lane {
  readonly #conduit: DirectConduit<DirectBatch>
  readonly #events: LaneEvents
  #head: readonly Uint8Array[]

  /** @param head bytes of the stream that were read before */
  constructor(
    stream: DirectStream,
    head: readonly Uint8Array[],
    events: LaneEvents,
    clock: Clock = monotonicClock
  ) {
    this.#head = head
    this.#events = events
    this.#conduit = new DirectConduit(
      stream,
      (senderEvents) => new DirectBatch(stream, senderEvents),
      {
        onBytes: (buffer, start, end) => events.onBytes(buffer, start, end),
        onBatchEnd: () => undefined,
        onWritable: () => undefined,
        onSent: () => events.onTaken(),
        onEnd: (failure) => {
          if (failure === undefined) events.onEnd()
        },
        onDestroyed: () => events.onClosed()
      },
      clock,
      (errno) => {
        const message = stream.describe(errno) ?? errnoName(errno)
        events.onError(message)
        return { code: 'io-error', message }
      }
    )
  }

  get waitingBytes(): number {
    return this.#conduit.sender.waitingBytes
  }

  get drained(): boolean {
    return this.#conduit.sender.drained
  }

  start(): void {
    const head = this.#head
    this.#head = []
    for (const bytes of head) if (bytes.length > 0) this.#events.onBytes(bytes, 0, bytes.length)
    this.#conduit.start()
  }

  pause(): void {
    this.#conduit.pause()
  }

  resume(): void {
    this.#conduit.resume()
  }

  send(buffer: Uint8Array, length: number): void {
    this.#conduit.sender.send(buffer, addresses.of(buffer), length)
  }

  end(): void {
    this.#conduit.stop()
    this.#conduit.end()
  }

  destroy(): void {
    this.#conduit.destroy()
  }
}
