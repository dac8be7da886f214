/** `ikestream profile`: which profiles there are, and where each value comes from. Runs the compiled program. */
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { profileKeys } from '../../../src/cli/option-specs.ts'
import type { Setting } from '../../../src/cli/profile-report.ts'
import { type CommandResult, tryCommand } from '../../support/run-command.ts'

const PROGRAM = join(import.meta.dirname, '..', '..', '..', 'bin', 'ikestream.js')
const SECRET = 'nobody may read this'
const PROXY = `http://user:${encodeURIComponent(SECRET)}@proxy.example:3128`

let directory: string
let profiles: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'profiles-'))
  profiles = join(directory, 'ikestream')
  await mkdir(profiles)
  await writeFile(join(profiles, 'work.pass'), SECRET, { mode: 0o600 })
  await writeFile(join(profiles, 'loose.pass'), SECRET)
  await chmod(join(profiles, 'loose.pass'), 0o644)
  await writeFile(
    join(profiles, 'work.toml'),
    `server = "vpn.example.com"
[auth]
user = "alice"
password-file = "work.pass"
cafile = ["gone.pem"]
[transport]
order = ["tls"]
proxy = "${PROXY}"
[tunnel]
dns = false
mtu = 1300
[session]
dpd = 10
`
  )
  await writeFile(
    join(profiles, 'loose.toml'),
    'server = "loose.example"\n[auth]\nuser = "a"\npassword-file = "loose.pass"\n'
  )
  await writeFile(join(profiles, 'broken.toml'), 'server =')
})
afterAll(() => rm(directory, { recursive: true }))

function run(args: readonly string[], env: Record<string, string> = {}): Promise<CommandResult> {
  const own = { PATH: '/usr/bin:/bin', NO_COLOR: '1', HOME: directory, XDG_CONFIG_HOME: directory }
  return tryCommand([process.execPath, PROGRAM, 'profile', ...args], { env: { ...own, ...env } })
}

async function settings(
  args: readonly string[] = [],
  env: Record<string, string> = {}
): Promise<Map<string, Setting>> {
  const { stdout, stderr, exitCode } = await run(['show', 'work', '--json', ...args], env)
  expect({ stderr, exitCode }).toEqual({ stderr: '', exitCode: 0 })
  expect(stdout).not.toContain(SECRET)
  const document = JSON.parse(stdout) as { settings: Setting[] }
  expect(document).toMatchObject({
    schemaVersion: 1,
    name: 'work',
    path: join(profiles, 'work.toml'),
    server: 'vpn.example.com'
  })
  return new Map(document.settings.map((setting) => [setting.key, setting]))
}

describe('profile show', () => {
  it('has every setting that a profile may have', async () => {
    const known = Object.entries(profileKeys()).flatMap(([group, keys]) =>
      keys.map((key) => `${group}.${key}`)
    )
    expect([...(await settings()).keys()]).toEqual(known)
  })

  it('tells of each value where it comes from: option, environment, profile, default, or the program itself', async () => {
    const shown = await settings(['--user', 'bob', '--no-routes'], {
      IKESTREAM_MTU: '1400',
      IKESTREAM_PERSIST: '1'
    })
    const file = join(profiles, 'work.toml')
    const wanted: Record<string, Partial<Setting>> = {
      'auth.user': { value: 'bob', source: 'option', from: '--user' },
      'tunnel.routes': { value: false, source: 'option', from: '--no-routes' },
      'tunnel.mtu': { value: 1400, source: 'environment', from: 'IKESTREAM_MTU' },
      'session.persist': { value: true, source: 'environment', from: 'IKESTREAM_PERSIST' },
      'auth.password-file': {
        value: join(profiles, 'work.pass'),
        source: 'profile',
        from: `${file}: auth.password-file`
      },
      'tunnel.dns': { value: false, source: 'profile', from: `${file}: tunnel.dns` },
      'session.dpd': { value: 10, source: 'profile', from: `${file}: session.dpd` },
      'transport.order': { value: ['tls'], source: 'profile' },
      'transport.tcp-port': { value: 4500, source: 'default', from: null },
      'transport.tls-verify': { value: false, source: 'default' },
      'session.child-lifetime': { value: '1 h', source: 'built-in', from: null },
      'auth.remote-identity': { value: "the server's name", source: 'built-in' },
      'auth.psk-file': { value: null, source: 'built-in' },
      'auth.esp-proposal': {
        value: expect.arrayContaining([expect.stringMatching(/aes/)]),
        source: 'built-in'
      }
    }
    for (const [key, setting] of Object.entries(wanted)) expect(shown.get(key), key).toMatchObject(setting)
  })

  it('shows a proxy without its password', async () => {
    expect((await settings()).get('transport.proxy')?.value).toBe('http://proxy.example:3128')
    const given = await settings([], { IKESTREAM_PROXY: `no scheme ${SECRET}` })
    expect(given.get('transport.proxy')?.value).toBe('[not a proxy]')
  })

  it('says what is wrong with files', async () => {
    const shown = await settings()
    expect(shown.get('auth.cafile')?.problem).toMatch(/gone\.pem cannot be read \(ENOENT\)/)
    expect(shown.get('auth.password-file')?.problem).toBeNull()
    const { stdout } = await run(['show', 'loose'])
    expect(stdout).toMatch(/! .*loose\.pass can be read by others/)
  })

  it('is a table for people', async () => {
    const { stdout, stderr, exitCode } = await run(['show', 'work'])
    expect({ stderr, exitCode }).toEqual({ stderr: '', exitCode: 0 })
    expect(stdout).toMatch(/^work: vpn\.example\.com \(\S+work\.toml\)\n\nAuthentication\n/)
    expect(stdout).toMatch(/^ {2}user +alice +work\.toml: auth\.user$/m)
    expect(stdout).toMatch(/^ {2}dns +no +/m)
    expect(stdout).not.toContain(SECRET)
  })

  it.each([
    ['wrk', 66, /no profile "wrk"\.\n.*Did you mean work\?/],
    ['entirely-different', 66, /Profiles are .*<name>\.toml/],
    ['broken', 65, /not valid TOML/]
  ])('%s', async (name, exitCode, message) => {
    expect(await run(['show', name])).toMatchObject({
      exitCode,
      stdout: '',
      stderr: expect.stringMatching(message)
    })
  })
})

describe('profile list', () => {
  it('names each profile, its server, and what cannot be used', async () => {
    const { stdout, exitCode } = await run(['list'])
    expect(exitCode).toBe(0)
    expect(stdout).toContain(`work    vpn.example.com  ${join(profiles, 'work.toml')}\n`)
    expect(stdout).toMatch(/^broken {2}! The profile .* is not valid TOML/m)
    const document = JSON.parse((await run(['list', '--json'])).stdout) as { profiles: unknown[] }
    expect(document.profiles).toContainEqual({
      name: 'work',
      path: join(profiles, 'work.toml'),
      server: 'vpn.example.com',
      problem: null
    })
  })

  it('says so when there is none', async () => {
    const { stdout, stderr, exitCode } = await run(['list'], { XDG_CONFIG_HOME: join(directory, 'nowhere') })
    // Root may have profiles of the system's.
    if (process.getuid?.() !== 0) expect({ stdout, exitCode }).toEqual({ stdout: '', exitCode: 0 })
    if (stdout === '') expect(stderr).toMatch(/No profiles in/)
  })
})
