/**
 * Appends big-endian fields to one growing buffer; lengths that are known only later are patched in.
 *
 * What is written comes from this program, never straight from a peer: a value that does not fit its field is a
 * bug here, and raises `InternalError` instead of putting a wrong message on the wire.
 * @module
 */
import { InternalError } from '../errors.ts'

const INITIAL_CAPACITY = 512

export class Writer {
  #bytes: Uint8Array
  #length = 0

  constructor(initialCapacity = INITIAL_CAPACITY) {
    this.#bytes = new Uint8Array(Math.max(initialCapacity, 16))
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#length
  }

  u8(value: number): void {
    checkRange(value, 0xff)
    // Grown first: growing replaces the array that is written to.
    const at = this.#grow(1)
    this.#bytes[at] = value
  }

  u16(value: number): void {
    checkRange(value, 0xffff)
    this.#put16(this.#grow(2), value)
  }

  u32(value: number): void {
    checkRange(value, 0xffffffff)
    this.#put32(this.#grow(4), value)
  }

  u64(value: bigint): void {
    if (value < 0n || value > 0xffffffffffffffffn) throw overflow(value, '64 bits')
    this.u32(Number(value >> 32n))
    this.u32(Number(value & 0xffffffffn))
  }

  bytes(value: Uint8Array): void {
    const at = this.#grow(value.length)
    this.#bytes.set(value, at)
  }

  zeros(count: number): void {
    const at = this.#grow(count)
    this.#bytes.fill(0, at, at + count)
  }

  /** Overwrites 16 bits that were written before. */
  patchU16(offset: number, value: number): void {
    checkRange(value, 0xffff)
    this.#put16(offset, value)
  }

  /** Overwrites 32 bits that were written before. */
  patchU32(offset: number, value: number): void {
    checkRange(value, 0xffffffff)
    this.#put32(offset, value)
  }

  /** What was written, as an array of its own. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length)
  }

  #put16(at: number, value: number): void {
    this.#bytes[at] = value >>> 8
    this.#bytes[at + 1] = value
  }

  #put32(at: number, value: number): void {
    this.#put16(at, value >>> 16)
    this.#put16(at + 2, value & 0xffff)
  }

  #grow(count: number): number {
    const at = this.#length
    const needed = at + count
    if (needed > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(needed, this.#bytes.length * 2))
      larger.set(this.#bytes.subarray(0, at))
      this.#bytes = larger
    }
    this.#length = needed
    return at
  }
}

function checkRange(value: number, maximum: number): void {
  if (!Number.isInteger(value) || value < 0 || value > maximum) throw overflow(value, `0 to ${maximum}`)
}

function overflow(value: number | bigint, range: string): InternalError {
  return new InternalError('wire-overflow', `A message field holds ${value}, outside ${range}.`)
}
