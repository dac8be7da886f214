/**
 * A client at the other end of a lane of either kind: what it sends arrives at once, what it gets is written down, and it can stop
 * taking anything. The direct one needs `fake-poller.ts` in the poller's place.
 * @module
 */
import { Duplex } from 'node:stream'
import { libc } from '../../../src/native/libc.ts'
import { Errno } from '../../../src/native/libc-constants.ts'
import { addressOf, nativeBuffer } from '../../../src/native/memory.ts'
import { DirectLane } from '../../../src/relay/direct-lane.ts'
import type { Lane, LaneEvents } from '../../../src/relay/lane.ts'
import { NodeLane } from '../../../src/relay/node-lane.ts'
import type { DirectStream } from '../../../src/transport/direct-stream.ts'
import type { ReceiveMemory } from '../../../src/transport/receive-memory.ts'
import { interestIn, makeReady } from './fake-poller.ts'

const NO_HEAD = Buffer.alloc(0)

export interface FakeClient {
  /** What each write brought. */
  readonly written: Buffer[]
  /** Takes nothing of what is written. */
  stalled: boolean
  readonly destroyed: boolean
  /** Nothing that it sends is read just now. */
  readonly isPaused: boolean
  openLane(events: LaneEvents): Lane
  /** Bytes of it arrive, synchronously. */
  arrive(chunk: Buffer): void
  /** Takes what waits, and all that comes. */
  takeAll(): void
  /** Ends its direction. */
  end(): void
  /** The connection breaks. */
  reset(): void
  /** The owner of the socket closes it. */
  close(): void
}

class NodeClient implements FakeClient {
  readonly written: Buffer[] = []
  stalled = false
  readonly #held: (() => void)[] = []
  readonly #stream: Duplex

  constructor() {
    this.#stream = new Duplex({
      allowHalfOpen: false,
      read: () => undefined,
      write: (chunk: Buffer, _encoding, done) => {
        const take = () => {
          this.written.push(chunk)
          done()
        }
        if (this.stalled) this.#held.push(take)
        else take()
      }
    })
  }

  get destroyed(): boolean {
    return this.#stream.destroyed
  }
  get isPaused(): boolean {
    return this.#stream.isPaused()
  }
  openLane(events: LaneEvents): Lane {
    return new NodeLane(this.#stream, NO_HEAD, events)
  }
  arrive(chunk: Buffer): void {
    this.#stream.emit('data', Buffer.from(chunk))
  }
  takeAll(): void {
    this.stalled = false
    for (const take of this.#held.splice(0)) take()
  }
  end(): void {
    this.#stream.push(null)
    this.#stream.resume()
  }
  reset(): void {
    this.#stream.destroy(new Error('reset'))
  }
  close(): void {
    this.#stream.destroy()
  }
}

let lastFd = 1_000_000

class FakeDirectStream implements DirectStream {
  readonly fd = ++lastFd
  readonly written: Buffer[] = []
  stalled = false
  destroyed = false
  arriving = NO_HEAD
  /** What a read ends with once everything has arrived. */
  atEnd: number = -Errno.EAGAIN
  more = false
  readonly pending = false
  readonly unsent = false
  onGone: (() => void) | undefined

  read({ buffer }: ReceiveMemory): number {
    const chunk = this.arriving.subarray(0, buffer.length)
    if (chunk.length === 0) return this.atEnd
    this.arriving = this.arriving.subarray(chunk.length)
    buffer.set(chunk)
    this.more = this.arriving.length > 0
    return chunk.length
  }
  write(address: number, length: number): number {
    if (this.stalled) return -Errno.EAGAIN
    const copy = nativeBuffer(length)
    libc().memmove(addressOf(copy), address, length)
    this.written.push(copy)
    return length
  }
  push(): number {
    return 0
  }
  end(): void {}
  destroy(): void {
    this.destroyed = true
  }
  describe(): undefined {}
}

class DirectClient implements FakeClient {
  readonly #stream = new FakeDirectStream()

  get written(): Buffer[] {
    return this.#stream.written
  }
  get stalled(): boolean {
    return this.#stream.stalled
  }
  set stalled(stalled: boolean) {
    this.#stream.stalled = stalled
  }
  get destroyed(): boolean {
    return this.#stream.destroyed
  }
  get isPaused(): boolean {
    return interestIn(this.#stream.fd)?.readable !== true
  }
  openLane(events: LaneEvents): Lane {
    return new DirectLane(this.#stream, [NO_HEAD], events)
  }
  arrive(chunk: Buffer): void {
    this.#stream.arriving = Buffer.concat([this.#stream.arriving, chunk])
    this.#tell()
  }
  takeAll(): void {
    this.stalled = false
    makeReady(this.#stream.fd, false, true)
  }
  end(): void {
    this.#stream.atEnd = 0
    this.#tell()
  }
  reset(): void {
    this.#stream.atEnd = -Errno.ECONNRESET
    this.#tell()
  }
  close(): void {
    this.#stream.onGone?.()
  }

  #tell(): void {
    makeReady(this.#stream.fd, true, false)
  }
}

export const CLIENTS: Readonly<Record<'direct' | 'node', () => FakeClient>> = {
  direct: () => new DirectClient(),
  node: () => new NodeClient()
}
