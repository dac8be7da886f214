import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { addConnectionOptions, EffectiveOptions } from '../../../src/cli/connection-options.ts'
import { type Credentials, loadCertificateAndKey, loadCredentials } from '../../../src/cli/credentials.ts'
import { createCertificateAuthority, issueCertificate } from '../../../src/crypto/certificate-authority.ts'
import { formatIdentity } from '../../../src/ike/auth/identity.ts'
import type { LogLevel } from '../../../src/log.ts'
import { Secret } from '../../../src/secret.ts'
import keyFiles from '../../vectors/key-files.json' with { type: 'json' }

const VALID = { notBeforeMs: Date.UTC(2026, 0, 1), notAfterMs: Date.UTC(2046, 0, 1) }
let directory: string
const at = (name: string): string => join(directory, name)

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'credentials-'))
  const write = (name: string, content: string | Buffer) => writeFile(at(name), content, { mode: 0o600 })
  for (const [name, content] of Object.entries(keyFiles.files))
    await write(name, Buffer.from(content, 'base64'))
  await write('psk', 'correct horse\n')
  await write('psk-hex', '0x00ff10')
  await write('password', 'hunter2\n')
  await write('wrong', 'wrong\n')
  await write('rubbish', 'not a certificate')
  const root = createCertificateAuthority('Example Root', VALID)
  for (const [name, altNames] of [
    ['dns', ['laptop.example.org', 'alice@example.org']],
    ['mail', ['alice@example.org']],
    ['none', []]
  ] as const) {
    const leaf = issueCertificate(
      { ...VALID, subject: 'Alice Laptop', extensions: { altNames: [...altNames] } },
      root
    )
    await write(`${name}.crt`, Buffer.from(leaf.certificate))
    await write(`${name}.key`, leaf.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString())
  }
})
afterAll(() => rm(directory, { recursive: true }))

interface Loaded {
  readonly credentials: Credentials
  readonly logged: readonly string[]
}

/** Words that name files of the directory are made paths. */
async function load(line: string, passwordOnStdin = false): Promise<Loaded> {
  const command = addConnectionOptions(new Command('connect')).exitOverride()
  const args = line.split(' ').filter((word) => word !== '')
  command.parse(
    args.map((word) => (word.startsWith('./') ? at(word.slice(2)) : word)),
    { from: 'user' }
  )
  const logged: string[] = []
  const log = {
    log: (level: LogLevel, text: string) => void logged.push(`${level} ${text}`),
    child: () => log
  }
  const prompting = { nonInteractive: true, passwordOnStdin }
  const options = new EffectiveOptions(command, undefined)
  return { credentials: await loadCredentials(options, 'vpn.example.com', prompting, log), logged }
}

const credentialsOf = async (line: string): Promise<Credentials> => (await load(line)).credentials
const textOf = (secret: Secret | undefined): string | undefined => secret?.revealText()

describe('credentials with a pre-shared key', () => {
  it('authenticate both sides with it', async () => {
    const { localAuth, remoteAuth, localIdentity, remoteIdentity } = await credentialsOf(
      '--psk-file ./psk --identity alice@example.org'
    )
    expect(formatIdentity(localIdentity)).toBe('alice@example.org')
    expect(formatIdentity(remoteIdentity)).toBe('vpn.example.com')
    for (const auth of [localAuth, remoteAuth]) {
      if (auth.method !== 'psk') throw new Error('a pre-shared key is asked for')
      expect(textOf(auth.secret)).toBe('correct horse')
    }
  })

  it('take hexadecimal and another identity of the gateway', async () => {
    const { localAuth, remoteIdentity } = await credentialsOf(
      '--psk-file ./psk-hex --identity a.b --remote-identity gw@example.org'
    )
    if (localAuth.method !== 'psk') throw new Error('a pre-shared key is asked for')
    expect(localAuth.secret.reveal()).toEqual(Uint8Array.of(0, 255, 16))
    expect(formatIdentity(remoteIdentity)).toBe('gw@example.org')
  })
})

