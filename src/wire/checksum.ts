/**
 * The internet checksum (RFC 1071) and its incremental update (RFC 1624). Per-packet code: nothing is allocated.
 *
 * `sum16` results are plain running sums: add them, then `finishChecksum`. Sums of parts may only be added when every
 * part but the last has an even length.
 * @module
 */

/** The sum of 16-bit big-endian words; an odd last byte counts as the high half of a word. */
export function sum16(buffer: Uint8Array, offset: number, length: number): number {
  const end = offset + length
  let high = 0
  let low = 0
  let at = offset
  // High and low bytes are summed apart: no shift per word. Eight bytes a turn; `at` stays below `end`.
  for (const unrolledEnd = end - 7; at < unrolledEnd; at += 8) {
    high += buffer[at]! + buffer[at + 2]! + buffer[at + 4]! + buffer[at + 6]!
    low += buffer[at + 1]! + buffer[at + 3]! + buffer[at + 5]! + buffer[at + 7]!
  }
  for (; at + 1 < end; at += 2) {
    high += buffer[at]!
    low += buffer[at + 1]!
  }
  if (at < end) high += buffer[at]!
  return high * 256 + low
}

/** Folds a running sum and complements it: the value of a checksum field. */
export function finishChecksum(sum: number): number {
  while (sum > 0xffff) sum = Math.floor(sum / 0x10000) + (sum % 0x10000)
  return ~sum & 0xffff
}

/** The checksum of a block; over a block that carries its right checksum the result is 0. */
export function internetChecksum(buffer: Uint8Array, offset: number, length: number): number {
  return finishChecksum(sum16(buffer, offset, length))
}

/**
 * The checksum after one of the 16-bit words it covers changed (RFC 1624 section 3, equation 3).
 * @param checksum value of the checksum field before
 */
export function updateChecksum(checksum: number, oldWord: number, newWord: number): number {
  return finishChecksum((~checksum & 0xffff) + (~oldWord & 0xffff) + newWord)
}

/** The sum of the IPv4 pseudo-header (RFC 9293 section 3.1) of a packet whose header begins at `offset`. */
export function pseudoHeaderSum4(
  buffer: Uint8Array,
  offset: number,
  protocol: number,
  length: number
): number {
  return sum16(buffer, offset + 12, 8) + protocol + length
}

/** The sum of the IPv6 pseudo-header (RFC 8200 section 8.1), final destination taken from the header. */
export function pseudoHeaderSum6(
  buffer: Uint8Array,
  offset: number,
  protocol: number,
  length: number
): number {
  return sum16(buffer, offset + 8, 32) + protocol + length
}
