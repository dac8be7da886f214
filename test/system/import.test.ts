/** Imported profiles are what they claim to be: a gateway takes them. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { issueClientCertificate } from '../../src/crypto/certificate-authority.ts'
import {
  BRISK,
  GATEWAY_NAME,
  IkestreamSite,
  PASSWORD,
  PSK,
  USER,
  validity
} from '../support/ikestream-site.ts'
import {
  algoCertificate,
  configuratorEap,
  sharedSecret,
  sswanCertificate,
  sswanEap
} from '../support/import-fixtures.ts'
import { describeWith } from '../support/require.ts'
import { runCommand } from '../support/run-command.ts'

const P12_PASSWORD = 'for the key'

describeWith(
  'namespaces',
  'tun',
  'openssl'
)('an imported profile connects', () => {
  let site: IkestreamSite
  beforeAll(async () => {
    site = await IkestreamSite.open()
    await site.startGateway()
  })
  afterEach(() => site.stopClients())
  afterAll(() => site?.close())

  const place = () => ({ server: site.gatewayAddress, identity: GATEWAY_NAME })

  async function pkcs12(): Promise<Uint8Array> {
    const issued = issueClientCertificate(site.authority, ['client.test'], validity())
    const pem = await site.file('client.pem', `${issued.certificatePem}${issued.privateKeyPem.revealText()}`)
    const path = join(site.directory, 'client.p12')
    const how = ['-export', '-in', pem, '-out', path, '-passout', `pass:${P12_PASSWORD}`]
    await runCommand(['openssl', 'pkcs12', ...how])
    return readFile(path)
  }

  async function connects(name: string, contents: string, args: readonly string[] = []): Promise<void> {
    const source = await site.file(name, contents)
    const output = join(site.directory, 'profiles', name)
    const imported = await site.command(['import', source, '--output', output])
    expect(imported.exitCode, imported.stderr).toBe(0)
    const profile = imported.stdout.trim()
    const client = site.connect(profile, [...BRISK, ...args])
    expect(await client.event('connected')).toMatchObject({ gatewayId: GATEWAY_NAME })
    const ended = site.command(['disconnect'])
    expect((await ended).exitCode).toBe(0)
  }

  it('with user name and password (Apple Configurator)', async () => {
    await connects('eap.mobileconfig', configuratorEap(place(), site.authority.certificate, USER, PASSWORD))
  })

  it('with a shared secret', async () => {
    await connects('psk.mobileconfig', sharedSecret(place(), 'client@test', PSK))
  })

  it('with a certificate (Algo)', async () => {
    const contents = algoCertificate(
      place(),
      site.authority.certificate,
      await pkcs12(),
      P12_PASSWORD,
      'client.test'
    )
    await connects('certificate.mobileconfig', contents)
  })

  it("with user name and password (strongSwan's app)", async () => {
    await connects('eap.sswan', sswanEap(place(), site.authority.certificate, USER, PASSWORD))
  })

  it("with a certificate (strongSwan's app), and the password that such files lack", async () => {
    const contents = sswanCertificate(place(), site.authority.certificatePem, await pkcs12())
    const password = await site.file('p12.pass', P12_PASSWORD)
    await connects('certificate.sswan', contents, ['--key-password-file', password])
  })
})
