/** A session as a service: what the service manager hears, and how few privileges are enough. */
import { execFile } from 'node:child_process'
import { chmod, copyFile, mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { BRISK, IkestreamSite, INNER_V4 } from '../support/ikestream-site.ts'
import { NotifySocket } from '../support/notify-socket.ts'
import { describeWith, systemdAnalyze } from '../support/require.ts'
import { scratchDirectory } from '../support/run-directory.ts'
import { waitUntil } from '../support/wait-until.ts'

const examples = fileURLToPath(new URL('../../examples/', import.meta.url))
const command = fileURLToPath(new URL('../../bin/ikestream.js', import.meta.url))
const run = promisify(execFile)
/** What the unit leaves of root. */
const LEAST = ['setpriv', '--bounding-set', '-all,+net_admin', '--inh-caps', '-all', '--no-new-privs', '--']
const CAP_NET_ADMIN = '0000000000001000'

describeWith('namespaces', 'tun')('a session that is a service', () => {
  let site: IkestreamSite
  let psk: readonly string[]
  let before: string
  let socket: NotifySocket
  let sockets = 0

  beforeAll(async () => {
    site = await IkestreamSite.open()
    await site.startWebServer()
    await site.startGateway(['--dns', '10.99.0.53', ...(await site.gatewayArgs())])
    psk = await site.withPsk()
  })
  beforeEach(async () => {
    await site.hotel.restore()
    before = await site.clientState()
    socket = new NotifySocket(join(site.directory, `notify-${sockets++}`))
  })
  afterEach(async () => {
    await site.stopClients()
    await socket.close()
    expect(await site.clientState()).toBe(before)
  })
  afterAll(() => site?.close())

  /** As systemd starts a unit with `Type=notify` and `WatchdogSec=`. */
  function started(args: readonly string[] = [], wrapper: readonly string[] = []) {
    const env = { NOTIFY_SOCKET: socket.address, WATCHDOG_USEC: '200000' }
    return site.connect(site.gatewayAddress, [...psk, ...BRISK, ...args], { env, wrapper })
  }

  it('says when it is up, over what, that it is alive, and when it ends', async () => {
    const client = started()
    await socket.hears('READY=1')
    await socket.hears(
      /^STATUS=Connected over UDP to gw\.test \(198\.18\.0\.1\) as 10\.99\.0\.\d+, fd00:99::/
    )
    await socket.hears('WATCHDOG=1', 3)
    client.kill('SIGUSR2')
    await socket.hears('RELOADING=1')
    await socket.hears('READY=1', 2)
    client.kill('SIGTERM')
    expect(await client.exit, client.transcript()).toBe(0)
    await socket.hears('STOPPING=1')
    expect(socket.lines.filter((line) => line !== 'WATCHDOG=1').slice(0, 2)).toEqual([
      expect.stringMatching(/^STATUS=Trying UDP to 198\.18\.0\.1$/),
      'READY=1'
    ])
  })

  it('is not ready while it looks for a way, and says what it tries', async () => {
    await site.hotel.setFaults([{ protocol: 'all', action: 'prohibit' }])
    const client = started(['--persist'])
    await socket.hears(/^STATUS=Trying TLS/)
    await socket.hears('WATCHDOG=1')
    expect(socket.lines).not.toContain('READY=1')
    await site.hotel.restore()
    await socket.hears('READY=1')
    await client.stop()
  })

  it('shows no sign of life while its main loop hangs', async () => {
    const client = started()
    await socket.hears('WATCHDOG=1', 2)
    client.kill('SIGSTOP')
    await waitUntil('it to be stopped', async () =>
      /^State:\tT/m.test(await readFile(`/proc/${client.pid}/status`, 'utf8'))
    )
    await socket.hears('WATCHDOG=1')
    const beats = socket.count('WATCHDOG=1')
    // Everything that it had sent has come; another datagram of ours comes behind it.
    socket.say('MARK=1')
    await socket.hears('MARK=1')
    expect(socket.count('WATCHDOG=1')).toBe(beats)
    client.kill('SIGCONT')
    await socket.hears('WATCHDOG=1', beats + 2)
    await client.stop()
  })

  it('needs no other privilege than CAP_NET_ADMIN', async () => {
    const client = started([], LEAST)
    await client.event('connected')
    const status = await readFile(`/proc/${client.pid}/status`, 'utf8')
    for (const set of ['CapPrm', 'CapEff', 'CapBnd'])
      expect(status).toMatch(new RegExp(`^${set}:\t${CAP_NET_ADMIN}$`, 'm'))
    expect(status).toMatch(/^NoNewPrivs:\t1$/m)
    expect(await site.reaches(INNER_V4)).toBe(true)
    expect(await client.stop(), client.transcript()).toBe(0)
    expect(client.stderr).not.toMatch(/ (warn|error) /)
  })

  it('changes and restores resolv.conf where nothing else of /etc can be written to', async () => {
    await site.client.run(['mount', '-o', 'remount,bind,ro', '/etc'])
    const file = join(site.directory, 'client-etc', 'etc', 'resolv.conf')
    await site.client.run(['mount', '--bind', file, '/etc/resolv.conf'])
    const client = started([], LEAST)
    await client.event('connected')
    expect(await site.etc.read('resolv.conf')).toMatch(/^# Written by ikestream/)
    expect(await client.stop(), client.transcript()).toBe(0)
    expect(await site.etc.read('resolv.conf')).toMatch(/^# by hand/)
    await site.client.run(['umount', '/etc/resolv.conf'])
    await site.client.run(['mount', '-o', 'remount,bind,rw', '/etc'])
  })

  it('leaves a resolv.conf alone that somebody else has put in the place of the one that the unit may write', async () => {
    const file = join(site.directory, 'client-etc', 'etc', 'resolv.conf')
    const byHand = await readFile(file)
    await site.client.run(['mount', '--bind', file, '/etc/resolv.conf'])
    const client = started()
    await client.event('connected')
    // As NetworkManager or a DHCP client does it outside of the unit: a new file under the old name. The kernel then takes the mount
    // away with which the unit was allowed to write the old one.
    const other = await site.file('other-resolv.conf', 'nameserver 198.18.7.7\n')
    await rename(other, file)
    expect(await client.stop(), client.transcript()).toBe(0)
    expect(await readFile(file, 'utf8')).toBe('nameserver 198.18.7.7\n')
    expect((await site.client.run(['cat', '/proc/self/mountinfo'])).stdout).not.toContain('/etc/resolv.conf')
    await writeFile(file, byHand)
  })
})

describeWith('systemd-analyze')('the units among the examples', () => {
  it.each([
    ['systemd/ikestream@.service', 'ikestream@work.service'],
    ['relay/ikestream-relay.service', 'ikestream-relay.service']
  ])('%s are as systemd wants them', async (file, unit) => {
    const folder = await scratchDirectory('units')
    const text = await readFile(join(examples, file), 'utf8')
    const path = join(folder, unit)
    await writeFile(path, text.replaceAll('/usr/bin/ikestream', command))
    const argv = ['verify', '--man=no', '--recursive-errors=no', path]
    const { stdout, stderr } = await run(systemdAnalyze() ?? '', argv)
    expect(stdout + stderr).toBe('')
  })
})

describeWith('namespaces')('the scripts among the examples', () => {
  /** A folder with programs that only say how they were called, in front of the others. */
  async function pretend(programs: Readonly<Record<string, string>>): Promise<NodeJS.ProcessEnv> {
    const folder = await scratchDirectory('pretend')
    for (const [name, body] of Object.entries(programs)) {
      await writeFile(join(folder, name), `#!/bin/sh\n${body}\n`)
      await chmod(join(folder, name), 0o755)
    }
    return { PATH: `${folder}:${process.env['PATH']}` }
  }

  it('start and stop the tunnel as NetworkManager’s connections come and go', async () => {
    const folder = await scratchDirectory('dispatcher')
    const script = join(folder, '90-ikestream')
    await copyFile(join(examples, 'networkmanager/90-ikestream'), script)
    const text = await readFile(script, 'utf8')
    await writeFile(script, text.replace("trusted=''", "trusted='home office'"))
    const env = await pretend({ systemctl: 'echo "$@"' })
    const call = async (device: string, action: string, more: Record<string, string> = {}) =>
      (await run(script, [device, action], { env: { ...env, ...more } })).stdout
    expect(await call('wlan0', 'up', { CONNECTION_UUID: 'hotel' })).toBe(
      '--no-block start ikestream@work.service\n'
    )
    expect(await call('wlan0', 'up', { CONNECTION_UUID: 'office' })).toBe(
      '--no-block stop ikestream@work.service\n'
    )
    expect(await call('ike0', 'up', { CONNECTION_UUID: 'tunnel' })).toBe('')
    expect(await call('wlan0', 'down')).toBe('')
    const change = (state: string) => call('none', 'connectivity-change', { CONNECTIVITY_STATE: state })
    expect(await change('FULL')).toBe('--no-block try-reload-or-restart ikestream@work.service\n')
    expect(await change('PORTAL')).toBe('')
  })

  it('tell cron only of changes of the way to the gateway', async () => {
    const folder = await scratchDirectory('cron')
    await mkdir(join(folder, 'state'))
    const answer = join(folder, 'answer')
    const env = await pretend({ ikestream: `cat ${answer}; exit "$(cat ${answer}.code)"` })
    const script = join(examples, 'cron/ikestream-changes')
    const call = async (verdict: string, code: number): Promise<string> => {
      await writeFile(answer, `${verdict}\nmore that nobody reads\n`)
      await writeFile(`${answer}.code`, String(code))
      return (await run(script, ['vpn.test', join(folder, 'state', 'last')], { env })).stdout
    }
    const good = (ms: number): string => `vpn.test works over UDP, ${ms} ms`
    expect(await call(good(38), 0)).toBe(`${good(38)}\n`)
    expect(await call(good(41.5), 0)).toBe('')
    expect(await call('vpn.test is out of reach', 69)).toBe('vpn.test is out of reach\n')
    expect(await call('vpn.test is out of reach', 69)).toBe('')
    expect(await call(good(40), 0)).toBe(`${good(40)}\n`)
  })
})
