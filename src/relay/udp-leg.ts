/**
 * The relay's UDP side of one stream: a socket of its own, connected to the server's NAT-T port, so that the server tells
 * streams apart by source port and decides itself when an SA has moved (RFC 7296 section 2.23).
 *
 * Batched: `queue` gathers datagrams of one length into runs for UDP_SEGMENT, `flush` sends them; what comes in is
 * delivered in one go, then `onBatchEnd`. What the socket has no room for waits, in order, and `blocked` asks the
 * caller to stop until `onWritable`; it holds no more than what one chunk of the stream brought.
 * Datagrams may be fragmented by the kernel: the client cannot know the MTU of this leg.
 * @module
 */
import { Errno, errnoName } from '../native/libc-constants.ts'
import { addressOf } from '../native/memory.ts'
import { copyBytes, packetBuffer } from '../native/packet-memory.ts'
import { type Watch, watch } from '../native/poller.ts'
import { enableCoalescing, segmentationWanted } from '../transport/udp-offload.ts'
import { isTransient, UdpSocket } from '../transport/udp-socket.ts'
import type { Endpoint } from '../wire/endpoint.ts'

export interface UdpLegOptions {
  readonly remote: Endpoint
  readonly localAddress: string | undefined
  /** Wanted each way; `SOCKET_BUFFER_BYTES` by default. */
  readonly bufferBytes?: number | undefined
}

export interface UdpLegHandlers {
  /** One datagram, valid only during the call. */
  onDatagram(buffer: Uint8Array, offset: number, length: number): void
  onBatchEnd(): void
  /** The leg takes datagrams again. */
  onWritable(): void
  /** The system refused a datagram or reports one of the past, by ICMP for example: `ECONNREFUSED`. */
  onError(code: string): void
}

export interface UdpLeg {
  readonly local: Endpoint
  readonly blocked: boolean
  queue(buffer: Uint8Array, offset: number, length: number): void
  flush(): void
  close(): void
}

/** Each way, for each stream: some 10 ms at 1 Gbit/s. The kernel only uses what it needs. */
const SOCKET_BUFFER_BYTES = 1_048_576
/** UDP_MAX_SEGMENTS of kernels before 6.9. */
const MAX_SEGMENTS = 64
/** Largest UDP payload over IPv4 (RFC 768, RFC 791). */
const MAX_DATAGRAM_BYTES = 65_507
const RECEIVE_BYTES = 65_536
/** Bounds how long one stream keeps the others waiting. */
const READS_PER_EVENT = 16

/** A run lives only from one `queue` to the `flush` behind it, and a received datagram only during its call: all legs share. */
interface Scratch {
  readonly out: Uint8Array
  readonly outAddress: number
  readonly in: Uint8Array
  readonly inAddress: number
}
let shared: Scratch | undefined

function scratch(): Scratch {
  if (shared === undefined) {
    const out = packetBuffer(MAX_DATAGRAM_BYTES)
    const input = packetBuffer(RECEIVE_BYTES)
    shared = { out, outAddress: addressOf(out), in: input, inAddress: addressOf(input) }
  }
  return shared
}

export class NativeUdpLeg implements UdpLeg {
  readonly #socket: UdpSocket
  readonly #handlers: UdpLegHandlers
  readonly #scratch = scratch()
  readonly #watch: Watch
  /** The open run in the scratch buffer. */
  #runEnd = 0
  #runSegment = 0
  #runCount = 0
  #segmentation = segmentationWanted(true).inUse
  /** Datagrams that the socket had no room for. */
  #waiting: Buffer[] = []
  #closed = false

