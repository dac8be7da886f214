/**
 * What the demo and the lab run inside their namespaces: a web server, a download that checks every byte, and a ping.
 * Each prints JSON lines. Usage: `tool serve <address> <port>`, `tool fetch <url>`, `tool post <url>`, `tool ping <address> <count>`.
 * @module
 */
import { createServer, get, request as httpRequest, type ServerResponse } from 'node:http'
import { BLOCK_LENGTH, fillBlock, PatternChecker } from './pattern.ts'
import { ping } from './ping.ts'

const REPORT_EVERY_MS = 200
const PING_TIMEOUT_MS = 2_000

function say(fields: Readonly<Record<string, unknown>>): void {
  process.stdout.write(`${JSON.stringify(fields)}\n`)
}

/** `/bytes/N?rate=R`: N bytes of the pattern, at most R bytes a second. */
function serve(address: string, port: number): void {
  const server = createServer((request, response) => {
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

/** Sends a form with nothing in it. */
function post(url: string): void {
  const request = httpRequest(url, { method: 'POST' }, (response) => {
    response.resume().once('end', () => say({ done: true, status: response.statusCode }))
  })
  request.on('error', (error) => {
    say({ done: true, status: null, error: error.message })
    process.exitCode = 1
  })
  request.end()
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
else if (mode === 'post') post(target)
else if (mode === 'ping') await pings(target, Number(number))
else throw new Error(`Unknown mode ${mode}`)
