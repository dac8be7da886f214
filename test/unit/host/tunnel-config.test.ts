import { join } from 'node:path'
import { beforeEach, describe, expect, it } from 'vitest'
import { memoryLog, type StepLog } from '../../../src/host/journal.ts'
import { applyTunnelConfig } from '../../../src/host/tunnel-config.ts'
import type { TunnelConfig } from '../../../src/host/types.ts'
import { linkAnswer, RecordingRunner } from '../../support/recording-runner.ts'

const GATEWAY = '198.18.0.1'
const VIA_ETH0 = `[{"dst":"${GATEWAY}","gateway":"10.66.0.1","dev":"eth0","prefsrc":"10.66.0.2","flags":[]}]`
const paths = join('/nonexistent', 'dns')
const dnsPaths = { resolvConf: paths, nsswitch: paths, interfaceOrder: paths, netnsFolder: paths }

let runner: RecordingRunner
let journal: StepLog
beforeEach(() => {
  journal = memoryLog()
  runner = new RecordingRunner()
    .answer(/link show/, linkAnswer(7))
    .answer(/route get/, { stdout: VIA_ETH0 })
    .answer(/route show table main/, {
      stdout: '[{"dst":"default","gateway":"10.66.0.1","dev":"eth0","flags":[]}]'
    })
})

const full: TunnelConfig = {
  interface: 'ike0',
  addresses: [
    { address: '10.88.0.7', prefixLength: 32 },
    { address: 'fd00:88::7', prefixLength: 128 }
  ],
  mtu: 1400,
  routes: ['0.0.0.0/0', '::/0'],
  pinned: [GATEWAY]
}
const apply = (changes: Partial<TunnelConfig> = {}) =>
  applyTunnelConfig({ ...full, ...changes }, { runner, journal, dnsPaths })

