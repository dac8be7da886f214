import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { afterAll, describe, expect, it } from 'vitest'
import { resolveGatewayOptions } from '../../../src/cli/gateway-resolve.ts'
import { addGatewayOptions, applyConfigFile, type GatewayFlags } from '../../../src/cli/gateway-settings.ts'
import { formatIdentity } from '../../../src/ike/auth/identity.ts'
import { silentLogger } from '../../../src/log.ts'
import { formatCidr } from '../../../src/wire/cidr.ts'

const directory = mkdtempSync(join(tmpdir(), 'ikestream-settings-'))
afterAll(() => rmSync(directory, { recursive: true }))
const users = join(directory, 'users')
writeFileSync(users, 'alice:secret\n', { mode: 0o600 })

function parsed(args: readonly string[], config?: string): GatewayFlags {
  const command = addGatewayOptions(new Command('gateway')).exitOverride()
  command.configureOutput({ writeErr: () => undefined })
  command.parse([...args], { from: 'user' })
  if (config !== undefined) applyConfigFile(command, config, '/etc/ikestream/gw.toml')
  return command.opts<GatewayFlags>()
}
const resolved = (args: readonly string[], config?: string) =>
  resolveGatewayOptions(parsed(['--users-file', users, ...args], config), directory, silentLogger)

describe('options of the gateway', () => {
  it('have the defaults of the manual', async () => {
    const options = await resolved(['--identity', 'gw.test'])
    expect(options).toMatchObject({
      listen: [],
      ports: { ike: 500, natT: 4500, tcp: 4500, tls: 443 },
      udp: true,
      tcp: true,
      tls: true,
      cookies: 'auto',
      maxHalfOpen: 1024,
      dns: [],
      dnsDomains: [],
      localTs: [],
      timers: {}
    })
    expect(options.pools.map(formatCidr)).toContain('10.99.0.0/24')
    expect([...options.users.keys()]).toEqual(['alice'])
    expect(options.cafile).toBe(join(directory, 'gateway', 'ca.pem'))
  })

  it('are taken from the command line', async () => {
    const options = await resolved([
      ...['--listen', '10.0.0.1', '--listen', '[fd00::1]', '--identity', 'gw.test', '--no-tcp'],
      ...['--pool', '10.5.0.0/16', '--dns', '10.5.0.1', '--local-ts', '10.0.0.0/8', '--interface', 'gw0'],
      ...['--udp-port', '1500', '--nat-t-port', '1501', '--tls-port', '8443', '--cookies', 'always'],
      ...['--dns-domain', 'corp.example', '--dns-domain', 'lab.example'],
      ...['--max-half-open', '7', '--ike-lifetime', '60', '--child-lifetime', '30'],
      ...['--ike-proposal', 'aes256gcm16-prfsha384-ecp384', '--esp-proposal', 'aes256gcm16-noesn']
    ])
    expect(options).toMatchObject({
      listen: ['10.0.0.1', 'fd00::1'],
      ports: { ike: 1500, natT: 1501, tcp: 4500, tls: 8443 },
      tcp: false,
      tls: true,
      interfaceName: 'gw0',
      dns: ['10.5.0.1'],
      dnsDomains: ['corp.example', 'lab.example'],
      cookies: 'always',
      maxHalfOpen: 7,
      timers: { ikeLifetimeMs: 60_000, childLifetimeMs: 30_000 }
    })
    expect(options.pools.map(formatCidr)).toEqual(['10.5.0.0/16'])
    expect(options.localTs.map(formatCidr)).toEqual(['10.0.0.0/8'])
    expect(formatIdentity(options.identity)).toBe('gw.test')
    expect(options.ikeProposals).toHaveLength(1)
  })

  it.each([
    [['--listen', 'gw.example.com'], 'bad-address'],
    [['--dns', '10.0.0.256'], 'bad-address'],
    [['--dns-domain', '~.'], 'bad-domain'],
    [['--pool', '10.0.0.0/33'], 'bad-network'],
    [['--local-ts', 'everything'], 'bad-network'],
    [['--sslkey', '/dev/null'], 'key-without-certificate']
  ])('%j is a usage error', async (args, code) => {
    await expect(resolved(args)).rejects.toMatchObject({ code, exitCode: 64 })
  })

  it.each([
    ['--tcp-port', '0'],
    ['--tcp-port', '1.5'],
    ['--max-half-open', 'many'],
    ['--cookies', 'sometimes'],
    ['--ike-lifetime', '-1']
  ])('%s %s is refused by the parser', (name, value) => {
    expect(() => parsed([name, value])).toThrow(expect.objectContaining({ exitCode: 1 }))
  })

  it('an identity that no certificate can carry leaves the certificate to the addresses', async () => {
    const options = await resolved(['--identity', '@#0102', '--listen', '10.7.7.7'])
    expect(formatIdentity(options.identity)).toBe('@#0102')
  })
})

describe('the configuration file of the gateway', () => {
  it('has the options under the same names, with files beside it; the command line wins', () => {
    const flags = parsed(
      ['--tls-port', '8443', '--pool', '10.1.0.0/16'],
      `listen = "10.0.0.1"
       pool = ["10.2.0.0/16", "fd00::/64"]
       tls-port = 9443
       tcp-port = 4501
       no-udp = true
       no-tls = false
       users-file = "users"
       psk-file = "/root/psk"
       client-cafile = ["ca.pem"]
       cookies = "never"`
    )
    expect(flags).toMatchObject({
      listen: ['10.0.0.1'],
      pool: ['10.1.0.0/16'],
      tlsPort: 8443,
      tcpPort: 4501,
      udp: false,
      tls: true,
      tcp: true,
      usersFile: '/etc/ikestream/users',
      pskFile: '/root/psk',
      clientCafile: ['/etc/ikestream/ca.pem'],
      cookies: 'never'
    })
  })

  it('names the nearest known key', () => {
    expect(() => parsed([], 'pol = "10.0.0.0/8"')).toThrow(
      expect.objectContaining({ code: 'config-unknown-key', hint: 'Did you mean pool?', exitCode: 78 })
    )
    expect(() => parsed([], '[pool]\nx = 1')).toThrow(expect.objectContaining({ code: 'config-bad-value' }))
  })

  it.each([
    ['tcp-port = "4500"', 'a whole number from 1 to 65535'],
    ['tcp-port = 4500.5', 'a whole number'],
    ['no-udp = 1', 'true or false'],
    ['identity = ["a", "b"]', 'one text'],
    ['dns = [1]', 'text'],
    ['cookies = "sometimes"', 'auto or always or never']
  ])('%s is refused', (text, wanted) => {
    expect(() => parsed([], text)).toThrow(
      expect.objectContaining({ code: 'config-bad-value', message: expect.stringContaining(wanted) })
    )
  })

  it('says where it is no TOML', () => {
    expect(() => parsed([], 'listen = \n')).toThrow(
      expect.objectContaining({
        code: 'config-syntax',
        message: expect.stringContaining('line 1'),
        exitCode: 65
      })
    )
  })
})
