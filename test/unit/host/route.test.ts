import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { halves, lookUp, parseNetwork, parseRoutes, routeArgv, routeTo } from '../../../src/host/route.ts'
import { formatCidr } from '../../../src/wire/cidr.ts'
import { RecordingRunner } from '../../support/recording-runner.ts'

const table = parseRoutes([
  { dst: 'default', gateway: '10.66.0.1', dev: 'eth0', metric: 100, flags: [] },
  { dst: 'default', gateway: '10.67.0.1', dev: 'wlan0', metric: 600, flags: [] },
  { dst: '10.66.0.0/24', dev: 'eth0', scope: 'link', flags: [] },
  { dst: '0.0.0.0/1', dev: 'ike0', flags: [] },
  { dst: '128.0.0.0/1', dev: 'ike0', flags: [] },
  { type: 'blackhole', dst: '10.9.0.0/16', flags: [] },
  {
    dst: '10.8.0.0/16',
    flags: [],
    nexthops: [
      { dev: 'a', gateway: '1.1.1.1', flags: ['dead'] },
      { dev: 'b', flags: [] }
    ]
  }
])

describe('looking up a route', () => {
  const none = (): boolean => false
  const tunnel = (route: { dev?: string | undefined }): boolean => route.dev === 'ike0'

  it('takes the longest prefix, then the lowest metric', () => {
    expect(lookUp(table, '203.0.113.1', none)?.device).toBe('ike0')
    expect(lookUp(table, '203.0.113.1', tunnel)).toMatchObject({ device: 'eth0', via: '10.66.0.1' })
    expect(lookUp(table, '10.66.0.9', none)).toMatchObject({ device: 'eth0', via: undefined })
  })

  it('takes no dead link, and a blackhole for no way at all', () => {
    const dead = table.map((route) =>
      route.dev === 'eth0' ? { ...route, flags: ['dead', 'linkdown'] } : route
    )
    expect(lookUp(dead, '203.0.113.1', tunnel)).toMatchObject({ device: 'wlan0' })
    expect(lookUp(table, '10.9.1.1', none)).toBeUndefined()
    expect(lookUp(table, '10.8.1.1', none)).toMatchObject({ device: 'b' })
    expect(lookUp([], '10.8.1.1', none)).toBeUndefined()
  })

  it('never mixes the families', () => {
    const blocks = table.filter((route) => route.dst !== 'default')
    expect(lookUp(blocks, '2001:db8::1', none)).toBeUndefined()
    expect(lookUp(parseRoutes([{ dst: '::/1', dev: 'ike0' }]), '10.1.1.1', none)).toBeUndefined()
  })
})

it('asks the kernel, and understands a local address, an IPv6 next hop, and no route', async () => {
  const runner = new RecordingRunner()
    .answer(/get 127/, { stdout: '[{"type":"local","dst":"127.0.0.1","dev":"lo","flags":[]}]' })
    .answer(/get 10\.1/, {
      stdout:
        '[{"dst":"10.1.0.1","via":{"family":"inet6","host":"fe80::1"},"dev":"e","prefsrc":"10.0.0.2","flags":["onlink"],"metrics":[{"mtu":1400}]}]'
    })
    .answer(/get 10\.2/, { exitCode: 2, stderr: 'RTNETLINK answers: Network is unreachable' })
  expect(await routeTo(runner, '127.0.0.1')).toBe('local')
  expect(await routeTo(runner, '10.1.0.1')).toEqual({
    device: 'e',
    via: 'fe80::1',
    onlink: true,
    mtu: 1400,
    source: '10.0.0.2'
  })
  expect(await routeTo(runner, '10.2.0.1')).toBeUndefined()
  expect(runner.lines()).toContain('ip -json -4 route get 10.1.0.1')
})

it('deletes a route by the very words that added it', () => {
  const route = {
    family: 4,
    destination: '198.18.0.1/32',
    type: 'unicast',
    via: 'fe80::1',
    device: 'eth0',
    metric: 10
  } as const
  const words = '198.18.0.1/32 via inet6 fe80::1 dev eth0 metric 10 proto static'
  expect(routeArgv('add', route).join(' ')).toBe(`ip -4 route add ${words}`)
  expect(routeArgv('del', route).join(' ')).toBe(`ip -4 route del ${words}`)
  expect(
    routeArgv('add', { family: 6, destination: '2001:db8::1/128', type: 'unreachable', metric: 9 }).join(' ')
  ).toBe('ip -6 route add unreachable 2001:db8::1/128 metric 9 proto static')
})

it('splits only everything into halves', () => {
  const split = (text: string): string[] => {
    const network = parseNetwork(text)
    return network === undefined ? [] : halves(network).map(formatCidr)
  }
  expect(split('0.0.0.0/0')).toEqual(['0.0.0.0/1', '128.0.0.0/1'])
  expect(split('::/0')).toEqual(['::/1', '8000::/1'])
  expect(split('10.1.2.3/8')).toEqual(['10.0.0.0/8'])
})

it('takes any JSON for a list of routes without failing', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (document) => {
      expect(Array.isArray(parseRoutes(document))).toBe(true)
    }),
    { seed: 9329 }
  )
})
