import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type TlsOptions as ServerOptions, type TLSSocket } from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createCertificateAuthority, issueServerCertificate } from '../../src/crypto/certificate-authority.ts'
import { StreamTransport } from '../../src/transport/stream.ts'
import { acceptStream } from '../../src/transport/stream-accept.ts'
import { openTcp } from '../../src/transport/tcp.ts'
import { openTls, TlsSessionCache } from '../../src/transport/tls.ts'
import type { Transport } from '../../src/transport/types.ts'
import { espPacket, frame, ikeFrame, ikeMessage, PREFIX } from '../support/relay-fixture.ts'
import { waitUntil } from '../support/wait-until.ts'
import { Recorder } from '../unit/transport/memory-stream.ts'

const HOUR_MS = 3600_000
const validity = { notBeforeMs: Date.now() - HOUR_MS, notAfterMs: Date.now() + 24 * HOUR_MS }
const authority = createCertificateAuthority('Transport test CA', validity)
const certificate = issueServerCertificate(authority, ['vpn.example', '127.0.0.1'], validity)
const ca = [authority.certificatePem]
const serverOptions: ServerOptions = {
  cert: certificate.certificatePem,
  key: certificate.privateKeyPem.revealText()
}

const closing: (() => unknown)[] = []
afterEach(async () => {
  await Promise.all(closing.splice(0).map((close) => close()))
})

interface Listening {
  readonly port: number
  readonly sockets: Socket[]
  /** First connection. */
  first(): Promise<Socket>
}

