import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import { afterEach, describe, expect, test } from 'vitest'
import { createCertificateAuthority, issueServerCertificate } from '../../src/crypto/certificate-authority.ts'
import { TransportError } from '../../src/transport/failure.ts'
import { connectThroughProxy } from '../../src/transport/proxy.ts'
import { parseProxyUrl } from '../../src/transport/proxy-url.ts'
import { openTcp } from '../../src/transport/tcp.ts'
import { openTls } from '../../src/transport/tls.ts'
import { ikeFrame, ikeMessage, PREFIX } from '../support/relay-fixture.ts'
import { waitUntil } from '../support/wait-until.ts'
import { Recorder } from '../unit/transport/memory-stream.ts'

const HOUR_MS = 3600_000
const validity = { notBeforeMs: Date.now() - HOUR_MS, notAfterMs: Date.now() + 24 * HOUR_MS }
const authority = createCertificateAuthority('Proxy test CA', validity)
const certificate = issueServerCertificate(authority, ['localhost', '127.0.0.1'], validity)
const tlsOptions = { cert: certificate.certificatePem, key: certificate.privateKeyPem.revealText() }

const closing: (() => unknown)[] = []
afterEach(async () => {
  await Promise.all(closing.splice(0).map((close) => close()))
})

async function listen(
  server: Server,
  onSocket: (socket: Socket) => unknown,
  event = 'connection'
): Promise<number> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
  })
  server.on(event, (socket: Socket) => {
    socket.on('error', () => undefined)
    void onSocket(socket)
  })
  server.on('tlsClientError', () => undefined)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closing.push(() => {
    for (const socket of sockets) socket.destroy()
    return new Promise((resolve) => server.close(resolve))
  })
  return (server.address() as AddressInfo).port
}

const listenTcp = (onSocket: (socket: Socket) => unknown) => listen(createServer(), onSocket)

/** Reads up to and with `end`; what is behind it is given back to the stream. */
function readUntil(socket: Socket, isWhole: (bytes: Buffer) => number): Promise<Buffer> {
  return new Promise((resolve) => {
    let seen = Buffer.alloc(0)
    const onData = (chunk: Buffer) => {
      seen = Buffer.concat([seen, chunk])
      const length = isWhole(seen)
      if (length <= 0) return
      socket.off('data', onData)
      socket.pause()
      if (seen.length > length) socket.unshift(seen.subarray(length))
      resolve(seen.subarray(0, length))
    }
    socket.on('data', onData)
    socket.resume()
  })
}

const header = (bytes: Buffer) => bytes.indexOf('\r\n\r\n') + (bytes.includes('\r\n\r\n') ? 4 : 1)
const bytes = (count: number) => (seen: Buffer) => (seen.length >= count ? count : 0)

/** The gateway: writes down the stream, answers the first message in two pieces. */
async function gateway() {
  const received: Buffer[] = []
  const port = await listenTcp((socket) => {
    socket.on('data', (chunk: Buffer) => received.push(chunk))
    socket.once('data', () => socket.write(ikeFrame(ikeMessage(80))))
  })
  return { port, received }
}

interface HttpProxy {
  readonly port: number
  readonly requests: string[]
}

/** @param answer what is sent for CONNECT; a stream follows when it says 200 */
async function httpProxy(answer: string | ((request: string) => string), secure = false): Promise<HttpProxy> {
  const requests: string[] = []
  const onSocket = async (socket: Socket) => {
    const request = (await readUntil(socket, header)).toString('latin1')
    requests.push(request)
    const text = typeof answer === 'string' ? answer : answer(request)
    socket.write(text, 'latin1')
    if (!text.startsWith('HTTP/1.1 200')) return
    const [, host = '', port = ''] = /^CONNECT (\S+):(\d+) /.exec(request) ?? []
    const onward = connect({ host: host === 'gateway.invalid' ? '127.0.0.1' : host, port: Number(port) })
    onward.on('error', () => socket.destroy())
    socket.pipe(onward).pipe(socket)
  }
  const port = secure
    ? await listen(createTlsServer(tlsOptions), onSocket, 'secureConnection')
    : await listenTcp(onSocket)
  return { port, requests }
}

async function exchange(port: number, proxy: string, host = 'gateway.invalid') {
  const transport = await openTcp({ host, port, proxy: parseProxyUrl(proxy) })
  closing.push(() => transport.close(0))
  const recorder = new Recorder()
  transport.setHandlers(recorder)
  transport.sendIke(ikeMessage(90), transport.path)
  await waitUntil('the answer', () => recorder.ike.length > 0)
  return { transport, recorder }
}

