import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { nearest } from '../../../src/cli/nearest.ts'
import { profileKeys } from '../../../src/cli/option-specs.ts'
import { findProfile, parseProfile } from '../../../src/cli/profile.ts'
import { ConfigurationError, DataError, InputError } from '../../../src/errors.ts'

const parse = (text: string) =>
  parseProfile(`server = "vpn.example.com"\n${text}`, '/etc/ikestream/work.toml')

function errorOf(text: string): ConfigurationError {
  try {
    parse(text)
  } catch (error) {
    if (error instanceof ConfigurationError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

describe('a profile', () => {
  it('takes its name from the file and its server from the text', () => {
    expect(parse('')).toMatchObject({
      name: 'work',
      server: 'vpn.example.com',
      path: '/etc/ikestream/work.toml'
    })
  })

  it('reads the example of the manual', () => {
    const { values } = parse(`
[auth]
user = "alice"
password-file = "alice.pass"
cafile = ["corp-ca.pem", "/etc/ssl/other.pem"]
[transport]
order = ["udp", "tcp", "tls"]
tls-name = "www.example.com"
proxy = "auto"
[tunnel]
remote-ts = ["10.0.0.0/8"]
dns = true
mtu = 1400
[session]
timeout = 12.5
persist = false
`)
    expect(Object.fromEntries(values)).toEqual({
      user: 'alice',
      // Files are relative to the profile.
      'password-file': '/etc/ikestream/alice.pass',
      cafile: ['/etc/ikestream/corp-ca.pem', '/etc/ssl/other.pem'],
      order: ['udp', 'tcp', 'tls'],
      'tls-name': 'www.example.com',
      'remote-ts': ['10.0.0.0/8'],
      dns: true,
      mtu: 1400,
      timeout: 12.5,
      persist: false
    })
  })

  it('takes a text where a list may stand', () => {
    expect(parse('[auth]\ncafile = "ca.pem"').values.get('cafile')).toEqual(['/etc/ikestream/ca.pem'])
    expect(parse('[transport]\nproxy = false').values.get('proxy')).toBe(false)
  })

  it.each([
    ['psk-file', 'auth'],
    ['certificate', 'auth'],
    ['sslkey', 'auth'],
    ['key-password-file', 'auth'],
    ['crlfile', 'auth'],
    ['tls-cafile', 'transport'],
    ['script', 'tunnel']
  ])('reads %s relative to itself', (key, group) => {
    expect([parse(`[${group}]\n${key} = "x"`).values.get(key)].flat()).toEqual(['/etc/ikestream/x'])
  })

  it.each([
    ['[auth]\nusr = "a"', 'auth.usr', 'Did you mean user?'],
    ['[auth]\npassword = "secret"', 'auth.password', 'Did you mean password-file?'],
    ['[tunel]\nmtu = 1400', 'tunel', 'Did you mean tunnel?'],
    ['[transport]\ntcp_port = 4500', 'transport.tcp_port', 'Did you mean tcp-port?'],
    ['[tunnel]\nuser = "a"', 'tunnel.user', 'Known here: '],
    ['[auth]\nzzzzzzzzzzzz = 1', 'auth.zzzzzzzzzzzz', 'Known here: '],
    ['[constructor]\nx = 1', 'constructor', 'Known here: '],
    ['[__proto__]\nx = 1', '__proto__', 'Known here: '],
    ['[auth]\ntoString = "x"', 'auth.toString', 'Known here: '],
    ['user = "alice"', 'user', '']
  ])('refuses the unknown key in %j and names a near one', (text, name, hint) => {
    const error = errorOf(text)
    expect(error.code).toBe('profile-unknown-key')
    expect(error.message).toContain(`${name} in /etc/ikestream/work.toml`)
    expect(error.hint).toContain(hint)
    expect(error.exitCode).toBe(78)
    expect(error.message + error.hint).not.toContain('secret')
  })

  it.each([
    ['auth = 1', 'auth in', 'must be a [auth] table'],
    ['auth = [1]', 'auth in', 'must be a [auth] table'],
    ['[auth]\nuser = 1', 'user', 'must be text'],
    ['[auth]\nuser = ["a", "b"]', 'user', 'must be one text'],
    ['[auth]\ncafile = [1]', 'cafile', 'must be text'],
    ['[auth]\nsystem-trust = "no"', 'system-trust', 'must be true or false'],
    ['[tunnel]\ndns = 1', 'dns', 'must be true or false'],
    ['[tunnel]\nmtu = "1400"', 'mtu', 'must be a whole number from 576 to 65000'],
    ['[tunnel]\nmtu = 100', 'mtu', 'must be a whole number from 576 to 65000'],
    ['[transport]\ntcp-port = 4500.5', 'tcp-port', 'must be a whole number from 1 to 65535'],
    ['[session]\ntimeout = nan', 'timeout', 'must be a number from 1 to 86400'],
    ['[session]\ntimeout = inf', 'timeout', 'must be a number from 1 to 86400'],
    ['[transport]\ntransport = "sctp"', 'transport', 'must be auto or udp or tcp or tls'],
    ['[transport]\nproxy = true', 'proxy', 'must be text']
  ])('refuses the value in %j', (text, name, wanted) => {
    const error = errorOf(text)
    expect(error.code).toBe('profile-bad-value')
    expect(error.message).toContain(name)
    expect(error.message).toContain(wanted)
  })

  it('says where it is not TOML, without repeating what stands there', () => {
    const bad = () => parse('[auth]\npassword = hunter2\n')
    expect(bad).toThrow(DataError)
    expect(bad).toThrow(/work\.toml is not valid TOML at line 3\./)
    expect(bad).not.toThrow(/hunter2/)
  })

  it.each(['', 'server = ""', 'server = 1', '[server]\nx = 1'])('needs a server (%j)', (text) => {
    expect(() => parseProfile(text, '/p.toml')).toThrow(
      expect.objectContaining({ code: 'profile-no-server' })
    )
  })

  it('is not read when it is far too large', () => {
    expect(() => parse(`# ${'x'.repeat(2 << 20)}`)).toThrow(
      expect.objectContaining({ code: 'profile-too-large' })
    )
  })

  it('has a place for every option, in one group only', () => {
    const all = Object.values(profileKeys()).flat()
    expect(new Set(all).size).toBe(all.length)
    expect(all.filter((key) => key.startsWith('no-'))).toEqual([])
  })
})

describe('finding a profile', () => {
  let root: string
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'profiles-'))
    for (const name of ['first', 'second']) await mkdir(join(root, name))
    await writeFile(join(root, 'first', 'both.toml'), 'server = "one"')
    await writeFile(join(root, 'second', 'both.toml'), 'server = "two"')
    await writeFile(join(root, 'second', 'late.toml'), 'server = "late"')
    await mkdir(join(root, 'second', 'folder.toml'))
  })
  afterAll(async () => {
    await chmod(root, 0o700)
    await rm(root, { recursive: true })
  })

  const find = (name: string) =>
    findProfile(
      name,
      ['first', 'missing', 'second'].map((directory) => join(root, directory))
    )

  it('looks in each folder in turn', () => {
    expect(find('both')?.server).toBe('one')
    expect(find('late')?.server).toBe('late')
  })

  it.each(['vpn.example.com', '2001:db8::1', '203.0.113.1', '[2001:db8::1]'])(
    'takes %s for a server',
    (name) => {
      expect(find(name)).toBeUndefined()
    }
  )

  it('reads the file that a path names, which must be there', () => {
    expect(find(join(root, 'second', 'late.toml'))?.name).toBe('late')
    expect(() => find(join(root, 'nowhere.toml'))).toThrow(InputError)
    expect(() => find('./nowhere')).toThrow(expect.objectContaining({ exitCode: 66 }))
  })

  it('says that what has its name cannot be read', () => {
    expect(() => find('folder')).toThrow(expect.objectContaining({ code: 'profile-unreadable' }))
  })
})

describe('the nearest name', () => {
  it.each([
    ['usr', ['user', 'certificate'], 'user'],
    ['cetrificate', ['user', 'certificate'], 'certificate'],
    ['tcp_port', ['tls-port', 'tcp-port', 'udp-port'], 'tcp-port'],
    ['password', ['identity', 'password-file'], 'password-file'],
    ['cert', ['user', 'certificate'], 'certificate'],
    ['ce', ['certificate'], undefined],
    ['x', ['user', 'certificate'], undefined],
    ['user', ['user'], 'user'],
    ['', ['ab', 'abcd'], 'ab'],
    ['anything', [], undefined]
  ])('%s among %j is %s', (word, candidates, wanted) => {
    expect(nearest(word, candidates)).toBe(wanted)
  })
})
