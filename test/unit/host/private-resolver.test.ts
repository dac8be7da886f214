import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeEach, describe, expect, it } from 'vitest'
import { innerNsswitch, PrivateResolver } from '../../../src/host/private-resolver.ts'
import type { LogFields, Logger, LogLevel } from '../../../src/log.ts'
import { RecordingRunner } from '../../support/recording-runner.ts'
import { scratchDirectory } from '../../support/run-directory.ts'

let machine: string
let scratch: string
let runner: RecordingRunner
let warnings: string[]

const log: Logger = {
  log(level: LogLevel, message: string, _fields?: LogFields) {
    if (level === 'warn') warnings.push(message)
  },
  child: () => log
}

beforeEach(async () => {
  machine = await scratchDirectory('machine')
  scratch = await scratchDirectory('scratch')
  runner = new RecordingRunner()
  warnings = []
  await mkdir(join(machine, 'run', 'resolve'), { recursive: true })
  await mkdir(join(machine, 'run', 'nscd'))
  await writeFile(
    join(machine, 'nsswitch.conf'),
    'passwd: files\nhosts: files resolve [!UNAVAIL=return] dns\n'
  )
})

function prepare(): Promise<PrivateResolver> {
  return PrivateResolver.prepare(scratch, runner, log, {
    resolvConf: join(machine, 'resolv.conf'),
    nsswitch: join(machine, 'nsswitch.conf'),
    serviceFolders: ['resolve', 'nscd', 'absent'].map((name) => join(machine, 'run', name))
  })
}

/** What was mounted: where, and from where below the scratch folder. */
function mounts(): Record<string, string> {
  const pairs = runner.calls.map(({ argv }) => [
    argv[3]?.slice(machine.length),
    argv[2]?.slice(scratch.length)
  ])
  return Object.fromEntries(pairs)
}

describe('name resolution in a private network', () => {
  it('puts its own files over those of the machine, and hides the services', async () => {
    await writeFile(join(machine, 'resolv.conf'), 'nameserver 9.9.9.9\noptions edns0\n')
    const resolver = await prepare()
    expect(mounts()).toEqual({
      '/run/resolve': '/services-0',
      '/run/nscd': '/services-1',
      '/resolv.conf': '/resolv.conf',
      '/nsswitch.conf': '/nsswitch.conf'
    })
    expect(await readFile(join(scratch, 'nsswitch.conf'), 'utf8')).toBe('passwd: files\nhosts: files dns\n')
    const text = () => readFile(join(scratch, 'resolv.conf'), 'utf8')
    expect(await text()).not.toContain('nameserver')
    await resolver.set({ servers: ['10.0.0.53'], domains: ['corp.example'], exclusive: false })
    expect(await text()).toMatch(/^#.*\nnameserver 10\.0\.0\.53\nsearch corp\.example\noptions edns0\n$/)
    await resolver.set({ servers: ['10.0.0.54'], domains: [], exclusive: true })
    expect(await text()).toMatch(/^#.*\nnameserver 10\.0\.0\.54\noptions edns0\n$/)
    expect(await readFile(join(machine, 'resolv.conf'), 'utf8')).toContain('9.9.9.9')
    expect(warnings).toEqual([])
  })

  it('is found where resolv.conf is a link into what is hidden', async () => {
    await writeFile(join(machine, 'run', 'resolve', 'stub.conf'), 'nameserver 127.0.0.53\n')
    await symlink('run/resolve/stub.conf', join(machine, 'resolv.conf'))
    const resolver = await prepare()
    expect(mounts()).not.toHaveProperty('/run/resolve/stub.conf')
    await resolver.set({ servers: ['10.0.0.53'], domains: [], exclusive: true })
    expect(await readFile(join(scratch, 'services-0', 'stub.conf'), 'utf8')).toContain('nameserver 10.0.0.53')
  })

  it('falls back to the machine’s servers through the tunnel, but not to its loopback', async () => {
    await writeFile(join(machine, 'resolv.conf'), 'nameserver 127.0.0.1\nnameserver 9.9.9.9\n')
    const resolver = await prepare()
    await resolver.set(undefined)
    expect((await readFile(join(scratch, 'resolv.conf'), 'utf8')).match(/^nameserver .*$/gm)).toEqual([
      'nameserver 9.9.9.9'
    ])
    expect(warnings).toEqual([])
  })

  it('says so when names are not resolved', async () => {
    await writeFile(join(machine, 'resolv.conf'), 'nameserver ::1\n')
    await (await prepare()).set(undefined)
    expect(warnings).toEqual([expect.stringContaining('no name server')])
  })

  it('says so when there is no resolv.conf to put anything over', async () => {
    await prepare()
    expect(mounts()).not.toHaveProperty('/resolv.conf')
    expect(warnings).toEqual([expect.stringContaining('names are not resolved inside')])
  })
})

describe('the order in which names are looked up inside', () => {
  it.each([
    ['hosts: files dns', 'hosts: files dns'],
    ['hosts:\tfiles mdns4_minimal [NOTFOUND=return] dns myhostname # x', 'hosts: files dns myhostname'],
    ['hosts: resolve [!UNAVAIL=return] files', 'hosts: files dns'],
    ['hosts: files [SUCCESS=continue] dns', 'hosts: files [SUCCESS=continue] dns'],
    ['hosts: wins', 'hosts: files dns'],
    ['passwd: files', 'passwd: files\nhosts: files dns\n']
  ])('is without services outside: %s', (before, after) => {
    expect(innerNsswitch(before)).toBe(after)
  })
})
