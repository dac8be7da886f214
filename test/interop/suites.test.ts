/** Every cipher, integrity algorithm, PRF and key exchange group of the project, for IKE and for ESP. */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { expectWorkingTunnel, INTEROP_NEEDS } from '../support/interop-checks.ts'
import { INNER_V4 } from '../support/interop-network.ts'
import { InteropSite } from '../support/interop-site.ts'
import { describeWith } from '../support/require.ts'

/** Proposals in strongSwan's keywords, and the suites that the gateway must then name. */
const SUITES: readonly (readonly [ike: string, esp: string, ikeSuite: string, espSuite: string])[] = [
  [
    'aes128gcm16-prfsha256-x25519',
    'aes128gcm16-x25519',
    'AES_GCM_16-128/PRF_HMAC_SHA2_256/CURVE_25519',
    'AES_GCM_16-128'
  ],
  [
    'aes192gcm16-prfsha384-x448',
    'aes192gcm16-x448',
    'AES_GCM_16-192/PRF_HMAC_SHA2_384/CURVE_448',
    'AES_GCM_16-192'
  ],
  [
    'aes256gcm16-prfsha512-ecp521',
    'aes256gcm16-ecp521',
    'AES_GCM_16-256/PRF_HMAC_SHA2_512/ECP_521',
    'AES_GCM_16-256'
  ],
  [
    'chacha20poly1305-prfsha256-ecp256',
    'chacha20poly1305-ecp256',
    'CHACHA20_POLY1305/PRF_HMAC_SHA2_256/ECP_256',
    'CHACHA20_POLY1305'
  ],
  [
    'aes128-sha256-modp2048',
    'aes128-sha256-modp2048',
    'AES_CBC-128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_2048',
    'AES_CBC-128/HMAC_SHA2_256_128'
  ],
  [
    'aes192-sha384-ecp384',
    'aes192-sha384-ecp384',
    'AES_CBC-192/HMAC_SHA2_384_192/PRF_HMAC_SHA2_384/ECP_384',
    'AES_CBC-192/HMAC_SHA2_384_192'
  ],
  [
    'aes256-sha512-modp4096',
    'aes256-sha512-modp4096',
    'AES_CBC-256/HMAC_SHA2_512_256/PRF_HMAC_SHA2_512/MODP_4096',
    'AES_CBC-256/HMAC_SHA2_512_256'
  ],
  [
    'aes256-sha256-modp3072',
    'aes256-sha256-modp3072',
    'AES_CBC-256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_3072',
    'AES_CBC-256/HMAC_SHA2_256_128'
  ],
  // what each side takes when nobody says anything
  ['', '', '', '']
]

describeWith(...INTEROP_NEEDS)('suites', () => {
  let site: InteropSite
  beforeAll(async () => {
    site = await InteropSite.open({ transport: 'udp' })
  })
  afterEach(() => site.endClients())
  afterAll(() => site?.close())

  test.each(SUITES)('IKE %s, ESP %s', async (ike, esp, ikeSuite, espSuite) => {
    const more = ike === '' ? [] : ['--ike-proposal', ike, '--esp-proposal', esp]
    const client = await site.connect('psk', await site.psk(), { more })
    await expectWorkingTunnel(site, client)
    const rekeys = {
      child: site.gateway.countEvents('child-rekey'),
      ike: site.gateway.countEvents('ike-rekey')
    }

    // with a fresh key exchange each, started by the gateway
    await site.gateway.rekey('child', 'psk')
    await expect.poll(() => site.gateway.countEvents('child-rekey')).toBeGreaterThan(rekeys.child)
    await site.gateway.rekey('ike', 'psk')
    await expect.poll(() => site.gateway.countEvents('ike-rekey')).toBeGreaterThan(rekeys.ike)
    expect(await site.network.ping(INNER_V4)).toBe(true)
    await client.event('rekeyed', ({ what }) => what === 'child')
    await client.event('rekeyed', ({ what }) => what === 'ike')

    const [sa] = await site.gateway.listSas('psk')
    if (ike !== '') {
      expect(sa?.suite).toBe(ikeSuite)
      const child = sa?.children.find(({ state }) => state === 'INSTALLED')
      expect(child?.suite).toBe(`${espSuite}/${ikeSuite.split('/').at(-1)}`)
    }
    expect(await client.interrupt()).toBe(0)
  })
})
