import { beforeAll, describe, expect, it } from 'vitest'
import { AddressPool } from '../../../src/gateway/address-pool.ts'
import { type GatewayPolicy, gatewayPolicy } from '../../../src/gateway/policy.ts'
import { identityFromText } from '../../../src/ike/auth/identity.ts'
import { ConfigAttribute, EapType } from '../../../src/wire/ike-constants.ts'
import { formatTrafficSelectors } from '../../../src/wire/traffic-selectors.ts'
import { cidr, GATEWAY_NAME, gatewayOptions } from '../../support/gateway-fixture.ts'

const someone = identityFromText('someone@test')
const NOTHING = new Uint8Array(0)
const V4 = { type: ConfigAttribute.INTERNAL_IP4_ADDRESS, value: NOTHING }
const V6 = { type: ConfigAttribute.INTERNAL_IP6_ADDRESS, value: NOTHING }

function policyFor(changes: Parameters<typeof gatewayOptions>[0] = {}): GatewayPolicy {
  const options = gatewayOptions(changes)
  return gatewayPolicy(options, new AddressPool(options.pools))
}

describe('who is let in, and how', () => {
  let policy: GatewayPolicy
  beforeAll(() => {
    policy = policyFor()
  })

  it('a shared key is answered with the shared key', () => {
    const rules = policy.authenticationFor(someone, undefined, 'psk')
    expect([rules?.localAuth.method, rules?.remoteAuth.method]).toEqual(['psk', 'psk'])
  })

  it.each(['certificate', 'eap'] as const)('%s is answered with the certificate', (kind) => {
    const rules = policy.authenticationFor(someone, undefined, kind)
    expect([rules?.localAuth.method, rules?.remoteAuth.method]).toEqual(['certificate', kind])
  })

  it('offers the EAP methods that somebody can pass', () => {
    const methods = (changes: Parameters<typeof gatewayOptions>[0]): readonly number[] | undefined => {
      const rules = policyFor(changes).authenticationFor(someone, undefined, 'eap')
      return rules?.remoteAuth.method === 'eap' ? rules.remoteAuth.server.methods : undefined
    }
    expect(methods({})).toEqual([EapType.MSCHAPV2, EapType.TLS])
    expect(methods({ clientTrust: undefined })).toEqual([EapType.MSCHAPV2])
    expect(methods({ users: new Map() })).toEqual([EapType.TLS])
    expect(methods({ users: new Map(), clientTrust: undefined })).toBeUndefined()
  })

  it('nothing that is not configured', () => {
    const closed = policyFor({ psk: undefined, clientTrust: undefined, users: new Map() })
    for (const kind of ['psk', 'certificate', 'eap'] as const)
      expect(closed.authenticationFor(someone, undefined, kind)).toBeUndefined()
  })

  it('is called by the name that was asked for if its certificate has that name, else by its own', () => {
    const nameFor = (wanted: string): string => {
      const rules = policy.authenticationFor(someone, identityFromText(wanted), 'eap')
      return Buffer.from(rules?.localIdentity.data ?? NOTHING).toString('latin1')
    }
    expect(nameFor('127.0.0.1')).toBe('\x7f\0\0\x01')
    expect(nameFor(GATEWAY_NAME.toUpperCase())).toBe(GATEWAY_NAME.toUpperCase())
    expect(nameFor('other.test')).toBe(GATEWAY_NAME)
  })
})

describe('what clients get', () => {
  it('an address of each family that they ask for, with its name servers and networks', () => {
    const policy = policyFor({
      dns: ['10.99.0.1', 'fd00:99::1'],
      localTs: [cidr('10.1.2.3/8'), cidr('fd00::/16')]
    })
    expect(policy.assign('a', [V4, V6])).toEqual({
      addresses: [
        { address: '10.99.0.2', prefixLength: 32 },
        { address: 'fd00:99::2', prefixLength: 128 }
      ],
      dns: ['10.99.0.1', 'fd00:99::1'],
      dnsDomains: [],
      subnets: ['10.0.0.0/8', 'fd00::/16']
    })
    expect(policy.assign('b', [V4])).toMatchObject({
      addresses: [{ address: '10.99.0.3' }],
      dns: ['10.99.0.1'],
      subnets: ['10.0.0.0/8']
    })
    expect(formatTrafficSelectors(policy.localTs)).toBe('10.0.0.0/8 fd00::/16')
  })

  it('the domains of its name servers, if they ask for domains and get a server', () => {
    const policy = policyFor({ dns: ['10.99.0.1'], dnsDomains: ['corp.example'] })
    const domains = { type: ConfigAttribute.INTERNAL_DNS_DOMAIN, value: NOTHING }
    expect(policy.assign('a', [V4, domains])?.dnsDomains).toEqual(['corp.example'])
    expect(policy.assign('a', [V4])?.dnsDomains).toEqual([])
    expect(policy.assign('b', [V6, domains])?.dnsDomains).toEqual([])
  })

  it('everything behind the gateway, if nothing else is said', () => {
    expect(formatTrafficSelectors(policyFor().localTs)).toBe('0.0.0.0/0 ::/0')
    expect(policyFor().assign('a', [V4])?.subnets).toEqual([])
  })

  it('what they had and ask for again; free addresses again after a release', () => {
    const policy = policyFor({ pools: [cidr('10.99.0.0/29')] })
    const wanted = { type: ConfigAttribute.INTERNAL_IP4_ADDRESS, value: Uint8Array.of(10, 99, 0, 5) }
    const first = policy.assign('a', [wanted])
    expect(first?.addresses).toEqual([{ address: '10.99.0.5', prefixLength: 32 }])
    const others = ['b', 'c', 'd', 'e'].map((peer) => policy.assign(peer, [V4])?.addresses[0]?.address)
    expect(others).toEqual(['10.99.0.2', '10.99.0.3', '10.99.0.4', '10.99.0.6'])
    expect(policy.assign('f', [V4])).toBeUndefined()
    if (first !== undefined) policy.release('a', first)
    expect(policy.assign('f', [V4])?.addresses[0]?.address).toBe('10.99.0.5')
  })

  it('the other family when one has run out', () => {
    const policy = policyFor({ pools: [cidr('fd00:99::/64')] })
    expect(policy.assign('a', [V4, V6])?.addresses).toEqual([{ address: 'fd00:99::2', prefixLength: 128 }])
    expect(policy.assign('a', [V4])).toBeUndefined()
  })

  it('nothing, if they ask for nothing', () => {
    expect(policyFor().assign('a', [])).toMatchObject({ addresses: [], dns: [] })
  })

  it('ignores a wanted address that is cut short', () => {
    const cut = { type: ConfigAttribute.INTERNAL_IP4_ADDRESS, value: Uint8Array.of(10, 99) }
    expect(policyFor().assign('a', [cut])?.addresses[0]?.address).toBe('10.99.0.2')
  })
})