describe('credentials with a pre-shared key and a user name', () => {
  it('let the gateway prove itself with the key, and the user with a password', async () => {
    const { localAuth, remoteAuth, localIdentity } = await credentialsOf(
      '--psk-file ./psk --user alice --password-file ./password'
    )
    expect(formatIdentity(localIdentity)).toBe('alice')
    if (localAuth.method !== 'eap' || remoteAuth.method !== 'psk')
      throw new Error('EAP and a key are asked for')
    expect(textOf(localAuth.credentials.password)).toBe('hunter2')
    expect(textOf(remoteAuth.secret)).toBe('correct horse')
  })
})

describe('credentials with a user name', () => {
  it('are a password, under the user name unless told otherwise', async () => {
    const { localAuth, localIdentity, remoteAuth } = await credentialsOf(
      '--user alice --password-file ./password --cafile ./ca.pem --no-system-trust'
    )
    if (localAuth.method !== 'eap') throw new Error('EAP is asked for')
    expect(localAuth.credentials.user).toBe('alice')
    expect(textOf(localAuth.credentials.password)).toBe('hunter2')
    expect(localAuth.credentials.tls).toBeUndefined()
    expect(formatIdentity(localIdentity)).toBe('alice')
    if (remoteAuth.method !== 'certificate') throw new Error('the gateway needs a certificate')
    expect(remoteAuth.trust.anchors).toHaveLength(1)
    const named = await credentialsOf(
      '--user alice --password-file ./password --identity laptop@example.org --cafile ./ca.pem'
    )
    expect(formatIdentity(named.localIdentity)).toBe('laptop@example.org')
  })

  it('are a certificate where one is given, and both where both are', async () => {
    const own = '--user alice --certificate ./rsa.pem --sslkey ./rsa.key --cafile ./ca.pem --no-system-trust'
    const { localAuth } = await credentialsOf(own)
    if (localAuth.method !== 'eap') throw new Error('EAP is asked for')
    expect(localAuth.credentials.password).toBeUndefined()
    expect(localAuth.credentials.tls?.certificateChain).toMatch(/^-----BEGIN CERTIFICATE-----/)
    expect(textOf(localAuth.credentials.tls?.privateKey)).toContain('PRIVATE KEY')
    expect(localAuth.credentials.tls?.trustAnchors).toHaveLength(1)
    const both = await credentialsOf(`${own} --password-file ./password`)
    if (both.localAuth.method !== 'eap') throw new Error('EAP is asked for')
    expect(textOf(both.localAuth.credentials.password)).toBe('hunter2')
    expect(both.localAuth.credentials.tls).toBeDefined()
  })

  it('never show a secret when they are printed', async () => {
    const credentials = await credentialsOf('--user alice --password-file ./password --cafile ./ca.pem')
    expect(JSON.stringify(credentials.localAuth)).not.toContain('hunter2')
  })
})

describe('credentials with a certificate', () => {
  it.each([
    ['PEM with the key beside it', '--certificate ./rsa.pem --sslkey ./rsa.key'],
    [
      'PEM with an encrypted key',
      '--certificate ./ec.pem --sslkey ./ec.pkcs8.enc --key-password-file ./password'
    ],
    ['certificate and key in one file', '--certificate ./combined.pem'],
    ['a key in DER', '--certificate ./ec.pem --sslkey ./ec.der'],
    ['a certificate in DER', '--certificate ./dns.crt --sslkey ./dns.key'],
    ['PKCS#12 of today', '--certificate ./ec.modern.p12 --key-password-file ./password'],
    ['PKCS#12 of yesterday', '--certificate ./rsa.legacy.p12 --key-password-file ./password'],
    ['PKCS#12 without a password', '--certificate ./ec.nopass.p12']
  ])('are read from %s', async (_, line) => {
    const { localAuth } = await credentialsOf(`${line} --cafile ./ca.pem`)
    if (localAuth.method !== 'certificate') throw new Error('a certificate is given')
    expect(localAuth.chain.length).toBeGreaterThan(0)
  })

  it.each([
    ['the first DNS name', 'dns', '', 'laptop.example.org'],
    ['the e-mail address', 'mail', '', 'alice@example.org'],
    ['the subject', 'none', '', expect.stringContaining('CN=Alice Laptop')],
    ['what is asked for', 'dns', '--identity @#0102', '@#0102']
  ])('are known by %s', async (_, name, extra, wanted) => {
    const line = `--certificate ./${name}.crt --sslkey ./${name}.key --cafile ./ca.pem ${extra}`
    expect(formatIdentity((await credentialsOf(line)).localIdentity)).toEqual(wanted)
  })
})

