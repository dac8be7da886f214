import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { readClusterFile } from '../../../src/cli/cluster-file.ts'
import { silentLogger } from '../../../src/log.ts'
import { scratchDirectory } from '../../support/run-directory.ts'

const SECRET = 'a secret of the two nodes that nobody can guess'
const LINES = [
  'node = "left"',
  'listen = "10.0.0.1:4600"',
  'peer = "10.0.0.2:4600"',
  'secret-file = "secret"',
  '[[service-address]]',
  'address = "203.0.113.10/24"',
  'interface = "eth0"'
]

describe('the cluster file', () => {
  let directory = ''
  beforeAll(async () => {
    directory = await scratchDirectory('cluster-file')
    await writeFile(join(directory, 'secret'), `${SECRET}\n`, { mode: 0o600 })
    await writeFile(join(directory, 'short'), 'open sesame\n', { mode: 0o600 })
  })

  async function read(lines: readonly string[]) {
    const path = join(directory, 'cluster.toml')
    await writeFile(path, `${lines.join('\n')}\n`)
    return readClusterFile(path, silentLogger)
  }
  /** The file with one line changed, left out, or put in front. */
  const changed = (key: string, line?: string) => [
    ...(line === undefined || LINES.some((one) => one.startsWith(`${key} `)) ? [] : [line]),
    ...LINES.flatMap((one) => (one.startsWith(`${key} `) ? (line === undefined ? [] : [line]) : [one]))
  ]

  it('needs little', async () => {
    const options = await read(LINES)
    expect(options).toMatchObject({
      node: 'left',
      listen: { address: '10.0.0.1', port: 4600 },
      peer: { address: '10.0.0.2', port: 4600 },
      priority: 100,
      preempt: false,
      heartbeatMs: 100,
      deadMs: 500,
      takeover: 'self',
      addresses: [{ address: '203.0.113.10', prefixLength: 24, interface: 'eth0' }]
    })
    expect(options.secret.revealText()).toBe(SECRET)
  })

  it('takes IPv6, and other figures', async () => {
    const options = await read(changed('listen', 'listen = "[2001:db8::1]:4600"'))
    expect(options.listen).toEqual({ address: '2001:db8::1', port: 4600 })
    const slow = await read(['heartbeat = 1', 'dead-time = 3.5', 'takeover = "external"', ...LINES])
    expect(slow).toMatchObject({ heartbeatMs: 1000, deadMs: 3500, takeover: 'external' })
  })

  it.each([
    [changed('secret-file', 'secret-file = "short"'), 'secret-too-short', '32 bytes'],
    [changed('node'), 'cluster-bad-value', 'node is missing'],
    [changed('peer', 'peer = "10.0.0.1:4600"'), 'cluster-bad-value', 'the same'],
    [changed('listen', 'listen = "0.0.0.0:4600"'), 'cluster-bad-value', 'listen must be'],
    [changed('listen', 'listen = "10.0.0.1"'), 'cluster-bad-value', 'listen must be'],
    [changed('address', 'address = "203.0.113.10"'), 'cluster-bad-value', 'with its prefix'],
    [['dead-time = 0.2', ...LINES], 'cluster-bad-value', '3 times the heartbeat'],
    [['priority = 300', ...LINES], 'cluster-bad-value', 'priority'],
    [LINES.slice(0, 4), 'cluster-bad-value', 'service-address is missing'],
    [['prioritty = 3', ...LINES], 'cluster-unknown-key', 'prioritty'],
    [['node ='], 'config-syntax', 'not valid TOML']
  ])('%# says what is wrong with it', async (lines, code, text) => {
    await expect(read(lines)).rejects.toMatchObject({ code, message: expect.stringContaining(text) })
  })
})
