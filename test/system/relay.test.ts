import { readFile } from 'node:fs/promises'
import { createServer, type IncomingMessage } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createCertificateAuthority, issueServerCertificate } from '../../src/crypto/certificate-authority.ts'
import { silentLogger } from '../../src/log.ts'
import type { RelayOptions } from '../../src/relay/options.ts'
import { type Relay, startRelay } from '../../src/relay/relay.ts'
import type { StreamCredentials } from '../../src/transport/stream-server.ts'
import { openSockets } from '../support/open-sockets.ts'
import {
  espPacket,
  FakeServer,
  frame,
  ikeFrame,
  ikeMessage,
  PREFIX,
  StreamClient,
  withMarker
} from '../support/relay-fixture.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { waitUntil } from '../support/wait-until.ts'

const cleanUp: (() => unknown)[] = []
afterEach(async () => {
  for (const action of cleanUp.splice(0).reverse()) await action()
})

function serverCredentials(): StreamCredentials {
  const validity = { notBeforeMs: Date.now() - 60_000, notAfterMs: Date.now() + 3_600_000 }
  const authority = createCertificateAuthority('Relay test CA', validity)
  const { certificatePem, privateKeyPem } = issueServerCertificate(authority, ['relay.test'], validity)
  return { cert: certificatePem, key: privateKeyPem.revealText() }
}

interface SetUp {
  readonly relay: Relay
  readonly server: FakeServer
  readonly port: number
  connect(): Promise<StreamClient>
}

async function setUp(options: Partial<RelayOptions> = {}, tls = false): Promise<SetUp> {
  const server = await FakeServer.open()
  cleanUp.push(() => server.close())
  const credentials = tls ? serverCredentials() : undefined
  const relay = await startRelay({
    listeners: [{ address: '127.0.0.1', port: 0, tls: credentials }],
    target: { host: '127.0.0.1', port: server.port },
    log: silentLogger,
    ...options,
    limits: { closeGraceMs: 500, ...options.limits }
  })
  cleanUp.push(() => relay.close())
  const port = relay.listening[0]?.port ?? 0
  const connectClient = async (): Promise<StreamClient> => {
    const client = await (tls ? StreamClient.tls(port) : StreamClient.tcp(port))
    cleanUp.push(() => client.destroy())
    return client
  }
  return { relay, server, port, connect: connectClient }
}

/** The relay reads and writes its streams through Node from now on. */
function leaveStreamsToNode(): void {
  vi.stubEnv('IKESTREAM_NO_DIRECT_STREAMS', '1')
  cleanUp.push(() => vi.unstubAllEnvs())
}

