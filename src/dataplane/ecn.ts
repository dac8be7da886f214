/**
 * Explicit Congestion Notification across the tunnel (RFC 6040). In place, nothing allocated.
 *
 * On the way in the outer header of UDP gets the inner field ("normal mode", section 4.1); streams stay Not-ECT
 * (RFC 9329 section 9.5). On the way out the two are combined (section 4.2).
 * @module
 */
import { updateChecksum } from '../wire/checksum.ts'
import { IPV4_CHECKSUM_OFFSET, IPV4_TOS_OFFSET, read16, write16 } from '../wire/ip.ts'

export const Ecn = { NOT_ECT: 0, ECT1: 1, ECT0: 2, CE: 3 } as const

/** The ECN field of the IP packet at `offset`. */
export function ecnOf(buffer: Uint8Array, offset: number): number {
  const first = buffer[offset] ?? 0
  if (first >>> 4 === 4) return (buffer[offset + IPV4_TOS_OFFSET] ?? 0) & 3
  return ((buffer[offset + 1] ?? 0) >>> 4) & 3
}

/**
 * Gives the inner packet the field that it leaves the tunnel with (RFC 6040 figure 4).
 * @returns false when it must be dropped: congestion was marked on a packet whose endpoint would not understand the mark
 */
export function applyOuterEcn(buffer: Uint8Array, offset: number, outer: number): boolean {
  if (outer !== Ecn.CE && outer !== Ecn.ECT1) return true
  const inner = ecnOf(buffer, offset)
  if (outer === Ecn.ECT1) {
    if (inner === Ecn.ECT0) setEcn(buffer, offset, Ecn.ECT1)
    return true
  }
  if (inner === Ecn.NOT_ECT) return false
  if (inner !== Ecn.CE) setEcn(buffer, offset, Ecn.CE)
  return true
}

function setEcn(buffer: Uint8Array, offset: number, ecn: number): void {
  if ((buffer[offset] ?? 0) >>> 4 === 6) {
    buffer[offset + 1] = ((buffer[offset + 1] ?? 0) & ~0x30) | (ecn << 4)
    return
  }
  const before = read16(buffer, offset)
  buffer[offset + IPV4_TOS_OFFSET] = ((buffer[offset + IPV4_TOS_OFFSET] ?? 0) & ~3) | ecn
  const checksum = read16(buffer, offset + IPV4_CHECKSUM_OFFSET)
  write16(buffer, offset + IPV4_CHECKSUM_OFFSET, updateChecksum(checksum, before, read16(buffer, offset)))
}
