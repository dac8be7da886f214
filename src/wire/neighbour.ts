/**
 * Announcements that an IP address now belongs to this Ethernet address, as whole frames: an ARP announcement
 * (RFC 5227 section 3) and an unsolicited Neighbor Advertisement (RFC 4861 section 7.2.6).
 * @module
 */
import { finishChecksum, pseudoHeaderSum6, sum16 } from './checksum.ts'
import { Writer } from './writer.ts'

const ETHERTYPE_IPV4 = 0x0800
const ETHERTYPE_ARP = 0x0806
const ETHERTYPE_IPV6 = 0x86dd
const HARDWARE_ETHERNET = 1
const ARP_REQUEST = 1
const ETHERNET_HEADER_LENGTH = 14
const BROADCAST = Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff)

const IPV6_HEADER_LENGTH = 40
const ICMPV6 = 58
const NEIGHBOR_ADVERTISEMENT = 136
const ADVERTISEMENT_LENGTH = 32
/** O: what neighbours know of the address is overridden. */
const OVERRIDE = 0x2000_0000
const TARGET_LINK_LAYER_ADDRESS = 2
/** Neighbours believe nothing that a router has passed on (RFC 4861 section 7.1.2). */
const HOP_LIMIT = 255
/** All nodes of the link, as an address and as Ethernet has it. */
const ALL_NODES = Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1)
const ALL_NODES_ETHERNET = Uint8Array.of(0x33, 0x33, 0, 0, 0, 1)

/**
 * @param mac 6 bytes
 * @param address 4 or 16 bytes
 * @returns an Ethernet frame for the whole link
 */
export function announcementFrame(mac: Uint8Array, address: Uint8Array): Uint8Array {
  return address.length === 4 ? arpAnnouncement(mac, address) : neighborAdvertisement(mac, address)
}

function arpAnnouncement(mac: Uint8Array, address: Uint8Array): Uint8Array {
  const w = new Writer(64)
  writeEthernet(w, BROADCAST, mac, ETHERTYPE_ARP)
  w.u16(HARDWARE_ETHERNET)
  w.u16(ETHERTYPE_IPV4)
  w.u8(mac.length)
  w.u8(address.length)
  w.u16(ARP_REQUEST)
  w.bytes(mac)
  w.bytes(address)
  w.zeros(mac.length)
  w.bytes(address)
  return w.finish()
}

function neighborAdvertisement(mac: Uint8Array, address: Uint8Array): Uint8Array {
  const w = new Writer(128)
  writeEthernet(w, ALL_NODES_ETHERNET, mac, ETHERTYPE_IPV6)
  w.u32(0x6000_0000)
  w.u16(ADVERTISEMENT_LENGTH)
  w.u8(ICMPV6)
  w.u8(HOP_LIMIT)
  w.bytes(address)
  w.bytes(ALL_NODES)
  const start = w.length
  w.u8(NEIGHBOR_ADVERTISEMENT)
  w.u8(0)
  w.u16(0)
  w.u32(OVERRIDE)
  w.bytes(address)
  w.u8(TARGET_LINK_LAYER_ADDRESS)
  w.u8(1)
  w.bytes(mac)
  const frame = w.finish()
  const header = ETHERNET_HEADER_LENGTH
  const sum =
    pseudoHeaderSum6(frame, header, ICMPV6, ADVERTISEMENT_LENGTH) +
    sum16(frame, header + IPV6_HEADER_LENGTH, ADVERTISEMENT_LENGTH)
  new DataView(frame.buffer).setUint16(start + 2, finishChecksum(sum))
  return frame
}

function writeEthernet(w: Writer, to: Uint8Array, from: Uint8Array, etherType: number): void {
  w.bytes(to)
  w.bytes(from)
  w.u16(etherType)
}
