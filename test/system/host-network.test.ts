/** What the host floor sees of a real network, and what a vpnc-script sees of the host floor. */
import { spawn } from 'node:child_process'
import { chmod, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { SystemCommandRunner } from '../../src/host/commands.ts'
import { MONITOR_ARGV, type NetworkChange, watchNetwork } from '../../src/host/network-watch.ts'
import { outgoingPath } from '../../src/host/path-mtu.ts'
import { ownPrivileges } from '../../src/host/privileges.ts'
import { applyVpncScript } from '../../src/host/script-config.ts'
import {
  addNat,
  type HotelNetwork,
  hotelNetwork,
  loseAtRandom,
  readdress,
  rebindNat,
  startProgram
} from '../support/namespaces.ts'
import { describeWith, findProgram } from '../support/require.ts'
import { scratchDirectory } from '../support/run-directory.ts'
import { waitUntil } from '../support/wait-until.ts'

const builtHost = fileURLToPath(new URL('../../dist/host/', import.meta.url))

describeWith('namespaces')('a watched network', () => {
  let network: HotelNetwork
  beforeAll(async () => {
    network = await hotelNetwork()
  })
  afterAll(() => network?.close())

  it('is heard to change: an address, a route, a cable', async () => {
    const client = network.client.namespace
    const heard: NetworkChange[] = []
    const monitor = client.spawn(MONITOR_ARGV, { stdio: ['ignore', 'pipe', 'ignore'] })
    const watch = watchNetwork((change) => heard.push(change), { quietMs: 5, startMonitor: () => monitor })
    let number = 0
    const until = async (kind: keyof NetworkChange, argv: (attempt: number) => string[]): Promise<void> => {
      heard.length = 0
      // The monitor says nothing when it begins to listen, so the change is made until it is heard.
      await waitUntil(`a change of ${kind}`, async () => {
        await client.run(argv(number++))
        return heard.some((change) => change[kind])
      })
    }
    await until('addresses', (n) => ['ip', 'addr', 'add', `10.5.5.${n}/32`, 'dev', 'wan0'])
    await until('routes', (n) => ['ip', 'route', 'add', `10.6.0.${n % 250}/32`, 'dev', 'wan0'])
    await until('links', (n) => ['ip', 'link', 'set', 'dev', 'wan0', 'mtu', String(1400 + (n % 90))])
    watch.close()
  })

  it('tells the MTU of the way out: of the device, or of the route if that is less', async () => {
    const { namespace, device, router } = network.client
    await namespace.run(['ip', 'link', 'set', 'dev', device, 'mtu', '1450'])
    expect(await outgoingPath(network.gateway.address, namespace.runner)).toEqual({
      device,
      mtu: 1450,
      nextHop: router,
      source: network.client.address
    })
    await namespace.run(['ip', 'route', 'add', '203.0.113.0/24', 'via', router, 'mtu', '1380'])
    expect(await outgoingPath('203.0.113.1', namespace.runner)).toMatchObject({ mtu: 1380 })
    expect(await outgoingPath('127.0.0.1', namespace.runner)).toMatchObject({
      device: 'lo',
      nextHop: undefined
    })
    await namespace.run(['ip', 'route', 'add', 'unreachable', '203.0.113.9/32'])
    expect(await outgoingPath('203.0.113.9', namespace.runner)).toBeUndefined()
  })
})

describeWith('namespaces', 'tun')('a vpnc-script', () => {
  it('gets exactly the contract’s environment in every step', async () => {
    const network = await hotelNetwork({ ipv6: false })
    try {
      const folder = await scratchDirectory('script')
      const script = join(folder, 'a script')
      await writeFile(
        script,
        `#!/bin/sh\nenv | sort > "${folder}/$reason"\nip link show dev "$TUNDEV" > "${folder}/link"\n`
      )
      await chmod(script, 0o755)
      const client = network.client.namespace
      await client.run(['ip', 'tuntap', 'add', 'dev', 'ike0', 'mode', 'tun'])
      process.env['CISCO_SPLIT_INC'] = '7'
      const applied = await applyVpncScript(
        {
          interface: 'ike0',
          addresses: [{ address: '10.88.0.7', prefixLength: 32 }],
          mtu: 1400,
          routes: ['10.77.0.0/16'],
          pinned: [network.gateway.address],
          dns: { servers: ['10.77.0.53'], domains: ['corp.example'], exclusive: false }
        },
        { script },
        { runner: client.runner }
      )
      await applied.repin()
      await applied.undo()
      const variables = async (reason: string): Promise<string[]> =>
        (await readFile(join(folder, reason), 'utf8'))
          .split('\n')
          .filter((line) => /^(reason|VPN|TUNDEV|LOG_LEVEL|INTERNAL|CISCO)/.test(line))
      const rest = [
        'INTERNAL_IP4_ADDRESS=10.88.0.7',
        'INTERNAL_IP4_DNS=10.77.0.53',
        'INTERNAL_IP4_MTU=1400',
        'LOG_LEVEL=1',
        'TUNDEV=ike0',
        `VPNGATEWAY=${network.gateway.address}`,
        `VPNPID=${process.pid}`
      ]
      for (const reason of ['pre-init', 'connect', 'attempt-reconnect', 'disconnect']) {
        const lines = await variables(reason)
        expect(lines).toEqual(expect.arrayContaining([...rest, `reason=${reason}`]))
        expect(lines.filter((line) => line.startsWith('CISCO'))).toEqual([
          'CISCO_SPLIT_DNS=corp.example',
          'CISCO_SPLIT_INC=1',
          'CISCO_SPLIT_INC_0_ADDR=10.77.0.0',
          'CISCO_SPLIT_INC_0_DPORT=0',
          'CISCO_SPLIT_INC_0_MASK=255.255.0.0',
          'CISCO_SPLIT_INC_0_MASKLEN=16',
          'CISCO_SPLIT_INC_0_PROTOCOL=0',
          'CISCO_SPLIT_INC_0_SPORT=0'
        ])
        expect(lines).toHaveLength(rest.length + 1 + 8)
      }
      expect(await readFile(join(folder, 'link'), 'utf8')).toContain('ike0')
    } finally {
      delete process.env['CISCO_SPLIT_INC']
      await network.close()
    }
  })
})

describeWith('namespaces')('a lab whose owner is killed', () => {
  it('leaves no process behind, and so no namespace', async () => {
    const program = `
      const { HotelNetwork } = await import(${JSON.stringify(builtHost)} + 'netlab-hotel.js')
      const network = await HotelNetwork.open({ ipv6: false })
      const parts = [network.client.namespace, network.gateway.namespace, network.middle, network.wall]
      const child = network.client.namespace.spawn(['sleep', '600'], { stdio: 'ignore' })
      console.log('pids', ...parts.map((part) => part.pid), child.pid, 'end')
      setInterval(() => {}, 1000)
    `
    const owner = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit']
    })
    let output = ''
    owner.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString()
    })
    await waitUntil('the lab', () => output.includes('end'))
    const pids = [...output.matchAll(/ (\d+)/g)].map(([, pid]) => Number(pid))
    expect(pids).toHaveLength(5)
    owner.kill('SIGKILL')
    await waitUntil('its processes to end', () => pids.every((pid) => !isRunning(pid)))
  })
})

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

