/**
 * One loopback address for each client. An IKEv2 server counts half-open IKE SAs by peer address; all streams of
 * a relay would share one, and one client's flood would have the server ask every client for cookies, or refuse them.
 * @module
 */
import { createHash } from 'node:crypto'
import { isIPv4 } from 'node:net'

/**
 * The address in 127.64.0.0/10 for this client, or undefined when the target is not on IPv4 loopback. Always the same for
 * one client, so that COOKIEs made for its address stay valid over a reconnection (RFC 9329 section 6.3).
 */
export function loopbackSource(clientAddress: string, targetAddress: string): string | undefined {
  if (!isIPv4(targetAddress) || !targetAddress.startsWith('127.')) return undefined
  const digest = createHash('sha256').update(clientAddress).digest()
  const host = digest.readUInt32BE(0) & 0x3f_ffff || 1 // 127.64.0.0 itself is left out
  return `127.${64 + (host >>> 16)}.${(host >>> 8) & 0xff}.${host & 0xff}`
}
