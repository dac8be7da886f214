import { describe, expect, it } from 'vitest'
import { ConnectionLimits } from '../../../src/gateway/connection-limits.ts'
import { espMoves } from '../../../src/gateway/peer.ts'
import { SpiTable } from '../../../src/gateway/spi-table.ts'
import { UdpPathTable, UdpServerPath } from '../../../src/transport/udp-server-path.ts'
import type { Path, TransportKind } from '../../../src/wire/endpoint.ts'

const endpoint = { address: '127.0.0.1', port: 1 }
let lastId = 1_000_000
function path(transport: TransportKind): Path {
  lastId++
  return { id: lastId, transport, reliable: transport !== 'udp', local: endpoint, remote: endpoint }
}

describe('where ESP may move a client', () => {
  const state = { left: false, currentIsOpen: true, behindNat: true }

  it.each<[TransportKind, TransportKind]>([
    ['udp', 'tcp'],
    ['tcp', 'tls'],
    ['tls', 'tcp'],
    ['udp', 'udp']
  ])('from %s to another path over %s', (from, to) => {
    expect(espMoves({ ...state, current: path(from), candidate: path(to) })).toBe(true)
  })

  it('not to where it is already, nor back to where IKE has led it away', () => {
    const here = path('tls')
    expect(espMoves({ ...state, current: here, candidate: here })).toBe(false)
    expect(espMoves({ ...state, left: true, current: here, candidate: path('tcp') })).toBe(false)
  })

  it('from a stream that is open to UDP only by a word of IKE', () => {
    const move = { current: path('tls'), candidate: path('udp') }
    expect(espMoves({ ...state, ...move })).toBe(false)
    expect(espMoves({ ...state, ...move, currentIsOpen: false })).toBe(true)
  })

  it('to another UDP address only when a NAT may be why', () => {
    expect(espMoves({ ...state, behindNat: false, current: path('udp'), candidate: path('udp') })).toBe(false)
  })
})

describe('SPI table', () => {
  it('tells peers with the same SPI apart by the path', () => {
    const table = new SpiTable<{ readonly path: Path }>()
    const [one, other] = [{ path: path('udp') }, { path: path('tcp') }]
    table.add(7, one)
    table.add(7, other)
    table.add(7, other)
    expect(table.find(7, other.path)).toBe(other)
    expect(table.find(7, one.path)).toBe(one)
    expect(table.find(7, path('udp'))).toBe(one)
    table.remove(7, one)
    expect(table.find(7, one.path)).toBe(other)
    table.remove(7, other)
    table.remove(7, other)
    expect(table.find(7, other.path)).toBeUndefined()
    expect(table.size).toBe(0)
  })
})

describe('connection limits', () => {
  it('count in all and for each address, IPv6 by /64', () => {
    const limits = new ConnectionLimits(5, 2)
    expect(['10.0.0.1', '10.0.0.1', '10.0.0.1'].map((one) => limits.admit(one))).toEqual([true, true, false])
    expect(['2001:db8::1', '2001:db8::ffff:2', '2001:db8::3'].map((one) => limits.admit(one))).toEqual([
      true,
      true,
      false
    ])
    expect([limits.admit('2001:db8:0:1::1'), limits.admit('10.0.0.2')]).toEqual([true, false])
    limits.release('2001:db8::1')
    expect([limits.admit('10.0.0.1'), limits.admit('2001:db8::9'), limits.admit('10.0.0.2')]).toEqual([
      false,
      true,
      false
    ])
    expect(limits.total).toBe(5)
  })
})

describe('table of UDP paths', () => {
  const make = (key: string) => (): UdpServerPath =>
    new UdpServerPath(key, {
      local: endpoint,
      remote: endpoint,
      sockaddr: Buffer.alloc(16),
      localAddress: new Uint8Array(4)
    })

  it('forgets what was used longest ago, and keeps what is kept', () => {
    const table = new UdpPathTable(2)
    const [a, b] = [table.of('a', make('a')), table.of('b', make('b'))]
    table.keep(a)
    table.of('b', make('b'))
    table.of('c', make('c'))
    table.of('b', make('b'))
    table.of('d', make('d'))
    expect(table.size).toBe(3)
    expect(table.of('a', make('a'))).toBe(a)
    expect(table.of('b', make('b'))).toBe(b)
    table.release(a)
    expect(table.of('a', make('a'))).toBe(a)
    expect(table.size).toBe(2)
  })

  it('has one path for a key, however often it is kept and given back', () => {
    const table = new UdpPathTable(4)
    const path = table.of('a', make('a'))
    table.keep(path)
    table.keep(path)
    table.release(path)
    table.release(path)
    expect(table.of('a', make('a'))).toBe(path)
    expect(table.kept).toEqual([])
    expect(table.size).toBe(1)
  })
})
