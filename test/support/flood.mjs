/**
 * Floods for tests, run inside a namespace of an attacker's: so much of something, for a time, and no more.
 *
 *     node flood.mjs naive <address> <port>         a server without any bounds, to show what floods do to one; gives up in the end
 *     node flood.mjs <kinds> <address> <settings>   kinds with commas in between; settings as JSON:
 *         seconds    how long at most; SIGTERM ends it sooner
 *         sources    own addresses to come from
 *         init       an IKE_SA_INIT request, hex
 *         tcp, tls   ports
 *         streams    connections at a time, in all
 *
 * | kind | what |
 * | --- | --- |
 * | `half-open` | IKE_SA_INIT with ever other SPIs, as from forged addresses: cookies are not brought back |
 * | `proven-half-open` | the same with the cookie that the gateway asks for, and then nothing more |
 * | `fragments` | SKF payloads of SAs that there may be, each the first of many |
 * | `junk` | ESP of nobody's, and bytes of all lengths |
 * | `slow-prefix` | connections that say a letter of `IKETCP` now and then |
 * | `slow-frame` | connections that promise 64 KiB and bring it drop by drop |
 * | `giant` | whole frames of 64 KiB of rubbish, one after another |
 * | `tiny` | frames of impossible lengths, a thousand at a time |
 * | `half-tls` | the beginning of a TLS handshake |
 * | `come-and-go` | connections that end at once |
 *
 * Prints one JSON line at its end: datagrams and bytes sent, connections opened, refused or closed by the other end.
 * @module
 */
import { randomBytes } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { connect, createServer } from 'node:net'

const TURN_MS = 10
/** Datagrams of each kind a turn. */
const BURST = 5
const SKF = 53
const COOKIE = 16_390
const HEADER_LENGTH = 28
const PREFIX = Buffer.from('IKETCP')
const DROP_MS = 200
const POUR_MS = 50
/** By then it has been shown. */
const NAIVE_LIMIT_BYTES = 256 * 1_048_576

const [what = '', host, third] = process.argv.slice(2)
const counts = { datagrams: 0, bytes: 0, answers: 0, opened: 0, ended: 0 }

function serveNaively(port) {
  const kept = []
  const seen = { open: 0, mostOpen: 0, keptBytes: 0 }
  const server = createServer((socket) => {
    seen.mostOpen = Math.max(seen.mostOpen, ++seen.open)
    socket.on('data', (chunk) => {
      kept.push(chunk)
      seen.keptBytes += chunk.length
      if (seen.keptBytes > NAIVE_LIMIT_BYTES) end()
    })
    socket.on('error', () => undefined)
    socket.on('close', () => seen.open--)
  })
  const end = () => process.stdout.write(`${JSON.stringify(seen)}\n`, () => process.exit(0))
  server.listen(port, host, () => process.stdout.write('{"listening":true}\n'))
}

async function flood(settings) {
  const kinds = what.split(',')
  const timers = kinds.flatMap((kind) => START[kind](settings))
  await new Promise((resolve) => {
    setTimeout(resolve, settings.seconds * 1000)
    process.once('SIGTERM', resolve)
  })
  for (const timer of timers) clearInterval(timer)
  process.stdout.write(`${JSON.stringify(counts)}\n`, () => process.exit(0))
}

function datagrams(settings, port, make) {
  const sockets = settings.sources.map((address) => {
    const socket = createSocket('udp4')
    socket.on('error', () => undefined)
    socket.bind(0, address)
    return socket
  })
  const turn = () => {
    for (let count = 0; count < BURST; count++) {
      const socket = sockets[counts.datagrams % sockets.length]
      socket.send(make(socket), port, host, () => undefined)
      counts.datagrams++
    }
  }
  return { sockets, timer: setInterval(turn, TURN_MS) }
}

function freshInit(hex) {
  const init = Buffer.from(hex, 'hex')
  randomBytes(8).copy(init, 0)
  return init
}

/** The same request with the cookie in front (RFC 7296 section 2.6). */
function withCookie(init, cookie) {
  const payload = Buffer.alloc(8 + cookie.length)
  payload[0] = init[16]
  payload.writeUInt16BE(payload.length, 2)
  payload.writeUInt16BE(COOKIE, 6)
  cookie.copy(payload, 8)
  const again = Buffer.concat([init.subarray(0, HEADER_LENGTH), payload, init.subarray(HEADER_LENGTH)])
  again[16] = 41
  again.writeUInt32BE(again.length, 24)
  return again
}

