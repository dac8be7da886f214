/**
 * The client's side of a relayed stream: bytes in both directions. `DirectLane` reads and writes the descriptor itself, `NodeLane`
 * goes through Node.
 * @module
 */
export interface LaneEvents {
  /** Bytes of the stream at `buffer[start, end)`; only valid during the call. */
  onBytes(buffer: Uint8Array, start: number, end: number): void
  /** The client has taken some of what waits for it. */
  onTaken(): void
  /** The client has ended its direction in good order. */
  onEnd(): void
  /** `onClosed` follows. */
  onError(message: string): void
  /** Told once; nothing after it. */
  onClosed(): void
}

/** Nothing is told before `start`. */
export interface Lane {
  /** Bytes that were sent and that the stream has not taken. */
  readonly waitingBytes: number
  /** Everything that was sent has left. */
  readonly drained: boolean
  /** Begins to read. Call once. */
  start(): void
  /** Reads nothing until `resume`. */
  pause(): void
  resume(): void
  /** Sends `buffer[0, length)`; used up when the call returns. */
  send(buffer: Uint8Array, length: number): void
  /** Tells of nothing read any more; what waits is sent, then the end; closed as soon as the client has done the same. */
  end(): void
  /** Closes at once. */
  destroy(): void
}
