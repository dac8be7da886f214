import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { isInterfaceName } from '../../src/tun/tun-ioctl.ts'
import { emptyLab, type LabNamespace, type NetLab, startProgram } from '../support/namespaces.ts'
import { describeWith } from '../support/require.ts'

const MODULE = fileURLToPath(new URL('../../dist/tun/tun-device.js', import.meta.url))

/** Runs a script that has `openTun` in a namespace, and gives what it printed as JSON. */
async function script(namespace: LabNamespace, body: string, ...before: string[]): Promise<unknown> {
  const code = `
    import { openTun } from ${JSON.stringify(MODULE)}
    import { execFileSync } from 'node:child_process'
    const ip = (...argv) => execFileSync('ip', argv)
    const failure = (options) => {
      try { openTun(options).release(); return 'no failure' }
      catch (error) { return [error.constructor.name, error.code, error.exitCode] }
    }
    const print = (value) => console.log(JSON.stringify(value))
    ${body}`
  const program = startProgram(namespace, [...before, process.execPath, '--input-type=module', '-e', code])
  await program.exit
  expect(program.stderr()).toBe('')
  return JSON.parse(program.stdout())
}

it('knows which names Linux takes', () => {
  const names = [
    'ike0',
    'ike%d',
    'a-b.c_d',
    'x'.repeat(15),
    '',
    'x'.repeat(16),
    'a b',
    'a/b',
    'a:b',
    '.',
    '..',
    'a%s',
    '%d%d',
    'ü'
  ]
  expect(names.map(isInterfaceName)).toEqual([true, true, true, true, ...new Array<boolean>(10).fill(false)])
})

describeWith('namespaces', 'tun')('TUN device', () => {
  let lab: NetLab
  let here: LabNamespace
  let there: LabNamespace
  beforeAll(async () => {
    lab = await emptyLab()
    here = await lab.addNamespace('here')
    there = await lab.addNamespace('there')
  })
  afterAll(async () => {
    await lab?.close()
  })

  it('takes the first free name, its MTU, and tells whether it is up', async () => {
    const seen = await script(
      here,
      `const one = openTun({ mtu: 1280 })
       const two = openTun({ name: 'vpn%d' })
       const down = one.isUp
       ip('link', 'set', one.name, 'up')
       const up = one.isUp
       two.setMtu(1399)
       print([one.name, one.mtu, down, up, two.name, two.mtu])
       one.release(); two.release(); one.release()`
    )
    expect(seen).toEqual(['ike0', 1280, false, true, 'vpn0', 1399])
  })

  it('is made in another namespace, and leaves the process where it was', async () => {
    const seen = await script(
      here,
      `const tun = openTun({ netnsPath: '/proc/${there.pid}/ns/net', name: 'far0', mtu: 1300 })
       const there = execFileSync('nsenter', ['-t', '${there.pid}', '-n', 'ip', '-o', 'link']).toString().includes('far0')
       const here = ip('-o', 'link').toString().includes('far0')
       print([there, here, tun.mtu])
       tun.release()`
    )
    expect(seen).toEqual([true, false, 1300])
  })

  it('tells that it was deleted, and ends quietly', async () => {
    const seen = await script(
      here,
      `const tun = openTun()
       tun.setHandlers({
         onReadable: () => { while (tun.read() > 0); },
         onGone: (reason) => print([reason, tun.mtu, tun.read(), tun.write(Buffer.alloc(50), 0, 50)])
       })
       tun.setReading(true)
       ip('link', 'del', tun.name)`
    )
    expect(seen).toEqual(['The network device ike0 was deleted', -1, 0, false])
  })

  it('says what is wrong with a typed error', async () => {
    const seen = await script(
      here,
      `const tun = openTun({ name: 'busy0' })
       print([
         failure({ name: 'busy0' }),
         failure({ name: 'much too long for a name' }),
         failure({ netnsPath: '/proc/nowhere/ns/net' }),
         failure({ netnsPath: '/proc/self/ns/uts' }),
         failure({ mtu: 7 })
       ])
       tun.release()`
    )
    expect(seen).toEqual([
      ['SystemError', 'tun-busy', 71],
      ['UsageError', 'interface-name', 64],
      ['SystemError', 'netns-missing', 71],
      ['SystemError', 'netns-missing', 71],
      ['SystemError', 'tun-failed', 71]
    ])
  })

  it('says that a privilege is missing', async () => {
    const dropped = ['setpriv', '--bounding-set=-net_admin', '--inh-caps=-net_admin', '--']
    expect(await script(here, `print(failure())`, ...dropped)).toEqual([
      'AuthenticationError',
      'tun-permission',
      77
    ])
  })
})
