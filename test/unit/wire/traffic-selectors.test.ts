import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatCidr } from '../../../src/wire/cidr.ts'
import type { TrafficSelector } from '../../../src/wire/ike-message.ts'
import {
  formatTrafficSelector,
  formatTrafficSelectors,
  intersectSelector,
  intersectSelectors,
  parseTrafficSelector,
  selectEverything,
  selectorContains,
  selectorsContain,
  selectorToCidrs
} from '../../../src/wire/traffic-selectors.ts'
import { address } from '../../support/packet-factory.ts'

const SEED = 2909

function ts(text: string): TrafficSelector {
  const selector = parseTrafficSelector(text)
  if (!selector) throw new Error(text)
  return selector
}

describe('traffic selectors as text', () => {
  it.each([
    ['10.0.0.0/8', '10.0.0.0/8'],
    ['10.1.2.3/8', '10.0.0.0/8'],
    ['10.0.0.1', '10.0.0.1/32'],
    ['10.0.0.1-10.0.0.9', '10.0.0.1-10.0.0.9'],
    ['10.0.0.0-10.0.0.255', '10.0.0.0/24'],
    ['0.0.0.0/0[udp]', '0.0.0.0/0[udp]'],
    ['0.0.0.0/0[17]', '0.0.0.0/0[udp]'],
    ['10.0.0.0/8[tcp/443]', '10.0.0.0/8[tcp/443]'],
    ['10.0.0.0/8[TCP/8000-8080]', '10.0.0.0/8[tcp/8000-8080]'],
    ['10.0.0.0/8[any/53]', '10.0.0.0/8[any/53]'],
    ['10.0.0.0/8[tcp/any]', '10.0.0.0/8[tcp]'],
    ['10.0.0.0/8[any]', '10.0.0.0/8'],
    ['10.0.0.0/8[icmp/opaque]', '10.0.0.0/8[icmp/opaque]'],
    ['10.0.0.0/8[200]', '10.0.0.0/8[200]'],
    ['::/0', '::/0'],
    ['2001:db8::1-2001:db8::ffff[icmpv6/34304]', '2001:db8::1-2001:db8::ffff[icmpv6/34304]']
  ])('%s reads as %s', (text, formatted) => {
    expect(formatTrafficSelector(ts(text))).toBe(formatted)
    expect(ts(formatted)).toEqual(ts(text))
  })

  it.each([
    '',
    '[tcp]',
    '10.0.0.9-10.0.0.1',
    '10.0.0.1-::1',
    '10.0.0.1-10.0.0.2-10.0.0.3',
    '10.0.0.0/8[',
    '10.0.0.0/8[]',
    '10.0.0.0/8[tcp/]',
    '10.0.0.0/8[tcp/65536]',
    '10.0.0.0/8[tcp/9-1]',
    '10.0.0.0/8[tcp/1-2-3]',
    '10.0.0.0/8[256]',
    '10.0.0.0/8[constructor]',
    '10.0.0.0/8[tcp/443]x'
  ])('refuses %j', (text) => {
    expect(parseTrafficSelector(text)).toBeUndefined()
  })

  it('joins several with blanks', () => {
    expect(formatTrafficSelectors([selectEverything(4), selectEverything(6)])).toBe('0.0.0.0/0 ::/0')
  })

  it('become routes that cover their addresses exactly', () => {
    expect(selectorToCidrs(ts('10.0.0.1-10.0.0.4')).map(formatCidr)).toEqual([
      '10.0.0.1/32',
      '10.0.0.2/31',
      '10.0.0.4/32'
    ])
  })

  it('that select no address are shown as they are and become no route', () => {
    const backwards = { ...ts('10.0.0.1'), startAddress: address('10.0.0.9') }
    expect(formatTrafficSelector(backwards)).toBe('10.0.0.9-10.0.0.1')
    expect(selectorToCidrs(backwards)).toEqual([])
  })
})

