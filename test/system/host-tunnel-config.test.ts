/** The host is configured for a tunnel and put back, in a namespace that the test made. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { cleanup } from '../../src/host/cleanup.ts'
import { type CommandRunner, SystemCommandRunner } from '../../src/host/commands.ts'
import { Journal, readJournal, writeJournalRecord } from '../../src/host/journal.ts'
import { outgoingPath } from '../../src/host/path-mtu.ts'
import { applyTunnelConfig } from '../../src/host/tunnel-config.ts'
import type { HostContext, TunnelConfig } from '../../src/host/types.ts'
import {
  emptyLab,
  type HotelNetwork,
  hotelNetwork,
  type LabNamespace,
  startProgram
} from '../support/namespaces.ts'
import { describeWith } from '../support/require.ts'
import { scratchDirectory } from '../support/run-directory.ts'

const builtHost = fileURLToPath(new URL('../../dist/host/', import.meta.url))

/** A session in a process of its own, to be killed: configures its host and says so. */
const SESSION = `
const [folder, state, config, dnsPaths] = process.argv.slice(1)
const { Journal } = await import(folder + 'journal.js')
const { applyTunnelConfig } = await import(folder + 'tunnel-config.js')
const journal = await Journal.open(state, 'office')
await applyTunnelConfig(JSON.parse(config), { journal, dnsPaths: JSON.parse(dnsPaths) })
console.log('up')
setInterval(() => {}, 1000)
`

const RESOLV_CONF = '# by hand\nnameserver 10.66.0.1\noptions edns0'

/** Everything that `ip` shows of a namespace. */
async function snapshot(namespace: LabNamespace): Promise<string> {
  const parts: string[] = []
  for (const argv of [
    ['ip', 'route', 'show', 'table', 'all'],
    ['ip', '-6', 'route', 'show', 'table', 'all'],
    ['ip', 'addr', 'show'],
    ['ip', '-d', 'link', 'show'],
    ['ip', 'rule'],
    ['ip', '-6', 'rule']
  ]) {
    const { stdout } = await namespace.run(argv)
    parts.push(stdout)
  }
  return parts.join('---\n')
}

/** A device that was up before: the kernel gives it a queue discipline then, which stays. */
async function addTun(namespace: LabNamespace, name: string): Promise<void> {
  await namespace.run(['ip', 'tuntap', 'add', 'dev', name, 'mode', 'tun'])
  await namespace.run(['ip', 'link', 'set', 'dev', name, 'up'])
  await namespace.run(['ip', 'link', 'set', 'dev', name, 'down'])
}

