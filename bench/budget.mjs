/**
 * What each step of a packet's way costs inside this process, in nanoseconds: no network, no TUN device, the compiled modules
 * themselves. One process alternates between all steps, so that whatever else the machine does meets all of them.
 *
 *     npm run bench:budget [-- --payload 1348] [--rounds 60] [--dist DIR]
 *
 * Prints medians and the lowest of the rounds; the lowest is the figure on a machine that is busy otherwise. `--dist` measures other
 * compiled modules, for a comparison of before and after. Also prints how much garbage the young generation had to collect per packet.
 * @module
 */
import { createHash } from 'node:crypto'
import { resolve } from 'node:path'
import { PerformanceObserver } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import { cidrToSelector } from '../test/support/two-pumps-selectors.mjs'
import { median } from './lib/numbers.mjs'

const { values } = parseArgs({
  options: {
    payload: { type: 'string', default: '1348' },
    rounds: { type: 'string', default: '60' },
    dist: { type: 'string', default: new URL('../dist', import.meta.url).pathname }
  }
})
const PAYLOAD = Number(values.payload)
const ROUNDS = Number(values.rounds)
const from = (file) => import(`${resolve(values.dist)}/${file}`)
const { Pump } = await from('dataplane/pump.js')
const { Sad } = await from('esp/sad.js')
const { silentLogger } = await from('log.js')
const { libc } = await from('native/libc.js')
const { addressOf, nativeBuffer } = await from('native/memory.js')
const { copyBytes, packetBuffer } = await from('native/packet-memory.js')
const { createPacketCipher, loadReferenceBackend } = await from('crypto/packet-cipher.js')
await loadReferenceBackend()
const { ReplayWindow } = await from('esp/replay-window.js')
const { wideSum } = await from('tun/wide-sum.js')
const { Segmenter } = await from('tun/segmentation.js')
const { compileSelectors } = await from('wire/selector-matcher.js')

const VNET_HEADER = 10
/** IPv4 and TCP with timestamps. */
const HEADERS = 52
const SEGMENTS = Math.floor(65_000 / PAYLOAD)
const LENGTH = HEADERS + PAYLOAD
const FRAMES = 15
const AES_GCM = 20
const SPI = { there: 0x2222, back: 0x1111 }

/** A super-packet as the kernel hands it over; contents that do not matter, the same in every run. */
function superFrame() {
  const frame = Buffer.alloc(VNET_HEADER + HEADERS + SEGMENTS * PAYLOAD)
  frame.set([1, 1])
  for (const [at, value] of [
    [2, HEADERS],
    [4, PAYLOAD],
    [6, 20],
    [8, 16]
  ])
    frame.writeUInt16LE(value, at)
  frame.set([0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 1, 0, 2, 10, 1, 0, 1], VNET_HEADER)
  frame.writeUInt16BE(frame.length - VNET_HEADER, VNET_HEADER + 2)
  const tcp = [19, 136, 32, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0x80, 0x10, 1, 0, 0, 0, 0, 0, 1, 1, 8, 10, 0, 0, 0, 1]
  frame.set(tcp, VNET_HEADER + 20)
  for (let at = VNET_HEADER + HEADERS; at < frame.length; at += 32)
    createHash('sha256').update(String(at)).digest().copy(frame, at)
  return frame
}

class BenchTun {
  name = 'bench'
  offloads = { checksum: { inUse: true }, tcp: { inUse: true }, udp: { inUse: true } }
  readBuffer = packetBuffer(131_072)
  left = 0
  handlers
  #frame = superFrame()

  setHandlers(handlers) {
    this.handlers = handlers
  }
  setReading() {}
  read() {
    if (this.left-- <= 0) return 0
    this.readBuffer.set(this.#frame)
    return this.#frame.length
  }
  write() {
    return true
  }
  release() {}
}

/** Keeps a batch, so that it can be given to the other end. */
class BenchTransport {
  kind = 'udp'
  esp = this
  writable = true
  buffer = packetBuffer(FRAMES * SEGMENTS * (LENGTH + 60))
  spans = new Int32Array(2 * FRAMES * SEGMENTS)
  count = 0
  #at = 0

