/** The command itself: what it writes, what it says, and what it leaves alone. Runs the compiled program. */
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { findProfile } from '../../../../src/cli/profile.ts'
import {
  createCertificateAuthority,
  issueServerCertificate
} from '../../../../src/crypto/certificate-authority.ts'
import { openSignedMessage } from '../../../../src/crypto/cms.ts'
import {
  algoCertificate,
  configurationProfile,
  configuratorEap,
  ikev2Payload,
  sharedSecret,
  sswanEap
} from '../../../support/import-fixtures.ts'
import { describeWith } from '../../../support/require.ts'
import { type CommandResult, runCommand, tryCommand } from '../../../support/run-command.ts'

const PROGRAM = join(import.meta.dirname, '..', '..', '..', '..', 'bin', 'ikestream.js')
const VALIDITY = { notBeforeMs: 0, notAfterMs: 4e12 }
const CA = createCertificateAuthority('Import CA', VALIDITY)
const PLACE = { server: 'vpn.example.com', identity: 'gw.example.com' }
const SECRET = 'kept in a file of its own'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'import-'))
})
afterEach(() => rm(directory, { recursive: true }))

const file = async (name: string, contents: string | Uint8Array): Promise<string> => {
  const path = join(directory, name)
  await writeFile(path, contents)
  return path
}
const output = (): string => join(directory, 'profiles')

async function run(...args: readonly string[]): Promise<CommandResult> {
  const env = {
    PATH: '/usr/bin:/bin',
    NO_COLOR: '1',
    HOME: directory,
    XDG_CONFIG_HOME: join(directory, 'xdg')
  }
  return tryCommand([process.execPath, PROGRAM, 'import', ...args], { env })
}

const importTo = (path: string, ...args: readonly string[]) => run(path, '--output', output(), ...args)

