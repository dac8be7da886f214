/**
 * The classic capture file format (draft-ietf-opsawg-pcap): little-endian, microseconds, bare IP packets.
 * @module
 */

/** Bare IPv4 and IPv6 packets. */
const LINKTYPE_RAW = 101
const MAGIC = 0xa1b2_c3d4
const VERSION_MAJOR = 2
const VERSION_MINOR = 4
/** tcpdump's default: nothing that we write is longer. */
const SNAP_LENGTH = 262_144

export const PCAP_RECORD_HEADER_LENGTH = 16

export function pcapFileHeader(): Uint8Array {
  const header = new Uint8Array(24)
  const view = new DataView(header.buffer)
  view.setUint32(0, MAGIC, true)
  view.setUint16(4, VERSION_MAJOR, true)
  view.setUint16(6, VERSION_MINOR, true)
  view.setUint32(16, SNAP_LENGTH, true)
  view.setUint32(20, LINKTYPE_RAW, true)
  return header
}

/** @param timeMs since 1970, with fractions */
export function writePcapRecordHeader(view: DataView, offset: number, timeMs: number, length: number): void {
  const microseconds = Math.floor(timeMs * 1000)
  view.setUint32(offset, Math.floor(microseconds / 1_000_000), true)
  view.setUint32(offset + 4, microseconds % 1_000_000, true)
  view.setUint32(offset + 8, length, true)
  view.setUint32(offset + 12, length, true)
}
