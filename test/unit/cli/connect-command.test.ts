import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { exitCodeOf } from '../../../src/cli/background.ts'
import { addConnectionOptions, EffectiveOptions } from '../../../src/cli/connection-options.ts'
import { parseProfile } from '../../../src/cli/profile.ts'
import { resolveOptions } from '../../../src/cli/resolve-options.ts'
import { type ConnectOptions, DEFAULT_SESSION_TIMINGS } from '../../../src/client/options.ts'
import { DEFAULT_ESP_PROPOSALS, DEFAULT_IKE_PROPOSALS, formatProposal } from '../../../src/crypto/proposal.ts'
import { silentLogger } from '../../../src/log.ts'
import { formatTrafficSelector } from '../../../src/wire/traffic-selectors.ts'

let directory: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'connect-command-'))
  await writeFile(join(directory, 'psk'), 'secret', { mode: 0o600 })
  await writeFile(join(directory, 'tls-ca.pem'), 'PEM of the outer CA')
})
afterAll(() => rm(directory, { recursive: true }))

function resolve(line: string, profileText?: string, server = 'vpn.example.com'): Promise<ConnectOptions> {
  const command = addConnectionOptions(new Command('connect')).exitOverride()
  const words = line.split(' ').filter((word) => word !== '')
  command.parse([...words, '--psk-file', join(directory, 'psk'), '--identity', 'a@b'], { from: 'user' })
  const profile =
    profileText === undefined
      ? undefined
      : parseProfile(`server = "profile.example"\n${profileText}`, join(directory, 'work.toml'))
  const effective = new EffectiveOptions(command, profile)
  return resolveOptions(profile?.server ?? server, profile?.name, effective, {}, silentLogger)
}

