/**
 * The sending half of a Child SA: sequence numbers, IVs, padding and protection of ESP packets in tunnel mode
 * (RFC 4303 sections 2 and 3.3).
 *
 * Invariants: a sequence number is used once and only grows; with AEADs it is the IV too (RFC 4106 section 3.1, RFC 7634 section 2),
 * so that no nonce repeats under a key. The SA refuses to send rather than to wrap (RFC 4303 section 3.3.3).
 * @module
 */
import { createPacketCipher } from '../crypto/packet-cipher.ts'
import {
  ESP_HEADER_LENGTH,
  type PacketCipher,
  type PacketCipherBackend
} from '../crypto/packet-cipher-types.ts'
import type { RandomSource } from '../crypto/types.ts'
import type { EspSaParameters } from './types.ts'

/** Next Header values (RFC 4303 section 2.6). */
export const NextHeader = { IPV4: 4, IPV6: 41, NONE: 59 } as const

/** `seal` did nothing: the sequence numbers are used up, or the SA has ended. */
export const SEAL_REFUSED = -1

/** Padding and Next Header fields of an otherwise empty payload. */
const MIN_TRAILER_LENGTH = 2
/** Pad Length and Next Header must end on a 4-byte boundary (RFC 4303 section 2.4). */
const ESP_ALIGNMENT = 4
const MAX_32 = 0xffff_ffff
/** IVs for CBC come from the random source this many at a time. */
const IV_POOL_PACKETS = 256

export class OutboundSa {
  readonly spi: number
  readonly esn: boolean
  /** Packets and bytes of sealed ESP. */
  packets = 0
  bytes = 0
  readonly #parameters: EspSaParameters
  readonly #cipher: PacketCipher
  readonly #random: RandomSource
  readonly #alignment: number
  #high = 0
  #low = 0
  #exhausted = false
  #ivPool: Uint8Array = new Uint8Array(0)
  #ivPoolUsed = 0

  /** Takes ownership of the keys. @throws InternalError when they do not fit the suite */
  constructor(parameters: EspSaParameters, random: RandomSource, backend?: PacketCipherBackend) {
    this.#parameters = parameters
    this.#cipher = createPacketCipher(parameters, 'seal', backend)
    this.#random = random
    this.spi = parameters.spi
    this.esn = parameters.esn
    this.#alignment = Math.max(ESP_ALIGNMENT, this.#cipher.suite.blockSize)
    this.addToSequence(parameters.sequence ?? 0n)
  }

  get backend(): PacketCipherBackend {
    return this.#cipher.backend
  }

  /** The sequence number used last; 0: none yet. */
  get sequence(): bigint {
    return (BigInt(this.#high) << 32n) | BigInt(this.#low)
  }

  /** Packets that may still be sent; exact below 2^53. */
  get remaining(): number {
    if (this.#exhausted) return 0
    return this.esn ? (MAX_32 - this.#high) * (MAX_32 + 1) + (MAX_32 - this.#low) : MAX_32 - this.#low
  }

  /** Length of the ESP packet that carries `innerLength` bytes. */
  sealedLength(innerLength: number): number {
    const suite = this.#cipher.suite
    const body = innerLength + MIN_TRAILER_LENGTH
    const padded = Math.ceil(body / this.#alignment) * this.#alignment
    return ESP_HEADER_LENGTH + suite.ivLength + padded + suite.icvLength
  }

  /**
   * Builds one ESP packet at `packet[packetOffset]`, which has room for `sealedLength(length)` bytes. The inner packet is
   * not changed; it must not overlap with the room.
   *
   * @returns the length of the ESP packet, or `SEAL_REFUSED`
   */
  seal(
    source: Uint8Array,
    sourceOffset: number,
    length: number,
    nextHeader: number,
    packet: Uint8Array,
    packetOffset: number
  ): number {
    if (!this.#advance()) return SEAL_REFUSED
    const suite = this.#cipher.suite
    writeUint32(packet, packetOffset, this.spi)
    writeUint32(packet, packetOffset + 4, this.#low)
    this.#writeIv(packet, packetOffset + ESP_HEADER_LENGTH)
    const trailerOffset = packetOffset + ESP_HEADER_LENGTH + suite.ivLength + length
    const trailerLength = this.#writeTrailer(packet, trailerOffset, length, nextHeader)
    if (!this.#cipher.seal(source, sourceOffset, length, packet, packetOffset, trailerLength, this.#high))
      return SEAL_REFUSED
    const total = trailerOffset - packetOffset + trailerLength + suite.icvLength
    this.packets++
    this.bytes += total
    return total
  }

  /** A dummy packet, which the receiver discards (RFC 4303 section 2.6), with `length` zero bytes of payload. */
  sealDummy(length: number, packet: Uint8Array, packetOffset: number): number {
    return this.seal(new Uint8Array(length), 0, length, NextHeader.NONE, packet, packetOffset)
  }

  /**
   * RFC 6311 section 5.2: a cluster member has taken over and may not know the last packets, so skip ahead. A number
   * beyond the last one ends the SA's life for sending.
   */
  addToSequence(delta: bigint): void {
    if (delta <= 0n) return
    const next = this.sequence + delta
    const last = this.esn ? 0xffff_ffff_ffff_ffffn : 0xffff_ffffn
    // Also the last number is told to whoever may take over: with AEADs none may be used again.
    const reached = next < last ? next : last
    this.#exhausted ||= next >= last
    this.#high = Number(reached >> 32n)
    this.#low = Number(reached & 0xffff_ffffn)
  }

  /** Overwrites the keys; nothing can be sealed any more. */
  dispose(): void {
    this.#exhausted = true
    this.#cipher.dispose()
    this.#parameters.encryptionKey.fill(0)
    this.#parameters.integrityKey.fill(0)
    this.#ivPool.fill(0)
  }

  /** Moves to the next sequence number. @returns false when there is none */
  #advance(): boolean {
    if (this.#exhausted) return false
    if (this.#low < MAX_32) {
      this.#low++
      return true
    }
    if (!this.esn || this.#high === MAX_32) {
      this.#exhausted = true
      return false
    }
    this.#high++
    this.#low = 0
    return true
  }

  #writeIv(packet: Uint8Array, offset: number): void {
    const suite = this.#cipher.suite
    if (suite.isAead) {
      writeUint32(packet, offset, this.#high)
      writeUint32(packet, offset + 4, this.#low)
      return
    }
    if (this.#ivPoolUsed === this.#ivPool.length) {
      this.#ivPool = this.#random.bytes(suite.ivLength * IV_POOL_PACKETS)
      this.#ivPoolUsed = 0
    }
    for (let index = 0; index < suite.ivLength; index++)
      packet[offset + index] = this.#ivPool[this.#ivPoolUsed++] ?? 0
  }

  /** Padding of 1, 2, 3 and so on, its length, and the Next Header field (RFC 4303 section 2.4). */
  #writeTrailer(packet: Uint8Array, offset: number, length: number, nextHeader: number): number {
    const over = (length + MIN_TRAILER_LENGTH) % this.#alignment
    const padding = over === 0 ? 0 : this.#alignment - over
    for (let index = 0; index < padding; index++) packet[offset + index] = index + 1
    packet[offset + padding] = padding
    packet[offset + padding + 1] = nextHeader
    return padding + MIN_TRAILER_LENGTH
  }
}

function writeUint32(buffer: Uint8Array, offset: number, value: number): void {
  buffer[offset] = value >>> 24
  buffer[offset + 1] = value >>> 16
  buffer[offset + 2] = value >>> 8
  buffer[offset + 3] = value
}
