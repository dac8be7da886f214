/** What a capture and key tables are worth: Wireshark's own program reads the inner packets out of the outer ones. */
import { execFileSync } from 'node:child_process'
import { mkdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { expectOneError } from '../support/expect-error.ts'
import type { IkestreamProcess } from '../support/ikestream-process.ts'
import { BRISK, IkestreamSite, INNER_V4 } from '../support/ikestream-site.ts'
import { describeWith } from '../support/require.ts'

const DISSECTOR = fileURLToPath(new URL('../../examples/wireshark/rfc9329.lua', import.meta.url))
/** What a packet is in the end, whatever is around it; the checksum stands for what is in a segment. */
const FIELDS = [
  ...['frame.protocols', 'isakmp.exchangetype', 'isakmp.enc.decrypted', 'http.request.uri', 'udp.port'],
  ...[
    'ip.checksum.status',
    'esp.icv_bad',
    '_ws.malformed',
    'ip.src',
    'tcp.srcport',
    'tcp.seq_raw',
    'tcp.len',
    'tcp.flags.str',
    'tcp.checksum'
  ]
] as const
type Packet = Readonly<Record<(typeof FIELDS)[number], string>>

describeWith(
  'namespaces',
  'tun',
  'tshark'
)('captures of a client', () => {
  let site: IkestreamSite
  let psk: readonly string[]
  let tests = 0

  beforeAll(async () => {
    site = await IkestreamSite.open()
    await site.startWebServer()
    await site.startGateway()
    psk = await site.withPsk()
  })
  afterEach(() => site.stopClients())
  afterAll(() => site?.close())

  /** A client that captures everything into a folder of its own. */
  async function connect(args: readonly string[]): Promise<{ client: IkestreamProcess; folder: string }> {
    const folder = join(site.directory, `capture-${tests++}`)
    await mkdir(folder)
    const files = ['--capture', join(folder, 'outer.pcap'), '--capture-inner', join(folder, 'inner.pcap')]
    const keys = ['--unsafe-dump-keys', join(folder, 'keys')]
    const client = site.connect(site.gatewayAddress, [...psk, ...BRISK, ...files, ...keys, ...args])
    await client.event('connected')
    return { client, folder }
  }

  /** The packets of a capture as tshark with this session's keys sees them. */
  function dissect(folder: string, file: string, filter = ''): Packet[] {
    const decrypting = [
      '-o',
      'esp.enable_encryption_decode:TRUE',
      '-o',
      'esp.enable_authentication_check:TRUE'
    ]
    const checking = ['-o', 'ip.check_checksum:TRUE']
    const output = execFileSync(
      'tshark',
      [
        ...['-n', '-X', `lua_script:${DISSECTOR}`, ...decrypting, ...checking, '-r', join(folder, file)],
        ...['-Y', filter, '-T', 'fields', ...FIELDS.flatMap((name) => ['-e', name]), '-E', 'occurrence=l']
      ],
      {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { ...process.env, WIRESHARK_CONFIG_DIR: join(folder, 'keys') }
      }
    )
    const lines = output.split('\n').slice(0, -1)
    return lines.map((line) => {
      const values = line.split('\t')
      return Object.fromEntries(FIELDS.map((name, index) => [name, values[index] ?? ''])) as Packet
    })
  }

  /** TCP segments of the conversation inside, wherever they were found. */
  function segments(packets: readonly Packet[]): string[] {
    // The session's own probes are inside, too, and no TCP; of those only the TCP around them would show.
    const inside = packets
      .filter((packet) => /^raw:ip:tcp(?!:rfc9329)|:esp:ip:tcp/.test(packet['frame.protocols']))
      .filter((packet) => packet['ip.src'].startsWith('10.99.'))
    return inside.map((packet) =>
      FIELDS.filter((name) => name.startsWith('tcp.') || name === 'ip.src')
        .map((name) => packet[name])
        .join(' ')
    )
  }

  it.each([
    ['udp', []],
    ['tcp', []],
    ['tls', []],
    ['udp', ['--esp-proposal', 'aes256-sha256-noesn', '--ike-proposal', 'aes256-sha256-x25519']],
    ['tcp', ['--esp-proposal', 'aes128-sha512-noesn', '--ike-proposal', 'aes128gcm16-prfsha384-ecp256']]
  ])('are read by Wireshark: over %s with %j', async (transport, suite) => {
    // With an MTU that is given, no segment size is changed on the way: both captures hold the same packets.
    const { client, folder } = await connect(['--transport', transport, '--mtu', '1400', ...suite])
    expect(await site.reaches(INNER_V4)).toBe(true)
    await client.stop()
    const outer = dissect(folder, 'outer.pcap')
    // IKE: every message behind IKE_SA_INIT is decrypted.
    const ike = outer.filter((packet) => packet['isakmp.exchangetype'] !== '')
    expect(ike.map((packet) => packet['isakmp.exchangetype']).slice(0, 4)).toEqual(['34', '34', '35', '35'])
    for (const packet of ike.slice(2)) expect(packet['isakmp.enc.decrypted']).not.toBe('')
    // ESP: what is inside is what was captured inside.
    expect(outer.map((packet) => packet['http.request.uri']).filter((uri) => uri !== '')).toEqual([
      '/address'
    ])
    expect(segments(outer).length).toBeGreaterThan(5)
    expect(segments(outer)).toEqual(segments(dissect(folder, 'inner.pcap')))
    for (const packet of outer) {
      expect(packet).toMatchObject({ 'ip.checksum.status': '1', '_ws.malformed': '' })
      // Wireshark 4.0 does not know of the half of the sequence number that is not sent (ESN).
      if (suite.length > 0) expect(packet['esp.icv_bad']).not.toBe('1')
    }
  })

  it('show every attempt, and the connection that was left', async () => {
    await site.hotel.setFaults([{ protocol: 'udp', action: 'drop' }])
    const { client, folder } = await connect([])
    await client.stop()
    await site.hotel.restore()
    const outer = dissect(folder, 'outer.pcap')
    expect(outer.filter((packet) => packet['udp.port'] === '500').length).toBeGreaterThan(1)
    const bare = outer.filter((packet) => packet['tcp.len'] === '0').map((packet) => packet['tcp.flags.str'])
    expect(bare.at(0)).toContain('S')
    expect(bare.at(-1)).toContain('F')
  })

  it('are their owner’s alone, and up to date after SIGUSR1', async () => {
    const { client, folder } = await connect([])
    for (const name of ['outer.pcap', 'inner.pcap', 'keys/esp_sa', 'keys/ikev2_decryption_table'])
      expect((await stat(join(folder, name))).mode & 0o777, name).toBe(0o600)
    expect(await site.reaches(INNER_V4)).toBe(true)
    client.kill('SIGUSR1')
    await client.event('statistics')
    expect(dissect(folder, 'inner.pcap', 'http.request')).toMatchObject([{ 'http.request.uri': '/address' }])
    await client.stop()
  })

  it('need a place that is one’s own', async () => {
    const folder = join(site.directory, 'nowhere')
    const args = [...psk, ...BRISK, '--capture', join(folder, 'outer.pcap')]
    await expectOneError(site.connect(site.gatewayAddress, args), 71, 'capture-file', /outer\.pcap/)
    await expect(readFile(folder)).rejects.toThrow(/ENOENT/)
  })
})
