/**
 * The traffic inside the tunnels: a program that runs in a namespace and speaks JSON lines, and the class that owns it.
 *
 * As `server` it sends zeros on each TCP connection until that ends, and to whoever asks by UDP a paced stream of small datagrams that
 * bear the time at which they left. As `client` it takes orders on standard input: `bulk` receives on several connections and counts
 * bytes per tenth of a second; `latency` receives the small datagrams and notes how long each took, one way. All times are those of
 * CLOCK_MONOTONIC, which is the same for all processes of a machine.
 * @module
 */
import { createSocket } from 'node:dgram'
import { connect, createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { terminate } from '../../dist/host/netlab.js'
import { libc } from '../../dist/native/libc.js'
import { SocketLevel, TcpOption } from '../../dist/native/libc-constants.js'
import { addressOf, nativeBuffer } from '../../dist/native/memory.js'

const PROGRAM = fileURLToPath(import.meta.url)
/** By congestion control of the flows; asking for one on the socket is allowed where setting it for a namespace is not. */
const BULK_PORTS = { cubic: 5001, bbr: 5003 }
const LATENCY_PORT = 5002
const BIN_MS = 100
/** Until the first datagram of a latency stream has come, it is asked for again this often. */
const ASK_EVERY_MS = 300
const START_MS = 10_000

/** Milliseconds of the clock that all processes share. */
export function sharedNowMs() {
  return Number(process.hrtime.bigint()) / 1e6
}

/** A running `server` or `client`. */
export class Traffic {
  #child
  #waiting = new Map()
  #nextId = 1
  #said = ''

  static async start(namespace, role) {
    const traffic = new Traffic()
    traffic.#child = namespace.spawn([process.execPath, PROGRAM, role], { stdio: ['pipe', 'pipe', 'pipe'] })
    traffic.#child.stderr.on('data', (chunk) => {
      traffic.#said += chunk
    })
    const ready = traffic.#answer(0, START_MS)
    createInterface({ input: traffic.#child.stdout }).on('line', (line) => {
      const { id, error, ...result } = JSON.parse(line)
      const waiting = traffic.#waiting.get(id)
      if (error === undefined) waiting?.resolve(result)
      else waiting?.reject(new Error(error))
    })
    traffic.#child.once('close', () => {
      for (const { reject } of traffic.#waiting.values())
        reject(new Error(`the traffic ${role} ended: ${traffic.#said.trim()}`))
    })
    await ready
    return traffic
  }

  /**
   * Receives on `flows` connections for `seconds`; the sender's `congestionControl` is `cubic` or `bbr`.
   * @returns `fromMs` (the order), `binMs`, `bins` (bytes of all flows), `flowBytes` behind `omitSeconds`, `openedMs` (when the last flow was open, after the order)
   */
  bulk({ address, flows, seconds, omitSeconds = 0, congestionControl = 'cubic' }) {
    const port = BULK_PORTS[congestionControl]
    return this.#ask({ order: 'bulk', address, port, flows, seconds, omitSeconds }, seconds)
  }

  /** @returns `sent`, and `delaysMs` of those that arrived, in order of arrival, as [time since the order, delay] */
  latency({ address, seconds, perSecond, lengthBytes }) {
    return this.#ask({ order: 'latency', address, seconds, perSecond, lengthBytes }, seconds)
  }

  stop() {
    return terminate(this.#child)
  }

  #ask(order, seconds) {
    const id = this.#nextId++
    this.#child.stdin.write(`${JSON.stringify({ id, ...order })}\n`)
    return this.#answer(id, seconds * 1000 + START_MS)
  }

  #answer(id, limitMs) {
    return new Promise((resolve, reject) => {
      const settle = (action) => (value) => {
        clearTimeout(timer)
        this.#waiting.delete(id)
        action(value)
      }
      const timer = setTimeout(() => settle(reject)(new Error('the traffic did not end')), limitMs)
      this.#waiting.set(id, { resolve: settle(resolve), reject: settle(reject) })
    })
  }
}

