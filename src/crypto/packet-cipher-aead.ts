/**
 * AES-GCM (RFC 4106) and ChaCha20-Poly1305 (RFC 7634) through OpenSSL's EVP functions on the packet's own memory.
 *
 * One context a direction, of which only the IV changes from packet to packet. Calls into C are the greater part of what
 * a packet costs, so that there are as few as the interface allows: five to seal, four to open. Nothing is allocated.
 * @module
 */
import { AeadTagParameter, type Evp, evp } from '../native/libcrypto-evp.ts'
import { AddressCache, addressOf, nativeBuffer } from '../native/memory.ts'
import { newCipherContext } from './libcrypto-context.ts'
import {
  AEAD_SALT_LENGTH,
  ESP_HEADER_LENGTH,
  type PacketCipher,
  type PacketCipherKeys
} from './packet-cipher-types.ts'
import type { CipherSuite } from './types.ts'

/** Longest padding and trailer of an ESP packet with an AEAD: they end on a boundary of 4 bytes (RFC 4303 section 2.4). */
const MAX_TRAILER_LENGTH = 16

export class AeadCipher implements PacketCipher {
  readonly backend = 'libcrypto'
  readonly suite: CipherSuite
  readonly #evp: Evp = evp()
  readonly #sealing: boolean
  readonly #esn: boolean
  /** 0 once disposed of: a freed context must never reach OpenSSL again. */
  #context: number
  /** Salt and IV (12 bytes), then associated data with ESN (12), then an int for lengths that nobody reads. */
  readonly #scratch = nativeBuffer(32)
  readonly #nonceAddress = addressOf(this.#scratch)
  readonly #associatedAddress = this.#nonceAddress + 12
  readonly #lengthAddress = this.#nonceAddress + 24
  readonly #tag: AeadTagParameter
  /** What stood where a trailer was put for the length of a call. */
  readonly #covered = new Uint8Array(MAX_TRAILER_LENGTH)
  readonly #addresses = new AddressCache()

  constructor(suite: CipherSuite, keys: PacketCipherKeys, esn: boolean, direction: 'seal' | 'open') {
    this.suite = suite
    this.#esn = esn
    this.#sealing = direction === 'seal'
    this.#tag = new AeadTagParameter(suite.icvLength)
    const keyLength = keys.encryptionKey.length - AEAD_SALT_LENGTH
    this.#context = newCipherContext(
      this.#evp,
      suite,
      keys.encryptionKey.subarray(0, keyLength),
      this.#sealing
    )
    this.#scratch.set(keys.encryptionKey.subarray(keyLength))
  }

  seal(
    source: Uint8Array,
    sourceOffset: number,
    sourceLength: number,
    packet: Uint8Array,
    packetOffset: number,
    trailerLength: number,
    sequenceHigh: number
  ): boolean {
    if (this.#context === 0 || !this.#sealing) return false
    const address = this.#addresses.of(packet) + packetOffset
    if (!this.#begin(packet, packetOffset, address, sequenceHigh, 0)) return false
    const bodyOffset = packetOffset + ESP_HEADER_LENGTH + this.suite.ivLength
    const body = address + ESP_HEADER_LENGTH + this.suite.ivLength
    const from = this.#addresses.of(source) + sourceOffset
    const sealed =
      trailerLength <= MAX_TRAILER_LENGTH && sourceOffset + sourceLength + trailerLength <= source.length
        ? this.#encryptAtOnce(
            source,
            sourceOffset,
            sourceLength,
            packet,
            bodyOffset,
            trailerLength,
            from,
            body
          )
        : this.#encryptInParts(from, sourceLength, body, trailerLength)
    const functions = this.#evp
    this.#tag.pointTo(body + sourceLength + trailerLength)
    return (
      sealed &&
      functions.cipherFinal(this.#context, body, this.#lengthAddress) === 1 &&
      functions.cipherGetParameters(this.#context, this.#tag.address) === 1
    )
  }

  open(packet: Uint8Array, offset: number, length: number, sequenceHigh: number): boolean {
    if (this.#context === 0 || this.#sealing) return false
    const functions = this.#evp
    const address = this.#addresses.of(packet) + offset
    const body = address + ESP_HEADER_LENGTH + this.suite.ivLength
    const icv = address + length - this.suite.icvLength
    this.#tag.pointTo(icv)
    return (
      this.#begin(packet, offset, address, sequenceHigh, this.#tag.address) &&
      functions.cipherUpdate(this.#context, body, this.#lengthAddress, body, icv - body) === 1 &&
      functions.cipherFinal(this.#context, icv, this.#lengthAddress) === 1
    )
  }

  dispose(): void {
    if (this.#context !== 0) this.#evp.cipherContextFree(this.#context)
    this.#context = 0
    this.#scratch.fill(0)
    this.#covered.fill(0)
    this.#addresses.clear()
  }

  /** Sets the nonce, perhaps the tag to expect, and the associated data of the packet. */
  #begin(
    packet: Uint8Array,
    offset: number,
    address: number,
    sequenceHigh: number,
    parameters: number
  ): boolean {
    const scratch = this.#scratch
    // Byte by byte: a copy of eight bytes through a view would allocate one.
    for (let index = 0; index < 8; index++)
      scratch[AEAD_SALT_LENGTH + index] = packet[offset + ESP_HEADER_LENGTH + index] ?? 0
    let associated = address
    let associatedLength = ESP_HEADER_LENGTH
    if (this.#esn) {
      for (let index = 0; index < 4; index++) {
        scratch[12 + index] = packet[offset + index] ?? 0
        scratch[16 + index] = sequenceHigh >>> (24 - 8 * index)
        scratch[20 + index] = packet[offset + 4 + index] ?? 0
      }
      associated = this.#associatedAddress
      associatedLength = 12
    }
    const encrypt = this.#sealing ? 1 : 0
    return (
      this.#evp.cipherInit(this.#context, 0, 0, this.#nonceAddress, encrypt, parameters) === 1 &&
      this.#evp.cipherUpdate(this.#context, 0, this.#lengthAddress, associated, associatedLength) === 1
    )
  }

  /** The trailer stands behind the source for the length of one call, so that both are one piece; what it covers comes back. */
  #encryptAtOnce(
    source: Uint8Array,
    sourceOffset: number,
    sourceLength: number,
    packet: Uint8Array,
    bodyOffset: number,
    trailerLength: number,
    from: number,
    body: number
  ): boolean {
    const covered = this.#covered
    const behind = sourceOffset + sourceLength
    const trailer = bodyOffset + sourceLength
    for (let index = 0; index < trailerLength; index++) {
      covered[index] = source[behind + index] ?? 0
      source[behind + index] = packet[trailer + index] ?? 0
    }
    const length = sourceLength + trailerLength
    const sealed = this.#evp.cipherUpdate(this.#context, body, this.#lengthAddress, from, length) === 1
    // In place the ciphertext stands there now.
    if (from !== body)
      for (let index = 0; index < trailerLength; index++) source[behind + index] = covered[index] ?? 0
    return sealed
  }

  #encryptInParts(from: number, sourceLength: number, body: number, trailerLength: number): boolean {
    const functions = this.#evp
    const trailer = body + sourceLength
    return (
      functions.cipherUpdate(this.#context, body, this.#lengthAddress, from, sourceLength) === 1 &&
      functions.cipherUpdate(this.#context, trailer, this.#lengthAddress, trailer, trailerLength) === 1
    )
  }
}
