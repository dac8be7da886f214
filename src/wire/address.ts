/**
 * IP addresses as text: strict parsing, and the canonical form of RFC 5952.
 * Bytes are 4 (IPv4) or 16 (IPv6); no zones, no brackets, no octal or shortened IPv4.
 * @module
 */

export const IPV4_LENGTH = 4
export const IPV6_LENGTH = 16

const GROUPS = 8
const OCTET = /^(?:0|[1-9][0-9]{0,2})$/
const GROUP = /^[0-9a-fA-F]{1,4}$/
/** Longer text cannot be an address: not worth taking apart. */
const MAX_TEXT_LENGTH = 45

/** @returns 4 or 16 bytes, or undefined when the text is not exactly one address */
export function addressToBytes(text: string): Uint8Array | undefined {
  if (text.length > MAX_TEXT_LENGTH) return undefined
  return text.includes(':') ? parseIpv6(text) : parseIpv4(text)
}

/**
 * The canonical text of an address (RFC 5952 section 4; IPv4-mapped ones in mixed notation, section 5).
 * @throws RangeError unless there are 4 or 16 bytes
 */
export function addressFromBytes(bytes: Uint8Array): string {
  if (bytes.length === IPV4_LENGTH) return bytes.join('.')
  if (bytes.length === IPV6_LENGTH) return formatIpv6(bytes)
  throw new RangeError(`an address has 4 or 16 bytes, not ${bytes.length}`)
}

/** 4, 6, or undefined when the text is not an address. */
export function addressFamily(text: string): 4 | 6 | undefined {
  const bytes = addressToBytes(text)
  return bytes && familyOf(bytes)
}

/** The family of an address of 4 or 16 bytes. */
export function familyOf(bytes: Uint8Array): 4 | 6 {
  return bytes.length === IPV4_LENGTH ? 4 : 6
}

/** Orders addresses of one family: negative, zero or positive. */
export function compareAddresses(a: Uint8Array, b: Uint8Array): number {
  for (let i = 0; i < a.length; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}

/** What one subscriber gets of IPv6 at least; whoever has it can send from 2^64 addresses. */
const SUBSCRIBER_BYTES = 8

/** What counts as one peer where peers are counted: an IPv4 address, or the /64 of an IPv6 address. */
export function subscriberOf(address: string): string {
  const bytes = addressToBytes(address)
  return bytes?.length === IPV6_LENGTH ? bytes.subarray(0, SUBSCRIBER_BYTES).join('.') : address
}

function parseIpv4(text: string): Uint8Array | undefined {
  const octets = text.split('.')
  if (octets.length !== IPV4_LENGTH) return undefined
  const bytes = new Uint8Array(IPV4_LENGTH)
  for (const [index, octet] of octets.entries()) {
    const value = Number(octet)
    if (!OCTET.test(octet) || value > 255) return undefined
    bytes[index] = value
  }
  return bytes
}

function parseIpv6(text: string): Uint8Array | undefined {
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const [headText = '', tailText] = halves
  const isCompressed = tailText !== undefined
  // An embedded IPv4 address may only end the whole text.
  const head = parseGroups(headText, !isCompressed)
  const tail = isCompressed ? parseGroups(tailText, true) : []
  if (!head || !tail) return undefined
  const missing = GROUPS - head.length - tail.length
  if (isCompressed ? missing < 1 : missing !== 0) return undefined
  const bytes = new Uint8Array(IPV6_LENGTH)
  const groups = [...head, ...new Array<number>(missing).fill(0), ...tail]
  for (const [index, group] of groups.entries()) {
    bytes[index * 2] = group >>> 8
    bytes[index * 2 + 1] = group
  }
  return bytes
}

function parseGroups(text: string, mayEndInIpv4: boolean): number[] | undefined {
  if (text === '') return []
  const parts = text.split(':')
  const groups: number[] = []
  for (const [index, part] of parts.entries()) {
    if (GROUP.test(part)) {
      groups.push(Number.parseInt(part, 16))
      continue
    }
    const ipv4 = mayEndInIpv4 && index === parts.length - 1 ? parseIpv4(part) : undefined
    if (!ipv4) return undefined
    const [a = 0, b = 0, c = 0, d = 0] = ipv4
    groups.push((a << 8) | b, (c << 8) | d)
  }
  return groups
}

function formatIpv6(bytes: Uint8Array): string {
  const groups = Array.from(
    { length: GROUPS },
    (_, i) => ((bytes[i * 2] ?? 0) << 8) | (bytes[i * 2 + 1] ?? 0)
  )
  const isIpv4Mapped = groups[5] === 0xffff && groups.slice(0, 5).every((group) => group === 0)
  if (isIpv4Mapped) return `::ffff:${bytes.subarray(12).join('.')}`
  const run = longestZeroRun(groups)
  const text = (part: number[]) => part.map((group) => group.toString(16)).join(':')
  if (run.length < 2) return text(groups)
  return `${text(groups.slice(0, run.start))}::${text(groups.slice(run.start + run.length))}`
}

/** The first of the longest runs of zero groups (RFC 5952 section 4.2.3). */
function longestZeroRun(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 }
  let length = 0
  for (const [index, group] of groups.entries()) {
    length = group === 0 ? length + 1 : 0
    if (length > best.length) best = { start: index - length + 1, length }
  }
  return best
}
