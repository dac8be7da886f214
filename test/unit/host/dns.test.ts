import { chmod, mkdir, readFile, readlink, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeEach, describe, expect, it } from 'vitest'
import { type DnsContext, type DnsSettings, NameResolution, resolvConfText } from '../../../src/host/dns.ts'
import { memoryLog } from '../../../src/host/journal.ts'
import { undoAll } from '../../../src/host/undo-step.ts'
import { silentLogger } from '../../../src/log.ts'
import { linkAnswer, RecordingRunner } from '../../support/recording-runner.ts'
import { scratchDirectory } from '../../support/run-directory.ts'

const full: DnsSettings = {
  servers: ['10.77.0.53', 'fd00:77::53'],
  domains: ['corp.example'],
  exclusive: true
}
const split: DnsSettings = { ...full, exclusive: false }

let folder: string
let runner: RecordingRunner
let context: DnsContext

beforeEach(async () => {
  folder = await scratchDirectory('dns')
  runner = new RecordingRunner()
    .answer(/^resolvectl/, 'missing')
    .answer(/^resolvconf/, 'missing')
    .answer(/^ip .*link show/, linkAnswer(7))
  context = {
    runner,
    journal: memoryLog(),
    log: silentLogger,
    paths: {
      resolvConf: join(folder, 'resolv.conf'),
      nsswitch: join(folder, 'nsswitch.conf'),
      interfaceOrder: join(folder, 'interface-order'),
      netnsFolder: join(folder, 'netns')
    },
    interface: 'ike0',
    index: 7,
    netns: null
  }
})

async function undo(): Promise<void> {
  const failures = await undoAll(context.journal.steps, { ...context, netns: null }, (step) =>
    context.journal.remove(step)
  )
  expect(failures).toEqual([])
}

describe('through systemd-resolved', () => {
  beforeEach(async () => {
    runner.answer(/^resolvectl/, {})
    await writeFile(context.paths.resolvConf, 'nameserver 127.0.0.53\n')
  })

  it('routes all names to a full tunnel’s servers, domains before servers', async () => {
    await new NameResolution(context).set(full)
    expect(runner.lines(/^resolvectl (?!dns$)/)).toEqual([
      'resolvectl domain ike0 ~. ~corp.example',
      'resolvectl default-route ike0 true',
      'resolvectl dns ike0 10.77.0.53 fd00:77::53'
    ])
    await undo()
    expect(runner.lines().at(-1)).toBe('resolvectl revert ike0')
  })

  it('routes only the tunnel’s domains to a split tunnel’s servers', async () => {
    await new NameResolution(context).set(split)
    expect(runner.lines(/domain|default-route/)).toEqual([
      'resolvectl domain ike0 ~corp.example',
      'resolvectl default-route ike0 false'
    ])
  })

  it('replaces servers in place, and clears the domains that are no more', async () => {
    const dns = new NameResolution(context)
    await dns.set(split)
    runner.calls.length = 0
    await dns.set({ servers: ['10.78.0.53'], domains: [], exclusive: false })
    expect(runner.lines(/^resolvectl/)).toEqual([
      'resolvectl domain ike0 ',
      'resolvectl default-route ike0 true',
      'resolvectl dns ike0 10.78.0.53'
    ])
    expect(context.journal.steps).toHaveLength(1)
    await dns.set(undefined)
    expect(runner.lines().at(-1)).toBe('resolvectl revert ike0')
    expect(dns.mode).toBeNull()
  })

  it('has noted how to undo when it fails halfway', async () => {
    runner.answer(/^resolvectl dns ike0/, {
      exitCode: 1,
      stderr: 'Failed to set DNS configuration: Link ike0 is unmanaged'
    })
    await expect(new NameResolution(context).set(full)).rejects.toThrow(/unmanaged/)
    expect(context.journal.steps).toEqual([{ kind: 'resolvectl', interface: 'ike0', index: 7 }])
  })
})

describe('through resolvconf', () => {
  it('adds an exclusive record to openresolv and takes it back', async () => {
    runner.answer(/^resolvconf/, {}).answer(/--version/, { stdout: 'openresolv 3.12.0\n' })
    await new NameResolution(context).set(full)
    const call = runner.calls.find(({ argv }) => argv.includes('-a'))
    expect(call?.argv.join(' ')).toBe('resolvconf -a ike0 -m 0 -x')
    expect(call?.options.input).toBe('nameserver 10.77.0.53\nnameserver fd00:77::53\nsearch corp.example\n')
    await undo()
    expect(runner.lines().at(-1)).toBe('resolvconf -d ike0 -f')
  })

  it('ranks its record with Debian’s', async () => {
    runner.answer(/^resolvconf/, {}).answer(/--version/, { stdout: 'Debian resolvconf 1.91+nmu1\n' })
    await writeFile(context.paths.interfaceOrder, 'lo\ntun*\n')
    await new NameResolution(context).set(full)
    expect(runner.lines(/-a/)).toEqual(['resolvconf -a tun.ike0'])
    await undo()
    expect(runner.lines().at(-1)).toBe('resolvconf -d tun.ike0')
  })
})

