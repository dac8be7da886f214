/**
 * Traffic selectors for test programs: every protocol and port of a prefix.
 * @module
 */
import { isIPv4 } from 'node:net'

/** `10.0.0.0/8` and the like, as RFC 7296 section 3.13.1 has them. */
export function cidrToSelector(cidr) {
  const [address, prefix] = cidr.split('/')
  const family = isIPv4(address) ? 4 : 6
  const startAddress = family === 4 ? Uint8Array.from(address.split('.'), Number) : ipv6Bytes(address)
  const endAddress = Uint8Array.from(startAddress)
  for (let bit = Number(prefix); bit < startAddress.length * 8; bit++) {
    startAddress[bit >> 3] &= ~(0x80 >> (bit & 7))
    endAddress[bit >> 3] |= 0x80 >> (bit & 7)
  }
  return { family, protocol: 0, startPort: 0, endPort: 65535, startAddress, endAddress }
}

function ipv6Bytes(address) {
  const [head = '', tail = ''] = address.split('::')
  const groups = (text) => (text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16)))
  const left = groups(head)
  const right = address.includes('::') ? groups(tail) : []
  const words = [...left, ...new Array(8 - left.length - right.length).fill(0), ...right]
  return Uint8Array.from(words.flatMap((word) => [word >> 8, word & 0xff]))
}
