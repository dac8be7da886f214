/**
 * `struct msghdr` of 64-bit Linux with room for one address, one piece of data and ancillary data, for `sendmsg` and
 * `recvmsg` without an allocation per call.
 * @module
 */
import { addressOf, nativeBuffer, writePointer } from './memory.ts'
import { SOCKADDR_IN6_LENGTH } from './sockaddr.ts'

const NAME_LENGTH_AT = 8
const CONTROL_LENGTH_AT = 40
const FLAGS_AT = 48
const HEADER_LENGTH = 56
/** `struct cmsghdr`: length (64 bits), level, type (32 bits each), then data; everything aligned to 8 bytes. */
const CONTROL_HEADER_LENGTH = 16

export class MessageHeader {
  /** The peer's address: written before sending (if not connected), read after receiving. */
  readonly name: Buffer
  /** Address of the structure, to be passed to `sendmsg` and `recvmsg`. */
  readonly address: number
  readonly #header: Buffer
  readonly #vector: Buffer
  readonly #control: Buffer
  readonly #controlCapacity: number
  #controlUsed = 0

  constructor(controlCapacity = 256) {
    this.#header = nativeBuffer(HEADER_LENGTH)
    this.#vector = nativeBuffer(16)
    this.#control = nativeBuffer(controlCapacity)
    this.#controlCapacity = controlCapacity
    this.name = nativeBuffer(SOCKADDR_IN6_LENGTH)
    this.address = addressOf(this.#header)
    writePointer(this.#header, 0, addressOf(this.name))
    writePointer(this.#header, 16, addressOf(this.#vector))
    writePointer(this.#header, 24, 1)
    writePointer(this.#header, 32, addressOf(this.#control))
  }

  /** The memory to send from or to receive into. */
  setData(address: number, length: number): void {
    writePointer(this.#vector, 0, address)
    writePointer(this.#vector, 8, length)
  }

  /** Bytes of `name` in use: 0 for a connected socket. After receiving: what the kernel wrote. */
  get nameLength(): number {
    return this.#header.readUInt32LE(NAME_LENGTH_AT)
  }
  set nameLength(length: number) {
    this.#header.writeUInt32LE(length, NAME_LENGTH_AT)
  }

  /** `MessageFlag` bits after receiving. */
  get flags(): number {
    return this.#header.readUInt32LE(FLAGS_AT)
  }

  /** Call before every `recvmsg`: the whole name and the whole ancillary buffer are free again. */
  prepareReceive(): void {
    this.nameLength = SOCKADDR_IN6_LENGTH
    writePointer(this.#header, CONTROL_LENGTH_AT, this.#controlCapacity)
    this.#header.writeUInt32LE(0, FLAGS_AT)
  }

  /** Drops all ancillary data that was added. */
  clearControl(): void {
    this.#controlUsed = 0
    writePointer(this.#header, CONTROL_LENGTH_AT, 0)
  }

  /** Appends ancillary data with a 16-bit value (UDP_SEGMENT). */
  addControl16(level: number, type: number, value: number): void {
    const at = this.#beginControl(level, type, 2)
    this.#control.writeUInt16LE(value, at)
  }

  /** Appends ancillary data with a 32-bit value (IP_TOS, IPV6_TCLASS). */
  addControl32(level: number, type: number, value: number): void {
    const at = this.#beginControl(level, type, 4)
    this.#control.writeInt32LE(value, at)
  }

  /** Appends ancillary data as it is (IP_PKTINFO, IPV6_PKTINFO). */
  addControl(level: number, type: number, data: Uint8Array): void {
    this.#control.set(data, this.#beginControl(level, type, data.length))
  }

  #beginControl(level: number, type: number, length: number): number {
    const at = this.#controlUsed
    const end = at + CONTROL_HEADER_LENGTH + Math.ceil(length / 8) * 8
    if (end > this.#controlCapacity) throw new RangeError('Ancillary data does not fit')
    this.#control.fill(0, at, end)
    writePointer(this.#control, at, CONTROL_HEADER_LENGTH + length)
    this.#control.writeInt32LE(level, at + 8)
    this.#control.writeInt32LE(type, at + 12)
    this.#controlUsed = end
    writePointer(this.#header, CONTROL_LENGTH_AT, end)
    return at + CONTROL_HEADER_LENGTH
  }

  /** After `recvmsg`: offset of the data of this kind in `control`, or -1. */
  findControl(level: number, type: number): number {
    const used = Math.min(this.#header.readUInt32LE(CONTROL_LENGTH_AT), this.#controlCapacity)
    let at = 0
    while (at + CONTROL_HEADER_LENGTH <= used) {
      const length = this.#control.readUInt32LE(at)
      if (length < CONTROL_HEADER_LENGTH) return -1
      if (this.#control.readInt32LE(at + 8) === level && this.#control.readInt32LE(at + 12) === type)
        return at + CONTROL_HEADER_LENGTH
      at += Math.ceil(length / 8) * 8
    }
    return -1
  }

  /** Ancillary data, for reading at the offset that `findControl` gave. */
  get control(): Buffer {
    return this.#control
  }
}
