/**
 * What seals and opens the ESP packets of one direction of a Child SA (RFC 4303 section 2): the contract that every
 * back end keeps.
 *
 * Layout of a packet at `offset`: SPI (4 bytes), low half of the sequence number (4), IV, ciphertext, ICV.
 * The high half of an extended sequence number is not sent but protected: AEADs have it in the associated data
 * (RFC 4106 section 5, RFC 7634 section 2.1), a MAC at the end of its input (RFC 4303 section 2.2.1).
 * @module
 */
import type { CipherSuite } from './types.ts'

export const ESP_HEADER_LENGTH = 8
/** Bytes of salt at the end of an AEAD's key (RFC 4106 section 8.1, RFC 7634 section 2). */
export const AEAD_SALT_LENGTH = 4

export type PacketCipherBackend = 'libcrypto' | 'node' | 'noble'

/** Keys of one direction. For AEADs `encryptionKey` ends in the 4-byte salt. */
export interface PacketCipherKeys {
  readonly encryptionKey: Uint8Array
  readonly integrityKey: Uint8Array
}

export interface PacketCipher {
  readonly backend: PacketCipherBackend
  readonly suite: CipherSuite
  /**
   * Encrypts and authenticates. `packet` already holds header and IV at `packetOffset`; the plaintext is
   * `source[sourceOffset, + sourceLength)` followed by `trailerLength` bytes that stand in `packet` at their place, that is
   * right behind where the ciphertext of the former will be. The sum of both is a multiple of the block size.
   * `source` may be `packet` itself when the plaintext stands where its ciphertext goes.
   *
   * @returns false when the back end refused; the packet must not be sent then
   */
  seal(
    source: Uint8Array,
    sourceOffset: number,
    sourceLength: number,
    packet: Uint8Array,
    packetOffset: number,
    trailerLength: number,
    sequenceHigh: number
  ): boolean
  /**
   * Checks and decrypts in place; the plaintext then begins at `offset + ESP_HEADER_LENGTH + ivLength`. `length` leaves room for header, IV and
   * ICV, and a multiple of the block size between them.
   *
   * @returns false when the packet is not authentic; its bytes are then undefined
   */
  open(packet: Uint8Array, offset: number, length: number, sequenceHigh: number): boolean
  /** Overwrites the keys. After that `seal` and `open` return false. */
  dispose(): void
}

/** Compares in a time that depends on `length` only. */
export function equalBytes(
  left: Uint8Array,
  leftOffset: number,
  right: Uint8Array,
  rightOffset: number,
  length: number
): boolean {
  let difference = 0
  for (let index = 0; index < length; index++)
    // Both indexes are inside by the callers' contract; a missing byte would count as a difference.
    difference |= (left[leftOffset + index] ?? 0) ^ (right[rightOffset + index] ?? 0x100)
  return difference === 0
}
