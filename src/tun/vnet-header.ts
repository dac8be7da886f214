/**
 * `struct virtio_net_hdr` as the TUN driver uses it (linux/virtio_net.h): flags, GSO type, header length, segment
 * size, start and place of the checksum; 16-bit fields in the byte order of the machine, which is little-endian here.
 * @module
 */

export const VNET_HEADER_LENGTH = 10

export const VNET_FLAG_NEEDS_CHECKSUM = 1

export const VnetGsoType = { NONE: 0, TCPV4: 1, UDP: 3, TCPV6: 4, UDP_L4: 5, ECN_FLAG: 0x80 } as const

export const VNET_FLAGS_AT = 0
export const VNET_GSO_TYPE_AT = 1
export const VNET_HEADER_LENGTH_AT = 2
export const VNET_GSO_SIZE_AT = 4
export const VNET_CHECKSUM_START_AT = 6
export const VNET_CHECKSUM_OFFSET_AT = 8

export function readLittle16(buffer: Uint8Array, at: number): number {
  return (buffer[at] ?? 0) | ((buffer[at + 1] ?? 0) << 8)
}

export function writeLittle16(buffer: Uint8Array, at: number, value: number): void {
  buffer[at] = value
  buffer[at + 1] = value >>> 8
}

/** The header of a packet that is complete as it is. */
export function clearVnetHeader(buffer: Uint8Array, at: number): void {
  for (let index = 0; index < VNET_HEADER_LENGTH; index++) buffer[at + index] = 0
}
