/**
 * Outgoing ESP on UDP: packets of equal length and ECN field are gathered into runs, each run leaves in one `sendmsg`
 * with UDP_SEGMENT; where the kernel or the device refuses that, each packet in a `send` of its own.
 *
 * Invariants: a run is contiguous in `buffer`, its packets have one ECN field, and one length except a shorter last one;
 * packets leave in the order of their `commit`; a run that the socket has no room for stays where it is, and `reserve`
 * refuses more until it has left.
 * @module
 */
import { Errno, errnoName } from '../native/libc-constants.ts'
import { addressOf, nativeBuffer } from '../native/memory.ts'
import { type Facility, notInUse } from '../native/speedups.ts'
import type { EspTransmit } from './types.ts'
import { isTransient, type UdpSocket } from './udp-socket.ts'

/** What is needed of the socket. */
export type SegmentSender = Pick<UdpSocket, 'send' | 'sendSegmented' | 'pathMtu' | 'overhead'>

/** UDP_MAX_SEGMENTS of kernels before 6.9. */
const MAX_SEGMENTS = 64
/** Largest UDP payload over IPv4 (RFC 768, RFC 791). */
const MAX_RUN_BYTES = 65507
const BUFFER_BYTES = 262144
/** Open runs and runs that wait: one that waits stops all further ones, so that there are never more than two. */
const MAX_RUNS = 4

export interface UdpTransmitEvents {
  /** The socket reported an error that is not about this packet's size or a full buffer. */
  onSocketError(errno: number): void
  onPathMtuExceeded(): void
  /** A run waits for room in the socket's buffer: call `resume` when it is writable. */
  onBlocked(): void
  onDropped(packets: number): void
  onSent(bytes: number): void
}

export class UdpTransmit implements EspTransmit {
  readonly buffer: Buffer = nativeBuffer(BUFFER_BYTES)
  readonly #address = addressOf(this.buffer)
  readonly #socket: SegmentSender
  readonly #events: UdpTransmitEvents
  readonly #starts = new Int32Array(MAX_RUNS)
  readonly #ends = new Int32Array(MAX_RUNS)
  readonly #segments = new Int32Array(MAX_RUNS)
  readonly #counts = new Int32Array(MAX_RUNS)
  readonly #ecns = new Int32Array(MAX_RUNS)
  /** Runs in use; the last one may be open. */
  #runs = 0
  #open = false
  #end = 0
  #blocked = false
  #closed = false
  #segmentation: Facility

  constructor(socket: SegmentSender, segmentation: Facility, events: UdpTransmitEvents) {
    this.#socket = socket
    this.#segmentation = segmentation
    this.#events = events
  }

  /** Not in use any more once the kernel or device has refused UDP_SEGMENT. */
  get segmentation(): Facility {
    return this.#segmentation
  }

  get writable(): boolean {
    return !this.#blocked && !this.#closed
  }

