import { expect, it } from 'vitest'
import { memoryLog } from '../../../src/host/journal.ts'
import { applyVpncScript } from '../../../src/host/script-config.ts'
import {
  runScript,
  type ScriptSettings,
  scriptArgv,
  scriptEnvironment,
  scriptVariables
} from '../../../src/host/vpnc-script.ts'
import { linkAnswer, RecordingRunner } from '../../support/recording-runner.ts'

const settings: ScriptSettings = {
  gateway: '198.18.0.1',
  interface: 'ike0',
  mtu: 1400,
  addresses: [
    { address: '10.88.0.7', prefixLength: 24 },
    { address: 'fd00:88::7', prefixLength: 112 }
  ],
  routes: ['10.77.1.9/16', '10.78.0.1/32', 'fd00:77::1/48'],
  excludedRoutes: ['10.77.5.0/24'],
  dnsServers: ['10.77.0.53', '10.77.0.54', 'fd00:77::53'],
  splitDomains: ['corp.example', 'lab.example'],
  searchDomains: ['corp.example', 'example'],
  banner: 'Be nice.',
  idleTimeoutS: 600
}

it('fills in every variable of the contract', () => {
  expect(scriptVariables('connect', settings)).toEqual({
    reason: 'connect',
    VPNGATEWAY: '198.18.0.1',
    VPNPID: String(process.pid),
    TUNDEV: 'ike0',
    LOG_LEVEL: '1',
    IDLE_TIMEOUT: '600',
    INTERNAL_IP4_ADDRESS: '10.88.0.7',
    INTERNAL_IP4_MTU: '1400',
    INTERNAL_IP4_NETMASK: '255.255.255.0',
    INTERNAL_IP4_NETMASKLEN: '24',
    INTERNAL_IP4_NETADDR: '10.88.0.0',
    INTERNAL_IP4_DNS: '10.77.0.53 10.77.0.54',
    INTERNAL_IP6_ADDRESS: 'fd00:88::7',
    INTERNAL_IP6_NETMASK: 'fd00:88::7/112',
    INTERNAL_IP6_DNS: 'fd00:77::53',
    CISCO_DEF_DOMAIN: 'corp.example example',
    CISCO_SPLIT_DNS: 'corp.example,lab.example',
    CISCO_BANNER: 'Be nice.',
    CISCO_SPLIT_INC: '2',
    CISCO_SPLIT_INC_0_ADDR: '10.77.0.0',
    CISCO_SPLIT_INC_0_MASK: '255.255.0.0',
    CISCO_SPLIT_INC_0_MASKLEN: '16',
    CISCO_SPLIT_INC_0_PROTOCOL: '0',
    CISCO_SPLIT_INC_0_SPORT: '0',
    CISCO_SPLIT_INC_0_DPORT: '0',
    CISCO_SPLIT_INC_1_ADDR: '10.78.0.1',
    CISCO_SPLIT_INC_1_MASK: '255.255.255.255',
    CISCO_SPLIT_INC_1_MASKLEN: '32',
    CISCO_SPLIT_INC_1_PROTOCOL: '0',
    CISCO_SPLIT_INC_1_SPORT: '0',
    CISCO_SPLIT_INC_1_DPORT: '0',
    CISCO_IPV6_SPLIT_INC: '1',
    CISCO_IPV6_SPLIT_INC_0_ADDR: 'fd00:77::',
    CISCO_IPV6_SPLIT_INC_0_MASKLEN: '48',
    CISCO_SPLIT_EXC: '1',
    CISCO_SPLIT_EXC_0_ADDR: '10.77.5.0',
    CISCO_SPLIT_EXC_0_MASK: '255.255.255.0',
    CISCO_SPLIT_EXC_0_MASKLEN: '24',
    CISCO_SPLIT_EXC_0_PROTOCOL: '0',
    CISCO_SPLIT_EXC_0_SPORT: '0',
    CISCO_SPLIT_EXC_0_DPORT: '0'
  })
})

it('leaves out what it has no value for: no list of networks is the default route, a lone address has no mask', () => {
  const variables = scriptVariables('connect', {
    gateway: '2001:db8::1',
    interface: 'ike0',
    mtu: 1400,
    addresses: [{ address: '10.88.0.7', prefixLength: 32 }],
    routes: ['0.0.0.0/0']
  })
  expect(Object.keys(variables).sort()).toEqual([
    'INTERNAL_IP4_ADDRESS',
    'INTERNAL_IP4_MTU',
    'LOG_LEVEL',
    'TUNDEV',
    'VPNGATEWAY',
    'VPNPID',
    'reason'
  ])
})

