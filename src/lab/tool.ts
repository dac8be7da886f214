/**
 * What the demo and the lab run inside their namespaces; each prints JSON lines.
 *
 * | usage | does |
 * | --- | --- |
 * | `tool serve <address> <port>` | a web server with files of any length; it counts what is sent to it |
 * | `tool fetch <url>` | a download that checks every byte |
 * | `tool upload <url> <bytes>` | the other direction |
 * | `tool post <url>` | sends a form with nothing in it |
 * | `tool ping <address> <count>` | echo requests, one after another |
 * | `tool await <address> <seconds>` | asks until the address answers |
 * @module
 */
import {
  createServer,
  get,
  request as httpRequest,
  type IncomingMessage,
  type ServerResponse
} from 'node:http'
import { BLOCK_LENGTH, fillBlock, PatternChecker } from './pattern.ts'
import { ping } from './ping.ts'

const REPORT_EVERY_MS = 200
const PING_TIMEOUT_MS = 2_000
const AWAIT_EVERY_MS = 700

function say(fields: Readonly<Record<string, unknown>>): void {
  process.stdout.write(`${JSON.stringify(fields)}\n`)
}

/** `/bytes/N?rate=R`: N bytes of the pattern, at most R bytes a second. */
function serve(address: string, port: number): void {
  const server = createServer((request, response) => {
    if (request.method === 'POST') {
      void countBody(request, response)
      return
    }
    const url = new URL(request.url ?? '/', 'http://demo')
    const length = Number(/^\/bytes\/(\d{1,12})$/.exec(url.pathname)?.[1] ?? Number.NaN)
    if (!Number.isSafeInteger(length)) {
      response.writeHead(404).end('Not found\n')
      return
    }
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': length })
    void sendPattern(response, length, Number(url.searchParams.get('rate') ?? Number.POSITIVE_INFINITY))
  })
  server.listen(port, address, () => say({ listening: port }))
}

async function countBody(request: IncomingMessage, response: ServerResponse): Promise<void> {
  let received = 0
  try {
    for await (const chunk of request) received += (chunk as Buffer).length
    response.end(JSON.stringify({ received }))
  } catch {
    // Whoever sent it has gone.
  }
}

async function sendPattern(response: ServerResponse, length: number, bytesPerSecond: number): Promise<void> {
  const startedAt = performance.now()
  const block = Buffer.alloc(BLOCK_LENGTH)
  let gone = false
  const closed = new Promise<void>((resolve) =>
    response.once('close', () => {
      gone = true
      resolve()
    })
  )
  for (let sent = 0; sent < length && !gone; sent += BLOCK_LENGTH) {
    fillBlock(block, sent / BLOCK_LENGTH)
    const aheadMs = (sent / bytesPerSecond) * 1000 - (performance.now() - startedAt)
    if (aheadMs > 5) await new Promise((resolve) => setTimeout(resolve, aheadMs))
    const chunk = Buffer.from(block.subarray(0, Math.min(BLOCK_LENGTH, length - sent)))
    if (!response.write(chunk)) {
      await Promise.race([new Promise<void>((resolve) => response.once('drain', resolve)), closed])
    }
  }
  response.end()
}

function fetchChecked(url: string): void {
  const startedAt = performance.now()
  const checker = new PatternChecker()
  let lastAt = startedAt
  let longestStallMs = 0
  const request = get(url, (response) => {
    const expected = Number(response.headers['content-length'])
    const reporter = setInterval(() => say({ bytes: checker.bytes }), REPORT_EVERY_MS)
    response.on('data', (chunk: Buffer) => {
      const now = performance.now()
      longestStallMs = Math.max(longestStallMs, now - lastAt)
      lastAt = now
      checker.push(chunk)
    })
    response.on('close', () => {
      clearInterval(reporter)
      const elapsedMs = performance.now() - startedAt
      const intact = checker.intact && checker.bytes === expected
      say({ done: true, bytes: checker.bytes, expected, intact, elapsedMs, longestStallMs })
      process.exitCode = intact ? 0 : 1
    })
    response.on('error', () => undefined)
  })
  request.on('error', (error) => {
    say({ done: true, bytes: checker.bytes, intact: false, error: error.message })
    process.exitCode = 1
  })
}

/** Sends so many bytes, none for a form with nothing in it. */
function send(url: string, bytes: number): void {
  const startedAt = performance.now()
  const headers = { 'content-length': bytes }
  const request = httpRequest(url, { method: 'POST', headers }, (response) => {
    response.resume().once('end', () => {
      const elapsedMs = performance.now() - startedAt
      say({ done: true, status: response.statusCode, bytes, elapsedMs })
    })
  })
  request.on('error', (error) => {
    say({ done: true, status: null, error: error.message })
    process.exitCode = 1
  })
  request.end(Buffer.alloc(bytes))
}

async function awaitAnswer(address: string, seconds: number): Promise<void> {
  const startedAt = performance.now()
  const elapsedMs = (): number => performance.now() - startedAt
  const bytes = Uint8Array.from(address.split('.').map(Number))
  let roundTripMs: number | undefined
  for (let sequence = 1; roundTripMs === undefined && elapsedMs() < seconds * 1000; sequence++) {
    const askedMs = elapsedMs()
    // Without a route the question itself is refused, and at once.
    roundTripMs = await ping(bytes, sequence, AWAIT_EVERY_MS).catch(() => undefined)
    const restMs = AWAIT_EVERY_MS - (elapsedMs() - askedMs)
    if (roundTripMs === undefined && restMs > 0) await new Promise((resolve) => setTimeout(resolve, restMs))
  }
  say({ done: true, answered: roundTripMs !== undefined, elapsedMs: elapsedMs() })
}

async function pings(address: string, count: number): Promise<void> {
  const bytes = Uint8Array.from(address.split('.').map(Number))
  const roundTripsMs: number[] = []
  for (let sequence = 1; sequence <= count; sequence++) {
    const roundTripMs = await ping(bytes, sequence, PING_TIMEOUT_MS)
    if (roundTripMs !== undefined) roundTripsMs.push(roundTripMs)
  }
  say({ done: true, sent: count, received: roundTripsMs.length, roundTripsMs })
}

const [, , mode = '', target = '', number = ''] = process.argv
if (mode === 'serve') serve(target, Number(number))
else if (mode === 'fetch') fetchChecked(target)
else if (mode === 'post') send(target, 0)
else if (mode === 'upload') send(target, Number(number))
else if (mode === 'await') await awaitAnswer(target, Number(number))
else if (mode === 'ping') await pings(target, Number(number))
else throw new Error(`Unknown mode ${mode}`)
