/**
 * Cuts an IPv4 packet that may be fragmented into pieces that fit the tunnel (RFC 791 section 3.2). A fragment can be cut again.
 * @module
 */
import { finishChecksum, sum16 } from '../wire/checksum.ts'
import {
  IPV4_CHECKSUM_OFFSET,
  IPV4_FRAGMENT_OFFSET,
  IPV4_HEADER_LENGTH,
  IPV4_TOTAL_LENGTH_OFFSET,
  ipv4HeaderLength,
  read16,
  write16
} from '../wire/ip.ts'

const MORE_FRAGMENTS = 0x2000
const OFFSET_BITS = 0x1fff
const FLAG_BITS = 0xe000
/** Total Length has 16 bits (RFC 791 section 3.1): no packet has data behind this place. */
const MAX_END = 0xffff
const OPTION_END = 0
const OPTION_NOP = 1
/** Options with this bit go into every fragment (RFC 791 section 3.1). */
const OPTION_COPIED = 0x80

export class Ipv4Fragmenter {
  /** The piece that `next` built. */
  readonly buffer: Uint8Array
  length = 0
  #source: Uint8Array = new Uint8Array(0)
  #offset = 0
  #headerLength = 0
  #payloadLength = 0
  #mtu = 0
  #done = 0

  constructor(maxLength: number) {
    this.buffer = new Uint8Array(new ArrayBuffer(maxLength))
  }

  /**
   * Begins with the sound packet `source[offset, offset + length)`.
   * @returns false when no piece of it fits into `mtu` bytes, or when it is a fragment that ends where no packet can
   */
  begin(source: Uint8Array, offset: number, length: number, mtu: number): boolean {
    this.#source = source
    this.#offset = offset
    this.#headerLength = ipv4HeaderLength(source, offset)
    this.#payloadLength = length - this.#headerLength
    this.#mtu = Math.min(mtu, this.buffer.length)
    this.#done = 0
    // The offset of a later piece would run over into the flags, and show up elsewhere in the packet.
    const endsAt = (read16(source, offset + IPV4_FRAGMENT_OFFSET) & OFFSET_BITS) * 8 + this.#payloadLength
    return this.#mtu >= this.#headerLength + 8 && endsAt <= MAX_END
  }

  /** Builds the next piece in `buffer`. @returns false when all were built */
  next(): boolean {
    const left = this.#payloadLength - this.#done
    if (left <= 0) return false
    const source = this.#source
    const out = this.buffer
    const headerLength = this.#done === 0 ? this.#copyHeader() : this.#copyLaterHeader()
    const room = this.#mtu - headerLength
    const last = left <= room
    const payload = last ? left : room - (room % 8)
    const from = this.#offset + this.#headerLength + this.#done
    for (let index = 0; index < payload; index++) out[headerLength + index] = source[from + index] ?? 0
    const original = read16(source, this.#offset + IPV4_FRAGMENT_OFFSET)
    const place = (original & OFFSET_BITS) + this.#done / 8
    const more = last ? 0 : MORE_FRAGMENTS
    this.length = headerLength + payload
    write16(out, IPV4_FRAGMENT_OFFSET, (original & FLAG_BITS) | more | place)
    write16(out, IPV4_TOTAL_LENGTH_OFFSET, this.length)
    write16(out, IPV4_CHECKSUM_OFFSET, 0)
    write16(out, IPV4_CHECKSUM_OFFSET, finishChecksum(sum16(out, 0, headerLength)))
    this.#done += payload
    return true
  }

  #copyHeader(): number {
    for (let index = 0; index < this.#headerLength; index++)
      this.buffer[index] = this.#source[this.#offset + index] ?? 0
    return this.#headerLength
  }

  /** The header with those options only that belong into every fragment, padded to 32 bits. */
  #copyLaterHeader(): number {
    const source = this.#source
    const out = this.buffer
    for (let index = 0; index < IPV4_HEADER_LENGTH; index++) out[index] = source[this.#offset + index] ?? 0
    let length = IPV4_HEADER_LENGTH
    let at = IPV4_HEADER_LENGTH
    while (at < this.#headerLength) {
      const kind = source[this.#offset + at] ?? OPTION_END
      if (kind === OPTION_END) break
      const size = kind === OPTION_NOP ? 1 : (source[this.#offset + at + 1] ?? 0)
      if ((size < 2 && kind !== OPTION_NOP) || at + size > this.#headerLength) break
      if ((kind & OPTION_COPIED) !== 0)
        for (let index = 0; index < size; index++) out[length++] = source[this.#offset + at + index] ?? 0
      at += size
    }
    while (length % 4 !== 0) out[length++] = OPTION_END
    out[0] = 0x40 | (length / 4)
    return length
  }
}