it('removes the contract’s names and our secrets from the environment that it inherits', () => {
  process.env['CISCO_SPLIT_INC_3_ADDR'] = '10.0.0.0'
  process.env['INTERNAL_IP4_NBNS'] = '10.0.0.1'
  process.env['CISCO_BANNER'] = 'old'
  process.env['IKESTREAM_PASSWORD'] = 'hush'
  process.env['CISCO_OTHER'] = 'kept'
  try {
    const env = scriptEnvironment({ reason: 'connect' })
    expect(env).toMatchObject({ reason: 'connect', CISCO_OTHER: 'kept', HOME: process.env['HOME'] })
    for (const name of [
      'CISCO_SPLIT_INC_3_ADDR',
      'INTERNAL_IP4_NBNS',
      'CISCO_BANNER',
      'IKESTREAM_PASSWORD'
    ]) {
      expect(env).not.toHaveProperty(name)
    }
  } finally {
    for (const name of [
      'CISCO_SPLIT_INC_3_ADDR',
      'INTERNAL_IP4_NBNS',
      'CISCO_BANNER',
      'IKESTREAM_PASSWORD',
      'CISCO_OTHER'
    ]) {
      delete process.env[name]
    }
  }
})

it('runs a file directly, and a command line through the shell as its users expect', () => {
  expect(scriptArgv('/bin/true')).toEqual(['/bin/true'])
  expect(scriptArgv('/bin/true --verbose')).toEqual(['/bin/sh', '-c', '/bin/true --verbose'])
})

it('reports which step a script failed at, and that it could not be run', async () => {
  const failing = (exitCode: number, stderr = '') => new RecordingRunner().answer(/./, { exitCode, stderr })
  const run = (runner: RecordingRunner) => runScript(runner, ['/x/script'], { reason: 'connect' })
  await expect(run(failing(3, 'no route\n'))).rejects.toMatchObject({
    code: 'script-failed',
    exitCode: 71,
    message: 'the script /x/script failed with status 3 (connect): no route'
  })
  await expect(run(failing(127))).rejects.toThrow('could not be run (connect)')
})

const config = {
  interface: 'ike0',
  addresses: [{ address: '10.88.0.7', prefixLength: 32 }],
  mtu: 1400,
  routes: ['0.0.0.0/0'],
  pinned: ['198.18.0.1']
}
const reasons = (runner: RecordingRunner): (string | undefined)[] =>
  runner.calls.flatMap(({ options }) => (options.env === undefined ? [] : [options.env['reason']]))

it('takes a script through a whole session', async () => {
  const runner = new RecordingRunner().answer(/link show/, linkAnswer(7))
  const journal = memoryLog()
  const applied = await applyVpncScript(config, { script: '/bin/true' }, { runner, journal })
  expect(journal.steps).toMatchObject([{ kind: 'script', argv: ['/bin/true'] }])
  await applied.updatePinned(['198.18.0.2'])
  expect(runner.calls.at(-1)?.options.env).toMatchObject({
    reason: 'attempt-reconnect',
    VPNGATEWAY: '198.18.0.2'
  })
  await applied.repin()
  const addresses = [{ address: '10.88.0.8', prefixLength: 32 }]
  await applied.reconfigure({ addresses, routes: ['10.77.0.0/16'] })
  expect(runner.calls.at(-1)?.options.env).toMatchObject({
    reason: 'connect',
    VPNGATEWAY: '198.18.0.2',
    INTERNAL_IP4_ADDRESS: '10.88.0.8',
    CISCO_SPLIT_INC_0_ADDR: '10.77.0.0'
  })
  await applied.setMtu(1300)
  expect(runner.lines().at(-1)).toBe('ip link set dev ike0 mtu 1300')
  await applied.undo()
  await applied.undo()
  await applied.repin()
  expect(reasons(runner)).toEqual([
    'pre-init',
    'connect',
    'attempt-reconnect',
    'attempt-reconnect',
    'disconnect',
    'connect',
    'disconnect'
  ])
  expect(journal.steps).toEqual([])
})

it('lets a script that failed to connect disconnect', async () => {
  let connects = 0
  const recording = new RecordingRunner().answer(/link show/, linkAnswer(7))
  const runner = {
    run: async (...call: Parameters<RecordingRunner['run']>) => {
      const result = await recording.run(...call)
      const failing = call[1]?.env?.['reason'] === 'connect' && connects++ === 0
      return failing ? { ...result, exitCode: 1, stderr: 'no' } : result
    }
  }
  await expect(applyVpncScript(config, { script: '/bin/true' }, { runner })).rejects.toThrow('(connect): no')
  expect(reasons(recording)).toEqual(['pre-init', 'connect', 'disconnect'])
})
