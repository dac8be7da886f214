/**
 * Lowers the Maximum Segment Size that TCP announces in its SYNs (RFC 9293 section 3.2), so that connections through
 * the tunnel do not depend on path MTU discovery. In place; the checksum is updated incrementally, so that a packet
 * that came with a wrong one leaves with a wrong one.
 * @module
 */
import { updateChecksum } from './checksum.ts'
import { findUpperLayer, IpProtocol, read16, upperOffset, upperProtocol, write16 } from './ip.ts'

const TCP_HEADER_LENGTH = 20
const DATA_OFFSET_AT = 12
const FLAGS_AT = 13
const CHECKSUM_AT = 16
const FLAG_SYN = 0x02

const OPTION_END = 0
const OPTION_NOP = 1
const OPTION_MSS = 2
const OPTION_MSS_LENGTH = 4

/**
 * Clamps the MSS option of a TCP SYN to `mss`. The packet must have passed `ipPacketLength`.
 * @returns true when the packet was changed
 */
export function clampMss(buffer: Uint8Array, offset: number, length: number, mss: number): boolean {
  const upper = findUpperLayer(buffer, offset, length)
  if (upper < 0 || upperProtocol(upper) !== IpProtocol.TCP || upperOffset(upper) === 0) return false
  const tcp = offset + upperOffset(upper)
  const end = offset + length
  if (tcp + TCP_HEADER_LENGTH > end || (buffer[tcp + FLAGS_AT]! & FLAG_SYN) === 0) return false
  const optionsEnd = tcp + (buffer[tcp + DATA_OFFSET_AT]! >>> 4) * 4
  if (optionsEnd > end) return false
  const option = findMssOption(buffer, tcp + TCP_HEADER_LENGTH, optionsEnd)
  if (option < 0) return false
  const value = read16(buffer, option + 2)
  if (value <= mss) return false
  write16(buffer, option + 2, mss)
  fixChecksum(buffer, tcp, option + 2, value, mss)
  return true
}

/** @returns offset of the option, or -1 */
function findMssOption(buffer: Uint8Array, start: number, end: number): number {
  let at = start
  while (at < end) {
    const kind = buffer[at]!
    if (kind === OPTION_END) return -1
    if (kind === OPTION_NOP) {
      at++
      continue
    }
    if (at + 1 >= end) return -1
    const length = buffer[at + 1]!
    if (length < 2 || at + length > end) return -1
    if (kind === OPTION_MSS) return length === OPTION_MSS_LENGTH ? at : -1
    at += length
  }
  return -1
}

/** A value at an odd distance from the TCP header straddles two words of the sum: swapping its bytes accounts for it. */
function fixChecksum(buffer: Uint8Array, tcp: number, at: number, oldValue: number, newValue: number): void {
  const isOdd = ((at - tcp) & 1) === 1
  const checksum = read16(buffer, tcp + CHECKSUM_AT)
  const updated = isOdd
    ? updateChecksum(checksum, swapBytes(oldValue), swapBytes(newValue))
    : updateChecksum(checksum, oldValue, newValue)
  write16(buffer, tcp + CHECKSUM_AT, updated)
}

function swapBytes(value: number): number {
  return ((value & 0xff) << 8) | (value >>> 8)
}
