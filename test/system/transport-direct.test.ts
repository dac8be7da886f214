import { createHash } from 'node:crypto'
import { type AddressInfo, connect as connectSocket, createServer, type Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import { afterEach, describe, expect, test } from 'vitest'
import { createCertificateAuthority, issueServerCertificate } from '../../src/crypto/certificate-authority.ts'
import { ConnectionLimits } from '../../src/gateway/connection-limits.ts'
import { openGatewayStreams } from '../../src/gateway/stream-server.ts'
import { silentLogger } from '../../src/log.ts'
import type { StreamTransport } from '../../src/transport/stream.ts'
import { acceptStream } from '../../src/transport/stream-accept.ts'
import { openTcp } from '../../src/transport/tcp.ts'
import { openTls, TlsSessionCache, tlsInfoOf } from '../../src/transport/tls.ts'
import type { Transport, TransportFailure, TransportHandlers } from '../../src/transport/types.ts'
import { openSockets } from '../support/open-sockets.ts'
import { espPacket, frame, ikeFrame, ikeMessage, PREFIX } from '../support/relay-fixture.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { waitUntil } from '../support/wait-until.ts'
import { Recorder } from '../unit/transport/memory-stream.ts'

const HOUR_MS = 3600_000
const validity = { notBeforeMs: Date.now() - HOUR_MS, notAfterMs: Date.now() + 24 * HOUR_MS }
const authority = createCertificateAuthority('Transport test CA', validity)
const certificate = issueServerCertificate(authority, ['127.0.0.1'], validity)

const closing: (() => unknown)[] = []
afterEach(async () => {
  await Promise.all(closing.splice(0).map((close) => close()))
})

async function listen(onSocket: (socket: Socket) => unknown): Promise<number> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    closing.push(() => socket.destroy())
    void onSocket(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closing.push(() => new Promise((resolve) => server.close(resolve)))
  return (server.address() as AddressInfo).port
}

async function connect(
  port: number,
  handlers: TransportHandlers,
  { kind = 'tcp', bufferBytes, sessions }: Setting = {}
): Promise<Transport> {
  const sockets = bufferBytes === undefined ? {} : { bufferBytes }
  const options = { host: '127.0.0.1', port, sockets }
  const transport = kind === 'tcp' ? await openTcp(options) : await openTls({ ...options, sessions })
  closing.unshift(() => transport.close(0))
  expect(transport.facts.directStream).toEqual({ inUse: true, why: null })
  transport.setHandlers(handlers)
  return transport
}

interface Setting {
  readonly kind?: 'tcp' | 'tls'
  readonly bufferBytes?: number | undefined
  readonly sessions?: TlsSessionCache
}

/** A client, and a gateway's listener with the end that it accepted: both direct. */
async function pair(
  handlers: { client: TransportHandlers; gateway: TransportHandlers },
  setting: Setting & { readonly kind: 'tcp' | 'tls' }
) {
  let gateway: StreamTransport | undefined
  const server = await openGatewayStreams({
    listeners: [{ kind: setting.kind, address: '127.0.0.1', port: 0 }],
    tls: { cert: certificate.certificatePem, key: certificate.privateKeyPem.revealText() },
    limits: new ConnectionLimits(10, 10),
    prefixTimeoutMs: 30_000,
    log: silentLogger,
    onStream: (transport) => {
      transport.setHandlers(handlers.gateway)
      gateway = transport
    }
  })
  closing.push(() => server.close())
  const client = await connect(server.listening[0]?.port ?? 0, handlers.client, setting)
  client.sendIke(ikeMessage(100), client.path)
  const accepted = await waitUntil('the connection', () => gateway)
  expect(accepted.facts.directStream).toEqual({ inUse: true, why: null })
  closing.unshift(() => accepted.close(0))
  return { client, gateway: accepted, server }
}

/** Digests everything that arrives, in order. */
class Digest implements TransportHandlers {
  #hash = createHash('sha256')
  messages = 0
  failure: TransportFailure | undefined
  onWritable: () => void = () => undefined

  onIke(message: Uint8Array): void {
    this.messages++
    this.#hash.update(message)
  }
  onEsp(buffer: Uint8Array, offset: number, length: number): void {
    this.onIke(buffer.subarray(offset, offset + length))
    // What a tunnel does: the bytes are decrypted where they stand.
    buffer.fill(0xff, offset, offset + length)
  }
  onEspBatchEnd(): void {}

  /** Of everything since it was asked for last. */
  digest(): string {
    const digest = this.#hash.digest('hex')
    this.#hash = createHash('sha256')
    this.messages = 0
    return digest
  }

  onClose(failure: TransportFailure): void {
    this.failure = failure
  }
}

/** Sends packets of random lengths in random batches, with IKE in between. @returns the digest that must arrive */
async function sendMany(transport: Transport, handlers: Digest, count: number, seed: number) {
  const random = new SeededRandom(seed)
  const hash = createHash('sha256')
  for (let sent = 0; sent < count; ) {
    const length = random.fraction() < 0.02 ? 30_000 + random.integer(35_000) : 40 + random.integer(1432)
    if (random.fraction() < 0.03) {
      const message = ikeMessage(Math.min(length, 60_000))
      // Through Node, IKE overtakes ESP that was not flushed yet.
      if (transport.facts.directStream?.inUse !== true) transport.esp.flush()
      transport.sendIke(message, transport.path)
      hash.update(message)
      sent++
      continue
    }
    const at = transport.esp.reserve(length)
    if (at < 0) {
      const writable = new Promise<void>((resolve) => {
        handlers.onWritable = resolve
      })
      await writable
      continue
    }
    const packet = espPacket(length, ++sent)
    transport.esp.buffer.set(packet, at)
    transport.esp.commit(length)
    hash.update(packet)
    if (random.fraction() < 0.1) {
      transport.esp.flush()
      if (random.fraction() < 0.2) await new Promise(setImmediate)
    }
  }
  transport.esp.flush()
  return hash.digest('hex')
}

describe('a stream that is read and written directly', () => {
  test.each([
    ['tcp', 'buffers of the size that the kernel likes', undefined],
    ['tcp', 'buffers that hold little', 65_536],
    ['tls', 'buffers of the size that the kernel likes', undefined],
    ['tls', 'buffers that hold little', 65_536]
  ] as const)(
    'carries everything in order, both ways at once: %s, with %s',
    async (kind, _name, bufferBytes) => {
      const handlers = { client: new Digest(), gateway: new Digest() }
      const { client, gateway } = await pair(handlers, { kind, bufferBytes })
      await waitUntil('the first message', () => handlers.gateway.messages === 1)
      const first = createHash('sha256').update(ikeMessage(100)).digest('hex')
      expect(handlers.gateway.digest()).toBe(first)
      const count = 3000
      const [up, down] = await Promise.all([
        sendMany(client, handlers.client, count, 1),
        sendMany(gateway, handlers.gateway, count, 2)
      ])
      await waitUntil('everything', () => handlers.client.messages + handlers.gateway.messages === 2 * count)
      expect(handlers.gateway.digest()).toBe(up)
      expect(handlers.client.digest()).toBe(down)
      expect(client.stats).toMatchObject({ espDropped: 0, malformed: 0 })
      expect(gateway.stats.bytesIn).toBe(client.stats.bytesOut - PREFIX.length)
    }
  )

  test('leaves TLS 1.2 to Node, over which everything passes all the same', async () => {
    const server = createTlsServer(
      {
        cert: certificate.certificatePem,
        key: certificate.privateKeyPem.revealText(),
        maxVersion: 'TLSv1.2'
      },
      (socket) => {
        socket.on('error', () => undefined)
        closing.push(() => socket.destroy())
        // Everything behind the prefix comes back.
        socket.once('data', (first: Buffer) => {
          socket.write(first.subarray(PREFIX.length))
          socket.pipe(socket)
        })
      }
    )
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    closing.push(() => new Promise((resolve) => server.close(resolve)))
    const transport = await openTls({ host: '127.0.0.1', port: (server.address() as AddressInfo).port })
    closing.unshift(() => transport.close(0))
    expect(transport.facts.directStream).toMatchObject({
      inUse: false,
      why: expect.stringMatching(/^TLSv1\.2 /)
    })
    const digest = new Digest()
    transport.setHandlers(digest)
    const sent = await sendMany(transport, digest, 1500, 3)
    await waitUntil('everything back', () => digest.messages === 1500)
    expect(digest.digest()).toBe(sent)
  })

  test('keeps the tickets of TLS, which resume a session', async () => {
    const sessions = new TlsSessionCache()
    const handlers = { client: new Recorder(), gateway: new Recorder() }
    const { client, server } = await pair(handlers, { kind: 'tls', sessions })
    expect(tlsInfoOf(client)?.resumed).toBe(false)
    await waitUntil('a ticket', () => sessions.size > 0)
    const again = await connect(server.listening[0]?.port ?? 0, new Recorder(), { kind: 'tls', sessions })
    expect(tlsInfoOf(again)?.resumed).toBe(true)
    again.sendIke(ikeMessage(60), again.path)
    await waitUntil('the message', () => handlers.gateway.ike.length === 2)
    expect(handlers.gateway.ike[1]).toEqual(ikeMessage(60))
  })

  test.each(['tcp', 'tls'] as const)('ends in good order: %s', async (kind) => {
    const handlers = { client: new Recorder(), gateway: new Recorder() }
    const { client, gateway } = await pair(handlers, { kind })
    await waitUntil('the first message', () => handlers.gateway.ike.length === 1)
    gateway.sendIke(ikeMessage(36), gateway.path)
    await gateway.close()
    await waitUntil('the end', () => handlers.client.closed)
    await client.close()
    expect(handlers.client.events).toEqual(['ike 36', 'closed closed-by-peer'])
    expect(handlers.gateway.events).toEqual(['ike 100', 'closed closed'])
  })

  test('misses nothing that Node had read before', async () => {
    const endpoint = { address: '127.0.0.1', port: 1 }
    const digest = new Digest()
    const packets = Array.from({ length: 3000 }, (_, index) => espPacket(1000, index))
    const port = await listen(async (socket) => {
      const accepted = await acceptStream(socket, 'tcp', {
        local: endpoint,
        remote: endpoint,
        prefixTimeoutMs: 30_000
      })
      // Long enough for Node to read ahead, if it still did.
      for (let turns = 0; turns < 20; turns++) await new Promise(setImmediate)
      if (accepted.outcome === 'accepted') accepted.transport.setHandlers(digest)
    })
    const socket = connectSocket(port, '127.0.0.1')
    closing.push(() => socket.destroy())
    socket.write(Buffer.concat([PREFIX, ...packets.map(frame)]))
    await waitUntil('everything', () => digest.messages === packets.length)
    const expected = createHash('sha256').update(Buffer.concat(packets)).digest('hex')
    expect(digest.digest()).toBe(expected)
  })

  test('delivers what came before a reset that sending is the first to notice', async () => {
    const recorder = new Recorder()
    let peer: Socket | undefined
    const port = await listen((socket) => {
      peer = socket
    })
    const transport = await connect(port, recorder)
    transport.sendIke(ikeMessage(100), transport.path)
    const socket = await waitUntil('the connection', () => peer)
    await new Promise<void>((resolve) => socket.write(ikeFrame(ikeMessage(36)), () => resolve()))
    socket.resetAndDestroy()
    // One that the loop has not told of yet.
    while (recorder.closed === undefined) {
      transport.sendIke(ikeMessage(40), transport.path)
      await new Promise(setImmediate)
    }
    expect(recorder.events[0]).toBe('ike 36')
    expect(recorder.closed.code).toBe('connection-reset')
  })

  test('goes on sending after the peer has ended its direction only until it is closed, in good order', async () => {
    const recorder = new Recorder()
    const chunks: Buffer[] = []
    let ended = false
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      closing.push(() => socket.destroy())
      socket.end(ikeFrame(ikeMessage(36)))
      socket.on('data', (chunk: Buffer) => chunks.push(chunk))
      socket.on('end', () => {
        ended = true
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    closing.push(() => new Promise((resolve) => server.close(resolve)))
    const transport = await connect((server.address() as AddressInfo).port, recorder)
    const at = transport.esp.reserve(60)
    transport.esp.buffer.set(espPacket(60), at)
    transport.esp.commit(60)
    transport.esp.flush()
    await waitUntil('the end', () => recorder.closed)
    await transport.close()
    await waitUntil('our end', () => ended)
    expect(recorder.events).toEqual(['ike 36', 'closed closed-by-peer'])
    expect(Buffer.concat(chunks)).toEqual(Buffer.concat([PREFIX, frame(espPacket(60))]))
  })

  test.each(['tcp', 'tls'] as const)(
    'ends when the owner of the socket destroys it, and leaves no descriptor behind: %s',
    async (kind) => {
      const before = openSockets()
      const handlers = { client: new Recorder(), gateway: new Recorder() }
      const { server } = await pair(handlers, { kind })
      await waitUntil('the first message', () => handlers.gateway.ike.length === 1)
      await server.close()
      await waitUntil('both ends', () => handlers.client.closed && handlers.gateway.closed)
      expect(handlers.client.closed?.code).toBe('closed-by-peer')
      await Promise.all(closing.splice(0).map((close) => close()))
      await waitUntil('closed descriptors', () => openSockets() === before)
    }
  )

  test('a slow reader costs no more than the buffers', async () => {
    const port = await listen((socket) => socket.pause())
    const transport = await connect(port, new Recorder())
    let committed = 0
    for (let turns = 0; turns < 200 || transport.esp.writable; turns++) {
      const at = transport.esp.reserve(1400)
      if (at < 0) await new Promise(setImmediate)
      else {
        transport.esp.buffer.set(espPacket(1400, turns), at)
        transport.esp.commit(1400)
        committed += 1402
      }
    }
    expect(transport.esp.writable).toBe(false)
    expect(committed - transport.stats.bytesOut).toBeLessThanOrEqual(transport.esp.buffer.length)
  })
})
