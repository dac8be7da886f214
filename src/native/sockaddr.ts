/**
 * `struct sockaddr_in` and `struct sockaddr_in6` of Linux, to bytes and back; and `struct sockaddr_ll`.
 * @module
 */
import { AddressFamily } from './libc-constants.ts'

export interface SocketAddress {
  /** 4 or 16 bytes. */
  readonly address: Uint8Array
  readonly port: number
  /** Interface index for link-local IPv6 addresses; 0: none. */
  readonly scopeId: number
}

export const SOCKADDR_IN_LENGTH = 16
export const SOCKADDR_IN6_LENGTH = 28

/** Writes the structure at `offset` and returns its length. @throws RangeError unless the address has 4 or 16 bytes */
export function writeSockaddr(
  buffer: Buffer,
  offset: number,
  address: Uint8Array,
  port: number,
  scopeId = 0
): number {
  const family4 = address.length === 4
  if (!family4 && address.length !== 16) throw new RangeError('An IP address has 4 or 16 bytes')
  const length = family4 ? SOCKADDR_IN_LENGTH : SOCKADDR_IN6_LENGTH
  buffer.fill(0, offset, offset + length)
  buffer.writeUInt16LE(family4 ? AddressFamily.INET : AddressFamily.INET6, offset)
  buffer.writeUInt16BE(port, offset + 2)
  buffer.set(address, offset + (family4 ? 4 : 8))
  if (!family4) buffer.writeUInt32LE(scopeId, offset + 24)
  return length
}

/** A buffer of exactly the structure's length. @throws RangeError unless the address has 4 or 16 bytes */
export function encodeSockaddr(endpoint: {
  readonly address: Uint8Array
  readonly port: number
  readonly scopeId?: number
}): Buffer {
  const buffer = Buffer.from(new ArrayBuffer(SOCKADDR_IN6_LENGTH))
  return buffer.subarray(0, writeSockaddr(buffer, 0, endpoint.address, endpoint.port, endpoint.scopeId))
}

const SOCKADDR_LL_LENGTH = 20

/** `struct sockaddr_ll` that stands for a network interface, for sending whole frames. */
export function encodeLinkSockaddr(interfaceIndex: number): Buffer {
  const buffer = Buffer.from(new ArrayBuffer(SOCKADDR_LL_LENGTH))
  buffer.writeUInt16LE(AddressFamily.PACKET, 0)
  buffer.writeInt32LE(interfaceIndex, 4)
  return buffer
}

/** @returns undefined for another family, or when the structure is cut short */
export function decodeSockaddr(buffer: Buffer, offset = 0): SocketAddress | undefined {
  if (buffer.length < offset + 2) return undefined
  const family = buffer.readUInt16LE(offset)
  if (family === AddressFamily.INET && buffer.length >= offset + SOCKADDR_IN_LENGTH)
    return {
      address: Uint8Array.from(buffer.subarray(offset + 4, offset + 8)),
      port: buffer.readUInt16BE(offset + 2),
      scopeId: 0
    }
  if (family === AddressFamily.INET6 && buffer.length >= offset + SOCKADDR_IN6_LENGTH)
    return {
      address: Uint8Array.from(buffer.subarray(offset + 8, offset + 24)),
      port: buffer.readUInt16BE(offset + 2),
      scopeId: buffer.readUInt32LE(offset + 24)
    }
  return undefined
}

/** `sun_path` of `struct sockaddr_un`. */
const UNIX_PATH_LENGTH = 108

/**
 * `struct sockaddr_un` of exactly the length that counts: a path, or with `@` in front a name in the abstract namespace
 * (unix(7)). @throws RangeError when it is too long
 */
export function encodeUnixSockaddr(name: string): Buffer {
  const abstract = name.startsWith('@')
  const path = Buffer.from(abstract ? `\0${name.slice(1)}` : `${name}\0`)
  if (path.length > UNIX_PATH_LENGTH)
    throw new RangeError(`A socket's path has ${UNIX_PATH_LENGTH} bytes at most`)
  const buffer = Buffer.from(new ArrayBuffer(2 + path.length))
  buffer.writeUInt16LE(AddressFamily.UNIX, 0)
  buffer.set(path, 2)
  return buffer
}