  reserve(maxLength: number): number {
    if (this.#blocked || this.#closed || maxLength > MAX_RUN_BYTES) return -1
    if (this.#end + maxLength > BUFFER_BYTES) {
      this.flush()
      if (this.#blocked || this.#closed) return -1
    }
    return this.#end
  }

  commit(length: number, ecn = 0): void {
    const at = this.#end
    const last = this.#runs - 1
    if (
      this.#open &&
      ecn === this.#ecns[last] &&
      length <= (this.#segments[last] ?? 0) &&
      at + length - (this.#starts[last] ?? 0) <= MAX_RUN_BYTES
    ) {
      this.#end = at + length
      this.#ends[last] = this.#end
      this.#counts[last] = (this.#counts[last] ?? 0) + 1
      // A shorter packet can only be the last of its run.
      if (length < (this.#segments[last] ?? 0) || (this.#counts[last] ?? 0) >= MAX_SEGMENTS) this.#send()
      return
    }
    this.#send()
    const index = this.#runs
    this.#starts[index] = this.#end = at
    this.#end = at + length
    this.#ends[index] = this.#end
    this.#segments[index] = length
    this.#counts[index] = 1
    this.#ecns[index] = ecn
    this.#runs = index + 1
    this.#open = true
  }

  flush(): void {
    this.#send()
  }

  /** The socket is writable: sends what waited. @returns whether packets are taken again */
  resume(): boolean {
    if (!this.#blocked || this.#closed) return false
    this.#blocked = false
    this.#send()
    return !this.#blocked && !this.#closed
  }

  close(): void {
    this.#closed = true
    this.#runs = 0
    this.#open = false
  }

  /** Closes the open run and hands runs to the kernel in order until it has no more room. */
  #send(): void {
    this.#open = false
    if (this.#blocked || this.#closed) return
    let sent = 0
    while (sent < this.#runs && this.#sendRun(sent)) sent++
    if (this.#closed) return
    if (sent === this.#runs) {
      this.#runs = 0
      this.#end = 0
      return
    }
    this.#starts.copyWithin(0, sent, this.#runs)
    this.#ends.copyWithin(0, sent, this.#runs)
    this.#segments.copyWithin(0, sent, this.#runs)
    this.#counts.copyWithin(0, sent, this.#runs)
    this.#ecns.copyWithin(0, sent, this.#runs)
    this.#runs -= sent
    this.#blocked = true
    this.#events.onBlocked()
  }

  /** @returns false when the run must wait, whole or what is left of it */
  #sendRun(run: number): boolean {
    const start = this.#starts[run] ?? 0
    const end = this.#ends[run] ?? 0
    const segment = this.#segments[run] ?? 0
    const count = this.#counts[run] ?? 0
    const ecn = this.#ecns[run] ?? 0
    if (count === 1 || !this.#segmentation.inUse) return this.#sendSingly(run)
    let result = this.#socket.sendSegmented(this.#address + start, end - start, segment, ecn)
    if (isPendingError(-result)) {
      this.#events.onSocketError(-result)
      if (this.#closed) return true
      result = this.#socket.sendSegmented(this.#address + start, end - start, segment, ecn)
    }
    if (result >= 0) {
      this.#events.onSent(end - start)
      return true
    }
    if (-result === Errno.EAGAIN || -result === Errno.EINTR) return false
    if (isTransient(-result)) {
      this.#events.onDropped(count)
      return true
    }
    // EINVAL and EMSGSIZE may also mean that one segment exceeds the MTU: then each packet is told its own fate.
    if (-result === Errno.EMSGSIZE || (-result === Errno.EINVAL && this.#exceedsMtu(segment)))
      return this.#sendSingly(run)
    if (-result === Errno.EIO || -result === Errno.EINVAL || -result === Errno.EOPNOTSUPP) {
      this.#segmentation = notInUse(`the kernel or the device refused UDP_SEGMENT (${errnoName(-result)})`)
      return this.#sendSingly(run)
    }
    this.#events.onDropped(count)
    this.#events.onSocketError(-result)
    return true
  }

  #exceedsMtu(length: number): boolean {
    const mtu = this.#socket.pathMtu()
    return mtu > 0 && length + this.#socket.overhead > mtu
  }

  #sendSingly(run: number): boolean {
    const segment = this.#segments[run] ?? 0
    const end = this.#ends[run] ?? 0
    const ecn = this.#ecns[run] ?? 0
    let at = this.#starts[run] ?? 0
    let count = this.#counts[run] ?? 0
    while (at < end && !this.#closed) {
      const length = Math.min(segment, end - at)
      let result = this.#socket.send(this.#address + at, length, ecn)
      if (isPendingError(-result)) {
        this.#events.onSocketError(-result)
        if (this.#closed) return true
        result = this.#socket.send(this.#address + at, length, ecn)
      }
      if (-result === Errno.EAGAIN || -result === Errno.EINTR) {
        this.#starts[run] = at
        this.#counts[run] = count
        return false
      }
      if (result >= 0) this.#events.onSent(length)
      else this.#refused(-result)
      at += length
      count--
    }
    return true
  }

  #refused(errno: number): void {
    this.#events.onDropped(1)
    if (errno === Errno.EMSGSIZE) this.#events.onPathMtuExceeded()
    else if (!isTransient(errno)) this.#events.onSocketError(errno)
  }
}

/** An ICMP error about an earlier packet is told by the next call, which then has sent nothing. */
function isPendingError(errno: number): boolean {
  return errno === Errno.ECONNREFUSED || errno === Errno.EHOSTUNREACH || errno === Errno.ENETUNREACH
}