describe('what connect makes of its options', () => {
  it('has defaults for everything', async () => {
    expect(await resolve('')).toMatchObject({
      server: 'vpn.example.com',
      sessionName: 'vpn.example.com',
      ikeProposals: DEFAULT_IKE_PROPOSALS,
      espProposals: DEFAULT_ESP_PROPOSALS,
      order: ['udp', 'tcp', 'tls'],
      ports: { ike: 500, natT: 4500, tcp: 4500, tls: 443 },
      tls: { name: undefined, verify: false, ca: [] },
      proxy: { kind: 'environment' },
      portal: { enabled: true, url: 'http://detectportal.firefox.com/success.txt', api: undefined },
      localTs: [],
      remoteTs: [],
      interfaceName: undefined,
      mtu: undefined,
      netns: undefined,
      routes: true,
      dns: true,
      script: undefined,
      timeoutMs: 60_000,
      timers: { livenessMs: 30_000, clusterLivenessMs: 5000 },
      timings: DEFAULT_SESSION_TIMINGS,
      ladder: { udpGiveUpMs: 2500, streamOpenAtMs: 1000, streamIkeMs: 2000 },
      rememberNetworks: true
    })
  })

  it.each([
    ['--transport tcp', undefined, ['tcp'], false],
    ['--transport auto', undefined, ['udp', 'tcp', 'tls'], true],
    ['', '[transport]\norder = ["tls", "udp"]', ['tls', 'udp'], false],
    ['', '[transport]\norder = ["tls", "tls", "tcp"]', ['tls', 'tcp'], false],
    ['', '[transport]\norder = []', ['udp', 'tcp', 'tls'], false],
    ['', '[transport]\ntransport = "tls"', ['tls'], false],
    ['--transport udp', '[transport]\norder = ["tls"]', ['udp'], false]
  ])('climbs in the order of %j and %j', async (line, profile, order, remembers) => {
    const options = await resolve(line, profile)
    expect(options.order).toEqual(order)
    expect(options.rememberNetworks).toBe(remembers)
  })

  it('refuses an order that names what is no transport', async () => {
    await expect(resolve('', '[transport]\norder = ["udp", "sctp"]')).rejects.toMatchObject({
      code: 'bad-order',
      exitCode: 78
    })
  })

  it.each([
    ['--proxy http://u:p@proxy:1', undefined, { kind: 'url', url: 'http://u:p@proxy:1' }],
    ['--no-proxy', '[transport]\nproxy = "http://p:1"', { kind: 'none' }],
    ['', '[transport]\nproxy = "socks5://p:1"', { kind: 'url', url: 'socks5://p:1' }],
    ['', '[transport]\nproxy = "auto"', { kind: 'environment' }],
    ['', '[transport]\nproxy = false', { kind: 'none' }]
  ])('goes through the proxy of %j and %j', async (line, profile, proxy) => {
    expect((await resolve(line, profile)).proxy).toEqual(proxy)
  })

  it('reads traffic selectors', async () => {
    const { localTs, remoteTs } = await resolve(
      '--local-ts 10.1.0.0/16 --remote-ts 10.0.0.0/8 --remote-ts 2001:db8::/32'
    )
    expect(localTs.map(formatTrafficSelector)).toEqual(['10.1.0.0/16'])
    expect(remoteTs.map(formatTrafficSelector)).toEqual(['10.0.0.0/8', '2001:db8::/32'])
  })

  it.each(['--remote-ts 10.0.0.0/33', '--local-ts everything', '--remote-ts 10.0.0.1-'])(
    'refuses %s',
    async (line) => {
      await expect(resolve(line)).rejects.toMatchObject({ code: 'bad-traffic-selector', exitCode: 64 })
    }
  )

  it('turns seconds into the timers of each part', async () => {
    const line =
      '--dpd 0 --cluster-liveness 2 --ike-lifetime 600 --child-lifetime 60 --udp-timeout 0.5 --stream-after 0 ' +
      '--stream-timeout 4 --udp-probe 0 --timeout 5'
    expect(await resolve(line)).toMatchObject({
      timers: { livenessMs: 0, clusterLivenessMs: 2000, ikeLifetimeMs: 600_000, childLifetimeMs: 60_000 },
      ladder: { udpGiveUpMs: 500, streamOpenAtMs: 0, streamIkeMs: 4000 },
      timings: { ...DEFAULT_SESSION_TIMINGS, udpProbeFirstMs: 0 },
      timeoutMs: 5000
    })
    expect((await resolve('--persist --timeout 5')).timeoutMs).toBe(Number.POSITIVE_INFINITY)
  })

  it.each([
    ['', 300_000],
    ['--timeout 5', 5000],
    ['--timeout 5 --reconnect-timeout 900', 900_000],
    ['--reconnect-timeout 900 --persist', Number.POSITIVE_INFINITY]
  ])('tries to come back for a time of its own (%s)', async (line, reconnectTimeoutMs) => {
    expect(await resolve(line)).toMatchObject({ reconnectTimeoutMs })
  })

  it('leaves the lifetimes of the engine alone unless asked', async () => {
    const { timers } = await resolve('')
    expect(timers).not.toHaveProperty('ikeLifetimeMs')
    expect(timers).not.toHaveProperty('childLifetimeMs')
  })

  it('takes ports, proposals, device and outer TLS', async () => {
    const options = await resolve(
      `--udp-port 501 --nat-t-port 4501 --tcp-port 4502 --tls-port 8443 --tls-name www.example.com --tls-verify \
--tls-cafile ${join(directory, 'tls-ca.pem')} --interface vpn0 --mtu 1300 --netns blue --no-routes --no-dns \
--script /bin/true --ike-proposal aes128-sha256-modp2048 --esp-proposal aes128gcm16,aes256gcm16`.replaceAll(
        '\n',
        ' '
      )
    )
    expect(options).toMatchObject({
      ports: { ike: 501, natT: 4501, tcp: 4502, tls: 8443 },
      tls: { name: 'www.example.com', verify: true, ca: ['PEM of the outer CA'] },
      interfaceName: 'vpn0',
      mtu: 1300,
      netns: 'blue',
      routes: false,
      dns: false,
      script: '/bin/true'
    })
    expect(options.ikeProposals.map((one) => formatProposal(one, 'ike'))).toEqual([
      'aes128-sha256-prfsha256-modp2048'
    ])
    expect(options.espProposals).toHaveLength(2)
  })

  it.each([
    ['--ike-proposal aes999', 78],
    ['--tls-cafile /nowhere', 66]
  ])('refuses %s', async (line, exitCode) => {
    await expect(resolve(line)).rejects.toMatchObject({ exitCode })
  })

  it.each([
    ['[2001:db8::1]', '-2001-db8--1-'],
    ['vpn.example.com', 'vpn.example.com'],
    ['../../etc/passwd', '..-..-etc-passwd'],
    ['x'.repeat(100), 'x'.repeat(64)]
  ])('names the session of %s such that it can be a file', async (server, name) => {
    expect((await resolve('', undefined, server)).sessionName).toBe(name)
  })

  it('calls the session of a profile by the name of the profile', async () => {
    expect(await resolve('', '')).toMatchObject({ server: 'profile.example', sessionName: 'work' })
  })
})

describe('the exit code of a detached session', () => {
  it.each<[number | null, NodeJS.Signals | null, number]>([
    [0, null, 0],
    [77, null, 77],
    [null, 'SIGKILL', 137],
    [null, 'SIGTERM', 143],
    [null, null, 1]
  ])('for %s and %s is %i', (code, signal, wanted) => {
    expect(exitCodeOf(code, signal)).toBe(wanted)
  })
})