function cookieIn(answer) {
  if (answer.length < HEADER_LENGTH + 8 || answer[16] !== 41) return undefined
  if (answer.readUInt16BE(HEADER_LENGTH + 6) !== COOKIE) return undefined
  return answer.subarray(HEADER_LENGTH + 8, HEADER_LENGTH + answer.readUInt16BE(HEADER_LENGTH + 2))
}

function fragment(init) {
  const message = Buffer.concat([init.subarray(0, HEADER_LENGTH), Buffer.alloc(8), randomBytes(1000)])
  randomBytes(8).copy(message, 8)
  message[16] = SKF
  message[18] = 35
  message.writeUInt32BE(1, 20)
  message.writeUInt32BE(message.length, 24)
  message.writeUInt16BE(message.length - HEADER_LENGTH, HEADER_LENGTH + 2)
  message.writeUInt16BE(1, HEADER_LENGTH + 4)
  message.writeUInt16BE(200, HEADER_LENGTH + 6)
  return Buffer.concat([Buffer.alloc(4), message])
}

/** Keeps `streams` connections open; `behave` gets each, and is called again every now and then with what it returned. */
function streams(settings, port, behave) {
  const share = Math.ceil(settings.streams / settings.streamKinds)
  const open = new Set()
  const begin = () => {
    while (open.size < share) {
      const localAddress = settings.sources[counts.opened % settings.sources.length]
      const socket = connect({ host, port, localAddress })
      open.add(socket)
      counts.opened++
      socket.on('error', () => undefined)
      socket.on('close', () => {
        if (open.delete(socket)) counts.ended++
      })
      socket.on('data', () => undefined)
      socket.once('connect', () => behave(socket))
    }
  }
  begin()
  return [setInterval(begin, 5 * TURN_MS)]
}

function drip(socket, drops) {
  let next = 0
  const timer = setInterval(() => {
    socket.write(drops.subarray(next, next + 1))
    next = Math.min(next + 1, drops.length - 1)
  }, DROP_MS)
  socket.once('close', () => clearInterval(timer))
}

/** Not as fast as possible: then this would be about who has the faster machine. */
function pour(socket, chunk) {
  const timer = setInterval(() => {
    if (socket.writableNeedDrain) return
    socket.write(chunk)
    counts.bytes += chunk.length
  }, POUR_MS)
  socket.once('close', () => clearInterval(timer))
}

const START = {
  'half-open': (settings) => {
    const { timer } = datagrams(settings, 500, () => freshInit(settings.init))
    return [timer]
  },
  'proven-half-open': (settings) => {
    const waiting = new Map()
    const { sockets, timer } = datagrams(settings, 500, () => {
      const init = freshInit(settings.init)
      waiting.set(init.readBigUInt64BE(0), init)
      return init
    })
    for (const socket of sockets)
      socket.on('message', (answer) => {
        const spi = answer.readBigUInt64BE(0)
        const [init, cookie] = [waiting.get(spi), cookieIn(answer)]
        waiting.delete(spi)
        counts.answers++
        if (init !== undefined && cookie !== undefined)
          socket.send(withCookie(init, cookie), 500, host, () => undefined)
      })
    return [timer]
  },
  fragments: (settings) => [datagrams(settings, 4500, () => fragment(freshInit(settings.init))).timer],
  junk: (settings) => [datagrams(settings, 4500, () => randomBytes(Math.floor(Math.random() * 1400))).timer],
  'slow-prefix': (settings) => streams(settings, settings.tcp, (socket) => drip(socket, PREFIX)),
  'slow-frame': (settings) =>
    streams(settings, settings.tcp, (socket) => {
      socket.write(Buffer.concat([PREFIX, Buffer.from([0xff, 0xff]), Buffer.alloc(60_000)]))
      drip(socket, Buffer.alloc(6000))
    }),
  giant: (settings) =>
    streams(settings, settings.tcp, (socket) => {
      socket.write(PREFIX)
      pour(socket, Buffer.concat([Buffer.from([0xff, 0xff]), Buffer.alloc(65_533, 0x5a)]))
    }),
  tiny: (settings) =>
    streams(settings, settings.tcp, (socket) => {
      socket.write(PREFIX)
      const few = Buffer.from([0, 2, 0, 3, 1, 0, 2, 0, 6, 0, 0, 0, 0, 0, 1])
      pour(socket, Buffer.concat(new Array(1000).fill(few)))
    }),
  'half-tls': (settings) =>
    streams(settings, settings.tls, (socket) => socket.write(Buffer.from('16030102000100', 'hex'))),
  'come-and-go': (settings) => streams(settings, settings.tcp, (socket) => socket.destroy())
}

if (what === 'naive') serveNaively(Number(third))
else await flood(JSON.parse(third))
