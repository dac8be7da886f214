/**
 * Checked transfers for tests, run inside a namespace: an HTTP server whose downloads are a known byte stream and which
 * verifies what it is sent, and the client for both. Each prints one JSON line.
 *
 *     node transfer.mjs server <port>             answers GET /bytes/N/SECONDS and /address, POST /upload
 *     node transfer.mjs download <url> <N> <s>    {"bytes":N,"sha256":"...","matches":true}; s: at least so many seconds
 *     node transfer.mjs upload <url> <N> <s>      the same, as the server counted
 *     node transfer.mjs address <url>             {"address":"..."} as the server saw it
 *     node transfer.mjs datagram <host> <port> <local address> <hex>
 * @module
 */
import { createCipheriv, createHash } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { createServer, request } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'

const CHUNK_BYTES = 65_536
/** Shorter pauses are not worth a timer. */
const PACE_MS = 20
const ZEROS = Buffer.alloc(CHUNK_BYTES)

/** The first `length` bytes of a fixed stream that does not compress and never repeats. */
function* deterministicStream(length) {
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, 7), Buffer.alloc(16))
  for (let left = length; left > 0; left -= CHUNK_BYTES)
    yield cipher.update(left < CHUNK_BYTES ? ZEROS.subarray(0, left) : ZEROS)
}

/** The same, evenly over a time. */
async function* pacedStream(length, seconds) {
  const started = performance.now()
  let sent = 0
  for (const chunk of deterministicStream(length)) {
    yield chunk
    sent += chunk.length
    const early = (sent / length) * seconds * 1000 - (performance.now() - started)
    if (early > PACE_MS) await new Promise((resolve) => setTimeout(resolve, early))
  }
}

function digestOf(length) {
  const hash = createHash('sha256')
  for (const chunk of deterministicStream(length)) hash.update(chunk)
  return hash.digest('hex')
}

async function digest(stream) {
  const hash = createHash('sha256')
  let bytes = 0
  for await (const chunk of stream) {
    hash.update(chunk)
    bytes += chunk.length
  }
  const sha256 = hash.digest('hex')
  return { bytes, sha256, matches: sha256 === digestOf(bytes) }
}

function print(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`)
}

function serve(port) {
  const server = createServer(async (incoming, outgoing) => {
    try {
      const [, path, size, seconds] = (incoming.url ?? '').split('/')
      if (incoming.method === 'GET' && path === 'bytes') {
        outgoing.setHeader('content-length', size)
        await pipeline(Readable.from(pacedStream(Number(size), Number(seconds))), outgoing)
      } else if (incoming.method === 'GET' && path === 'address') {
        outgoing.end(JSON.stringify({ address: incoming.socket.remoteAddress }))
      } else if (incoming.method === 'POST' && path === 'upload') {
        outgoing.end(JSON.stringify(await digest(incoming)))
      } else {
        outgoing.writeHead(404).end()
      }
    } catch {
      outgoing.destroy() // the client went away
    }
  })
  server.listen(port, '::', () => print({ listening: port }))
}

function exchange(method, url, body) {
  return new Promise((resolve, reject) => {
    const outgoing = request(url, { method, agent: false }, resolve)
    outgoing.on('error', reject)
    if (body === undefined) outgoing.end()
    else pipeline(body, outgoing).catch(reject)
  })
}

const [command, ...args] = process.argv.slice(2)
switch (command) {
  case 'server':
    serve(Number(args[0]))
    break
  case 'download': {
    const result = await digest(await exchange('GET', `${args[0]}/bytes/${args[1]}/${args[2]}`))
    print({ ...result, matches: result.matches && result.bytes === Number(args[1]) })
    break
  }
  case 'upload': {
    const body = Readable.from(pacedStream(Number(args[1]), Number(args[2])))
    const chunks = await (await exchange('POST', `${args[0]}/upload`, body)).toArray()
    const result = JSON.parse(Buffer.concat(chunks).toString())
    print({ ...result, matches: result.matches && result.bytes === Number(args[1]) })
    break
  }
  case 'address': {
    const chunks = await (await exchange('GET', `${args[0]}/address`)).toArray()
    print(JSON.parse(Buffer.concat(chunks).toString()))
    break
  }
  case 'datagram': {
    const [host, port, localAddress, hex] = args
    const socket = createSocket('udp4')
    socket.bind(0, localAddress, () =>
      socket.send(Buffer.from(hex, 'hex'), Number(port), host, () => socket.close())
    )
    break
  }
  default:
    process.stderr.write('usage: transfer.mjs server|download|upload|address|datagram ...\n')
    process.exitCode = 64
}
