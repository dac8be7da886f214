/**
 * Traffic selectors as people write them, and their algebra (RFC 7296 sections 2.9 and 3.13.1, RFC 4301 section 4.4.1).
 *
 *     10.0.0.0/8    10.0.0.1    10.0.0.1-10.0.0.9    2001:db8::/32    0.0.0.0/0[udp]    10.0.0.0/8[tcp/443]
 *     10.0.0.0/8[tcp/8000-8080]    10.0.0.0/8[47]    10.0.0.0/8[tcp/opaque]
 *
 * ANY ports are 0 to 65535 and include OPAQUE, which is written as 65535 to 0 and matches what has no known port.
 * @module
 */
import { addressFromBytes, addressToBytes, compareAddresses, familyOf } from './address.ts'
import { type Cidr, firstAddress, formatCidr, lastAddress, parseCidr, rangeToCidrs } from './cidr.ts'
import type { TrafficSelector } from './ike-message.ts'

/** As many as one TS payload can hold. */
const MAX_SELECTORS = 255
const MAX_PORT = 65535

const PROTOCOL_NUMBERS: Readonly<Record<string, number>> = {
  any: 0,
  icmp: 1,
  tcp: 6,
  udp: 17,
  gre: 47,
  esp: 50,
  icmpv6: 58,
  ospf: 89,
  sctp: 132,
  udplite: 136
}
const PROTOCOL_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(PROTOCOL_NUMBERS).map(([name, number]) => [number, name])
)

const RESTRICTION = /^\[([a-z0-9]+)(?:\/([a-z0-9-]+))?\]$/
const DECIMAL = /^[0-9]{1,5}$/

interface PortRange {
  readonly startPort: number
  readonly endPort: number
}

const ANY_PORTS: PortRange = { startPort: 0, endPort: MAX_PORT }
const OPAQUE_PORTS: PortRange = { startPort: MAX_PORT, endPort: 0 }

/** Parses one selector in the notation above; undefined when the text is none. */
export function parseTrafficSelector(text: string): TrafficSelector | undefined {
  const bracket = text.indexOf('[')
  const range = parseRange(bracket < 0 ? text : text.slice(0, bracket))
  const restriction = bracket < 0 ? { protocol: 0, ...ANY_PORTS } : parseRestriction(text.slice(bracket))
  return range && restriction && { ...range, ...restriction }
}

/** The shortest form that `parseTrafficSelector` reads back. */
export function formatTrafficSelector(selector: TrafficSelector): string {
  const { startAddress, endAddress } = selector
  const cidrs = rangeToCidrs(startAddress, endAddress)
  const [only] = cidrs
  const range =
    only && cidrs.length === 1
      ? formatCidr(only)
      : `${addressFromBytes(startAddress)}-${addressFromBytes(endAddress)}`
  return range + formatRestriction(selector)
}

export function formatTrafficSelectors(selectors: readonly TrafficSelector[]): string {
  return selectors.map(formatTrafficSelector).join(' ')
}

/** Every protocol and port of a block. */
export function selectorFromCidr(cidr: Cidr): TrafficSelector {
  return {
    family: cidr.family,
    protocol: 0,
    ...ANY_PORTS,
    startAddress: firstAddress(cidr),
    endAddress: lastAddress(cidr)
  }
}

/** Every packet of a family. */
export function selectEverything(family: 4 | 6): TrafficSelector {
  const length = family === 4 ? 4 : 16
  return selectorFromCidr({ family, address: new Uint8Array(length), prefixLength: 0 })
}

/** The fewest blocks that cover a selector's addresses, for routes. Empty when it selects no address. */
export function selectorToCidrs(selector: TrafficSelector): Cidr[] {
  return rangeToCidrs(selector.startAddress, selector.endAddress)
}

/** What both select, or undefined when that is nothing. */
export function intersectSelector(a: TrafficSelector, b: TrafficSelector): TrafficSelector | undefined {
  if (a.family !== b.family) return undefined
  if (a.protocol !== b.protocol && a.protocol !== 0 && b.protocol !== 0) return undefined
  const ports = intersectPorts(a, b)
  const startAddress = compareAddresses(a.startAddress, b.startAddress) >= 0 ? a.startAddress : b.startAddress
  const endAddress = compareAddresses(a.endAddress, b.endAddress) <= 0 ? a.endAddress : b.endAddress
  if (!ports || compareAddresses(startAddress, endAddress) > 0) return undefined
  return { family: a.family, protocol: a.protocol || b.protocol, ...ports, startAddress, endAddress }
}

