/** Explicit Congestion Notification across UDP tunnels (RFC 6040): on sockets, then with real processes and a router that marks. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { Ecn } from '../../src/dataplane/ecn.ts'
import { addressOf, nativeBuffer } from '../../src/native/memory.ts'
import type { Transport, TransportHandlers } from '../../src/transport/types.ts'
import { openUdp } from '../../src/transport/udp.ts'
import { UdpServer } from '../../src/transport/udp-server.ts'
import { UdpSocket } from '../../src/transport/udp-socket.ts'
import type { Path } from '../../src/wire/endpoint.ts'
import { IkestreamSite, INNER_V4, INNER_V6 } from '../support/ikestream-site.ts'
import type { LabNamespace } from '../support/namespaces.ts'
import { espPacket, ikeMessage } from '../support/relay-fixture.ts'
import { describeWith } from '../support/require.ts'
import { waitUntil } from '../support/wait-until.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

/** Runs of every codepoint, alone and many together, with a shorter last one. */
const BATCH: readonly (readonly [ecn: number, lengths: readonly number[]])[] = [
  [Ecn.ECT0, [1200, 1200, 1200, 300]],
  [Ecn.NOT_ECT, [1200, 1200]],
  [Ecn.CE, [1200]],
  [Ecn.ECT1, [1200, 1200]],
  [Ecn.ECT0, [700]],
  [Ecn.NOT_ECT, [700]]
]

/** Sends the batch. @returns the codepoint and length of each packet */
function sendBatch({ esp }: Transport): string[] {
  const sent: string[] = []
  for (const [ecn, lengths] of BATCH)
    for (const length of lengths) {
      const packet = espPacket(length, sent.length + 1)
      const at = esp.reserve(packet.length)
      expect(at).toBeGreaterThanOrEqual(0)
      esp.buffer.set(packet, at)
      esp.commit(packet.length, ecn)
      sent.push(`${ecn} ${packet.length}`)
    }
  esp.flush()
  return sent
}

/** What arrives, each packet with the codepoint that it came with. */
function recorder() {
  const received: string[] = []
  const paths: Path[] = []
  const handlers: TransportHandlers = {
    onIke() {},
    onEsp(_buffer, _offset, length, path, ecn) {
      received.push(`${ecn} ${length}`)
      paths.push(path)
    },
    onEspBatchEnd() {},
    onWritable() {},
    onClose() {}
  }
  return { received, paths, handlers }
}