describe('narrowing (RFC 7296 section 2.9)', () => {
  it.each([
    ['0.0.0.0/0', '10.0.0.0/8', '10.0.0.0/8'],
    ['10.0.0.0/8[tcp]', '10.1.0.0/16[any/443]', '10.1.0.0/16[tcp/443]'],
    ['10.0.0.0-10.0.0.9', '10.0.0.5-10.0.0.20', '10.0.0.5-10.0.0.9'],
    ['10.0.0.0/8[tcp/1-100]', '10.0.0.0/8[tcp/50-200]', '10.0.0.0/8[tcp/50-100]'],
    ['10.0.0.0/8[tcp]', '10.0.0.0/8[udp]', undefined],
    ['10.0.0.0/8', '11.0.0.0/8', undefined],
    ['0.0.0.0/0', '::/0', undefined],
    ['10.0.0.0/8[tcp/1-9]', '10.0.0.0/8[tcp/10-20]', undefined],
    ['10.0.0.0/8[tcp/opaque]', '10.0.0.0/8', '10.0.0.0/8[tcp/opaque]'],
    ['10.0.0.0/8[tcp/opaque]', '10.0.0.0/8[tcp/opaque]', '10.0.0.0/8[tcp/opaque]'],
    ['10.0.0.0/8[tcp/opaque]', '10.0.0.0/8[tcp/1-65535]', undefined]
  ])('%s and %s have %s in common', (a, b, common) => {
    for (const both of [intersectSelector(ts(a), ts(b)), intersectSelector(ts(b), ts(a))]) {
      expect(both && formatTrafficSelector(both)).toBe(common)
    }
  })

  it('leaves out parts that another part contains', () => {
    const offered = [ts('0.0.0.0/0'), ts('10.0.0.1'), ts('::/0')]
    const allowed = [ts('10.0.0.0/24'), ts('10.0.0.0/8'), ts('2001:db8::/32')]
    expect(formatTrafficSelectors(intersectSelectors(offered, allowed))).toBe('10.0.0.0/8 2001:db8::/32')
    expect(intersectSelectors(offered, [])).toEqual([])
  })

  it('makes no more selectors than a payload can hold', () => {
    const many = Array.from({ length: 255 }, (_, i) => ts(`10.0.0.0/8[tcp/${i * 2}]`))
    const ranges = Array.from({ length: 255 }, (_, i) => ts(`10.${i}.0.0/16`))
    expect(intersectSelectors(many, ranges)).toHaveLength(255)
  })

  it('yields what both sides contain, and exactly the points that both select', () => {
    const bound = fc.tuple(fc.integer({ min: 0, max: 15 }), fc.integer({ min: 0, max: 15 }))
    const selector = fc.tuple(fc.constantFrom(0, 6, 17), bound, bound).map(
      ([protocol, hosts, ports]): TrafficSelector => ({
        family: 4,
        protocol,
        startPort: Math.min(...ports),
        endPort: Math.max(...ports),
        startAddress: Uint8Array.of(10, 0, 0, Math.min(...hosts)),
        endAddress: Uint8Array.of(10, 0, 0, Math.max(...hosts))
      })
    )
    const selects = (s: TrafficSelector, protocol: number, port: number, host: number) =>
      (s.protocol === 0 || s.protocol === protocol) &&
      port >= s.startPort &&
      port <= s.endPort &&
      host >= (s.startAddress[3] ?? 0) &&
      host <= (s.endAddress[3] ?? 0)
    fc.assert(
      fc.property(fc.array(selector, { maxLength: 4 }), fc.array(selector, { maxLength: 4 }), (a, b) => {
        const common = intersectSelectors(a, b)
        expect(selectorsContain(a, common) && selectorsContain(b, common)).toBe(true)
        for (const protocol of [6, 17]) {
          for (let port = 0; port < 16; port++) {
            for (let host = 0; host < 16; host++) {
              const inBoth = [a, b].every((list) => list.some((s) => selects(s, protocol, port, host)))
              expect(common.some((s) => selects(s, protocol, port, host))).toBe(inBoth)
            }
          }
        }
      }),
      { seed: SEED, numRuns: 60 }
    )
  })

  it('knows what contains what', () => {
    expect(selectorContains(ts('10.0.0.0/8'), ts('10.1.0.0/16[tcp/80]'))).toBe(true)
    expect(selectorContains(ts('10.0.0.0/8[tcp]'), ts('10.1.0.0/16'))).toBe(false)
    expect(selectorContains(ts('10.0.0.0/8'), ts('10.0.0.0/8[tcp/opaque]'))).toBe(true)
    expect(selectorContains(ts('10.0.0.0/8[tcp/opaque]'), ts('10.0.0.0/8[tcp/opaque]'))).toBe(true)
    expect(selectorContains(ts('10.0.0.0/8[tcp/opaque]'), ts('10.0.0.0/8[tcp/5]'))).toBe(false)
    expect(selectorContains(ts('10.0.0.0/8[tcp/5]'), ts('10.0.0.0/8[tcp/opaque]'))).toBe(false)
    expect(selectorContains(ts('::/0'), ts('10.0.0.0/8'))).toBe(false)
  })
})
