/**
 * What kind of an address it is: who can have it.
 * @module
 */
import { BlockList, isIPv6 } from 'node:net'
import type { AddressScope } from '../diagnosis/evidence.ts'

const RANGES: readonly (readonly [scope: AddressScope, networks: readonly string[]])[] = [
  ['loopback', ['127.0.0.0/8', '::1/128']],
  ['link-local', ['169.254.0.0/16', 'fe80::/10']],
  // RFC 6598: behind a provider's NAT.
  ['shared', ['100.64.0.0/10']],
  ['private', ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7']]
]

const LISTS = RANGES.map(([scope, networks]) => {
  const list = new BlockList()
  for (const network of networks) {
    const [address = '', length] = network.split('/')
    list.addSubnet(address, Number(length), isIPv6(address) ? 'ipv6' : 'ipv4')
  }
  return { scope, list }
})

export function addressScope(address: string): AddressScope {
  const family = isIPv6(address) ? 'ipv6' : 'ipv4'
  return LISTS.find(({ list }) => list.check(address, family))?.scope ?? 'public'
}
