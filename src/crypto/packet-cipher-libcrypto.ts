/**
 * The fast back end: OpenSSL's EVP functions on the packet's own memory. One context a direction, of which only the
 * IV changes from packet to packet; nothing is allocated per packet.
 * @module
 */
import { InternalError } from '../errors.ts'
import { evp } from '../native/libcrypto-evp.ts'
import { AddressCache, addressOf, nativeBuffer } from '../native/memory.ts'
import { integrityAlgorithm } from './cipher-suite.ts'
import { newCipherContext } from './libcrypto-context.ts'
import { AeadCipher } from './packet-cipher-aead.ts'
import {
  ESP_HEADER_LENGTH,
  equalBytes,
  type PacketCipher,
  type PacketCipherKeys
} from './packet-cipher-types.ts'
import type { CipherSuite } from './types.ts'

/** @throws NativeUnavailableError; InternalError when OpenSSL refuses the algorithm */
export function createLibcryptoPacketCipher(
  suite: CipherSuite,
  keys: PacketCipherKeys,
  esn: boolean,
  direction: 'seal' | 'open'
): PacketCipher {
  return suite.isAead
    ? new AeadCipher(suite, keys, esn, direction)
    : new CbcCipher(suite, keys, esn, direction)
}

function writeUint32(buffer: Uint8Array, offset: number, value: number): void {
  buffer[offset] = value >>> 24
  buffer[offset + 1] = value >>> 16
  buffer[offset + 2] = value >>> 8
  buffer[offset + 3] = value
}

/** AES-CBC (RFC 3602), then HMAC over everything before the ICV (RFC 4868). */
class CbcCipher implements PacketCipher {
  readonly backend = 'libcrypto'
  readonly suite: CipherSuite
  readonly #evp = evp()
  readonly #sealing: boolean
  readonly #esn: boolean
  /** Both 0 once disposed of. */
  #context: number
  #hmac: number
  /** The MAC in full length (64 bytes at most), then the high half of the sequence number, then an int for lengths. */
  readonly #scratch = nativeBuffer(80)
  readonly #macAddress = addressOf(this.#scratch)
  readonly #highAddress = this.#macAddress + 64
  readonly #lengthAddress = this.#macAddress + 72
  readonly #addresses = new AddressCache()

  constructor(suite: CipherSuite, keys: PacketCipherKeys, esn: boolean, direction: 'seal' | 'open') {
    this.suite = suite
    this.#esn = esn
    this.#sealing = direction === 'seal'
    const integrity = integrityAlgorithm(suite.integrityId)
    if (integrity === undefined) throw new InternalError('esp-suite', 'A CBC suite has no MAC')
    this.#context = newCipherContext(this.#evp, suite, keys.encryptionKey, this.#sealing)
    this.#evp.cipherSetPadding(this.#context, 0)
    this.#hmac = this.#evp.hmacContextNew()
    const key = nativeBuffer(keys.integrityKey.length)
    key.set(keys.integrityKey)
    const digest = this.#evp.digest(integrity.hash)
    const ready =
      this.#hmac !== 0 && this.#evp.hmacInit(this.#hmac, addressOf(key), key.length, digest, 0) === 1
    key.fill(0)
    if (ready) return
    this.dispose()
    throw new InternalError('esp-cipher', `OpenSSL has no HMAC with ${integrity.hash}`)
  }

  /** Leaves the MAC of `length` bytes at `address`, and of the high half with ESN, at the start of the scratch memory. */
  #authenticate(address: number, length: number, sequenceHigh: number): boolean {
    const functions = this.#evp
    if (functions.hmacInit(this.#hmac, 0, 0, 0, 0) !== 1) return false
    if (functions.hmacUpdate(this.#hmac, address, length) !== 1) return false
    if (this.#esn) {
      writeUint32(this.#scratch, 64, sequenceHigh)
      if (functions.hmacUpdate(this.#hmac, this.#highAddress, 4) !== 1) return false
    }
    return functions.hmacFinal(this.#hmac, this.#macAddress, this.#lengthAddress) === 1
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
    const functions = this.#evp
    const address = this.#addresses.of(packet) + packetOffset
    const body = address + ESP_HEADER_LENGTH + this.suite.ivLength
    const from = this.#addresses.of(source) + sourceOffset
    // The first call keeps an incomplete block back, which the second call completes and writes where it belongs.
    const whole = sourceLength - (sourceLength % this.suite.blockSize)
    if (
      functions.cipherInit(this.#context, 0, 0, address + ESP_HEADER_LENGTH, 1, 0) !== 1 ||
      functions.cipherUpdate(this.#context, body, this.#lengthAddress, from, sourceLength) !== 1 ||
      functions.cipherUpdate(
        this.#context,
        body + whole,
        this.#lengthAddress,
        body + sourceLength,
        trailerLength
      ) !== 1
    )
      return false
    const end = ESP_HEADER_LENGTH + this.suite.ivLength + sourceLength + trailerLength
    if (!this.#authenticate(address, end, sequenceHigh)) return false
    for (let index = 0; index < this.suite.icvLength; index++)
      packet[packetOffset + end + index] = this.#scratch[index] ?? 0
    return true
  }

  open(packet: Uint8Array, offset: number, length: number, sequenceHigh: number): boolean {
    if (this.#context === 0 || this.#sealing) return false
    const address = this.#addresses.of(packet) + offset
    const end = length - this.suite.icvLength
    if (!this.#authenticate(address, end, sequenceHigh)) return false
    if (!equalBytes(this.#scratch, 0, packet, offset + end, this.suite.icvLength)) return false
    const body = address + ESP_HEADER_LENGTH + this.suite.ivLength
    const bodyLength = end - ESP_HEADER_LENGTH - this.suite.ivLength
    return (
      this.#evp.cipherInit(this.#context, 0, 0, address + ESP_HEADER_LENGTH, 0, 0) === 1 &&
      this.#evp.cipherUpdate(this.#context, body, this.#lengthAddress, body, bodyLength) === 1
    )
  }

  dispose(): void {
    if (this.#context !== 0) this.#evp.cipherContextFree(this.#context)
    if (this.#hmac !== 0) this.#evp.hmacContextFree(this.#hmac)
    this.#context = this.#hmac = 0
    this.#scratch.fill(0)
    this.#addresses.clear()
  }
}
