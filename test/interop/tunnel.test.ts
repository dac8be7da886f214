/** What the gateway grants, and what becomes of it on the machine: addresses, selectors, routes, DNS. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { expectCleanEnd, INTEROP_NEEDS } from '../support/interop-checks.ts'
import { BEYOND_V4, BEYOND_V6, INNER_V4, INNER_V6 } from '../support/interop-network.ts'
import { InteropSite } from '../support/interop-site.ts'
import { describeWith } from '../support/require.ts'

describeWith(...INTEROP_NEEDS)('the tunnel', () => {
  let site: InteropSite
  beforeAll(async () => {
    site = await InteropSite.open({ transport: 'udp' })
  })
  afterEach(() => site.endClients())
  afterAll(() => site?.close())

  const routes = (family: '-4' | '-6') =>
    site.network.client.run(['ip', family, 'route']).then(({ stdout }) => stdout)
  const resolvConf = () => readFile(join(site.network.directory, 'resolv.conf'), 'utf8')

  test('has addresses of both families, routes to what was granted, and the DNS servers', async () => {
    const client = await site.connect('psk', await site.psk())
    const connected = await client.connected()
    expect(connected.virtualIps).toHaveLength(2)
    expect([...connected.remoteTs].sort()).toEqual(['10.77.0.0/24', 'fd00:77::/64'])
    expect(connected.dns).toEqual(expect.arrayContaining(['10.77.0.53', '10.77.0.54', 'fd00:77::53']))
    expect(connected.mtu).toBeGreaterThanOrEqual(1280)
    expect(await routes('-4')).toMatch(new RegExp(`10\\.77\\.0\\.0/24 dev ${connected.interface}`))
    expect(await routes('-6')).toMatch(new RegExp(`fd00:77::/64 dev ${connected.interface}`))
    expect(await resolvConf()).toContain('nameserver 10.77.0.53')
    await expectCleanEnd(site, client, 'psk')
    expect(await resolvConf()).not.toContain('10.77.0.53')
  })

  test('carries everything where the gateway grants everything, but for the way to the gateway itself', async () => {
    const client = await site.connect('full', await site.psk())
    for (const address of [INNER_V4, INNER_V6, BEYOND_V4, BEYOND_V6])
      expect(await site.network.ping(address), address).toBe(true)
    expect(await site.network.download(3_000_000, BEYOND_V4)).toMatchObject({ matches: true })
    expect(await site.network.upload(3_000_000, BEYOND_V6)).toMatchObject({ matches: true })
    await expectCleanEnd(site, client, 'full')
  })

  test('is as narrow as the gateway makes it: one host, one port and ICMP', async () => {
    const client = await site.connect('narrow', await site.psk())
    expect(await site.network.download(1_000_000)).toMatchObject({ matches: true })
    expect(await site.network.ping(INNER_V4)).toBe(true)
    expect(await site.network.ping(INNER_V6)).toBe(false)
    await expectCleanEnd(site, client, 'narrow')
  })

  test('is as narrow as the user makes it', async () => {
    const client = await site.connect('psk', await site.psk(), { more: ['--remote-ts', '10.77.0.0/28'] })
    expect((await client.connected()).remoteTs).toEqual(['10.77.0.0/28'])
    expect(await site.network.ping(INNER_V4)).toBe(true)
    expect(await site.network.ping(INNER_V6)).toBe(false)
    await expectCleanEnd(site, client, 'psk')
  })

  test('is of one family where the gateway has only that', async () => {
    const client = await site.connect('v4only', await site.psk())
    expect((await client.connected()).virtualIps).toEqual([expect.stringMatching(/^10\.88\.0\.\d+$/)])
    expect(await site.network.ping(INNER_V4)).toBe(true)
    await expectCleanEnd(site, client, 'v4only')
  })

  test('with --no-routes and --no-dns leaves both alone', async () => {
    const [before, resolver] = [await routes('-4'), await resolvConf()]
    const client = await site.connect('psk', await site.psk(), { more: ['--no-routes', '--no-dns'] })
    const withoutDevice = (await routes('-4'))
      .split('\n')
      .filter((line) => !/^10\.88\.0\./.test(line))
      .join('\n')
    expect(withoutDevice).toBe(before)
    expect(await resolvConf()).toBe(resolver)
    await expectCleanEnd(site, client, 'psk')
  })

  test('carries packets of every size up to its MTU and beyond', async () => {
    const client = await site.connect('psk', await site.psk())
    const { mtu } = await client.connected()
    for (const size of [0, 1, 100, mtu - 28, 3000])
      expect(await site.network.ping(INNER_V4, { size }), `${size} bytes`).toBe(true)
    for (const size of [0, mtu - 48, 3000])
      expect(await site.network.ping(INNER_V6, { size }), `${size} bytes`).toBe(true)
    await expectCleanEnd(site, client, 'psk')
  })
})
