import { describe, expect, test } from 'vitest'
import { RelayMetrics } from '../../../src/relay/metrics.ts'
import { parseHostPort, parseListen } from '../../../src/relay/options.ts'
import { loopbackSource } from '../../../src/relay/source-address.ts'

describe('places to listen and to go to', () => {
  test.each([
    ['4500', { address: undefined, port: 4500 }],
    ['0', { address: undefined, port: 0 }],
    ['*:443', { address: undefined, port: 443 }],
    ['198.51.100.7:443', { address: '198.51.100.7', port: 443 }],
    ['[2001:db8::7]:443', { address: '2001:db8::7', port: 443 }],
    ['localhost:443', { address: 'localhost', port: 443 }]
  ])('--listen %s', (text, expected) => {
    expect(parseListen(text, '--listen')).toEqual(expected)
  })

  test.each([
    '',
    ':',
    'host',
    '2001:db8::7',
    '[2001:db8::7',
    '1.2.3.4:',
    '1.2.3.4:x',
    '70000',
    '1.2.3.4:70000'
  ])('--listen %s is refused in one sentence', (text) => {
    expect(() => parseListen(text, '--listen')).toThrow(/^--listen .*\.$/)
  })

  test('a port that may be left out', () => {
    expect(parseHostPort('vpn.example.com', 4500, '--target')).toEqual({
      host: 'vpn.example.com',
      port: 4500
    })
    expect(parseHostPort('[::1]', 4500, '--target')).toEqual({ host: '::1', port: 4500 })
    expect(() => parseHostPort('web', undefined, '--fallback')).toThrow(/--fallback/)
  })
})

describe('loopback sources', () => {
  test('one for each client, the same each time, only towards IPv4 loopback', () => {
    const source = loopbackSource('198.51.100.7', '127.0.0.1') ?? ''
    expect(source).toMatch(/^127\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.\d+\.\d+$/)
    expect(loopbackSource('198.51.100.7', '127.0.0.1')).toBe(source)
    expect(loopbackSource('198.51.100.8', '127.0.0.1')).not.toBe(source)
    expect(loopbackSource('198.51.100.7', '198.18.0.1')).toBeUndefined()
    expect(loopbackSource('198.51.100.7', '::1')).toBeUndefined()
  })
})

describe('metrics', () => {
  test('are in the text format, each family with help and type', () => {
    const metrics = new RelayMetrics()
    metrics.connected('tls')
    metrics.connected('tls')
    metrics.ended('idle')
    metrics.toServer.esp.value += 7
    const lines = metrics.format().split('\n')
    expect(lines).toContain('ikestream_relay_connections_total{listener="tls"} 2')
    expect(lines).toContain('ikestream_relay_streams_ended_total{reason="idle"} 1')
    expect(lines).toContain('ikestream_relay_packets_total{direction="to-server",kind="esp"} 7')
    expect(lines).toContain('ikestream_relay_connections_open 0')
    for (const line of lines)
      expect(line).toMatch(/^$|^# (HELP|TYPE) ikestream_relay_\w+ .+|^ikestream_relay_\w+(\{.+\})? \d+$/)
  })
})
