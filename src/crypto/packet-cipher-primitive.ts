/**
 * ESP packets over primitives that take whole byte strings: what the `node:crypto` and noble back ends share.
 * @module
 */
import {
  AEAD_SALT_LENGTH,
  ESP_HEADER_LENGTH,
  equalBytes,
  type PacketCipher,
  type PacketCipherBackend,
  type PacketCipherKeys
} from './packet-cipher-types.ts'
import type { CipherSuite } from './types.ts'

export interface AeadPrimitive {
  seal(
    nonce: Uint8Array,
    associated: Uint8Array,
    plaintext: Uint8Array
  ): { readonly ciphertext: Uint8Array; readonly icv: Uint8Array }
  open(
    nonce: Uint8Array,
    associated: Uint8Array,
    ciphertext: Uint8Array,
    icv: Uint8Array
  ): Uint8Array | undefined
}
export interface CbcPrimitive {
  encrypt(iv: Uint8Array, plaintext: Uint8Array): Uint8Array
  decrypt(iv: Uint8Array, ciphertext: Uint8Array): Uint8Array
  /** The MAC in full length. */
  authenticate(parts: readonly Uint8Array[]): Uint8Array
}
export type PacketPrimitive = AeadPrimitive | CbcPrimitive

export class PrimitivePacketCipher implements PacketCipher {
  readonly backend: PacketCipherBackend
  readonly suite: CipherSuite
  readonly #esn: boolean
  readonly #direction: 'seal' | 'open'
  readonly #salt: Uint8Array
  readonly #overwriteKeys: () => void
  #primitive: PacketPrimitive | undefined

  constructor(
    backend: PacketCipherBackend,
    suite: CipherSuite,
    keys: PacketCipherKeys,
    esn: boolean,
    direction: 'seal' | 'open',
    primitive: PacketPrimitive,
    overwriteKeys: () => void = () => {}
  ) {
    this.backend = backend
    this.suite = suite
    this.#esn = esn
    this.#direction = direction
    this.#salt = Uint8Array.from(suite.isAead ? keys.encryptionKey.subarray(-AEAD_SALT_LENGTH) : [])
    this.#primitive = primitive
    this.#overwriteKeys = overwriteKeys
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
    const primitive = this.#primitive
    if (primitive === undefined || this.#direction !== 'seal') return false
    const bodyOffset = packetOffset + ESP_HEADER_LENGTH + this.suite.ivLength
    const end = bodyOffset + sourceLength + trailerLength
    const plaintext = new Uint8Array(sourceLength + trailerLength)
    plaintext.set(source.subarray(sourceOffset, sourceOffset + sourceLength))
    plaintext.set(packet.subarray(bodyOffset + sourceLength, end), sourceLength)
    const iv = packet.subarray(packetOffset + ESP_HEADER_LENGTH, bodyOffset)
    if ('seal' in primitive) {
      const sealed = primitive.seal(
        this.#nonce(iv),
        this.#associated(packet, packetOffset, sequenceHigh),
        plaintext
      )
      packet.set(sealed.ciphertext, bodyOffset)
      packet.set(sealed.icv, end)
      return true
    }
    packet.set(primitive.encrypt(iv, plaintext), bodyOffset)
    const mac = primitive.authenticate(this.#macInput(packet, packetOffset, end, sequenceHigh))
    packet.set(mac.subarray(0, this.suite.icvLength), end)
    return true
  }

  open(packet: Uint8Array, offset: number, length: number, sequenceHigh: number): boolean {
    const primitive = this.#primitive
    if (primitive === undefined || this.#direction !== 'open') return false
    const bodyOffset = offset + ESP_HEADER_LENGTH + this.suite.ivLength
    const end = offset + length - this.suite.icvLength
    const iv = packet.subarray(offset + ESP_HEADER_LENGTH, bodyOffset)
    const body = packet.subarray(bodyOffset, end)
    if ('seal' in primitive) {
      const icv = packet.subarray(end, offset + length)
      const associated = this.#associated(packet, offset, sequenceHigh)
      const plaintext = primitive.open(this.#nonce(iv), associated, body, icv)
      if (plaintext === undefined) return false
      packet.set(plaintext, bodyOffset)
      return true
    }
    const mac = primitive.authenticate(this.#macInput(packet, offset, end, sequenceHigh))
    if (!equalBytes(mac, 0, packet, end, this.suite.icvLength)) return false
    packet.set(primitive.decrypt(iv, body), bodyOffset)
    return true
  }

  dispose(): void {
    this.#primitive = undefined
    this.#salt.fill(0)
    this.#overwriteKeys()
  }

  #nonce(iv: Uint8Array): Uint8Array {
    const nonce = new Uint8Array(this.#salt.length + iv.length)
    nonce.set(this.#salt)
    nonce.set(iv, this.#salt.length)
    return nonce
  }

  #associated(packet: Uint8Array, offset: number, sequenceHigh: number): Uint8Array {
    if (!this.#esn) return packet.subarray(offset, offset + ESP_HEADER_LENGTH)
    const associated = new Uint8Array(ESP_HEADER_LENGTH + 4)
    associated.set(packet.subarray(offset, offset + 4))
    associated.set(bigEndian(sequenceHigh), 4)
    associated.set(packet.subarray(offset + 4, offset + ESP_HEADER_LENGTH), 8)
    return associated
  }

  #macInput(packet: Uint8Array, start: number, end: number, sequenceHigh: number): readonly Uint8Array[] {
    const covered = packet.subarray(start, end)
    return this.#esn ? [covered, bigEndian(sequenceHigh)] : [covered]
  }
}

function bigEndian(value: number): Uint8Array {
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value)
}