describe.each([
  ['IPv4', '127.0.0.1', true],
  ['IPv4', '127.0.0.1', false],
  ['IPv6', '::1', true],
  ['IPv6', '::1', false]
])('sockets on %s (%s, offload %s)', (_family, address, offload) => {
  async function open() {
    const server = new UdpServer({ addresses: [address], ikePort: 0, natTPort: 0, offload })
    closing.push(() => server.close())
    const port = (natT: boolean) => server.listening.find((one) => one.natT === natT)?.port ?? 0
    const client = await openUdp({
      remoteAddress: address,
      ikePort: port(false),
      natTPort: port(true),
      offload
    })
    closing.push(() => client.close())
    return { server, client }
  }

  it('carry the field of every packet to the listener, to the socket of a peer, and back', async () => {
    const { server, client } = await open()
    const atListener = recorder()
    server.setHandlers(atListener.handlers)
    const sent = sendBatch(client)
    await waitUntil('the batch at the listener', () => atListener.received.length === sent.length)
    expect(atListener.received).toEqual(sent)

    const [path] = atListener.paths
    const peer = path === undefined ? undefined : server.adopt(path)
    if (peer === undefined) throw new Error('not adopted')
    const atPeer = recorder()
    peer.setHandlers(atPeer.handlers)
    sendBatch(client)
    await waitUntil('the batch at the peer', () => atPeer.received.length === sent.length)
    expect(atPeer.received).toEqual(sent)

    const atClient = recorder()
    client.setHandlers(atClient.handlers)
    sendBatch(peer)
    await waitUntil('the batch at the client', () => atClient.received.length === sent.length)
    expect(atClient.received).toEqual(sent)
  })

  it('leave IKE and keepalives Not-ECT, between ESP that is marked', async () => {
    // The far end's port must be known before the client's, so that it is held by a socket that talks to nobody.
    const holder = UdpSocket.open({
      remote: { address, port: 9 },
      local: { address, port: 0 },
      bufferBytes: 0,
      shareLocal: true
    })
    closing.push(() => holder.close())
    const { port } = holder.local
    const client = await openUdp({ remoteAddress: address, ikePort: port, natTPort: port, offload })
    closing.push(() => client.close())
    const remote = client.path.local
    const farEnd = UdpSocket.open({ remote, local: holder.local, bufferBytes: 0, shareLocal: true })
    closing.push(() => farEnd.close())
    expect(farEnd.reportEcn()).toBe(true)

    const sent = sendBatch(client)
    client.sendIke(ikeMessage(200), client.path)
    client.sendNatKeepalive()
    sent.push(...sendBatch(client))
    const room = nativeBuffer(65_536)
    const seen: string[] = []
    await waitUntil('everything', () => {
      for (;;) {
        const length = farEnd.receive(addressOf(room), room.length)
        if (length < 0) return seen.length >= sent.length + 2
        seen.push(`${farEnd.ecn} ${length}`)
      }
    })
    expect(seen).toEqual([...sent.slice(0, sent.length / 2), '0 204', '0 1', ...sent.slice(sent.length / 2)])
  })
})

const CODEPOINTS = ['not-ect', 'ect1', 'ect0', 'ce'] as const
type Codepoint = (typeof CODEPOINTS)[number]
type Counts = Readonly<Record<Codepoint, number>>
/** An nft condition for each address family. */
type Place = Readonly<Record<'ip' | 'ip6', string>>

/** Counts packets by their codepoint with nft. */
class EcnWatch {
  readonly #namespace: LabNamespace

  private constructor(namespace: LabNamespace) {
    this.#namespace = namespace
  }

  static async open(
    namespace: LabNamespace,
    hook: 'input' | 'forward',
    places: Readonly<Record<string, Place>>
  ): Promise<EcnWatch> {
    const all = Object.entries(places).flatMap(([name, place]) =>
      CODEPOINTS.map((codepoint) => ({ place, codepoint, counter: `${name}-${codepoint}` }))
    )
    const rules = all.flatMap(({ place, codepoint, counter }) =>
      (['ip', 'ip6'] as const).map(
        (family) => `${family} ecn ${codepoint} ${place[family]} counter name ${counter}`
      )
    )
    const counters = all.map(({ counter }) => `counter ${counter} { }`)
    const lines = ['table inet watch {', ...counters, `chain watch { type filter hook ${hook} priority 0;`]
    await namespace.run(['nft', '-f', '-'], { input: [...lines, ...rules, '}', '}', ''].join('\n') })
    return new EcnWatch(namespace)
  }

  /** Begins to count anew. */
  async reset(): Promise<void> {
    await this.#namespace.run(['nft', 'reset', 'counters', 'table', 'inet', 'watch'])
  }

  async counts(name: string): Promise<Counts> {
    const { stdout } = await this.#namespace.run(['nft', '-j', 'list', 'counters', 'table', 'inet', 'watch'])
    const { nftables } = JSON.parse(stdout) as { nftables: { counter?: { name: string; packets: number } }[] }
    const of = (codepoint: Codepoint): number => {
      const found = nftables.find(({ counter }) => counter?.name === `${name}-${codepoint}`)
      if (found?.counter === undefined) throw new Error(`there is no counter ${name}-${codepoint}`)
      return found.counter.packets
    }
    return { 'not-ect': of('not-ect'), ect1: of('ect1'), ect0: of('ect0'), ce: of('ce') }
  }
}

