/**
 * With `--setuid` a session gives its privileges up once it is up, and still leaves nothing behind: a keeper that it started before
 * stays root, changes the host on its behalf, and puts it back however the session ends.
 */
import { chmod, readdir, readFile, readlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { expectOneError } from '../support/expect-error.ts'
import type { IkestreamProcess } from '../support/ikestream-process.ts'
import { BRISK, IkestreamSite, INNER_V4 } from '../support/ikestream-site.ts'
import { type LabHost, startProgram } from '../support/namespaces.ts'
import { describeWith } from '../support/require.ts'
import { waitUntil } from '../support/wait-until.ts'

const USER = 'nobody'
const DNS = '10.99.0.53'
/** Twenty a second, as long as the tunnel carries at first. */
const LARGE_DATAGRAMS = `
const socket = require('node:dgram').createSocket('udp4')
setInterval(() => socket.send(Buffer.alloc(1372), 9, process.argv[1], () => undefined), 50)
`
const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const

describeWith(
  'namespaces',
  'tun',
  'root'
)('a client that becomes another user', () => {
  let site: IkestreamSite
  let psk: readonly string[]
  let before: string
  let pidFile: string
  /** Another way out of the client's host. */
  let second: LabHost

  beforeAll(async () => {
    site = await IkestreamSite.open()
    await site.startWebServer()
    await site.startGateway(['--dns', DNS, ...(await site.gatewayArgs())])
    psk = await site.withPsk()
    second = await site.hotel.addHost('inside', 'client', site.client)
    pidFile = join(site.directory, 'client.pid')
  })
  beforeEach(async () => {
    await site.hotel.restore()
    before = await site.clientState()
  })
  afterEach(async () => {
    await site.stopClients()
    // The device, the routes, resolv.conf, the programs, and then what the session keeps for itself.
    expect(await site.clientState()).toBe(before)
    await expect(readFile(pidFile)).rejects.toThrow('ENOENT')
    expect(await readdir(join(site.directory, 'client', 'sessions'))).toEqual([])
    expect(await readdir(join(site.directory, 'client', 'run'))).toEqual([])
  })
  afterAll(() => site?.close())

  async function connected(
    args: readonly string[] = [],
    server = site.gatewayAddress
  ): Promise<IkestreamProcess> {
    const all = [...psk, ...BRISK, '--setuid', USER, '--pid-file', pidFile, ...args]
    const client = site.connect(server, all)
    await client.event('connected')
    return client
  }

  /** The user of a process, and the group of processes that it is in. */
  async function identity(pid: number): Promise<{ uid: string; group: number }> {
    const status = await readFile(`/proc/${pid}/status`, 'utf8')
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
    const uids = /^Uid:\t(.*)$/m.exec(status)?.[1]?.split('\t') ?? []
    const [uid = ''] = uids
    expect(new Set(uids).size).toBe(1)
    return { uid, group: Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[2]) }
  }

  async function child(client: IkestreamProcess, pattern: RegExp): Promise<number> {
    const text = await readFile(`/proc/${client.pid}/task/${client.pid}/children`, 'utf8')
    for (const pid of text.trim().split(' ')) {
      const line = await readFile(`/proc/${pid}/cmdline`, 'utf8')
      if (pattern.test(line)) return Number(pid)
    }
    throw new Error(`none of the children ${text} matches ${pattern}`)
  }
  const keeperOf = (client: IkestreamProcess): Promise<number> => child(client, /keeper-process/)

  it('has given up root for good when it says that it is up, and its keeper has not', async () => {
    const client = await connected()
    const own = await identity(client.pid)
    expect(own.uid).toBe('65534')
    expect(await readFile(`/proc/${client.pid}/status`, 'utf8')).toMatch(/^CapPrm:\t0+$/m)
    const keeper = await identity(await keeperOf(client))
    expect(keeper.uid).toBe('0')
    expect(keeper.group).not.toBe(own.group)
    await waitUntil('a monitor that the session itself can end', async () => {
      const monitor = await child(client, /monitor/).catch(() => undefined)
      return monitor !== undefined && (await identity(monitor)).uid === '65534'
    })
    expect(await site.reaches(INNER_V4)).toBe(true)
    expect(await site.etc.read('resolv.conf')).toContain(DNS)
    expect(await readFile(pidFile, 'utf8')).toBe(`${client.pid}\n`)
    await client.stop()
  })

  it('can still be asked and ended by root, and leaves no socket behind', async () => {
    const client = await connected(['--name', 'work'])
    const { stdout } = await site.command(['status', '--json'])
    expect(JSON.parse(stdout)).toMatchObject({
      sessions: [{ name: 'work', pid: client.pid, state: 'connected' }]
    })
    expect((await site.command(['disconnect', 'work'])).exitCode).toBe(0)
    expect(await client.exit).toBe(0)
    expect(await readdir(join(site.directory, 'client', 'run'))).toEqual([])
  })

  it('gives its keeper neither secrets nor descriptors', async () => {
    const client = await connected([], site.gatewayAddress)
    const keeper = await keeperOf(client)
    const environment = await readFile(`/proc/${keeper}/environ`, 'utf8')
    const names = environment.split('\0').map((line) => line.split('=')[0])
    expect(names.filter((name) => name !== '')).toEqual(
      expect.not.arrayContaining([expect.stringMatching(/^IKESTREAM_|PROXY|NODE_OPTIONS/i)])
    )
    const links = await Promise.all(
      (await readdir(`/proc/${keeper}/fd`)).map((fd) => readlink(`/proc/${keeper}/fd/${fd}`).catch(() => ''))
    )
    expect(links.filter((link) => link.includes('/dev/net/tun'))).toEqual([])
  })

  it.each(SIGNALS)('leaves everything as it was on %s', async (signal) => {
    const client = await connected()
    client.kill(signal)
    expect(await client.exit, client.transcript()).toBe(0)
    expect(client.events.at(-1)).toMatchObject({ event: 'disconnected', reason: 'requested' })
    expect(await site.clientState()).toBe(before)
  })

  it('leaves everything as it was when it is killed, without anybody’s help', async () => {
    const client = await connected()
    client.kill('SIGKILL')
    // Its output ends with the keeper, which holds the same standard error.
    expect(await client.exit).toBe(137)
    expect(client.stderr).not.toMatch(/^error/m)
    expect(await site.clientState()).toBe(before)
  })

  it('can be followed at once by another of the same name when it is killed', async () => {
    const killed = await connected()
    killed.kill('SIGKILL')
    const next = await connected()
    await killed.exit
    expect(await site.reaches(INNER_V4)).toBe(true)
    expect(await site.etc.read('resolv.conf')).toContain(DNS)
    await next.stop()
  })

  it('leaves everything as it was when a service manager ends all of its processes at once', async () => {
    const client = await connected()
    const keeper = await keeperOf(client)
    process.kill(keeper, 'SIGTERM')
    process.kill(keeper, 'SIGINT')
    client.kill('SIGTERM')
    expect(await client.exit, client.transcript()).toBe(0)
  })

  it('leaves everything as it was when the gateway ends it and does not come back', async () => {
    const address = await site.addGatewayAddress(11)
    const args = [...(await site.gatewayArgs()), '--interface', 'gw1']
    const doomed = await site.startGateway(args, { listen: [address] })
    const client = await connected(['--timeout', '2', '--no-routes'], address)
    await doomed.stop()
    await client.event('reconnecting')
    expect(await client.exit, client.transcript()).toBe(69)
    expect(client.events.at(-1)).toMatchObject({ event: 'error' })
  })

  it('takes other addresses, networks and name servers from a gateway that comes back', async () => {
    const address = await site.addGatewayAddress(12)
    const common = [...(await site.gatewayArgs()), '--interface', 'gw2']
    const first = await site.startGateway(
      [...common, '--dns', '10.120.0.53', '--local-ts', '10.120.0.0/16'],
      { listen: [address], pools: ['--pool', '10.120.0.0/24'] }
    )
    const client = await connected(['--timeout', '30'], address)
    const device = client.all('connected')[0]?.['interface']
    const look = async (): Promise<string> => {
      const addresses = await site.client.run(['ip', '-o', '-4', 'addr', 'show', 'dev', String(device)])
      const routes = await site.client.run(['ip', '-4', 'route', 'show', 'dev', String(device)])
      return [addresses.stdout, routes.stdout, await site.etc.read('resolv.conf')].join('\n')
    }
    expect(await look()).toMatch(/inet 10\.120\.0\.2[\s\S]*10\.120\.0\.0\/16[\s\S]*nameserver 10\.120\.0\.53/)
    await first.stop()
    await client.event('reconnecting')
    await site.startGateway([...common, '--dns', '10.121.0.53', '--local-ts', '10.121.0.0/16'], {
      listen: [address],
      pools: ['--pool', '10.121.0.0/24']
    })
    await client.event('path-changed')
    const after = await look()
    expect(after).toMatch(/inet 10\.121\.0\.2[\s\S]*10\.121\.0\.0\/16[\s\S]*nameserver 10\.121\.0\.53/)
    expect(after).not.toContain('10.120.')
  })

  it('follows a change of network', async () => {
    const leadsOver = async (device: string): Promise<boolean> =>
      (await site.client.run(['ip', 'route', 'get', site.gatewayAddress])).stdout.includes(`dev ${device} `)
    const better = ['default', 'via', second.router, 'dev', second.device]
    const client = await connected()
    expect(await leadsOver('wan0')).toBe(true)
    await site.client.run(['ip', 'route', 'add', ...better])
    await client.event('path-changed', ({ reason }) => reason === 'network-changed')
    expect(await leadsOver(second.device)).toBe(true)
    expect(await site.reaches(INNER_V4)).toBe(true)
    await client.stop()
    await site.client.run(['ip', 'route', 'del', ...better])
  })

  it('takes an MTU that the path has got smaller to', async () => {
    const client = await connected(['--transport', 'udp'])
    const [event] = client.all('connected')
    await site.hotel.setMtu(1340)
    const sender = startProgram(site.client, [process.execPath, '-e', LARGE_DATAGRAMS, INNER_V4])
    await waitUntil('a smaller MTU', async () => {
      const device = String(event?.['interface'])
      const { stdout } = await site.client.run(['ip', '-j', 'link', 'show', 'dev', device])
      return (JSON.parse(stdout) as { mtu: number }[])[0]?.mtu !== event?.['mtu']
    })
    await sender.stop()
    await client.stop()
  })

  it('has a vpnc-script run as root to the end, as the session’s', async () => {
    const log = join(site.directory, 'script.log')
    const script = join(site.directory, 'vpnc-script')
    const text = `#!/bin/sh
echo "$reason $(id -u) $VPNPID" >> ${log}
[ "$reason" = connect ] || exit 0
ip link set dev "$TUNDEV" mtu "$INTERNAL_IP4_MTU" up
`
    await writeFile(script, text)
    await chmod(script, 0o755)
    const client = await connected(['--script', script])
    await client.stop()
    const lines = (await readFile(log, 'utf8')).trimEnd().split('\n')
    expect(lines).toEqual(['pre-init', 'connect', 'disconnect'].map((reason) => `${reason} 0 ${client.pid}`))
  })

  it('ends when its keeper is killed, and says how to undo what is left', async () => {
    const client = await connected()
    process.kill(await keeperOf(client), 'SIGKILL')
    await expectOneError(client, 71, 'keeper-gone', /keeps the host/)
    expect(await site.clientState()).not.toBe(before)
    const stateDirectory = join(site.directory, 'client')
    expect(await site.start(site.client, ['cleanup'], { stateDirectory }).exit).toBe(0)
  })

  it('changes nothing when there is no such user', async () => {
    const client = site.connect(site.gatewayAddress, [...psk, '--setuid', 'no-such-user'])
    await expectOneError(client, 64, 'unknown-user', /no-such-user/)
  })
})
