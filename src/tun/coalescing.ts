/**
 * Puts consecutive TCP segments of a flow together into super-packets for the kernel (what it calls GRO): one write for up to
 * 64 KiB. Whatever cannot be put together without a difference that an endpoint could see passes unchanged.
 *
 * Invariants: cutting a super-packet at its segment size yields the segments that went in, byte for byte (but for the
 * identification of IPv4 packets that must not be fragmented, which has no meaning: RFC 6864 section 4.1). Packets of one flow keep their order.
 * Checksums are verified before a segment is taken, since the kernel gets a fresh one over all of them.
 * @module
 */
import { finishChecksum, pseudoHeaderSum4, pseudoHeaderSum6 } from '../wire/checksum.ts'
import {
  IPV4_DONT_FRAGMENT,
  IPV4_FRAGMENT_OFFSET,
  IPV4_HEADER_LENGTH,
  IPV4_IDENTIFICATION_OFFSET,
  IPV4_PROTOCOL_OFFSET,
  IPV4_SOURCE_OFFSET,
  IPV4_TOS_OFFSET,
  IPV4_TTL_OFFSET,
  IPV6_HEADER_LENGTH,
  IPV6_NEXT_HEADER_OFFSET,
  IPV6_SOURCE_OFFSET,
  IpProtocol,
  read16,
  read32
} from '../wire/ip.ts'
import { continues6, finishSuperPacket, newSlot, type Slot, sameBytes } from './super-packet.ts'
import { MAX_PACKET_LENGTH } from './types.ts'
import { clearVnetHeader, VNET_HEADER_LENGTH } from './vnet-header.ts'
import { wideSum } from './wide-sum.ts'

const TCP_HEADER_LENGTH = 20
const TCP_SEQUENCE_AT = 4
const TCP_ACK_AT = 8
const TCP_DATA_OFFSET_AT = 12
const TCP_FLAGS_AT = 13
const TCP_WINDOW_AT = 14
const TCP_URGENT_AT = 18
const FLAG_PSH = 0x08
const FLAG_ACK = 0x10
const FLAG_ECE = 0x40
/** More fragments, and the fragment offset. */
const IPV4_FRAGMENT_BITS = 0x3fff
const IPV4_RESERVED_BIT = 0x8000
/** The first byte of IPv4 without options. */
const IPV4_PLAIN = 0x45

/** Flows that are put together at the same time. */
const SLOTS = 8

/** Takes a frame (see `Tun.write`); its memory is free again when the call returns. */
export type FrameWriter = (buffer: Uint8Array, offset: number, length: number) => void
/** Copies bytes between different buffers. */
export type ByteCopier = (
  from: Uint8Array,
  fromOffset: number,
  to: Uint8Array,
  toOffset: number,
  length: number
) => void

/** What `#classify` found. */
const Kind = {
  /** Not TCP, or nothing that concerns a flow here. */
  other: 0,
  /** TCP that must not be put together, but must not overtake its flow either. */
  plain: 1,
  /** Like `plain`, but of no known flow. */
  unknownFlow: 2,
  candidate: 3
} as const

export class Coalescer {
  readonly #write: FrameWriter
  readonly #copy: ByteCopier
  readonly #slots: readonly Slot[]
  #active = 0
  #age = 0
  // The packet in hand, found by `#classify`.
  #isIpv4 = false
  #ipLength = 0
  #headersLength = 0

  /** @param enabled false for devices that take no super-packets: everything passes unchanged */
  constructor(write: FrameWriter, copy: ByteCopier, enabled: boolean) {
    this.#write = write
    this.#copy = copy
    this.#slots = Array.from({ length: enabled ? SLOTS : 0 }, newSlot)
  }

