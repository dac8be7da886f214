/**
 * From datagrams of the server to frames towards the client: Length is put in front, a batch leaves in one write.
 *
 * Invariants: what waits for a slow client is bounded: beyond `espLimit` bytes ESP is dropped, IKE never; IKE alone
 * cannot fill the memory either, since beyond `ikeLimit` the stream is given up (RFC 9329 has no way to skip a message).
 * Only whole frames are written.
 * @module
 */
import { copyBytes, packetBuffer } from '../native/packet-memory.ts'
import { classifyDatagram, DatagramKind } from '../wire/non-esp-marker.ts'
import { FRAME_LENGTH_SIZE, MAX_FRAMED_ESP_LENGTH, writeFrameLength } from '../wire/stream-framing.ts'
import type { Lane } from './lane.ts'

export const QueueOutcome = {
  QUEUED_IKE: 0,
  QUEUED_ESP: 1,
  DROPPED_ESP: 2,
  KEEPALIVE: 3,
  MALFORMED: 4,
  FULL: 5
} as const
export type QueueOutcome = (typeof QueueOutcome)[keyof typeof QueueOutcome]

/** Frames of one batch: as much as one read of the UDP socket brings, and the longest frame. */
const BATCH_BYTES = 65_536
/** A batch lives from one datagram to `flush`, so that all queues share the memory. */
const batch = packetBuffer(BATCH_BYTES)

export interface QueueLimits {
  readonly espQueueBytes: number
  readonly ikeQueueBytes: number
}

export class ClientQueue {
  readonly #lane: Lane
  readonly #limits: QueueLimits
  readonly #now: () => number
  #batchEnd = 0
  #progressMs = 0

  constructor(lane: Lane, limits: QueueLimits, now: () => number) {
    this.#lane = lane
    this.#limits = limits
    this.#now = now
  }

  /** Since when the client has taken nothing of what waits; undefined: nothing waits. */
  get stalledSinceMs(): number | undefined {
    return this.#lane.drained ? undefined : this.#progressMs
  }

  /** Bytes that the stream has not taken yet. */
  get waitingBytes(): number {
    return this.#lane.waitingBytes + this.#batchEnd
  }

  /** To be called when the client has taken some of what waits. */
  taken(): void {
    this.#progressMs = this.#now()
  }

  /** Takes one datagram as the server sent it, marker and all. Call `flush` before control returns to the event loop. */
  push(buffer: Uint8Array, offset: number, length: number): QueueOutcome {
    const kind = classifyDatagram(buffer, offset, length)
    if (kind === DatagramKind.KEEPALIVE) return QueueOutcome.KEEPALIVE
    if (kind === DatagramKind.MALFORMED || length > MAX_FRAMED_ESP_LENGTH) return QueueOutcome.MALFORMED
    const waiting = this.waitingBytes + FRAME_LENGTH_SIZE + length
    if (kind === DatagramKind.ESP) {
      if (waiting > this.#limits.espQueueBytes) return QueueOutcome.DROPPED_ESP
    } else if (waiting > this.#limits.ikeQueueBytes) {
      return QueueOutcome.FULL
    }
    this.#append(buffer, offset, length)
    return kind === DatagramKind.ESP ? QueueOutcome.QUEUED_ESP : QueueOutcome.QUEUED_IKE
  }

  /** @returns whether there was anything to send */
  flush(): boolean {
    const length = this.#batchEnd
    if (length === 0) return false
    this.#batchEnd = 0
    if (this.#lane.drained) this.#progressMs = this.#now()
    this.#lane.send(batch, length)
    return true
  }

  #append(buffer: Uint8Array, offset: number, length: number): void {
    if (this.#batchEnd + FRAME_LENGTH_SIZE + length > BATCH_BYTES) this.flush()
    writeFrameLength(batch, this.#batchEnd, length)
    const at = this.#batchEnd + FRAME_LENGTH_SIZE
    // Only what comes from the C library is part of a larger buffer.
    if (length === buffer.length) batch.set(buffer, at)
    else copyBytes(buffer, offset, batch, at, length)
    this.#batchEnd = at + length
  }
}
