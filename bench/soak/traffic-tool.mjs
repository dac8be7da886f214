/**
 * Checked traffic for the soak: TCP connections on which every byte is known, both ways, and numbered datagrams that come back.
 *
 *     node traffic-tool.mjs server <address> <TCP port> <UDP port>
 *     node traffic-tool.mjs client <address> <TCP port> <UDP port> <connections> <bytes per second, each way>
 *
 * Prints JSON lines. The client stops at a line `stop` on its standard input: it sends the rest, closes each connection in good order,
 * and both ends tell what they sent and received. Times are milliseconds of CLOCK_MONOTONIC, the same in all processes of a machine.
 * @module
 */
import { createCipheriv } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { connect, createServer } from 'node:net'
import { createInterface } from 'node:readline'

const TURN_MS = 20
const HEADER_BYTES = 8
/** What a pause has kept back is not sent all at once. */
const MOST_BEHIND_MS = 500
const DATAGRAM_BYTES = 200
const PULSE_MS = 20
const REPORT_MS = 100
/** Longer than this without an answer is an outage: three datagrams, and what a busy machine takes. */
const GAP_MS = 100
/** A datagram that has not come back by then is lost. */
const LOST_AFTER_MS = 3000
const REOPEN_MS = 500
/** What a fault has held back comes with TCP's retransmissions. */
const CLOSE_LIMIT_MS = 60_000

const [role, host, tcpPort, udpPort, ...rest] = process.argv.slice(2)

function now() {
  return Number(process.hrtime.bigint()) / 1e6
}