describeWith('namespaces', 'tun')('the host around a tunnel', () => {
  let network: HotelNetwork
  let client: LabNamespace
  let context: HostContext & { dnsPaths: NonNullable<HostContext['dnsPaths']>; runner: CommandRunner }
  let folder: string

  beforeEach(async () => {
    folder = await scratchDirectory('host')
    network = await hotelNetwork()
    client = network.client.namespace
    await addTun(client, 'ike0')
    await writeFile(join(folder, 'resolv.conf'), RESOLV_CONF, { mode: 0o640 })
    context = {
      runner: hiding(client.runner, 'resolvectl', 'resolvconf'),
      dnsPaths: {
        resolvConf: join(folder, 'resolv.conf'),
        nsswitch: join(folder, 'nsswitch.conf'),
        interfaceOrder: join(folder, 'interface-order'),
        netnsFolder: join(folder, 'netns')
      }
    }
  })
  afterEach(() => network?.close())

  function fullTunnel(changes: Partial<TunnelConfig> = {}): TunnelConfig {
    return {
      interface: 'ike0',
      addresses: [
        { address: '10.88.0.7', prefixLength: 32 },
        { address: 'fd00:88::7', prefixLength: 128 }
      ],
      mtu: 1400,
      routes: ['0.0.0.0/0', '::/0'],
      pinned: [network.gateway.address, network.gateway.address6 ?? '::1'],
      dns: { servers: ['10.77.0.53'], domains: [], exclusive: true },
      ...changes
    }
  }

  async function deviceTo(address: string): Promise<string | undefined> {
    return (await outgoingPath(address, client.runner))?.device
  }

  it('sends everything but the gateway into a full tunnel, and leaves no trace of it', async () => {
    const before = await snapshot(client)
    const applied = await applyTunnelConfig(fullTunnel(), context)
    expect(applied.conflicts).toEqual([])
    expect(await deviceTo('203.0.113.80')).toBe('ike0')
    expect(await deviceTo('2001:db8:80::80')).toBe('ike0')
    expect(await deviceTo(network.gateway.address)).toBe('wan0')
    expect(await deviceTo(network.gateway.address6 ?? '')).toBe('wan0')
    expect(await deviceTo('198.18.0.77')).toBe('ike0')
    expect((await client.run(['ip', 'addr', 'show', 'dev', 'ike0'])).stdout).toMatch(
      /mtu 1400[\s\S]*inet 10\.88\.0\.7\/32[\s\S]*inet6 fd00:88::7\/128 scope global nodad/
    )
    expect(await readFile(context.dnsPaths.resolvConf, 'utf8')).toMatch(
      /^nameserver 10\.77\.0\.53\noptions edns0$/m
    )
    await applied.undo()
    expect(await snapshot(client)).toBe(before)
    expect(await readFile(context.dnsPaths.resolvConf, 'utf8')).toBe(RESOLV_CONF)
    await applied.undo()
    expect(await snapshot(client)).toBe(before)
  })

  it('undoes what was done when a later step is refused', async () => {
    const before = await snapshot(client)
    const refusal = 'RTNETLINK answers: No buffer space available\n'
    const failing: CommandRunner = {
      run: async (argv, options) => {
        const lines = (options?.input ?? '').split('\n')
        const refused = lines.findIndex((line) => line.includes(' add 128.0.0.0/1 '))
        if (refused >= 0) {
          await context.runner.run(argv, { ...options, input: `${lines.slice(0, refused).join('\n')}\n` })
          return { argv, exitCode: 1, stdout: '', stderr: `${refusal}Command failed -:${refused + 1}\n` }
        }
        if (!argv.includes('128.0.0.0/1') || argv.includes('del')) return context.runner.run(argv, options)
        return { argv, exitCode: 2, stdout: '', stderr: refusal }
      }
    }
    await expect(applyTunnelConfig(fullTunnel(), { ...context, runner: failing })).rejects.toThrow(
      /128\.0\.0\.0\/1.*No buffer space available/
    )
    expect(await snapshot(client)).toBe(before)
    expect(await readFile(context.dnsPaths.resolvConf, 'utf8')).toBe(RESOLV_CONF)
  })

  it('moves the gateway’s pin when the network changes, and never lets it into the tunnel', async () => {
    const second = await network.addHost('inside', 'client', client)
    const applied = await applyTunnelConfig(fullTunnel(), context)
    const { address } = network.gateway
    await client.run(['ip', 'link', 'set', 'dev', 'wan0', 'down'])
    expect(await deviceTo(address)).toBeUndefined()
    await applied.repin()
    expect(await deviceTo(address)).toBe(second.device)
    expect(await deviceTo('203.0.113.80')).toBe('ike0')
    await client.run(['ip', 'link', 'set', 'dev', second.device, 'down'])
    await applied.repin()
    expect(await deviceTo(address)).toBeUndefined()
    await client.run(['ip', 'link', 'set', 'dev', second.device, 'up'])
    await client.run(['ip', 'route', 'replace', 'default', 'via', second.router, 'dev', second.device])
    expect(await applied.repin()).toContain(address)
    expect(await deviceTo(address)).toBe(second.device)
    await applied.undo()
    expect((await client.run(['ip', 'route'])).stdout).not.toContain(address)
  })

  it('follows the gateway to other addresses, and takes other addresses of its own', async () => {
    const applied = await applyTunnelConfig(fullTunnel(), context)
    await applied.updatePinned(['198.18.0.2', network.gateway.address6 ?? '::1'])
    expect(await deviceTo('198.18.0.2')).toBe('wan0')
    expect(await deviceTo(network.gateway.address)).toBe('ike0')
    const { routes, dns } = fullTunnel()
    await applied.reconfigure({ addresses: [{ address: '10.88.0.9', prefixLength: 32 }], routes, dns })
    const { stdout } = await client.run(['ip', '-brief', 'addr', 'show', 'dev', 'ike0'])
    expect(stdout).toMatch(/10\.88\.0\.9\/32/)
    expect(stdout).not.toMatch(/10\.88\.0\.7|fd00:88::7/)
    expect(await deviceTo('203.0.113.80')).toBe('ike0')
    await applied.undo()
  })

  it('lets two sessions to one gateway come and go independently', async () => {
    await addTun(client, 'ike1')
    const before = await snapshot(client)
    const split = { routes: ['198.18.0.0/16'], dns: undefined }
    const first = await applyTunnelConfig(fullTunnel(split), context)
    const second = await applyTunnelConfig(
      fullTunnel({ ...split, interface: 'ike1', routes: ['198.18.0.0/15'] }),
      context
    )
    await first.undo()
    expect(await deviceTo(network.gateway.address)).toBe('wan0')
    await second.undo()
    expect(await snapshot(client)).toBe(before)
  })

  it('reports routes that are taken, a route that is the gateway, and name servers outside', async () => {
    const before = await snapshot(client)
    const applied = await applyTunnelConfig(
      fullTunnel({
        routes: ['10.66.0.0/24', `${network.gateway.address}/32`, '10.77.0.0/24'],
        dns: { servers: ['10.77.0.53', '10.78.0.53'], domains: ['corp.example'], exclusive: false }
      }),
      context
    )
    expect(applied.conflicts.map(({ kind, subject }) => [kind, subject])).toEqual([
      ['dns-outside-tunnel', '10.78.0.53'],
      ['route-is-gateway', `${network.gateway.address}/32`],
      ['route-exists', '10.66.0.0/24']
    ])
    expect(await deviceTo('10.66.0.9')).toBe('wan0')
    expect(await deviceTo('10.77.0.9')).toBe('ike0')
    expect(await deviceTo(network.gateway.address)).toBe('wan0')
    await applied.undo()
    expect(await snapshot(client)).toBe(before)
  })

  it('carries IPv4 only when the MTU is too small for IPv6, and says so', async () => {
    const applied = await applyTunnelConfig(fullTunnel({ mtu: 1200 }), context)
    expect(applied.conflicts.map(({ kind }) => kind)).toEqual(['ipv6-unavailable'])
    expect(await deviceTo('203.0.113.80')).toBe('ike0')
    expect(await deviceTo('2001:db8:80::80')).toBe('wan0')
    await applied.undo()
  })

  it('cleans up from the journal after the session was killed with SIGKILL, and not before', async () => {
    const state = join(folder, 'state')
    const before = await snapshot(client)
    const session = startProgram(client, [
      process.execPath,
      '--input-type=module',
      '-e',
      SESSION,
      '--',
      builtHost,
      state,
      JSON.stringify(fullTunnel()),
      JSON.stringify(context.dnsPaths)
    ])
    await session.printed(/up/)
    const options = { stateDirectory: state, runner: context.runner }
    expect(await cleanup('office', options)).toMatchObject({ outcome: 'running' })
    expect(await deviceTo('203.0.113.80')).toBe('ike0')
    await expect(Journal.open(state, 'office')).rejects.toMatchObject({ code: 'session-running' })
    session.child.kill('SIGKILL')
    await session.exit
    await expect(Journal.open(state, 'office')).rejects.toMatchObject({ code: 'session-stale' })
    expect(await readFile(context.dnsPaths.resolvConf, 'utf8')).not.toBe(RESOLV_CONF)
    expect(await cleanup('office', options)).toMatchObject({ outcome: 'cleaned', failures: [] })
    expect(await snapshot(client)).toBe(before)
    expect(await readFile(context.dnsPaths.resolvConf, 'utf8')).toBe(RESOLV_CONF)
    expect(await cleanup('office', options)).toMatchObject({ outcome: 'clean' })
  })

  it('leaves another session’s device alone that has got the name of a killed one’s', async () => {
    const state = join(folder, 'state')
    const journal = await Journal.open(state, 'first')
    await applyTunnelConfig(fullTunnel({ routes: ['10.77.0.0/16'], dns: undefined }), { ...context, journal })
    const record = await readJournal(state, 'first')
    if (record === undefined) throw new Error('no journal')
    // As if the owner had been another process that is gone.
    await writeJournalRecord(state, { ...record, owner: { ...record.owner, startTicks: '1' } })
    await client.run(['ip', 'link', 'del', 'dev', 'ike0'])
    await addTun(client, 'ike0')
    await applyTunnelConfig(fullTunnel({ routes: ['10.77.0.0/16'], dns: undefined }), context)
    expect(await cleanup('first', { stateDirectory: state, runner: context.runner })).toMatchObject({
      outcome: 'cleaned'
    })
    expect(await deviceTo('10.77.0.1')).toBe('ike0')
  })
})

