/**
 * Puts consecutive TCP segments, and UDP datagrams, of a flow together into super-packets for the kernel (what it calls GRO):
 * one write for up to 64 KiB. Whatever cannot be put together without a difference that an endpoint could see passes unchanged.
 *
 * Invariants: cutting a super-packet at its segment size yields the packets that went in, byte for byte (but for the
 * identification of IPv4 packets that must not be fragmented, which has no meaning: RFC 6864 section 4.1). Packets of one flow keep their order.
 * Checksums are verified before a packet is taken, since the kernel gets a fresh one over all of them.
 * @module
 */
import { copyBytes, packetBuffer } from '../native/packet-memory.ts'
import { finishChecksum, pseudoHeaderSum4, pseudoHeaderSum6 } from '../wire/checksum.ts'
import {
  IPV4_FRAGMENT_OFFSET,
  IPV4_HEADER_LENGTH,
  IPV4_IDENTIFICATION_OFFSET,
  IPV4_PROTOCOL_OFFSET,
  IPV4_SOURCE_OFFSET,
  IPV6_HEADER_LENGTH,
  IPV6_NEXT_HEADER_OFFSET,
  IPV6_SOURCE_OFFSET,
  IpProtocol,
  read16,
  read32
} from '../wire/ip.ts'
import {
  continues,
  FLAG_PSH,
  finishSuperPacket,
  framesLength,
  newSlot,
  type Slot,
  sameBytes,
  TCP_DATA_OFFSET_AT,
  TCP_FLAGS_AT,
  TCP_HEADER_LENGTH,
  TCP_SEQUENCE_AT,
  UDP_HEADER_LENGTH
} from './super-packet.ts'
import { clearVnetHeader, VNET_HEADER_LENGTH } from './vnet-header.ts'
import { wideSum } from './wide-sum.ts'

const FLAG_ACK = 0x10
const FLAG_ECE = 0x40
const UDP_LENGTH_AT = 4
const UDP_CHECKSUM_AT = 6
/** More fragments, and the fragment offset. */
const IPV4_FRAGMENT_BITS = 0x3fff
const IPV4_RESERVED_BIT = 0x8000
/** The first byte of IPv4 without options. */
const IPV4_PLAIN = 0x45

/** Flows that are put together at the same time. */
const SLOTS = 8

/** Takes a frame (see `Tun.write`); its memory is free again when the call returns. */
export type FrameWriter = (buffer: Uint8Array, offset: number, length: number) => void

/** What may be put together. */
export interface CoalescingOptions {
  readonly tcp: boolean
  readonly udp: boolean
}

/** What `#classify` found. */
const Kind = {
  /** Neither TCP nor UDP, or nothing that concerns a flow here. */
  other: 0,
  /** Must not be put together, but must not overtake its flow either. */
  plain: 1,
  /** Like `plain`, but of no known flow. */
  unknownFlow: 2,
  candidate: 3
} as const

export class Coalescer {
  readonly #write: FrameWriter
  readonly #tcp: boolean
  readonly #udp: boolean
  readonly #frames: Uint8Array
  readonly #slots: readonly Slot[]
  #active = 0
  #age = 0
  // The packet in hand, found by `#classify`.
  #isIpv4 = false
  #isTcp = false
  #ipLength = 0
  #headersLength = 0