async function failureOf(proxy: string, timeoutMs = 30_000): Promise<TransportError> {
  const url = parseProxyUrl(proxy)
  const target = { host: 'gateway.invalid', port: 4500 }
  const error: unknown = await connectThroughProxy(url, target, { timeoutMs }).catch((e: unknown) => e)
  if (!(error instanceof TransportError)) throw new Error(`no TransportError: ${String(error)}`)
  return error
}

describe('an HTTP proxy', () => {
  test('carries the stream; it resolves the name; credentials go to it alone', async () => {
    const { port, received } = await gateway()
    const proxy = await httpProxy('HTTP/1.1 200 Connection established\r\nProxy-Agent: test\r\n\r\n')
    const { transport } = await exchange(port, `http://al%69ce:p%40ss@127.0.0.1:${proxy.port}`)
    expect(Buffer.concat(received)).toEqual(Buffer.concat([PREFIX, ikeFrame(ikeMessage(90))]))
    expect(proxy.requests[0]).toContain(`CONNECT gateway.invalid:${port} HTTP/1.1`)
    expect(proxy.requests[0]).toContain(
      `Proxy-Authorization: Basic ${Buffer.from('alice:p@ss').toString('base64')}\r\n`
    )
    expect(transport.via).toBe(`http://127.0.0.1:${proxy.port}`)
    expect(transport.outerRemote).toEqual({ address: '127.0.0.1', port: proxy.port })
    expect(transport.path.remote).toEqual({ address: '0.0.0.0', port })
  })

  test('bytes right behind the header block belong to the stream', async () => {
    const early = ikeFrame(ikeMessage(50)).toString('latin1')
    const { port } = await gateway()
    const proxy = await httpProxy(`HTTP/1.1 200 OK\r\n\r\n${early}`)
    const { recorder } = await exchange(port, `http://127.0.0.1:${proxy.port}`, '127.0.0.1')
    await waitUntil('both messages', () => recorder.ike.length === 2)
    expect(recorder.ike).toEqual([ikeMessage(50), ikeMessage(80)])
  })

  test('writes an IPv6 target in brackets', async () => {
    const proxy = await httpProxy('HTTP/1.1 403 No\r\n\r\n')
    const url = parseProxyUrl(`http://127.0.0.1:${proxy.port}`)
    await expect(
      connectThroughProxy(url, { host: '2001:db8::1', port: 4500 }, { timeoutMs: 30_000 })
    ).rejects.toMatchObject({ code: 'proxy-refused' })
    expect(proxy.requests[0]).toContain('CONNECT [2001:db8::1]:4500 HTTP/1.1')
  })

  test('that wants credentials says so', async () => {
    const proxy = await httpProxy('HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n')
    const error = await failureOf(`http://bob:hunter2@127.0.0.1:${proxy.port}`)
    expect(error).toMatchObject({ code: 'proxy-auth-required', hint: expect.stringContaining('password') })
    expect(`${error.message} ${error.hint} ${String(error.cause)}`).not.toContain('hunter2')
  })

  test('that cannot reach the gateway is quoted, without what could harm a terminal', async () => {
    const proxy = await httpProxy('HTTP/1.1 502 Bad \x9b31mGateway\r\n\r\n')
    const error = await failureOf(`http://127.0.0.1:${proxy.port}`)
    expect(error.code).toBe('proxy-refused')
    expect(error.message).toContain('502 Bad ?31mGateway')
  })

  test.each(['garbage that is not HTTP\r\n\r\n', 'SSH-2.0-server\r\n', '\x05\xff'])(
    'that speaks something else is refused: %j',
    async (answer) => {
      const port = await listenTcp((socket) => {
        socket.once('data', () => socket.end(answer, 'latin1'))
      })
      expect((await failureOf(`http://127.0.0.1:${port}`)).code).toBe('proxy-refused')
    }
  )

  test('that hangs up without a word is refused', async () => {
    const port = await listenTcp((socket) => {
      socket.once('data', () => socket.end())
    })
    expect((await failureOf(`http://127.0.0.1:${port}`)).code).toBe('proxy-refused')
  })

  test('that never answers times out, and its connection is closed', async () => {
    const closed: string[] = []
    const port = await listenTcp((socket) => {
      socket.on('close', () => closed.push('closed'))
      socket.resume()
    })
    expect((await failureOf(`http://127.0.0.1:${port}`, 30)).code).toBe('timeout')
    await waitUntil('the close', () => closed.length === 1)
  })

  test('can be given up while it hangs', async () => {
    const sockets: Socket[] = []
    const port = await listenTcp((socket) => sockets.push(socket))
    const controller = new AbortController()
    const opening = openTcp({
      host: 'gateway.invalid',
      port: 4500,
      proxy: parseProxyUrl(`http://127.0.0.1:${port}`),
      signal: controller.signal
    })
    await waitUntil('the connection', () => sockets.length === 1)
    controller.abort()
    await expect(opening).rejects.toMatchObject({ code: 'closed' })
  })

  test('that is not there is unreachable', async () => {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    await new Promise((resolve) => server.close(resolve))
    const error = await failureOf(`http://carol:hunter2@127.0.0.1:${port}`)
    expect(error).toMatchObject({ code: 'proxy-unreachable', hint: expect.stringContaining('--no-proxy') })
    expect(error.message).not.toContain('hunter2')
  })

  test('TLS to the gateway runs inside it', async () => {
    const received: Buffer[] = []
    const port = await listen(
      createTlsServer(tlsOptions),
      (socket) => socket.on('data', (chunk: Buffer) => received.push(chunk)),
      'secureConnection'
    )
    const proxy = await httpProxy('HTTP/1.1 200 OK\r\n\r\n')
    const transport = await openTls({
      host: '127.0.0.1',
      port,
      proxy: parseProxyUrl(`http://127.0.0.1:${proxy.port}`),
      ca: [authority.certificatePem],
      verify: true
    })
    closing.push(() => transport.close(0))
    transport.sendIke(ikeMessage(90), transport.path)
    await waitUntil('the message', () => received.length > 0)
    expect(Buffer.concat(received)).toEqual(Buffer.concat([PREFIX, ikeFrame(ikeMessage(90))]))
    expect(transport.kind).toBe('tls')
    expect(transport.via).toBe(`http://127.0.0.1:${proxy.port}`)
  })

  test('something that is not TLS inside it is a TLS error', async () => {
    const proxy = await httpProxy('HTTP/1.1 200 OK\r\n\r\nhello')
    const { port } = await gateway()
    await expect(
      openTls({ host: '127.0.0.1', port, proxy: parseProxyUrl(`http://127.0.0.1:${proxy.port}`) })
    ).rejects.toMatchObject({ code: 'tls-error' })
  })
})