describe('credentials that do not fit', () => {
  it.each([
    ['', 'no-credentials', 64],
    ['--psk-file ./psk', 'no-identity', 64],
    ['--psk-file ./psk --identity a.b --certificate ./ec.pem', 'contradicting-credentials', 64],
    ['--psk-file ./nowhere --identity a.b', 'secret-file', 66],
    ['--user alice', 'secret-needed', 64],
    ['--user alice --password-file ./nowhere', 'secret-file', 66],
    ['--password-file ./password', 'incomplete-credentials', 64],
    ['--password-file ./password --certificate ./combined.pem', 'incomplete-credentials', 64],
    ['--sslkey ./ec.key', 'incomplete-credentials', 64],
    ['--user alice --password-file ./password --sslkey ./ec.key', 'incomplete-credentials', 64],
    ['--key-password-file ./password', 'incomplete-credentials', 64],
    ['--certificate ./ec.pem', 'no-private-key', 64],
    ['--certificate ./ec.pem --sslkey ./rsa.key', 'key-mismatch', 78],
    ['--certificate ./rubbish --sslkey ./rsa.key', expect.any(String), 65],
    ['--certificate ./nowhere', 'file-unreadable', 66],
    ['--certificate ./ec.pem --sslkey ./nowhere', 'file-unreadable', 66],
    ['--certificate ./ec.pem --sslkey ./rubbish', 'private-key-unreadable', 65],
    ['--certificate ./ec.pem --sslkey ./ec.pkcs8.enc', 'secret-needed', 64],
    [
      '--certificate ./ec.pem --sslkey ./ec.pkcs8.enc --key-password-file ./wrong',
      'private-key-wrong-password',
      65
    ],
    ['--certificate ./ec.modern.p12', 'secret-needed', 64],
    ['--certificate ./ec.modern.p12 --key-password-file ./wrong', 'pkcs12-wrong-password', 65],
    ['--certificate ./nokey.p12 --key-password-file ./password', expect.stringMatching(/^pkcs12-/), 65],
    ['--certificate ./combined.pem --no-system-trust', 'no-trust', 64],
    ['--certificate ./combined.pem --cafile ./nowhere', 'file-unreadable', 66],
    ['--certificate ./combined.pem --cafile ./ca.pem --crlfile ./rubbish', expect.any(String), 65],
    ['--psk-file ./psk --identity @#xyz', 'bad-identity', 78]
  ])('%s', async (line, code, exitCode) => {
    await expect(load(line)).rejects.toMatchObject({ code, exitCode })
  })

  it('a password on standard input without a user', async () => {
    await expect(load('--certificate ./combined.pem', true)).rejects.toMatchObject({
      code: 'incomplete-credentials'
    })
  })

  it('warns of secrets that others can read', async () => {
    await writeFile(at('open'), 'hunter2', { mode: 0o644 })
    const { logged } = await load('--user a --password-file ./open --cafile ./ca.pem')
    expect(logged.join()).toMatch(/warn .*open can be read by other users/)
  })
})

describe('an encrypted key', () => {
  it.each(['ec.modern.p12', 'ec.pem'])(
    'is asked for once, and only when there is no password yet (%s)',
    async (name) => {
      let asked = 0
      const ask = async (): Promise<Secret> => {
        asked++
        return new Secret('hunter2')
      }
      const key = name === 'ec.pem' ? at('ec.pkcs8.enc') : undefined
      await loadCertificateAndKey(at(name), key, undefined, ask)
      expect(asked).toBe(1)
      await expect(loadCertificateAndKey(at(name), key, new Secret('wrong'), ask)).rejects.toThrow()
      expect(asked).toBe(1)
    }
  )
})
