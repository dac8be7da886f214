/**
 * Do the answers of this network's name server bear the truth that is known?
 * @module
 */
import type { DnsEvidence } from './evidence.ts'
import type { DnsHonesty } from './verdict.ts'

/** What ipv4only.arpa is, everywhere (RFC 7050 section 8.2). */
const IPV4ONLY_ADDRESSES: ReadonlySet<string> = new Set(['192.0.0.170', '192.0.0.171'])

export function dnsHonesty(dns: DnsEvidence | null): DnsHonesty {
  if (dns === null) return 'unknown'
  const { knownName, randomName, addresses } = dns
  if (knownName?.outcome === 'resolved' && !knownName.addresses.every((ip) => IPV4ONLY_ADDRESSES.has(ip)))
    return 'hijacked'
  if (randomName?.outcome === 'resolved') {
    // A name that does not exist has the gateway's address: everything here has it.
    const ours = new Set(addresses.map(({ address }) => address))
    return randomName.addresses.some((ip) => ours.has(ip)) ? 'hijacked' : 'rewrites-missing-names'
  }
  const told = knownName?.outcome === 'resolved' || randomName?.outcome === 'not-found'
  return told ? 'honest' : 'unknown'
}
