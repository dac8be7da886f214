/**
 * What carries the frames of a stream transport: bytes in both directions, with the memory that outgoing batches are built in.
 *
 * Two kinds: `NodeChannel` for any stream of Node's, and `DirectChannel`, which reads and writes a descriptor itself, from and
 * into the memory that packets are worked on in.
 * @module
 */
import type { EspTransmit, TransportFailure } from './types.ts'

export interface ChannelEvents {
  /** Bytes of the stream at `buffer[start, end)`; only valid during the call, and may be overwritten. */
  onBytes(buffer: Uint8Array, start: number, end: number): void
  /** Everything that there was to read has been told; `onBytes` follows when more comes. */
  onBatchEnd(): void
  /** A blocked channel takes packets again. */
  onWritable(): void
  /** Bytes that left, or surely will as long as the channel is open. */
  onSent(bytes: number): void
  /** Nothing more comes. Undefined: the peer has ended its direction in good order. What counts is the first one. */
  onEnd(failure: TransportFailure | undefined): void
}

export interface Channel {
  /** ESP in frames (RFC 9329 section 3); an originator's stream begins with the prefix. */
  readonly esp: EspTransmit
  /** Begins to read. Call once. */
  start(): void
  /** Sends a whole frame, never dropped while the channel is open, with the prefix in front of it where that is due. */
  sendFrame(frame: Uint8Array): void
  /** Takes nothing more to send, and tells of nothing read. What was flushed still leaves with `close`. */
  stop(): void
  /** Sends what it holds, then the end of the stream. Resolves when closed, after `graceMs` at the latest. */
  close(graceMs: number): Promise<void>
  /** Closes at once. */
  destroy(): void
}
