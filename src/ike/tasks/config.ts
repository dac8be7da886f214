/**
 * Configuration payloads: what an initiator asks for, what a responder assigns (RFC 7296 section 3.15, RFC 8598).
 *
 * Peers leave the netmask out, send empty attributes and ones that nobody knows: what cannot be read is skipped.
 * @module
 */
import { addressFromBytes, addressToBytes } from '../../wire/address.ts'
import { formatCidr, netmaskFromPrefixLength, parseCidr, prefixLengthFromNetmask } from '../../wire/cidr.ts'
import { isDomainName } from '../../wire/domain-name.ts'
import { ConfigAttribute, ConfigType, PayloadType } from '../../wire/ike-constants.ts'
import type { ConfigAttributeValue, ConfigPayload } from '../../wire/ike-message.ts'
import { concat } from '../keymat.ts'
import type { AssignedConfig, ConfigRequest } from '../types.ts'

const NOTHING = new Uint8Array(0)
/** Entries of one kind that are kept; a peer could send thousands. */
const MAX_ENTRIES = 64

/** CFG_REQUEST. */
export function configRequestPayload(request: ConfigRequest): ConfigPayload {
  const attributes: ConfigAttributeValue[] = []
  const preferred = (request.preferred ?? []).map(addressToBytes)
  const ask = (type: number, value: Uint8Array = NOTHING) => attributes.push({ type, value })
  if (request.ipv4) {
    ask(ConfigAttribute.INTERNAL_IP4_ADDRESS, preferred.find((bytes) => bytes?.length === 4) ?? NOTHING)
    if (request.dns) ask(ConfigAttribute.INTERNAL_IP4_DNS)
    ask(ConfigAttribute.INTERNAL_IP4_SUBNET)
  }
  if (request.ipv6) {
    const address = preferred.find((bytes) => bytes?.length === 16)
    const wanted = address === undefined ? NOTHING : concat(address, Uint8Array.of(128))
    ask(ConfigAttribute.INTERNAL_IP6_ADDRESS, wanted)
    if (request.dns) ask(ConfigAttribute.INTERNAL_IP6_DNS)
    ask(ConfigAttribute.INTERNAL_IP6_SUBNET)
  }
  if (request.dns) ask(ConfigAttribute.INTERNAL_DNS_DOMAIN)
  return { type: PayloadType.CP, cfgType: ConfigType.CFG_REQUEST, attributes }
}

/** What a CFG_REPLY assigns. */
export function readAssignedConfig(payload: ConfigPayload): AssignedConfig {
  const netmask = payload.attributes.find(({ type }) => type === ConfigAttribute.INTERNAL_IP4_NETMASK)?.value
  const ipv4PrefixLength = (netmask?.length === 4 ? prefixLengthFromNetmask(netmask) : undefined) ?? 32
  const addresses: { address: string; prefixLength: number }[] = []
  const dns: string[] = []
  const dnsDomains: string[] = []
  const subnets: string[] = []
  for (const { type, value } of payload.attributes) {
    switch (type) {
      case ConfigAttribute.INTERNAL_IP4_ADDRESS:
        if (value.length === 4) {
          addresses.push({ address: addressFromBytes(value), prefixLength: ipv4PrefixLength })
        }
        break
      case ConfigAttribute.INTERNAL_IP6_ADDRESS:
        if (value.length === 17 || value.length === 16) {
          const prefixLength = Math.min(value[16] ?? 128, 128)
          addresses.push({ address: addressFromBytes(value.subarray(0, 16)), prefixLength })
        }
        break
      case ConfigAttribute.INTERNAL_IP4_DNS:
        if (value.length === 4) dns.push(addressFromBytes(value))
        break
      case ConfigAttribute.INTERNAL_IP6_DNS:
        if (value.length === 16) dns.push(addressFromBytes(value))
        break
      case ConfigAttribute.INTERNAL_DNS_DOMAIN:
        pushDefined(dnsDomains, readDomain(value))
        break
      case ConfigAttribute.INTERNAL_IP4_SUBNET:
        pushDefined(subnets, readIpv4Subnet(value))
        break
      case ConfigAttribute.INTERNAL_IP6_SUBNET:
        pushDefined(subnets, readIpv6Subnet(value))
        break
      default:
    }
  }
  return {
    addresses: addresses.slice(0, MAX_ENTRIES),
    dns: dns.slice(0, MAX_ENTRIES),
    dnsDomains: dnsDomains.slice(0, MAX_ENTRIES),
    subnets: subnets.slice(0, MAX_ENTRIES)
  }
}

/** CFG_REPLY. */
export function configReplyPayload(config: AssignedConfig): ConfigPayload {
  const attributes: ConfigAttributeValue[] = []
  for (const { address, prefixLength } of config.addresses) {
    const bytes = addressToBytes(address)
    if (bytes?.length === 4) {
      attributes.push({ type: ConfigAttribute.INTERNAL_IP4_ADDRESS, value: bytes })
      if (prefixLength < 32) {
        attributes.push({
          type: ConfigAttribute.INTERNAL_IP4_NETMASK,
          value: netmaskFromPrefixLength(prefixLength)
        })
      }
    } else if (bytes !== undefined) {
      const value = concat(bytes, Uint8Array.of(prefixLength))
      attributes.push({ type: ConfigAttribute.INTERNAL_IP6_ADDRESS, value })
    }
  }
  for (const server of config.dns) {
    const value = addressToBytes(server)
    if (value === undefined) continue
    const type = value.length === 4 ? ConfigAttribute.INTERNAL_IP4_DNS : ConfigAttribute.INTERNAL_IP6_DNS
    attributes.push({ type, value })
  }
  for (const domain of config.dnsDomains) {
    attributes.push({ type: ConfigAttribute.INTERNAL_DNS_DOMAIN, value: new TextEncoder().encode(domain) })
  }
  for (const subnet of config.subnets) attributes.push(...subnetAttribute(subnet))
  return { type: PayloadType.CP, cfgType: ConfigType.CFG_REPLY, attributes }
}

function subnetAttribute(text: string): ConfigAttributeValue[] {
  const cidr = parseCidr(text)
  if (cidr === undefined) return []
  if (cidr.family === 4) {
    const value = concat(cidr.address, netmaskFromPrefixLength(cidr.prefixLength))
    return [{ type: ConfigAttribute.INTERNAL_IP4_SUBNET, value }]
  }
  const value = concat(cidr.address, Uint8Array.of(cidr.prefixLength))
  return [{ type: ConfigAttribute.INTERNAL_IP6_SUBNET, value }]
}

function readIpv4Subnet(value: Uint8Array): string | undefined {
  const prefixLength = value.length === 8 ? prefixLengthFromNetmask(value.subarray(4)) : undefined
  if (prefixLength === undefined) return undefined
  return formatCidr({ family: 4, address: value.subarray(0, 4), prefixLength })
}

function readIpv6Subnet(value: Uint8Array): string | undefined {
  const prefixLength = value[16]
  if (value.length !== 17 || prefixLength === undefined || prefixLength > 128) return undefined
  return formatCidr({ family: 6, address: value.subarray(0, 16), prefixLength })
}

/** A name that is safe to hand to a resolver's configuration, or undefined. */
function readDomain(value: Uint8Array): string | undefined {
  const text = new TextDecoder().decode(value)
  return isDomainName(text) ? text : undefined
}

function pushDefined(list: string[], value: string | undefined): void {
  if (value !== undefined) list.push(value)
}
