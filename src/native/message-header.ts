/**
 * `struct msghdr` of 64-bit Linux with room for one address, one piece of data and ancillary data, for `sendmsg` and
 * `recvmsg` without an allocation per call.
 *
 * Every packet or run of packets passes here twice, so that fields are written as 32-bit words and not byte by byte:
 * both architectures are little-endian, and every field is aligned.
 * @module
 */
import { addressOf, nativeBuffer, setPointer, wordsOf } from './memory.ts'
import { SOCKADDR_IN6_LENGTH } from './sockaddr.ts'

const HEADER_LENGTH = 56
/** Where fields of `struct msghdr` are, in words. */
const Word = {
  NAME: 0,
  NAME_LENGTH: 2,
  VECTOR: 4,
  VECTOR_LENGTH: 6,
  CONTROL: 8,
  CONTROL_LENGTH: 10,
  FLAGS: 12
} as const
/** `struct cmsghdr`: length (64 bits), level, type (32 bits each), then data; everything aligned to 8 bytes. */
const CONTROL_HEADER_LENGTH = 16

export class MessageHeader {
  /** The peer's address: written before sending (if not connected), read after receiving. */
  readonly name: Buffer
  /** Address of the structure, to be passed to `sendmsg` and `recvmsg`. */
  readonly address: number
  readonly #header: Uint32Array
  readonly #vector: Uint32Array
  readonly #control: Buffer
  readonly #words: Uint32Array
  readonly #controlCapacity: number
  #controlUsed = 0

  constructor(controlCapacity = 256) {
    const header = nativeBuffer(HEADER_LENGTH)
    const vector = nativeBuffer(16)
    this.#header = wordsOf(header)
    this.#vector = wordsOf(vector)
    this.#control = nativeBuffer(aligned(controlCapacity))
    this.#words = wordsOf(this.#control)
    this.#controlCapacity = controlCapacity
    this.name = nativeBuffer(SOCKADDR_IN6_LENGTH)
    this.address = addressOf(header)
    setPointer(this.#header, Word.NAME, addressOf(this.name))
    setPointer(this.#header, Word.VECTOR, addressOf(vector))
    setPointer(this.#header, Word.VECTOR_LENGTH, 1)
    setPointer(this.#header, Word.CONTROL, addressOf(this.#control))
  }

  /** The memory to send from or to receive into. */
  setData(address: number, length: number): void {
    setPointer(this.#vector, 0, address)
    setPointer(this.#vector, 2, length)
  }

  /** Bytes of `name` in use: 0 for a connected socket. After receiving: what the kernel wrote. */
  get nameLength(): number {
    return this.#header[Word.NAME_LENGTH] ?? 0
  }
  set nameLength(length: number) {
    this.#header[Word.NAME_LENGTH] = length
  }

  /** `MessageFlag` bits after receiving. */
  get flags(): number {
    return this.#header[Word.FLAGS] ?? 0
  }

  /** Call before every `recvmsg`: the whole name and the whole ancillary buffer are free again. */
  prepareReceive(): void {
    this.nameLength = SOCKADDR_IN6_LENGTH
    this.#header[Word.CONTROL_LENGTH] = this.#controlCapacity
    this.#header[Word.FLAGS] = 0
  }

  /** Drops all ancillary data that was added. */
  clearControl(): void {
    this.#controlUsed = 0
    this.#header[Word.CONTROL_LENGTH] = 0
  }

  /** Appends ancillary data with a 16-bit value (UDP_SEGMENT). */
  addControl16(level: number, type: number, value: number): void {
    this.#words[this.#beginControl(level, type, 2) >>> 2] = value & 0xffff
  }

  /** Appends ancillary data with a 32-bit value (IP_TOS, IPV6_TCLASS). */
  addControl32(level: number, type: number, value: number): void {
    this.#words[this.#beginControl(level, type, 4) >>> 2] = value
  }

  /** Appends ancillary data as it is (IP_PKTINFO, IPV6_PKTINFO). */
  addControl(level: number, type: number, data: Uint8Array): void {
    this.#control.set(data, this.#beginControl(level, type, data.length))
  }

  #beginControl(level: number, type: number, length: number): number {
    const at = this.#controlUsed
    const end = at + CONTROL_HEADER_LENGTH + aligned(length)
    if (end > this.#controlCapacity) throw new RangeError('Ancillary data does not fit')
    const words = this.#words
    const word = at >>> 2
    words[word] = CONTROL_HEADER_LENGTH + length
    words[word + 1] = 0
    words[word + 2] = level
    words[word + 3] = type
    for (let rest = word + 4; rest < end >>> 2; rest++) words[rest] = 0
    this.#controlUsed = end
    this.#header[Word.CONTROL_LENGTH] = end
    return at + CONTROL_HEADER_LENGTH
  }

  /** After `recvmsg`: offset of the data of this kind in `control`, or -1. */
  findControl(level: number, type: number): number {
    const words = this.#words
    const used = Math.min(this.#header[Word.CONTROL_LENGTH] ?? 0, this.#controlCapacity)
    let at = 0
    while (at + CONTROL_HEADER_LENGTH <= used) {
      const word = at >>> 2
      const length = words[word] ?? 0
      if (length < CONTROL_HEADER_LENGTH || length > used - at) return -1
      if (words[word + 2] === level && words[word + 3] === type) return at + CONTROL_HEADER_LENGTH
      at += aligned(length)
    }
    return -1
  }

  /** Ancillary data, for reading at the offset that `findControl` gave. */
  get control(): Buffer {
    return this.#control
  }
}

function aligned(length: number): number {
  return (length + 7) & ~7
}
