/**
 * Takes a frame from the kernel apart into the IP packets that it stands for: TCP and UDP super-packets are cut at
 * the segment size (what the kernel calls GSO), unfinished checksums are finished.
 *
 * In place: each packet is built directly in front of its own payload, over bytes of the packet before it, which
 * its consumer is done with by then. Nothing is copied but headers, nothing is allocated.
 * @module
 */
import { copyBytes, packetBuffer } from '../native/packet-memory.ts'
import { finishChecksum, pseudoHeaderSum4, pseudoHeaderSum6, sum16 } from '../wire/checksum.ts'
import {
  IPV4_CHECKSUM_OFFSET,
  IPV4_HEADER_LENGTH,
  IPV4_IDENTIFICATION_OFFSET,
  IPV4_TOTAL_LENGTH_OFFSET,
  IPV6_HEADER_LENGTH,
  IPV6_PAYLOAD_LENGTH_OFFSET,
  IpProtocol,
  ipv4HeaderLength,
  read16,
  read32,
  write16
} from '../wire/ip.ts'
import {
  readLittle16,
  VNET_CHECKSUM_OFFSET_AT,
  VNET_CHECKSUM_START_AT,
  VNET_FLAG_NEEDS_CHECKSUM,
  VNET_FLAGS_AT,
  VNET_GSO_SIZE_AT,
  VNET_GSO_TYPE_AT,
  VNET_HEADER_LENGTH,
  VnetGsoType
} from './vnet-header.ts'
import { wideSum } from './wide-sum.ts'

const TCP_MIN_HEADER_LENGTH = 20
const TCP_SEQUENCE_AT = 4
const TCP_DATA_OFFSET_AT = 12
const TCP_FLAGS_AT = 13
const TCP_CHECKSUM_AT = 16
const TCP_FIN_PSH = 0x09
const TCP_CWR = 0x80
const UDP_HEADER_LENGTH = 8
const UDP_LENGTH_AT = 4
const UDP_CHECKSUM_AT = 6
/** An IPv4 header with options or an IPv6 header with some extensions, and a TCP header with options. */
const MAX_HEADERS_LENGTH = 512

export class Segmenter {
  /** The packet that `next` moved to. */
  offset = 0
  length = 0
  #buffer: Uint8Array = new Uint8Array(0)
  /** Headers as the kernel gave them; each packet's own are made from these. */
  readonly #headers = packetBuffer(MAX_HEADERS_LENGTH)
  #headersLength = 0
  #transportAt = 0
  #isIpv4 = false
  #isTcp = false
  /** What all packets' sums have in common: the IPv4 header without its fields that differ, and the pseudo-header without the length. */
  #ipHeaderSum = 0
  #pseudoSum = 0
  #identification = 0
  #sequence = 0
  #segmentSize = 0
  #payloadAt = 0
  #payloadLength = 0
  /** Bytes of payload that packets were made of so far; -1: the frame is one packet, not yet given out. */
  #done = 0
  #index = 0

  /**
   * Begins with the frame `buffer[frameOffset, + frameLength)`.
   * @returns false when header and packet contradict each other; there is nothing to get then
   */
  load(buffer: Uint8Array, frameOffset: number, frameLength: number): boolean {
    this.#buffer = buffer
    this.#done = this.#payloadLength = 0
    const start = frameOffset + VNET_HEADER_LENGTH
    const length = frameLength - VNET_HEADER_LENGTH
    if (length < IPV4_HEADER_LENGTH) return false
    const gsoType = (buffer[frameOffset + VNET_GSO_TYPE_AT] ?? 0) & ~VnetGsoType.ECN_FLAG
    if (gsoType === VnetGsoType.NONE) return this.#loadSingle(frameOffset, start, length)
    return this.#loadSuper(frameOffset, gsoType, start, length)
  }

  /** Moves to the next packet. It is valid until the call after. @returns false when there is none */
  next(): boolean {
    if (this.#done < 0) {
      this.#done = this.#payloadLength = 0
      return true
    }
    const left = this.#payloadLength - this.#done
    if (left <= 0) return false
    const payload = Math.min(this.#segmentSize, left)
    this.offset = this.#payloadAt + this.#done - this.#headersLength
    this.length = this.#headersLength + payload
    const first = this.#done === 0
    this.#done += payload
    this.#writeHeaders(payload, first, this.#done === this.#payloadLength)
    this.#index++
    return true
  }

  #loadSingle(frameOffset: number, start: number, length: number): boolean {
    const buffer = this.#buffer
    if (((buffer[frameOffset + VNET_FLAGS_AT] ?? 0) & VNET_FLAG_NEEDS_CHECKSUM) !== 0) {
      const from = readLittle16(buffer, frameOffset + VNET_CHECKSUM_START_AT)
      const at = from + readLittle16(buffer, frameOffset + VNET_CHECKSUM_OFFSET_AT)
      if (at + 2 > length) return false
      // The field holds the sum of the pseudo-header.
      const checksum = finishChecksum(wideSum(buffer, start + from, length - from))
      writeChecksum(buffer, start + at, checksum, at - from === UDP_CHECKSUM_AT)
    }
    this.offset = start
    this.length = length
    this.#done = -1
    return true
  }