describe('in resolv.conf itself', () => {
  const original =
    '# mine\nnameserver 10.0.0.1\nnameserver 10.0.0.2\nsearch home.arpa\noptions edns0 trust-ad\n'

  it('replaces the servers and brings the file back byte for byte, mode too', async () => {
    await writeFile(context.paths.resolvConf, original)
    await chmod(context.paths.resolvConf, 0o755)
    await new NameResolution(context).set(full)
    expect((await readFile(context.paths.resolvConf, 'utf8')).split('\n').slice(1)).toEqual([
      'nameserver 10.77.0.53',
      'nameserver fd00:77::53',
      'search corp.example home.arpa',
      'options edns0 trust-ad',
      ''
    ])
    await undo()
    expect(await readFile(context.paths.resolvConf, 'utf8')).toBe(original)
    expect((await stat(context.paths.resolvConf)).mode & 0o777).toBe(0o755)
  })

  it('brings back a symbolic link and what it points to', async () => {
    await writeFile(join(folder, 'real.conf'), original)
    await symlink('real.conf', context.paths.resolvConf)
    await new NameResolution(context).set(full)
    expect(await readFile(join(folder, 'real.conf'), 'utf8')).toBe(original)
    expect(await readFile(context.paths.resolvConf, 'utf8')).toContain('10.77.0.53')
    await undo()
    expect(await readlink(context.paths.resolvConf)).toBe('real.conf')
  })

  it('takes other servers without a moment of the old ones, and still knows what was there first', async () => {
    await writeFile(context.paths.resolvConf, original)
    const dns = new NameResolution(context)
    await dns.set(full)
    await dns.set(full)
    expect(context.journal.steps).toHaveLength(1)
    await dns.set({ servers: ['10.78.0.53'], domains: [], exclusive: true })
    expect(await readFile(context.paths.resolvConf, 'utf8')).toMatch(
      /^nameserver 10\.78\.0\.53\nsearch home\.arpa\noptions edns0 trust-ad$/m
    )
    expect(context.journal.steps).toHaveLength(1)
    await undo()
    expect(await readFile(context.paths.resolvConf, 'utf8')).toBe(original)
  })

  it('removes a file that was not there before', async () => {
    await new NameResolution(context).set(full)
    await undo()
    await expect(stat(context.paths.resolvConf)).rejects.toThrow('ENOENT')
  })

  it('does not clobber what somebody else wrote meanwhile', async () => {
    await writeFile(context.paths.resolvConf, original)
    await new NameResolution(context).set(full)
    await writeFile(context.paths.resolvConf, 'nameserver 10.5.5.5\n')
    await undo()
    expect(await readFile(context.paths.resolvConf, 'utf8')).toBe('nameserver 10.5.5.5\n')
  })

  it('keeps the old servers behind the tunnel’s when the tunnel is not exclusive, three in all', () => {
    expect(resolvConfText(split, original, 'ike0').match(/^nameserver .*/gm)).toEqual([
      'nameserver 10.77.0.53',
      'nameserver fd00:77::53',
      'nameserver 10.0.0.1'
    ])
  })
})

it('writes a namespace’s own resolv.conf, and removes the folders that it made', async () => {
  context = { ...context, netns: 'office' }
  await new NameResolution(context).set(split)
  const written = await readFile(join(folder, 'netns/office/resolv.conf'), 'utf8')
  expect(written.match(/^nameserver .*/gm)).toEqual(['nameserver 10.77.0.53', 'nameserver fd00:77::53'])
  await undo()
  await expect(stat(join(folder, 'netns'))).rejects.toThrow('ENOENT')
})

it('leaves a namespace’s folder that was there, or that somebody uses', async () => {
  context = { ...context, netns: 'office' }
  await mkdir(join(folder, 'netns'))
  await new NameResolution(context).set(split)
  await writeFile(join(folder, 'netns/office/hosts'), '')
  await undo()
  expect((await stat(join(folder, 'netns/office'))).isDirectory()).toBe(true)
})
