/**
 * A super-packet in the making: the segments of one TCP flow behind the headers of the first, as a frame for the TUN device.
 * @module
 */
import { finishChecksum, pseudoHeaderSum4, pseudoHeaderSum6 } from '../wire/checksum.ts'
import {
  IPV4_CHECKSUM_OFFSET,
  IPV4_HEADER_LENGTH,
  IPV4_TOTAL_LENGTH_OFFSET,
  IPV6_HEADER_LENGTH,
  IPV6_HOP_LIMIT_OFFSET,
  IPV6_PAYLOAD_LENGTH_OFFSET,
  IpProtocol,
  write16
} from '../wire/ip.ts'
import { MAX_PACKET_LENGTH } from './types.ts'
import {
  VNET_CHECKSUM_OFFSET_AT,
  VNET_CHECKSUM_START_AT,
  VNET_FLAG_NEEDS_CHECKSUM,
  VNET_FLAGS_AT,
  VNET_GSO_SIZE_AT,
  VNET_GSO_TYPE_AT,
  VNET_HEADER_LENGTH,
  VNET_HEADER_LENGTH_AT,
  VnetGsoType,
  writeLittle16
} from './vnet-header.ts'
import { wideSum } from './wide-sum.ts'

const TCP_CHECKSUM_AT = 16

/** One flow's super-packet in the making, as a frame. */
export interface Slot {
  readonly frame: Uint8Array
  active: boolean
  /** Order of activation, for flushing in order. */
  age: number
  isIpv4: boolean
  ipLength: number
  headersLength: number
  /** IP packet so far. */
  length: number
  segments: number
  segmentSize: number
  nextSequence: number
  /** IPv4 only: identifications so far are all the same (`fixed`), or count up. */
  firstIdentification: number
  fixedIdentification: boolean
}

export function newSlot(): Slot {
  return {
    frame: new Uint8Array(new ArrayBuffer(VNET_HEADER_LENGTH + MAX_PACKET_LENGTH)),
    active: false,
    age: 0,
    isIpv4: false,
    ipLength: 0,
    headersLength: 0,
    length: 0,
    segments: 0,
    segmentSize: 0,
    nextSequence: 0,
    firstIdentification: 0,
    fixedIdentification: false
  }
}

/** Same traffic class, flow label and hop limit. */
export function continues6(slot: Slot, buffer: Uint8Array, offset: number): boolean {
  return (
    sameBytes(slot.frame, VNET_HEADER_LENGTH, buffer, offset, 4) &&
    slot.frame[VNET_HEADER_LENGTH + IPV6_HOP_LIMIT_OFFSET] === buffer[offset + IPV6_HOP_LIMIT_OFFSET]
  )
}

/** Lengths, checksums and virtio-net header of a super-packet; the checksum field gets the sum of the pseudo-header, as the kernel wants it. */
export function finishSuperPacket(slot: Slot): void {
  const frame = slot.frame
  const ip = VNET_HEADER_LENGTH
  const tcpLength = slot.length - slot.ipLength
  let pseudo = 0
  if (slot.isIpv4) {
    write16(frame, ip + IPV4_TOTAL_LENGTH_OFFSET, slot.length)
    write16(frame, ip + IPV4_CHECKSUM_OFFSET, 0)
    write16(frame, ip + IPV4_CHECKSUM_OFFSET, finishChecksum(wideSum(frame, ip, IPV4_HEADER_LENGTH)))
    pseudo = pseudoHeaderSum4(frame, ip, IpProtocol.TCP, tcpLength)
  } else {
    write16(frame, ip + IPV6_PAYLOAD_LENGTH_OFFSET, slot.length - IPV6_HEADER_LENGTH)
    pseudo = pseudoHeaderSum6(frame, ip, IpProtocol.TCP, tcpLength)
  }
  write16(frame, ip + slot.ipLength + TCP_CHECKSUM_AT, ~finishChecksum(pseudo) & 0xffff)
  frame[VNET_FLAGS_AT] = VNET_FLAG_NEEDS_CHECKSUM
  frame[VNET_GSO_TYPE_AT] = slot.isIpv4 ? VnetGsoType.TCPV4 : VnetGsoType.TCPV6
  writeLittle16(frame, VNET_HEADER_LENGTH_AT, slot.headersLength)
  writeLittle16(frame, VNET_GSO_SIZE_AT, slot.segmentSize)
  writeLittle16(frame, VNET_CHECKSUM_START_AT, slot.ipLength)
  writeLittle16(frame, VNET_CHECKSUM_OFFSET_AT, TCP_CHECKSUM_AT)
}

export function sameBytes(
  left: Uint8Array,
  leftOffset: number,
  right: Uint8Array,
  rightOffset: number,
  length: number
): boolean {
  for (let index = 0; index < length; index++)
    if (left[leftOffset + index] !== right[rightOffset + index]) return false
  return true
}
