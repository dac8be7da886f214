/**
 * A channel over a stream of Node's: what cannot be read and written directly, and where that is switched off.
 *
 * Invariant: an end in good order is answered with ours by whoever owns the channel (`close`), never by Node.
 * @module
 */
import type { Duplex } from 'node:stream'
import type { Clock } from '../clock.ts'
import type { Channel, ChannelEvents } from './channel.ts'
import { StreamTransmit } from './stream-transmit.ts'
import type { EspTransmit, TransportFailure } from './types.ts'

export class NodeChannel implements Channel {
  readonly esp: EspTransmit
  readonly #stream: Duplex
  readonly #events: ChannelEvents
  readonly #clock: Clock
  readonly #transmit: StreamTransmit
  #error: TransportFailure | undefined

  /**
   * @param pendingLimit bytes that may wait inside Node before packets are refused
   * @param describe what an error of the stream means
   */
  constructor(
    stream: Duplex,
    originator: boolean,
    pendingLimit: number,
    events: ChannelEvents,
    clock: Clock,
    describe: (error: Error) => TransportFailure
  ) {
    this.#stream = stream
    this.#events = events
    this.#clock = clock
    this.#transmit = this.esp = new StreamTransmit(stream, originator, pendingLimit, events)
    stream.on('error', (error) => {
      this.#error = describe(error)
    })
    stream.on('end', () => events.onEnd(undefined))
    stream.on('close', () => events.onEnd(this.#error))
  }

  start(): void {
    if (this.#stream.readableEnded || this.#stream.destroyed) this.#events.onEnd(this.#error)
    this.#stream.on('data', (chunk: Buffer) => {
      this.#events.onBytes(chunk, 0, chunk.length)
      this.#events.onBatchEnd()
    })
    // Whoever had the stream before may have paused it.
    this.#stream.resume()
  }

  sendFrame(frame: Uint8Array): void {
    const prefix = this.#transmit.takePrefix()
    const bytes = prefix === undefined ? frame : Buffer.concat([prefix, frame])
    this.#events.onSent(bytes.length)
    this.#stream.write(bytes, () => this.#transmit.drained())
  }

  stop(): void {
    this.#transmit.close()
  }

  /** What was written, TLS close_notify, FIN; destroyed when the peer has not done the same in `graceMs`. */
  close(graceMs: number): Promise<void> {
    const stream = this.#stream
    if (stream.closed) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = this.#clock.setTimer(graceMs, () => stream.destroy())
      stream.once('close', () => {
        timer.cancel()
        resolve()
      })
      stream.on('error', () => undefined)
      stream.end()
      // The peer's FIN is only seen when everything in front of it is read.
      stream.resume()
    })
  }

  destroy(): void {
    this.#stream.destroy()
  }
}