function say(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

function serve() {
  const block = Buffer.alloc(65_536)
  const servers = Object.entries(BULK_PORTS).map(([congestionControl, port]) => {
    const server = createServer((socket) => {
      socket.on('error', () => undefined)
      useCongestionControl(socket, congestionControl)
      const fill = () => {
        while (!socket.destroyed && socket.write(block));
      }
      socket.on('drain', fill)
      fill()
    })
    return new Promise((resolve) => server.listen(port, resolve))
  })
  const latency = createSocket('udp4')
  const streams = new Map()
  latency.on('message', (message, peer) => {
    const order = JSON.parse(message)
    const key = `${peer.address} ${peer.port}`
    if (!streams.has(key))
      streams.set(
        key,
        sendStream(latency, peer, order, () => streams.delete(key))
      )
  })
  servers.push(new Promise((resolve) => latency.bind(LATENCY_PORT, resolve)))
  void Promise.all(servers).then(() => say({ id: 0 }))
}

/** @throws Error when the kernel refuses: a figure under a wrong name is worse than none */
function useCongestionControl(socket, name) {
  const bytes = nativeBuffer(name.length)
  bytes.write(name)
  const { TCP } = SocketLevel
  if (libc().setsockopt(socket._handle.fd, TCP, TcpOption.CONGESTION, addressOf(bytes), bytes.length) !== 0)
    throw new Error(`the kernel has no congestion control ${name} for us`)
}

function sendStream(socket, peer, { seconds, perSecond, lengthBytes }, done) {
  const startedMs = sharedNowMs()
  const count = Math.round(seconds * perSecond)
  const packet = Buffer.alloc(lengthBytes)
  let number = 0
  const timer = setInterval(() => {
    const nowMs = sharedNowMs()
    while (number < count && nowMs >= startedMs + (number * 1000) / perSecond) {
      packet.writeUInt32BE(number++)
      packet.writeDoubleBE(sharedNowMs(), 4)
      socket.send(Buffer.from(packet), peer.port, peer.address)
    }
    if (number < count) return
    clearInterval(timer)
    done()
  }, 1)
  return timer
}

function receiveBulk({ id, address, port, flows, seconds, omitSeconds }) {
  const fromMs = sharedNowMs()
  const bins = new Array(Math.ceil((seconds * 1000) / BIN_MS)).fill(0)
  const flowBytes = new Array(flows).fill(0)
  let openedMs = null
  let open = 0
  const sockets = flowBytes.map((_, index) => {
    const socket = connect({ host: address, port })
    socket.on('connect', () => {
      if (++open === flows) openedMs = sharedNowMs() - fromMs
    })
    socket.on('data', (chunk) => {
      const atMs = sharedNowMs() - fromMs
      const bin = Math.floor(atMs / BIN_MS)
      if (bin < bins.length) bins[bin] += chunk.length
      if (atMs >= omitSeconds * 1000 && bin < bins.length) flowBytes[index] += chunk.length
    })
    socket.on('error', () => undefined)
    return socket
  })
  setTimeout(() => {
    // A reset, so that what is still on its way is not retransmitted into the next measurement.
    for (const socket of sockets) socket.resetAndDestroy()
    say({ id, fromMs, binMs: BIN_MS, bins, flowBytes, openedMs })
  }, seconds * 1000)
}

function receiveLatency({ id, address, seconds, perSecond, lengthBytes }) {
  const fromMs = sharedNowMs()
  const delaysMs = []
  const socket = createSocket('udp4')
  const ask = () =>
    socket.send(JSON.stringify({ seconds, perSecond, lengthBytes }), LATENCY_PORT, address, () => undefined)
  const asking = setInterval(ask, ASK_EVERY_MS)
  let last = -1
  socket.on('error', () => undefined)
  socket.on('message', (message) => {
    clearInterval(asking)
    const nowMs = sharedNowMs()
    last = Math.max(last, message.readUInt32BE())
    delaysMs.push([round(nowMs - fromMs), round(nowMs - message.readDoubleBE(4))])
  })
  ask()
  // Datagrams that have not come two seconds after the last one left count as lost.
  setTimeout(
    () => {
      clearInterval(asking)
      socket.close()
      say({ id, sent: Math.max(Math.round(seconds * perSecond), last + 1), delaysMs })
    },
    (seconds + 2) * 1000
  )
}

function round(valueMs) {
  return Math.round(valueMs * 100) / 100
}

function obey() {
  const orders = { bulk: receiveBulk, latency: receiveLatency }
  createInterface({ input: process.stdin }).on('line', (line) => {
    const order = JSON.parse(line)
    orders[order.order](order)
  })
  say({ id: 0 })
}

if (process.argv[1] === PROGRAM) {
  if (process.argv[2] === 'server') serve()
  else obey()
}
