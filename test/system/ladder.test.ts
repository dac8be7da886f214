/** Every rung of the ladder and each way for it to fail, with real processes and the embedded gateway. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { expectOneError } from '../support/expect-error.ts'
import type { IkestreamProcess, JsonLine } from '../support/ikestream-process.ts'
import { BRISK, GATEWAY_NAME, IkestreamSite, INNER_V4 } from '../support/ikestream-site.ts'
import { startProgram } from '../support/namespaces.ts'
import { describeWith } from '../support/require.ts'

const NO_UDP = { protocol: 'udp', action: 'drop' } as const
const NO_TCP_4500 = { protocol: 'tcp', ports: [4500] } as const

/** Listens on TCP 4500 of every address; what it does with a connection follows. */
const LISTENER = (then: string): string =>
  `import net from 'node:net'; net.createServer((s) => { s.on('error', () => {}); ${then} }).listen(4500, () => console.log('ready'))`

describeWith('namespaces', 'tun')('the ladder', () => {
  let site: IkestreamSite
  let psk: readonly string[]
  let states = 0

  beforeAll(async () => {
    site = await IkestreamSite.open()
    const { address, address6 } = site.hotel.gateway
    await site.startWebServer()
    await site.startGateway(undefined, { listen: address6 === null ? [address] : [address, address6] })
    psk = await site.withPsk()
  })
  beforeEach(() => site.hotel.restore())
  afterEach(() => site.stopClients())
  afterAll(() => site?.close())

  /** Connects with a memory of its own, so that no test learns from another. */
  function climb(args: readonly string[] = BRISK, server = site.gatewayAddress): IkestreamProcess {
    return site.connect(server, [...psk, ...args], { state: `client-${states++}` })
  }

  async function connected(client: IkestreamProcess, transport: string): Promise<JsonLine> {
    const line = await client.event('connected')
    expect(line['transport'], client.transcript()).toBe(transport)
    expect(await site.reaches(INNER_V4), client.transcript()).toBe(true)
    return line
  }

  it('stays on UDP where everything passes', async () => {
    const client = climb()
    await connected(client, 'udp')
    expect(client.rungs).toEqual(['udp trying', 'udp answered'])
  })

  it('goes over TCP where UDP is dropped', async () => {
    await site.hotel.setFaults([NO_UDP])
    const client = climb()
    await connected(client, 'tcp')
    expect(client.rungs).toEqual([
      'udp trying',
      'tcp trying',
      'tls trying',
      'udp failed timeout',
      'tcp answered',
      'tls skipped not-needed'
    ])
  })

  it('does not wait for UDP that is rejected', async () => {
    await site.hotel.setFaults([{ protocol: 'udp', action: 'refuse' }])
    // With the timings that users have: the streams are only tried because UDP has failed.
    const client = climb([])
    await connected(client, 'tcp')
    expect(client.rungs.slice(0, 3)).toEqual(['udp trying', 'udp failed port-unreachable', 'tcp trying'])
  })

  it.each([
    ['refused', 'refuse', 'tcp failed connection-refused'],
    ['dropped', 'drop', 'tcp skipped not-needed'],
    ['prohibited', 'prohibit', 'tcp failed network-unreachable']
  ] as const)('goes over TLS where UDP is dropped and TCP 4500 is %s', async (_how, action, rung) => {
    await site.hotel.setFaults([NO_UDP, { ...NO_TCP_4500, action }])
    const client = climb()
    await connected(client, 'tls')
    expect(client.rungs).toContain(rung)
    expect(client.rungs).toContain('tls answered')
  })

  it.each([
    ['reset', 's.resetAndDestroy()', 'tcp failed connection-reset'],
    ['closed', 's.end()', 'tcp failed closed-by-peer'],
    ['swallowed', 's.resume()', 'tcp failed ike-silent'],
    [
      'answered by a web server',
      "s.end('HTTP/1.1 400 Bad Request\\r\\n\\r\\n')",
      'tcp failed closed-by-peer'
    ],
    [
      'answered with frames of rubbish',
      's.write(Buffer.from([0, 64, 0, 0, 0, 0, ...Array(58).fill(0xa5)]))',
      'tcp failed ike-silent'
    ],
    ['answered with frames of no length', 's.write(Buffer.alloc(64))', 'tcp failed framing-error']
  ])('goes over TLS where UDP is dropped and a TCP connection is %s', async (_how, then, rung) => {
    await site.hotel.setFaults([NO_UDP, { ...NO_TCP_4500, action: 'refuse' }])
    const argv = [process.execPath, '--input-type=module', '-e', LISTENER(then)]
    const listener = startProgram(site.hotel.wall, argv)
    await listener.printed(/ready/)
    const client = climb()
    await connected(client, 'tls')
    expect(client.rungs).toContain(rung)
    await listener.stop()
  })

  it('goes over TCP where UDP 500 passes and 4500 does not', async () => {
    await site.hotel.setFaults([{ protocol: 'udp', ports: [4500], action: 'drop' }])
    const client = climb()
    await connected(client, 'tcp')
    expect(client.rungs).toEqual([
      'udp trying',
      'udp answered',
      'tcp trying',
      'tls trying',
      'udp failed ike-auth-silent',
      'tcp answered',
      'tls skipped not-needed'
    ])
  })

  it('names every rung and its reason where nothing is open, and leaves with 69', async () => {
    const before = await site.clientState()
    await site.hotel.setFaults([
      { protocol: 'udp', action: 'refuse' },
      { ...NO_TCP_4500, action: 'refuse' },
      { protocol: 'tcp', ports: [443], action: 'prohibit' }
    ])
    const client = climb()
    const error = await expectOneError(client, 69, 'gateway-unreachable', /UDP: .*TCP: .*TLS: /)
    expect(error['message']).toMatch(/unreachable \(ICMP\).*refused.*cannot be reached/)
    expect(client.rungs).toEqual([
      'udp trying',
      'udp failed port-unreachable',
      'tcp trying',
      'tls trying',
      'tcp failed connection-refused',
      'tls failed network-unreachable'
    ])
    expect(await site.clientState()).toBe(before)
  })

  it.each(['udp', 'tcp', 'tls'])('takes %s and nothing else when told to', async (transport) => {
    const client = climb(['--transport', transport])
    await connected(client, transport)
    expect(client.rungs).toEqual([`${transport} trying`, `${transport} answered`])
  })

  it.each(['udp', 'tcp'])('does not leave %s when told to stay on it', async (transport) => {
    await site.hotel.setFaults([
      { protocol: 'udp', action: 'refuse' },
      { ...NO_TCP_4500, action: 'refuse' }
    ])
    const client = climb(['--transport', transport])
    await expectOneError(client, 69, 'gateway-unreachable', new RegExp(`${transport}: `, 'i'))
    expect(client.rungs.filter((rung) => !rung.startsWith(transport))).toEqual([])
  })

  it('climbs in the order of the profile', async () => {
    const profile = await site.file(
      'office.toml',
      `server = "${site.gatewayAddress}"\n[transport]\norder = ["tls", "udp"]\n`
    )
    const client = climb([], profile)
    await connected(client, 'tls')
    expect(client.rungs).toEqual(['tls trying', 'tls answered'])
    await site.stopClients()
    await site.hotel.setFaults([{ protocol: 'tcp', ports: [443], action: 'refuse' }])
    const other = climb([], profile)
    await connected(other, 'udp')
    expect(other.rungs).toEqual(['tls trying', 'tls failed connection-refused', 'udp trying', 'udp answered'])
  })

  it.each(['udp', 'tcp', 'tls'])('reaches an IPv6 gateway over %s', async (transport) => {
    const address = site.hotel.gateway.address6 ?? ''
    const client = climb(['--transport', transport], address)
    const line = await connected(client, transport)
    expect(line['gateway']).toBe(address)
  })

  it('takes the other family of a name where one does not pass', async () => {
    await site.hotel.gateway.namespace.run([
      'ip',
      '-6',
      'route',
      'add',
      'blackhole',
      'default',
      'metric',
      '1'
    ])
    try {
      const client = climb(BRISK, GATEWAY_NAME)
      const line = await connected(client, 'udp')
      expect(line['gateway']).toBe(site.gatewayAddress)
    } finally {
      await site.hotel.gateway.namespace.run([
        'ip',
        '-6',
        'route',
        'del',
        'blackhole',
        'default',
        'metric',
        '1'
      ])
    }
  })

  it.each(['udp', 'tcp', 'tls'])(
    'takes the next address of a name over %s where the first is dead',
    async (transport) => {
      // 10.99.99.99 is behind the router, and nobody there answers.
      await site.hotel.middle.run(['ip', 'route', 'replace', 'blackhole', '198.18.99.99'])
      await site.etc.write('hosts', `198.18.99.99 two.test\n${site.gatewayAddress} two.test\n`)
      const client = climb(['--transport', transport], 'two.test')
      const line = await connected(client, transport)
      expect(line['gateway']).toBe(site.gatewayAddress)
      const tried = client.all('rung').filter(({ outcome }) => outcome === 'trying')
      expect(tried.map(({ address }) => address)).toEqual(['198.18.99.99', site.gatewayAddress])
    }
  )

  it('starts at the transport that worked here last time', async () => {
    await site.hotel.setFaults([NO_UDP])
    const first = climb()
    await connected(first, 'tcp')
    await first.stop()
    const again = site.connect(site.gatewayAddress, [...psk, ...BRISK], { state: `client-${states - 1}` })
    await connected(again, 'tcp')
    expect(again.rungs).toEqual(['tcp trying', 'tcp answered'])
  })

  it('climbs from the bottom where the remembered transport does not work any more', async () => {
    await site.hotel.setFaults([NO_UDP])
    const first = climb()
    await connected(first, 'tcp')
    await first.stop()
    await site.hotel.setFaults([{ ...NO_TCP_4500, action: 'refuse' }])
    const again = site.connect(site.gatewayAddress, [...psk, ...BRISK], { state: `client-${states - 1}` })
    await connected(again, 'udp')
    expect(again.rungs).toEqual(['tcp trying', 'tcp failed connection-refused', 'udp trying', 'udp answered'])
  })
})
