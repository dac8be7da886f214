import { createSocket } from 'node:dgram'
import { connect as connectTcp } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { afterEach, describe, expect, it } from 'vitest'
import { Secret } from '../../src/secret.ts'
import type { TransportKind } from '../../src/wire/endpoint.ts'
import {
  certificateClient,
  eapTlsClient,
  eapUser,
  GatewayFixture,
  pskClient,
  TestClient
} from '../support/gateway-fixture.ts'
import { ipv4, udp } from '../support/packet-factory.ts'
import { waitUntil } from '../support/wait-until.ts'

const cleanUp: (() => unknown)[] = []
afterEach(async () => {
  for (const action of cleanUp.splice(0).reverse()) await action()
})

const start = async (...args: Parameters<typeof GatewayFixture.start>): Promise<GatewayFixture> => {
  const fixture = await GatewayFixture.start(...args)
  cleanUp.push(() => fixture.gateway.close())
  return fixture
}

function newClient(...args: ConstructorParameters<typeof TestClient>): TestClient {
  const client = new TestClient(...args)
  cleanUp.push(() => client.dispose())
  return client
}

const SERVER = '10.99.0.1'
let lastMark = 0

/** A datagram each way, told apart by what it holds. */
async function exchange(fixture: GatewayFixture, client: TestClient): Promise<void> {
  const mark = ++lastMark
  const up = ipv4(udp(1000, 2000, [mark & 0xff, mark >> 8]), { source: client.address, destination: SERVER })
  client.send(up)
  await waitUntil('the packet inside', () => fixture.received.some((packet) => sameBytes(packet, up)))
  const down = ipv4(udp(2000, 1000, [mark & 0xff, mark >> 8]), {
    source: SERVER,
    destination: client.address
  })
  fixture.send(down)
  await waitUntil('the answer', () => client.received.some((packet) => sameBytes(packet, down)))
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.from(a).equals(b)
}

describe.each<TransportKind>(['udp', 'tcp', 'tls'])('a client over %s', (kind) => {
  it('gets an address, talks both ways, and leaves', async () => {
    const fixture = await start()
    const client = newClient(eapUser())
    await client.connect(await fixture.open(kind))
    expect(client.info?.config?.addresses.map(({ address }) => address)).toEqual(['10.99.0.2', 'fd00:99::2'])
    expect(client.info?.config?.dns).toEqual(['10.99.0.1'])
    await exchange(fixture, client)
    const [up] = fixture.all('client-up')
    expect(up).toMatchObject({ identity: 'alice', virtualIps: ['10.99.0.2', 'fd00:99::2'], transport: kind })
    expect(fixture.gateway.counters.udpSockets).toBe(kind === 'udp' ? 1 : 0)

    await client.disconnect()
    await waitUntil('the end there', () => fixture.all('client-down').length > 0)
    expect(fixture.all('client-down')).toEqual([
      {
        event: 'client-down',
        peer: up?.peer,
        identity: 'alice',
        reason: 'deleted-by-peer',
        bytesIn: 30,
        bytesOut: 30
      }
    ])
    expect(fixture.gateway.clients).toBe(0)
    expect(fixture.gateway.counters.udpSockets).toBe(0)
  })
})

describe('who may come in', () => {
  it.each([
    ['a shared key', pskClient],
    ['a certificate', certificateClient],
    ['EAP-TLS', eapTlsClient]
  ])('one with %s', async (_what, who) => {
    const fixture = await start()
    const client = newClient(who())
    await client.connect(await fixture.open('udp'))
    await exchange(fixture, client)
  })

  it('nobody with a wrong password, and nothing is left of the attempt', async () => {
    const fixture = await start()
    const client = newClient(eapUser('alice', new Secret('wrong')))
    await expect(client.connect(await fixture.open('udp'))).rejects.toMatchObject({ exitCode: 77 })
    expect(fixture.all('client-up')).toEqual([])
    expect(fixture.gateway.counters.udpSockets).toBe(0)
  })

  it('nobody by a method that was not configured', async () => {
    const fixture = await start({ psk: undefined, clientTrust: undefined })
    for (const who of [pskClient(), certificateClient()]) {
      const client = newClient(who)
      await expect(client.connect(await fixture.open('udp'))).rejects.toMatchObject({ exitCode: 77 })
    }
  })

  it('answers to every name in its certificate', async () => {
    const fixture = await start()
    const client = newClient(eapUser(), '127.0.0.1')
    await client.connect(await fixture.open('udp'))
    expect(client.info?.remoteIdentity).toBe('127.0.0.1')
  })
})

