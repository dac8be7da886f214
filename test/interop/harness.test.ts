/** The test network and gateway themselves, seen with strongSwan's own client, so that a failure elsewhere is the client's. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Charon } from '../support/charon.ts'
import { INNER_V4, INNER_V6, InteropNetwork } from '../support/interop-network.ts'
import { testPki } from '../support/pki.ts'
import { describeWith } from '../support/require.ts'
import { startGateway } from '../support/strongswan.ts'
import { TEST_PSK } from '../support/strongswan-connections.ts'

describeWith(
  'namespaces',
  'tun',
  'strongswan',
  'openssl',
  'ping'
)('the strongSwan harness', () => {
  let network: InteropNetwork
  let gateway: Charon
  let client: Charon

  beforeAll(async () => {
    network = await InteropNetwork.create()
    gateway = await startGateway(network, { cookies: true, fragmentSize: 576 })
    const directory = join(network.directory, 'reference-client')
    await mkdir(directory)
    client = await Charon.start({
      enter: network.inClient,
      directory,
      pki: await testPki(),
      swanctl: referenceClient(network.gatewayV4),
      credentials: { x509ca: ['root-rsa.pem', 'root-long.pem'] }
    })
  })
  afterAll(async () => {
    await client?.stop()
    await gateway?.stop()
    await network?.destroy()
  })

  test('the inner network is out of reach without a tunnel', async () => {
    expect(await network.ping(network.gatewayV4)).toBe(true)
    expect(await network.ping(network.gatewayV6)).toBe(true)
    expect(await network.ping(INNER_V4)).toBe(false)
    expect(await network.ping(INNER_V6)).toBe(false)
  })

  test('the reference client connects after a cookie, pings, and transfers checked bytes both ways', async () => {
    await client.initiate('psk')
    const [sa] = await gateway.listSas('psk')
    expect(sa).toMatchObject({ state: 'ESTABLISHED', remoteId: 'client.test' })
    expect(sa?.virtualIps).toHaveLength(2)
    expect(await network.ping(INNER_V4)).toBe(true)
    expect(await network.ping(INNER_V6)).toBe(true)
    expect(await network.download(1_000_000)).toMatchObject({ bytes: 1_000_000, matches: true })
    expect(await network.upload(1_000_001, INNER_V6)).toMatchObject({ bytes: 1_000_001, matches: true })
    expect(sa?.virtualIps).toContain(await network.seenAddress())
    expect(await client.log()).toContain('COOKIE')
  })

  test('rekeys and deletion can be started from the gateway', async () => {
    await gateway.rekey('child', 'psk')
    await gateway.rekey('ike', 'psk')
    await expect.poll(() => gateway.countEvents('child-rekey', 'psk')).toBeGreaterThan(0)
    await expect.poll(() => gateway.countEvents('ike-rekey', 'psk')).toBeGreaterThan(0)
    expect(await network.ping(INNER_V4)).toBe(true)
    await gateway.terminate('psk')
    expect(await gateway.listSas('psk')).toEqual([])
    expect(await network.ping(INNER_V4)).toBe(false)
  })

  test('a chain of RSA-4096 certificates arrives in fragments', async () => {
    await client.initiate('long')
    expect(await client.log()).toMatch(/parsed IKE_AUTH response 1 \[ EF\(\d+\/\d+\) \]/)
    await client.terminate('long')
  })
})

function referenceClient(gatewayAddress: string) {
  const common = {
    version: 2,
    remote_addrs: gatewayAddress,
    encap: true,
    vips: '0.0.0.0, ::',
    children: { net: { remote_ts: '10.77.0.0/24, fd00:77::/64', rekey_time: '1h' } },
    local: { auth: 'psk', id: 'client.test' }
  }
  return {
    connections: {
      psk: { ...common, remote: { auth: 'psk', id: 'psk.gw.test' } },
      long: { ...common, remote: { auth: 'pubkey', id: 'long-psk.gw.test' } }
    },
    secrets: { 'ike-any': { secret: TEST_PSK } }
  }
}
