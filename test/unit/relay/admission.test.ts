import { describe, expect, test } from 'vitest'
import { Admission } from '../../../src/relay/admission.ts'
import { DEFAULT_RELAY_LIMITS, type RelayLimits } from '../../../src/relay/options.ts'

const admission = (limits: Partial<RelayLimits>): Admission =>
  new Admission({ ...DEFAULT_RELAY_LIMITS, ...limits })

describe('admission', () => {
  test('bounds open connections in all, and a place that is released is free again', () => {
    const door = admission({ maxConnections: 2 })
    expect(door.admit('198.51.100.1', 0)).toBeUndefined()
    expect(door.admit('198.51.100.2', 0)).toBeUndefined()
    expect(door.admit('198.51.100.3', 0)).toBe('too-many-connections')
    door.release('198.51.100.1')
    expect(door.admit('198.51.100.3', 0)).toBeUndefined()
    expect(door.openConnections).toBe(2)
  })

  test('bounds open connections of one address', () => {
    const door = admission({ maxConnectionsPerAddress: 2 })
    expect(door.admit('198.51.100.1', 0)).toBeUndefined()
    expect(door.admit('198.51.100.1', 0)).toBeUndefined()
    expect(door.admit('198.51.100.1', 0)).toBe('too-many-from-address')
    expect(door.admit('198.51.100.2', 0)).toBeUndefined()
  })

  test('an IPv6 peer counts by its /64', () => {
    const door = admission({ maxConnectionsPerAddress: 1 })
    expect(door.admit('2001:db8:1:2::1', 0)).toBeUndefined()
    expect(door.admit('2001:db8:1:2:ffff::9', 0)).toBe('too-many-from-address')
    expect(door.admit('2001:db8:1:3::1', 0)).toBeUndefined()
    door.release('2001:db8:1:2::1')
    expect(door.admit('2001:db8:1:2:ffff::9', 0)).toBeUndefined()
  })

  test('bounds new connections within each half-second, in all and of one address', () => {
    const door = admission({ maxAccepts: 3, maxAcceptsPerAddress: 2 })
    expect(door.admit('198.51.100.1', 1000)).toBeUndefined()
    expect(door.admit('198.51.100.1', 1100)).toBeUndefined()
    expect(door.admit('198.51.100.1', 1200)).toBe('too-fast-from-address')
    expect(door.admit('198.51.100.2', 1300)).toBeUndefined()
    expect(door.admit('198.51.100.3', 1400)).toBe('too-fast')
    expect(door.admit('198.51.100.1', 1500)).toBeUndefined()
  })
})
