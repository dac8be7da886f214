/**
 * What is sent on a direct stream by somebody who gathers it in memory that others use, too: it leaves at once as far as there
 * is room, and only what does not is kept.
 *
 * Invariants: bytes leave in the order of `send`; a stream that takes everything holds no memory; how much may wait is the
 * business of whoever sends (`waitingBytes`). TLS holds one write more at most, encrypted.
 * @module
 */
import { Errno } from '../native/libc-constants.ts'
import { addressOf, nativeBuffer } from '../native/memory.ts'
import { copyBytes } from '../native/packet-memory.ts'
import type { DirectSender, DirectSenderEvents } from './direct-conduit.ts'
import type { DirectStream } from './direct-stream.ts'

/** Of one call: bounds what TLS has encrypted and cannot get rid of. */
const WRITE_BYTES = 65_536
/** What waits is kept in pieces of this size. */
const PIECE_BYTES = 65_536
/** Pieces that are kept for the next stream that is full. */
const MAX_SPARE_PIECES = 32

interface Piece {
  readonly buffer: Buffer
  readonly address: number
  /** What is to be sent is [start, end). */
  start: number
  end: number
}

const spare: Piece[] = []

export class DirectBatch implements DirectSender {
  readonly #stream: DirectStream
  readonly #events: DirectSenderEvents
  /** Oldest first; only the last one has room. */
  readonly #pieces: Piece[] = []
  #waitingBytes = 0
  #blocked = false
  #stopped = false
  #failed = false

  constructor(stream: DirectStream, events: DirectSenderEvents) {
    this.#stream = stream
    this.#events = events
  }

  /** Bytes that were given to `send` and have not been taken. */
  get waitingBytes(): number {
    return this.#waitingBytes
  }

  get waits(): boolean {
    return !this.drained
  }

  get drained(): boolean {
    return this.#failed || (this.#waitingBytes === 0 && !this.#stream.unsent)
  }

  /** Sends `buffer[0, length)`, which is at `address`; used up when the call returns. */
  send(buffer: Uint8Array, address: number, length: number): void {
    if (this.#stopped) return
    let sent = 0
    while (sent < length && !this.#blocked && !this.#failed)
      sent += this.#write(address + sent, Math.min(WRITE_BYTES, length - sent))
    if (this.#failed) return
    if (sent < length) this.#keep(buffer, sent, length)
    this.#push()
  }

  flush(): void {}

  resume(): boolean {
    if (!this.#blocked) return false
    this.#blocked = false
    for (
      let [piece] = this.#pieces;
      piece !== undefined && !this.#blocked && !this.#failed;
      [piece] = this.#pieces
    ) {
      const taken = this.#write(piece.address + piece.start, piece.end - piece.start)
      piece.start += taken
      this.#waitingBytes -= taken
      if (piece.start === piece.end) this.#release()
    }
    this.#push()
    return !this.#blocked && !this.#stopped
  }

  stop(): void {
    this.#stopped = true
  }

  /** @returns bytes taken; fewer than `length`: the stream is full, or has failed */
  #write(address: number, length: number): number {
    const count = this.#stream.write(address, length)
    if (count < 0 && count !== -Errno.EAGAIN && count !== -Errno.EINTR) {
      this.#fail(-count)
      return 0
    }
    const taken = Math.max(0, count)
    if (taken > 0) this.#events.onSent(taken)
    if (taken < length) this.#block()
    return taken
  }

  /** What the stream itself holds. */
  #push(): void {
    if (this.#blocked || this.#failed || !this.#stream.unsent) return
    const result = this.#stream.push()
    if (result < 0 && result !== -Errno.EAGAIN && result !== -Errno.EINTR) this.#fail(-result)
    else if (this.#stream.unsent) this.#block()
  }

  #block(): void {
    this.#blocked = true
    this.#events.onBlocked()
  }

  #fail(errno: number): void {
    this.#failed = this.#stopped = true
    this.#waitingBytes = 0
    while (this.#pieces.length > 0) this.#release()
    this.#events.onError(errno)
  }

  #keep(buffer: Uint8Array, start: number, end: number): void {
    this.#waitingBytes += end - start
    for (let at = start; at < end; ) {
      const last = this.#pieces.at(-1)
      if (last === undefined || last.end === PIECE_BYTES) {
        this.#pieces.push(newPiece())
        continue
      }
      const count = Math.min(end - at, PIECE_BYTES - last.end)
      copyBytes(buffer, at, last.buffer, last.end, count)
      last.end += count
      at += count
    }
    // Only now: `drained` tells whether to wait for room.
    this.#events.onBlocked()
  }

  /** The oldest piece is used up. */
  #release(): void {
    const piece = this.#pieces.shift()
    if (piece === undefined || spare.length === MAX_SPARE_PIECES) return
    piece.start = piece.end = 0
    spare.push(piece)
  }
}

function newPiece(): Piece {
  const kept = spare.pop()
  if (kept !== undefined) return kept
  const buffer = nativeBuffer(PIECE_BYTES)
  return { buffer, address: addressOf(buffer), start: 0, end: 0 }
}
