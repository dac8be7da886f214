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
import { resolve } from 'node:path'
import { PerformanceObserver } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import { median } from './lib/numbers.mjs'
import { direction, openPumpPair } from './lib/pump-pair.mjs'

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
const { libc } = await from('native/libc.js')
const { addressOf, nativeBuffer } = await from('native/memory.js')
const { copyBytes, packetBuffer } = await from('native/packet-memory.js')
const { createPacketCipher, loadReferenceBackend } = await from('crypto/packet-cipher.js')
await loadReferenceBackend()
const { ReplayWindow } = await from('esp/replay-window.js')
const { wideSum } = await from('tun/wide-sum.js')
const { Segmenter } = await from('tun/segmentation.js')
const { compileSelectors } = await from('wire/selector-matcher.js')

const FRAMES = 15
const pair = await openPumpPair({ dist: values.dist, payload: PAYLOAD, frames: FRAMES })
const { client, gateway, transport, length: LENGTH, segments: SEGMENTS } = pair

// --- the steps

const sample = packetBuffer(LENGTH + 64)
const target = packetBuffer(LENGTH + 128)
sample.set([0x45, 0, LENGTH >> 8, LENGTH & 255, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 1, 0, 2, 10, 1, 0, 1])
const address = addressOf(nativeBuffer(64))
const matches = compileSelectors(pair.selectors.host, pair.selectors.network)
const replay = new ReplayWindow(1024, false)
const backends = ['libcrypto', 'node', 'noble'].map((backend) => ({
  backend,
  cipher: createPacketCipher(direction(0x2222, 'x'), 'seal', backend)
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
  const outbound = timed(1, pair.sendBatch) / transport.count
  const before = gateway.pump.stats.packetsIn
  const { count } = transport
  const inbound = timed(1, pair.receiveBatch) / count
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
