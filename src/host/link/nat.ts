/**
 * A network address translator at one end of an emulated link, as homes and hotels have them: one host inside, one address outside,
 * and bindings that are forgotten when the host has been quiet for a while. No clock of its own: times come with the packets.
 *
 * - The mapping does not depend on the destination and nothing is filtered by it (RFC 4787 sections 4.1 and 5).
 * - Only packets from inside keep a binding alive (section 4.3).
 * - A new binding gets a port that was not in use before, so that a binding that was forgotten is always missed: the far end sees
 *   another port. Friendlier translators preserve ports; whoever gets along with this one gets along with them.
 * - IPv4 only: UDP, TCP, ICMP echo, and ICMP errors from outside. Everything else is dropped.
 *
 * Translates in place; checksums are updated, not made anew, so that a broken packet stays broken (RFC 1624).
 * @module
 */
import { addressToBytes } from '../../wire/address.ts'
import { internetChecksum, updateChecksum } from '../../wire/checksum.ts'
import {
  IPV4_CHECKSUM_OFFSET,
  IPV4_DESTINATION_OFFSET,
  IPV4_FRAGMENT_OFFSET,
  IPV4_HEADER_LENGTH,
  IPV4_PROTOCOL_OFFSET,
  IPV4_SOURCE_OFFSET,
  IpProtocol
} from '../../wire/ip.ts'

/** Where outer ports begin: below the range from which systems pick their own. */
const FIRST_PORT = 20_000
const LAST_PORT = 29_999
const FRAGMENT_POSITION_BITS = 0x1fff
const ICMP_ECHO_REPLY = 0
const ICMP_ECHO_REQUEST = 8
/** Destination unreachable, time exceeded, parameter problem: they quote the packet that they are about. */
const ICMP_ERRORS: readonly number[] = [3, 11, 12]
const ICMP_HEADER_LENGTH = 8
/** Of UDP and ICMP; and what an ICMP error quotes of TCP at least. */
const SHORT_HEADER_LENGTH = 8
const TCP_HEADER_LENGTH = 20
const TCP_CHECKSUM_AT = 16
const UDP_CHECKSUM_AT = 6
const TRANSPORT_CHECKSUM_NONE = -1

export interface NatPlan {
  /** The host inside; what comes from another address is dropped. */
  readonly inside: string
  /** What it is seen as. */
  readonly outside: string
  /** For UDP and ICMP. */
  readonly timeoutMs: number
  readonly tcpTimeoutMs: number
}

interface Binding {
  readonly key: number
  readonly outerKey: number
  readonly insidePort: number
  readonly outsidePort: number
  usedMs: number
}

export class LinkNat {
  /** Packets without a binding, from the wrong address, or of a kind that is not translated. */
  dropped = 0
  /** Bindings made so far. */
  bindings = 0
  readonly #inside: Uint8Array
  readonly #outside: Uint8Array
  readonly #plan: NatPlan
  /** By protocol and port inside, and by protocol and port outside. */
  readonly #byInside = new Map<number, Binding>()
  readonly #byOutside = new Map<number, Binding>()
  #nextPort = FIRST_PORT

  constructor(plan: NatPlan) {
    this.#plan = plan
    this.#inside = addressToBytes(plan.inside) ?? new Uint8Array(4)
    this.#outside = addressToBytes(plan.outside) ?? new Uint8Array(4)
  }

  /** A packet leaves. @returns false: it is to be dropped */
  outward(nowMs: number, buffer: Uint8Array, offset: number, length: number): boolean {
    return this.#count(this.#outward(nowMs, buffer, offset, length))
  }

  /** A packet comes in. @returns false: it is to be dropped */
  inward(nowMs: number, buffer: Uint8Array, offset: number, length: number): boolean {
    return this.#count(this.#inward(nowMs, buffer, offset, length))
  }