/** As if these programs were not installed. */
function hiding(runner: CommandRunner, ...programs: string[]): CommandRunner {
  const missing = new SystemCommandRunner()
  return {
    run: (argv, options) =>
      programs.includes(argv[0] ?? '') ? missing.run(['/nonexistent/program']) : runner.run(argv, options)
  }
}

describeWith('namespaces', 'tun')('a tunnel in a network namespace of its own', () => {
  it('moves the device there, takes the plain default route, and leaves the rest of the machine alone', async () => {
    const lab = await emptyLab()
    try {
      const host = await lab.addNamespace('host')
      const folder = await scratchDirectory('host-netns')
      await mkdir(join(folder, 'netns'))
      // `ip netns add` wants a folder of its own, which is the system's.
      await host.run(['mount', '-t', 'tmpfs', 'tmpfs', '/run'])
      await host.run(['ip', 'netns', 'add', 'office'])
      await host.run(['ip', 'tuntap', 'add', 'dev', 'ike0', 'mode', 'tun'])
      const before = (await host.run(['ip', 'route', 'show', 'table', 'all'])).stdout
      const applied = await applyTunnelConfig(
        {
          interface: 'ike0',
          netns: 'office',
          addresses: [{ address: '10.88.0.7', prefixLength: 32 }],
          mtu: 1400,
          routes: ['0.0.0.0/0'],
          pinned: ['198.18.0.1'],
          dns: { servers: ['10.77.0.53'], domains: [], exclusive: true }
        },
        {
          runner: host.runner,
          dnsPaths: {
            resolvConf: join(folder, 'resolv.conf'),
            nsswitch: join(folder, 'nsswitch.conf'),
            interfaceOrder: join(folder, 'interface-order'),
            netnsFolder: join(folder, 'netns')
          }
        }
      )
      expect(applied.dnsMode).toBe('netns-file')
      expect((await host.run(['ip', '-n', 'office', 'route'])).stdout).toMatch(/^default dev ike0 /)
      expect((await host.run(['ip', 'route', 'show', 'table', 'all'])).stdout).toBe(before)
      expect(await readFile(join(folder, 'netns/office/resolv.conf'), 'utf8')).toContain(
        'nameserver 10.77.0.53'
      )
      await applied.undo()
      expect((await host.run(['ip', '-n', 'office', 'route'])).stdout).toBe('')
      await expect(readFile(join(folder, 'netns/office/resolv.conf'))).rejects.toThrow('ENOENT')
    } finally {
      await lab.close()
    }
  })
})