/** Narrows one list by another (RFC 7296 section 2.9); parts that another part contains are left out. */
export function intersectSelectors(
  offered: readonly TrafficSelector[],
  allowed: readonly TrafficSelector[]
): TrafficSelector[] {
  let common: TrafficSelector[] = []
  for (const a of offered) {
    for (const b of allowed) {
      const part = intersectSelector(a, b)
      if (!part || common.some((other) => selectorContains(other, part))) continue
      common = common.filter((other) => !selectorContains(part, other))
      if (common.length === MAX_SELECTORS) return common
      common.push(part)
    }
  }
  return common
}

/** True when everything that `inner` selects, `outer` selects too. */
export function selectorContains(outer: TrafficSelector, inner: TrafficSelector): boolean {
  return (
    outer.family === inner.family &&
    (outer.protocol === 0 || outer.protocol === inner.protocol) &&
    portsContain(outer, inner) &&
    compareAddresses(outer.startAddress, inner.startAddress) <= 0 &&
    compareAddresses(outer.endAddress, inner.endAddress) >= 0
  )
}

/** True when each of `inner` lies within one of `outer`. */
export function selectorsContain(
  outer: readonly TrafficSelector[],
  inner: readonly TrafficSelector[]
): boolean {
  return inner.every((part) => outer.some((whole) => selectorContains(whole, part)))
}

function isAny(ports: PortRange): boolean {
  return ports.startPort === 0 && ports.endPort === MAX_PORT
}

function isOpaque(ports: PortRange): boolean {
  return ports.startPort === MAX_PORT && ports.endPort === 0
}

function intersectPorts(a: PortRange, b: PortRange): PortRange | undefined {
  if (isAny(a)) return { startPort: b.startPort, endPort: b.endPort }
  if (isAny(b)) return { startPort: a.startPort, endPort: a.endPort }
  if (isOpaque(a) && isOpaque(b)) return OPAQUE_PORTS
  const startPort = Math.max(a.startPort, b.startPort)
  const endPort = Math.min(a.endPort, b.endPort)
  return startPort <= endPort ? { startPort, endPort } : undefined
}

function portsContain(outer: PortRange, inner: PortRange): boolean {
  if (isAny(outer)) return true
  if (isOpaque(outer) || isOpaque(inner)) return isOpaque(outer) && isOpaque(inner)
  return outer.startPort <= inner.startPort && outer.endPort >= inner.endPort
}

function parseRange(
  text: string
): Pick<TrafficSelector, 'family' | 'startAddress' | 'endAddress'> | undefined {
  const dash = text.indexOf('-')
  if (dash < 0) {
    const cidr = parseCidr(text)
    return cidr && { family: cidr.family, startAddress: firstAddress(cidr), endAddress: lastAddress(cidr) }
  }
  const startAddress = addressToBytes(text.slice(0, dash))
  const endAddress = addressToBytes(text.slice(dash + 1))
  if (!startAddress || !endAddress || startAddress.length !== endAddress.length) return undefined
  if (compareAddresses(startAddress, endAddress) > 0) return undefined
  return { family: familyOf(startAddress), startAddress, endAddress }
}

function parseRestriction(text: string): ({ readonly protocol: number } & PortRange) | undefined {
  const match = RESTRICTION.exec(text.toLowerCase())
  if (!match) return undefined
  const [, protocolText = '', portText] = match
  const named = Object.hasOwn(PROTOCOL_NUMBERS, protocolText) ? PROTOCOL_NUMBERS[protocolText] : undefined
  const protocol = named ?? parseDecimal(protocolText, 255)
  const ports = portText === undefined ? ANY_PORTS : parsePorts(portText)
  return protocol === undefined || !ports ? undefined : { protocol, ...ports }
}

function parsePorts(text: string): PortRange | undefined {
  if (text === 'any') return ANY_PORTS
  if (text === 'opaque') return OPAQUE_PORTS
  const [startText = '', endText = startText, ...more] = text.split('-')
  const startPort = parseDecimal(startText, MAX_PORT)
  const endPort = parseDecimal(endText, MAX_PORT)
  if (startPort === undefined || endPort === undefined || more.length > 0 || startPort > endPort) {
    return undefined
  }
  return { startPort, endPort }
}

function parseDecimal(text: string, maximum: number): number | undefined {
  const value = Number(text)
  return DECIMAL.test(text) && value <= maximum ? value : undefined
}

function formatRestriction(selector: TrafficSelector): string {
  const protocol = PROTOCOL_NAMES.get(selector.protocol) ?? String(selector.protocol)
  if (isAny(selector)) return selector.protocol === 0 ? '' : `[${protocol}]`
  if (isOpaque(selector)) return `[${protocol}/opaque]`
  const { startPort, endPort } = selector
  return startPort === endPort ? `[${protocol}/${startPort}]` : `[${protocol}/${startPort}-${endPort}]`
}
