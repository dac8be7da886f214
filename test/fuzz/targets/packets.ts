/**
 * Targets of inner packets: headers, selectors, ICMP errors, MSS, fragments, segmentation and coalescing.
 * @module
 */
import { readDnsAnswer, readEchoReply } from '../../../src/check/inner-packets.ts'
import { applyOuterEcn, ecnOf } from '../../../src/dataplane/ecn.ts'
import { expectsAnswer } from '../../../src/dataplane/expects-answer.ts'
import { Ipv4Fragmenter } from '../../../src/dataplane/ipv4-fragmenter.ts'
import { Coalescer } from '../../../src/tun/coalescing.ts'
import { Segmenter } from '../../../src/tun/segmentation.ts'
import { VNET_HEADER_LENGTH } from '../../../src/tun/vnet-header.ts'
import {
  MAX_ICMP_ERROR_LENGTH,
  writeAdministrativelyProhibited,
  writePacketTooBig
} from '../../../src/wire/icmp.ts'
import {
  findUpperLayer,
  IPV4_DONT_FRAGMENT,
  ipPacketLength,
  ipVersion,
  isFragment,
  upperOffset
} from '../../../src/wire/ip.ts'
import { probeAnswerIn } from '../../../src/wire/probe-packets.ts'
import { compileSelectors } from '../../../src/wire/selector-matcher.ts'
import { clampMss } from '../../../src/wire/tcp-mss.ts'
import { selectors } from '../../support/ike-pair.ts'
import {
  extension,
  fragmentHeader,
  icmp,
  ipv4,
  ipv6,
  slowChecksum,
  tcp,
  udp
} from '../../support/packet-factory.ts'
import { type SegmentFields, segment, superFrame } from '../../support/tcp-segments.ts'
import { recordedEsp } from '../corpus.ts'
import { type FuzzTarget, holds } from '../target.ts'
import { naiveCut } from '../twins.ts'

const GUARD = 0xee
/** Bytes in front of and behind a packet that nobody may touch. */
const MARGIN = 64

/** A packet in the middle of memory that is not its own. */
class Guarded {
  readonly buffer: Uint8Array
  readonly offset = MARGIN
  readonly length: number

  constructor(packet: Uint8Array) {
    this.buffer = new Uint8Array(packet.length + 2 * MARGIN).fill(GUARD)
    this.buffer.set(packet, MARGIN)
    this.length = packet.length
  }

  /** The packet as it is now. */
  get packet(): Uint8Array {
    return this.buffer.subarray(MARGIN, MARGIN + this.length)
  }

  check(front = MARGIN): void {
    const untouched =
      this.buffer.subarray(0, front).every((byte) => byte === GUARD) &&
      this.buffer.subarray(MARGIN + this.length).every((byte) => byte === GUARD)
    holds(untouched, 'nothing outside of the packet is written')
  }
}

const MSS_OPTION = [2, 4, 5, 0xb4]
const SYN = 2

function packets(): Uint8Array[] {
  const made: Uint8Array[] = []
  for (const family of [4, 6] as const)
    for (const upper of ['tcp', 'udp'] as const)
      made.push(
        segment({ family, upper, payload: [1, 2, 3, 4, 5, 6, 7, 8] }),
        segment({
          family,
          upper,
          payload: new Array<number>(300).fill(7),
          ipOptions: [7, 4, 0, 0],
          extensionUnits: 2
        })
      )
  return [
    ...made,
    ...recordedEsp().inner.slice(0, 40),
    ipv4(tcp(SYN, MSS_OPTION), { protocol: 6 }),
    ipv6(tcp(SYN, [1, 1, ...MSS_OPTION, 0, 0]), { nextHeader: 6 }),
    ipv4(icmp(8, 0), { protocol: 1 }),
    ipv4(icmp(3, 4), { protocol: 1 }),
    ipv6(icmp(128, 0), { nextHeader: 58 }),
    ipv6(icmp(129, 0), { nextHeader: 58 }),
    ipv4(udp(53, 40_000)),
    ipv6([...extension(44, 1), ...fragmentHeader(17, 0, true), ...udp(1, 2)], { nextHeader: 0 }),
    ipv6(
      [
        ...extension(0, 1),
        ...extension(0, 1),
        ...extension(60, 1),
        ...extension(6, 1),
        ...tcp(SYN, MSS_OPTION)
      ],
      {
        nextHeader: 0
      }
    )
  ].map((packet) => Uint8Array.from(packet))
}

/** With the length that the packet has, so that it is one. */
export function withTrueIpLength(packet: Uint8Array): Uint8Array {
  const copy = packet.slice(0, 0xffff)
  const version = (copy[0] ?? 0) >>> 4
  if (version === 4 && copy.length >= 4) new DataView(copy.buffer).setUint16(2, copy.length)
  if (version === 6 && copy.length >= 40) new DataView(copy.buffer).setUint16(4, copy.length - 40)
  return copy
}

