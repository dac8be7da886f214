/** Short lifetimes while checked bytes pass in both directions: rekeys of IKE and Child SA must not lose any. */
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import type { ClientProcess } from '../support/client-process.ts'
import { expectCleanEnd, INTEROP_NEEDS } from '../support/interop-checks.ts'
import { INNER_V4 } from '../support/interop-network.ts'
import { InteropSite, TRANSPORTS } from '../support/interop-site.ts'
import { describeWith } from '../support/require.ts'
import { runCommand } from '../support/run-command.ts'
import { waitUntil } from '../support/wait-until.ts'

const BYTES = 200_000_000
/** Long enough for an IKE rekey after at most 20 s and Child rekeys after at most 8 s. */
const SECONDS = 26

interface Exchanges {
  readonly child: number
  readonly ike: number
}

const NUMBERED = fileURLToPath(new URL('../support/numbered.mjs', import.meta.url))
const NUMBERED_PORT = 7007
const NUMBERED_SECONDS = 13
const DATAGRAMS_PER_SECOND = 500

/** Numbered datagrams both ways while everything is rekeyed: TCP would hide what got lost. */
async function numberedBothWays(site: InteropSite): Promise<unknown> {
  const { network } = site
  const server = network.run(
    network.inGateway,
    [process.execPath, NUMBERED, 'server', `${NUMBERED_PORT}`],
    'numbered'
  )
  await waitUntil('the counting server', async () => (await server.output()).includes('listening'))
  const args = [INNER_V4, NUMBERED_PORT, NUMBERED_SECONDS, DATAGRAMS_PER_SECOND].map(String)
  const line = await runCommand(network.inClient([process.execPath, NUMBERED, 'client', ...args]))
  await server.stop()
  return JSON.parse(line)
}

/** CREATE_CHILD_SA requests in the gateway's log: of a Child SA with REKEY_SA, of the IKE SA without selectors. */
async function rekeyRequests(site: InteropSite, whose: 'own' | "client's"): Promise<Exchanges> {
  const verb = whose === 'own' ? 'generating' : 'parsed'
  const lines = (await site.gateway.log())
    .split('\n')
    .filter((line) => line.includes(`${verb} CREATE_CHILD_SA request`))
  const child = lines.filter((line) => line.includes('REKEY_SA')).length
  return { child, ike: lines.filter((line) => !line.includes('TSi')).length }
}

async function transferBothWays(site: InteropSite, client: ClientProcess): Promise<void> {
  const [down, up] = await Promise.all([
    site.network.download(BYTES, undefined, SECONDS),
    site.network.upload(BYTES, undefined, SECONDS)
  ])
  expect(down, client.transcript()).toMatchObject({ bytes: BYTES, matches: true })
  expect(up).toMatchObject({ bytes: BYTES, matches: true })
  expect(client.all('reconnecting')).toEqual([])
  expect(client.all('connected')).toHaveLength(1)
}

for (const transport of TRANSPORTS) {
  describeWith(...INTEROP_NEEDS)(`rekeying over ${transport}`, () => {
    let site: InteropSite
    beforeAll(async () => {
      site = await InteropSite.open({ transport })
    })
    afterEach(() => site.endClients())
    afterAll(() => site?.close())

    test('started by the gateway, during 200 MB each way', async () => {
      const client = await site.connect('lifetimes', await site.psk())
      await transferBothWays(site, client)
      const requests = await rekeyRequests(site, 'own')
      expect(requests.child).toBeGreaterThanOrEqual(2)
      expect(requests.ike).toBeGreaterThanOrEqual(1)
      expect(client.all('rekeyed').filter(({ what }) => what === 'child').length).toBeGreaterThanOrEqual(2)
      expect(client.all('rekeyed').filter(({ what }) => what === 'ike').length).toBeGreaterThanOrEqual(1)
      await expectCleanEnd(site, client, 'lifetimes')
    })

    test('started by the client, during 200 MB each way', async () => {
      const more = ['--ike-lifetime', '20', '--child-lifetime', '8']
      const client = await site.connect('psk', await site.psk(), { more })
      const before = await rekeyRequests(site, "client's")
      await transferBothWays(site, client)
      const requests = await rekeyRequests(site, "client's")
      expect(requests.child - before.child).toBeGreaterThanOrEqual(2)
      expect(requests.ike - before.ike).toBeGreaterThanOrEqual(1)
      await expectCleanEnd(site, client, 'psk')
    })
  })
}

describeWith(...INTEROP_NEEDS)('rekeying', () => {
  let site: InteropSite
  beforeAll(async () => {
    site = await InteropSite.open({ transport: 'udp' })
  })
  afterEach(() => site.endClients())
  afterAll(() => site?.close())

  test('of both sides loses and repeats no packet', async () => {
    const more = ['--ike-lifetime', '10', '--child-lifetime', '5']
    const client = await site.connect('lifetimes', await site.psk(), { more })
    const sent = NUMBERED_SECONDS * DATAGRAMS_PER_SECOND
    const all = { sent: expect.closeTo(sent, -2), lost: 0, repeated: 0 }
    expect(await numberedBothWays(site), client.transcript()).toEqual({ up: all, down: all })
    expect(client.all('rekeyed').filter(({ what }) => what === 'child').length).toBeGreaterThanOrEqual(3)
    expect(client.all('rekeyed').filter(({ what }) => what === 'ike').length).toBeGreaterThanOrEqual(1)
    await expectCleanEnd(site, client, 'lifetimes')
  })

  test('of both sides at about the same time loses nothing', async () => {
    const more = ['--ike-lifetime', '20', '--child-lifetime', '8']
    const client = await site.connect('lifetimes', await site.psk(), { more })
    await transferBothWays(site, client)
    await expectCleanEnd(site, client, 'lifetimes')
  })

  test('by volume, again and again, at full speed', async () => {
    const client = await site.connect('bytes', await site.psk())
    expect(await site.network.download(BYTES)).toMatchObject({ bytes: BYTES, matches: true })
    expect(client.all('rekeyed').length).toBeGreaterThanOrEqual(3)
    await expectCleanEnd(site, client, 'bytes')
  })
})