function say(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

/** The endless stream of one direction of a connection; it neither repeats nor compresses. */
function keystream(id, direction) {
  const key = Buffer.alloc(16, direction)
  key.writeUInt32BE(id, 0)
  const cipher = createCipheriv('aes-128-ctr', key, Buffer.alloc(16))
  return (length) => cipher.update(Buffer.alloc(length))
}

/** One end of a checked connection. */
class CheckedStream {
  sent = 0
  received = 0
  wrong = 0
  #socket
  #next
  #expected
  #bytesPerMs
  #lastTurn = now()
  #timer

  constructor(socket, id, { sends, bytesPerSecond }) {
    this.#socket = socket
    this.#next = keystream(id, sends === 'up' ? 1 : 2)
    this.#expected = keystream(id, sends === 'up' ? 2 : 1)
    this.#bytesPerMs = bytesPerSecond / 1000
    this.#timer = setInterval(() => this.#send(), TURN_MS)
  }

  take(chunk) {
    this.received += chunk.length
    if (!this.#expected(chunk.length).equals(chunk)) this.wrong++
  }

  stop() {
    clearInterval(this.#timer)
  }

  get totals() {
    return { sent: this.sent, received: this.received, wrong: this.wrong }
  }

  #send() {
    const at = now()
    const due = Math.min(at - this.#lastTurn, MOST_BEHIND_MS) * this.#bytesPerMs
    const length = Math.floor(due)
    if (this.#socket.writableNeedDrain || length === 0) return
    this.#lastTurn = at
    this.#socket.write(this.#next(length))
    this.sent += length
  }
}

function serve() {
  const server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
    let stream
    let head = Buffer.alloc(0)
    let id = 0
    socket.on('data', (chunk) => {
      if (stream !== undefined) {
        stream.take(chunk)
        return
      }
      head = Buffer.concat([head, chunk])
      if (head.length < HEADER_BYTES) return
      id = head.readUInt32BE(0)
      stream = new CheckedStream(socket, id, { sends: 'down', bytesPerSecond: head.readUInt32BE(4) })
      const behind = head.subarray(HEADER_BYTES)
      if (behind.length > 0) stream.take(behind)
    })
    socket.on('end', () => {
      stream?.stop()
      socket.end()
    })
    socket.on('error', (error) => say({ event: 'broken', side: 'server', id, code: error.code }))
    socket.on('close', () => {
      stream?.stop()
      if (stream !== undefined) say({ event: 'closed', side: 'server', id, ...stream.totals })
    })
  })
  const echo = createSocket('udp4')
  echo.on('message', (message, from) => echo.send(message, from.port, from.address, () => undefined))
  echo.on('error', () => undefined)
  echo.bind(Number(udpPort), host, () =>
    server.listen(Number(tcpPort), host, () => say({ event: 'listening' }))
  )
}

/** Keeps a connection open; one that breaks is told of, and replaced. */
class Connection {
  #bytesPerSecond
  #socket
  #stream
  #stopping = false
  static #last = Math.floor(Math.random() * 1e6) * 100

  constructor(bytesPerSecond) {
    this.#bytesPerSecond = bytesPerSecond
    this.#open()
  }

  get totals() {
    return this.#stream.totals
  }

  /** Resolves when both ends have everything. */
  stop() {
    this.#stopping = true
    this.#stream.stop()
    return new Promise((resolve) => {
      this.#socket.once('close', resolve)
      this.#socket.end()
    })
  }

  #open() {
    const id = ++Connection.#last
    const socket = connect({ host, port: Number(tcpPort), noDelay: true, allowHalfOpen: true })
    const head = Buffer.alloc(HEADER_BYTES)
    head.writeUInt32BE(id, 0)
    head.writeUInt32BE(this.#bytesPerSecond, 4)
    socket.write(head)
    const stream = new CheckedStream(socket, id, { sends: 'up', bytesPerSecond: this.#bytesPerSecond })
    let ended = false
    socket.on('data', (chunk) => stream.take(chunk))
    socket.on('end', () => {
      ended = true
      if (!this.#stopping) say({ event: 'broken', side: 'client', id, code: 'end' })
    })
    socket.on('error', (error) => say({ event: 'broken', side: 'client', id, code: error.code }))
    socket.on('close', () => {
      stream.stop()
      say({ event: 'closed', side: 'client', id, inGoodOrder: ended && this.#stopping, ...stream.totals })
      if (!this.#stopping) setTimeout(() => this.#open(), REOPEN_MS)
    })
    this.#socket = socket
    this.#stream = stream
  }
}

/** Numbered datagrams, and what became of them. */
class Pulse {
  sent = 0
  received = 0
  duplicates = 0
  wrong = 0
  lastAt = now()
  #socket = createSocket('udp4')
  /** When each went out that has not come back yet. */
  #waiting = new Map()
  /** Numbers below this one have come back or are lost. */
  #late = new Set()
  #timer

  constructor() {
    this.#socket.on('message', (message) => this.#take(message))
    // While nothing carries it the system may refuse to send: that is the outage, and no error.
    this.#socket.on('error', () => undefined)
    this.#socket.bind(0, () => {
      this.#timer = setInterval(() => this.#send(), PULSE_MS)
    })
  }

  stop() {
    clearInterval(this.#timer)
  }

  /** Tells of datagrams that will not come any more, as ranges of the time at which they left. */
  tellLost(all = false) {
    const before = now() - LOST_AFTER_MS
    const lost = []
    for (const [number, at] of this.#waiting) {
      if (!all && at > before) break
      this.#waiting.delete(number)
      this.#late.add(number)
      lost.push(Math.round(at))
    }
    if (lost.length > 0) say({ event: 'lost', sentAt: lost })
    for (const number of this.#late) {
      if (this.#late.size <= 10_000) break
      this.#late.delete(number)
    }
  }

  #send() {
    const datagram = Buffer.alloc(DATAGRAM_BYTES, ++this.sent & 0xff)
    datagram.writeUInt32BE(this.sent, 0)
    this.#waiting.set(this.sent, now())
    this.#socket.send(datagram, Number(udpPort), host, () => undefined)
  }

  #take(message) {
    const number = message.readUInt32BE(0)
    const at = now()
    if (message.length !== DATAGRAM_BYTES || !message.subarray(4).every((byte) => byte === (number & 0xff)))
      this.wrong++
    if (this.#waiting.delete(number)) this.received++
    else if (this.#late.delete(number)) say({ event: 'late', number })
    else this.duplicates++
    if (at - this.lastAt > GAP_MS) say({ event: 'gap', from: this.lastAt, to: at })
    this.lastAt = at
  }
}

function ask() {
  const [connections, bytesPerSecond] = rest.map(Number)
  const streams = Array.from({ length: connections }, () => new Connection(bytesPerSecond))
  const pulse = new Pulse()
  const report = (event) => {
    pulse.tellLost()
    const bytes = streams.reduce((sum, { totals }) => sum + totals.received, 0)
    const { sent, received, duplicates, wrong, lastAt } = pulse
    say({ event, bytes, sent, received, duplicates, wrong, lastAt })
  }
  const timer = setInterval(() => report('traffic'), REPORT_MS)
  createInterface({ input: process.stdin }).on('line', () => {
    pulse.stop()
    const end = () => {
      clearInterval(timer)
      pulse.tellLost(true)
      report('stopped')
    }
    const limit = setTimeout(end, CLOSE_LIMIT_MS)
    void Promise.all(streams.map((stream) => stream.stop())).then(() => {
      clearTimeout(limit)
      setTimeout(end, LOST_AFTER_MS)
    })
  })
}

if (role === 'server') serve()
else ask()