const MATCHERS = [
  compileSelectors(selectors('0.0.0.0/0', '::/0'), selectors('0.0.0.0/0', '::/0')),
  compileSelectors(
    selectors('10.0.0.0/8[tcp/443]', 'fd00::/8[udp]', '10.0.0.0/8[icmp/2048-2303]'),
    selectors('10.0.0.0/8[tcp]', 'fd00::/8[udp/1000-50000]', '10.0.0.0/8[icmp]')
  )
]

const innerHeaders: FuzzTarget = {
  name: 'inner-headers',
  covers: [
    'wire/ip.ts#ipPacketLength',
    'wire/ip.ts#findUpperLayer',
    'wire/selector-matcher.ts#compileSelectors',
    'wire/probe-packets.ts#probeAnswerIn',
    'dataplane/expects-answer.ts#expectsAnswer',
    'check/inner-packets.ts#readEchoReply',
    'check/inner-packets.ts#readDnsAnswer'
  ],
  weight: 15,
  corpus: packets,
  repair: withTrueIpLength,
  open: () => (input) => {
    const guarded = new Guarded(input)
    const { buffer, offset, length } = guarded
    ipVersion(buffer, offset, length)
    probeAnswerIn(buffer, offset, length)
    const own = ipPacketLength(buffer, offset, length)
    holds(own <= length, 'a packet is no longer than what there is')
    const matched = MATCHERS.map((matches) => [
      matches(buffer, offset, length, true),
      matches(buffer, offset, length, false)
    ])
    holds(own >= 0 || !matched.flat().includes(true), 'what is no packet matches nothing')
    holds(own < 0 || matched[0]?.includes(false) === false, 'a packet matches selectors of everything')
    readEchoReply(input)
    readDnsAnswer(input, 40_000)
    if (own >= 0) {
      const upper = findUpperLayer(buffer, offset, own)
      holds(upper < 0 || upperOffset(upper) <= own, 'the upper layer begins inside of the packet')
      isFragment(buffer, offset, own)
      expectsAnswer(buffer, offset, own)
    }
    guarded.check()
    holds(Buffer.compare(guarded.packet, input) === 0, 'looking changes nothing')
  }
}

const icmpErrors: FuzzTarget = {
  name: 'icmp-errors',
  covers: ['wire/icmp.ts#writePacketTooBig', 'wire/icmp.ts#writeAdministrativelyProhibited'],
  weight: 8,
  corpus: packets,
  repair: withTrueIpLength,
  open: () => (input) => {
    if (ipPacketLength(input, 0, input.length) !== input.length) return
    const guarded = new Guarded(new Uint8Array(MAX_ICMP_ERROR_LENGTH))
    const { buffer, offset } = guarded
    const mtu = 500 + (input[input.length - 1] ?? 0) * 5
    const written = [
      writePacketTooBig(buffer, offset, input, 0, input.length, mtu),
      writeAdministrativelyProhibited(buffer, offset, input, 0, input.length)
    ]
    for (const length of written) {
      holds(length <= MAX_ICMP_ERROR_LENGTH, 'an error has its room')
      holds(length <= input.length + 48, 'an error quotes, and adds no more than headers')
    }
    const last = written[1] ?? 0
    if (last > 0) {
      holds(ipPacketLength(buffer, offset, last) === last, 'an error is a packet')
      const again = new Uint8Array(MAX_ICMP_ERROR_LENGTH)
      const error = buffer.slice(offset, offset + last)
      holds(
        writeAdministrativelyProhibited(again, 0, error, 0, last) === 0,
        'no error is sent about an error (RFC 1122 section 3.2.2)'
      )
    }
    guarded.check()
  }
}

const mssAndEcn: FuzzTarget = {
  name: 'mss-ecn',
  covers: ['wire/tcp-mss.ts#clampMss', 'dataplane/ecn.ts#applyOuterEcn', 'dataplane/ecn.ts#ecnOf'],
  weight: 8,
  corpus: packets,
  repair: withTrueIpLength,
  open: () => (input, random) => {
    if (ipPacketLength(input, 0, input.length) !== input.length) return
    const guarded = new Guarded(input)
    const { buffer, offset, length } = guarded
    const mss = 536 + random.below(1000)
    const changed = clampMss(buffer, offset, length, mss)
    const differing = input.reduce((count, byte, at) => count + (guarded.packet[at] === byte ? 0 : 1), 0)
    holds(changed || differing === 0, 'a packet that is not changed stays as it is')
    holds(differing <= 4, 'the MSS and a checksum change, and no more')
    const sum = (packet: Uint8Array) => slowChecksum([...packet.subarray(0, ((packet[0] ?? 0) & 15) * 4)])
    const isIpv4 = (input[0] ?? 0) >>> 4 === 4
    const soundBefore = isIpv4 && sum(guarded.packet) === 0
    const before = ecnOf(buffer, offset)
    const kept = applyOuterEcn(buffer, offset, 3)
    holds(kept === (before !== 0), 'what cannot carry the mark is dropped')
    holds(!kept || ecnOf(buffer, offset) === 3, 'what is kept carries the mark')
    if (soundBefore) holds(sum(guarded.packet) === 0, 'the checksum of the header stays right')
    guarded.check()
  }
}

