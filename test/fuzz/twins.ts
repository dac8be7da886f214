/**
 * Slow and obvious twins of fast code, for whatever bytes: each from the text that describes the format.
 * @module
 */
import { slowChecksum } from '../support/packet-factory.ts'

const VNET_LENGTH = 10
const MAX_HEADERS = 512
const NEEDS_CHECKSUM = 1

const word = (bytes: readonly number[], at: number): number => ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)
const little = (bytes: readonly number[], at: number): number =>
  (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8)
const two = (value: number): [number, number] => [(value >>> 8) & 0xff, value & 0xff]
const put = (bytes: number[], at: number, values: readonly number[]): void => {
  for (const [index, value] of values.entries()) bytes[at + index] = value
}

/**
 * The packets that a frame with a virtio-net header stands for (linux/virtio_net.h: `VIRTIO_NET_HDR_F_NEEDS_CSUM`,
 * `VIRTIO_NET_HDR_GSO_*`); undefined for one that contradicts itself.
 */
export function naiveCut(frame: Uint8Array): Uint8Array[] | undefined {
  const header = [...frame.subarray(0, VNET_LENGTH)]
  const packet = [...frame.subarray(VNET_LENGTH)]
  if (packet.length < 20) return undefined
  const start = little(header, 6)
  const type = (header[1] ?? 0) & 0x7f
  if (type === 0) {
    if (((header[0] ?? 0) & NEEDS_CHECKSUM) === 0) return [Uint8Array.from(packet)]
    const field = little(header, 8)
    if (start + field + 2 > packet.length) return undefined
    const sum = slowChecksum(packet.slice(start))
    put(packet, start + field, two(field === 6 && sum === 0 ? 0xffff : sum))
    return [Uint8Array.from(packet)]
  }
  return cutSuperPacket(packet, type, start, little(header, 4))
}

function cutSuperPacket(
  packet: readonly number[],
  type: number,
  start: number,
  size: number
): Uint8Array[] | undefined {
  const isIpv4 = (packet[0] ?? 0) >> 4 === 4
  const isUdp = type === 5
  if (!isUdp && type !== (isIpv4 ? 1 : 4)) return undefined
  const ipHeader = isIpv4 ? ((packet[0] ?? 0) & 15) * 4 : 40
  const least = isUdp ? 8 : 20
  if (size === 0 || ipHeader < 20 || start < ipHeader || start + least > packet.length) return undefined
  const upperHeader = isUdp ? 8 : ((packet[start + 12] ?? 0) >> 4) * 4
  const headers = start + upperHeader
  if (upperHeader < least || headers >= packet.length || headers > MAX_HEADERS) return undefined
  const payload = packet.slice(headers)
  const pieces: Uint8Array[] = []
  for (let at = 0; at < payload.length; at += size) {
    const piece = [...packet.slice(0, headers), ...payload.slice(at, at + size)]
    const isLast = at + size >= payload.length
    finishIp(piece, isIpv4, pieces.length)
    if (isUdp) put(piece, start + 4, two(piece.length - start))
    else finishTcp(piece, start, at, isLast)
    finishUpperChecksum(piece, start, isIpv4, isUdp)
    pieces.push(Uint8Array.from(piece))
  }
  return pieces
}

function finishIp(piece: number[], isIpv4: boolean, index: number): void {
  if (!isIpv4) {
    put(piece, 4, two(piece.length - 40))
    return
  }
  put(piece, 2, two(piece.length))
  put(piece, 4, two(word(piece, 4) + index))
  put(piece, 10, [0, 0])
  put(piece, 10, two(slowChecksum(piece.slice(0, ((piece[0] ?? 0) & 15) * 4))))
}

function finishTcp(piece: number[], start: number, at: number, isLast: boolean): void {
  const sequence = (word(piece, start + 4) * 0x1_0000 + word(piece, start + 6) + at) % 2 ** 32
  put(piece, start + 4, [...two(Math.floor(sequence / 0x1_0000)), ...two(sequence % 0x1_0000)])
  if (!isLast) piece[start + 13] = (piece[start + 13] ?? 0) & ~0x09
  if (at > 0) piece[start + 13] = (piece[start + 13] ?? 0) & ~0x80
}

function finishUpperChecksum(piece: number[], start: number, isIpv4: boolean, isUdp: boolean): void {
  const field = start + (isUdp ? 6 : 16)
  put(piece, field, [0, 0])
  const length = piece.length - start
  const addresses = isIpv4 ? piece.slice(12, 20) : piece.slice(8, 40)
  const pseudo = [...addresses, 0, 0, ...two(length), 0, 0, 0, isUdp ? 17 : 6]
  const sum = slowChecksum([...pseudo, ...piece.slice(start)])
  put(piece, field, two(isUdp && sum === 0 ? 0xffff : sum))
}
