/** Whoever cannot prove who they are, or agree on how to talk: one sentence, the right exit code, nothing left behind. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import {
  type CertifiedKey,
  createCertificateAuthority,
  issueClientCertificate,
  issueRevocationList,
  issueServerCertificate
} from '../../src/crypto/certificate-authority.ts'
import { expectOneError } from '../support/expect-error.ts'
import { BRISK, GATEWAY_NAME, IkestreamSite, USER, validity } from '../support/ikestream-site.ts'
import { describeWith } from '../support/require.ts'

const YEAR_MS = 365 * 24 * 3_600_000

describeWith('namespaces', 'tun')('a client and a gateway that cannot agree', () => {
  let site: IkestreamSite
  let before: string
  let addresses = 10

  beforeAll(async () => {
    site = await IkestreamSite.open()
    await site.startGateway()
  })
  beforeEach(async () => {
    before = await site.clientState()
  })
  afterEach(async () => {
    await site.stopClients()
    expect(await site.clientState()).toBe(before)
  })
  afterAll(() => site?.close())

  /** Another gateway, at an address of its own. */
  async function gateway(args: readonly string[]): Promise<string> {
    const address = await site.addGatewayAddress(++addresses)
    await site.startGateway(args, { listen: [address] })
    return address
  }

  async function gatewayWith(name: string, certified: CertifiedKey): Promise<string> {
    return gateway([
      ...['--identity', GATEWAY_NAME],
      ...['--certificate', await site.file(`${name}.pem`, certified.certificatePem)],
      ...['--sslkey', await site.file(`${name}.key`, certified.privateKeyPem.revealText())],
      ...['--users-file', await site.file('users', `${USER}:whatever\n`)]
    ])
  }

  it('is told that the password is wrong', async () => {
    const client = site.connect(site.gatewayAddress, await site.asUser('open barley'))
    await expectOneError(client, 77, 'eap-wrong-credentials', /password/)
    expect(client.transcript()).not.toMatch(/barley/)
  })

  it('is told the same when the user is unknown', async () => {
    const args = await site.asUser()
    const client = site.connect(site.gatewayAddress, [...args, '--user', 'mallory'])
    await expectOneError(client, 77, 'eap-wrong-credentials', /mallory/)
  })

  it('is told that the pre-shared key is wrong', async () => {
    const client = site.connect(site.gatewayAddress, await site.withPsk('some other key'))
    const error = await expectOneError(
      client,
      77,
      'authentication-failed',
      /as client@test \(pre-shared key\)/
    )
    expect(error['hint']).toMatch(/--psk-file.*--identity/)
    expect(client.transcript()).not.toMatch(/some other key/)
  })

  it('does not send the password to a gateway that only knows the shared key', async () => {
    const address = await gateway([
      ...['--identity', GATEWAY_NAME, '--psk-file', await site.file('only.psk', 'a key\n')]
    ])
    const client = site.connect(address, await site.asUser())
    await expectOneError(client, 77, /./, /./)
  })

  it('refuses a gateway whose certificate has expired', async () => {
    const expired = issueServerCertificate(site.authority, [GATEWAY_NAME], validity(-YEAR_MS))
    const client = site.connect(await gatewayWith('expired', expired), await site.asUser())
    const message = /certificate \(CN=gw\.test.*\) expired on \d{4}-\d\d-\d\d \(it is \d{4}-\d\d-\d\d now\)/
    const error = await expectOneError(client, 77, /expired/, message)
    expect(error['hint']).toMatch(/clock/)
  })

  it('refuses a gateway whose certificate is not yet valid, and thinks of the clock', async () => {
    const early = issueServerCertificate(site.authority, [GATEWAY_NAME], validity(YEAR_MS))
    const client = site.connect(await gatewayWith('early', early), await site.asUser())
    const error = await expectOneError(client, 77, /valid/, /valid/)
    expect(error['hint']).toMatch(/clock|date|time/)
  })

  it('refuses a gateway whose certificate is for another name', async () => {
    const other = issueServerCertificate(site.authority, ['other.test'], validity())
    const client = site.connect(await gatewayWith('other', other), await site.asUser())
    await expectOneError(client, 77, /./, /other\.test.*gw\.test|gw\.test.*other\.test/)
  })

  it('refuses a gateway whose CA it does not know', async () => {
    const stranger = createCertificateAuthority('Stranger CA', validity())
    const issued = issueServerCertificate(stranger, [GATEWAY_NAME], validity())
    const client = site.connect(await gatewayWith('stranger', issued), await site.asUser())
    const error = await expectOneError(client, 77, /./, /CN=gw\.test.*not trusted here \(CN=Stranger CA/)
    expect(error['hint']).toMatch(/--cafile/)
  })

  it('refuses a gateway whose certificate is revoked', async () => {
    const revoked = issueServerCertificate(site.authority, [GATEWAY_NAME], validity())
    const now = Date.now()
    const list = issueRevocationList(site.authority, {
      revoked: [revoked.certificate],
      thisUpdateMs: now - 60_000,
      nextUpdateMs: now + YEAR_MS
    })
    const crl = ['--crlfile', await site.file('ca.crl', list)]
    const client = site.connect(await gatewayWith('revoked', revoked), [...(await site.asUser()), ...crl])
    await expectOneError(client, 77, /revoked/, /revoked/)
  })

  it('is told that its own certificate is not welcome', async () => {
    const stranger = createCertificateAuthority('Stranger CA', validity())
    const issued = issueClientCertificate(stranger, ['client.test'], validity())
    const pem = `${issued.certificatePem}${issued.privateKeyPem.revealText()}`
    const own = ['--certificate', await site.file('stranger-client.pem', pem)]
    const trust = ['--cafile', await site.caFile(), '--no-system-trust', '--remote-identity', GATEWAY_NAME]
    const client = site.connect(site.gatewayAddress, [...own, ...trust])
    const error = await expectOneError(client, 77, 'authentication-failed', /as client\.test \(certificate\)/)
    expect(error['hint']).toMatch(/trust the CA of --certificate/)
  })

  it('finds no common IKE proposal', async () => {
    const strict = await gateway([
      ...(await site.gatewayArgs()),
      ...['--ike-proposal', 'aes256gcm16-prfsha384-ecp384']
    ])
    const own = ['--ike-proposal', 'aes128-sha256-x25519']
    const client = site.connect(strict, [...own, ...(await site.withPsk())])
    const message = /IKE proposals.*aes128-sha256-prfsha256-x25519/
    const error = await expectOneError(client, 76, 'no-proposal-chosen', message)
    expect(error['hint']).toMatch(/ikestream check .*--proposals.*--ike-proposal/)
    // What the hint says leads on.
    const { stdout } = await site.command(['check', strict, '--proposals', '--no-portal'])
    expect(stdout).toMatch(/aes256gcm16.*\n?.*prfsha384|AES_GCM_16/)
    // The gateway has answered: no other transport would make it say anything else.
    expect(client.rungs.filter((rung) => / (answered|failed)/.test(rung))).toEqual([
      'udp failed ike-rejected'
    ])
  })

  it('finds no common ESP proposal', async () => {
    const strict = await gateway([...(await site.gatewayArgs()), '--esp-proposal', 'aes256gcm16'])
    const own = ['--esp-proposal', 'aes128-sha256']
    const client = site.connect(strict, [...own, ...(await site.withPsk())])
    await expectOneError(client, 76, 'no-proposal-chosen', /ESP proposals.*aes128-sha256/).then(({ hint }) =>
      expect(hint).toMatch(/--esp-proposal/)
    )
  })

  it('finds no common network', async () => {
    const narrow = await gateway([...(await site.gatewayArgs()), '--local-ts', '10.50.0.0/16'])
    const client = site.connect(narrow, ['--remote-ts', '10.60.0.0/16', ...(await site.withPsk())])
    await expectOneError(client, 76, 'ts-unacceptable', /networks.*: 10\.60\.0\.0\/16\./)
  })

  it('is told that no address is left', async () => {
    const address = await site.addGatewayAddress(++addresses)
    const pool = ['--pool', '10.98.0.0/30']
    await site.startGateway([...(await site.gatewayArgs())], { listen: [address], pools: pool })
    const first = site.connect(address, [...(await site.withPsk()), '--no-routes'], { state: 'first' })
    await first.event('connected')
    const second = site.connect(address, [...(await site.withPsk()), '--no-routes'], { state: 'second' })
    await expectOneError(second, 76, 'internal-address-failure', /address/)
  })

  it.each(['tcp', 'tls'])('says the same over %s', async (transport) => {
    const args = [...BRISK, '--transport', transport]
    const client = site.connect(site.gatewayAddress, [...args, ...(await site.withPsk('some other key'))])
    await expectOneError(client, 77, 'authentication-failed', /authentication/)
    expect(client.rungs.at(-1)).toBe(`${transport} failed ike-rejected`)
  })

  it.each(['tcp', 'tls'])(
    'hears what a gateway says right before it closes the %s stream',
    async (transport) => {
      const box = await site.startMiddlebox({ closeBehind: 1 })
      const args = [...BRISK, '--transport', transport]
      const client = site.connect(box.address, [...args, ...(await site.withPsk('some other key'))])
      await expectOneError(client, 77, 'authentication-failed', /authentication/)
    }
  )

  it('hears that no proposal fits from a gateway that closes right behind that', async () => {
    const strict = await gateway([
      ...(await site.gatewayArgs()),
      ...['--ike-proposal', 'aes256gcm16-prfsha384-ecp384']
    ])
    const box = await site.startMiddlebox({ closeBehind: 0 }, strict)
    const own = ['--ike-proposal', 'aes128-sha256-x25519', '--transport', 'tcp']
    const client = site.connect(box.address, [...own, ...(await site.withPsk())])
    await expectOneError(client, 76, 'no-proposal-chosen', /IKE proposals/)
  })
})
