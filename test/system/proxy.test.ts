/** Streams through HTTP and SOCKS5 proxies, with real processes and the embedded gateway. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { PrivateEtc } from '../../src/host/private-etc.ts'
import { expectOneError } from '../support/expect-error.ts'
import type { IkestreamProcess } from '../support/ikestream-process.ts'
import { BRISK, GATEWAY_NAME, IkestreamSite, INNER_V4, type TestProxy } from '../support/ikestream-site.ts'
import { describeWith } from '../support/require.ts'

/** Everything but the proxy is out of reach, and says so at once. */
const ONLY_THE_PROXY = [{ protocol: 'all', action: 'prohibit' }] as const

describeWith('namespaces', 'tun')('a network in which only the proxy leads out', () => {
  let site: IkestreamSite
  let psk: readonly string[]
  let proxy: TestProxy
  let states = 0

  beforeAll(async () => {
    site = await IkestreamSite.open()
    await site.startWebServer()
    await site.startGateway()
    psk = await site.withPsk()
  })
  beforeEach(() => site.hotel.setFaults(ONLY_THE_PROXY))
  afterEach(async () => {
    await site.stopClients()
    await proxy?.stop()
  })
  afterAll(() => site?.close())

  function connect(
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
    server = site.gatewayAddress
  ): IkestreamProcess {
    return site.connect(server, [...psk, ...BRISK, ...args], { env, state: `client-${states++}` })
  }

  async function connected(client: IkestreamProcess, transport: string, via: string | null): Promise<void> {
    expect(await client.event('connected'), client.transcript()).toMatchObject({
      transport,
      via,
      gateway: site.gatewayAddress
    })
    expect(await site.reaches(INNER_V4), client.transcript()).toBe(true)
  }

  const target = (port: number): string => `${site.gatewayAddress}:${port}`

  it.each(['http', 'socks'] as const)('goes through an open %s proxy', async (kind) => {
    proxy = await site.startProxy()
    const url = kind === 'http' ? `http://${proxy.http}` : `socks5://${proxy.socks}`
    await connected(connect(['--proxy', url]), 'tcp', url)
    expect(proxy.requests()).toContain(`${kind} ${target(4500)} open`)
  })

  it.each(['http', 'socks'] as const)('shows a %s proxy its credentials and nobody else', async (kind) => {
    proxy = await site.startProxy({ credentials: 'guest:room 12/b' })
    const endpoint = kind === 'http' ? proxy.http : proxy.socks
    const scheme = kind === 'http' ? 'http' : 'socks5'
    const client = connect(['--proxy', `${scheme}://guest:room%2012%2Fb@${endpoint}`])
    await connected(client, 'tcp', `${scheme}://${endpoint}`)
    await client.stop()
    expect(client.transcript()).not.toMatch(/room|guest/)
  })

  it.each([
    ['http', 'wrong', 'http://guest:wrong@'],
    ['http', 'no', 'http://'],
    ['socks', 'wrong', 'socks5://guest:wrong@'],
    ['socks', 'no', 'socks5://']
  ] as const)('says that a %s proxy wants credentials when it got %s ones', async (kind, _which, url) => {
    proxy = await site.startProxy({ credentials: 'guest:right' })
    const client = connect(['--proxy', `${url}${kind === 'http' ? proxy.http : proxy.socks}`])
    await expectOneError(client, 69, 'gateway-unreachable', /TCP: .*proxy.*TLS: .*proxy/i)
    expect(client.rungs).toContain('tcp failed proxy-auth-required')
    expect(client.rungs).toContain('tls failed proxy-auth-required')
    expect(client.transcript()).not.toMatch(/wrong/)
  })

  it.each(['http', 'socks'] as const)('takes TLS where a %s proxy refuses TCP 4500', async (kind) => {
    proxy = await site.startProxy({ ports: [443] })
    const url = kind === 'http' ? `http://${proxy.http}` : `socks5://${proxy.socks}`
    const client = connect(['--proxy', url])
    await connected(client, 'tls', url)
    expect(client.rungs).toContain('tcp failed proxy-refused')
    expect(proxy.requests()).toEqual(
      expect.arrayContaining([`${kind} ${target(4500)} refused`, `${kind} ${target(443)} open`])
    )
  })

  it('says that the proxy refuses everything', async () => {
    proxy = await site.startProxy({ ports: [] })
    const client = connect(['--proxy', `http://${proxy.http}`])
    await expectOneError(client, 69, 'gateway-unreachable', /403 Forbidden/)
  })

  it('says that the proxy is not there', async () => {
    const before = await site.clientState()
    const client = connect(['--proxy', `http://${site.hotel.client.router}:3129`])
    await expectOneError(client, 69, 'gateway-unreachable', /No connection to the proxy.*refused/)
    expect(client.rungs).toContain('tcp failed proxy-unreachable')
    expect(await site.clientState()).toBe(before)
  })

  it.each(['HTTPS_PROXY', 'https_proxy', 'ALL_PROXY'])('takes the proxy of %s', async (name) => {
    proxy = await site.startProxy()
    const url = name === 'ALL_PROXY' ? `socks5://${proxy.socks}` : `http://${proxy.http}`
    await connected(connect([], { [name]: url }), 'tcp', url)
  })

  it.each([
    ['NO_PROXY names the gateway', [], { NO_PROXY: '10.0.0.0/8,198.18.0.0/15' }],
    ['--no-proxy is given', ['--no-proxy'], {}]
  ] as const)('goes past the proxy of the environment where %s', async (_why, args, env) => {
    await site.hotel.setFaults([{ protocol: 'udp', action: 'refuse' }])
    proxy = await site.startProxy()
    await connected(connect(args, { HTTPS_PROXY: `http://${proxy.http}`, ...env }), 'tcp', null)
    expect(proxy.requests()).toEqual([])
  })

  it('does not send UDP through a proxy, and prefers it where it passes', async () => {
    await site.hotel.restore()
    proxy = await site.startProxy()
    await connected(connect(['--proxy', `http://${proxy.http}`]), 'udp', null)
  })

  it('leaves names to the proxy where nobody else knows them', async () => {
    const directory = join(site.directory, 'router-etc')
    await mkdir(directory)
    const files = { hosts: `${site.gatewayAddress} ${GATEWAY_NAME}\n`, 'resolv.conf': '' }
    await PrivateEtc.mount(site.hotel.middle, directory, files)
    await site.etc.write('hosts', '127.0.0.1 localhost\n')
    proxy = await site.startProxy()
    const url = `http://${proxy.http}`
    const client = connect(['--proxy', url], {}, GATEWAY_NAME)
    expect(await client.event('connected'), client.transcript()).toMatchObject({ transport: 'tcp', via: url })
    expect(await site.reaches(INNER_V4), client.transcript()).toBe(true)
    expect(proxy.requests()).toContain(`http ${GATEWAY_NAME}:4500 open`)
  })

  it('refuses a proxy that it does not know how to use, and leaves nothing behind', async () => {
    const before = await site.clientState()
    for (const url of ['ftp://proxy.test', 'http://'])
      await expectOneError(connect(['--proxy', url]), 78, 'invalid-proxy', /proxy/)
    expect(await site.clientState()).toBe(before)
    const state = `client-${states - 1}`
    proxy = await site.startProxy()
    const url = `http://${proxy.http}`
    await connected(
      site.connect(site.gatewayAddress, [...psk, ...BRISK, '--proxy', url], { state }),
      'tcp',
      url
    )
  })
})
