/**
 * Traffic selectors inside TSi and TSr (RFC 7296 section 3.13):
 *
 *     Number of TSs | reserved (3) | selectors
 *     TS Type | IP Protocol | Selector Length (2) | Start Port (2) | End Port (2) | Start Address | End Address
 *
 * Selectors of an unknown type are skipped: they select nothing that this end could carry.
 * @module
 */
import { TrafficSelectorType } from './ike-constants.ts'
import type { TrafficSelector } from './ike-message.ts'
import type { Reader } from './reader.ts'
import type { Writer } from './writer.ts'

const SELECTOR_HEADER_LENGTH = 4

/** At most 255 selectors: their number has one byte. */
export function readTrafficSelectors(r: Reader): TrafficSelector[] {
  const count = r.u8('count')
  r.skip(3, 'reserved')
  const selectors: TrafficSelector[] = []
  for (let index = 0; index < count; index++) {
    const name = `selector[${index}]`
    const type = r.u8(name)
    const protocol = r.u8(name)
    const length = r.u16(name)
    if (length < SELECTOR_HEADER_LENGTH) throw r.syntaxError(`has length ${length}`, name)
    const body = r.sub(length - SELECTOR_HEADER_LENGTH, name)
    if (type === TrafficSelectorType.TS_IPV4_ADDR_RANGE) selectors.push(readSelector(body, 4, protocol))
    if (type === TrafficSelectorType.TS_IPV6_ADDR_RANGE) selectors.push(readSelector(body, 6, protocol))
  }
  r.expectEnd()
  return selectors
}

export function writeTrafficSelectors(w: Writer, selectors: readonly TrafficSelector[]): void {
  w.u8(selectors.length)
  w.zeros(3)
  for (const selector of selectors) {
    const isIpv4 = selector.family === 4
    w.u8(isIpv4 ? TrafficSelectorType.TS_IPV4_ADDR_RANGE : TrafficSelectorType.TS_IPV6_ADDR_RANGE)
    w.u8(selector.protocol)
    w.u16(isIpv4 ? 16 : 40)
    w.u16(selector.startPort)
    w.u16(selector.endPort)
    w.bytes(selector.startAddress)
    w.bytes(selector.endAddress)
  }
}

function readSelector(r: Reader, family: 4 | 6, protocol: number): TrafficSelector {
  const addressLength = family === 4 ? 4 : 16
  const startPort = r.u16('startPort')
  const endPort = r.u16('endPort')
  const startAddress = r.take(addressLength, 'startAddress')
  const endAddress = r.take(addressLength, 'endAddress')
  r.expectEnd()
  return { family, protocol, startPort, endPort, startAddress, endAddress }
}
