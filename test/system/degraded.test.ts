import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import type { SessionStatus } from '../../src/client/session-status.ts'
import type { IkestreamProcess } from '../support/ikestream-process.ts'
import { IkestreamSite, INNER_V6 } from '../support/ikestream-site.ts'
import { describeWith } from '../support/require.ts'

const POOLS = ['--pool', '10.99.0.0/24', '--pool', 'fd00:99::/64']
const BYTES = 6_000_000

/** What is switched off at both ends, and where `status` says so. */
const CASES: readonly [string, readonly string[], (status: SessionStatus) => unknown, transport?: string][] =
  [
    ['libcrypto', ['LIBCRYPTO'], ({ dataPath }) => dataPath.cipher.libcrypto],
    ['the offloads of the TUN device', ['TUN_OFFLOAD'], ({ dataPath }) => dataPath.tun.tcp],
    ['super-packets of UDP', ['USO'], ({ dataPath }) => dataPath.tun.udp],
    ['UDP_SEGMENT', ['UDP_SEGMENTATION'], ({ dataPath }) => dataPath.transport?.udpSegmentation],
    ['UDP_GRO', ['UDP_COALESCING'], ({ dataPath }) => dataPath.transport?.udpCoalescing],
    ['streams of its own', ['DIRECT_STREAMS'], ({ dataPath }) => dataPath.transport?.directStream, 'tcp'],
    [
      'all of it',
      ['TUN_OFFLOAD', 'LIBCRYPTO', 'UDP_SEGMENTATION', 'UDP_COALESCING'],
      ({ dataPath }) => dataPath.tun.checksum
    ]
  ]

describeWith(
  'namespaces',
  'tun',
  'ipv6'
)('a tunnel without', () => {
  let site: IkestreamSite
  let gateway: IkestreamProcess | undefined

  beforeAll(async () => {
    site = await IkestreamSite.open()
    await site.startWebServer()
  })
  afterEach(async () => {
    await site.stopClients()
    await gateway?.stop()
  })
  afterAll(() => site?.close())

  it.each(CASES)(
    '%s carries everything all the same, and says what is off and why',
    async (_name, names, fact, transport = 'udp') => {
      const env = Object.fromEntries(names.map((name) => [`IKESTREAM_NO_${name}`, '1']))
      gateway = await site.startGateway(undefined, { pools: POOLS, env })
      const client = site.connect(
        site.gatewayAddress,
        [...(await site.withPsk()), '--transport', transport],
        {
          env
        }
      )
      await client.event('connected')
      expect(await site.download(BYTES).intact(), client.transcript()).toBe(true)
      expect(await site.download(BYTES, 0, INNER_V6).intact(), client.transcript()).toBe(true)
      const { stdout } = await site.command(['status', '--json'])
      const [session] = (JSON.parse(stdout) as { sessions: readonly SessionStatus[] }).sessions
      if (session === undefined) throw new Error(stdout)
      expect(fact(session)).toEqual({ inUse: false, why: `switched off by IKESTREAM_NO_${names[0]}` })
    }
  )
})
