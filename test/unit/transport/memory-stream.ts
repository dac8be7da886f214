/**
 * A stream whose far end is the test: what was written is recorded, what is taken can be held back.
 * @module
 */
import { Duplex } from 'node:stream'
import type { TransportFailure, TransportHandlers } from '../../../src/transport/types.ts'

export class MemoryStream extends Duplex {
  readonly written: Buffer[] = []
  /** Hold writes back, as a full socket does. */
  blocked = false
  #waiting: (() => void)[] = []

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    // Copied when it is taken: that is when a socket copies it, too.
    const take = () => {
      this.written.push(Buffer.from(chunk))
      done()
    }
    if (this.blocked) this.#waiting.push(take)
    else take()
  }

  release(): void {
    this.blocked = false
    const waiting = this.#waiting
    this.#waiting = []
    for (const take of waiting) take()
  }

  get bytes(): Buffer {
    return Buffer.concat(this.written)
  }

  /** Bytes from the peer. */
  receive(bytes: Uint8Array): void {
    this.push(Buffer.from(bytes))
  }

  receiveEnd(): void {
    this.push(null)
  }
}

/** Writes down everything that a transport says, in order. */
export class Recorder implements TransportHandlers {
  readonly events: string[] = []
  readonly ike: Buffer[] = []
  readonly esp: Buffer[] = []
  closed: TransportFailure | undefined
  readonly troubles: TransportFailure[] = []
  writable = 0
  batches = 0

  onIke(message: Uint8Array): void {
    this.ike.push(Buffer.from(message))
    this.events.push(`ike ${message.length}`)
  }

  onEsp(buffer: Uint8Array, offset: number, length: number): void {
    this.esp.push(Buffer.from(buffer.subarray(offset, offset + length)))
    this.events.push(`esp ${length}`)
  }

  onEspBatchEnd(): void {
    this.batches++
    this.events.push('batch end')
  }

  onWritable(): void {
    this.writable++
  }

  onClose(failure: TransportFailure): void {
    if (this.closed !== undefined) this.events.push('closed twice')
    this.closed = failure
    this.events.push(`closed ${failure.code}`)
  }

  onTrouble(failure: TransportFailure): void {
    this.troubles.push(failure)
  }
}