describe.each([
  ['TCP', false, true, true],
  ['TLS', true, true, true],
  ["TCP, and Node's own datagrams", false, true, false],
  ['TCP through Node', false, false, true],
  ['TLS through Node', true, false, true],
  ["TCP through Node, and Node's own datagrams", false, false, false]
])('a stream over %s', (_name, tls, direct, nativeSockets) => {
  beforeEach(() => {
    if (!direct) leaveStreamsToNode()
  })

  test('says in the metrics who reads and writes it', async () => {
    const { relay, server, connect } = await setUp({ nativeSockets }, tls)
    const client = await connect()
    client.write(PREFIX, frame(espPacket(100)))
    await server.expect(1)
    const labels = direct ? 'path="direct"' : 'path="node",why="switched off by IKESTREAM_NO_DIRECT_STREAMS"'
    expect(relay.metrics.format()).toContain(`ikestream_relay_streams_total{${labels}} 1`)
  })

  test('carries IKE and ESP both ways, in order', async () => {
    const { server, connect } = await setUp({ nativeSockets }, tls)
    const client = await connect()
    const request = ikeMessage(432)
    client.write(PREFIX, ikeFrame(request))
    expect(await server.expect(1)).toEqual([withMarker(request)])

    const burst = Array.from({ length: 150 }, (_, index) => espPacket(index % 10 === 9 ? 700 : 1400, index))
    client.write(...burst.map(frame))
    expect((await server.expect(151)).slice(1)).toEqual(burst)

    const answers = [withMarker(ikeMessage(600, 7)), ...burst.slice(0, 40)]
    for (const answer of answers) await server.reply(answer)
    expect(await client.expect(answers.length)).toEqual(answers)
  })

  test('carries messages of every order of magnitude', async () => {
    const { server, connect } = await setUp({ nativeSockets }, tls)
    const client = await connect()
    const messages = [8, 9, 100, 1279, 1472, 9000, 30_000, 65_507].map((length) => espPacket(length, length))
    messages.push(withMarker(ikeMessage(28)), withMarker(ikeMessage(65_000)))
    client.write(PREFIX, ...messages.map(frame))
    expect(await server.expect(messages.length)).toEqual(messages)
    for (const message of messages) await server.reply(message)
    expect(await client.expect(messages.length)).toEqual(messages)
  })

  test('keepalives go no further in either direction', async () => {
    const { relay, server, connect } = await setUp({ nativeSockets }, tls)
    const client = await connect()
    client.write(PREFIX, frame(Buffer.of(0xff)), frame(Buffer.alloc(0)), frame(espPacket(100)))
    expect(await server.expect(1)).toEqual([espPacket(100)])
    await server.reply(Buffer.of(0xff), espPacket(64))
    expect(await client.expect(1)).toEqual([espPacket(64)])
    expect(relay.metrics.toClient.keepalives.value).toBe(1)
    expect(relay.metrics.toServer.keepalives.value).toBe(1)
  })

  test('each stream has a source port of its own, and gets what is sent to that', async () => {
    const { server, connect } = await setUp({ nativeSockets }, tls)
    const [first, second] = [await connect(), await connect()]
    first.write(PREFIX, frame(espPacket(100, 1)))
    await server.expect(1)
    second.write(PREFIX, frame(espPacket(100, 2)))
    await server.expect(2)
    const [a, b] = server.received.map(({ from }) => from)
    expect(a?.port).not.toBe(b?.port)
    if (a !== undefined) await server.send(a, espPacket(50, 1))
    if (b !== undefined) await server.send(b, espPacket(50, 2))
    expect(await first.expect(1)).toEqual([espPacket(50, 1)])
    expect(await second.expect(1)).toEqual([espPacket(50, 2)])
  })

  test('a target that is not there ends the stream', async () => {
    const { relay, server, connect } = await setUp({ nativeSockets }, tls)
    const client = await connect()
    client.write(PREFIX, frame(espPacket(100)))
    await server.expect(1)
    await server.close()
    await waitUntil('the stream to end', () => {
      if (!client.closed) client.write(frame(espPacket(100)))
      return client.closed
    })
    expect(relay.metrics.format()).toMatch(/target_errors_total\{code="ECONNREFUSED"\} [1-9]/)
    expect(relay.metrics.format()).toContain('streams_ended_total{reason="target-unreachable"} 1')
  })

  test('closing the relay delivers what waits, then ends the streams', async () => {
    const { relay, server, connect } = await setUp({ nativeSockets }, tls)
    const client = await connect()
    client.write(PREFIX, frame(espPacket(100)))
    await server.expect(1)
    await server.reply(espPacket(1000))
    await waitUntil('the answer to be queued', () => relay.metrics.toClient.esp.value === 1)
    await relay.close()
    await client.expectClosed()
    expect(client.frames()).toEqual([espPacket(1000)])
    await expect(StreamClient.tcp(relay.listening[0]?.port ?? 0)).rejects.toThrow('ECONNREFUSED')
  })
})

