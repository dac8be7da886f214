/** Connections that must not come about: exit code, one sentence, and the machine as it was. */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { INTEROP_NEEDS } from '../support/interop-checks.ts'
import { InteropSite, TRANSPORTS } from '../support/interop-site.ts'
import { describeWith } from '../support/require.ts'

const AUTHENTICATION = 77
const PROTOCOL = 76

interface Refusal {
  readonly connection: string
  readonly credentials: (site: InteropSite) => string[] | Promise<string[]>
  readonly more?: (site: InteropSite) => string[]
  readonly exitCode: number
  /** The message says what it is about. */
  readonly about: RegExp
}

const REFUSALS: Readonly<Record<string, Refusal>> = {
  'a wrong pre-shared key': {
    connection: 'psk',
    credentials: (site) => site.psk('a wrong one'),
    exitCode: AUTHENTICATION,
    about: /key|credential|refused|reject/i
  },
  'a wrong EAP password': {
    connection: 'eap-mschapv2',
    credentials: (site) => site.eap('alice@test.example', 'root-rsa', 'a wrong one'),
    exitCode: AUTHENTICATION,
    about: /password|user/i
  },
  'an unknown EAP user': {
    connection: 'eap-mschapv2',
    credentials: (site) => site.eap('mallory', 'root-rsa', 'whatever'),
    exitCode: AUTHENTICATION,
    about: /password|user/i
  },
  'a client certificate from an unknown authority': {
    connection: 'ecdsa256',
    credentials: (site) => site.certificate('cl-evil', 'root-ec'),
    exitCode: AUTHENTICATION,
    about: /certificate|credential|refused|reject/i
  },
  'a client certificate that was revoked': {
    connection: 'ecdsa256',
    credentials: (site) => site.certificate('cl-revoked', 'root-ec'),
    exitCode: AUTHENTICATION,
    about: /certificate|credential|refused|reject/i
  },
  'a client certificate that is out of date': {
    connection: 'ecdsa256',
    credentials: (site) => site.certificate('cl-expired', 'root-ec'),
    exitCode: AUTHENTICATION,
    about: /certificate|credential|refused|reject|expired/i
  },
  'a gateway under an unknown authority': {
    connection: 'evil',
    credentials: (site) => site.certificate('cl-ec256', 'root-ec'),
    exitCode: AUTHENTICATION,
    about: /certificate|trust/i
  },
  'a gateway whose certificate is out of date': {
    connection: 'expired',
    credentials: (site) => site.certificate('cl-ec256', 'root-ec'),
    exitCode: AUTHENTICATION,
    about: /expired|valid/i
  },
  'a gateway whose certificate was revoked': {
    connection: 'revoked',
    credentials: (site) => site.certificate('cl-ec256', 'root-ec'),
    more: (site) => ['--crlfile', site.pki.path('int-ec-gw.crl.pem')],
    exitCode: AUTHENTICATION,
    about: /revoked/i
  },
  'a gateway with the certificate of another': {
    connection: 'a.impostor',
    credentials: (site) => site.certificate('cl-ec256', 'root-ec'),
    exitCode: AUTHENTICATION,
    about: /a\.impostor\.gw\.test|name|identity/i
  },
  'an identity that the gateway does not have': {
    connection: 'nobody',
    credentials: (site) => site.psk(),
    exitCode: AUTHENTICATION,
    about: /identity|nobody|refused|reject|credential/i
  },
  'no common proposal for IKE': {
    connection: 'psk',
    credentials: (site) => site.psk(),
    more: () => ['--ike-proposal', 'aes256-sha1-modp2048'],
    exitCode: PROTOCOL,
    about: /proposal|suite/i
  },
  'no common proposal for ESP': {
    connection: 'antique-esp',
    credentials: (site) => site.psk(),
    exitCode: PROTOCOL,
    about: /proposal|suite/i
  },
  'no common traffic selectors': {
    connection: 'psk',
    credentials: (site) => site.psk(),
    more: () => ['--remote-ts', '172.20.0.0/16'],
    exitCode: PROTOCOL,
    about: /traffic selector/i
  }
}

for (const transport of TRANSPORTS) {
  describeWith(...INTEROP_NEEDS)(`refusals over ${transport}`, () => {
    let site: InteropSite
    beforeAll(async () => {
      site = await InteropSite.open({ transport })
    })
    afterEach(() => site.endClients())
    afterAll(() => site?.close())

    test.each(Object.entries(REFUSALS))(
      '%s',
      async (_what, { connection, credentials, more, exitCode, about }) => {
        const client = await site.start(connection, await credentials(site), { more: more?.(site) ?? [] })
        const failure = await client.failure()
        expect(failure.exitCode, client.transcript()).toBe(exitCode)
        expect(failure.error).toMatchObject({ exitCode, code: expect.stringMatching(/^[a-z][a-z0-9-]+$/) })
        expect(failure.error.message).toMatch(about)
        expect(failure.error.message).toMatch(/^[^\n]+\.$/)
        expect(client.all('connected')).toEqual([])
        expect(client.strayOutput).toEqual([])
        expect(await site.leftovers()).toBe('')
        await expect.poll(() => site.gateway.listSas()).toEqual([])
      }
    )

    test('a gateway that does not prove itself learns nothing of the password', async () => {
      const client = await site.start('evil-eap', await site.eap('alice@test.example', 'root-ec'))
      expect((await client.failure()).exitCode).toBe(AUTHENTICATION)
      const log = await site.gateway.log()
      const about = log.slice(log.lastIndexOf('evil-eap.gw.test'))
      expect(about).not.toMatch(/EAP\/RES|received EAP identity/)
    })
  })
}
