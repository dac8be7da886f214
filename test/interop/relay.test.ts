/**
 * The relay between strongSwan and strongSwan: its own client reaches its own gateway through a stream that neither of the
 * two knows of, so that nothing here depends on ikestream's client.
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Charon } from '../support/charon.ts'
import { INTEROP_NEEDS } from '../support/interop-checks.ts'
import { INNER_V4, INNER_V6 } from '../support/interop-network.ts'
import { InteropSite } from '../support/interop-site.ts'
import { describeWith } from '../support/require.ts'
import { TEST_PSK } from '../support/strongswan-connections.ts'
import { waitUntil } from '../support/wait-until.ts'

const ADAPTER = fileURLToPath(new URL('../support/udp-to-stream.mjs', import.meta.url))
const ADAPTER_PORT = 4501
const BYTES = 50_000_000

for (const transport of ['tcp', 'tls'] as const) {
  describeWith(...INTEROP_NEEDS)(`strongSwan's client behind the relay over ${transport}`, () => {
    let site: InteropSite
    let client: Charon
    beforeAll(async () => {
      site = await InteropSite.open({ transport })
      const { network, pki } = site
      const port = transport === 'tls' ? '443' : '4500'
      const adapter = [
        process.execPath,
        ADAPTER,
        network.clientV4,
        `${ADAPTER_PORT}`,
        network.gatewayV4,
        port,
        transport
      ]
      const running = network.run(network.inClient, adapter, 'adapter')
      await waitUntil('the adapter', async () => (await running.output()).includes('ready'))
      const directory = join(network.directory, 'reference-client')
      await mkdir(directory)
      client = await Charon.start({
        enter: network.inClient,
        directory,
        pki,
        swanctl: throughAdapter(network.clientV4),
        credentials: {}
      })
    })
    afterAll(async () => {
      await client?.stop()
      await site?.close()
    })

    test('connects, moves checked bytes, rekeys and ends', async () => {
      const { network, gateway } = site
      await client.initiate('psk')
      const [sa] = await gateway.listSas('psk')
      // a source of its own for each client of the relay
      expect(sa?.remoteHost).toMatch(/^127\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\./)
      expect(await network.ping(INNER_V4)).toBe(true)
      expect(await network.ping(INNER_V6)).toBe(true)
      expect(await network.download(BYTES)).toMatchObject({ bytes: BYTES, matches: true })
      expect(await network.upload(BYTES, INNER_V6)).toMatchObject({ bytes: BYTES, matches: true })
      await client.rekey('ike', 'psk')
      await expect.poll(() => client.countEvents('ike-rekey', 'psk')).toBeGreaterThan(0)
      await expect
        .poll(async () => (await gateway.listSas('psk')).map(({ state }) => state))
        .toEqual(['ESTABLISHED'])
      await gateway.rekey('child', 'psk')
      await expect.poll(() => client.countEvents('child-rekey', 'psk')).toBeGreaterThan(0)
      expect(await network.ping(INNER_V4)).toBe(true)
      await client.terminate('psk')
      await expect.poll(() => gateway.listSas('psk')).toEqual([])
    })
  })
}

/** Port 4500 on both ends, so that the first message already has its marker (RFC 7296 section 2.23). */
function throughAdapter(address: string) {
  return {
    connections: {
      psk: {
        version: 2,
        local_addrs: address,
        remote_addrs: address,
        local_port: 4500,
        remote_port: ADAPTER_PORT,
        encap: true,
        vips: '0.0.0.0, ::',
        children: { net: { remote_ts: '10.77.0.0/24, fd00:77::/64', rekey_time: '1h' } },
        local: { auth: 'psk', id: 'client.test' },
        remote: { auth: 'psk', id: 'psk.gw.test' }
      }
    },
    secrets: { 'ike-any': { secret: TEST_PSK } }
  }
}
