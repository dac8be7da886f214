/** Gateways that are not who they say they are, and somebody who has broken the outer TLS; on loopback, with the real engines. */
import { connect as connectTcp } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import { afterEach, describe, expect, it } from 'vitest'
import { createCertificateAuthority, issueServerCertificate } from '../../src/crypto/certificate-authority.ts'
import { identityFromText } from '../../src/ike/auth/identity.ts'
import { openTls } from '../../src/transport/tls.ts'
import {
  certificateClient,
  credentials,
  eapUser,
  GATEWAY_NAME,
  GatewayFixture,
  pskClient,
  TestClient
} from '../support/gateway-fixture.ts'
import { ipv4, udp } from '../support/packet-factory.ts'
import { waitUntil } from '../support/wait-until.ts'

const OTHER_NAME = 'other.test'
const validity = { notBeforeMs: Date.now() - 60_000, notAfterMs: Date.now() + 3_600_000 }
const cleanUp: (() => unknown)[] = []
afterEach(async () => {
  for (const action of cleanUp.splice(0).reverse()) await action()
})

/** A gateway whose certificate is good, and for this name; it calls itself as it likes. */
async function gatewayFor(name: string, calledItself: string): Promise<GatewayFixture> {
  const { certificate, privateKey } = issueServerCertificate(credentials().authority, [name], validity)
  const fixture = await GatewayFixture.start({
    identity: identityFromText(calledItself),
    certificate: { chain: [certificate], key: privateKey }
  })
  cleanUp.push(() => fixture.gateway.close())
  return fixture
}

function newClient(...args: ConstructorParameters<typeof TestClient>): TestClient {
  const client = new TestClient(...args)
  cleanUp.push(() => client.dispose())
  return client
}

describe('a gateway with a valid certificate for another name', () => {
  it.each([OTHER_NAME, GATEWAY_NAME])('gets in nobody who wants %s of it', async (calledItself) => {
    const fixture = await gatewayFor(OTHER_NAME, calledItself)
    for (const who of [eapUser(), certificateClient()]) {
      const client = newClient(who, GATEWAY_NAME)
      await expect(client.connect(await fixture.open('tcp'))).rejects.toMatchObject({ exitCode: 77 })
      expect(client.info).toBeUndefined()
      expect(client.sad.children).toEqual([])
    }
    // Whoever comes with a certificate shows it first. A user has said nothing yet that a password could be guessed from.
    expect(fixture.all('client-up').map(({ identity }) => identity)).toEqual(['carol@test'])
    await waitUntil('the client to be gone', () => fixture.all('client-down').length === 1)
  })

  it('is a good gateway to those who want that name', async () => {
    const fixture = await gatewayFor(OTHER_NAME, OTHER_NAME)
    await newClient(eapUser(), OTHER_NAME).connect(await fixture.open('tcp'))
    expect(fixture.all('client-up')).toHaveLength(1)
  })
})

describe('somebody who ends the outer TLS with a certificate of their own', () => {
  const SECRET = [...Buffer.from('what is said inside')]

  it('sees IKE pass, and nothing that is in it', async () => {
    const fixture = await gatewayFor(GATEWAY_NAME, GATEWAY_NAME)
    const seen: Buffer[] = []
    const issued = issueServerCertificate(
      createCertificateAuthority('Nobody', validity),
      ['nobody.test'],
      validity
    )
    const breaker = createTlsServer(
      { cert: issued.certificatePem, key: issued.privateKeyPem.revealText() },
      (inside) => {
        const onward = connectTcp(fixture.port('tcp'), '127.0.0.1')
        for (const [from, to] of [
          [inside, onward],
          [onward, inside]
        ] as const) {
          from.on('data', (chunk: Buffer) => {
            seen.push(chunk)
            to.write(chunk)
          })
          from.on('error', () => undefined)
          from.on('close', () => to.destroy())
        }
      }
    )
    await new Promise<void>((resolve) => breaker.listen(0, '127.0.0.1', resolve))
    cleanUp.push(() => breaker.close())
    const address = breaker.address()
    if (address === null || typeof address === 'string') throw new Error('no port')
    const client = newClient(pskClient())
    await client.connect(await openTls({ host: '127.0.0.1', port: address.port, serverName: GATEWAY_NAME }))
    const packet = ipv4(udp(1000, 2000, SECRET), { source: client.address, destination: '10.99.0.1' })
    client.send(packet)
    await waitUntil('the packet inside', () =>
      fixture.received.some((one) => Buffer.from(one).equals(packet))
    )
    const all = Buffer.concat(seen)
    expect(all.subarray(0, 6).toString()).toBe('IKETCP')
    expect(all.length).toBeGreaterThan(1000)
    for (const text of [Buffer.from(SECRET), Buffer.from('branch@test'), Buffer.from(client.address)])
      expect(all.includes(text)).toBe(false)
  })
})