const UDP_LISTENER = `
require('dgram').createSocket('udp4')
  .on('message', (bytes, from) => console.log(bytes.toString().trim(), 'from', from.address, from.port))
  .bind(9, () => console.log('ready'))
`
/** Sends each chunk of its standard input from one and the same socket. */
const UDP_SENDER = `
const socket = require('dgram').createSocket('udp4')
process.stdin.on('data', (bytes) => socket.send(bytes, 9, process.argv[1]))
`

describeWith(
  'namespaces',
  'nft',
  'ping'
)('faults that need nft', () => {
  it('hides the client behind the router, forgets its bindings, and loses packets at random', async () => {
    const network = await hotelNetwork({ ipv6: false })
    try {
      const { namespace } = network.client
      const ping = ['ping', '-c1', '-W1', network.gateway.address]
      await addNat(network)
      const listener = startProgram(network.gateway.namespace, [process.execPath, '-e', UDP_LISTENER])
      await listener.printed(/ready/)
      const sender = startProgram(
        namespace,
        [process.execPath, '-e', UDP_SENDER, '--', network.gateway.address],
        { stdio: ['pipe', 'pipe', 'pipe'] }
      )
      sender.child.stdin?.write('first\n')
      expect(await listener.printed(/first/)).toMatch(/first from 198\.18\.0\.254/)
      await rebindNat(network, 61_000)
      sender.child.stdin?.write('second\n')
      expect(await listener.printed(/second/)).toMatch(/second from 198\.18\.0\.254 61\d\d\d/)
      await loseAtRandom(network, 100)
      expect((await namespace.runner.run(ping)).exitCode).toBe(1)
      await loseAtRandom(network, 0)
      await namespace.run(ping)
    } finally {
      await network.close()
    }
  })

  it('gives the client another address as a DHCP server would', async () => {
    const network = await hotelNetwork({ ipv6: false })
    try {
      expect(await readdress(network.client, 77)).toBe('10.66.0.77')
      await network.client.namespace.run(['ping', '-c1', '-W5', network.gateway.address])
      expect(await outgoingPath(network.gateway.address, network.client.namespace.runner)).toMatchObject({
        source: '10.66.0.77'
      })
    } finally {
      await network.close()
    }
  })
})

it('knows its own privileges: a user namespace has CAP_NET_ADMIN', async () => {
  const privileges = await ownPrivileges()
  if (process.getuid?.() === 0) expect(privileges.netAdmin).toBe(true)
  else expect(privileges.netAdmin).toBe(false)
})

it.skipIf(findProgram('script') === null)(
  'asks for a secret on a real terminal without showing it',
  async () => {
    const folder = await scratchDirectory('prompt')
    const program = join(folder, 'ask.mjs')
    await writeFile(
      program,
      `const { promptSecret } = await import(${JSON.stringify(builtHost)} + 'secrets-input.js')
     const secret = await promptSecret('Password of alice', '--password-file')
     console.log(\`length \${secret.reveal().length}\`)\n`
    )
    // util-linux's `script` runs the program on a pseudoterminal of its own.
    const child = spawn('script', ['-qec', `${process.execPath} ${program}`, '/dev/null'], {
      stdio: ['pipe', 'pipe', 'inherit']
    })
    let output = ''
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString()
    })
    await waitUntil('the prompt', () => output.includes('Password of alice: '))
    child.stdin.write('hunter2\r')
    await waitUntil('the end', () => output.includes('length 7') || child.exitCode !== null)
    child.stdin.end()
    expect(output).toContain('length 7')
    expect(output).not.toContain('hunter2')
  }
)

it('fails clearly where there is no terminal to ask on', async () => {
  const ask = `
    const { promptSecret } = await import(${JSON.stringify(builtHost)} + 'secrets-input.js')
    await promptSecret('The password', '--password-file').catch((error) => console.log(error.code, '|', error.hint))
  `
  const { stdout } = await new SystemCommandRunner().run([
    'setsid',
    '-w',
    process.execPath,
    '--input-type=module',
    '-e',
    ask
  ])
  expect(stdout.trim()).toBe('no-terminal | give it with --password-file')
})
