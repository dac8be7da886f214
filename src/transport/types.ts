/**
 * What the rest of the program sees of a transport: a path that carries IKE messages and batches of ESP packets.
 *
 * One owner: a transport owns its socket and its buffers. It never throws after it was opened; its end is told
 * once, through `onClose`.
 * @module
 */
import type { Facility } from '../native/speedups.ts'
import type { Endpoint, Path, TransportKind } from '../wire/endpoint.ts'
import type { Judgement } from '../wire/frame-fate.ts'

/** Why a transport could not be opened or came to its end. Stable codes: they stand in the JSON output. */
export type TransportFailureCode =
  | 'timeout'
  | 'port-unreachable'
  | 'network-unreachable'
  | 'permission-denied'
  | 'connection-refused'
  | 'connection-reset'
  | 'closed-by-peer'
  | 'tls-error'
  | 'tls-untrusted'
  | 'proxy-unreachable'
  | 'proxy-refused'
  | 'proxy-auth-required'
  | 'framing-error'
  | 'stream-corrupted'
  | 'ike-silent'
  | 'ike-auth-silent'
  | 'esp-silent'
  | 'closed'
  | 'io-error'

export interface TransportFailure {
  readonly code: TransportFailureCode
  /** One sentence for people. */
  readonly message: string
}

/**
 * Where outgoing ESP packets are built. The transport owns the memory and leaves room for its own framing; the
 * caller seals straight into it. Use: `reserve`, write the packet at the returned offset, `commit`; `flush` ends a batch.
 */
export interface EspTransmit {
  readonly buffer: Uint8Array
  /** @returns the offset in `buffer` where a packet of at most `maxLength` bytes may be written, or -1: blocked, wait for `onWritable` */
  reserve(maxLength: number): number
  /**
   * The packet written at the offset that `reserve` returned last is `length` bytes long.
   * @param ecn ECN field for the outer header (RFC 6040 section 4.1), 0: Not-ECT; only UDP can honour it
   */
  commit(length: number, ecn?: number): void
  /** Hands everything committed to the kernel, in as few system calls as it can. */
  flush(): void
  /** False while the transport cannot take another batch (stream blocked). */
  readonly writable: boolean
}

export interface TransportHandlers {
  /** One IKE message without marker or length. The bytes are only valid during the call. */
  onIke(message: Uint8Array, path: Path): Judgement
  /**
   * One ESP packet at `buffer[offset, offset + length)`; it may be decrypted in place; only valid during the call.
   * @param ecn ECN field of the outer header where the transport knows it (UDP), else absent (RFC 6040 section 4.2)
   */
  onEsp(buffer: Uint8Array, offset: number, length: number, path: Path, ecn?: number): Judgement
  /** On streams: see `FrameSink.recognise`. */
  recognise?(buffer: Uint8Array, offset: number, path: Path): boolean
  /** The batch of `onEsp` calls is over: flush what was coalesced. */
  onEspBatchEnd(): void
  /** A blocked transport takes packets again. */
  onWritable(): void
  /** The end, exactly once; what came before it has been delivered. */
  onClose(failure: TransportFailure): void
  /**
   * A hint that something is wrong, from a source that nobody authenticates (ICMP after the peer was already heard):
   * the transport goes on, a liveness check may be wise (RFC 7296 section 2.4).
   */
  onTrouble?(failure: TransportFailure): void
  /** The path's MTU changed: `maxEspLength` has a new value. */
  onMaxEspLength?(maxEspLength: number): void
}

/** What the kernel does for a transport; null: means nothing for this kind of transport, or is not known. */
export interface TransportFacts {
  /** Many datagrams in one system call, out (UDP_SEGMENT) and in (UDP_GRO). */
  readonly udpSegmentation: Facility | null
  readonly udpCoalescing: Facility | null
  /** A stream's descriptor is read and written without Node's streams in between. */
  readonly directStream: Facility | null
  /** Of a UDP socket, as the kernel granted them. */
  readonly sendBufferBytes: number | null
  readonly receiveBufferBytes: number | null
  /** Of a TCP stream. */
  readonly congestionControl: string | null
  readonly unsentBytes: number | null
}

/** Nothing is known. */
export const NO_FACTS: TransportFacts = {
  udpSegmentation: null,
  udpCoalescing: null,
  directStream: null,
  sendBufferBytes: null,
  receiveBufferBytes: null,
  congestionControl: null,
  unsentBytes: null
}

export interface TransportStats {
  readonly bytesIn: number
  readonly bytesOut: number
  /** ESP packets that were thrown away because the socket refused them. */
  readonly espDropped: number
  /** Frames that were neither IKE nor ESP, or broken. */
  readonly malformed: number
}

export interface Transport {
  readonly kind: TransportKind
  /** URL of the proxy without credentials, or null. */
  readonly via: string | null
  /** The path for IKE_SA_INIT; for UDP its `natT` is the path for everything after. */
  readonly path: Path
  /** The address and port of the peer or of the proxy to which packets really go (for the pinned route). */
  readonly outerRemote: Endpoint
  readonly esp: EspTransmit
  /** Largest ESP packet that passes without outer fragmentation (UDP), or that the stream carries well. */
  readonly maxEspLength: number
  readonly stats: TransportStats
  readonly facts: TransportFacts
  setHandlers(handlers: TransportHandlers): void
  /** Sends one IKE message on `path` (one of this transport's); on a stream it is never dropped. */
  sendIke(message: Uint8Array, path: Path): void
  /** RFC 3948 section 4 NAT-keepalive on UDP; does nothing on streams (RFC 9329 section 6.6). */
  sendNatKeepalive(): void
  /** Sends what is queued, then TLS close_notify and FIN. Resolves when closed, after `graceMs` at the latest. */
  close(graceMs?: number): Promise<void>
}
