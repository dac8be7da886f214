import { describe, expect, it } from 'vitest'
import { Tunnel } from '../../../src/client/tunnel.ts'
import type { TunnelPlace } from '../../../src/client/tunnel-place.ts'
import type { EstablishedInfo } from '../../../src/ike/types.ts'
import { silentLogger } from '../../../src/log.ts'
import { notInUse } from '../../../src/native/speedups.ts'
import type { Tun } from '../../../src/tun/types.ts'
import { childPair } from '../../support/esp-parameters.ts'
import { pathPair, selectors } from '../../support/ike-pair.ts'
import { SeededRandom } from '../../support/seeded-random.ts'
import { connectOptions } from '../../support/virtual-client.ts'
import { FakeTransport } from '../../support/virtual-site.ts'

const INFO: EstablishedInfo = {
  ...{ spiI: 1n, spiR: 2n, localIdentity: 'alice', remoteIdentity: 'gw', ikeSuite: '', espSuite: undefined },
  config: { addresses: [{ address: '10.9.0.5', prefixLength: 32 }], dns: [], dnsDomains: [], subnets: [] },
  ...{ cluster: false, mobike: true, natLocal: false, natRemote: false, resumed: false, byTicket: false }
}

/** A tunnel whose device and host do nothing; what the host is asked to route is kept. */
async function openTunnel() {
  const routes: (readonly string[])[] = []
  const unused = notInUse('not a real one')
  const tun: Tun = {
    name: 'test0',
    offloads: { checksum: unused, tcp: unused, udp: unused },
    readBuffer: new Uint8Array(2048),
    setHandlers: () => undefined,
    setReading: () => undefined,
    read: () => 0,
    write: () => true,
    release: () => undefined
  }
  const place: TunnelPlace = {
    isolated: true,
    openDevice: () => tun,
    configure: async (config) => {
      routes.push(config.routes)
      return {
        conflicts: [],
        dnsMode: null,
        undo: async () => undefined,
        updatePinned: async () => undefined,
        repin: async () => [],
        setMtu: async () => undefined,
        reconfigure: async (network) => {
          routes.push(network.routes)
          return []
        }
      }
    },
    close: async () => undefined
  }
  const tunnel = await Tunnel.open(connectOptions(), {
    ...{ log: silentLogger, random: new SeededRandom(1), now: () => 0, place },
    ...{ keyTables: undefined, capture: undefined, softLimits: { bytes: 0, packets: 0 } },
    gatewayAddresses: () => ['203.0.113.1'],
    onSoftLimit: () => undefined,
    onDeviceGone: () => undefined
  })
  return { tunnel, routes }
}

const overUdp = () => new FakeTransport('udp', '203.0.113.1', pathPair().client, () => undefined)

describe('a tunnel whose Child SA is taken away before the host knows of it', () => {
  it.each([0, 1])(
    'gets its routes, since another is asked for with the same (after %i others)',
    async (others) => {
      const { tunnel, routes } = await openTunnel()
      for (let one = 0; one <= others; one++) {
        const remote = selectors(`10.${one}.0.0/16`)
        const { left } = childPair({ childId: one, leftTs: selectors('10.9.0.5/32'), rightTs: remote })
        tunnel.install(left)
        tunnel.activate(left.inbound.spi)
        if (one === others) tunnel.remove(left.inbound.spi)
        await tunnel.configure(INFO, overUdp())
        tunnel.remove(left.inbound.spi)
      }
      expect(routes.at(-1)).toEqual([`10.${others}.0.0/16`])
      await tunnel.close()
    }
  )
})
