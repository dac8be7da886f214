/**
 * A TUN device without a kernel: for tests, and for tools that make and take packets themselves.
 * @module
 */
import { packetBuffer } from '../native/packet-memory.ts'
import { IN_USE, notInUse } from '../native/speedups.ts'
import { MAX_PACKET_LENGTH, type Tun, type TunHandlers, type TunOffloads } from './types.ts'
import { VNET_HEADER_LENGTH } from './vnet-header.ts'

export class MemoryTun implements Tun {
  readonly name: string
  readonly offloads: TunOffloads
  readonly readBuffer = packetBuffer(VNET_HEADER_LENGTH + MAX_PACKET_LENGTH)
  /** Frames that `write` took, oldest first. */
  readonly written: Uint8Array[] = []
  /** Called with each frame instead of keeping it in `written`. */
  onWritten: ((frame: Uint8Array) => void) | undefined
  readonly #waiting: Uint8Array[] = []
  #handlers: TunHandlers = { onReadable() {}, onGone() {} }
  #reading = false
  #released = false

  /** @param options `offload`: all of it by default, or only that of TCP, or none */
  constructor(options: { readonly name?: string; readonly offload?: boolean | 'tcp' } = {}) {
    this.name = options.name ?? 'memory0'
    const { offload = true } = options
    const facility = (inUse: boolean) => (inUse ? IN_USE : notInUse('not wanted'))
    this.offloads = {
      checksum: facility(offload !== false),
      tcp: facility(offload !== false),
      udp: facility(offload === true)
    }
  }

  /** Whether frames are asked for just now. */
  get reading(): boolean {
    return this.#reading && !this.#released
  }

  /** Frames that wait to be read. */
  get waiting(): number {
    return this.#waiting.length
  }

  /** Puts a bare IP packet where the data plane reads. Tells nobody: call `run`. */
  inject(packet: Uint8Array): void {
    const frame = new Uint8Array(VNET_HEADER_LENGTH + packet.length)
    frame.set(packet, VNET_HEADER_LENGTH)
    this.injectFrame(frame)
  }

  /** The same with a virtio-net header in front. */
  injectFrame(frame: Uint8Array): void {
    this.#waiting.push(Uint8Array.from(frame))
  }

  /** Tells that frames are there for as long as they are, and somebody reads. */
  run(): void {
    let before = -1
    while (this.reading && this.#waiting.length > 0 && this.#waiting.length !== before) {
      before = this.#waiting.length
      this.#handlers.onReadable()
    }
  }

  setHandlers(handlers: TunHandlers): void {
    this.#handlers = handlers
  }

  setReading(on: boolean): void {
    this.#reading = on
  }

  read(): number {
    const frame = this.#released ? undefined : this.#waiting.shift()
    if (frame === undefined) return 0
    this.readBuffer.set(frame)
    return frame.length
  }

  write(buffer: Uint8Array, offset: number, length: number): boolean {
    if (this.#released) return false
    const frame = buffer.slice(offset, offset + length)
    if (this.onWritten === undefined) this.written.push(frame)
    else this.onWritten(frame)
    return true
  }

  release(): void {
    this.#released = true
  }
}