  /**
   * Takes one IP packet. The `VNET_HEADER_LENGTH` bytes in front of it are overwritten; packet and bytes in front are only
   * used during the call. The packet has passed `ipPacketLength` with exactly this length.
   */
  push(buffer: Uint8Array, offset: number, length: number): void {
    const kind = this.#slots.length === 0 ? Kind.other : this.#classify(buffer, offset, length)
    if (kind === Kind.candidate) {
      const slot = this.#slotOf(buffer, offset)
      if (slot !== undefined && this.#append(slot, buffer, offset, length)) return
      if (slot !== undefined) this.#flushSlot(slot)
      if (this.#begin(buffer, offset, length)) return
    } else if (kind === Kind.plain) {
      const slot = this.#slotOf(buffer, offset)
      if (slot !== undefined) this.#flushSlot(slot)
    } else if (kind === Kind.unknownFlow) this.flush()
    const frameOffset = offset - VNET_HEADER_LENGTH
    clearVnetHeader(buffer, frameOffset)
    this.#write(buffer, frameOffset, length + VNET_HEADER_LENGTH)
  }

  /** Hands over everything that is held, oldest first. */
  flush(): void {
    while (this.#active > 0) {
      const oldest = this.#oldest()
      if (oldest === undefined) return
      this.#flushSlot(oldest)
    }
  }

  #classify(buffer: Uint8Array, offset: number, length: number): number {
    const first = buffer[offset] ?? 0
    this.#isIpv4 = first >>> 4 === 4
    if (this.#isIpv4) {
      if (buffer[offset + IPV4_PROTOCOL_OFFSET] !== IpProtocol.TCP) return Kind.other
      const fragment = read16(buffer, offset + IPV4_FRAGMENT_OFFSET)
      if (first !== IPV4_PLAIN || (fragment & IPV4_FRAGMENT_BITS) !== 0) return Kind.unknownFlow
      this.#ipLength = IPV4_HEADER_LENGTH
    } else {
      // With extension headers in between it may still be TCP.
      const next = buffer[offset + IPV6_NEXT_HEADER_OFFSET]
      if (next === IpProtocol.UDP || next === IpProtocol.ICMPV6) return Kind.other
      if (next !== IpProtocol.TCP) return Kind.unknownFlow
      this.#ipLength = IPV6_HEADER_LENGTH
    }
    if (this.#ipLength + TCP_HEADER_LENGTH > length) return Kind.unknownFlow
    const tcp = offset + this.#ipLength
    const tcpLength = ((buffer[tcp + TCP_DATA_OFFSET_AT] ?? 0) >>> 4) * 4
    this.#headersLength = this.#ipLength + tcpLength
    if (tcpLength < TCP_HEADER_LENGTH || this.#headersLength >= length) return Kind.plain
    const flags = buffer[tcp + TCP_FLAGS_AT] ?? 0
    if ((flags & FLAG_ACK) === 0 || (flags & ~(FLAG_ACK | FLAG_PSH | FLAG_ECE)) !== 0) return Kind.plain
    if (this.#isIpv4 && (read16(buffer, offset + IPV4_FRAGMENT_OFFSET) & IPV4_RESERVED_BIT) !== 0)
      return Kind.plain
    return Kind.candidate
  }

  /** The slot that holds earlier segments of this packet's flow. */
  #slotOf(buffer: Uint8Array, offset: number): Slot | undefined {
    if (this.#active === 0) return undefined
    for (let index = 0; index < this.#slots.length; index++) {
      const slot = this.#slots[index]
      if (slot?.active && slot.isIpv4 === this.#isIpv4 && this.#sameFlow(slot, buffer, offset)) return slot
    }
    return undefined
  }

  /** Addresses and ports, which lie together but for options that neither packet has. */
  #sameFlow(slot: Slot, buffer: Uint8Array, offset: number): boolean {
    const from = this.#isIpv4 ? IPV4_SOURCE_OFFSET : IPV6_SOURCE_OFFSET
    return sameBytes(slot.frame, VNET_HEADER_LENGTH + from, buffer, offset + from, this.#ipLength + 4 - from)
  }

  /** Adds the packet to its flow's super-packet. @returns false when it does not continue it */
  #append(slot: Slot, buffer: Uint8Array, offset: number, length: number): boolean {
    const payload = length - this.#headersLength
    const tcp = offset + this.#ipLength
    const held = VNET_HEADER_LENGTH
    const heldTcp = held + this.#ipLength
    if (this.#headersLength !== slot.headersLength || payload > slot.segmentSize) return false
    if (slot.length + payload > MAX_PACKET_LENGTH) return false
    if (read32(buffer, tcp + TCP_SEQUENCE_AT) !== slot.nextSequence) return false
    const flags = buffer[tcp + TCP_FLAGS_AT] ?? 0
    if ((flags & ~FLAG_PSH) !== slot.frame[heldTcp + TCP_FLAGS_AT]) return false
    if (buffer[tcp + TCP_DATA_OFFSET_AT] !== slot.frame[heldTcp + TCP_DATA_OFFSET_AT]) return false
    if (!sameBytes(slot.frame, heldTcp + TCP_ACK_AT, buffer, tcp + TCP_ACK_AT, 4)) return false
    if (!sameBytes(slot.frame, heldTcp + TCP_WINDOW_AT, buffer, tcp + TCP_WINDOW_AT, 2)) return false
    const fixed = this.#headersLength - this.#ipLength - TCP_URGENT_AT
    if (!sameBytes(slot.frame, heldTcp + TCP_URGENT_AT, buffer, tcp + TCP_URGENT_AT, fixed)) return false
    if (this.#isIpv4 ? !this.#continues4(slot, buffer, offset) : !continues6(slot, buffer, offset))
      return false
    if (!this.#checksumsHold(buffer, offset, length)) return false
    if (this.#isIpv4 && slot.segments === 1)
      slot.fixedIdentification =
        read16(buffer, offset + IPV4_IDENTIFICATION_OFFSET) === slot.firstIdentification
    this.#copy(buffer, offset + this.#headersLength, slot.frame, VNET_HEADER_LENGTH + slot.length, payload)
    slot.length += payload
    slot.segments++
    slot.nextSequence = (slot.nextSequence + payload) >>> 0
    if ((flags & FLAG_PSH) !== 0) slot.frame[heldTcp + TCP_FLAGS_AT] = flags
    // A short segment, or one that is to be delivered without delay, can only be the last.
    if ((flags & FLAG_PSH) !== 0 || payload < slot.segmentSize) this.#flushSlot(slot)
    return true
  }

  /** Same type of service, time to live and flags; identification as cutting it again would give it. */
  #continues4(slot: Slot, buffer: Uint8Array, offset: number): boolean {
    const held = VNET_HEADER_LENGTH
    if (buffer[offset + IPV4_TOS_OFFSET] !== slot.frame[held + IPV4_TOS_OFFSET]) return false
    if (buffer[offset + IPV4_TTL_OFFSET] !== slot.frame[held + IPV4_TTL_OFFSET]) return false
    const fragment = read16(buffer, offset + IPV4_FRAGMENT_OFFSET)
    if (fragment !== read16(slot.frame, held + IPV4_FRAGMENT_OFFSET)) return false
    const identification = read16(buffer, offset + IPV4_IDENTIFICATION_OFFSET)
    const counting = identification === ((slot.firstIdentification + slot.segments) & 0xffff)
    const fixed = (fragment & IPV4_DONT_FRAGMENT) !== 0 && identification === slot.firstIdentification
    if (slot.segments === 1) return counting || fixed
    return slot.fixedIdentification ? fixed : counting
  }

  /** Starts a super-packet with this packet, if more may follow it. */
  #begin(buffer: Uint8Array, offset: number, length: number): boolean {
    const tcp = offset + this.#ipLength
    if (((buffer[tcp + TCP_FLAGS_AT] ?? 0) & FLAG_PSH) !== 0) return false
    if (!this.#checksumsHold(buffer, offset, length)) return false
    const slot = this.#freeSlot()
    if (slot === undefined) return false
    this.#copy(buffer, offset, slot.frame, VNET_HEADER_LENGTH, length)
    slot.active = true
    slot.age = this.#age++
    slot.isIpv4 = this.#isIpv4
    slot.ipLength = this.#ipLength
    slot.headersLength = this.#headersLength
    slot.length = length
    slot.segments = 1
    slot.segmentSize = length - this.#headersLength
    slot.nextSequence = (read32(buffer, tcp + TCP_SEQUENCE_AT) + slot.segmentSize) >>> 0
    slot.firstIdentification = this.#isIpv4 ? read16(buffer, offset + IPV4_IDENTIFICATION_OFFSET) : 0
    slot.fixedIdentification = false
    this.#active++
    return true
  }

  #checksumsHold(buffer: Uint8Array, offset: number, length: number): boolean {
    const tcpLength = length - this.#ipLength
    const tcpSum = wideSum(buffer, offset + this.#ipLength, tcpLength)
    if (!this.#isIpv4)
      return finishChecksum(pseudoHeaderSum6(buffer, offset, IpProtocol.TCP, tcpLength) + tcpSum) === 0
    if (finishChecksum(wideSum(buffer, offset, IPV4_HEADER_LENGTH)) !== 0) return false
    return finishChecksum(pseudoHeaderSum4(buffer, offset, IpProtocol.TCP, tcpLength) + tcpSum) === 0
  }

  #freeSlot(): Slot | undefined {
    if (this.#active === this.#slots.length) {
      const oldest = this.#oldest()
      if (oldest !== undefined) this.#flushSlot(oldest)
    }
    for (let index = 0; index < this.#slots.length; index++) {
      const slot = this.#slots[index]
      if (slot?.active === false) return slot
    }
    return undefined
  }

  #oldest(): Slot | undefined {
    let oldest: Slot | undefined
    for (let index = 0; index < this.#slots.length; index++) {
      const slot = this.#slots[index]
      if (slot?.active && (oldest === undefined || slot.age < oldest.age)) oldest = slot
    }
    return oldest
  }

  #flushSlot(slot: Slot): void {
    slot.active = false
    this.#active--
    if (slot.segments === 1) clearVnetHeader(slot.frame, 0)
    else finishSuperPacket(slot)
    this.#write(slot.frame, 0, VNET_HEADER_LENGTH + slot.length)
  }
}
