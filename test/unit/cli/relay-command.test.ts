import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { addRelayOptions, type RelayFlags, relayOptions } from '../../../src/cli/relay-command.ts'
import { silentLogger } from '../../../src/log.ts'

let directory: string
let pem: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'relay-command-'))
  pem = join(directory, 'file.pem')
  await writeFile(pem, 'contents')
})
afterAll(() => rm(directory, { recursive: true }))

function parse(...args: string[]) {
  const command = addRelayOptions(new Command('relay'))
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
  command.parse(args, { from: 'user' })
  return relayOptions(command.opts<RelayFlags>(), silentLogger)
}

describe('options of the relay command', () => {
  test('--tls belongs to the listener in front of it', async () => {
    const tls = { cert: Buffer.from('contents'), key: Buffer.from('contents') }
    const options = await parse(
      ...['--listen', '4500', '--listen', '198.51.100.7:443', '--tls', '--listen', '8443'],
      ...['--certificate', pem, '--sslkey', pem, '--target', '127.0.0.1']
    )
    expect(options.listeners).toEqual([
      { address: undefined, port: 4500, tls: undefined },
      { address: '198.51.100.7', port: 443, tls },
      { address: undefined, port: 8443, tls: undefined }
    ])
    expect(options.target).toEqual({ host: '127.0.0.1', port: 4500 })
  })

  test('--tls in front of all listeners holds for all', async () => {
    const options = await parse(
      ...[
        '--tls',
        '--listen',
        '443',
        '--listen',
        '8443',
        '--certificate',
        pem,
        '--sslkey',
        pem,
        '--target',
        'x:1'
      ]
    )
    expect(options.listeners.map(({ tls }) => tls !== undefined)).toEqual([true, true])
  })

  test('limits, metrics and fallback are taken over', async () => {
    const options = await parse(
      ...['--listen', '4500', '--target', 'vpn.example.com:4501', '--fallback', '127.0.0.1:8080'],
      ...[
        '--metrics',
        '127.0.0.1:9100',
        '--max-connections',
        '10',
        '--max-per-ip',
        '2',
        '--idle-timeout',
        '0'
      ]
    )
    expect(options).toMatchObject({
      target: { host: 'vpn.example.com', port: 4501 },
      fallback: { host: '127.0.0.1', port: 8080 },
      metrics: { address: '127.0.0.1', port: 9100 },
      limits: { maxConnections: 10, maxConnectionsPerAddress: 2, idleTimeoutMs: 0 },
      spreadSources: true
    })
  })

  test.each([
    ['nothing at all', [], 'relay-incomplete', 64],
    ['no target', ['--listen', '4500'], 'relay-incomplete', 64],
    ['TLS without a key', ['--listen', '443', '--tls', '--target', 'x'], 'relay-tls-incomplete', 64],
    ['a port that is none', ['--listen', '99999', '--target', 'x'], 'bad-port', 64],
    [
      'a file that is not there',
      ['--listen', '443', '--tls', '--certificate', '/nowhere', '--sslkey', '/nowhere', '--target', 'x'],
      'unreadable-file',
      66
    ]
  ])('%s is an error of its own', async (_, args, code, exitCode) => {
    await expect(parse(...args)).rejects.toMatchObject({ code, exitCode })
  })
})