  #loadSuper(frameOffset: number, gsoType: number, start: number, length: number): boolean {
    const buffer = this.#buffer
    const transportAt = readLittle16(buffer, frameOffset + VNET_CHECKSUM_START_AT)
    const segmentSize = readLittle16(buffer, frameOffset + VNET_GSO_SIZE_AT)
    const isIpv4 = (buffer[start] ?? 0) >>> 4 === 4
    const ipLength = isIpv4 ? ipv4HeaderLength(buffer, start) : IPV6_HEADER_LENGTH
    const isTcp = gsoType === VnetGsoType.TCPV4 || gsoType === VnetGsoType.TCPV6
    if (!isTcp && gsoType !== VnetGsoType.UDP_L4) return false
    if (gsoType === (isIpv4 ? VnetGsoType.TCPV6 : VnetGsoType.TCPV4)) return false
    if (segmentSize === 0 || ipLength < IPV4_HEADER_LENGTH || transportAt < ipLength) return false
    // The header's own length field is not to be trusted for forwarded packets: the packet says it better.
    if (transportAt + (isTcp ? TCP_MIN_HEADER_LENGTH : UDP_HEADER_LENGTH) > length) return false
    const headersLength =
      transportAt +
      (isTcp ? ((buffer[start + transportAt + TCP_DATA_OFFSET_AT] ?? 0) >>> 4) * 4 : UDP_HEADER_LENGTH)
    if (headersLength < transportAt + (isTcp ? TCP_MIN_HEADER_LENGTH : UDP_HEADER_LENGTH)) return false
    if (headersLength >= length || headersLength > MAX_HEADERS_LENGTH) return false
    copyBytes(buffer, start, this.#headers, 0, headersLength)
    this.#headersLength = headersLength
    this.#transportAt = transportAt
    this.#isIpv4 = isIpv4
    this.#isTcp = isTcp
    this.#sumHeaders(ipLength)
    this.#segmentSize = segmentSize
    this.#payloadAt = start + headersLength
    this.#payloadLength = length - headersLength
    this.#index = 0
    return true
  }

  #sumHeaders(ipLength: number): void {
    const headers = this.#headers
    const protocol = this.#isTcp ? IpProtocol.TCP : IpProtocol.UDP
    if (this.#isIpv4) {
      this.#identification = read16(headers, IPV4_IDENTIFICATION_OFFSET)
      this.#ipHeaderSum =
        sum16(headers, 0, ipLength) -
        read16(headers, IPV4_TOTAL_LENGTH_OFFSET) -
        this.#identification -
        read16(headers, IPV4_CHECKSUM_OFFSET)
      this.#pseudoSum = pseudoHeaderSum4(headers, 0, protocol, 0)
    } else this.#pseudoSum = pseudoHeaderSum6(headers, 0, protocol, 0)
    this.#sequence = this.#isTcp ? read32(headers, this.#transportAt + TCP_SEQUENCE_AT) : 0
  }

  #writeHeaders(payload: number, first: boolean, last: boolean): void {
    const buffer = this.#buffer
    const at = this.offset
    const headers = this.#headers
    if (!first) copyBytes(headers, 0, buffer, at, this.#headersLength)
    if (this.#isIpv4) {
      const identification = (this.#identification + this.#index) & 0xffff
      write16(buffer, at + IPV4_TOTAL_LENGTH_OFFSET, this.length)
      write16(buffer, at + IPV4_IDENTIFICATION_OFFSET, identification)
      const sum = this.#ipHeaderSum + this.length + identification
      write16(buffer, at + IPV4_CHECKSUM_OFFSET, finishChecksum(sum))
    } else write16(buffer, at + IPV6_PAYLOAD_LENGTH_OFFSET, this.length - IPV6_HEADER_LENGTH)
    const transport = at + this.#transportAt
    const transportLength = this.length - this.#transportAt
    if (this.#isTcp) {
      const sequence = this.#sequence + this.#done - payload
      write16(buffer, transport + TCP_SEQUENCE_AT, (sequence >>> 16) & 0xffff)
      write16(buffer, transport + TCP_SEQUENCE_AT + 2, sequence & 0xffff)
      // FIN and PSH belong to the last segment, CWR to the first (RFC 3168 section 6.1.2).
      const dropped = (last ? 0 : TCP_FIN_PSH) | (first ? 0 : TCP_CWR)
      buffer[transport + TCP_FLAGS_AT] = (headers[this.#transportAt + TCP_FLAGS_AT] ?? 0) & ~dropped
    } else write16(buffer, transport + UDP_LENGTH_AT, transportLength)
    const checksumAt = transport + (this.#isTcp ? TCP_CHECKSUM_AT : UDP_CHECKSUM_AT)
    write16(buffer, checksumAt, 0)
    const sum = this.#pseudoSum + transportLength + wideSum(buffer, transport, transportLength)
    const checksum = finishChecksum(sum)
    writeChecksum(buffer, checksumAt, checksum, !this.#isTcp)
  }
}

/** A UDP checksum of zero would say that there is none (RFC 768): it is sent as all ones, which means the same. */
function writeChecksum(buffer: Uint8Array, at: number, checksum: number, isUdp: boolean): void {
  write16(buffer, at, isUdp && checksum === 0 ? 0xffff : checksum)
}
