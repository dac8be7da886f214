import { isIP } from 'node:net'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  addressFamily,
  addressFromBytes,
  addressToBytes,
  compareAddresses
} from '../../../src/wire/address.ts'
import { fromHex, toHex } from '../../support/message-factory.ts'

const SEED = 5952

/** Groups that are often zero, so that compression happens. */
const ipv6Bytes = fc
  .array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffff })), { minLength: 8, maxLength: 8 })
  .map((groups) => Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff])))

describe('IPv6 text (RFC 5952)', () => {
  it.each([
    // sections 1 and 4.1: leading zeros
    ['2001:0db8::0001', '2001:db8::1'],
    ['2001:db8:0:0:0:0:2:1', '2001:db8::2:1'],
    // section 4.2.1: shorten as much as possible
    ['2001:db8:0:0:0::1', '2001:db8::1'],
    ['2001:db8::0:1', '2001:db8::1'],
    // section 4.2.2: no "::" for one group
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:db8::1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    // section 4.2.3: the longest run, the first of equals
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    // section 4.3: lower case
    ['2001:DB8::ABCD', '2001:db8::abcd'],
    // section 5: mapped addresses
    ['0:0:0:0:0:ffff:c000:0201', '::ffff:192.0.2.1'],
    ['::ffff:192.0.2.1', '::ffff:192.0.2.1'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
    ['fe80:0:0:0:0:0:0:0', 'fe80::']
  ])('%s is written %s', (text, canonical) => {
    const bytes = addressToBytes(text)
    expect(bytes && addressFromBytes(bytes)).toBe(canonical)
  })

  it.each([
    '',
    ':',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7::8:9',
    '1:2:3:4::5:6:7:8',
    '12345::',
    'g::',
    ':1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:',
    '::1.2.3',
    '::1.2.3.256',
    '1.2.3.4::',
    '::1.2.3.4:5',
    'fe80::1%eth0',
    '[::1]',
    ' ::1',
    '1:2:3:4:5:6:7:1.2.3.4',
    '::'.padEnd(100, '0')
  ])('refuses %j', (text) => {
    expect(addressToBytes(text)).toBeUndefined()
  })

  it('agrees with the platform on what an address is', () => {
    const text = fc.oneof(
      fc
        .array(fc.constantFrom('0', '1', 'ff', ':', '::', '.', '255', '256', '01', 'a:b', '1.2.3.4'), {
          maxLength: 12
        })
        .map((parts) => parts.join('')),
      ipv6Bytes.map(addressFromBytes),
      fc.ipV4(),
      fc.ipV6()
    )
    fc.assert(
      fc.property(text, (candidate) => {
        expect(addressFamily(candidate) ?? 0).toBe(isIP(candidate))
      }),
      { seed: SEED, numRuns: 3000 }
    )
  })

  it('reads back what it writes', () => {
    fc.assert(
      fc.property(ipv6Bytes, (bytes) => {
        expect(toHex(addressToBytes(addressFromBytes(bytes)) ?? new Uint8Array(0))).toBe(toHex(bytes))
      }),
      { seed: SEED + 1, numRuns: 1000 }
    )
  })
})

describe('IPv4 text', () => {
  it.each(['0.0.0.0', '255.255.255.255', '192.0.2.1'])('%s reads and writes the same', (text) => {
    const bytes = addressToBytes(text)
    expect(bytes && addressFromBytes(bytes)).toBe(text)
  })

  it.each([
    '1.2.3',
    '1.2.3.4.5',
    '256.1.1.1',
    '01.2.3.4',
    '1.2.3.4 ',
    '1..3.4',
    '0x1.2.3.4',
    '1.2.3.1e1',
    '-1.2.3.4'
  ])('refuses %j', (text) => {
    expect(addressToBytes(text)).toBeUndefined()
  })
})

it('refuses to write anything that is not 4 or 16 bytes', () => {
  expect(() => addressFromBytes(new Uint8Array(5))).toThrow(RangeError)
})

it('orders addresses as numbers', () => {
  expect(compareAddresses(fromHex('0a000001'), fromHex('0a000100'))).toBeLessThan(0)
  expect(compareAddresses(fromHex('ff000000'), fromHex('0a000100'))).toBeGreaterThan(0)
  expect(compareAddresses(fromHex('0a000100'), fromHex('0a000100'))).toBe(0)
})
