/**
 * Address blocks in CIDR notation (RFC 4632, RFC 4291 section 2.3), netmasks, and ranges as the fewest blocks.
 * @module
 */
import { addressFromBytes, addressToBytes, compareAddresses, familyOf, IPV4_LENGTH } from './address.ts'

/** Bits of `address` behind the prefix are kept: they tell an interface's own address apart from its network. */
export interface Cidr {
  readonly family: 4 | 6
  readonly address: Uint8Array
  readonly prefixLength: number
}

const PREFIX_LENGTH = /^(?:0|[1-9][0-9]{0,2})$/

/** Parses `10.0.0.0/8`, `2001:db8::/32`, or a bare address as a block of one; undefined when it is neither. */
export function parseCidr(text: string): Cidr | undefined {
  const slash = text.indexOf('/')
  const address = addressToBytes(slash < 0 ? text : text.slice(0, slash))
  if (!address) return undefined
  const maximum = address.length * 8
  const digits = slash < 0 ? String(maximum) : text.slice(slash + 1)
  const prefixLength = Number(digits)
  if (!PREFIX_LENGTH.test(digits) || prefixLength > maximum) return undefined
  return { family: familyOf(address), address, prefixLength }
}

export function formatCidr(cidr: Cidr): string {
  return `${addressFromBytes(cidr.address)}/${cidr.prefixLength}`
}

/** The block with every bit behind the prefix cleared. */
export function networkOf(cidr: Cidr): Cidr {
  return { ...cidr, address: firstAddress(cidr) }
}

/** The lowest address of the block. */
export function firstAddress(cidr: Cidr): Uint8Array {
  return cidr.address.map((byte, index) => byte & maskByte(cidr.prefixLength, index))
}

/** The highest address of the block. */
export function lastAddress(cidr: Cidr): Uint8Array {
  return cidr.address.map((byte, index) => byte | (~maskByte(cidr.prefixLength, index) & 0xff))
}

/** True when the address (4 or 16 bytes) is of the block's family and inside it. */
export function addressInCidr(address: Uint8Array, cidr: Cidr): boolean {
  if (address.length !== cidr.address.length) return false
  return address.every(
    (byte, index) => ((byte ^ (cidr.address[index] ?? 0)) & maskByte(cidr.prefixLength, index)) === 0
  )
}

/**
 * The fewest blocks that cover exactly the inclusive range, in order.
 * Empty when the addresses are of different families or in the wrong order.
 */
export function rangeToCidrs(start: Uint8Array, end: Uint8Array): Cidr[] {
  if (start.length !== end.length || compareAddresses(start, end) > 0) return []
  const bits = start.length * 8
  const last = addressToBigInt(end)
  const cidrs: Cidr[] = []
  for (let next = addressToBigInt(start); next <= last; ) {
    let hostBits = 0
    while (hostBits < bits) {
      const size = 1n << BigInt(hostBits + 1)
      if (next % size !== 0n || next + size - 1n > last) break
      hostBits++
    }
    const address = addressFromBigInt(next, start.length)
    cidrs.push({ family: familyOf(start), address, prefixLength: bits - hostBits })
    next += 1n << BigInt(hostBits)
  }
  return cidrs
}

/** The netmask of a prefix, 4 bytes (IPv4 only: IPv6 has none). */
export function netmaskFromPrefixLength(prefixLength: number): Uint8Array {
  return new Uint8Array(IPV4_LENGTH).map((_, index) => maskByte(prefixLength, index))
}

/** The prefix length of a 4-byte netmask, or undefined when its ones are not contiguous. */
export function prefixLengthFromNetmask(mask: Uint8Array): number | undefined {
  if (mask.length !== IPV4_LENGTH) return undefined
  for (let prefixLength = 0; prefixLength <= 32; prefixLength++) {
    if (mask.every((byte, index) => byte === maskByte(prefixLength, index))) return prefixLength
  }
  return undefined
}

/** The part of a mask with `prefixLength` ones that falls on byte `index`. */
function maskByte(prefixLength: number, index: number): number {
  const ones = Math.min(Math.max(prefixLength - index * 8, 0), 8)
  return (0xff00 >>> ones) & 0xff
}

/** An address, or any other number in network byte order. */
export function addressToBigInt(bytes: Uint8Array): bigint {
  let value = 0n
  for (const byte of bytes) value = (value << 8n) | BigInt(byte)
  return value
}

/** @param length bytes of the address; higher bits are cut off */
export function addressFromBigInt(value: bigint, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let index = length - 1; index >= 0; index--) {
    bytes[index] = Number(value & 0xffn)
    value >>= 8n
  }
  return bytes
}
