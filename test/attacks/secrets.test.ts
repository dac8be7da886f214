/**
 * Secrets, searched for wherever somebody else may look: everything that client and gateway say at their most talkative, what they
 * leave on the disk, process listings and environments, and what a child of theirs is given.
 */
import { chmod, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { issueClientCertificate } from '../../src/crypto/certificate-authority.ts'
import { ntPasswordHash } from '../../src/ike/eap/mschapv2.ts'
import type { IkestreamProcess } from '../support/ikestream-process.ts'
import {
  BRISK,
  GATEWAY_NAME,
  IkestreamSite,
  INNER_V4,
  PASSWORD,
  PSK,
  validity
} from '../support/ikestream-site.ts'
import { describeWith } from '../support/require.ts'

const LOUDEST = [
  '-v',
  '-v',
  '-v',
  '-v',
  '--log',
  'ike=trace,esp=trace,transport=trace,host=trace,session=trace'
]
/** The first 128 bits of each key (a salt may follow); SPIs are shorter. */
const KEY = /(?<![0-9a-f])[0-9a-f]{32}/g

const TICKET_KEYS = 'tickets.key'

/** A secret as it may be written down. */
function spellings(name: string, bytes: Uint8Array): [string, string][] {
  const buffer = Buffer.from(bytes)
  return [
    [`${name} as it is`, buffer.toString('latin1')],
    [`${name} in hex`, buffer.toString('hex')],
    [`${name} in base64`, buffer.toString('base64').replace(/=+$/, '')],
    [`${name} as a list`, [...buffer].join(',')]
  ]
}

/** The names of all secrets that stand in a text, in whatever case hex is written. */
function found(secrets: readonly (readonly [string, string])[], text: string): string[] {
  const [plain, lower] = [text, text.toLowerCase()]
  return secrets
    .filter(([name, secret]) => (name.endsWith('hex') ? lower.includes(secret) : plain.includes(secret)))
    .map(([name]) => name)
}

async function treeOf(folder: string): Promise<string> {
  const texts: string[] = []
  for (const name of await readdir(folder, { recursive: true })) {
    const path = join(folder, name)
    if ((await stat(path)).isFile()) texts.push(`${name}\n${(await readFile(path)).toString('latin1')}`)
  }
  return texts.join('\n')
}

describe('the search for secrets', () => {
  it('finds each spelling', () => {
    const secrets = spellings('a key', Uint8Array.from([0xca, 0xfe, 0xba, 0xbe]))
    for (const [name, text] of secrets) expect(found(secrets, `before ${text} behind`)).toEqual([name])
    expect(found(secrets, 'before CAFEBABE behind')).toEqual(['a key in hex'])
    expect(found(secrets, 'nothing at all')).toEqual([])
  })
})

describeWith('namespaces', 'tun')('secrets', () => {
  let site: IkestreamSite
  let gateway: IkestreamProcess
  let keys: string
  let scriptLog: string
  let client: IkestreamProcess
  let listing: string
  let status: string
  const privateKeys: string[] = []

  beforeAll(async () => {
    site = await IkestreamSite.open()
    await site.startWebServer()
    gateway = await site.startGateway([...LOUDEST, '--child-lifetime', '4', ...(await site.gatewayArgs())])
    privateKeys.push(await readFile(join(site.directory, 'gateway.key'), 'utf8'))
    keys = join(site.directory, 'keys')
    scriptLog = join(site.directory, 'script.log')
    const script = join(site.directory, 'vpnc-script')
    // What a child is given, and what it can see of who started it.
    await writeFile(
      script,
      `#!/bin/sh
{ env; cat /proc/$$/cmdline; ls -l /proc/$$/fd; cat /proc/$PPID/cmdline /proc/$PPID/environ; } >> ${scriptLog}
[ "$reason" = connect ] || exit 0
ip link set dev "$TUNDEV" mtu "$INTERNAL_IP4_MTU" up
ip addr add "$INTERNAL_IP4_ADDRESS/32" dev "$TUNDEV"
ip route add ${INNER_V4} dev "$TUNDEV"
`
    )
    await chmod(script, 0o755)
    const args = [
      ...LOUDEST,
      ...BRISK,
      ...(await site.asUser()),
      '--unsafe-dump-keys',
      keys,
      '--script',
      script
    ]
    client = site.connect(site.gatewayAddress, args)
    await client.event('connected')
    expect(await site.reaches(INNER_V4)).toBe(true)
    await client.event('rekeyed')
    const listed = await site.client.run([
      'sh',
      '-c',
      'cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr "\\0" "\\n"'
    ])
    listing = listed.stdout
    status = (await site.command(['status', '--json'])).stdout
    client.kill('SIGUSR1')
    client.kill('SIGUSR2')
    await client.event('path-changed')
    await client.stop()
  })
  afterAll(() => site?.close())

  async function allSecrets(): Promise<[string, string][]> {
    const dumped = new Set((await treeOf(keys)).match(KEY))
    // IKE SA, Child SA and its successor, each with a key for either direction.
    expect(dumped.size).toBeGreaterThanOrEqual(6)
    return [
      ...spellings('the password', Buffer.from(PASSWORD)),
      ...spellings('the password in UTF-16', Buffer.from(PASSWORD, 'utf16le')),
      ...spellings('the hash of the password', ntPasswordHash(Buffer.from(PASSWORD))),
      ...spellings('the pre-shared key', Buffer.from(PSK)),
      ...(
        (await readFile(join(site.directory, 'gateway-0', 'gateway', TICKET_KEYS), 'utf8')).match(KEY) ?? []
      ).flatMap((hex, index) => spellings(`ticket key ${index}`, Buffer.from(hex, 'hex'))),
      ...[...dumped].flatMap((hex, index) => spellings(`session key ${index}`, Buffer.from(hex, 'hex'))),
      ...privateKeys.map((pem, index): [string, string] => [
        `private key ${index}`,
        pem.split('\n')[1] ?? pem
      ])
    ]
  }

  it('are there to be found: in the files that were made for them', async () => {
    const secrets = await allSecrets()
    const names = found(
      secrets,
      `${await treeOf(keys)}${await readFile(join(site.directory, 'password'), 'utf8')}`
    )
    expect(names).toContain('the password as it is')
    expect(names.filter((name) => name.startsWith('session key')).length).toBeGreaterThanOrEqual(6)
  })

  it('are in nothing that the client says, loud as it is', async () => {
    // It is loud: each message is described.
    expect(client.stderr).toMatch(/IKE_AUTH/)
    expect(client.stderr.length).toBeGreaterThan(2000)
    expect(found(await allSecrets(), client.stderr + JSON.stringify(client.events))).toEqual([])
  })

  it('are in nothing that the gateway says', async () => {
    expect(gateway.stderr).toMatch(/IKE_AUTH/)
    expect(found(await allSecrets(), gateway.stderr + JSON.stringify(gateway.events))).toEqual([])
  })

  it('are in no process listing and no environment', async () => {
    expect(listing).toContain('--password-file')
    expect(found(await allSecrets(), listing)).toEqual([])
  })

  it('are not given to children, and no setting of ours either', async () => {
    const seen = await readFile(scriptLog, 'utf8')
    expect(seen).toContain('reason=connect')
    expect(found(await allSecrets(), seen)).toEqual([])
    const own = seen.slice(0, seen.indexOf('/proc/'))
    expect(own.split('\n').filter((line) => line.startsWith('IKESTREAM_'))).toEqual([])
  })

  it('are not in the status', async () => {
    expect(JSON.parse(status)).toMatchObject({ sessions: [{ state: 'connected' }] })
    expect(found(await allSecrets(), status)).toEqual([])
  })

  it('are in no file of its state, where nobody else may look anyway', async () => {
    const folder = join(site.directory, 'client')
    expect(found(await allSecrets(), await treeOf(folder))).toEqual([])
    expect((await stat(folder)).mode & 0o077).toBe(0)
    // The gateway keeps what its session tickets are sealed with, and nothing else.
    const vault = join(site.directory, 'gateway-0', 'gateway')
    expect(await readdir(vault)).toEqual([TICKET_KEYS])
    expect((await stat(vault)).mode & 0o077).toBe(0)
    expect((await stat(join(vault, TICKET_KEYS))).mode & 0o077).toBe(0)
    expect(found(await allSecrets(), await treeOf(vault))).toEqual(['ticket key 0 in hex'])
  })

  it('are in no error: a wrong password, a key that is none, a file with another password', async () => {
    const wrong = 'not the right sesame'
    const issued = issueClientCertificate(site.authority, ['client.test'], validity())
    const damaged = issued.privateKeyPem.revealText().replace(/\n(\w{10})/, '\n$1$1')
    const trust = ['--cafile', await site.caFile(), '--no-system-trust', '--remote-identity', GATEWAY_NAME]
    const cases = [
      await site.asUser(wrong),
      await site.withPsk(wrong),
      [
        ...trust,
        ...['--certificate', await site.file('broken.pem', issued.certificatePem)],
        ...['--sslkey', await site.file('broken.key', damaged)]
      ],
      [...trust, '--user', 'alice', '--password-file', await site.file('two', `${wrong}\0${wrong}\n`)],
      ['--psk-file', await site.file('odd.psk', `0x${Buffer.from(wrong).toString('hex')}f`)]
    ]
    const secrets = [
      ...(await allSecrets()),
      ...spellings('the wrong password', Buffer.from(wrong)),
      ...[damaged, issued.privateKeyPem.revealText()].map((pem): [string, string] => [
        'the private key',
        pem.split('\n')[1] ?? pem
      ])
    ]
    for (const args of cases) {
      const failing = site.connect(site.gatewayAddress, [...LOUDEST, ...BRISK, ...args], { state: 'failing' })
      expect(await failing.exit, failing.transcript()).not.toBe(0)
      expect(failing.all('error'), failing.transcript()).toHaveLength(1)
      expect(found(secrets, failing.stderr + JSON.stringify(failing.events))).toEqual([])
    }
    expect(found(secrets, gateway.stderr + JSON.stringify(gateway.events))).toEqual([])
  })
})