describe('several clients', () => {
  it('have addresses of their own, and each gets its own packets', async () => {
    const fixture = await start()
    const clients = [newClient(eapUser()), newClient(pskClient()), newClient(certificateClient())]
    const kinds: TransportKind[] = ['udp', 'tcp', 'udp']
    for (const [index, client] of clients.entries())
      await client.connect(await fixture.open(kinds[index] ?? 'udp'))
    expect(clients.map(({ address }) => address)).toEqual(['10.99.0.2', '10.99.0.3', '10.99.0.4'])
    expect(fixture.gateway.counters.udpSockets).toBe(2)
    for (const client of clients) await exchange(fixture, client)
    for (const client of clients) expect(client.received).toHaveLength(1)
  })

  it('may not send from the addresses of others', async () => {
    const fixture = await start()
    const [one, other] = [newClient(pskClient('one@test')), newClient(pskClient('other@test'))]
    await one.connect(await fixture.open('udp'))
    await other.connect(await fixture.open('udp'))
    // Its own selectors would not let it out: those of the other end are what counts here.
    const [child] = one.sad.sending
    if (child === undefined) throw new Error('no Child SA')
    Object.defineProperty(child, 'matches', { value: () => true })
    one.send(ipv4(udp(1, 2), { source: other.address, destination: SERVER }))
    await exchange(fixture, one)
    expect(fixture.received).toHaveLength(1)
  })
})

describe('a client that vanishes', () => {
  it('is asked whether it lives, given up, and its address is free again', async () => {
    const fixture = await start({
      limits: { idleLivenessMs: 1_000, closePatienceMs: 200 },
      timers: { retransmitTimeoutMs: 50, retransmitTries: 2 }
    })
    const gone = newClient(pskClient())
    await gone.connect(await fixture.open('udp'))
    await gone.dispose()
    await waitUntil('its end', () => fixture.all('client-down').length > 0)
    expect(fixture.all('client-down')).toMatchObject([{ reason: 'timeout' }])
    const again = newClient(pskClient())
    await again.connect(await fixture.open('udp'))
    expect(again.address).toBe(gone.address)
  })

  it('is not given up as long as it answers', async () => {
    const fixture = await start({
      limits: { idleLivenessMs: 1, closePatienceMs: 200 },
      timers: { retransmitTimeoutMs: 50, retransmitTries: 2 }
    })
    const client = newClient(pskClient())
    await client.connect(await fixture.open('tcp'))
    const answered = (): number => client.driver.session.info().expectedRequestId
    await waitUntil('three checks', () => answered() >= 3)
    expect(fixture.all('client-down')).toEqual([])
  })
})

describe('sessions on one path', () => {
  it('share its socket until the last of them is gone', async () => {
    const fixture = await start()
    const [before, after] = [newClient(pskClient('before@test')), newClient(pskClient('after@test'))]
    const transport = await fixture.open('udp')
    await before.connect(transport)
    // As after a crash: the address and port are the same, and nobody has said goodbye.
    await after.connect(transport)
    await exchange(fixture, after)
    expect(fixture.gateway.clients).toBe(2)
    expect(fixture.gateway.counters.udpSockets).toBe(1)
    before.attach(transport)
    await before.disconnect()
    after.attach(transport)
    await exchange(fixture, after)
    expect(fixture.gateway.counters.udpSockets).toBe(1)
    await after.disconnect()
    await waitUntil('the end there', () => fixture.gateway.counters.udpSockets === 0)
  })
})

