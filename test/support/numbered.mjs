/**
 * Numbered UDP datagrams in both directions at a steady rate, and which of them were lost or came twice.
 *
 *     node numbered.mjs server <port>
 *     node numbered.mjs client <host> <port> <seconds> <datagrams a second>
 *
 * The server sends to whoever sends to it, one datagram for each that comes, under numbers of its own. The client prints one line of
 * JSON: `{"up":{"sent":n,"lost":n,"repeated":n},"down":{...}}`.
 * @module
 */
import { createSocket } from 'node:dgram'

const PAYLOAD_LENGTH = 200
const TICK_MS = 4
/** What is under way has arrived by then. */
const SETTLE_MS = 1_000
const ASK_MS = 200
const [NUMBERED, ASK, ANSWER] = [1, 2, 3]

class Seen {
  #numbers = new Map()

  take(number) {
    this.#numbers.set(number, (this.#numbers.get(number) ?? 0) + 1)
  }

  /** @param sent how many there were, numbered from 1 */
  report(sent) {
    let lost = 0
    let repeated = 0
    for (let number = 1; number <= sent; number++) {
      const count = this.#numbers.get(number) ?? 0
      if (count === 0) lost++
      else if (count > 1) repeated++
    }
    return { sent, lost, repeated }
  }
}

function datagram(number) {
  const bytes = Buffer.alloc(PAYLOAD_LENGTH)
  bytes[0] = NUMBERED
  bytes.writeUInt32BE(number, 1)
  return bytes
}

function open() {
  const socket = createSocket({ type: 'udp4', recvBufferSize: 4_194_304 })
  socket.on('error', () => {})
  return socket
}

function serve(port) {
  const socket = open()
  let seen = new Seen()
  let sent = 0
  socket.on('message', (bytes, { address, port: from }) => {
    if (bytes[0] === ASK) {
      const report = { up: seen.report(bytes.readUInt32BE(1)), sent }
      socket.send(Buffer.concat([Buffer.of(ANSWER), Buffer.from(JSON.stringify(report))]), from, address)
      return
    }
    const number = bytes.readUInt32BE(1)
    if (number === 1) {
      seen = new Seen()
      sent = 0
    }
    seen.take(number)
    socket.send(datagram(++sent), from, address)
  })
  socket.bind(port, () => process.stdout.write('listening\n'))
}

function measure(host, port, seconds, rate) {
  const socket = open()
  const seen = new Seen()
  const startedAt = performance.now()
  let sent = 0
  socket.on('message', (bytes) => {
    if (bytes[0] === NUMBERED) {
      seen.take(bytes.readUInt32BE(1))
      return
    }
    const { up, sent: answered } = JSON.parse(bytes.subarray(1).toString())
    process.stdout.write(`${JSON.stringify({ up, down: seen.report(answered) })}\n`)
    process.exit(0)
  })
  const sending = setInterval(() => {
    const elapsed = (performance.now() - startedAt) / 1000
    if (elapsed < seconds) {
      for (const due = elapsed * rate; sent < due; ) socket.send(datagram(++sent), port, host)
      return
    }
    clearInterval(sending)
    const ask = Buffer.alloc(5)
    ask[0] = ASK
    ask.writeUInt32BE(sent, 1)
    setTimeout(() => setInterval(() => socket.send(ask, port, host), ASK_MS), SETTLE_MS)
  }, TICK_MS)
}

const [role, ...given] = process.argv.slice(2)
if (role === 'server') serve(Number(given[0]))
else measure(given[0], ...given.slice(1).map(Number))
