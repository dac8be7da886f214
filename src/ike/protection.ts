/**
 * The Encrypted payload and its fragments: SK (RFC 7296 section 3.14, RFC 5282) and SKF (RFC 7383).
 *
 * Invariants: a nonce of an AEAD is used once, even over fragments; a message that fails its check leaves no trace;
 * nothing larger than 64 KB is opened or made.
 * @module
 */
import { createIkeCipher } from '../crypto/ike-cipher.ts'
import type { CipherSuite, IkeCipher, RandomSource } from '../crypto/types.ts'
import {
  encodeEncrypted,
  encodePayloads,
  FRAGMENT_FIELDS_LENGTH,
  IKE_HEADER_LENGTH,
  PAYLOAD_HEADER_LENGTH
} from '../wire/ike-codec.ts'
import type { EncryptedFragmentPayload, EncryptedPayload, IkeHeader, Payload } from '../wire/ike-message.ts'
import type { Packets } from './exchange-manager.ts'
import { concat, type IkeKeys } from './keymat.ts'

/** Sealing and opening for one IKE SA, both directions. */
export class Protection {
  readonly #outbound: IkeCipher
  readonly #inbound: IkeCipher
  readonly #random: RandomSource
  #ivCounter: bigint

  /** @param firstIv where the counter of AEADs begins: another member of a cluster may have used those before */
  constructor(suite: CipherSuite, keys: IkeKeys, isInitiator: boolean, random: RandomSource, firstIv = 0n) {
    this.#ivCounter = firstIv
    const fromInitiator = createIkeCipher(suite, keys.skEi, keys.skAi)
    const fromResponder = createIkeCipher(suite, keys.skEr, keys.skAr)
    this.#outbound = isInitiator ? fromInitiator : fromResponder
    this.#inbound = isInitiator ? fromResponder : fromInitiator
    this.#random = random
  }

  /** The IV that an AEAD would use next. */
  get nextIv(): bigint {
    return this.#ivCounter
  }

  /**
   * Encodes and seals a message.
   * @param maxLength largest IKE message in bytes; longer ones become fragments; undefined: never fragment
   * @param outer payloads that stand in front of SK, in the clear
   */
  seal(
    header: IkeHeader,
    payloads: readonly Payload[],
    maxLength?: number,
    outer: readonly Payload[] = []
  ): Packets {
    const { firstType, bytes } = encodePayloads(payloads)
    const outerLength = outer.length === 0 ? 0 : encodePayloads(outer).bytes.length
    const whole = this.#sealedLength(bytes.length, PAYLOAD_HEADER_LENGTH) + outerLength
    if (maxLength === undefined || whole <= maxLength)
      return [this.#sealPart(header, firstType, bytes, undefined, outer)]
    // In the first fragment alone (RFC 7383 section 2.5.3), but all have the same room.
    const chunkLength = this.#chunkLength(maxLength - outerLength)
    const total = Math.ceil(bytes.length / chunkLength)
    const packets: Uint8Array[] = []
    for (let number = 1; number <= total; number++) {
      const chunk = bytes.subarray((number - 1) * chunkLength, number * chunkLength)
      packets.push(this.#sealPart(header, firstType, chunk, { number, total }, number === 1 ? outer : []))
    }
    bytes.fill(0)
    return packets
  }

  /**
   * Opens SK or SKF.
   * @param message the whole IKE message as it came
   * @param encryptedOffset where the body of `payload` begins in it
   * @returns inner payloads as bytes, without padding; undefined: the check failed
   */
  open(
    message: Uint8Array,
    encryptedOffset: number,
    payload: EncryptedPayload | EncryptedFragmentPayload
  ): Uint8Array | undefined {
    const { ivLength, icvLength } = this.#inbound
    if (payload.body.length < ivLength + icvLength + 1) return undefined
    const padded = this.#inbound.open(
      message.subarray(0, encryptedOffset),
      payload.body.subarray(0, ivLength),
      payload.body.subarray(ivLength)
    )
    if (padded === undefined) return undefined
    const padLength = padded.at(-1) ?? 0
    // Authentic, yet impossible: a peer that pads with more than there is.
    if (padLength + 1 > padded.length) return undefined
    return padded.subarray(0, padded.length - padLength - 1)
  }

  dispose(): void {
    this.#outbound.dispose()
    this.#inbound.dispose()
  }

  #sealPart(
    header: IkeHeader,
    firstInner: number,
    content: Uint8Array,
    fragment?: { number: number; total: number },
    outer: readonly Payload[] = []
  ): Uint8Array {
    const { ivLength, icvLength } = this.#outbound
    const padded = new Uint8Array(this.#paddedLength(content.length))
    padded.set(content)
    padded[padded.length - 1] = padded.length - content.length - 1
    const iv = this.#nextIv()
    const bodyLength = ivLength + padded.length + icvLength
    const head = encodeEncrypted(header, firstInner, bodyLength, fragment, outer)
    const sealed = this.#outbound.seal(head, iv, padded)
    padded.fill(0)
    return concat(head, iv, sealed)
  }

  /** AEADs want an IV that never repeats: a counter. CBC wants one that cannot be foreseen (RFC 7296 section 3.14). */
  #nextIv(): Uint8Array {
    if (!this.#outbound.isAead) return this.#random.bytes(this.#outbound.ivLength)
    const iv = new Uint8Array(this.#outbound.ivLength)
    new DataView(iv.buffer).setBigUint64(iv.length - 8, this.#ivCounter++)
    return iv
  }

  #paddedLength(contentLength: number): number {
    const { blockSize } = this.#outbound
    return Math.ceil((contentLength + 1) / blockSize) * blockSize
  }

  #sealedLength(contentLength: number, payloadHeaderLength: number): number {
    const { ivLength, icvLength } = this.#outbound
    return IKE_HEADER_LENGTH + payloadHeaderLength + ivLength + this.#paddedLength(contentLength) + icvLength
  }

  /** How much content fits in a fragment of `maxLength` bytes; a multiple of the block less the pad length octet. */
  #chunkLength(maxLength: number): number {
    const { ivLength, icvLength, blockSize } = this.#outbound
    const overhead = IKE_HEADER_LENGTH + PAYLOAD_HEADER_LENGTH + FRAGMENT_FIELDS_LENGTH + ivLength + icvLength
    const room = Math.floor((maxLength - overhead) / blockSize) * blockSize - 1
    return Math.max(room, blockSize * 4 - 1)
  }
}