describe('a client that moves', () => {
  it.each<[TransportKind, TransportKind]>([
    ['udp', 'tcp'],
    ['udp', 'tls'],
    ['tls', 'udp'],
    ['tcp', 'tls']
  ])('from %s to %s keeps its address, and its traffic follows', async (from, to) => {
    const fixture = await start()
    const client = newClient(eapUser())
    await client.connect(await fixture.open(from))
    await exchange(fixture, client)
    const { address } = client
    await client.move(await fixture.open(to))
    await exchange(fixture, client)
    expect(client.address).toBe(address)
    expect(fixture.all('client-moved')).toMatchObject([{ identity: 'alice', from, to }])
    expect(fixture.gateway.counters.udpSockets).toBe(to === 'udp' ? 1 : 0)
  })

  it('is not taken back by what still comes over the old path', async () => {
    const fixture = await start()
    const client = newClient(eapUser())
    const tls = await fixture.open('tls')
    await client.connect(tls)
    await client.move(await fixture.open('udp'))
    client.sendEspOver(tls)
    await exchange(fixture, client)
    expect(fixture.all('client-moved')).toHaveLength(1)
    expect(fixture.gateway.counters.udpSockets).toBe(1)
  })

  it('is followed by its ESP when its NAT gave it another port', async () => {
    const fixture = await start()
    const client = newClient(eapUser())
    const first = await fixture.open('udp')
    await client.connect(first)
    await exchange(fixture, client)
    client.sendEspOver(await fixture.open('udp'))
    await first.close()
    await exchange(fixture, client)
    expect(fixture.all('client-moved')).toMatchObject([{ from: 'udp', to: 'udp' }])
    expect(fixture.gateway.counters.udpSockets).toBe(1)
  })

  it('is followed by its ESP onto a new stream after the old one broke', async () => {
    const fixture = await start()
    const client = newClient(eapUser())
    const first = await fixture.open('tcp')
    await client.connect(first)
    await first.close()
    await waitUntil('the end of the stream', () => fixture.gateway.counters.streams === 0)
    expect(fixture.gateway.clients).toBe(1)
    client.sendEspOver(await fixture.open('tls'))
    await exchange(fixture, client)
    expect(fixture.all('client-moved')).toMatchObject([{ from: 'tcp', to: 'tls' }])
  })
})

