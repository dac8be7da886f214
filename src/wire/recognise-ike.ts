/**
 * Could an IKE message of a known IKE SA begin here (RFC 9329 section 10)?
 * @module
 */
import { NON_ESP_MARKER_LENGTH } from './non-esp-marker.ts'

/**
 * Looks at a non-ESP marker and the two SPIs behind it.
 * @returns undefined: it is no IKE message, but may be ESP
 */
export function recognisesIke(
  buffer: Uint8Array,
  offset: number,
  isKnown: (spiI: bigint, spiR: bigint) => boolean
): boolean | undefined {
  for (let index = 0; index < NON_ESP_MARKER_LENGTH; index++)
    if (buffer[offset + index] !== 0) return undefined
  const view = new DataView(buffer.buffer, buffer.byteOffset + offset + NON_ESP_MARKER_LENGTH, 16)
  return isKnown(view.getBigUint64(0), view.getBigUint64(8))
}
