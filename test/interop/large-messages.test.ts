/** What makes IKE messages large or repeats them: chains of RSA-4096 certificates, fragments, cookies, other groups. */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { expectCleanEnd, expectWorkingTunnel, INTEROP_NEEDS } from '../support/interop-checks.ts'
import { InteropSite, TRANSPORTS } from '../support/interop-site.ts'
import { describeWith } from '../support/require.ts'

for (const transport of TRANSPORTS) {
  describeWith(...INTEROP_NEEDS)(`large messages and cookies over ${transport}`, () => {
    let site: InteropSite
    beforeAll(async () => {
      site = await InteropSite.open({ transport, cookies: true, fragmentSize: 576 })
    })
    afterEach(() => site.endClients())
    afterAll(() => site?.close())

    test('chains with three intermediates in both directions, after a cookie', async () => {
      const client = await site.connect('long', site.certificate('cl-long', 'root-long'))
      await expectWorkingTunnel(site, client)
      const log = await site.gateway.log()
      expect(log).toMatch(/generating IKE_SA_INIT response 0 \[ N\(COOKIE\) \]/)
      expect(log).toMatch(/parsed IKE_SA_INIT request 0 \[ N\(COOKIE\)/)
      expect(log).toMatch(/generating IKE_AUTH response 1 \[ EF\(\d+\/\d+\) \]/)
      // a stream needs no fragments (RFC 9329 section 7.5), a datagram does
      if (transport === 'udp') expect(log).toMatch(/parsed IKE_AUTH request 1 \[ EF\(\d+\/\d+\) \]/)
      else expect(log).not.toMatch(/parsed IKE_AUTH request 1 \[ EF/)
      await expectCleanEnd(site, client, 'long')
    })
  })
}

describeWith(...INTEROP_NEEDS)('a gateway that wants another group', () => {
  let site: InteropSite
  beforeAll(async () => {
    site = await InteropSite.open({ transport: 'udp', cookies: true })
  })
  afterAll(() => site?.close())

  test('gets it at the second attempt, with a cookie for each', async () => {
    const more = ['--ike-proposal', 'aes256gcm16-prfsha384-x25519-ecp384']
    const server = site.network.gatewaySecondV4
    const client = await site.connect('ecp384-only', await site.psk(), { server, more })
    await expectWorkingTunnel(site, client)
    expect(await site.gateway.log()).toMatch(/generating IKE_SA_INIT response 0 \[ N\(INVAL_KE\) \]/)
    await expectCleanEnd(site, client, 'ecp384-only')
  })
})
