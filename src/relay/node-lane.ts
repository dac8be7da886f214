/**
 * A lane over a stream of Node's: what cannot be read and written directly, and where that is switched off.
 * @module
 */
import type { Duplex } from 'node:stream'
import type { Lane, LaneEvents } from './lane.ts'

export class NodeLane implements Lane {
  readonly #stream: Duplex
  readonly #events: LaneEvents
  #head: Uint8Array
  #paused = false

  /** @param head bytes of the stream that were read before */
  constructor(stream: Duplex, head: Uint8Array, events: LaneEvents) {
    this.#stream = stream
    this.#head = head
    this.#events = events
    stream.on('end', () => events.onEnd())
    stream.on('error', ({ message }) => events.onError(message))
    stream.on('close', () => events.onClosed())
  }

  get waitingBytes(): number {
    return this.#stream.writableLength
  }

  get drained(): boolean {
    return this.#stream.writableLength === 0
  }

  start(): void {
    const head = this.#head
    this.#head = head.subarray(0, 0)
    if (head.length > 0) this.#events.onBytes(head, 0, head.length)
    this.#stream.on('data', this.#onData)
    if (this.#paused) this.#stream.pause()
    else this.#stream.resume()
  }

  pause(): void {
    this.#paused = true
    this.#stream.pause()
  }

  resume(): void {
    this.#paused = false
    this.#stream.resume()
  }

  send(buffer: Uint8Array, length: number): void {
    if (!this.#stream.writable) return
    // Node sends later.
    this.#stream.write(Buffer.from(buffer.subarray(0, length)), this.#onTaken)
  }

  end(): void {
    this.#stream.off('data', this.#onData)
    this.#stream.end()
    // The client's end is only seen when everything in front of it is read.
    this.#stream.resume()
  }

  destroy(): void {
    this.#stream.destroy()
  }

  readonly #onData = (chunk: Buffer): void => this.#events.onBytes(chunk, 0, chunk.length)

  readonly #onTaken = (): void => this.#events.onTaken()
}
