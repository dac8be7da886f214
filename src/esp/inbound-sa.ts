/**
 * The receiving half of a Child SA: replay check, authentication and decryption in place, removal of padding
 * (RFC 4303 section 3.4).
 *
 * Invariant: the replay window and the counters of good packets change only for authentic packets.
 * @module
 */
import { createPacketCipher } from '../crypto/packet-cipher.ts'
import {
  ESP_HEADER_LENGTH,
  type PacketCipher,
  type PacketCipherBackend
} from '../crypto/packet-cipher-types.ts'
import { NextHeader } from './outbound-sa.ts'
import { DEFAULT_REPLAY_WINDOW, ReplayVerdict, ReplayWindow } from './replay-window.ts'
import type { EspSaParameters } from './types.ts'

/** Why `open` gave no inner packet. */
export const OpenResult = {
  /** Too short, misaligned, or the authenticated contents make no sense. */
  malformed: -1,
  wrongSpi: -2,
  /** This sequence number was already seen. */
  replay: -3,
  /** Below the replay window, or impossible. */
  tooOld: -4,
  authenticationFailed: -5,
  /** Authentic, but neither IPv4 nor IPv6 inside. */
  unsupported: -6,
  /** Authentic and meant to be discarded (RFC 4303 section 2.6). */
  dummy: -7
} as const
export type OpenResult = (typeof OpenResult)[keyof typeof OpenResult]

const TRAILER_LENGTH = 2
const IPV4_HEADER_LENGTH = 20
const IPV6_HEADER_LENGTH = 40

export class InboundSa {
  readonly spi: number
  readonly esn: boolean
  readonly window: ReplayWindow
  /** Where the inner packet begins, after `open` returned its length. */
  innerOffset = 0
  /** 4 or 41, after `open` returned a length. */
  nextHeader = 0
  /** Authentic packets, dummies included, and their bytes as ESP. */
  packets = 0
  bytes = 0
  replays = 0
  tooOld = 0
  authenticationFailures = 0
  malformed = 0
  dummies = 0
  readonly #parameters: EspSaParameters
  readonly #cipher: PacketCipher

  /** Takes ownership of the keys. @throws InternalError when they do not fit the suite */
  constructor(
    parameters: EspSaParameters,
    replayWindow: number = DEFAULT_REPLAY_WINDOW,
    backend?: PacketCipherBackend
  ) {
    this.#parameters = parameters
    this.#cipher = createPacketCipher(parameters, 'open', backend)
    this.spi = parameters.spi
    this.esn = parameters.esn
    this.window = new ReplayWindow(replayWindow, parameters.esn)
    this.window.advanceTo(parameters.sequence ?? 0n)
  }

  get backend(): PacketCipherBackend {
    return this.#cipher.backend
  }

  /**
   * Opens the ESP packet `buffer[offset, offset + length)` in place. For authentic packets of which nothing is to be delivered, and
   * for all others, the result is negative.
   *
   * @returns length of the inner packet, which begins at `innerOffset`; or one of `OpenResult`
   */
  open(buffer: Uint8Array, offset: number, length: number): number {
    const suite = this.#cipher.suite
    const bodyLength = length - ESP_HEADER_LENGTH - suite.ivLength - suite.icvLength
    if (bodyLength < TRAILER_LENGTH || bodyLength % suite.blockSize !== 0) return this.#countMalformed()
    if (readUint32(buffer, offset) !== this.spi) return OpenResult.wrongSpi
    const low = readUint32(buffer, offset + 4)
    const high = this.window.inferHigh(low)
    const verdict = this.window.check(high, low)
    if (verdict === ReplayVerdict.replay) {
      this.replays++
      return OpenResult.replay
    }
    if (verdict === ReplayVerdict.tooOld) {
      this.tooOld++
      return OpenResult.tooOld
    }
    if (!this.#cipher.open(buffer, offset, length, high)) {
      this.authenticationFailures++
      return OpenResult.authenticationFailed
    }
    this.window.update(high, low)
    this.packets++
    this.bytes += length
    return this.#unwrap(buffer, offset + ESP_HEADER_LENGTH + suite.ivLength, bodyLength)
  }

  /** Would a packet with this low half of its Sequence Number be looked at? */
  mayCome(low: number): boolean {
    return this.window.check(this.window.inferHigh(low), low) === ReplayVerdict.fresh
  }

  /** Overwrites the keys; nothing can be opened any more. */
  dispose(): void {
    this.#cipher.dispose()
    this.#parameters.encryptionKey.fill(0)
    this.#parameters.integrityKey.fill(0)
  }

  /** Takes the padding off an authentic payload and trims padding for traffic flow confidentiality (RFC 4303 section 2.7). */
  #unwrap(buffer: Uint8Array, start: number, bodyLength: number): number {
    const end = start + bodyLength - TRAILER_LENGTH
    const padding = buffer[end] ?? 0
    const nextHeader = buffer[end + 1] ?? 0
    const available = bodyLength - TRAILER_LENGTH - padding
    if (available < 0) return this.#countMalformed()
    for (let index = 0; index < padding; index++)
      if (buffer[end - padding + index] !== index + 1) return this.#countMalformed()
    if (nextHeader === NextHeader.NONE) {
      this.dummies++
      return OpenResult.dummy
    }
    const version = (buffer[start] ?? 0) >>> 4
    let innerLength = 0
    if (nextHeader === NextHeader.IPV4) {
      if (version !== 4 || available < IPV4_HEADER_LENGTH) return this.#countMalformed()
      innerLength = ((buffer[start + 2] ?? 0) << 8) | (buffer[start + 3] ?? 0)
      if (innerLength < IPV4_HEADER_LENGTH) return this.#countMalformed()
    } else if (nextHeader === NextHeader.IPV6) {
      if (version !== 6 || available < IPV6_HEADER_LENGTH) return this.#countMalformed()
      innerLength = IPV6_HEADER_LENGTH + (((buffer[start + 4] ?? 0) << 8) | (buffer[start + 5] ?? 0))
    } else return OpenResult.unsupported
    if (innerLength > available) return this.#countMalformed()
    this.innerOffset = start
    this.nextHeader = nextHeader
    return innerLength
  }

  #countMalformed(): number {
    this.malformed++
    return OpenResult.malformed
  }
}

function readUint32(buffer: Uint8Array, offset: number): number {
  return (
    (((buffer[offset] ?? 0) << 24) |
      ((buffer[offset + 1] ?? 0) << 16) |
      ((buffer[offset + 2] ?? 0) << 8) |
      (buffer[offset + 3] ?? 0)) >>>
    0
  )
}
