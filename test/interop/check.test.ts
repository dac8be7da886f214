/** `ikestream check` against strongSwan: over UDP directly, over TCP and TLS through the relay in front of it. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { CheckDocument } from '../../src/check/document.ts'
import { CLI } from '../support/client-process.ts'
import { INTEROP_NEEDS } from '../support/interop-checks.ts'
import { InteropSite } from '../support/interop-site.ts'
import { schemaFaults, shippedSchema } from '../support/json-schema.ts'
import { GATEWAY_DOMAIN } from '../support/pki.ts'
import { describeWith } from '../support/require.ts'
import { tryCommand } from '../support/run-command.ts'

const SCHEMA = shippedSchema('check.schema.json')

async function check(
  site: InteropSite,
  server: string,
  args: readonly string[] = []
): Promise<{ readonly document: CheckDocument; readonly exitCode: number }> {
  const argv = [process.execPath, CLI, 'check', server, '--json', '--no-portal', '--non-inter', ...args]
  const unprivileged = ['setpriv', '--inh-caps=-all', '--bounding-set=-all', '--no-new-privs', '--']
  const result = await tryCommand(site.network.inClient([...unprivileged, ...argv]))
  expect(result.stderr).toBe('')
  const document = JSON.parse(result.stdout) as CheckDocument
  expect(schemaFaults(SCHEMA, document)).toEqual([])
  return { document, exitCode: result.exitCode }
}

async function halfOpen(site: InteropSite): Promise<number> {
  const { ikesas } = await site.gateway.stats()
  return typeof ikesas === 'object' && 'half-open' in ikesas ? Number(ikesas['half-open']) : Number.NaN
}

describeWith(...INTEROP_NEEDS)('check against strongSwan', () => {
  let site: InteropSite
  beforeAll(async () => {
    site = await InteropSite.open({ transport: 'tcp' })
  })
  afterAll(() => site?.close())

  test('finds every transport open, and leaves one half-open IKE SA behind', async () => {
    const before = await halfOpen(site)
    const { document, exitCode } = await check(site, site.network.gatewayV4)
    expect(exitCode).toBe(0)
    expect(document.verdict.sentence).toMatch(/^UDP works, .*; connect will use it$/)
    expect(document.udp).toMatchObject([
      {
        ike: { outcome: 'answered', answer: { kind: 'no-proposal-chosen' } },
        natT: { outcome: 'answered', answer: { kind: 'accepted', offerWasReal: true, fragmentation: true } },
        nat: { present: false, gatewayBehindNat: true },
        large: { linkMtu: 1500, pathMtu: 1500, fragments: 'pass' }
      }
    ])
    expect(document.udp[0]?.natT.rtt?.samples).toBeGreaterThan(1)
    expect(document.streams.map(({ transport, outcome }) => `${transport} ${outcome}`)).toEqual([
      'tcp answered',
      'tls answered'
    ])
    expect(await halfOpen(site)).toBeLessThanOrEqual(before + 1)
  })

  test('is no nuisance when it is repeated', async () => {
    // charon turns an address away once it has five half-open IKE SAs (block_threshold), for half a minute.
    for (let round = 0; round < 3; round++) {
      const { document } = await check(site, site.network.gatewayV6, ['--transport', 'tcp'])
      expect(document.verdict.works, JSON.stringify(document.streams)).toBe(true)
    }
  })

  test.each(['udp', 'tcp'])('finds out over %s which suites it takes', async (transport) => {
    const { document } = await check(site, site.network.gatewayV4, ['--transport', transport, '--proposals'])
    const { proposals } = document
    expect(proposals?.complete, JSON.stringify(proposals)).toBe(true)
    expect(proposals?.suites.map(({ encryption }) => encryption)).toEqual([
      ...['aes256gcm16', 'aes192gcm16', 'aes128gcm16', 'chacha20poly1305'],
      ...['aes256', 'aes192', 'aes128']
    ])
    expect(proposals?.suites[0]).toMatchObject({
      groups: ['x25519', 'x448', 'ecp521', 'ecp384', 'ecp256', 'modp4096', 'modp3072', 'modp2048'],
      prfs: ['prfsha512', 'prfsha384', 'prfsha256']
    })
  })

  test('follows the group that it wants', async () => {
    const { document } = await check(site, site.network.gatewaySecondV4, ['--transport', 'udp'])
    expect(document.udp[0]?.natT.answer).toMatchObject({
      kind: 'accepted',
      suite: 'aes256gcm16-prfsha384-ecp384'
    })
  })

  test('says that none of the offered suites is accepted', async () => {
    const { document, exitCode } = await check(site, site.network.gatewayV4, [
      ...['--transport', 'udp', '--ike-proposal', 'aes256-sha1-modp2048']
    ])
    // It is reached: that was the question.
    expect(exitCode).toBe(0)
    expect(document.verdict.sentence).toMatch(/accepts none of the suites that connect would offer$/)
  })

  test.each(['udp', 'tcp', 'tls'])('logs in over %s, and ESP passes', async (transport) => {
    const identity = ['--remote-identity', `psk.${GATEWAY_DOMAIN}`, ...(await site.psk())]
    const { document, exitCode } = await check(site, site.network.gatewayV4, [
      ...['--transport', transport, '--auth', ...identity]
    ])
    expect(exitCode, JSON.stringify(document.authentication)).toBe(0)
    expect(document.authentication).toMatchObject({
      outcome: 'authenticated',
      transport,
      gatewayId: `psk.${GATEWAY_DOMAIN}`,
      dns: expect.arrayContaining(['10.77.0.53']),
      esp: { outcome: 'passes', answersEcho: true }
    })
    await expect.poll(() => site.gateway.listSas('psk')).toEqual([])
    expect(await site.leftovers()).toBe('')
  })
})

describeWith(...INTEROP_NEEDS)('check against strongSwan that wants cookies', () => {
  let site: InteropSite
  beforeAll(async () => {
    site = await InteropSite.open({ transport: 'udp', cookies: true })
  })
  afterAll(() => site?.close())

  test('takes a cookie for an answer, and brings it back for the real one', async () => {
    const { document } = await check(site, site.network.gatewayV4, ['--transport', 'udp'])
    expect(document.udp[0]).toMatchObject({
      ike: { outcome: 'answered', answer: { kind: 'cookie' } },
      natT: { outcome: 'answered', answer: { kind: 'accepted' } }
    })
  })
})