describe('ikestream import', () => {
  it('writes a profile that the loader accepts, and secrets that are their owner alone', async () => {
    const path = await file('office.mobileconfig', configuratorEap(PLACE, CA.certificate, 'alice', SECRET))
    const result = await importTo(path)
    expect(result).toMatchObject({ exitCode: 0, stdout: `${join(output(), 'Office.toml')}\n` })
    expect(result.stderr).toContain(`ikestream connect ${join(output(), 'Office.toml')}`)
    expect(result.stderr).toContain('Left out: PayloadContent[0].IKEv2.DeadPeerDetectionRate')
    const profile = findProfile(join(output(), 'Office.toml'), [])
    expect(profile?.server).toBe('vpn.example.com')
    expect(Object.fromEntries(profile?.values ?? [])).toMatchObject({
      user: 'alice',
      'password-file': join(output(), 'Office.pass'),
      cafile: [join(output(), 'Office-ca.pem')]
    })
    expect(await readFile(join(output(), 'Office.pass'), 'utf8')).toBe(`${SECRET}\n`)
    expect(await readFile(join(output(), 'Office.toml'), 'utf8')).not.toContain(SECRET)
    expect((await stat(output())).mode & 0o777).toBe(0o700)
    for (const name of ['Office.toml', 'Office.pass'])
      expect((await stat(join(output(), name))).mode & 0o777).toBe(0o600)
    expect(`${result.stdout}${result.stderr}`).not.toContain(SECRET)
  })

  it('says the name alone where that is enough to find it', async () => {
    const path = await file('office.sswan', sswanEap(PLACE, CA.certificate, 'alice', SECRET))
    const folder = join(directory, 'xdg', 'ikestream')
    const { exitCode, stdout, stderr } = await run(path, '--name', 'work', '--output', folder)
    expect(exitCode).toBe(0)
    expect(stdout).toBe(`${join(folder, 'work.toml')}\n`)
    expect(stderr).toContain('ikestream connect work\n')
  })

  it('overwrites nothing unasked, and what cannot be finished leaves nothing behind', async () => {
    const path = await file(
      'a.mobileconfig',
      algoCertificate(PLACE, CA.certificate, Uint8Array.of(48, 0), SECRET, 'a@b')
    )
    await mkdir(output())
    await writeFile(join(output(), 'Office-ca.pem'), 'mine')
    const refused = await importTo(path)
    expect(refused.exitCode).toBe(64)
    expect(refused.stderr).toMatch(/Office-ca\.pem is there already\.\n.*--name.*--force/)
    expect(await readdir(output())).toEqual(['Office-ca.pem'])
    expect(await readFile(join(output(), 'Office-ca.pem'), 'utf8')).toBe('mine')
    expect((await importTo(path, '--force')).exitCode).toBe(0)
    expect(await readFile(join(output(), 'Office-ca.pem'), 'utf8')).toContain('BEGIN CERTIFICATE')
    expect((await importTo(path, '--name', 'other')).exitCode).toBe(0)
  })

  it('does not write through a link that somebody has put there', async () => {
    const path = await file('a.mobileconfig', sharedSecret(PLACE, 'a@b', SECRET))
    const victim = await file('victim', 'untouched')
    await mkdir(output())
    await symlink(victim, join(output(), 'Office.psk'))
    expect((await importTo(path)).exitCode).toBe(64)
    expect((await importTo(path, '--force')).exitCode).toBe(0)
    expect(await readFile(victim, 'utf8')).toBe('untouched')
  })

  it('keeps names inside the folder, whatever the file calls its connections', async () => {
    const payloads = ['../../evil', '/etc/passwd', '.hidden', 'Büro & Co.', '日本', '日本', 'a.toml'].map(
      (name) => ({
        ...ikev2Payload({ SharedSecret: 'x' }),
        UserDefinedName: name
      })
    )
    const { exitCode, stdout } = await importTo(await file('a.mobileconfig', configurationProfile(payloads)))
    expect(exitCode).toBe(0)
    const names = ['evil', 'etc-passwd', 'hidden', 'Buro-Co', 'imported', 'imported-2', 'a']
    expect(stdout).toBe(names.map((name) => `${join(output(), `${name}.toml`)}\n`).join(''))
    expect((await readdir(output())).sort()).toEqual(
      names.flatMap((name) => [`${name}.psk`, `${name}.toml`]).sort()
    )
  })

  it('refuses one name for several connections, and a name that is a path', async () => {
    const two = configurationProfile([
      ikev2Payload({ SharedSecret: 'x' }),
      ikev2Payload({ SharedSecret: 'y' })
    ])
    expect(await importTo(await file('a.mobileconfig', two), '--name', 'b')).toMatchObject({
      exitCode: 64,
      stderr: expect.stringMatching(/holds 2 connections/)
    })
    const one = await file('b.mobileconfig', sharedSecret(PLACE, 'a@b', SECRET))
    expect(await importTo(one, '--name', '../b')).toMatchObject({
      exitCode: 64,
      stderr: expect.stringMatching(/cannot be the name/)
    })
  })

  it.each<[string, string | undefined, number, RegExp]>([
    ['a file that is not there', undefined, 66, /cannot be read \(ENOENT\)/],
    ['a file of another kind', 'hello', 65, /neither a \.mobileconfig nor a \.sswan/],
    ['entities', '<!DOCTYPE plist [<!ENTITY a "b">]><plist/>', 65, /DOCTYPE/],
    ['a zero byte', '{"a":\0}', 65, /JSON/]
  ])('%s', async (_, contents, exitCode, message) => {
    const path = contents === undefined ? join(directory, 'nowhere') : await file('x', contents)
    const result = await importTo(path)
    expect(result).toMatchObject({ exitCode, stdout: '', stderr: expect.stringMatching(message) })
    expect(await readdir(directory)).not.toContain('profiles')
  })

  it('does not fill the terminal with what a file that is made for it leaves out', async () => {
    const odd = Object.fromEntries(Array.from({ length: 5_000 }, (_, index) => [`Odd${index}`, 'x']))
    const text = configurationProfile([ikev2Payload({ SharedSecret: 'x', ...odd })])
    const { exitCode, stderr } = await importTo(await file('a.mobileconfig', text))
    expect(exitCode).toBe(0)
    expect(stderr.split('\n').length).toBeLessThan(60)
    expect(stderr).toMatch(/Left out: 4950 more/)
  })

  it('says with --json what it did and what it left out', async () => {
    const path = await file('a.mobileconfig', configuratorEap(PLACE, CA.certificate, 'alice', SECRET))
    const { stdout, stderr } = await importTo(path, '--json')
    expect(stderr).toBe('')
    const [about, imported] = stdout
      .trim()
      .split('\n')
      .map((line): unknown => JSON.parse(line))
    expect(about).toMatchObject({ schemaVersion: 1, event: 'file', signed: false, signer: null, leftOut: [] })
    expect(imported).toMatchObject({
      event: 'imported',
      name: 'Office',
      profile: join(output(), 'Office.toml'),
      server: 'vpn.example.com',
      files: [
        { path: join(output(), 'Office.pass'), option: 'password-file', secret: true },
        { path: join(output(), 'Office-ca.pem'), option: 'cafile', secret: false }
      ],
      leftOut: [
        { setting: 'PayloadContent[0].IKEv2.DeadPeerDetectionRate', reason: expect.stringMatching(/./) }
      ]
    })
  })
})

