/**
 * A transport whose packets are also put into a capture file, in the form in which they are on the wire, so that Wireshark can
 * take them apart: UDP datagrams as they are; streams as an RFC 9329 stream over TCP, also where it really runs inside TLS or
 * through a proxy. Such a stream is shown on the server's port 4500, by which it is recognised.
 *
 * A transport that is not captured knows nothing of this. Not seen are frames that a transport itself sorts out: keepalives of
 * the peer, and what is broken.
 * @module
 */
import { addressFamily } from '../wire/address.ts'
import type { Endpoint, Path } from '../wire/endpoint.ts'
import { NAT_KEEPALIVE, NON_ESP_MARKER_LENGTH } from '../wire/non-esp-marker.ts'
import {
  FRAME_LENGTH_SIZE,
  IKE_FRAME_OVERHEAD,
  STREAM_PREFIX,
  writeFrameLength
} from '../wire/stream-framing.ts'
import { DatagramFlow, MAX_SEGMENT_LENGTH, SegmentFlow, TcpFlag } from '../wire/synthetic-flow.ts'
import { type TlsInfo, tlsInfoOf } from './tls.ts'
import type {
  EspTransmit,
  Transport,
  TransportFacts,
  TransportFailure,
  TransportHandlers,
  TransportStats
} from './types.ts'

/** Where captured packets go. */
export interface PacketSink {
  /** One IP packet: `head[0, headLength)` followed by `body[offset, offset + length)`. */
  packet(head: Uint8Array, headLength: number, body: Uint8Array, offset: number, length: number): void
}

/** By which Wireshark knows an RFC 9329 stream. */
const STREAM_PORT = 4500
const NO_BYTES = new Uint8Array(0)
const NON_ESP_MARKER = new Uint8Array(NON_ESP_MARKER_LENGTH)

/** What is captured of a transport, whatever its kind. */
interface Recorder {
  ike(outbound: boolean, message: Uint8Array, path: Path): void
  esp(outbound: boolean, buffer: Uint8Array, offset: number, length: number, ecn: number): void
  keepalive(): void
  close(byPeer: boolean): void
}

/** From now on everything that goes over this transport is captured. */
export function captured(transport: Transport, sink: PacketSink): Transport {
  return new CapturedTransport(
    transport,
    transport.kind === 'udp' ? new DatagramRecorder(transport, sink) : new StreamRecorder(transport, sink)
  )
}

class CapturedTransport implements Transport {
  readonly esp: EspTransmit
  /** For `tlsInfoOf`. */
  readonly tlsInfo: TlsInfo | undefined
  readonly #inner: Transport
  readonly #recorder: Recorder

  constructor(inner: Transport, recorder: Recorder) {
    this.#inner = inner
    this.#recorder = recorder
    this.esp = new CapturedTransmit(inner.esp, recorder)
    this.tlsInfo = tlsInfoOf(inner)
  }

  get kind(): Transport['kind'] {
    return this.#inner.kind
  }
  get via(): string | null {
    return this.#inner.via
  }
  get path(): Path {
    return this.#inner.path
  }
  get outerRemote(): Endpoint {
    return this.#inner.outerRemote
  }
  get maxEspLength(): number {
    return this.#inner.maxEspLength
  }
  get stats(): TransportStats {
    return this.#inner.stats
  }
  get facts(): TransportFacts {
    return this.#inner.facts
  }

  setHandlers(handlers: TransportHandlers): void {
    this.#inner.setHandlers(capturedHandlers(handlers, this.#recorder))
  }

  sendIke(message: Uint8Array, path: Path): void {
    this.#recorder.ike(true, message, path)
    this.#inner.sendIke(message, path)
  }

  sendNatKeepalive(): void {
    this.#recorder.keepalive()
    this.#inner.sendNatKeepalive()
  }

  close(graceMs?: number): Promise<void> {
    this.#recorder.close(false)
    return this.#inner.close(graceMs)
  }
}

function capturedHandlers(handlers: TransportHandlers, recorder: Recorder): TransportHandlers {
  return {
    onIke: (message, path) => {
      recorder.ike(false, message, path)
      return handlers.onIke(message, path)
    },
    onEsp: (buffer, offset, length, path, ecn) => {
      // Before it is decrypted where it stands.
      recorder.esp(false, buffer, offset, length, ecn ?? 0)
      return handlers.onEsp(buffer, offset, length, path, ecn)
    },
    ...(handlers.recognise === undefined
      ? {}
      : { recognise: (buffer, offset, path) => handlers.recognise?.(buffer, offset, path) === true }),
    onEspBatchEnd: () => handlers.onEspBatchEnd(),
    onWritable: () => handlers.onWritable(),
    onClose: (failure: TransportFailure) => {
      recorder.close(failure.code === 'closed-by-peer')
      handlers.onClose(failure)
    },
    onTrouble: (failure) => handlers.onTrouble?.(failure),
    onMaxEspLength: (length) => handlers.onMaxEspLength?.(length)
  }
}

class CapturedTransmit implements EspTransmit {
  readonly #inner: EspTransmit
  readonly #recorder: Recorder
  #at = 0

  constructor(inner: EspTransmit, recorder: Recorder) {
    this.#inner = inner
    this.#recorder = recorder
  }

  get buffer(): Uint8Array {
    return this.#inner.buffer
  }
  get writable(): boolean {
    return this.#inner.writable
  }

