/**
 * Coalescing the slow way: a naive twin that says which packets belong into one super-packet, from whole packets as plain arrays and
 * without buffers, slots or running state. It shares no code with the fast one.
 * @module
 */
import { be } from './message-factory.ts'
import { slowChecksum } from './packet-factory.ts'

/** Flows that are held at the same time, datagrams and bytes that go into one super-packet. */
const MOST_FLOWS = 8
const MOST_DATAGRAMS = 64
const MOST_BYTES = 65_535

interface Parsed {
  readonly packet: Uint8Array
  /**
   * `candidate`: may be put together; `alone`: of a flow, but never with others; `stray`: may be of any flow; `other`: concerns none.
   */
  readonly kind: 'candidate' | 'alone' | 'stray' | 'other'
  readonly isTcp: boolean
  readonly flow: string
  /** Everything that has to be the same in all packets of one super-packet. */
  readonly sameness: string
  readonly headersLength: number
  readonly payloadLength: number
  readonly sequence: number
  readonly isPushed: boolean
  readonly isSound: boolean
  /** IPv4 only. */
  readonly identification: number | undefined
  readonly mayNotFragment: boolean
}

/** @returns what goes to the kernel in one frame each, in this order, when everything held is handed over after each `batch` */
export function naiveGroups(packets: readonly Uint8Array[], batch: number): Uint8Array[][] {
  const out: Uint8Array[][] = []
  let held: Parsed[][] = []
  const emit = (group: readonly Parsed[]): void => {
    out.push(group.map(({ packet }) => packet))
    held = held.filter((one) => one !== group)
  }
  const emitAll = (): void => {
    for (const group of held) emit(group)
  }
  packets.forEach((packet, index) => {
    const parsed = parse(packet)
    const group = held.find(([first]) => first?.flow === parsed.flow)
    if (parsed.kind === 'stray') emitAll()
    if (parsed.kind === 'candidate' && group !== undefined && fits(group, parsed)) {
      group.push(parsed)
      if (parsed.isPushed || parsed.payloadLength < (group[0]?.payloadLength ?? 0)) emit(group)
    } else {
      if (group !== undefined && (parsed.kind === 'candidate' || parsed.kind === 'alone')) emit(group)
      if (parsed.kind === 'candidate' && parsed.isSound && !parsed.isPushed) {
        const [oldest] = held
        if (held.length === MOST_FLOWS && oldest !== undefined) emit(oldest)
        held.push([parsed])
      } else out.push([packet])
    }
    if ((index + 1) % batch === 0) emitAll()
  })
  emitAll()
  return out
}

function fits(group: readonly Parsed[], next: Parsed): boolean {
  const [first] = group
  if (first === undefined || !next.isSound || next.sameness !== first.sameness) return false
  if (next.payloadLength > first.payloadLength) return false
  const payload = group.reduce((sum, { payloadLength }) => sum + payloadLength, 0)
  if (first.headersLength + payload + next.payloadLength > MOST_BYTES) return false
  if (next.isTcp ? next.sequence !== (first.sequence + payload) % 2 ** 32 : group.length >= MOST_DATAGRAMS)
    return false
  if (first.identification === undefined) return true
  const all = [...group, next].map(({ identification }) => identification ?? 0)
  const isCounting = all.every((one, index) => one === ((all[0] ?? 0) + index) % 2 ** 16)
  return isCounting || (first.mayNotFragment && all.every((one) => one === all[0]))
}

function parse(packet: Uint8Array): Parsed {
  const bytes = [...packet]
  const isIpv4 = (bytes[0] ?? 0) >> 4 === 4
  const protocol = bytes[isIpv4 ? 9 : 6] ?? 0
  const ipLength = isIpv4 ? 20 : 40
  const upper = bytes.slice(ipLength)
  const word = (from: readonly number[], at: number): number => (from[at] ?? 0) * 256 + (from[at + 1] ?? 0)
  const isTcp = protocol === 6
  const upperHeader = isTcp ? ((upper[12] ?? 0) >> 4) * 4 : 8
  const flags = upper[13] ?? 0
  const addresses = bytes.slice(isIpv4 ? 12 : 8, ipLength)
  const ipSameness = isIpv4 ? [bytes[1], bytes[8], ...bytes.slice(6, 8)] : [...bytes.slice(0, 4), bytes[7]]
  const tcpSameness = [
    ...upper.slice(8, 13),
    flags & ~8,
    ...upper.slice(14, 16),
    ...upper.slice(18, upperHeader)
  ]
  const pseudo = [...addresses, ...be(upper.length, 4), 0, 0, 0, protocol]
  return {
    packet,
    kind: kindOf(),
    isTcp,
    flow: [isIpv4, protocol, ...addresses, ...upper.slice(0, 4)].join(),
    sameness: [...ipSameness, ...(isTcp ? tcpSameness : [])].join(),
    headersLength: ipLength + upperHeader,
    payloadLength: upper.length - upperHeader,
    sequence: word(upper, 4) * 65_536 + word(upper, 6),
    isPushed: isTcp && (flags & 8) !== 0,
    isSound: (!isIpv4 || slowChecksum(bytes.slice(0, 20)) === 0) && slowChecksum([...pseudo, ...upper]) === 0,
    identification: isIpv4 ? word(bytes, 4) : undefined,
    mayNotFragment: isIpv4 && ((bytes[6] ?? 0) & 0x40) !== 0
  }

  function kindOf(): Parsed['kind'] {
    if (protocol !== 6 && protocol !== 17) return isIpv4 || protocol === 58 ? 'other' : 'stray'
    const isPlain = !isIpv4 || (bytes[0] === 0x45 && (word(bytes, 6) & 0x3fff) === 0)
    if (!isPlain || upper.length < (isTcp ? 20 : 8)) return 'stray'
    const isReserved = isIpv4 && ((bytes[6] ?? 0) & 0x80) !== 0
    if (isReserved || upper.length <= upperHeader) return 'alone'
    if (isTcp)
      return upperHeader >= 20 && (flags & 0x10) !== 0 && (flags & 0xa7) === 0 ? 'candidate' : 'alone'
    return word(upper, 6) !== 0 && word(upper, 4) === upper.length ? 'candidate' : 'alone'
  }
}
