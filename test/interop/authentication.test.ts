/** Every way to authenticate, over every transport, against strongSwan. */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { expectCleanEnd, expectWorkingTunnel, INTEROP_NEEDS } from '../support/interop-checks.ts'
import { InteropSite, TRANSPORTS } from '../support/interop-site.ts'
import { GATEWAY_DOMAIN, P12_PASSWORD } from '../support/pki.ts'
import { describeWith } from '../support/require.ts'

type Credentials = (site: InteropSite) => string[] | Promise<string[]>

const METHODS: readonly (readonly [what: string, connection: string, credentials: Credentials])[] = [
  ['a pre-shared key', 'psk', (site) => site.psk()],
  ['RSA certificates', 'rsa', (site) => site.certificate('cl-rsa', 'root-rsa')],
  ['RSA certificates and PSS signatures', 'rsapss', (site) => site.certificate('cl-rsa', 'root-rsa')],
  ['ECDSA certificates on P-256', 'ecdsa256', (site) => site.certificate('cl-ec256', 'root-ec')],
  ['ECDSA certificates on P-384', 'ecdsa384', (site) => site.certificate('cl-ec384', 'root-ec')],
  ['Ed25519 certificates', 'ed25519', (site) => site.certificate('cl-ed', 'root-ed')],
  ['a key of another family than the gateway has', 'rsa', (site) => site.certificate('cl-ed', 'root-rsa')],
  ['a PKCS#12 file', 'ecdsa256', (site) => site.pkcs12('cl-ec256', 'root-ec', P12_PASSWORD)],
  ['EAP-MSCHAPv2', 'eap-mschapv2', (site) => site.eap('alice@test.example', 'root-rsa')],
  ['EAP-MSCHAPv2 with a password beyond ASCII', 'eap-mschapv2', (site) => site.eap('bob', 'root-rsa')],
  [
    'EAP-MSCHAPv2 with a gateway that has a shared key',
    'psk-eap',
    (site) => site.pskAndEap('alice@test.example')
  ],
  ['EAP-TLS', 'eap-tls', (site) => site.eapTls('cl-rsa', 'root-rsa')]
]

for (const transport of TRANSPORTS) {
  describeWith(...INTEROP_NEEDS)(`authentication over ${transport}`, () => {
    let site: InteropSite
    beforeAll(async () => {
      site = await InteropSite.open({ transport })
    })
    afterEach(() => site.endClients())
    afterAll(() => site?.close())

    test.each(METHODS)('%s', async (_what, connection, credentials) => {
      const client = await site.connect(connection, await credentials(site))
      const connected = await client.connected()
      expect(connected).toMatchObject({
        transport,
        gateway: site.network.gatewayV4,
        gatewayId: `${connection}.${GATEWAY_DOMAIN}`,
        cluster: false
      })
      expect(connected.virtualIps).toContainEqual(expect.stringMatching(/^10\.88\.0\.\d+$/))
      expect(connected.virtualIps).toContainEqual(expect.stringMatching(/^fd00:88::/))
      const [sa] = await site.gateway.listSas(connection)
      expect(sa).toMatchObject({ state: 'ESTABLISHED' })
      await expectWorkingTunnel(site, client)
      await expectCleanEnd(site, client, connection)
    })

    test.each(METHODS.slice(0, 2))(
      '%s, with the gateway at an IPv6 address',
      async (_what, connection, credentials) => {
        const server = site.network.gatewayV6
        const client = await site.connect(connection, await credentials(site), { server })
        await expectWorkingTunnel(site, client)
        await expectCleanEnd(site, client, connection)
      }
    )
  })
}