describe('an HTTPS proxy', () => {
  const tunnel = (port: number, target: number, ca?: readonly string[]) =>
    connectThroughProxy(
      parseProxyUrl(`https://dave:pw@localhost:${port}`),
      { host: '127.0.0.1', port: target },
      { timeoutMs: 30_000, ca }
    )

  test('is spoken to inside TLS', async () => {
    const { port, received } = await gateway()
    const proxy = await httpProxy('HTTP/1.1 200 OK\r\n\r\n', true)
    const { stream, tcp, via } = await tunnel(proxy.port, port, [authority.certificatePem])
    closing.push(() => tcp.destroy())
    stream.write('hello')
    await waitUntil('the bytes', () => received.length > 0)
    expect(Buffer.concat(received).toString()).toBe('hello')
    expect(via).toBe(`https://localhost:${proxy.port}`)
    expect(tcp).not.toBe(stream)
  })

  test('does not see credentials unless its certificate is good', async () => {
    const proxy = await httpProxy('HTTP/1.1 200 OK\r\n\r\n', true)
    await expect(tunnel(proxy.port, 1)).rejects.toMatchObject({ code: 'proxy-unreachable' })
    expect(proxy.requests).toEqual([])
  })
})

interface SocksBehaviour {
  readonly method?: number
  readonly authentication?: number
  readonly reply?: number
  /** Sent in one piece with the reply. */
  readonly early?: Buffer
}

