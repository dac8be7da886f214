/**
 * What a datagram on UDP port 4500 carries (RFC 3948 section 2). The body of an RFC 9329 frame is told apart by the
 * same rules: an ESP SPI is never 0, so four zero bytes mark an IKE message, and a lone 0xFF is a NAT-keepalive.
 *
 * Per-packet code: numbers in, a number out, nothing allocated.
 * @module
 */
import { IKE_HEADER_LENGTH, IKE_LENGTH_OFFSET } from './ike-header.ts'

export const NON_ESP_MARKER_LENGTH = 4

/** Keepalive: drop. IKE: the message starts behind the marker. Malformed: count and drop. */
export const DatagramKind = { MALFORMED: 0, KEEPALIVE: 1, IKE: 2, ESP: 3 } as const
export type DatagramKind = (typeof DatagramKind)[keyof typeof DatagramKind]

const KEEPALIVE_BYTE = 0xff
/** SPI and sequence number (RFC 4303 section 2): nothing shorter can be ESP. */
const MIN_ESP_LENGTH = 8

/** The payload of a NAT-keepalive (RFC 3948 section 2.3). */
export const NAT_KEEPALIVE: Uint8Array = Uint8Array.of(KEEPALIVE_BYTE)

/**
 * Classifies `length` bytes at `offset`. IKE is only said of a message whose header is whole and whose Length is
 * exactly that of the datagram behind the marker.
 */
export function classifyDatagram(buffer: Uint8Array, offset: number, length: number): DatagramKind {
  if (length < MIN_ESP_LENGTH) {
    return length === 1 && buffer[offset] === KEEPALIVE_BYTE ? DatagramKind.KEEPALIVE : DatagramKind.MALFORMED
  }
  if (read32(buffer, offset) !== 0) return DatagramKind.ESP
  const messageLength = length - NON_ESP_MARKER_LENGTH
  if (messageLength < IKE_HEADER_LENGTH) return DatagramKind.MALFORMED
  const claimed = read32(buffer, offset + NON_ESP_MARKER_LENGTH + IKE_LENGTH_OFFSET)
  return claimed === messageLength ? DatagramKind.IKE : DatagramKind.MALFORMED
}

/** An IKE message behind the non-ESP marker. */
export function withNonEspMarker(message: Uint8Array): Uint8Array {
  const datagram = new Uint8Array(NON_ESP_MARKER_LENGTH + message.length)
  datagram.set(message, NON_ESP_MARKER_LENGTH)
  return datagram
}

function read32(buffer: Uint8Array, at: number): number {
  // Callers have checked the length; `!` spares a branch per byte on the packet path.
  return ((buffer[at]! << 24) | (buffer[at + 1]! << 16) | (buffer[at + 2]! << 8) | buffer[at + 3]!) >>> 0
}