describe('the prefix', () => {
  test('may come in two segments', async () => {
    const { server, connect } = await setUp()
    const client = await connect()
    client.write(PREFIX.subarray(0, 1))
    await new Promise((resolve) => setImmediate(resolve))
    client.write(PREFIX.subarray(1), frame(espPacket(100)))
    expect(await server.expect(1)).toEqual([espPacket(100)])
  })

  test('another protocol is closed without an answer, as is one that says nothing', async () => {
    const { relay, connect } = await setUp({ limits: { prefixTimeoutMs: 100 } })
    const [wrong, silent] = [await connect(), await connect()]
    wrong.write(Buffer.from('GET / HTTP/1.1\r\n\r\n'))
    await wrong.expectClosed()
    await silent.expectClosed()
    expect(wrong.received).toHaveLength(0)
    const text = relay.metrics.format()
    expect(text).toContain('streams_ended_total{reason="wrong-prefix"} 1')
    expect(text).toContain('streams_ended_total{reason="prefix-timeout"} 1')
    await waitUntil('the places to be free', () => relay.metrics.connectionsOpen.value === 0)
  })

  test.each([
    ['TCP', false],
    ['TLS', true]
  ])('with a web server behind it, one port serves both (%s)', async (_name, tls) => {
    const web = createServer(async (request: IncomingMessage, response) => {
      const body = Buffer.concat(await request.toArray())
      response.end(`${request.method} ${request.url} ${body.length}`)
    })
    await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve))
    cleanUp.push(() => new Promise((resolve) => web.close(resolve)))
    const { port } = web.address() as AddressInfo
    const { server, connect } = await setUp({ fallback: { host: '127.0.0.1', port } }, tls)
    const browser = await connect()
    const head = 'POST /form HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 200000\r\n\r\n'
    browser.write(Buffer.from(head), Buffer.alloc(200_000, 0x61))
    await browser.expectClosed()
    expect(browser.received.toString()).toMatch(/^HTTP\/1\.1 200 OK\r\n/)
    expect(browser.received.toString()).toContain('POST /form 200000')

    const client = await connect()
    client.write(PREFIX, frame(espPacket(100)))
    expect(await server.expect(1)).toEqual([espPacket(100)])
  })

  test('a web server that is not there closes the stream', async () => {
    const { connect } = await setUp({ fallback: { host: '127.0.0.1', port: 1 } })
    const browser = await connect()
    browser.write(Buffer.from('GET / HTTP/1.1\r\n\r\n'))
    await browser.expectClosed()
  })
})

describe('limits', () => {
  test('connections of one address beyond the limit are closed; a place that is free is given again', async () => {
    const { relay, server, connect } = await setUp({ limits: { maxConnectionsPerAddress: 2 } })
    const [first, second, third] = [await connect(), await connect(), await connect()]
    await third.expectClosed()
    second.destroy()
    await waitUntil('a place', () => relay.metrics.connectionsOpen.value === 1)
    const fourth = await connect()
    fourth.write(PREFIX, frame(espPacket(100)))
    await server.expect(1)
    expect(first.closed).toBe(false)
    expect(relay.metrics.format()).toContain('connections_refused_total{reason="too-many-from-address"} 1')
  })

  test('a flood of connections is cut, and the relay serves on', async () => {
    const { relay, server, port, connect } = await setUp({
      limits: { maxAccepts: 20, maxAcceptsPerAddress: 20, maxConnections: 15 }
    })
    const flood = await Promise.all(Array.from({ length: 100 }, () => StreamClient.tcp(port)))
    await waitUntil('most of them to be refused', () => flood.filter(({ closed }) => closed).length >= 60)
    expect(relay.metrics.connectionsOpen.value).toBeLessThanOrEqual(15)
    for (const client of flood) client.destroy()
    await waitUntil('the places to be free', () => relay.metrics.connectionsOpen.value === 0)
    await waitUntil('a stream', async () => {
      const client = await connect()
      client.write(PREFIX, frame(espPacket(100)))
      return waitUntil('a datagram', () => server.received.length > 0, 600).catch(() => false as const)
    })
  })

  test('a stream that is idle is closed', async () => {
    const { server, connect } = await setUp({ limits: { idleTimeoutMs: 200 } })
    const client = await connect()
    client.write(PREFIX, frame(espPacket(100)))
    await server.expect(1)
    await client.expectClosed()
  })

  test('a TLS handshake that does not come to its end is cut, garbage at once', async () => {
    const { relay, port } = await setUp({ limits: { tlsHandshakeTimeoutMs: 100 } }, true)
    const [silent, garbage] = [await StreamClient.tcp(port), await StreamClient.tcp(port)]
    garbage.write(Buffer.alloc(300, 0x47))
    await garbage.expectClosed()
    await silent.expectClosed()
    await waitUntil('the places to be free', () => relay.metrics.connectionsOpen.value === 0)
    expect(relay.metrics.format()).toContain('connections_refused_total{reason="tls-failed"} 2')
  })
})