  reserve() {
    return this.#at
  }
  commit(length) {
    this.spans[2 * this.count] = this.#at
    this.spans[2 * this.count++ + 1] = length
    this.#at += length
  }
  flush() {}
  reset() {
    this.count = this.#at = 0
  }
}

let seed = 0
const key = (name) => Uint8Array.from(createHash('sha256').update(name).digest().subarray(0, 20))
const random = { bytes: (length) => new Uint8Array(length).fill(++seed) }
const direction = (spi, name) => ({
  ...{ spi, encryptionId: AES_GCM, encryptionKeyBits: 128, integrityId: 0, esn: false },
  ...{ encryptionKey: key(name), integrityKey: new Uint8Array(0) }
})
const host = [cidrToSelector('10.1.0.2/32')]
const network = [cidrToSelector('10.1.0.0/24')]

function end(localTs, remoteTs, outbound, inbound) {
  const tun = new BenchTun()
  const sad = new Sad({ random })
  const parameters = {
    ...{ childId: 1, localTs, remoteTs },
    inbound: direction(inbound, String(inbound)),
    outbound: direction(outbound, String(outbound))
  }
  sad.install(parameters)
  sad.activateOutbound(inbound)
  const pump = new Pump({ tun, sad, logger: silentLogger, mtu: LENGTH, now: () => performance.now() })
  return { tun, pump, sad }
}

const client = end(host, network, SPI.there, SPI.back)
const gateway = end(network, host, SPI.back, SPI.there)
const transport = new BenchTransport()
client.pump.setTransport(transport)
client.pump.resume()
gateway.pump.resume()

// --- the steps

const sample = packetBuffer(LENGTH + 64)
const target = packetBuffer(LENGTH + 128)
sample.set([0x45, 0, LENGTH >> 8, LENGTH & 255, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 1, 0, 2, 10, 1, 0, 1])
const address = addressOf(nativeBuffer(64))
const matches = compileSelectors(host, network)
const replay = new ReplayWindow(1024, false)
const backends = ['libcrypto', 'node', 'noble'].map((backend) => ({
  backend,
  cipher: createPacketCipher(direction(SPI.there, 'x'), 'seal', backend)
}))
let sequence = 0

/** @returns nanoseconds per turn */
function timed(turns, work) {
  const started = process.hrtime.bigint()
  for (let turn = 0; turn < turns; turn++) work()
  return Number(process.hrtime.bigint() - started) / turns
}

const steps = new Map([
  ['a call into C that does nothing', () => timed(4000, () => libc().memmove(address, address, 0))],
  [`the sum of ${LENGTH} bytes`, () => timed(4000, () => wideSum(sample, 0, LENGTH))],
  [`a copy of ${LENGTH} bytes`, () => timed(4000, () => copyBytes(sample, 0, target, 64, LENGTH))],
  ['the traffic selectors of a packet', () => timed(4000, () => matches(sample, 0, LENGTH, true))],
  [
    'the replay window of a packet',
    () =>
      timed(4000, () => {
        replay.check(0, ++sequence)
        replay.update(0, sequence)
      })
  ],
  [
    'cutting a super-packet, each packet',
    () => {
      const segmenter = new Segmenter()
      const { readBuffer } = client.tun
      return (
        timed(20, () => {
          client.tun.left = 1
          segmenter.load(readBuffer, 0, client.tun.read())
          while (segmenter.next());
        }) / SEGMENTS
      )
    }
  ],
  ...backends.map(({ backend, cipher }) => [
    `sealing with ${backend}`,
    () => timed(backend === 'noble' ? 20 : 1000, () => cipher.seal(sample, 0, LENGTH, target, 0, 2, 0))
  ])
])

/** One batch through both ends. */
function batch() {
  transport.reset()
  client.tun.left = FRAMES
  const outbound = timed(1, () => client.tun.handlers.onReadable()) / transport.count
  const before = gateway.pump.stats.packetsIn
  const { spans, count, buffer } = transport
  const inbound =
    timed(1, () => {
      for (let index = 0; index < 2 * count; index += 2)
        gateway.pump.handleEsp(buffer, spans[index], spans[index + 1], 0)
      gateway.pump.handleEspBatchEnd()
    }) / count
  if (gateway.pump.stats.packetsIn - before !== count) throw new Error('Packets were lost')
  return { outbound, inbound }
}

let collections = 0
new PerformanceObserver((list) => {
  collections += list.getEntries().length
}).observe({ entryTypes: ['gc'] })

const results = new Map()
const note = (name, value) => results.set(name, [...(results.get(name) ?? []), value])
let packets = 0
for (let round = -ROUNDS; round < ROUNDS; round++) {
  const { outbound, inbound } = batch()
  if (round >= 0) packets += transport.count
  const measured = [
    ['outbound in all: cut, sealed, framed', outbound],
    ['inbound in all: opened, checked, joined', inbound]
  ]
  for (const [name, step] of steps) measured.push([name, step()])
  if (round >= 0) for (const [name, value] of measured) note(name, value)
  // Lets the observer have its turn.
  await new Promise((done) => setImmediate(done))
}

const text = (value) => value.toFixed(0).padStart(8)
console.log(`Nanoseconds for packets of ${LENGTH} bytes, AES-128-GCM, Node ${process.version}`)
console.log(`${''.padEnd(44)}  median  lowest`)
for (const [name, list] of results)
  console.log(`${name.padEnd(44)}${text(median(list))}${text(Math.min(...list))}`)
console.log(`${packets} packets each way in the measured rounds, ${collections} garbage collections in all`)
