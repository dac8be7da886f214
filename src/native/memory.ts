/**
 * Memory that C functions may touch: buffers whose address is known and never changes.
 * @module
 */
import { koffi } from './libc.ts'

/**
 * Address of the first byte as a plain number. It stays valid for as long as the buffer is reachable: once asked for,
 * a backing store does not move. User addresses of Linux fit into 53 bits.
 * @throws NativeUnavailableError
 */
export function addressOf(buffer: Uint8Array): number {
  return Number(koffi().address(buffer))
}

/** A zeroed buffer with a backing store of its own, outside of Node's shared pool. */
export function nativeBuffer(length: number): Buffer {
  return Buffer.from(new ArrayBuffer(length))
}

/** Writes an address, or any other unsigned 64-bit number below 2^53, little-endian. */
export function writePointer(buffer: Buffer, offset: number, address: number): void {
  buffer.writeUInt32LE(address % 0x1_0000_0000, offset)
  buffer.writeUInt32LE(Math.floor(address / 0x1_0000_0000), offset + 4)
}

const TWO_TO_32 = 0x1_0000_0000

/** The buffer as 32-bit words, for structures of C. */
export function wordsOf({ buffer, byteOffset, length }: Buffer): Uint32Array {
  return new Uint32Array(buffer, byteOffset, length >>> 2)
}

/** An address, or any other unsigned 64-bit number below 2^53, into two words; both assignments keep 32 bits. */
export function setPointer(words: Uint32Array, word: number, value: number): void {
  words[word] = value
  words[word + 1] = value / TWO_TO_32
}

/**
 * Addresses of the buffers used last, so that asking again costs a comparison: packets come many to a buffer.
 * Holds on to those buffers until they are displaced.
 */
export class AddressCache {
  #first: Uint8Array | undefined
  #firstAddress = 0
  #second: Uint8Array | undefined
  #secondAddress = 0

  of(buffer: Uint8Array): number {
    if (buffer === this.#first) return this.#firstAddress
    if (buffer === this.#second) return this.#secondAddress
    this.#second = this.#first
    this.#secondAddress = this.#firstAddress
    this.#first = buffer
    this.#firstAddress = addressOf(buffer)
    return this.#firstAddress
  }

  clear(): void {
    this.#first = this.#second = undefined
  }
}