  #count(passes: boolean): boolean {
    if (!passes) this.dropped++
    return passes
  }

  #outward(nowMs: number, buffer: Uint8Array, offset: number, length: number): boolean {
    const header = headerLength(buffer, offset, length)
    if (header < 0 || !isAddress(buffer, offset + IPV4_SOURCE_OFFSET, this.#inside)) return false
    if (isLaterFragment(buffer, offset)) {
      replaceAddress(buffer, offset, IPV4_SOURCE_OFFSET, this.#outside, TRANSPORT_CHECKSUM_NONE)
      return true
    }
    const protocol = buffer[offset + IPV4_PROTOCOL_OFFSET] ?? 0
    const at = offset + header
    if (isCutTcp(protocol, at, offset + length)) return false
    const place = portPlace(buffer, at, offset + length, protocol, true)
    if (place < 0) return false
    const binding = this.#bind(nowMs, protocol, read16(buffer, place))
    if (binding === undefined) return false
    const checksum = checksumPlace(buffer, at, protocol)
    replaceAddress(
      buffer,
      offset,
      IPV4_SOURCE_OFFSET,
      this.#outside,
      protocol === IpProtocol.ICMP ? TRANSPORT_CHECKSUM_NONE : checksum
    )
    replace16(buffer, place, binding.outsidePort, checksum)
    neverZero(buffer, checksum, protocol)
    return true
  }

  #inward(nowMs: number, buffer: Uint8Array, offset: number, length: number): boolean {
    const header = headerLength(buffer, offset, length)
    if (header < 0 || !isAddress(buffer, offset + IPV4_DESTINATION_OFFSET, this.#outside)) return false
    if (isLaterFragment(buffer, offset)) {
      replaceAddress(buffer, offset, IPV4_DESTINATION_OFFSET, this.#inside, TRANSPORT_CHECKSUM_NONE)
      return true
    }
    const protocol = buffer[offset + IPV4_PROTOCOL_OFFSET] ?? 0
    const at = offset + header
    if (protocol === IpProtocol.ICMP && ICMP_ERRORS.includes(buffer[at] ?? 0))
      return this.#inwardError(nowMs, buffer, offset, at, length)
    if (isCutTcp(protocol, at, offset + length)) return false
    const place = portPlace(buffer, at, offset + length, protocol, false)
    const binding = place < 0 ? undefined : this.#found(nowMs, protocol, read16(buffer, place))
    if (binding === undefined) return false
    const checksum = checksumPlace(buffer, at, protocol)
    replaceAddress(
      buffer,
      offset,
      IPV4_DESTINATION_OFFSET,
      this.#inside,
      protocol === IpProtocol.ICMP ? TRANSPORT_CHECKSUM_NONE : checksum
    )
    replace16(buffer, place, binding.insidePort, checksum)
    neverZero(buffer, checksum, protocol)
    return true
  }

  /** About a packet of ours: what it quotes is translated back, too. */
  #inwardError(nowMs: number, buffer: Uint8Array, offset: number, at: number, length: number): boolean {
    const quoted = at + ICMP_HEADER_LENGTH
    const end = offset + length
    const header = headerLength(buffer, quoted, end - quoted, false)
    if (header < 0 || !isAddress(buffer, quoted + IPV4_SOURCE_OFFSET, this.#outside)) return false
    const protocol = buffer[quoted + IPV4_PROTOCOL_OFFSET] ?? 0
    const place = portPlace(buffer, quoted + header, end, protocol, true)
    const binding = place < 0 ? undefined : this.#found(nowMs, protocol, read16(buffer, place))
    if (binding === undefined) return false
    replaceAddress(buffer, quoted, IPV4_SOURCE_OFFSET, this.#inside, TRANSPORT_CHECKSUM_NONE)
    replace16(buffer, place, binding.insidePort, TRANSPORT_CHECKSUM_NONE)
    replaceAddress(buffer, offset, IPV4_DESTINATION_OFFSET, this.#inside, TRANSPORT_CHECKSUM_NONE)
    // What is quoted has its own checksums; that of the ICMP message covers all of it.
    write16(buffer, at + 2, 0)
    write16(buffer, at + 2, internetChecksum(buffer, at, end - at))
    return true
  }

  #bind(nowMs: number, protocol: number, insidePort: number): Binding | undefined {
    const key = keyOf(protocol, insidePort)
    const known = this.#byInside.get(key)
    if (known !== undefined && this.#isAlive(known, protocol, nowMs)) {
      known.usedMs = nowMs
      return known
    }
    if (known !== undefined) this.#forget(known)
    const outsidePort = this.#freePort(nowMs, protocol)
    if (outsidePort === undefined) return undefined
    const outerKey = keyOf(protocol, outsidePort)
    const binding = { key, outerKey, insidePort, outsidePort, usedMs: nowMs }
    this.#byInside.set(key, binding)
    this.#byOutside.set(outerKey, binding)
    this.bindings++
    return binding
  }

  #found(nowMs: number, protocol: number, outsidePort: number): Binding | undefined {
    const binding = this.#byOutside.get(keyOf(protocol, outsidePort))
    return binding !== undefined && this.#isAlive(binding, protocol, nowMs) ? binding : undefined
  }

  #isAlive({ usedMs }: Binding, protocol: number, nowMs: number): boolean {
    const { timeoutMs, tcpTimeoutMs } = this.#plan
    return nowMs - usedMs < (protocol === IpProtocol.TCP ? tcpTimeoutMs : timeoutMs)
  }

  #forget({ key, outerKey }: Binding): void {
    this.#byInside.delete(key)
    this.#byOutside.delete(outerKey)
  }

  /** The next one in turn; undefined: all are in use. */
  #freePort(nowMs: number, protocol: number): number | undefined {
    for (let tried = 0; tried <= LAST_PORT - FIRST_PORT; tried++) {
      const port = this.#nextPort
      this.#nextPort = port === LAST_PORT ? FIRST_PORT : port + 1
      const holder = this.#byOutside.get(keyOf(protocol, port))
      if (holder === undefined) return port
      if (this.#isAlive(holder, protocol, nowMs)) continue
      this.#forget(holder)
      return port
    }
    return undefined
  }
}

function keyOf(protocol: number, port: number): number {
  return protocol * 0x1_0000 + port
}

/** Of a sound IPv4 header, else -1. @param whole false: what it announces may be cut off */
function headerLength(buffer: Uint8Array, offset: number, length: number, whole = true): number {
  if (length < IPV4_HEADER_LENGTH || (buffer[offset] ?? 0) >>> 4 !== 4) return -1
  const header = ((buffer[offset] ?? 0) & 0x0f) * 4
  if (header < IPV4_HEADER_LENGTH || header > length) return -1
  return whole && read16(buffer, offset + 2) > length ? -1 : header
}

function isLaterFragment(buffer: Uint8Array, offset: number): boolean {
  return (read16(buffer, offset + IPV4_FRAGMENT_OFFSET) & FRAGMENT_POSITION_BITS) !== 0
}

function isCutTcp(protocol: number, at: number, end: number): boolean {
  return protocol === IpProtocol.TCP && at + TCP_HEADER_LENGTH > end
}

/** Where the port stands by which the host inside is told apart (RFC 5508 for ICMP: the identifier); -1: there is none. */
function portPlace(
  buffer: Uint8Array,
  at: number,
  end: number,
  protocol: number,
  isFromInside: boolean
): number {
  // Of a quoted packet there may be no more than this.
  if (at + SHORT_HEADER_LENGTH > end) return -1
  if (protocol === IpProtocol.UDP || protocol === IpProtocol.TCP) return isFromInside ? at : at + 2
  const kind = isFromInside ? ICMP_ECHO_REQUEST : ICMP_ECHO_REPLY
  return protocol === IpProtocol.ICMP && buffer[at] === kind ? at + 4 : -1
}

/** Where the checksum stands; -1: there is none (RFC 768: zero means none). */
function checksumPlace(buffer: Uint8Array, at: number, protocol: number): number {
  if (protocol === IpProtocol.TCP) return at + TCP_CHECKSUM_AT
  if (protocol === IpProtocol.ICMP) return at + 2
  return read16(buffer, at + UDP_CHECKSUM_AT) === 0 ? TRANSPORT_CHECKSUM_NONE : at + UDP_CHECKSUM_AT
}

function isAddress(buffer: Uint8Array, at: number, address: Uint8Array): boolean {
  for (let index = 0; index < 4; index++) if (buffer[at + index] !== address[index]) return false
  return true
}

/** @param checksum where another checksum stands that covers the address; -1: none */
function replaceAddress(
  buffer: Uint8Array,
  offset: number,
  field: number,
  address: Uint8Array,
  checksum: number
): void {
  for (let index = 0; index < 4; index += 2) {
    const word = read16(address, index)
    const at = offset + field + index
    const before = read16(buffer, at)
    if (checksum >= 0) update(buffer, checksum, before, word)
    update(buffer, offset + IPV4_CHECKSUM_OFFSET, before, word)
    write16(buffer, at, word)
  }
}

function replace16(buffer: Uint8Array, at: number, value: number, checksum: number): void {
  if (checksum >= 0) update(buffer, checksum, read16(buffer, at), value)
  write16(buffer, at, value)
}

/** Zero would say that there is no checksum (RFC 768). */
function neverZero(buffer: Uint8Array, checksum: number, protocol: number): void {
  if (protocol === IpProtocol.UDP && checksum >= 0 && read16(buffer, checksum) === 0)
    write16(buffer, checksum, 0xffff)
}

function update(buffer: Uint8Array, checksum: number, before: number, after: number): void {
  write16(buffer, checksum, updateChecksum(read16(buffer, checksum), before, after))
}

function read16(buffer: Uint8Array, at: number): number {
  return ((buffer[at] ?? 0) << 8) | (buffer[at + 1] ?? 0)
}

function write16(buffer: Uint8Array, at: number, value: number): void {
  buffer[at] = value >>> 8
  buffer[at + 1] = value
}