  /** @param options what the device takes; nothing: everything passes unchanged */
  constructor(write: FrameWriter, { tcp, udp }: CoalescingOptions) {
    this.#write = write
    this.#tcp = tcp
    this.#udp = udp
    const count = tcp || udp ? SLOTS : 0
    this.#frames = packetBuffer(framesLength(count))
    this.#slots = Array.from({ length: count }, (_, index) => newSlot(index))
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
    const protocol = buffer[offset + (this.#isIpv4 ? IPV4_PROTOCOL_OFFSET : IPV6_NEXT_HEADER_OFFSET)]
    this.#isTcp = protocol === IpProtocol.TCP
    const isUdp = protocol === IpProtocol.UDP
    if (this.#isIpv4) {
      if (!this.#isTcp && !isUdp) return Kind.other
      const fragment = read16(buffer, offset + IPV4_FRAGMENT_OFFSET)
      if (first !== IPV4_PLAIN || (fragment & IPV4_FRAGMENT_BITS) !== 0) return Kind.unknownFlow
      this.#ipLength = IPV4_HEADER_LENGTH
    } else {
      if (protocol === IpProtocol.ICMPV6) return Kind.other
      // With extension headers in between it may still be TCP or UDP.
      if (!this.#isTcp && !isUdp) return Kind.unknownFlow
      this.#ipLength = IPV6_HEADER_LENGTH
    }
    const kind = this.#isTcp
      ? this.#classifyTcp(buffer, offset, length)
      : this.#classifyUdp(buffer, offset, length)
    if (kind !== Kind.candidate || !this.#isIpv4) return kind
    const reserved = read16(buffer, offset + IPV4_FRAGMENT_OFFSET) & IPV4_RESERVED_BIT
    return reserved === 0 ? Kind.candidate : Kind.plain
  }

  #classifyTcp(buffer: Uint8Array, offset: number, length: number): number {
    if (!this.#tcp) return Kind.other
    if (this.#ipLength + TCP_HEADER_LENGTH > length) return Kind.unknownFlow
    const tcp = offset + this.#ipLength
    const tcpLength = ((buffer[tcp + TCP_DATA_OFFSET_AT] ?? 0) >>> 4) * 4
    this.#headersLength = this.#ipLength + tcpLength
    if (tcpLength < TCP_HEADER_LENGTH || this.#headersLength >= length) return Kind.plain
    const flags = buffer[tcp + TCP_FLAGS_AT] ?? 0
    if ((flags & FLAG_ACK) === 0 || (flags & ~(FLAG_ACK | FLAG_PSH | FLAG_ECE)) !== 0) return Kind.plain
    return Kind.candidate
  }

  /** Without a checksum (RFC 768) there is nothing to verify, and cutting would make one. */
  #classifyUdp(buffer: Uint8Array, offset: number, length: number): number {
    if (!this.#udp) return Kind.other
    if (this.#ipLength + UDP_HEADER_LENGTH > length) return Kind.unknownFlow
    const udp = offset + this.#ipLength
    this.#headersLength = this.#ipLength + UDP_HEADER_LENGTH
    if (this.#headersLength === length || read16(buffer, udp + UDP_CHECKSUM_AT) === 0) return Kind.plain
    return read16(buffer, udp + UDP_LENGTH_AT) === length - this.#ipLength ? Kind.candidate : Kind.plain
  }

  /** The slot that holds earlier packets of this packet's flow. */
  #slotOf(buffer: Uint8Array, offset: number): Slot | undefined {
    if (this.#active === 0) return undefined
    for (let index = 0; index < this.#slots.length; index++) {
      const slot = this.#slots[index]
      if (
        slot?.active &&
        slot.isIpv4 === this.#isIpv4 &&
        slot.isTcp === this.#isTcp &&
        this.#sameFlow(slot, buffer, offset)
      )
        return slot
    }
    return undefined
  }

  /** Addresses and ports, which lie together but for options that neither packet has. */
  #sameFlow(slot: Slot, buffer: Uint8Array, offset: number): boolean {
    const from = this.#isIpv4 ? IPV4_SOURCE_OFFSET : IPV6_SOURCE_OFFSET
    const held = slot.start + VNET_HEADER_LENGTH
    return sameBytes(this.#frames, held + from, buffer, offset + from, this.#ipLength + 4 - from)
  }

  /** Adds the packet to its flow's super-packet. @returns false when it does not continue it */
  #append(slot: Slot, buffer: Uint8Array, offset: number, length: number): boolean {
    const payload = length - this.#headersLength
    if (!continues(slot, this.#frames, buffer, offset, this.#headersLength, payload)) return false
    if (!this.#checksumsHold(buffer, offset, length)) return false
    if (this.#isIpv4 && slot.segments === 1)
      slot.fixedIdentification =
        read16(buffer, offset + IPV4_IDENTIFICATION_OFFSET) === slot.firstIdentification
    const held = slot.start + VNET_HEADER_LENGTH
    copyBytes(buffer, offset + this.#headersLength, this.#frames, held + slot.length, payload)
    slot.length += payload
    slot.segments++
    slot.nextSequence = (slot.nextSequence + payload) >>> 0
    let isLast = payload < slot.segmentSize
    if (this.#isTcp) {
      const flags = buffer[offset + this.#ipLength + TCP_FLAGS_AT] ?? 0
      // To be delivered without delay.
      if ((flags & FLAG_PSH) !== 0) {
        isLast = true
        this.#frames[held + this.#ipLength + TCP_FLAGS_AT] = flags
      }
    }
    // A short one can only be the last.
    if (isLast) this.#flushSlot(slot)
    return true
  }

  /** Starts a super-packet with this packet, if more may follow it. */
  #begin(buffer: Uint8Array, offset: number, length: number): boolean {
    const upper = offset + this.#ipLength
    if (this.#isTcp && ((buffer[upper + TCP_FLAGS_AT] ?? 0) & FLAG_PSH) !== 0) return false
    if (!this.#checksumsHold(buffer, offset, length)) return false
    const slot = this.#freeSlot()
    if (slot === undefined) return false
    copyBytes(buffer, offset, this.#frames, slot.start + VNET_HEADER_LENGTH, length)
    slot.active = true
    slot.age = this.#age++
    slot.isIpv4 = this.#isIpv4
    slot.isTcp = this.#isTcp
    slot.ipLength = this.#ipLength
    slot.headersLength = this.#headersLength
    slot.length = length
    slot.segments = 1
    slot.segmentSize = length - this.#headersLength
    slot.nextSequence = this.#isTcp ? (read32(buffer, upper + TCP_SEQUENCE_AT) + slot.segmentSize) >>> 0 : 0
    slot.firstIdentification = this.#isIpv4 ? read16(buffer, offset + IPV4_IDENTIFICATION_OFFSET) : 0
    slot.fixedIdentification = false
    this.#active++
    return true
  }

  #checksumsHold(buffer: Uint8Array, offset: number, length: number): boolean {
    const upperLength = length - this.#ipLength
    const protocol = this.#isTcp ? IpProtocol.TCP : IpProtocol.UDP
    const upperSum = wideSum(buffer, offset + this.#ipLength, upperLength)
    if (!this.#isIpv4)
      return finishChecksum(pseudoHeaderSum6(buffer, offset, protocol, upperLength) + upperSum) === 0
    if (finishChecksum(wideSum(buffer, offset, IPV4_HEADER_LENGTH)) !== 0) return false
    return finishChecksum(pseudoHeaderSum4(buffer, offset, protocol, upperLength) + upperSum) === 0
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
    if (slot.segments === 1) clearVnetHeader(this.#frames, slot.start)
    else finishSuperPacket(slot, this.#frames)
    this.#write(this.#frames, slot.start, VNET_HEADER_LENGTH + slot.length)
  }
}
