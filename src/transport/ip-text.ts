/**
 * IP addresses between their text form and their 4 or 16 bytes.
 * @module
 */
import { isIPv4, isIPv6 } from 'node:net'

/** @returns undefined when the text is not an address; a zone (`%eth0`) is not accepted */
export function ipToBytes(text: string): Uint8Array | undefined {
  if (isIPv4(text)) return Uint8Array.from(text.split('.'), Number)
  if (!isIPv6(text) || text.includes('%')) return undefined
  const [head = '', tail] = text.split('::')
  const left = groups(head)
  const right = tail === undefined ? [] : groups(tail)
  const bytes = new Uint8Array(16)
  bytes.set(left, 0)
  bytes.set(right, 16 - right.length)
  return bytes
}

function groups(text: string): number[] {
  if (text === '') return []
  return text.split(':').flatMap((group) => {
    if (group.includes('.')) return group.split('.').map(Number)
    const value = Number.parseInt(group, 16)
    return [value >> 8, value & 0xff]
  })
}

/** The canonical form of RFC 5952 for IPv6. @throws RangeError unless there are 4 or 16 bytes */
export function ipToText(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.')
  if (bytes.length !== 16) throw new RangeError('An IP address has 4 or 16 bytes')
  const values = Array.from({ length: 8 }, (_, i) => ((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0))
  let bestStart = -1
  let bestLength = 1
  for (let start = 0; start < 8; start++) {
    let length = 0
    while (start + length < 8 && values[start + length] === 0) length++
    if (length > bestLength) {
      bestStart = start
      bestLength = length
    }
  }
  const hex = (part: number[]) => part.map((value) => value.toString(16)).join(':')
  if (bestStart < 0) return hex(values)
  return `${hex(values.slice(0, bestStart))}::${hex(values.slice(bestStart + bestLength))}`
}

/** `::ffff:192.0.2.1` is how a dual-stack socket writes 192.0.2.1. */
export function plainAddress(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)
  return (mapped?.[1] ?? address).replace(/%.*$/, '')
}
