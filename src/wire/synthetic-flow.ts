/**
 * The IP and UDP or TCP headers that a conversation has on the wire, made up again for a capture file from what a transport
 * sees of it: messages and packets without headers (RFC 791, RFC 8200, RFC 768, RFC 9293).
 *
 * Headers are written into `head`, in front of a lead of a few bytes (non-ESP marker, stream Length); the body follows from
 * the caller's memory. Nothing is allocated per packet.
 * @module
 */
import { addressToBytes } from './address.ts'
import { finishChecksum, pseudoHeaderSum4, pseudoHeaderSum6, sum16 } from './checksum.ts'
import type { Endpoint } from './endpoint.ts'
import { IPV4_DONT_FRAGMENT, IPV4_HEADER_LENGTH, IPV6_HEADER_LENGTH, IpProtocol, write16 } from './ip.ts'

const UDP_HEADER_LENGTH = 8
const TCP_HEADER_LENGTH = 20
/** Longest lead: the stream prefix, Length, and the non-ESP marker. */
const MAX_LEAD_LENGTH = 16
const HOP_LIMIT = 64
const TCP_WINDOW = 65_535
/** Any will do; relative numbers are what people look at. */
const FIRST_SEQUENCE = 1
/** More than this in one segment would not fit an IP packet together with all headers. */
export const MAX_SEGMENT_LENGTH = 65_000

export const TcpFlag = { FIN: 0x01, SYN: 0x02, PSH: 0x08, ACK: 0x10 } as const

const NO_BYTES = new Uint8Array(0)

interface Side {
  readonly address: Uint8Array
  readonly port: number
}

abstract class Flow {
  /** Headers and lead of the packet that was built last. */
  readonly head = new Uint8Array(IPV6_HEADER_LENGTH + TCP_HEADER_LENGTH + MAX_LEAD_LENGTH)
  protected readonly ipLength: number
  readonly #local: Side
  readonly #remote: Side
  #identification = 0

  /** Both addresses are of one family. @throws RangeError for what is no address */
  constructor(local: Endpoint, remote: Endpoint) {
    this.#local = sideOf(local)
    this.#remote = sideOf(remote)
    if (this.#local.address.length !== this.#remote.address.length)
      throw new RangeError('The two ends of a conversation speak one version of IP')
    this.ipLength = this.#local.address.length === 4 ? IPV4_HEADER_LENGTH : IPV6_HEADER_LENGTH
  }

  /** @param payloadLength bytes behind the IP header @param ecn ECN field */
  protected writeIp(outbound: boolean, protocol: number, payloadLength: number, ecn: number): void {
    const { head, ipLength } = this
    const from = outbound ? this.#local : this.#remote
    const to = outbound ? this.#remote : this.#local
    head.fill(0, 0, ipLength)
    if (ipLength === IPV4_HEADER_LENGTH) {
      head[0] = 0x45
      head[1] = ecn
      write16(head, 2, ipLength + payloadLength)
      write16(head, 4, this.#identification++ & 0xffff)
      write16(head, 6, IPV4_DONT_FRAGMENT)
      head[8] = HOP_LIMIT
      head[9] = protocol
      head.set(from.address, 12)
      head.set(to.address, 16)
      write16(head, 10, finishChecksum(sum16(head, 0, ipLength)))
    } else {
      head[0] = 0x60
      head[1] = ecn << 4
      write16(head, 4, payloadLength)
      head[6] = protocol
      head[7] = HOP_LIMIT
      head.set(from.address, 8)
      head.set(to.address, 24)
    }
    write16(head, ipLength, from.port)
    write16(head, ipLength + 2, to.port)
  }

  /** The checksum of the upper layer, whose header and lead are `upperLength` bytes behind the IP header. */
  protected writeChecksum(
    protocol: number,
    at: number,
    upperLength: number,
    body: Uint8Array,
    offset: number,
    length: number
  ): void {
    const { head, ipLength } = this
    const pseudo = ipLength === IPV4_HEADER_LENGTH ? pseudoHeaderSum4 : pseudoHeaderSum6
    write16(head, at, 0)
    const sum =
      pseudo(head, 0, protocol, upperLength + length) +
      sum16(head, ipLength, upperLength) +
      sum16(body, offset, length)
    write16(head, at, finishChecksum(sum))
  }
}

/** A conversation over UDP. */
export class DatagramFlow extends Flow {
  /** @param lead of even length @returns bytes of `head` in use */
  build(
    outbound: boolean,
    lead: Uint8Array,
    body: Uint8Array,
    offset: number,
    length: number,
    ecn: number
  ): number {
    const { head, ipLength } = this
    const upperLength = UDP_HEADER_LENGTH + lead.length
    this.writeIp(outbound, IpProtocol.UDP, upperLength + length, ecn)
    write16(head, ipLength + 4, upperLength + length)
    head.set(lead, ipLength + UDP_HEADER_LENGTH)
    this.writeChecksum(IpProtocol.UDP, ipLength + 6, upperLength, body, offset, length)
    return ipLength + upperLength
  }
}

/** A conversation over TCP in which nothing is lost: each segment is acknowledged by the next one of the other end. */
export class SegmentFlow extends Flow {
  #nextLocal = FIRST_SEQUENCE
  #nextRemote = FIRST_SEQUENCE

  /** @param lead of even length @returns bytes of `head` in use */
  build(
    outbound: boolean,
    lead: Uint8Array,
    body: Uint8Array,
    offset: number,
    length: number,
    flags: number
  ): number {
    const { head, ipLength } = this
    const upperLength = TCP_HEADER_LENGTH + lead.length
    this.writeIp(outbound, IpProtocol.TCP, upperLength + length, 0)
    const isFirst = flags === TcpFlag.SYN
    write32(head, ipLength + 4, outbound ? this.#nextLocal : this.#nextRemote)
    write32(head, ipLength + 8, isFirst ? 0 : outbound ? this.#nextRemote : this.#nextLocal)
    head[ipLength + 12] = (TCP_HEADER_LENGTH / 4) << 4
    head[ipLength + 13] = flags
    write16(head, ipLength + 14, TCP_WINDOW)
    write16(head, ipLength + 18, 0)
    head.set(lead, ipLength + TCP_HEADER_LENGTH)
    this.writeChecksum(IpProtocol.TCP, ipLength + 16, upperLength, body, offset, length)
    const counted = (flags & (TcpFlag.SYN | TcpFlag.FIN)) === 0 ? 0 : 1
    const advance = lead.length + length + counted
    if (outbound) this.#nextLocal = (this.#nextLocal + advance) >>> 0
    else this.#nextRemote = (this.#nextRemote + advance) >>> 0
    return ipLength + upperLength
  }

  /** A segment without data. */
  buildEmpty(outbound: boolean, flags: number): number {
    return this.build(outbound, NO_BYTES, NO_BYTES, 0, 0, flags)
  }
}

function sideOf({ address, port }: Endpoint): Side {
  const bytes = addressToBytes(address)
  if (bytes === undefined) throw new RangeError(`${address} is no address`)
  return { address: bytes, port }
}

function write32(buffer: Uint8Array, at: number, value: number): void {
  write16(buffer, at, value >>> 16)
  write16(buffer, at + 2, value & 0xffff)
}
