import { describe, expect, it } from 'vitest'
import { AddressPool } from '../../../src/gateway/address-pool.ts'

const v4 = (text: string): Uint8Array => Uint8Array.from(text.split('.').map(Number))
const network = { address: v4('10.9.0.0'), prefixLength: 29 }
const text = (address: Uint8Array | undefined): string => Array.from(address ?? []).join('.')

describe('address pool', () => {
  it('keeps the first host for the gateway and leases the rest, each once', () => {
    const pool = new AddressPool([network])
    expect(text(pool.gatewayAddresses()[0]?.address)).toBe('10.9.0.1')
    const leased = ['a', 'b', 'c', 'd', 'e'].map((peer) => text(pool.lease(4, peer)?.address))
    expect(leased).toEqual(['10.9.0.2', '10.9.0.3', '10.9.0.4', '10.9.0.5', '10.9.0.6'])
    expect(pool.lease(4, 'f')).toBeUndefined()
    expect(pool.lease(6, 'f')).toBeUndefined()
  })

  it('gives a peer the same address again, and another one a preferred free address', () => {
    const pool = new AddressPool([network])
    const first = pool.lease(4, 'alice')
    pool.release('alice', first?.address ?? v4('0.0.0.0'))
    expect(text(pool.lease(4, 'bob', v4('10.9.0.5'))?.address)).toBe('10.9.0.5')
    expect(text(pool.lease(4, 'alice')?.address)).toBe(text(first?.address))
  })

  it('never gives away an address that somebody holds, nor one outside', () => {
    const pool = new AddressPool([network])
    pool.lease(4, 'alice', v4('10.9.0.4'))
    expect(text(pool.lease(4, 'bob', v4('10.9.0.4'))?.address)).not.toBe('10.9.0.4')
    expect(text(pool.lease(4, 'carol', v4('10.9.0.1'))?.address)).not.toBe('10.9.0.1')
    pool.release('mallory', v4('10.9.0.4'))
    expect(pool.leased).toBe(3)
  })

  it('gives a peer the address that it asks for and holds already, until it has released it as often', () => {
    const pool = new AddressPool([network])
    const first = pool.lease(4, 'alice')?.address ?? v4('0.0.0.0')
    expect(text(pool.lease(4, 'alice', first)?.address)).toBe(text(first))
    expect(text(pool.lease(4, 'alice')?.address)).not.toBe(text(first))
    expect(pool.leased).toBe(2)
    pool.release('alice', first)
    expect(text(pool.lease(4, 'bob', first)?.address)).not.toBe(text(first))
    pool.release('alice', first)
    expect(text(pool.lease(4, 'carol', first)?.address)).toBe(text(first))
  })

  it('leases IPv6 and refuses pools without room', () => {
    const base = new Uint8Array(16)
    base[0] = 0xfd
    const pool = new AddressPool([{ address: base, prefixLength: 64 }])
    expect(pool.lease(6, 'a')?.address[15]).toBe(2)
    expect(() => new AddressPool([{ address: v4('10.0.0.0'), prefixLength: 31 }])).toThrow(/no room/)
  })
})
