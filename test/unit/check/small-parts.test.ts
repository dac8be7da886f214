import { describe, expect, it } from 'vitest'
import { addressScope } from '../../../src/check/address-scope.ts'
import { Bell } from '../../../src/check/bell.ts'
import { roundTrip } from '../../../src/check/round-trip.ts'
import { icmpErrorName } from '../../../src/transport/icmp-error.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

describe('what kind of an address it is', () => {
  it.each([
    ['203.0.113.7', 'public'],
    ['10.1.2.3', 'private'],
    ['172.31.255.255', 'private'],
    ['172.32.0.1', 'public'],
    ['192.168.1.1', 'private'],
    ['100.64.0.1', 'shared'],
    ['169.254.1.1', 'link-local'],
    ['127.0.0.53', 'loopback'],
    ['::1', 'loopback'],
    ['fd00::1', 'private'],
    ['fe80::1', 'link-local'],
    ['2001:db8::1', 'public']
  ])('%s is %s', (address, scope) => {
    expect(addressScope(address)).toBe(scope)
  })
})

describe('round trips', () => {
  it('are nothing without samples', () => {
    expect(roundTrip([])).toBeNull()
  })

  it('are the least and the middle one', () => {
    expect(roundTrip([5, 1.234, 9])).toEqual({ minMs: 1.23, medianMs: 5, samples: 3 })
    expect(roundTrip([4, 2])).toEqual({ minMs: 2, medianMs: 2, samples: 2 })
  })
})

describe('names of ICMP errors', () => {
  it.each([
    [4, 3, 3, 'port-unreachable'],
    [4, 3, 13, 'administratively-prohibited'],
    [4, 3, 4, 'too-big'],
    [4, 11, 0, 'time-exceeded'],
    [4, 3, 99, 'icmp-3-99'],
    [6, 1, 4, 'port-unreachable'],
    [6, 1, 1, 'administratively-prohibited'],
    [6, 2, 0, 'too-big'],
    [6, 4, 1, 'icmp-4-1']
  ] as const)('IPv%i type %i code %i is %s', (family, type, code, name) => {
    expect(icmpErrorName(family, type, code)).toBe(name)
  })
})

describe('a bell', () => {
  it('wakes whoever waits, or whoever waits next, or everybody in time', async () => {
    const clock = new VirtualClock()
    const bell = new Bell(clock, new AbortController().signal)
    let woken = 0
    const wait = (untilMs: number): void => void bell.wait(clock.now() + untilMs).then(() => woken++)
    wait(1_000)
    bell.ring()
    await clock.advance(0)
    expect(woken).toBe(1)
    bell.ring()
    wait(1_000)
    await clock.advance(0)
    expect(woken).toBe(2)
    wait(1_000)
    await clock.advance(999)
    expect(woken).toBe(2)
    await clock.advance(1)
    expect(woken).toBe(3)
    expect(clock.armed).toBe(0)
  })

  it('rings when all is to end', async () => {
    const clock = new VirtualClock()
    const abort = new AbortController()
    let woken = false
    void new Bell(clock, abort.signal).wait(clock.now() + 1_000).then(() => {
      woken = true
    })
    abort.abort()
    await clock.advance(0)
    expect(woken).toBe(true)
  })
})