describe('strangers', () => {
  it('garbage on every port does nothing', async () => {
    const fixture = await start({ limits: { noSessionTimeoutMs: 1_000, closePatienceMs: 1_000 } })
    const socket = createSocket('udp4')
    cleanUp.push(() => socket.close())
    const { ike, natT } = fixture.udpPorts
    for (let length = 0; length < 200; length += 7) {
      const garbage = Buffer.alloc(length, length * 31)
      for (const port of [ike, natT]) socket.send(garbage, port, '127.0.0.1')
      socket.send(Buffer.concat([Buffer.alloc(4), garbage]), natT, '127.0.0.1')
    }
    const tcp = connectTcp(fixture.port('tcp'), '127.0.0.1')
    const tls = connectTls({ port: fixture.port('tls'), host: '127.0.0.1', rejectUnauthorized: false })
    const http = connectTls({ port: fixture.port('tls'), host: '127.0.0.1', rejectUnauthorized: false })
    const ended = [tcp, tls, http].map(
      (stream) =>
        new Promise<void>((resolve) => stream.on('error', () => undefined).once('close', () => resolve()))
    )
    // A stream that begins well and then goes wrong, one that never says an IKE message, and one of another protocol.
    tcp.write(Buffer.concat([Buffer.from('IKETCP'), Buffer.from([0, 1])]))
    tls.write(Buffer.concat([Buffer.from('IKETCP'), Buffer.from([0, 40]), Buffer.alloc(38, 9)]))
    http.write('GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n')
    await Promise.all(ended)
    const client = newClient(eapUser())
    await client.connect(await fixture.open('udp'))
    await exchange(fixture, client)
    expect(fixture.all('error')).toEqual([])
    expect(fixture.gateway.counters).toMatchObject({ halfOpen: 0, streams: 0 })
  })

  it('a flood of half-open SAs is bounded, and an honest client is served meanwhile', async () => {
    const fixture = await start({ maxHalfOpen: 16 })
    const { ike } = fixture.udpPorts
    const victim = newClient(pskClient('victim@test'))
    const captured = await captureInit(victim)
    const flood = await Promise.all(
      Array.from({ length: 100 }, async (_, index) => {
        const socket = createSocket('udp4')
        cleanUp.push(() => socket.close())
        await new Promise<void>((resolve) => socket.bind(0, `127.0.0.${10 + index}`, resolve))
        return socket
      })
    )
    for (let round = 0; round < 10; round++)
      for (const [index, socket] of flood.entries()) {
        const init = Buffer.from(captured)
        init.writeUInt32BE(round * 1000 + index + 1, 0)
        socket.send(init, ike, '127.0.0.1')
      }
    await waitUntil('the flood', () => fixture.gateway.counters.halfOpen >= 8)
    const client = newClient(eapUser())
    await client.connect(await fixture.open('udp'))
    await exchange(fixture, client)
    expect(fixture.gateway.counters.halfOpen).toBeLessThanOrEqual(16)
  })

  it('too many connections of one address are refused, and a free place is taken again', async () => {
    const fixture = await start({ limits: { maxConnectionsPerAddress: 2, closePatienceMs: 1_000 } })
    const open = await Promise.all([1, 2, 3].map(() => fixture.open('tcp')))
    const closed = new Set<number>()
    for (const [index, transport] of open.entries())
      transport.setHandlers({
        onIke() {},
        onEsp() {},
        onEspBatchEnd() {},
        onWritable() {},
        onClose: () => closed.add(index)
      })
    await waitUntil('the refusal', () => closed.size === 1)
    await Promise.all(open.map((transport) => transport.close()))
    const client = newClient(eapUser())
    await client.connect(await fixture.open('tcp'))
  })
})

describe('the end of the gateway', () => {
  it('is told to its clients', async () => {
    const fixture = await start()
    const clients = [newClient(eapUser()), newClient(pskClient())]
    await clients[0]?.connect(await fixture.open('udp'))
    await clients[1]?.connect(await fixture.open('tls'))
    await fixture.gateway.close()
    for (const client of clients)
      await waitUntil('the end', () =>
        client.events.some((event) => event.type === 'closed' && event.reason === 'deleted-by-peer')
      )
    expect(fixture.all('client-down').map(({ reason }) => reason)).toEqual(['requested', 'requested'])
  })

  it('frees its ports', async () => {
    const fixture = await start()
    const { ike, natT } = fixture.udpPorts
    const ports = { ike, natT, tcp: fixture.port('tcp'), tls: fixture.port('tls') }
    await expect(GatewayFixture.start({ ports })).rejects.toMatchObject({
      code: 'listen-failed',
      exitCode: 71
    })
    await fixture.gateway.close()
    await start({ ports })
  })
})

/** The IKE_SA_INIT request that this client sends. */
async function captureInit(client: TestClient): Promise<Buffer> {
  const socket = createSocket('udp4')
  cleanUp.push(() => socket.close())
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
  const message = new Promise<Buffer>((resolve) => socket.once('message', resolve))
  const { port } = socket.address()
  const { openUdp } = await import('../../src/transport/udp.ts')
  const transport = await openUdp({ remoteAddress: '127.0.0.1', ikePort: port, natTPort: port + 1 })
  client.attach(transport)
  client.driver.input((session, now) => session.connect(now, transport.path))
  return message
}
