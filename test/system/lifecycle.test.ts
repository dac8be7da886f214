/** How a client begins and ends: signals, the background, scripts, namespaces, crashes; and what it leaves behind, which is nothing. */
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { expectOneError } from '../support/expect-error.ts'
import type { IkestreamProcess } from '../support/ikestream-process.ts'
import { BRISK, IkestreamSite, INNER_V4 } from '../support/ikestream-site.ts'
import { describeWith } from '../support/require.ts'
import { expectTidyTests } from '../support/tidy-tests.ts'
import { waitUntil } from '../support/wait-until.ts'

const SIGNALS = [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129]
] as const
const DNS = '10.99.0.53'

describeWith('namespaces', 'tun')('a client', () => {
  let site: IkestreamSite
  let gateway: IkestreamProcess
  let psk: readonly string[]

  beforeAll(async () => {
    site = await IkestreamSite.open()
    await site.startWebServer()
    gateway = await site.startGateway(['--dns', DNS, ...(await site.gatewayArgs())])
    psk = await site.withPsk()
  })
  const stateBefore = expectTidyTests(() => site)
  afterAll(() => site?.close())

  function connect(args: readonly string[] = [], server = site.gatewayAddress): IkestreamProcess {
    return site.connect(server, [...psk, ...BRISK, ...args])
  }

  it.each(SIGNALS)('ends cleanly on %s once it is connected', async (signal) => {
    const mark = gateway.mark
    const client = connect()
    await client.event('connected')
    client.kill(signal)
    expect(await client.exit, client.transcript()).toBe(0)
    expect(client.events.at(-1)).toMatchObject({ event: 'disconnected', reason: 'requested' })
    expect(client.strayOutput).toEqual([])
    const down = await gateway.event('client-down', undefined, mark)
    expect(down['reason']).toBe('deleted-by-peer')
  })

  it.each(SIGNALS)(
    'gives up at once on %s while it connects, and says so with %i',
    async (signal, exitCode) => {
      await site.hotel.cut()
      const client = connect()
      await client.event('rung')
      client.kill(signal)
      expect(await client.exit, client.transcript()).toBe(exitCode)
      expect(client.all('error')).toEqual([])
      expect(client.strayOutput).toEqual([])
    }
  )

  it.each(SIGNALS)('gives up on %s while it authenticates', async (signal, exitCode) => {
    const box = await site.startMiddlebox({ lastAnswer: 0 })
    const client = connect(['--transport', 'tcp'], box.address)
    await client.event('rung', ({ outcome }) => outcome === 'answered')
    client.kill(signal)
    expect(await client.exit, client.transcript()).toBe(exitCode)
  })

  it('ends cleanly on a signal while it looks for another path', async () => {
    const client = connect()
    await client.event('connected')
    const download = site.download(1_000_000, 20)
    await site.hotel.cut()
    await client.said(/did not follow/)
    client.kill('SIGTERM')
    expect(await client.exit, client.transcript()).toBe(0)
    await download.stop()
  })

  it('tells its statistics on SIGUSR1 and reconnects on SIGUSR2', async () => {
    const client = connect()
    await client.event('connected')
    expect(await site.reaches(INNER_V4)).toBe(true)
    client.kill('SIGUSR1')
    expect(await client.said(/received \d+ packets/)).toMatch(
      /received [1-9]\d* packets, [1-9]\d* bytes; sent [1-9]/
    )
    client.kill('SIGUSR2')
    expect(await client.event('path-changed')).toMatchObject({ reason: 'requested' })
    expect(await site.reaches(INNER_V4)).toBe(true)
  })

  it('goes to the background once it is up, and is ended by its process id', async () => {
    const pidFile = join(site.directory, 'client.pid')
    const client = connect(['--background', '--pid-file', pidFile])
    expect(await client.left, client.transcript()).toBe(0)
    expect(client.all('connected')).toHaveLength(1)
    const pid = Number(await readFile(pidFile, 'utf8'))
    expect(pid).not.toBe(client.pid)
    expect(await site.reaches(INNER_V4)).toBe(true)
    process.kill(pid, 'SIGTERM')
    await client.exit
    expect(client.events.at(-1)).toMatchObject({ event: 'disconnected', reason: 'requested' })
    await expect(readFile(pidFile)).rejects.toThrow(/ENOENT/)
  })

  it('does not go to the background when it fails, and leaves with the reason', async () => {
    const args = [...(await site.withPsk('another key')), ...BRISK, '--background']
    const client = site.connect(site.gatewayAddress, args)
    await expectOneError(client, 77, 'authentication-failed', /authentication/)
  })

  it('writes its DNS servers into resolv.conf and puts it back', async () => {
    const client = connect()
    await client.event('connected')
    const during = await site.etc.read('resolv.conf')
    expect(during).toMatch(new RegExp(`^nameserver ${DNS}$`, 'm'))
    expect(during).toMatch(/^options edns0$/m)
    expect(during).not.toMatch(site.hotel.client.router)
    await client.stop()
    expect(await site.etc.read('resolv.conf')).toMatch(/^# by hand/)
  })

  it('leaves DNS and routes alone when told to', async () => {
    const client = connect(['--no-dns', '--no-routes'])
    const { interface: device } = await client.event('connected')
    expect(await site.etc.read('resolv.conf')).toMatch(/^# by hand/)
    const { stdout } = await site.client.run(['ip', 'route', 'show'])
    expect(stdout).not.toContain(String(device))
    expect(await site.reaches(INNER_V4)).toBe(false)
    await site.client.run(['ip', 'route', 'add', INNER_V4, 'dev', String(device)])
    expect(await site.reaches(INNER_V4)).toBe(true)
  })

  it('lets a vpnc-script configure the host', async () => {
    const log = join(site.directory, 'script.log')
    const script = join(site.directory, 'vpnc-script')
    await writeFile(
      script,
      `#!/bin/sh
env | grep -E '^(reason|VPNGATEWAY|TUNDEV|INTERNAL_|CISCO_)' | sort | tr '\\n' ' ' >> ${log}
echo >> ${log}
if [ "$reason" = connect ]; then
  ip link set dev "$TUNDEV" mtu "$INTERNAL_IP4_MTU" up
  ip addr add "$INTERNAL_IP4_ADDRESS/32" dev "$TUNDEV"
  ip route add ${INNER_V4} dev "$TUNDEV"
fi
`
    )
    await chmod(script, 0o755)
    const client = connect(['--script', script])
    const { interface: device, virtualIps } = await client.event('connected')
    expect(await site.reaches(INNER_V4), client.transcript()).toBe(true)
    await client.stop()
    const calls = (await readFile(log, 'utf8')).trimEnd().split('\n')
    const [address] = virtualIps as string[]
    const told = [`VPNGATEWAY=${site.gatewayAddress}`, `TUNDEV=${device}`, `INTERNAL_IP4_ADDRESS=${address}`]
    const reasons = calls.map((call) => /reason=(\S+)/.exec(call)?.[1])
    expect(reasons).toEqual(['pre-init', 'connect', 'disconnect'])
    for (const call of calls.slice(1)) {
      for (const variable of [...told, `INTERNAL_IP4_DNS=${DNS}`]) expect(call).toContain(variable)
    }
  })

  it('gives up when the script fails, and says what it said', async () => {
    const client = connect(['--script', 'echo no such interface >&2; exit 3'])
    await expectOneError(client, 71, 'script-failed', /no such interface/)
  })

  it('puts the device into another network namespace', async () => {
    // The client has its own mounts, so that `ip netns` cannot touch the machine's.
    await site.client.run(['mount', '-t', 'tmpfs', 'tmpfs', '/run'])
    await site.client.run(['ip', 'netns', 'add', 'inner'])
    const client = connect(['--netns', 'inner'])
    const { interface: device } = await client.event('connected')
    const links = async (): Promise<string> =>
      (await site.client.run(['ip', '-n', 'inner', '-o', 'link'])).stdout
    expect(await links()).toContain(`${device}:`)
    expect((await site.client.run(['ip', '-o', 'link'])).stdout).not.toContain(`${device}:`)
    const { stdout } = await site.client.run(['ip', '-n', 'inner', 'route', 'get', INNER_V4])
    expect(stdout).toContain(`dev ${device}`)
    await client.stop()
    expect(await links()).not.toContain(`${device}:`)
    await site.client.run(['ip', 'netns', 'del', 'inner'])
    await site.client.run(['umount', '-R', '/run'])
  })

  it('is cleaned up after by the next one when it was killed', async () => {
    const killed = connect()
    await killed.event('connected')
    killed.kill('SIGKILL')
    expect(await killed.exit).toBe(137)
    // The device went with the process; the gateway's route and the name server did not.
    expect(await site.clientState()).not.toBe(stateBefore())
    expect(await site.etc.read('resolv.conf')).toContain(DNS)
    const next = connect()
    await next.event('connected')
    expect(await site.reaches(INNER_V4)).toBe(true)
    await next.stop()
    expect(await site.etc.read('resolv.conf')).toMatch(/^# by hand/)
  })

  it('does not disturb one that runs under the same name', async () => {
    const first = connect()
    await first.event('connected')
    const second = connect()
    await expectOneError(second, 71, 'session-running', /running already/)
    expect(await site.reaches(INNER_V4)).toBe(true)
  })

  it('follows the gateway’s end, and comes back when the gateway does', async () => {
    const address = await site.addGatewayAddress(11)
    const args = [...(await site.gatewayArgs()), '--interface', 'gw1']
    const doomed = await site.startGateway(args, { listen: [address] })
    const client = connect(['--timeout', '30'], address)
    await client.event('connected')
    await doomed.stop()
    await client.event('reconnecting')
    await site.startGateway(args, { listen: [address] })
    expect(await client.event('path-changed'), client.transcript()).toBeTruthy()
  })

  it('keeps trying with --persist until the network lets it', async () => {
    await site.hotel.setFaults([{ protocol: 'all', action: 'prohibit' }])
    const client = connect(['--persist'])
    await client.event('rung', ({ transport, outcome }) => transport === 'tls' && outcome === 'failed')
    await client.event('rung', ({ outcome }) => outcome === 'trying', client.mark)
    await site.hotel.restore()
    await client.event('connected')
    expect(client.all('error')).toEqual([])
  })

  it('ends when its device is taken away', async () => {
    const client = connect()
    const { interface: device } = await client.event('connected')
    await site.client.run(['ip', 'link', 'del', 'dev', String(device)])
    await expectOneError(client, 71, 'device-gone', /device ike0 was deleted/)
    expect(client.all('disconnected')).toMatchObject([{ reason: 'device-gone' }])
  })

  it('puts everything back when it is its own mistake that ends it', async () => {
    const mistake = "process.on('SIGWINCH', () => setTimeout(() => { throw new RangeError('too far') }))"
    const env = { NODE_OPTIONS: `--import "data:text/javascript,${encodeURIComponent(mistake)}"` }
    const client = site.connect(site.gatewayAddress, [...psk, ...BRISK], { env })
    await client.event('connected')
    client.kill('SIGWINCH')
    await expectOneError(client, 70, 'internal', /RangeError: too far/)
    expect(client.all('disconnected')).toMatchObject([{ reason: 'internal-error' }])
  })

  it('changes nothing in the machine’s own folders', async () => {
    const home = join(site.directory, 'home')
    await mkdir(home)
    const client = site.connect(site.gatewayAddress, [...psk, ...BRISK], {
      stateDirectory: join(home, 'state'),
      env: { HOME: home, XDG_CONFIG_HOME: join(home, 'config') }
    })
    await client.event('connected')
    await client.stop()
    await waitUntil('the journal to be gone', async () => {
      const { stdout } = await site.client.run(['find', home, '-type', 'f'])
      return stdout.trim() === join(home, 'state', 'networks.json')
    })
  })
})