/** IPv4 fragments put together again, the slow way: offset, and whether that was all. */
function reassembled(pieces: readonly Uint8Array[], firstOffset: number): number[] {
  const octets: number[] = []
  for (const piece of pieces) {
    const header = ((piece[0] ?? 0) & 15) * 4
    const place = ((((piece[6] ?? 0) << 8) | (piece[7] ?? 0)) & 0x1fff) * 8 - firstOffset
    holds(place === octets.length, 'each piece stands where the one before it ended')
    octets.push(...piece.subarray(header))
  }
  return octets
}

const fragmenter: FuzzTarget = {
  name: 'ipv4-fragmenter',
  covers: ['dataplane/ipv4-fragmenter.ts#Ipv4Fragmenter'],
  weight: 4,
  corpus: () => packets().filter((packet) => (packet[0] ?? 0) >>> 4 === 4),
  repair: withTrueIpLength,
  open: () => {
    const pieceBuffer = new Ipv4Fragmenter(0xffff)
    return (input, random) => {
      if ((input[0] ?? 0) >>> 4 !== 4 || ipPacketLength(input, 0, input.length) !== input.length) return
      const mtu = 68 + random.below(200)
      if (!pieceBuffer.begin(input, 0, input.length, mtu)) return
      const pieces: Uint8Array[] = []
      while (pieceBuffer.next()) {
        pieces.push(pieceBuffer.buffer.slice(0, pieceBuffer.length))
        holds(pieces.length <= input.length, 'there are fewer pieces than bytes')
      }
      const original = ((input[6] ?? 0) << 8) | (input[7] ?? 0)
      for (const [index, piece] of pieces.entries()) {
        holds(piece.length <= mtu, 'a piece fits')
        holds(ipPacketLength(piece, 0, piece.length) === piece.length, 'a piece is a packet')
        holds(slowChecksum([...piece.subarray(0, ((piece[0] ?? 0) & 15) * 4)]) === 0, 'its checksum is right')
        const flags = ((piece[6] ?? 0) << 8) | (piece[7] ?? 0)
        const more = index < pieces.length - 1 || (original & 0x2000) !== 0
        holds(((flags & 0x2000) !== 0) === more, 'all but the last say that there are more')
        holds((flags & 0xc000) === (original & 0xc000), 'the other flags stay')
      }
      const header = ((input[0] ?? 0) & 15) * 4
      const whole = reassembled(pieces, (original & 0x1fff) * 8)
      holds(
        Buffer.compare(Uint8Array.from(whole), input.subarray(header)) === 0,
        'together they are the packet'
      )
    }
  }
}

function frames(): Uint8Array[] {
  const made: Uint8Array[] = []
  const payload = Array.from({ length: 700 }, (_, index) => index & 0xff)
  const variants: Partial<SegmentFields>[] = [
    {},
    { ipOptions: [1, 1, 1, 0] },
    { extensionUnits: 1 },
    { options: [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8], flags: 0x99 }
  ]
  for (const family of [4, 6] as const)
    for (const upper of ['tcp', 'udp'] as const)
      for (const variant of variants)
        made.push(
          superFrame({ family, upper, payload, ...variant }, 120),
          superFrame({ family, upper, payload }, 699)
        )
  const single = segment({ family: 4, payload: [1, 2, 3] })
  made.push(Uint8Array.from([...new Uint8Array(VNET_HEADER_LENGTH), ...single]))
  made.push(Uint8Array.from([1, 0, 0, 0, 0, 0, 20, 0, 16, 0, ...single]))
  return made
}

