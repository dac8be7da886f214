/**
 * A proxy for tests, run inside a namespace: HTTP CONNECT (RFC 9110 section 9.3.6) and SOCKS5 (RFC 1928, RFC 1929) on one port
 * each, with or without credentials.
 *
 *     node proxy.mjs <address> <settings as JSON>
 *
 * Settings: `credentials` (`user:password`), `ports` (those that it leads to; default: all).
 *
 * Prints `{"event":"listening"}`, then for each connection `{"event":"request","kind":"http"|"socks","target":"host:port","outcome":
 * "open"|"denied"|"refused"}`.
 * @module
 */
import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { connect, createServer, isIPv4 } from 'node:net'

const HTTP_PORT = 3128
const SOCKS_PORT = 1080
const address = process.argv[2]
const { credentials, ports } = JSON.parse(process.argv[3] ?? '{}')
const allows = (port) => ports === undefined || ports.includes(port)

const say = (fields) => process.stdout.write(`${JSON.stringify(fields)}\n`)

function join(client, target, head) {
  client.on('error', () => target.destroy())
  target.on('error', () => client.destroy())
  client.on('close', () => target.destroy())
  target.on('close', () => client.destroy())
  if (head.length > 0) target.write(head)
  client.pipe(target).pipe(client)
}

const http = createHttpServer((_request, response) => response.writeHead(405).end())
http.on('connect', (request, client, head) => {
  client.on('error', () => {})
  const report = (outcome) => say({ event: 'request', kind: 'http', target: request.url, outcome })
  const refuse = (status, outcome) => {
    report(outcome)
    client.end(`HTTP/1.1 ${status}\r\n\r\n`)
  }
  const expected = credentials && `Basic ${Buffer.from(credentials).toString('base64')}`
  if (expected && request.headers['proxy-authorization'] !== expected)
    return refuse('407 Proxy Authentication Required', 'denied')
  const { hostname, port } = new URL(`tcp://${request.url}`)
  if (!allows(Number(port))) return refuse('403 Forbidden', 'refused')
  const target = connect({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port), noDelay: true })
  target.once('error', () => refuse('502 Bad Gateway', 'refused'))
  target.once('connect', () => {
    report('open')
    client.write('HTTP/1.1 200 Connection established\r\n\r\n')
    join(client, target, head)
  })
})

/** Exactly so many bytes; rejects when the stream ends before. */
async function take(socket, count) {
  if (count === 0) return Buffer.alloc(0)
  for (;;) {
    const bytes = socket.read(count)
    if (bytes?.length === count) return bytes
    if (socket.readableEnded || socket.destroyed) throw new Error('ended')
    await once(socket, 'readable')
  }
}

async function socks(client) {
  client.on('error', () => {})
  const read = (count) => take(client, count)
  const [, methodCount] = await read(2)
  const methods = [...(await read(methodCount))]
  const method = credentials ? 2 : 0
  const denied = (reply) => {
    say({ event: 'request', kind: 'socks', target: null, outcome: 'denied' })
    client.end(Buffer.from(reply))
  }
  if (!methods.includes(method)) return denied([5, 0xff])
  client.write(Buffer.from([5, method]))
  if (credentials) {
    const [, nameLength] = await read(2)
    const name = await read(nameLength)
    const [passwordLength] = await read(1)
    const password = await read(passwordLength)
    if (`${name}:${password}` !== credentials) return denied([1, 1])
    client.write(Buffer.from([1, 0]))
  }
  const [, , , addressType] = await read(4)
  const raw = addressType === 3 ? await read((await read(1))[0]) : await read(addressType === 4 ? 16 : 4)
  const host = addressType === 3 ? raw.toString() : addressType === 1 ? [...raw].join('.') : formatV6(raw)
  const port = (await read(2)).readUInt16BE(0)
  const target = isIPv4(host) || addressType === 3 ? `${host}:${port}` : `[${host}]:${port}`
  const answer = (code, outcome) => {
    say({ event: 'request', kind: 'socks', target, outcome })
    client.write(Buffer.from([5, code, 0, 1, 0, 0, 0, 0, 0, 0]))
  }
  if (!allows(port)) {
    answer(2, 'refused')
    client.end()
    return
  }
  const far = connect({ host, port, noDelay: true })
  far.once('error', () => {
    answer(5, 'refused')
    client.end()
  })
  far.once('connect', () => {
    answer(0, 'open')
    join(client, far, Buffer.alloc(0))
  })
}

function formatV6(raw) {
  return Array.from({ length: 8 }, (_, index) => raw.readUInt16BE(index * 2).toString(16)).join(':')
}

http.listen(HTTP_PORT, address, () =>
  createServer({ noDelay: true }, (client) => void socks(client).catch(() => client.destroy())).listen(
    SOCKS_PORT,
    address,
    () => say({ event: 'listening' })
  )
)