describe('configuring the host', () => {
  it('pins the gateway before any route covers it, and undoes in reverse', async () => {
    const applied = await apply()
    const lines = runner.lines(/ (add|set|replace) /)
    expect(lines).toEqual([
      'ip link set dev ike0 mtu 1400',
      'ip link set dev ike0 addrgenmode none',
      'ip addr add 10.88.0.7/32 dev ike0',
      'ip addr add fd00:88::7/128 dev ike0 nodad',
      'ip link set dev ike0 up',
      'ip -4 route add unreachable 198.18.0.1/32 metric 50000 proto static',
      'ip -4 route add 198.18.0.1/32 via 10.66.0.1 dev eth0 metric 10 proto static',
      'ip route add 0.0.0.0/1 dev ike0 proto static',
      'ip route add 128.0.0.0/1 dev ike0 proto static',
      'ip route add ::/1 dev ike0 proto static',
      'ip route add 8000::/1 dev ike0 proto static'
    ])
    runner.calls.length = 0
    await applied.undo()
    expect(runner.lines(/ (del|set) /)).toEqual([
      'ip -6 route del 8000::/1 dev ike0 proto static',
      'ip -6 route del ::/1 dev ike0 proto static',
      'ip -4 route del 128.0.0.0/1 dev ike0 proto static',
      'ip -4 route del 0.0.0.0/1 dev ike0 proto static',
      'ip -4 route del 198.18.0.1/32 via 10.66.0.1 dev eth0 metric 10 proto static',
      'ip -4 route del unreachable 198.18.0.1/32 metric 50000 proto static',
      'ip addr del fd00:88::7/128 dev ike0',
      'ip addr del 10.88.0.7/32 dev ike0',
      'ip link set dev ike0 down',
      'ip link set dev ike0 mtu 1500',
      'ip link set dev ike0 addrgenmode eui64'
    ])
    expect(journal.steps).toEqual([])
    runner.calls.length = 0
    await applied.undo()
    expect(runner.lines()).toEqual([])
  })

  it('has every change in the journal before it is made', async () => {
    const seen: number[] = []
    const watching = {
      run: (...call: Parameters<RecordingRunner['run']>) => {
        if (call[0].includes('add')) seen.push(journal.steps.length)
        const added = call[1]?.input?.match(/ add /g)?.length ?? 0
        if (added > 0) seen.push(journal.steps.length)
        return runner.run(...call)
      }
    }
    await applyTunnelConfig(full, { runner: watching, journal, dnsPaths })
    // Link and two addresses; the guard and the pin; four routes.
    expect(seen).toEqual([3, 4, 5, 9])
  })

  it('pins nothing that no route covers, nor an address of this machine', async () => {
    await apply({ routes: ['10.77.0.0/16'] })
    expect(runner.lines(/198\.18/)).toEqual([])
    runner.answer(/route get/, { stdout: '[{"type":"local","dst":"198.18.0.1","dev":"lo","flags":[]}]' })
    await apply()
    expect(runner.lines(/route add.*198\.18/)).toEqual([])
  })

  it('reports a gateway without a route, and pins it as soon as there is one', async () => {
    runner.answer(/route get/, { exitCode: 2 }).answer(/route show table main/, { stdout: '[]' })
    const applied = await apply()
    expect(applied.conflicts.map(({ kind }) => kind)).toEqual(['gateway-unrouted'])
    runner.answer(/route show table main/, { stdout: '[{"dst":"default","dev":"wlan0","flags":[]}]' })
    expect(await applied.repin()).toEqual([GATEWAY])
    expect(runner.lines().at(-1)).toBe('ip -4 route add 198.18.0.1/32 dev wlan0 metric 10 proto static')
  })

  it('changes nothing when the network did not change for the gateway', async () => {
    const applied = await apply()
    const pin = `{"dst":"${GATEWAY}","gateway":"10.66.0.1","dev":"eth0","metric":10,"flags":[]}`
    runner.answer(/route show table main/, {
      stdout: `[{"dst":"default","gateway":"10.66.0.1","dev":"eth0","flags":[]},${pin}]`
    })
    runner.calls.length = 0
    expect(await applied.repin()).toEqual([])
    expect(runner.lines(/ (add|del|replace) /)).toEqual([])
  })

  it('takes the next metric when another session has pinned the same gateway', async () => {
    runner.answer(/route add .*metric (10|50000) /, {
      exitCode: 2,
      stderr: 'RTNETLINK answers: File exists\n'
    })
    const applied = await apply({ routes: ['0.0.0.0/0'] })
    expect(applied.conflicts).toEqual([])
    const pins = journal.steps.filter(({ kind }) => kind === 'host-route')
    expect(pins).toMatchObject([{ route: { metric: 50_001 } }, { route: { metric: 11 } }])
  })

  it('takes the plain default route in a namespace of its own, without pins', async () => {
    await apply({ netns: 'office', routes: ['0.0.0.0/0'] })
    expect(runner.lines(/route/)).toEqual(['ip -n office -4 route add 0.0.0.0/0 dev ike0 proto static'])
  })

  it('goes on without IPv6 where IPv6 is disabled', async () => {
    runner.answer(/addr add fd00/, { exitCode: 2, stderr: 'Error: ipv6: IPv6 is disabled on this device.\n' })
    const applied = await apply()
    expect(applied.conflicts).toMatchObject([{ kind: 'ipv6-unavailable' }])
    expect(runner.lines(/route add .*::/)).toEqual([])
  })

  it('goes on one by one behind a change that is refused', async () => {
    runner
      .answer(/addrgenmode none/, { exitCode: 2, stderr: 'RTNETLINK answers: Operation not supported\n' })
      .answer(/route add 128\.0/, { exitCode: 2, stderr: 'RTNETLINK answers: File exists\n' })
    const applied = await apply({ pinned: [] })
    expect(applied.conflicts).toMatchObject([{ kind: 'route-exists', subject: '128.0.0.0/1' }])
    const [mode, ...later] = ['addrgenmode none', 'add 10.88', 'add fd00', 'add 0.0', 'add ::/1', 'add 8000']
    expect(runner.lines(new RegExp(mode ?? ''))).toHaveLength(2)
    for (const change of later) expect(runner.lines(new RegExp(change)), change).toHaveLength(1)
    expect(journal.steps.map(({ kind }) => kind)).toEqual([
      ...['link', 'address', 'address'],
      ...['tunnel-route', 'tunnel-route', 'tunnel-route']
    ])
  })

  it('fails with what the system said first, also when undoing fails too', async () => {
    runner
      .answer(/link set dev ike0 up/, { exitCode: 2, stderr: 'RTNETLINK answers: Operation not permitted' })
      .answer(/addr del/, { exitCode: 2, stderr: 'RTNETLINK answers: Device or resource busy' })
    await expect(apply()).rejects.toMatchObject({ code: 'command-not-permitted', exitCode: 71 })
    expect(journal.steps.map(({ kind }) => kind)).toEqual(['address', 'address'])
  })

  it('says so when there is no such device, and when a route is no network', async () => {
    runner.answer(/link show/, { exitCode: 1, stderr: 'Device "ike0" does not exist.' })
    await expect(apply()).rejects.toMatchObject({ code: 'no-device' })
    await expect(apply({ routes: ['everything'] })).rejects.toMatchObject({ code: 'bad-route' })
  })

  it('does not pin again after undo, whatever the network watch still says', async () => {
    const applied = await apply()
    const undoing = applied.undo()
    const repinning = applied.repin()
    await undoing
    runner.calls.length = 0
    expect(await repinning).toEqual([])
    await applied.updatePinned(['198.18.0.2'])
    expect(runner.lines()).toEqual([])
  })

  it('takes another network in place of the first: the new before the old goes', async () => {
    const applied = await apply({ routes: ['10.77.0.0/16', '10.78.0.0/16'] })
    runner.calls.length = 0
    const conflicts = await applied.reconfigure({
      addresses: [{ address: '10.88.0.9', prefixLength: 32 }],
      routes: ['10.78.0.0/16', '198.18.0.0/15']
    })
    expect(conflicts).toEqual([])
    expect(runner.lines(/ (add|del) /)).toEqual([
      'ip addr add 10.88.0.9/32 dev ike0',
      'ip addr del 10.88.0.7/32 dev ike0',
      'ip addr del fd00:88::7/128 dev ike0',
      // The new routes cover the gateway.
      'ip -4 route add unreachable 198.18.0.1/32 metric 50000 proto static',
      'ip -4 route add 198.18.0.1/32 via 10.66.0.1 dev eth0 metric 10 proto static',
      'ip -4 route add 198.18.0.0/15 dev ike0 proto static',
      'ip -4 route del 10.77.0.0/16 dev ike0 proto static'
    ])
    runner.calls.length = 0
    await applied.reconfigure({ addresses: [{ address: '10.88.0.9', prefixLength: 32 }], routes: [] })
    expect(runner.lines(/ (add|del) /)).toEqual([
      'ip -4 route del 10.78.0.0/16 dev ike0 proto static',
      'ip -4 route del 198.18.0.0/15 dev ike0 proto static',
      'ip -4 route del 198.18.0.1/32 via 10.66.0.1 dev eth0 metric 10 proto static',
      'ip -4 route del unreachable 198.18.0.1/32 metric 50000 proto static'
    ])
    await applied.undo()
    expect(journal.steps).toEqual([])
  })

  it('says what of another network could not be set, and only that', async () => {
    const applied = await apply({ routes: ['10.77.0.0/16'] })
    runner.answer(/route add 10\.78/, { exitCode: 2, stderr: 'RTNETLINK answers: File exists\n' })
    const { addresses } = full
    expect(await applied.reconfigure({ addresses, routes: ['10.78.0.0/16'] })).toMatchObject([
      { kind: 'route-exists', subject: '10.78.0.0/16' }
    ])
    expect(await applied.reconfigure({ addresses, routes: ['10.79.0.0/16'] })).toEqual([])
  })

  it('takes name servers, other ones, and none any more', async () => {
    const applied = await apply({ netns: 'office' })
    const { addresses, routes } = full
    expect(applied.dnsMode).toBeNull()
    runner.answer(/^resolvconf/, { stdout: 'openresolv 3.12.0\n' })
    const plain = await apply()
    const dns = (server: string) => ({ servers: [server], domains: [], exclusive: true })
    await plain.reconfigure({ addresses, routes, dns: dns('10.77.0.53') })
    expect(plain.dnsMode).toBe('resolvconf')
    await plain.reconfigure({ addresses, routes, dns: dns('10.77.0.53') })
    expect(runner.lines(/-a/)).toHaveLength(1)
    await plain.reconfigure({ addresses, routes })
    expect(plain.dnsMode).toBeNull()
    expect(runner.lines().at(-1)).toBe('resolvconf -d vpn.ike0 -f')
  })

  it('unwraps an IPv4 gateway that a socket shows as IPv6', async () => {
    await apply({ pinned: ['::ffff:198.18.0.1'], routes: ['0.0.0.0/0'] })
    expect(runner.lines(/route add.*198/)).toHaveLength(2)
  })
})