async function listen(
  server: Server,
  event: string,
  onSocket?: (socket: Socket) => unknown
): Promise<Listening> {
  const sockets: Socket[] = []
  server.on(event, (socket: Socket) => {
    socket.on('error', () => undefined)
    sockets.push(socket)
    void onSocket?.(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closing.push(() => {
    for (const socket of sockets) socket.destroy()
    return new Promise((resolve) => server.close(resolve))
  })
  return {
    port: (server.address() as AddressInfo).port,
    sockets,
    first: () => waitUntil('a connection', () => sockets[0])
  }
}

const listenTcp = (onSocket?: (socket: Socket) => unknown) =>
  listen(createTcpServer({ allowHalfOpen: true }), 'connection', onSocket)
const listenTls = (onSocket?: (socket: Socket) => unknown, options: ServerOptions = {}) =>
  listen(createTlsServer({ ...serverOptions, ...options }), 'secureConnection', onSocket)

const kinds: [
  'tcp' | 'tls',
  (onSocket?: (socket: Socket) => unknown) => Promise<Listening>,
  (port: number) => Promise<Transport>
][] = [
  ['tcp', listenTcp, (port) => openTcp({ host: '127.0.0.1', port })],
  ['tls', listenTls, (port) => openTls({ host: '127.0.0.1', port })]
]

async function opened(open: (port: number) => Promise<Transport>, port: number) {
  const transport = await open(port)
  closing.push(() => transport.close(0))
  const recorder = new Recorder()
  transport.setHandlers(recorder)
  return { transport, recorder }
}

function record(socket: Socket): Buffer[] {
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  return chunks
}

/** Streams are read and written directly, or through Node: whoever uses them must not notice. */
const ways = kinds.flatMap(([kind, listenAt, open]) =>
  (['directly', 'through Node'] as const).map((way) => [kind, way, listenAt, open] as const)
)

describe.each(ways)('%s %s', (kind, way, listenAt, open) => {
  beforeAll(() => {
    if (way === 'through Node') process.env['IKESTREAM_NO_DIRECT_STREAMS'] = '1'
    return () => {
      delete process.env['IKESTREAM_NO_DIRECT_STREAMS']
    }
  })

  test('says which way it is', async () => {
    const server = await listenAt()
    const { transport } = await opened(open, server.port)
    expect(transport.facts.directStream).toEqual(
      way === 'through Node'
        ? { inUse: false, why: 'switched off by IKESTREAM_NO_DIRECT_STREAMS' }
        : { inUse: true, why: null }
    )
  })

  test('stays silent until the first message, which leaves in one piece with the prefix', async () => {
    const chunks: Buffer[] = []
    const server = await listenAt((socket) => socket.on('data', (chunk: Buffer) => chunks.push(chunk)))
    const { transport } = await opened(open, server.port)
    await server.first()
    // A second connection that is served in full: what the first had sent would have arrived by then.
    const { transport: other } = await opened(open, server.port)
    other.sendIke(ikeMessage(40), other.path)
    await waitUntil('the second connection', () => chunks.length > 0)
    expect(chunks).toEqual([Buffer.concat([PREFIX, ikeFrame(ikeMessage(40))])])
    transport.sendIke(ikeMessage(432), transport.path)
    await waitUntil('the first message', () => chunks.length > 1)
    expect(chunks.slice(1)).toEqual([Buffer.concat([PREFIX, ikeFrame(ikeMessage(432))])])
  })

  test('delivers an error message that the gateway sent right before its FIN, then its end', async () => {
    const server = await listenAt((socket) =>
      socket.once('data', () =>
        socket.end(Buffer.concat([ikeFrame(ikeMessage(36)), ikeFrame(ikeMessage(44))]))
      )
    )
    const { transport, recorder } = await opened(open, server.port)
    transport.sendIke(ikeMessage(400), transport.path)
    await waitUntil('the end', () => recorder.closed)
    expect(recorder.events).toEqual(['ike 36', 'ike 44', 'closed closed-by-peer'])
  })

  test('delivers what the gateway sent right before a reset, too', async () => {
    const server = await listenAt((socket) =>
      socket.once('data', () =>
        socket.write(ikeFrame(ikeMessage(36)), () => rawSocketOf(socket).resetAndDestroy())
      )
    )
    const { transport, recorder } = await opened(open, server.port)
    transport.sendIke(ikeMessage(400), transport.path)
    await waitUntil('the end', () => recorder.closed)
    // Linux may tell a reset behind unread data as an end.
    expect(recorder.events).toEqual([
      'ike 36',
      expect.stringMatching(/^closed (connection-reset|closed-by-peer)$/)
    ])
  })

  test('delivers bytes whatever the pauses between them', async () => {
    const bytes = Buffer.concat([ikeFrame(ikeMessage(36)), frame(espPacket(40)), ikeFrame(ikeMessage(44))])
    const server = await listenAt((socket) =>
      socket.once('data', async () => {
        for (const byte of bytes)
          await new Promise<void>((resolve) => socket.write(Buffer.of(byte), () => setImmediate(resolve)))
      })
    )
    const { transport, recorder } = await opened(open, server.port)
    transport.sendIke(ikeMessage(400), transport.path)
    await waitUntil('both messages', () => recorder.ike.length === 2)
    expect(recorder.esp).toEqual([espPacket(40)])
  })

  test('a reset is told as a reset', async () => {
    const server = await listenAt()
    const { transport, recorder } = await opened(open, server.port)
    transport.sendIke(ikeMessage(400), transport.path)
    const socket = await server.first()
    await new Promise((resolve) => socket.once('data', resolve))
    // Everything before the reset has been read: a session ticket of TLS, say, would be data in front of it.
    socket.write(ikeFrame(ikeMessage(36)))
    await waitUntil('the message', () => recorder.ike.length === 1)
    rawSocketOf(socket).resetAndDestroy()
    await waitUntil('the end', () => recorder.closed)
    expect(recorder.events).toEqual(['ike 36', 'closed connection-reset'])
  })

  test('blocks when the peer does not read, loses nothing, and goes on', async () => {
    const server = await listenAt((socket) => socket.pause())
    const { transport, recorder } = await opened(open, server.port)
    const sent: Buffer[] = [PREFIX]
    const socket = await server.first()
    const chunks: Buffer[] = []
    let sequence = 0
    while (transport.esp.writable) {
      for (let i = 0; i < 40; i++) {
        const packet = espPacket(1400, ++sequence)
        const at = transport.esp.reserve(1400)
        if (at < 0) break
        transport.esp.buffer.set(packet, at)
        transport.esp.commit(1400)
        sent.push(frame(packet))
      }
      transport.esp.flush()
      await new Promise(setImmediate)
    }
    transport.sendIke(ikeMessage(500), transport.path)
    sent.push(ikeFrame(ikeMessage(500)))
    expect(recorder.writable).toBe(0)
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.resume()
    const expected = Buffer.concat(sent)
    await waitUntil('everything', () => Buffer.concat(chunks).length >= expected.length)
    expect(Buffer.concat(chunks).equals(expected)).toBe(true)
    await waitUntil('onWritable', () => recorder.writable > 0)
    expect(transport.esp.writable).toBe(true)
    expect(transport.stats.espDropped).toBe(0)
  })

  test('closing sends what is committed, then its end', async () => {
    const server = await listenAt((socket) => socket.on('end', () => socket.end()))
    const { transport, recorder } = await opened(open, server.port)
    const socket = await server.first()
    const chunks = record(socket)
    const ended = new Promise((resolve) => socket.once('end', resolve))
    const at = transport.esp.reserve(60)
    transport.esp.buffer.set(espPacket(60), at)
    transport.esp.commit(60)
    await transport.close(10_000)
    await ended
    expect(Buffer.concat(chunks)).toEqual(Buffer.concat([PREFIX, frame(espPacket(60))]))
    expect(recorder.events).toEqual(['closed closed'])
  })

  test('the path says the real addresses', async () => {
    const server = await listenAt()
    const { transport } = await opened(open, server.port)
    const socket = await server.first()
    expect(transport.path).toMatchObject({
      transport: kind,
      reliable: true,
      local: { address: '127.0.0.1', port: rawSocketOf(socket).remotePort },
      remote: { address: '127.0.0.1', port: server.port }
    })
    expect(transport.via).toBeNull()
  })

  test('both ends talk when the other is accepted by this program', async () => {
    const answering = new Recorder()
    const server = await listenAt(async (socket) => {
      const accepted = await acceptStream(socket, kind, {
        local: { address: '127.0.0.1', port: 1 },
        remote: { address: '127.0.0.1', port: 2 },
        prefixTimeoutMs: 30_000
      })
      if (accepted.outcome !== 'accepted') return
      const { transport } = accepted
      answering.onIke = (message) => {
        answering.ike.push(Buffer.from(message))
        transport.sendIke(ikeMessage(message.length + 1), transport.path)
      }
      transport.setHandlers(answering)
    })
    const { transport, recorder } = await opened(open, server.port)
    transport.sendIke(ikeMessage(100), transport.path)
    await waitUntil('the answer', () => recorder.ike.length === 1)
    expect(recorder.ike).toEqual([ikeMessage(101)])
    await transport.close()
    await waitUntil('the end', () => answering.closed)
    expect(answering.closed?.code).toBe('closed-by-peer')
  })

  test('a refused port, a timeout and an abort have their codes', async () => {
    const server = createTcpServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    await new Promise((resolve) => server.close(resolve))
    await expect(open(port)).rejects.toMatchObject({ code: 'connection-refused' })
  })
})

/** The TCP socket under a TLS socket of a server, which Node keeps to itself. */
function rawSocketOf(socket: Socket): Socket {
  const parent: unknown = '_parent' in socket ? socket._parent : undefined
  return parent instanceof Object && 'resetAndDestroy' in parent ? (parent as Socket) : socket
}

describe('opening a stream', () => {
  test('is given up when told, or when it takes too long', async () => {
    // Listens but never accepts TLS: the handshake hangs.
    const server = await listenTcp()
    const { port } = server
    await expect(openTls({ host: '127.0.0.1', port, timeoutMs: 30 })).rejects.toMatchObject({
      code: 'timeout'
    })
    const controller = new AbortController()
    const opening = openTls({ host: '127.0.0.1', port, signal: controller.signal })
    await waitUntil('the connection', () => server.sockets.length === 2)
    controller.abort()
    await expect(opening).rejects.toMatchObject({ code: 'closed' })
    await expect(openTcp({ host: '127.0.0.1', port, signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'closed'
    })
  })

  test('a TCP transport is a StreamTransport whose ESP length fits a UDP path, too', async () => {
    const server = await listenTcp()
    const { transport } = await opened((port) => openTcp({ host: '127.0.0.1', port }), server.port)
    expect(transport).toBeInstanceOf(StreamTransport)
    expect(transport.maxEspLength).toBe(1472)
  })
})

describe('TLS', () => {
  let trusted: Listening
  const serverNames: TLSSocket['servername'][] = []
  beforeAll(async () => {
    trusted = await listenTls((socket) => serverNames.push((socket as TLSSocket).servername))
    // Shared by the tests below: closed at the end, not after the first.
    const close = closing.splice(0)
    afterAllClose.push(...close)
  })
  const afterAllClose: (() => unknown)[] = []
  afterAll(async () => {
    await Promise.all(afterAllClose.map((close) => close()))
  })
  const connect = async (options: Partial<Parameters<typeof openTls>[0]> = {}) => {
    const transport = await openTls({ host: '127.0.0.1', port: trusted.port, ...options })
    closing.push(() => transport.close(0))
    return transport
  }

  test('reports a certificate that nothing vouches for, and goes on', async () => {
    const { tlsInfo } = await connect({ serverName: 'vpn.example' })
    expect(tlsInfo).toMatchObject({
      protocol: 'TLSv1.3',
      authorized: false,
      authorizationError: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
      subject: 'CN=vpn.example',
      issuer: 'CN=Transport test CA',
      resumed: false
    })
    expect(tlsInfo.fingerprint).toMatch(/^([0-9A-F]{2}:){31}[0-9A-F]{2}$/)
    expect(tlsInfo.cipher).toMatch(/^TLS_/)
  })

  test('is authorized with the right CA and name', async () => {
    const { tlsInfo } = await connect({ ca, verify: true, serverName: 'vpn.example' })
    expect(tlsInfo).toMatchObject({ authorized: true, authorizationError: undefined })
  })

  test('checks an address against the certificate, and sends no SNI for it', async () => {
    serverNames.length = 0
    const { tlsInfo } = await connect({ ca, verify: true })
    expect(tlsInfo.authorized).toBe(true)
    await waitUntil('the connection', () => serverNames.length === 1)
    expect(serverNames[0]).toBeFalsy()
  })

  test('sends the name that it was given as SNI', async () => {
    serverNames.length = 0
    await connect({ serverName: 'www.example.com' })
    await waitUntil('the connection', () => serverNames.length === 1)
    expect(serverNames).toEqual(['www.example.com'])
  })

  test.each([
    [{ verify: true, serverName: 'vpn.example' }, 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
    [{ verify: true, ca, serverName: 'www.example.com' }, 'ERR_TLS_CERT_ALTNAME_INVALID']
  ])('refuses an untrusted certificate only when asked to: %j', async (options, reason) => {
    await expect(connect(options)).rejects.toMatchObject({
      code: 'tls-untrusted',
      message: expect.stringContaining(reason),
      hint: expect.stringContaining('--tls-cafile')
    })
    const { tlsInfo } = await connect({ ...options, verify: false })
    expect(tlsInfo).toMatchObject({ authorized: false, authorizationError: reason })
  })

  test.each(['TLSv1.2', 'TLSv1.3'] as const)('resumes a %s session', async (maxVersion) => {
    const server = await listenTls((socket) => socket.resume(), { maxVersion })
    const sessions = new TlsSessionCache()
    const once = async () => {
      const transport = await openTls({
        host: '127.0.0.1',
        port: server.port,
        serverName: 'vpn.example',
        verify: true,
        ca,
        sessions
      })
      closing.push(() => transport.close(0))
      transport.setHandlers(new Recorder())
      return transport.tlsInfo
    }
    expect(await once()).toMatchObject({ protocol: maxVersion, resumed: false })
    await waitUntil('a ticket', () => sessions.size > 0)
    expect(await once()).toMatchObject({ resumed: true, authorized: true })
  })

  test('does not resume for one who verifies what one who does not has made', async () => {
    const sessions = new TlsSessionCache()
    const transport = await connect({ serverName: 'vpn.example', sessions })
    transport.setHandlers(new Recorder())
    await waitUntil('a ticket', () => sessions.size > 0)
    await expect(connect({ serverName: 'vpn.example', sessions, verify: true })).rejects.toMatchObject({
      code: 'tls-untrusted'
    })
  })

  test('keeps a bounded number of sessions', () => {
    const sessions = new TlsSessionCache()
    for (let i = 0; i < 100; i++) sessions.put(`${i}`, Buffer.alloc(1))
    expect(sessions.size).toBe(32)
    expect(sessions.take('99')).toBeDefined()
    expect(sessions.take('99')).toBeUndefined()
  })

  test.each([
    [
      'something that is no TLS',
      (socket: Socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'),
      'tls-error'
    ],
    ['an immediate end', (socket: Socket) => socket.end(), 'connection-reset'],
    ['a reset', (socket: Socket) => socket.resetAndDestroy(), 'connection-reset']
  ])('%s is told apart', async (_, behave, code) => {
    const server = await listenTcp((socket) => {
      socket.once('data', () => behave(socket))
    })
    await expect(openTls({ host: '127.0.0.1', port: server.port })).rejects.toMatchObject({ code })
  })

  test('a server of TLS 1.1 only is a TLS error', async () => {
    const server = await listenTls(undefined, {
      minVersion: 'TLSv1.1',
      maxVersion: 'TLSv1.1',
      ciphers: 'DEFAULT@SECLEVEL=0'
    })
    await expect(openTls({ host: '127.0.0.1', port: server.port })).rejects.toMatchObject({
      code: 'tls-error'
    })
  })
})
