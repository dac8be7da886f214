/**
 * A super-packet in the making: the segments of one TCP flow, or the datagrams of one UDP flow, behind the headers of the
 * first, as a frame for the TUN device.
 *
 * The frames of all slots lie in one buffer, each at its slot's `start`: whoever writes or copies them has one address to
 * remember.
 * @module
 */
import { finishChecksum, pseudoHeaderSum4, pseudoHeaderSum6 } from '../wire/checksum.ts'
import {
  IPV4_CHECKSUM_OFFSET,
  IPV4_DONT_FRAGMENT,
  IPV4_FRAGMENT_OFFSET,
  IPV4_HEADER_LENGTH,
  IPV4_IDENTIFICATION_OFFSET,
  IPV4_TOS_OFFSET,
  IPV4_TOTAL_LENGTH_OFFSET,
  IPV4_TTL_OFFSET,
  IPV6_HEADER_LENGTH,
  IPV6_HOP_LIMIT_OFFSET,
  IPV6_PAYLOAD_LENGTH_OFFSET,
  IpProtocol,
  read16,
  read32,
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

export const TCP_HEADER_LENGTH = 20
export const UDP_HEADER_LENGTH = 8
export const FLAG_PSH = 0x08
export const TCP_DATA_OFFSET_AT = 12
export const TCP_FLAGS_AT = 13
export const TCP_SEQUENCE_AT = 4
const TCP_ACK_AT = 8
const TCP_WINDOW_AT = 14
const TCP_CHECKSUM_AT = 16
const TCP_URGENT_AT = 18
const UDP_LENGTH_AT = 4
const UDP_CHECKSUM_AT = 6

/** Datagrams of one super-packet: what the kernel's own coalescing takes (UDP_GRO_CNT_MAX). */
const MAX_DATAGRAMS = 64
/** A frame of its own for each slot, aligned for the vector code. */
const FRAME_CAPACITY = 65_600

/** One flow's super-packet in the making. */
export interface Slot {
  /** Of its frame in the buffer of all frames. */
  readonly start: number
  active: boolean
  /** Order of activation, for flushing in order. */
  age: number
  isIpv4: boolean
  isTcp: boolean
  ipLength: number
  headersLength: number
  /** IP packet so far. */
  length: number
  segments: number
  segmentSize: number
  /** TCP only. */
  nextSequence: number
  /** IPv4 only: identifications so far are all the same (`fixed`), or count up. */
  firstIdentification: number
  fixedIdentification: boolean
}

/** Bytes of the buffer for the frames of so many slots. */
export function framesLength(slots: number): number {
  return slots * FRAME_CAPACITY
}

export function newSlot(index: number): Slot {
  return {
    start: index * FRAME_CAPACITY,
    active: false,
    age: 0,
    isIpv4: false,
    isTcp: false,
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

/** May this packet of the same flow stand behind what the slot holds, so that cutting gives both back? Checksums apart. */
export function continues(
  slot: Slot,
  frames: Uint8Array,
  buffer: Uint8Array,
  offset: number,
  headersLength: number,
  payload: number
): boolean {
  if (headersLength !== slot.headersLength || payload > slot.segmentSize) return false
  if (slot.length + payload > MAX_PACKET_LENGTH) return false
  const upper = slot.isTcp
    ? continuesTcp(slot, frames, buffer, offset)
    : payload > 0 && slot.segments < MAX_DATAGRAMS
  if (!upper) return false
  return slot.isIpv4 ? continues4(slot, frames, buffer, offset) : continues6(slot, frames, buffer, offset)
}

/** The next sequence number, and everything else in the header the same but for PSH. */
function continuesTcp(slot: Slot, frames: Uint8Array, buffer: Uint8Array, offset: number): boolean {
  const tcp = offset + slot.ipLength
  const held = slot.start + VNET_HEADER_LENGTH + slot.ipLength
  if (read32(buffer, tcp + TCP_SEQUENCE_AT) !== slot.nextSequence) return false
  if (((buffer[tcp + TCP_FLAGS_AT] ?? 0) & ~FLAG_PSH) !== frames[held + TCP_FLAGS_AT]) return false
  if (buffer[tcp + TCP_DATA_OFFSET_AT] !== frames[held + TCP_DATA_OFFSET_AT]) return false
  if (!sameBytes(frames, held + TCP_ACK_AT, buffer, tcp + TCP_ACK_AT, 4)) return false
  if (!sameBytes(frames, held + TCP_WINDOW_AT, buffer, tcp + TCP_WINDOW_AT, 2)) return false
  const rest = slot.headersLength - slot.ipLength - TCP_URGENT_AT
  return sameBytes(frames, held + TCP_URGENT_AT, buffer, tcp + TCP_URGENT_AT, rest)
}

/** Same type of service, time to live and flags; identification as cutting it again would give it. */
function continues4(slot: Slot, frames: Uint8Array, buffer: Uint8Array, offset: number): boolean {
  const held = slot.start + VNET_HEADER_LENGTH
  if (buffer[offset + IPV4_TOS_OFFSET] !== frames[held + IPV4_TOS_OFFSET]) return false
  if (buffer[offset + IPV4_TTL_OFFSET] !== frames[held + IPV4_TTL_OFFSET]) return false
  const fragment = read16(buffer, offset + IPV4_FRAGMENT_OFFSET)
  if (fragment !== read16(frames, held + IPV4_FRAGMENT_OFFSET)) return false
  const identification = read16(buffer, offset + IPV4_IDENTIFICATION_OFFSET)
  const counting = identification === ((slot.firstIdentification + slot.segments) & 0xffff)
  const fixed = (fragment & IPV4_DONT_FRAGMENT) !== 0 && identification === slot.firstIdentification
  if (slot.segments === 1) return counting || fixed
  return slot.fixedIdentification ? fixed : counting
}

/** Same traffic class, flow label and hop limit. */
function continues6(slot: Slot, frames: Uint8Array, buffer: Uint8Array, offset: number): boolean {
  const held = slot.start + VNET_HEADER_LENGTH
  return (
    sameBytes(frames, held, buffer, offset, 4) &&
    frames[held + IPV6_HOP_LIMIT_OFFSET] === buffer[offset + IPV6_HOP_LIMIT_OFFSET]
  )
}

/** Lengths, checksums and virtio-net header of a super-packet; the checksum field gets the sum of the pseudo-header, as the kernel wants it. */
export function finishSuperPacket(slot: Slot, frames: Uint8Array): void {
  const { start, isTcp } = slot
  const ip = start + VNET_HEADER_LENGTH
  const upper = ip + slot.ipLength
  const upperLength = slot.length - slot.ipLength
  const protocol = isTcp ? IpProtocol.TCP : IpProtocol.UDP
  const checksumAt = isTcp ? TCP_CHECKSUM_AT : UDP_CHECKSUM_AT
  let pseudo = 0
  if (slot.isIpv4) {
    write16(frames, ip + IPV4_TOTAL_LENGTH_OFFSET, slot.length)
    write16(frames, ip + IPV4_CHECKSUM_OFFSET, 0)
    write16(frames, ip + IPV4_CHECKSUM_OFFSET, finishChecksum(wideSum(frames, ip, IPV4_HEADER_LENGTH)))
    pseudo = pseudoHeaderSum4(frames, ip, protocol, upperLength)
  } else {
    write16(frames, ip + IPV6_PAYLOAD_LENGTH_OFFSET, slot.length - IPV6_HEADER_LENGTH)
    pseudo = pseudoHeaderSum6(frames, ip, protocol, upperLength)
  }
  if (!isTcp) write16(frames, upper + UDP_LENGTH_AT, upperLength)
  write16(frames, upper + checksumAt, ~finishChecksum(pseudo) & 0xffff)
  frames[start + VNET_FLAGS_AT] = VNET_FLAG_NEEDS_CHECKSUM
  frames[start + VNET_GSO_TYPE_AT] = isTcp
    ? slot.isIpv4
      ? VnetGsoType.TCPV4
      : VnetGsoType.TCPV6
    : VnetGsoType.UDP_L4
  writeLittle16(frames, start + VNET_HEADER_LENGTH_AT, slot.headersLength)
  writeLittle16(frames, start + VNET_GSO_SIZE_AT, slot.segmentSize)
  writeLittle16(frames, start + VNET_CHECKSUM_START_AT, slot.ipLength)
  writeLittle16(frames, start + VNET_CHECKSUM_OFFSET_AT, checksumAt)
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
