import { readFileSync } from 'node:fs'
import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { IkestreamProcess } from '../support/ikestream-process.ts'
import { emptyLab, type LabNamespace, type NetLab } from '../support/namespaces.ts'
import { describeWith } from '../support/require.ts'
import { scratchDirectory } from '../support/run-directory.ts'

describeWith(
  'namespaces',
  'tun',
  'ipv6'
)('ikestream gateway', () => {
  let lab: NetLab
  let namespace: LabNamespace
  let directory: string
  let users: string
  const started: IkestreamProcess[] = []

  beforeAll(async () => {
    lab = await emptyLab()
    namespace = await lab.addNamespace('gateway')
    directory = await scratchDirectory('gateway-command')
    users = join(directory, 'users')
    await writeFile(users, 'alice:secret word\n', { mode: 0o600 })
  })
  afterAll(async () => {
    for (const one of started) await one.stop()
    await lab?.close()
  })

  function start(...args: string[]): IkestreamProcess {
    const one = IkestreamProcess.start(namespace, ['gateway', '--json', ...args], {
      stateDirectory: join(directory, 'state')
    })
    started.push(one)
    return one
  }
  const devices = async (): Promise<string> => (await namespace.run(['ip', '-o', 'addr'])).stdout

  it('listens on everything, has the first address of each pool, and leaves nothing at SIGTERM', async () => {
    const before = await devices()
    const gateway = start('--users-file', users, '--identity', 'gw.test')
    const line = await gateway.event('listening')
    expect(line).toMatchObject({ identity: 'gw.test', pools: ['10.99.0.0/24', 'fd00:99::/64'] })
    const listening = line['listening'] as { transport: string; address: string; port: number }[]
    expect(new Set(listening.map(({ transport, port }) => `${transport} ${port}`))).toEqual(
      new Set(['udp 500', 'udp 4500', 'tcp 4500', 'tls 443'])
    )
    expect(listening.filter(({ transport }) => transport === 'udp').map(({ address }) => address)).toEqual([
      '0.0.0.0',
      '0.0.0.0',
      '::',
      '::'
    ])
    const during = await devices()
    for (const text of ['10.99.0.1/24', 'fd00:99::1/64', String(line['interface'])])
      expect(during).toContain(text)
    gateway.kill('SIGTERM')
    expect(await gateway.exit, gateway.transcript()).toBe(0)
    expect(await devices()).toBe(before)
    expect(gateway.strayOutput).toEqual([])
    expect(gateway.stderr).not.toContain('secret word')
  })

  it('finds its CA again on the next start, with options from a file', async () => {
    const config = join(directory, 'gateway.toml')
    await writeFile(
      config,
      'users-file = "users"\nidentity = "gw.test"\nno-tls = true\nlisten = "127.0.0.1"\n'
    )
    const first = await start('--users-file', users, '--identity', 'gw.test').event('listening')
    await started.at(-1)?.stop()
    const ca = readFileSync(String(first['cafile']))
    const second = await start('--config', config).event('listening')
    expect(second['cafile']).toBe(first['cafile'])
    expect(readFileSync(String(second['cafile']))).toEqual(ca)
    const listening = second['listening'] as { transport: string; address: string }[]
    expect(listening.map(({ transport, address }) => `${transport} ${address}`)).toEqual([
      'udp 127.0.0.1',
      'udp 127.0.0.1',
      'tcp 127.0.0.1'
    ])
    await started.at(-1)?.stop()
  })

  it('ends with an error when somebody deletes its device', async () => {
    const gateway = start('--users-file', users, '--interface', 'gw7')
    await gateway.event('listening')
    await namespace.run(['ip', 'link', 'del', 'gw7'])
    expect(await gateway.exit).toBe(71)
    expect(gateway.all('error')).toMatchObject([{ code: 'tun-gone', exitCode: 71 }])
  })

  it.each([
    ['nobody may connect', [], 78, 'no-clients'],
    ['nothing is listened on', ['--psk-file', 'psk', '--no-udp', '--no-tcp', '--no-tls'], 78, 'no-transport'],
    ['others can read the users', ['--users-file', 'open-users'], 78, 'file-not-private'],
    ['the users are not there', ['--users-file', 'missing'], 66, 'users-file'],
    ['the address is not ours', ['--psk-file', 'psk', '--listen', '203.0.113.9'], 71, 'listen-failed'],
    ['the pool has no room', ['--psk-file', 'psk', '--pool', '10.0.0.0/31'], 78, 'pool-too-small'],
    ['the file has an unknown key', ['--config', 'bad.toml'], 78, 'config-unknown-key']
  ])('does not start when %s, and says why', async (_what, args, exitCode, code) => {
    const place = join(directory, 'files')
    await mkdir(place, { recursive: true })
    await writeFile(join(place, 'psk'), 'a shared key\n', { mode: 0o600 })
    await writeFile(join(place, 'open-users'), 'alice:x\n')
    await chmod(join(place, 'open-users'), 0o644)
    await writeFile(join(place, 'bad.toml'), 'pol = "10.0.0.0/8"\n')
    const before = await devices()
    const names = ['psk', 'open-users', 'missing', 'bad.toml']
    const gateway = start(...args.map((word) => (names.includes(word) ? join(place, word) : word)))
    expect(await gateway.exit, gateway.transcript()).toBe(exitCode)
    expect(gateway.all('error')).toMatchObject([{ code, exitCode }])
    expect(await devices()).toBe(before)
  })
})