  /** @throws NativeUnavailableError, SystemCallError, TransportError */
  constructor(options: UdpLegOptions, handlers: UdpLegHandlers) {
    const local = options.localAddress === undefined ? undefined : { address: options.localAddress, port: 0 }
    const { remote, bufferBytes = SOCKET_BUFFER_BYTES } = options
    this.#socket = UdpSocket.open({ remote, local, bufferBytes })
    this.#handlers = handlers
    enableCoalescing(this.#socket, true)
    this.#socket.allowFragmentation(true)
    this.#watch = watch(this.#socket.fd, { readable: true }, (readable, writable) => {
      if (readable) this.#receive()
      if (writable) this.#resume()
    })
  }

  get local(): Endpoint {
    return this.#socket.local
  }

  get blocked(): boolean {
    return this.#waiting.length > 0
  }

  queue(buffer: Uint8Array, offset: number, length: number): void {
    if (this.#closed) return
    if (length > MAX_DATAGRAM_BYTES) {
      this.#handlers.onError('EMSGSIZE')
      return
    }
    const fits = this.#runEnd + length <= MAX_DATAGRAM_BYTES && length <= this.#runSegment
    if (this.#runCount > 0 && (!fits || this.#runCount === MAX_SEGMENTS)) this.#sendRun()
    if (this.#runCount === 0) this.#runSegment = length
    copyBytes(buffer, offset, this.#scratch.out, this.#runEnd, length)
    this.#runEnd += length
    this.#runCount++
    // a shorter one can only be the last of its run
    if (length < this.#runSegment) this.#sendRun()
  }

  flush(): void {
    if (this.#runCount > 0) this.#sendRun()
  }

  close(): void {
    if (this.#closed) return
    this.flush()
    this.#closed = true
    this.#watch.close()
    this.#socket.close()
    this.#waiting = []
  }

  #sendRun(): void {
    const end = this.#runEnd
    const segment = this.#runSegment
    const count = this.#runCount
    this.#runEnd = this.#runCount = 0
    if (this.#closed) return
    if (this.#waiting.length > 0) {
      this.#keep(0, end, segment)
      return
    }
    if (count > 1 && this.#segmentation) {
      const errno = this.#attempt(() => this.#socket.sendSegmented(this.#scratch.outAddress, end, segment))
      if (errno === 0 || this.#closed) return
      if (errno === Errno.EAGAIN) {
        this.#keep(0, end, segment)
        return
      }
      // EMSGSIZE and EINVAL: one segment is larger than the interface's MTU; EIO, EOPNOTSUPP: no segmentation here at all
      if (errno !== Errno.EMSGSIZE && errno !== Errno.EINVAL) this.#segmentation = false
    }
    for (let at = 0; at < end && !this.#closed; at += segment) {
      const length = Math.min(segment, end - at)
      const errno = this.#attempt(() => this.#socket.send(this.#scratch.outAddress + at, length))
      if (errno === Errno.EAGAIN) {
        this.#keep(at, end, segment)
        return
      }
      if (errno !== 0 && !this.#closed) this.#handlers.onError(errnoName(errno))
    }
  }

  /** @returns 0, or the errno; an ICMP error about an earlier datagram is told on its own, and the call made again */
  #attempt(send: () => number): number {
    let result = send()
    if (isPending(-result)) {
      this.#handlers.onError(errnoName(-result))
      if (this.#closed) return 0
      result = send()
    }
    if (result >= 0 || isPending(-result)) return 0
    return isTransient(-result) ? Errno.EAGAIN : -result
  }

  #keep(start: number, end: number, segment: number): void {
    for (let at = start; at < end; at += segment)
      this.#waiting.push(Buffer.from(this.#scratch.out.subarray(at, Math.min(at + segment, end))))
    this.#watch.modify({ readable: true, writable: true })
  }

  #resume(): void {
    if (this.#closed || this.#waiting.length === 0) return
    const waiting = this.#waiting
    this.#waiting = []
    for (const datagram of waiting) this.queue(datagram, 0, datagram.length)
    this.flush()
    if (this.#closed || this.#waiting.length > 0) return
    this.#watch.modify({ readable: true })
    this.#handlers.onWritable()
  }

  #receive(): void {
    const { in: buffer, inAddress } = this.#scratch
    for (let reads = 0; reads < READS_PER_EVENT && !this.#closed; reads++) {
      const total = this.#socket.receive(inAddress, RECEIVE_BYTES)
      if (total < 0) {
        if (-total === Errno.EAGAIN) break
        if (!isTransient(-total)) this.#handlers.onError(errnoName(-total))
        continue
      }
      const segment = this.#socket.segmentLength
      for (let at = 0; at < total && !this.#closed; at += segment)
        this.#handlers.onDatagram(buffer, at, Math.min(segment, total - at))
    }
    if (!this.#closed) this.#handlers.onBatchEnd()
  }
}

function isPending(errno: number): boolean {
  return errno === Errno.ECONNREFUSED || errno === Errno.EHOSTUNREACH || errno === Errno.ENETUNREACH
}