const segmentation: FuzzTarget = {
  name: 'segmentation',
  covers: ['tun/segmentation.ts#Segmenter', 'tun/vnet-header.ts#readLittle16'],
  weight: 2.5,
  corpus: frames,
  open: () => {
    const segmenter = new Segmenter()
    return (input) => {
      const guarded = new Guarded(input)
      const { buffer, offset, length } = guarded
      const expected = naiveCut(input)
      const loaded = segmenter.load(buffer, offset, length)
      holds(loaded === (expected !== undefined), 'a frame is taken when the twin takes it')
      let count = 0
      while (segmenter.next()) {
        holds(segmenter.offset >= offset + VNET_HEADER_LENGTH, 'a packet begins inside of the frame')
        holds(segmenter.offset + segmenter.length <= offset + length, 'a packet ends inside of the frame')
        const packet = buffer.subarray(segmenter.offset, segmenter.offset + segmenter.length)
        const wanted = expected?.[count++]
        holds(wanted !== undefined, 'there are no more packets than the twin makes')
        holds(Buffer.compare(packet, wanted) === 0, 'each packet is that of the twin')
      }
      holds(count === (expected?.length ?? 0), 'there are as many packets as the twin makes')
      guarded.check()
    }
  }
}

const isDontFragment = (packet: Uint8Array) =>
  (packet[0] ?? 0) >> 4 === 4 && ((((packet[6] ?? 0) << 8) | (packet[7] ?? 0)) & IPV4_DONT_FRAGMENT) !== 0

/** The packet without what may change: the identification of packets that must not be fragmented. */
function essence(packet: Uint8Array): string {
  const copy = Buffer.from(packet)
  if (isDontFragment(packet)) {
    const valid = slowChecksum([...packet.subarray(0, ((packet[0] ?? 0) & 15) * 4)]) === 0
    copy.fill(0, 4, 6)
    copy.writeUInt16BE(valid ? 1 : 0, 10)
  }
  return copy.toString('latin1')
}

/** Protocol, addresses and ports. */
function flowOf(packet: Uint8Array): string {
  const isIpv4 = (packet[0] ?? 0) >> 4 === 4
  return isIpv4 ? `${packet[9]} ${packet.subarray(12, 24)}` : `${packet[6]} ${packet.subarray(8, 44)}`
}

function byFlow(list: readonly Uint8Array[]): Map<string, string> {
  const flows = new Map<string, string>()
  for (const packet of list)
    flows.set(flowOf(packet), `${flows.get(flowOf(packet)) ?? ''}|${essence(packet)}`)
  return flows
}

/** Packets one behind the other: an input of the coalescer. */
function trains(): Uint8Array[] {
  const join = (list: readonly Uint8Array[]) => Uint8Array.from(list.flatMap((packet) => [...packet]))
  const train = (base: Omit<SegmentFields, 'payload'>, count: number, size: number) =>
    join(
      Array.from({ length: count }, (_, index) =>
        segment({
          ...base,
          sequence: 1000 + index * size,
          identification: index,
          payload: new Array<number>(size).fill(index)
        })
      )
    )
  return [
    train({ family: 4 }, 6, 100),
    train({ family: 6 }, 6, 100),
    train({ family: 4, upper: 'udp' }, 6, 90),
    train({ family: 6, upper: 'udp', flowLabel: 5 }, 6, 90),
    train({ family: 4, fragment: 0 }, 5, 60),
    train({ family: 4, flags: 0x18, options: [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8] }, 4, 60),
    join(packets().slice(0, 12))
  ]
}

/** Cuts what comes in into packets by their own lengths; the rest is left out. */
function packetsIn(input: Uint8Array): Uint8Array[] {
  const found: Uint8Array[] = []
  for (let at = 0; at < input.length; ) {
    const length = ipPacketLength(input, at, input.length - at)
    if (length <= 0) at++
    else {
      found.push(input.slice(at, at + length))
      at += length
    }
  }
  return found
}

const coalescing: FuzzTarget = {
  name: 'coalescing',
  covers: ['tun/coalescing.ts#Coalescer'],
  weight: 1.5,
  corpus: trains,
  open: () => {
    let out: Uint8Array[] = []
    const coalescer = new Coalescer(
      (buffer, offset, length) => out.push(buffer.slice(offset, offset + length)),
      {
        tcp: true,
        udp: true
      }
    )
    return (input) => {
      out = []
      const given = packetsIn(input)
      for (const packet of given) {
        const guarded = new Guarded(packet)
        coalescer.push(guarded.buffer, guarded.offset, guarded.length)
        guarded.check(MARGIN - VNET_HEADER_LENGTH)
        holds(Buffer.compare(guarded.packet, packet) === 0, 'a packet is not changed where it came')
      }
      coalescer.flush()
      const cut = out.flatMap((frame) => naiveCut(frame) ?? [])
      holds(cut.length === given.length, 'as many packets come out as went in')
      const [before, after] = [byFlow(given), byFlow(cut)]
      for (const [flow, content] of before)
        holds(after.get(flow) === content, 'every flow comes out as it went in')
    }
  }
}

export const PACKET_TARGETS: readonly FuzzTarget[] = [
  innerHeaders,
  icmpErrors,
  mssAndEcn,
  fragmenter,
  segmentation,
  coalescing
]
