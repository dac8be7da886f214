import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { addressFromBytes } from '../../../src/wire/address.ts'
import {
  addressInCidr,
  type Cidr,
  firstAddress,
  formatCidr,
  lastAddress,
  netmaskFromPrefixLength,
  networkOf,
  parseCidr,
  prefixLengthFromNetmask,
  rangeToCidrs
} from '../../../src/wire/cidr.ts'
import { fromHex } from '../../support/message-factory.ts'
import { address } from '../../support/packet-factory.ts'

const SEED = 4632

function cidr(text: string): Cidr {
  const parsed = parseCidr(text)
  if (!parsed) throw new Error(text)
  return parsed
}

describe('CIDR notation', () => {
  it.each([
    ['10.0.0.0/8', '10.0.0.0/8'],
    ['10.1.2.3/8', '10.1.2.3/8'],
    ['192.0.2.1', '192.0.2.1/32'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['::/0', '::/0'],
    ['2001:DB8::1', '2001:db8::1/128'],
    ['fd00::/8', 'fd00::/8']
  ])('%s reads as %s', (text, formatted) => {
    expect(formatCidr(cidr(text))).toBe(formatted)
  })

  it.each([
    '10.0.0.0/33',
    '10.0.0.0/',
    '10.0.0.0/08',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    '::/129',
    '/8',
    'x/8',
    '::/1e1'
  ])('refuses %j', (text) => {
    expect(parseCidr(text)).toBeUndefined()
  })

  it('knows the first and last address, and the network', () => {
    const block = cidr('10.200.30.40/13')
    expect(addressFromBytes(firstAddress(block))).toBe('10.200.0.0')
    expect(addressFromBytes(lastAddress(block))).toBe('10.207.255.255')
    expect(formatCidr(networkOf(block))).toBe('10.200.0.0/13')
    expect(addressFromBytes(lastAddress(cidr('2001:db8::/61')))).toBe('2001:db8:0:7:ffff:ffff:ffff:ffff')
  })

  it('tells what is inside', () => {
    expect(addressInCidr(address('10.7.0.0'), cidr('10.0.0.0/13'))).toBe(true)
    expect(addressInCidr(address('10.8.0.0'), cidr('10.0.0.0/13'))).toBe(false)
    expect(addressInCidr(address('::1'), cidr('0.0.0.0/0'))).toBe(false)
    expect(addressInCidr(address('::1'), cidr('::/0'))).toBe(true)
  })
})

describe('ranges as blocks', () => {
  it.each([
    ['0.0.0.0', '255.255.255.255', ['0.0.0.0/0']],
    ['10.0.0.0', '10.0.0.255', ['10.0.0.0/24']],
    ['10.0.0.1', '10.0.0.6', ['10.0.0.1/32', '10.0.0.2/31', '10.0.0.4/31', '10.0.0.6/32']],
    ['10.0.0.5', '10.0.0.5', ['10.0.0.5/32']],
    ['::', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', ['::/0']],
    ['10.0.0.2', '10.0.0.1', []],
    ['10.0.0.2', '::1', []]
  ])('%s to %s', (start, end, blocks) => {
    expect(rangeToCidrs(address(start), address(end)).map(formatCidr)).toEqual(blocks)
  })

  it('takes the most blocks for everything but the two ends', () => {
    expect(rangeToCidrs(address('0.0.0.1'), address('255.255.255.254'))).toHaveLength(62)
    expect(rangeToCidrs(address('::1'), address('ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe'))).toHaveLength(254)
  })

  it('covers every address of a small range exactly once, and no two blocks could be one', () => {
    const word = fc.integer({ min: 0, max: 511 })
    fc.assert(
      fc.property(word, word, fc.boolean(), (a, b, isIpv6) => {
        const prefix = isIpv6 ? 'fd000000000000000000000000' : '0a00'
        const at = (value: number) => fromHex(prefix + value.toString(16).padStart(isIpv6 ? 6 : 4, '0'))
        const [low, high] = [Math.min(a, b), Math.max(a, b)]
        const blocks = rangeToCidrs(at(low), at(high))
        for (let value = 0; value < 512; value++) {
          const covering = blocks.filter((block) => addressInCidr(at(value), block)).length
          expect(covering).toBe(value >= low && value <= high ? 1 : 0)
        }
        for (const [i, block] of blocks.entries()) {
          const next = blocks[i + 1]
          const merged = formatCidr(networkOf({ ...block, prefixLength: block.prefixLength - 1 }))
          const couldMerge =
            next?.prefixLength === block.prefixLength &&
            merged === formatCidr(networkOf({ ...next, prefixLength: next.prefixLength - 1 }))
          expect(couldMerge).toBe(false)
        }
      }),
      { seed: SEED, numRuns: 60 }
    )
  })
})

describe('netmasks', () => {
  it('go both ways for every prefix length', () => {
    for (let prefixLength = 0; prefixLength <= 32; prefixLength++) {
      expect(prefixLengthFromNetmask(netmaskFromPrefixLength(prefixLength))).toBe(prefixLength)
    }
    expect(addressFromBytes(netmaskFromPrefixLength(20))).toBe('255.255.240.0')
  })

  it('with holes, or of another length, are none', () => {
    expect(prefixLengthFromNetmask(address('255.0.255.0'))).toBeUndefined()
    expect(prefixLengthFromNetmask(new Uint8Array(0))).toBeUndefined()
    expect(prefixLengthFromNetmask(new Uint8Array(16))).toBeUndefined()
  })
})
