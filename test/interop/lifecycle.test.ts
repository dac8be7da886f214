/** What happens to a session after it is up: deletion from the other side, silence, broken streams, signals. */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import type { ClientProcess } from '../support/client-process.ts'
import { expectCleanEnd, expectWorkingTunnel, INTEROP_NEEDS } from '../support/interop-checks.ts'
import { INNER_V4 } from '../support/interop-network.ts'
import { InteropSite, TRANSPORTS } from '../support/interop-site.ts'
import { describeWith } from '../support/require.ts'
import { waitUntil } from '../support/wait-until.ts'

/** Liveness as fast as it goes, so that tests need not wait. */
const FAST_LIVENESS = ['--dpd', '1']

async function untilPingPasses(site: InteropSite, client: ClientProcess): Promise<void> {
  await waitUntil(
    'a ping through the tunnel',
    () => {
      if (!client.running) throw new Error(`the client ended\n${client.transcript()}`)
      return site.network.ping(INNER_V4)
    },
    60_000
  )
}

for (const transport of TRANSPORTS) {
  describeWith(...INTEROP_NEEDS)(`a session over ${transport}`, () => {
    let site: InteropSite
    beforeAll(async () => {
      site = await InteropSite.open({ transport })
    })
    afterEach(() => site.endClients())
    afterAll(() => site?.close())

    test('comes back after the gateway deleted the IKE SA', async () => {
      const client = await site.connect('psk', await site.psk())
      const seen = client.events.length
      await site.gateway.terminate('psk')
      await client.event('reconnecting', ({ reason }) => reason === 'deleted-by-peer')
      await untilPingPasses(site, client)
      await client.event('path-changed', ({ from, to }) => from === transport && to === transport, seen)
      await expectWorkingTunnel(site, client)
      await expectCleanEnd(site, client, 'psk')
    })

    test('has a Child SA again after the gateway deleted it', async () => {
      const client = await site.connect('psk', await site.psk())
      await site.gateway.terminate('psk', 'net')
      await untilPingPasses(site, client)
      await expectWorkingTunnel(site, client)
      await expectCleanEnd(site, client, 'psk')
    })

    test('goes to another address when the gateway says so', async () => {
      const { network } = site
      const other = network.gatewayV4.replace(/\d+$/, '77')
      await network.gateway.run(['ip', 'addr', 'replace', `${other}/24`, 'dev', 'wan0'])
      const client = await site.connect('psk', await site.psk())
      const seen = client.events.length
      await site.gateway.redirect('psk', other)
      await client.event('redirected', ({ to, phase }) => to === other && phase === 'session', seen)
      await client.event('path-changed', ({ reason }) => reason === 'redirected', seen)
      // The pool has given another address: the old one was still in use.
      expect(await network.download(700_001)).toMatchObject({ bytes: 700_001, matches: true })
      await expect.poll(async () => (await site.gateway.listSas('psk')).length).toBe(1)
      expect(client.events.some(({ event }) => event === 'reconnecting')).toBe(false)
      await expectCleanEnd(site, client, 'psk')
    })

    test('comes back after a gateway that crashed and forgot everything', async () => {
      const client = await site.connect('psk', await site.psk(), { more: FAST_LIVENESS })
      const seen = client.events.length
      await site.gateway.restart({ silently: true })
      // liveness is only asked for when traffic goes out and nothing comes back
      await untilPingPasses(site, client)
      await client.event('reconnecting', () => true, seen)
      await client.event('path-changed', () => true, seen)
      await expectWorkingTunnel(site, client)
      await expectCleanEnd(site, client, 'psk')
    })

    test('answers the liveness checks of the gateway while it is idle', async () => {
      const client = await site.connect('dpd', await site.psk())
      await expect
        .poll(
          async () =>
            ((await site.gateway.log()).match(/<dpd\|\d+> parsed INFORMATIONAL response/g) ?? []).length,
          {
            timeout: 60_000
          }
        )
        .toBeGreaterThanOrEqual(2)
      expect(client.all('reconnecting')).toEqual([])
      await expectCleanEnd(site, client, 'dpd')
    })

    test('outlives a gateway that stops for a moment', async () => {
      const client = await site.connect('psk', await site.psk())
      const upload = site.network.upload(20_000_000, undefined, 4)
      await waitUntil('the upload to run', async () => {
        const [sa] = await site.gateway.listSas('psk')
        return (sa?.children[0]?.bytesIn ?? 0) > 1_000_000
      })
      site.gateway.freeze()
      await waitUntil('packets to pile up in front of the gateway', async () => {
        const { stdout } = await site.network.gateway.run(['ss', '-Hlun', 'sport = :4500'])
        return stdout.split('\n').some((line) => Number(line.split(/\s+/)[1]) > 10_000)
      })
      site.gateway.thaw()
      expect(await upload).toMatchObject({ matches: true })
      await expectCleanEnd(site, client, 'psk')
    })

    test('opens a new path on SIGUSR2, with the IKE SA that it has', async () => {
      const client = await site.connect('psk', await site.psk())
      await expectWorkingTunnel(site, client)
      const [before] = await site.gateway.listSas('psk')
      client.signal('SIGUSR2')
      await waitUntil('another source port', async () => {
        const [after] = await site.gateway.listSas('psk')
        return after !== undefined && after.remotePort !== before?.remotePort
      })
      expect((await site.gateway.listSas('psk')).map(({ initiatorSpi }) => initiatorSpi)).toEqual([
        before?.initiatorSpi
      ])
      await expectWorkingTunnel(site, client)
      await expectCleanEnd(site, client, 'psk')
    })

    test('ends cleanly on SIGTERM too', async () => {
      const client = await site.connect('psk', await site.psk())
      client.signal('SIGTERM')
      expect(await client.exit).toBe(0)
      await expect.poll(() => site.gateway.listSas('psk')).toEqual([])
      expect(await site.leftovers()).toBe('')
    })

    if (transport === 'udp') {
      test('is authenticated anew when the gateway wants it, and nothing inside notices', async () => {
        const client = await site.connect('reauth', await site.psk())
        const upload = site.network.upload(20_000_000, undefined, 18)
        const changed = await client.event('path-changed')
        expect(changed).toMatchObject({ from: 'udp', to: 'udp', reason: 'reauthentication' })
        expect(await upload).toMatchObject({ matches: true })
        expect(client.all('reconnecting')).toEqual([])
        await expectCleanEnd(site, client, 'reauth')
      })
    }

    if (transport !== 'udp') {
      test('goes on in a new stream when the relay was restarted', async () => {
        const client = await site.connect('psk', await site.psk())
        const [before] = await site.gateway.listSas('psk')
        await site.restartRelay()
        await untilPingPasses(site, client)
        await expectWorkingTunnel(site, client)
        const [after] = await site.gateway.listSas('psk')
        expect(after?.initiatorSpi).toBe(before?.initiatorSpi)
        expect(after?.remotePort).not.toBe(before?.remotePort)
        await expectCleanEnd(site, client, 'psk')
      })
    }
  })
}