const PINGS = 3
const NONE: Counts = { 'not-ect': 0, ect1: 0, ect0: 0, ce: 0 }
const only = (codepoint: Codepoint): Counts => ({ ...NONE, [codepoint]: PINGS })
/** Of the test's own pings: the session may send some of another size. */
const PING_BYTES = 200
/** The router counts what belongs together as one. */
const ONE_BY_ONE = { IKESTREAM_NO_UDP_SEGMENTATION: '1' }
const both = (condition: string): Place => ({ ip: condition, ip6: condition })
/** Expedited Forwarding (RFC 3246) in the field's place. */
const DSCP_EF = 46 << 2

describeWith(
  'namespaces',
  'tun',
  'nft',
  'ping',
  'ipv6'
)('a tunnel through a router that marks', () => {
  let site: IkestreamSite
  let outside: EcnWatch
  let atGateway: EcnWatch
  let atClient: EcnWatch

  beforeAll(async () => {
    site = await IkestreamSite.open()
    const { middle, gateway, client } = site.hotel
    await site.startWebServer()
    await site.startGateway(undefined, {
      listen: [gateway.address, gateway.address6 ?? '::1'],
      env: ONE_BY_ONE
    })
    // Neither IKE, which begins with four zero bytes, nor keepalives.
    const esp = 'udp length > 16 @th,64,32 != 0'
    const [up, down] = [`udp dport 4500 ${esp}`, `udp sport 4500 ${esp}`]
    outside = await EcnWatch.open(middle, 'forward', {
      up: both(up),
      down: both(down),
      dscp: { ip: `ip dscp != 0 ${up}`, ip6: `ip6 dscp != 0 ${up}` }
    })
    const inner = (device: string): Readonly<Record<string, Place>> => ({
      pings: {
        ip: `iifname != ${device} ip length ${28 + PING_BYTES} icmp type { echo-request, echo-reply }`,
        ip6: `iifname != ${device} ip6 length ${8 + PING_BYTES} icmpv6 type { echo-request, echo-reply }`
      },
      tcp: both(`iifname != ${device} meta l4proto tcp`),
      echoes: both(`iifname != ${device} tcp flags & (syn | ecn) == ecn`)
    })
    atGateway = await EcnWatch.open(gateway.namespace, 'input', inner(gateway.device))
    atClient = await EcnWatch.open(client.namespace, 'input', inner(client.device))
  })
  beforeEach(() => mark())
  afterEach(() => site.stopClients())
  afterAll(() => site?.close())

  /** The router marks what it forwards, after it was counted: nft conditions with what to set. */
  async function mark(...rules: readonly string[]): Promise<void> {
    const chain = [
      'table inet marking { chain marking { type filter hook forward priority 10;',
      ...rules.flatMap((rule) => ['ip', 'ip6'].map((family) => rule.replaceAll('IP', family))),
      '}',
      '}'
    ]
    const input = ['table inet marking', 'delete table inet marking', ...chain, ''].join('\n')
    await site.hotel.middle.run(['nft', '-f', '-'], { input })
    await Promise.all([outside.reset(), atGateway.reset(), atClient.reset()])
  }

  async function connect(server: string): Promise<void> {
    // No other path, whatever is dropped here: only UDP has marks.
    const args = [...(await site.withPsk()), '--transport', 'udp']
    const client = site.connect(server, args, { env: ONE_BY_ONE })
    const { transport } = await client.event('connected')
    expect(transport, client.transcript()).toBe('udp')
  }

  /** @param trafficClass of the echo requests; answers have what arrives @returns how many were answered */
  async function ping(address: string, trafficClass: number, answered = true): Promise<number> {
    const wait = ['-W', String(answered ? 20 : 1)]
    const options = [
      '-c',
      String(PINGS),
      '-i',
      '0.05',
      '-s',
      String(PING_BYTES),
      ...wait,
      '-Q',
      String(trafficClass)
    ]
    const { stdout } = await site.client.runner.run(['ping', ...options, address])
    return Number(/(\d+) received/.exec(stdout)?.[1])
  }

  describe.each(['IPv4', 'IPv6'])('over %s', (family) => {
    beforeEach(async () => {
      const { address, address6 } = site.hotel.gateway
      await connect(family === 'IPv4' ? address : (address6 ?? ''))
    })

    it('shows the marks of inner packets outside and hands on those from outside', async () => {
      for (const inner of [INNER_V4, INNER_V6]) {
        await mark()
        expect(await ping(inner, Ecn.ECT0)).toBe(PINGS)
        expect(await outside.counts('up')).toMatchObject({ ect0: PINGS, ect1: 0, ce: 0 })
        expect(await outside.counts('down')).toMatchObject({ ect0: PINGS, ect1: 0, ce: 0 })
        expect(await atGateway.counts('pings')).toEqual(only('ect0'))
        expect(await atClient.counts('pings')).toEqual(only('ect0'))

        await mark('udp dport 4500 IP ecn ect0 IP ecn set ce')
        expect(await ping(inner, Ecn.ECT0)).toBe(PINGS)
        expect(await outside.counts('up')).toMatchObject({ ect0: PINGS, ce: 0 })
        expect(await atGateway.counts('pings')).toEqual(only('ce'))
        // The answer has the mark of the question, and carries it outside, too.
        expect(await outside.counts('down')).toMatchObject({ ect0: 0, ce: PINGS })
        expect(await atClient.counts('pings')).toEqual(only('ce'))

        await mark('udp sport 4500 IP ecn ect0 IP ecn set ect1')
        expect(await ping(inner, Ecn.ECT0)).toBe(PINGS)
        expect(await atGateway.counts('pings')).toEqual(only('ect0'))
        expect(await atClient.counts('pings')).toEqual(only('ect1'))
      }
    })

    it('drops what is marked CE on its way and does not understand marks', async () => {
      for (const inner of [INNER_V4, INNER_V6]) {
        await mark('udp dport 4500 IP ecn set ce')
        expect(await ping(inner, Ecn.NOT_ECT, false)).toBe(0)
        expect((await outside.counts('up'))['not-ect']).toBeGreaterThanOrEqual(PINGS)
        expect(await atGateway.counts('pings')).toEqual(NONE)

        await mark('udp sport 4500 IP ecn set ce')
        expect(await ping(inner, Ecn.NOT_ECT, false)).toBe(0)
        expect(await atGateway.counts('pings')).toEqual(only('not-ect'))
        expect(await atClient.counts('pings')).toEqual(NONE)
        expect(await ping(inner, Ecn.ECT1)).toBe(PINGS)
        expect(await atClient.counts('pings')).toEqual(only('ce'))
      }
    })

    it('does not show outside what class of service an inner packet has', async () => {
      for (const inner of [INNER_V4, INNER_V6]) {
        await mark()
        expect(await ping(inner, DSCP_EF | Ecn.ECT0)).toBe(PINGS)
        expect(await outside.counts('up')).toMatchObject({ ect0: PINGS })
        expect(await outside.counts('dscp')).toEqual(NONE)
        expect(await atGateway.counts('pings')).toEqual(only('ect0'))
      }
    })
  })

  it('lets TCP slow down by marks instead of losses', async () => {
    await connect(site.gatewayAddress)
    for (const namespace of [site.client, site.hotel.gateway.namespace])
      await namespace.sysctl(['net.ipv4.tcp_ecn'], 1)
    await mark('udp sport 4500 IP ecn ect0 numgen inc mod 10 == 0 IP ecn set ce')
    expect(await site.download(8_000_000).intact()).toBe(true)
    const { ect0, ce } = await atClient.counts('tcp')
    expect(ect0).toBeGreaterThan(0)
    expect(ce).toBeGreaterThan(0)
    const echoes = await atGateway.counts('echoes')
    expect(Object.values(echoes).reduce((sum, count) => sum + count)).toBeGreaterThan(0)
  })
})