describe.each([
  ['direct', true],
  ['left to Node', false]
])('a client that does not read, its stream %s', (_name, direct) => {
  beforeEach(() => {
    if (!direct) leaveStreamsToNode()
  })

  test('costs bounded memory and loses ESP, but no IKE', async () => {
    const { relay, server, port } = await setUp()
    const socket = connect({ host: '127.0.0.1', port, noDelay: true })
    cleanUp.push(() => socket.destroy())
    await new Promise<void>((resolve) => socket.once('connect', resolve))
    socket.write(Buffer.concat([PREFIX, frame(espPacket(100))]))
    await server.expect(1)

    const { esp, espDropped, ike } = relay.metrics.toClient
    const flood = Array.from({ length: 50 }, (_, index) => espPacket(1400, index))
    // until the kernel's own buffers are full too
    for (let round = 1; espDropped.value < 1000; round++) {
      await server.reply(...flood, withMarker(ikeMessage(300, round)))
      await waitUntil(
        'the flood to arrive',
        () => esp.value + espDropped.value >= round * 50 && ike.value >= round
      )
    }
    const client = new StreamClient(socket)
    await server.reply(withMarker(ikeMessage(300, 999_999)))
    const last = withMarker(ikeMessage(300, 999_999))
    await waitUntil('the last IKE message', () => client.frames().at(-1)?.equals(last))
    const messages = client.frames().filter((body) => body.readUInt32BE(0) === 0)
    expect(messages).toHaveLength(ike.value)
    expect(client.frames().length - messages.length).toBe(esp.value)
  })
})

describe.each([
  ['TCP', false, true],
  ['TLS', true, true],
  ['TCP through Node', false, false],
  ['TLS through Node', true, false]
])('much traffic over %s', (_name, tls, direct) => {
  beforeEach(() => {
    if (!direct) leaveStreamsToNode()
  })

  test('passes as it was sent, both ways at once', async () => {
    const { relay, server, connect } = await setUp({ sockets: { bufferBytes: 65_536 } }, tls)
    const client = await connect()
    client.write(PREFIX, frame(espPacket(100)))
    await server.expect(1)
    const random = new SeededRandom(9329)
    const packets = Array.from({ length: 2000 }, (_, index) => espPacket(40 + random.integer(1432), index))
    // Few at a time: what the far end of UDP has no room for is lost, and that is not what this is about.
    for (let at = 0; at < packets.length; at += 50) {
      const few = packets.slice(at, at + 50)
      client.write(...few.map(frame))
      await Promise.all([server.expect(1 + at + 50), server.reply(...few), client.expect(at + 50)])
    }
    expect(server.received.slice(1).map(({ bytes }) => bytes)).toEqual(packets)
    expect(client.frames()).toEqual(packets)
    expect(relay.metrics.toClient.espDropped.value).toBe(0)
  })

  test('ends with the client, however it leaves, and leaves no descriptor behind', async () => {
    const before = openSockets()
    const { relay, server, connect } = await setUp({}, tls)
    const clients = [await connect(), await connect(), await connect()]
    for (const [index, client] of clients.entries()) {
      client.write(PREFIX, frame(espPacket(100, index)))
      await server.expect(index + 1)
    }
    clients[0]?.stream.end()
    // Node resets plain TCP only; TLS ends without close_notify.
    if (tls) clients[1]?.socket.destroy()
    else clients[1]?.socket.resetAndDestroy()
    await waitUntil('two to be gone', () => relay.metrics.connectionsOpen.value === 1)
    expect(relay.metrics.format()).toContain(`streams_ended_total{reason="client-closed"} ${tls ? 2 : 1}`)
    if (!tls) expect(relay.metrics.format()).toContain('streams_ended_total{reason="client-reset"} 1')
    await relay.close()
    await clients[2]?.expectClosed()
    expect(relay.metrics.format()).toContain('streams_ended_total{reason="shutdown"} 1')
    for (const action of cleanUp.splice(0).reverse()) await action()
    await waitUntil('closed descriptors', () => openSockets() <= before)
  })
})

