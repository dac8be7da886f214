import { describe, expect, it } from 'vitest'
import { networksOf } from '../../../src/client/tunnel-networks.ts'
import { MAX_ROUTES } from '../../../src/host/keeper-protocol.ts'
import type { TrafficSelector } from '../../../src/wire/ike-message.ts'
import { selectors } from '../../support/ike-pair.ts'

/** 254 networks, none of which belongs to the next one. */
function oddRange(index: number): TrafficSelector {
  const startAddress = Uint8Array.from({ length: 16 }, (_, at) => (at === 0 ? index : at === 15 ? 1 : 0))
  const endAddress = Uint8Array.from({ length: 16 }, (_, at) => (at === 0 ? index : at === 15 ? 0xfe : 0xff))
  return { family: 6, protocol: 0, startPort: 0, endPort: 0xffff, startAddress, endAddress }
}

describe('the networks of a Child SA', () => {
  it('are each told once, whatever protocols and ports they are for', () => {
    expect(
      networksOf(selectors('10.0.0.0/8[tcp/80]', '10.0.0.0/8', '192.168.1.0-192.168.2.255', '::/0'))
    ).toEqual(['10.0.0.0/8', '192.168.1.0/24', '192.168.2.0/24', '::/0'])
  })

  it('are as many as the host takes, and what would make more is refused, not cut off', () => {
    const ranges = Array.from({ length: 255 }, (_, index) => oddRange(index))
    expect(networksOf(ranges.slice(0, 60)).length).toBeLessThanOrEqual(MAX_ROUTES)
    expect(() => networksOf(ranges)).toThrow(/more than 16384 routes/)
  })
})