  reserve(maxLength: number): number {
    this.#at = this.#inner.reserve(maxLength)
    return this.#at
  }

  commit(length: number, ecn = 0): void {
    this.#recorder.esp(true, this.#inner.buffer, this.#at, length, ecn)
    this.#inner.commit(length, ecn)
  }

  flush(): void {
    this.#inner.flush()
  }
}

class DatagramRecorder implements Recorder {
  readonly #sink: PacketSink
  readonly #ike: { readonly path: Path; readonly flow: DatagramFlow }
  /** The same as for IKE where there is only one port. */
  readonly #natT: { readonly path: Path; readonly flow: DatagramFlow }

  constructor({ path }: Transport, sink: PacketSink) {
    this.#sink = sink
    this.#ike = { path, flow: new DatagramFlow(path.local, path.remote) }
    this.#natT =
      path.natT === undefined
        ? this.#ike
        : { path: path.natT, flow: new DatagramFlow(path.natT.local, path.natT.remote) }
  }

  ike(outbound: boolean, message: Uint8Array, path: Path): void {
    const plain = path.id === this.#ike.path.id && this.#ike !== this.#natT
    const { flow } = plain ? this.#ike : this.#natT
    this.#record(flow, outbound, plain ? NO_BYTES : NON_ESP_MARKER, message, 0, message.length, 0)
  }

  esp(outbound: boolean, buffer: Uint8Array, offset: number, length: number, ecn: number): void {
    this.#record(this.#natT.flow, outbound, NO_BYTES, buffer, offset, length, ecn)
  }

  keepalive(): void {
    this.#record(this.#natT.flow, true, NO_BYTES, NAT_KEEPALIVE, 0, NAT_KEEPALIVE.length, 0)
  }

  close(): void {}

  #record(
    flow: DatagramFlow,
    outbound: boolean,
    lead: Uint8Array,
    body: Uint8Array,
    offset: number,
    length: number,
    ecn: number
  ): void {
    this.#sink.packet(flow.head, flow.build(outbound, lead, body, offset, length, ecn), body, offset, length)
  }
}

class StreamRecorder implements Recorder {
  readonly #sink: PacketSink
  readonly #flow: SegmentFlow
  readonly #leads = streamLeads()
  #prefixSent = false
  #closed = false

  constructor({ path, outerRemote }: Transport, sink: PacketSink) {
    this.#sink = sink
    const { address: local, port } = path.local
    // Behind a proxy the gateway may be known by name only: then it stands at the proxy's address.
    const sameFamily = addressFamily(path.remote.address) === addressFamily(local)
    const remote = sameFamily ? path.remote.address : outerRemote.address
    this.#flow = new SegmentFlow({ address: local, port }, { address: remote, port: STREAM_PORT })
    this.#empty(true, TcpFlag.SYN)
    this.#empty(false, TcpFlag.SYN | TcpFlag.ACK)
    this.#empty(true, TcpFlag.ACK)
  }

  ike(outbound: boolean, message: Uint8Array): void {
    this.#frame(outbound, true, message, 0, message.length)
  }

  esp(outbound: boolean, buffer: Uint8Array, offset: number, length: number): void {
    this.#frame(outbound, false, buffer, offset, length)
  }

  /** There are none on streams (RFC 9329 section 6.6). */
  keepalive(): void {}

  close(byPeer: boolean): void {
    if (this.#closed) return
    this.#closed = true
    for (const outbound of [!byPeer, byPeer]) this.#empty(outbound, TcpFlag.FIN | TcpFlag.ACK)
  }

  #frame(outbound: boolean, isIke: boolean, body: Uint8Array, offset: number, length: number): void {
    if (this.#closed) return
    const withPrefix = outbound && !this.#prefixSent
    if (outbound) this.#prefixSent = true
    const lead = this.#leads[isIke ? 'ike' : 'esp'][withPrefix ? 'first' : 'later']
    const at = withPrefix ? STREAM_PREFIX.length : 0
    writeFrameLength(lead, at, lead.length - at - FRAME_LENGTH_SIZE + length)
    let first = Math.min(length, MAX_SEGMENT_LENGTH)
    this.#segment(outbound, lead, body, offset, first)
    for (; first < length; first += MAX_SEGMENT_LENGTH) {
      const rest = Math.min(length - first, MAX_SEGMENT_LENGTH)
      this.#segment(outbound, NO_BYTES, body, offset + first, rest)
    }
  }

  #segment(outbound: boolean, lead: Uint8Array, body: Uint8Array, offset: number, length: number): void {
    const flow = this.#flow
    const headLength = flow.build(outbound, lead, body, offset, length, TcpFlag.PSH | TcpFlag.ACK)
    this.#sink.packet(flow.head, headLength, body, offset, length)
  }

  #empty(outbound: boolean, flags: number): void {
    this.#sink.packet(this.#flow.head, this.#flow.buildEmpty(outbound, flags), NO_BYTES, 0, 0)
  }
}

/** What stands in front of a message: the prefix, once; Length, which is filled in; the non-ESP marker. */
function streamLeads() {
  const plain = (length: number) => ({
    later: new Uint8Array(length),
    first: Uint8Array.of(...STREAM_PREFIX, ...new Uint8Array(length))
  })
  return { ike: plain(IKE_FRAME_OVERHEAD), esp: plain(FRAME_LENGTH_SIZE) }
}