describeWith('openssl')('a signed profile', () => {
  const signer = issueServerCertificate(CA, ['signer.example.com'], VALIDITY)

  async function sign(text: string, ...how: readonly string[]): Promise<string> {
    const key = await file('signer.pem', `${signer.certificatePem}${signer.privateKeyPem.revealText()}`)
    const plain = await file('plain', text)
    const signed = join(directory, 'signed.mobileconfig')
    const files = ['-in', plain, '-out', signed, '-signer', key]
    await runCommand(['openssl', 'cms', '-sign', '-binary', '-nodetach', '-outform', 'DER', ...files, ...how])
    return signed
  }

  it.each<[string, readonly string[]]>([
    ['in one piece', []],
    ['streamed, with indefinite lengths and pieces', ['-stream']],
    ['whose signer is named by a key identifier', ['-keyid']]
  ])('%s is unwrapped, its signer is named, and nothing is promised', async (_, how) => {
    const path = await sign(sharedSecret(PLACE, 'a@b', SECRET), ...how)
    const { exitCode, stderr } = await importTo(path)
    expect(exitCode).toBe(0)
    expect(stderr).toMatch(/signed by .*signer\.example\.com.*\. The signature was not checked\./)
    expect(await readFile(join(output(), 'Office.psk'), 'utf8')).toBe(`${SECRET}\n`)
  })

  it('without the signer in it is unwrapped, too', async () => {
    const path = await sign(sharedSecret(PLACE, 'a@b', SECRET), '-nocerts')
    expect((await importTo(path)).stderr).toMatch(/somebody whose certificate is not in it/)
  })

  it('in PEM is unwrapped, too', async () => {
    const path = await sign(sharedSecret(PLACE, 'a@b', SECRET))
    const pem = join(directory, 'signed.pem')
    await runCommand([
      'openssl',
      'cms',
      '-cmsout',
      '-inform',
      'DER',
      '-in',
      path,
      '-outform',
      'PEM',
      '-out',
      pem
    ])
    expect((await importTo(pem)).exitCode).toBe(0)
  })

  it('that is encrypted instead is refused', async () => {
    const plain = await file('plain', 'x')
    const recipient = await file('recipient.pem', signer.certificatePem)
    const path = join(directory, 'encrypted')
    const how = ['-encrypt', '-aes256', '-binary', '-outform', 'DER', '-in', plain, '-out', path]
    await runCommand(['openssl', 'cms', ...how, recipient])
    expect(await importTo(path)).toMatchObject({
      exitCode: 65,
      stderr: expect.stringMatching(/is encrypted/)
    })
  })

  it('that was cut or changed anywhere never makes the reader throw', async () => {
    const bytes = await readFile(await sign(sharedSecret(PLACE, 'a@b', SECRET), '-stream'))
    for (let length = 0; length < bytes.length; length += 7) openSignedMessage(bytes.subarray(0, length))
    for (let at = 0; at < bytes.length; at++) {
      const changed = Uint8Array.from(bytes)
      changed[at] = 0x80
      expect(['signed', 'encrypted', 'unknown']).toContain(openSignedMessage(changed).kind)
    }
  })
})