describe('TLS 1.2', () => {
  test('is left to Node, and works all the same', async () => {
    const { relay, server, port } = await setUp({}, true)
    const client = await StreamClient.tls(port, { maxVersion: 'TLSv1.2' })
    cleanUp.push(() => client.destroy())
    client.write(PREFIX, frame(espPacket(100)))
    await server.expect(1)
    await server.reply(espPacket(200))
    expect(await client.expect(1)).toEqual([espPacket(200)])
    expect(relay.metrics.format()).toMatch(/streams_total\{path="node",why="TLSv1\.2 with [^"]+"\} 1/)
  })
})

describe('a relay that ends', () => {
  test('does not wait for those that have not said anything', async () => {
    const { relay, connect } = await setUp({ limits: { closeGraceMs: 3_600_000 } })
    const [silent, partial] = [await connect(), await connect()]
    partial.write(PREFIX.subarray(0, 3))
    await waitUntil('both', () => relay.metrics.connectionsOpen.value === 2)
    await relay.close()
    await Promise.all([silent.expectClosed(), partial.expectClosed()])
    expect(relay.metrics.format()).toContain('streams_ended_total{reason="shutdown"} 2')
  })
})

describe('behind a target on loopback', () => {
  test('each client has an address of its own, the same for all its streams', async () => {
    const server = await FakeServer.open()
    cleanUp.push(() => server.close())
    const relay = await startRelay({
      listeners: [{ address: undefined, port: 0 }],
      target: { host: '127.0.0.1', port: server.port },
      log: silentLogger
    })
    cleanUp.push(() => relay.close())
    const port = relay.listening[0]?.port ?? 0
    const sources: string[] = []
    for (const localAddress of ['127.0.0.1', '127.0.0.1', '127.0.0.2']) {
      const client = await StreamClient.tcp(port, { localAddress })
      cleanUp.push(() => client.destroy())
      client.write(PREFIX, frame(espPacket(100)))
      await server.expect(sources.length + 1)
      sources.push(server.received.at(-1)?.from.address ?? '')
    }
    expect(sources[0]).toBe(sources[1])
    expect(sources[2]).not.toBe(sources[0])
    for (const source of sources) expect(source).toMatch(/^127\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\./)
  })
})

describe('starting', () => {
  test('metrics are served over HTTP', async () => {
    const { relay } = await setUp({ metrics: { address: '127.0.0.1', port: 0 } })
    const at = `http://127.0.0.1:${relay.metricsListening?.port}`
    const answer = await fetch(`${at}/metrics`)
    expect(answer.headers.get('content-type')).toContain('text/plain; version=0.0.4')
    expect(await answer.text()).toContain('ikestream_relay_connections_open 0')
    expect((await fetch(`${at}/other`)).status).toBe(404)
  })

  test('a port that is taken, a name that does not exist and a key that does not fit are told apart', async () => {
    const { port } = await setUp()
    const options: RelayOptions = {
      listeners: [{ address: '127.0.0.1', port }],
      target: { host: '127.0.0.1', port: 4500 },
      log: silentLogger
    }
    await expect(startRelay(options)).rejects.toMatchObject({ code: 'listen-failed', exitCode: 71 })
    const nowhere = { ...options, target: { host: 'no-such-host.invalid', port: 4500 } }
    await expect(startRelay(nowhere)).rejects.toMatchObject({ code: 'target-not-found', exitCode: 68 })
    const tls = { cert: await readFile(import.meta.filename), key: 'no key' }
    const broken = { ...options, listeners: [{ address: '127.0.0.1', port: 0, tls }] }
    await expect(startRelay(broken)).rejects.toMatchObject({ code: 'bad-tls-credentials', exitCode: 65 })
  })
})