/** SOCKS5 as RFC 1928 and RFC 1929 draw it, on its own. */
async function socksProxy(behaviour: SocksBehaviour = {}) {
  const seen: { credentials?: string; type?: number; target?: string } = {}
  const port = await listenTcp(async (socket) => {
    const greeting = await readUntil(socket, (b) =>
      b.length >= 2 && b.length >= 2 + (b[1] ?? 0) ? 2 + (b[1] ?? 0) : 0
    )
    const method = behaviour.method ?? (greeting.includes(2, 2) ? 2 : 0)
    socket.write(Buffer.of(5, method))
    if (method === 2) {
      const login = await readUntil(socket, (b) => {
        const userLength = b[1] ?? 255
        const total = 3 + userLength + (b[2 + userLength] ?? 255)
        return b.length >= total ? total : 0
      })
      const userLength = login[1] ?? 0
      seen.credentials = `${login.subarray(2, 2 + userLength)}:${login.subarray(3 + userLength)}`
      socket.write(Buffer.of(1, behaviour.authentication ?? 0))
    }
    const start = await readUntil(socket, bytes(5))
    seen.type = start[3] ?? 0
    const addressLength = seen.type === 3 ? (start[4] ?? 0) : seen.type === 4 ? 15 : 3
    const rest = await readUntil(socket, bytes(addressLength + 2))
    seen.target = rest.subarray(0, addressLength).toString('latin1')
    const reply = Buffer.of(5, behaviour.reply ?? 0, 0, 1, 0, 0, 0, 0, 0, 0)
    socket.write(Buffer.concat([reply, behaviour.early ?? Buffer.alloc(0)]))
    if ((behaviour.reply ?? 0) !== 0) return
    const onward = connect({ host: '127.0.0.1', port: rest.readUInt16BE(addressLength) })
    onward.on('error', () => socket.destroy())
    socket.pipe(onward).pipe(socket)
  })
  return { port, seen }
}

describe('a SOCKS5 proxy', () => {
  test('carries the stream and resolves the name', async () => {
    const { port, received } = await gateway()
    const proxy = await socksProxy()
    const { transport } = await exchange(port, `socks5://127.0.0.1:${proxy.port}`)
    expect(Buffer.concat(received)).toEqual(Buffer.concat([PREFIX, ikeFrame(ikeMessage(90))]))
    expect(proxy.seen).toEqual({ type: 3, target: 'gateway.invalid' })
    expect(transport.via).toBe(`socks5://127.0.0.1:${proxy.port}`)
  })

  test('gets user name and password, decoded', async () => {
    const { port } = await gateway()
    const proxy = await socksProxy()
    await exchange(port, `socks5h://er%69n:p%3Ass@127.0.0.1:${proxy.port}`)
    expect(proxy.seen.credentials).toBe('erin:p:ss')
  })

  test('bytes in one piece with its answer belong to the stream', async () => {
    const { port } = await gateway()
    const proxy = await socksProxy({ early: ikeFrame(ikeMessage(50)) })
    const { recorder } = await exchange(port, `socks5://127.0.0.1:${proxy.port}`, '127.0.0.1')
    await waitUntil('both messages', () => recorder.ike.length === 2)
    expect(recorder.ike).toEqual([ikeMessage(50), ikeMessage(80)])
  })

  test.each([
    [{ method: 0xff }, 'proxy-auth-required'],
    [{ method: 2, authentication: 1 }, 'proxy-auth-required'],
    [{ reply: 2 }, 'proxy-refused'],
    [{ reply: 5 }, 'proxy-refused']
  ])('%j is %s, and the password is nowhere', async (behaviour, code) => {
    const proxy = await socksProxy(behaviour)
    const error = await failureOf(`socks5://mallory:hunter2@127.0.0.1:${proxy.port}`)
    expect(error.code).toBe(code)
    expect(JSON.stringify([error, error.message, error.hint, error.cause])).not.toContain('hunter2')
  })

  test('garbage, silence and an end have their codes', async () => {
    const garbage = await listenTcp((socket) => {
      socket.once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))
    })
    expect((await failureOf(`socks5://127.0.0.1:${garbage}`)).code).toBe('proxy-refused')
    const gone = await listenTcp((socket) => {
      socket.once('data', () => socket.end())
    })
    expect((await failureOf(`socks5://127.0.0.1:${gone}`)).code).toBe('proxy-refused')
    const mute = await listenTcp((socket) => socket.resume())
    expect((await failureOf(`socks5://127.0.0.1:${mute}`, 30)).code).toBe('timeout')
  })

  test('an answer full of nonsense never ends the process', async () => {
    for (let type = 0; type < 8; type++) {
      const port = await listenTcp(async (socket) => {
        await readUntil(socket, bytes(3))
        socket.write(Buffer.of(5, 0))
        await readUntil(socket, bytes(5))
        socket.end(Buffer.of(5, 0, 0, type, 255, 255, 255, 255, 255, 255, 255, 255))
      })
      const url = parseProxyUrl(`socks5://127.0.0.1:${port}`)
      const result = await connectThroughProxy(
        url,
        { host: 'gateway.invalid', port: 1 },
        { timeoutMs: 200 }
      ).catch((error: unknown) => error)
      if (!(result instanceof TransportError)) (result as { tcp: Socket }).tcp.destroy()
    }
  })
})
