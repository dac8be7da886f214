import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Logger } from '../../../src/log.ts'
import { networkKey } from '../../../src/transport/network-key.ts'
import { NetworkMemory, networkMemoryFile } from '../../../src/transport/network-memory.ts'

const DAY_MS = 24 * 3600 * 1000

describe('the memory of networks', () => {
  let directory: string
  let file: string
  let now: number
  const complaints: string[] = []
  const log: Logger = {
    log: (level, message) => complaints.push(`${level}: ${message}`),
    child: () => log
  }
  const open = () => new NetworkMemory({ file, log, wallClockMs: () => now })

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'network-memory-'))
    file = networkMemoryFile(join(directory, 'state'))
    now = 1_700_000_000_000
    complaints.length = 0
  })
  afterEach(() => rm(directory, { recursive: true }))

  test('gives back what worked for this gateway on this network, also to another process', async () => {
    await open().remember('net-1', 'vpn.example', { transport: 'tls', address: '198.51.100.1' })
    await open().remember('net-2', 'vpn.example', { transport: 'udp' })
    expect(await open().recall('net-1', 'vpn.example')).toEqual({ transport: 'tls', address: '198.51.100.1' })
    expect(await open().recall('net-2', 'vpn.example')).toEqual({ transport: 'udp', address: undefined })
    expect(await open().recall('net-1', 'other.example')).toBeUndefined()
    expect(complaints).toEqual([])
  })

  test('is replaced as a whole and readable by its owner only', async () => {
    await open().remember('net', 'vpn.example', { transport: 'tcp' })
    expect((await stat(file)).mode & 0o777).toBe(0o600)
    expect((await stat(join(directory, 'state'))).mode & 0o777).toBe(0o700)
    expect(await readdir(join(directory, 'state'))).toEqual(['networks.json'])
  })

  test('forgets after seven days, and when told to', async () => {
    await open().remember('net', 'vpn.example', { transport: 'tcp' })
    now += 7 * DAY_MS - 1
    expect(await open().recall('net', 'vpn.example')).toBeDefined()
    now += 1
    expect(await open().recall('net', 'vpn.example')).toBeUndefined()
    await open().remember('net', 'vpn.example', { transport: 'tcp' })
    await open().forget('net', 'vpn.example')
    expect(await open().recall('net', 'vpn.example')).toBeUndefined()
  })

  test('keeps the newest entries when there are too many', async () => {
    const memory = new NetworkMemory({ file, log, wallClockMs: () => now++, maxEntries: 3 })
    await Promise.all(
      [1, 2, 3, 4].map((n) => memory.remember(`net-${n}`, 'vpn.example', { transport: 'tcp' }))
    )
    expect(await memory.recall('net-1', 'vpn.example')).toBeUndefined()
    expect(await memory.recall('net-2', 'vpn.example')).toBeDefined()
    expect(await memory.recall('net-4', 'vpn.example')).toBeDefined()
  })

  test.each([
    '',
    '{',
    '[]',
    '{"schemaVersion":2,"entries":[]}',
    '{"schemaVersion":1,"entries":[{"network":1}]}'
  ])('damaged contents %j are reported and replaced', async (contents) => {
    await open().remember('net', 'vpn.example', { transport: 'tcp' })
    await writeFile(file, contents)
    expect(await open().recall('net', 'vpn.example')).toBeUndefined()
    expect(complaints).toEqual(['warn: The memory of networks is damaged and will be replaced'])
    await open().remember('net', 'vpn.example', { transport: 'udp' })
    expect(JSON.parse(await readFile(file, 'utf8'))).toMatchObject({ schemaVersion: 1 })
  })

  test('a place that cannot be written to costs a log line, not the session', async () => {
    await writeFile(join(directory, 'state'), 'not a directory')
    await open().remember('net', 'vpn.example', { transport: 'tcp' })
    expect(complaints.join()).toContain('cannot be written')
  })
})

describe('the key of a network', () => {
  const route = JSON.stringify([
    { dst: '198.51.100.9', gateway: '10.1.2.1', dev: 'wlan0', prefsrc: '10.1.2.77' }
  ])
  const neighbour = JSON.stringify([{ dst: '10.1.2.1', lladdr: '02:00:5E:00:00:01' }])
  const address = (local: string) =>
    JSON.stringify([{ ifname: 'wlan0', addr_info: [{ local, prefixlen: 24, scope: 'global' }] }])

  function sources(answers: Record<string, string>, files: Record<string, string> = {}) {
    const calls: string[] = []
    return {
      calls,
      run: async (argv: readonly string[]) => {
        calls.push(argv.join(' '))
        return answers[argv.join(' ')]
      },
      read: async (path: string) => files[path]
    }
  }

  test("is the hash of the gateway's hardware address, in any spelling", async () => {
    const upper = sources({
      'ip -json route get 198.51.100.9': route,
      'ip -json neigh show 10.1.2.1 dev wlan0': neighbour
    })
    const lower = sources({
      'ip -json route get 198.51.100.9': route,
      'ip -json neigh show 10.1.2.1 dev wlan0': neighbour.toLowerCase()
    })
    const key = await networkKey('198.51.100.9', upper)
    expect(key).toMatch(/^gateway:[0-9a-f]{32}$/)
    expect(await networkKey('198.51.100.9', lower)).toBe(key)
  })

  test('is the same for two addresses of one subnet when the gateway cannot be seen', async () => {
    const at = (local: string) =>
      networkKey(
        '198.51.100.9',
        sources({
          'ip -json route get 198.51.100.9': route,
          'ip -json neigh show 10.1.2.1 dev wlan0': '[]',
          'ip -json address show dev wlan0': address(local)
        })
      )
    const key = await at('10.1.2.77')
    expect(key).toMatch(/^subnet:/)
    expect(await at('10.1.2.201')).toBe(key)
    expect(await at('10.1.3.77')).not.toBe(key)
  })

  test('uses the default route when only a name is known', async () => {
    const { calls, ...rest } = sources({
      'ip -json route show default': '[]',
      'ip -json -6 route show default': JSON.stringify([{ gateway: 'fe80::1', dev: 'eth0' }]),
      'ip -json neigh show fe80::1 dev eth0': neighbour
    })
    expect(await networkKey(undefined, { ...rest })).toMatch(/^gateway:/)
    expect(calls).toContain('ip -json route show default')
  })

  test('reads /proc where ip is missing', async () => {
    const files = {
      '/proc/net/route':
        'Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n' +
        'eth0\t0002010A\t00000000\t0001\t0\t0\t0\t00FFFFFF\n' +
        'eth0\t00000000\t0102010A\t0003\t0\t0\t0\t00000000\n',
      '/proc/net/arp':
        'IP address HW type Flags HW address Mask Device\n' +
        '10.1.2.1        0x1         0x2         02:00:5e:00:00:01     *        eth0\n'
    }
    const viaIp = await networkKey(
      '198.51.100.9',
      sources({
        'ip -json route get 198.51.100.9': route,
        'ip -json neigh show 10.1.2.1 dev wlan0': neighbour
      })
    )
    expect(await networkKey('198.51.100.9', sources({}, files))).toBe(viaIp)
  })

  test.each(['', 'garbage', '{}', '[{"dev":5}]', '[null]'])(
    'is unknown when ip prints %j',
    async (output) => {
      expect(
        await networkKey('198.51.100.9', sources({ 'ip -json route get 198.51.100.9': output }))
      ).toBeUndefined()
    }
  )
})
