/**
 * Counts what the data path puts on the heap for each packet, with the compiled modules, and prints it as JSON: bytes by part. Run it as
 * `test/system/allocations.test.ts` does: with room for everything in the young generation, nothing is collected in between, so that growth
 * is what was allocated; on one thread, V8 compiles at the same points in every run. No clock is read.
 *
 * The lowest of several rounds counts: one in which V8 compiles something has more, none has less.
 * @module
 */
import { fileURLToPath } from 'node:url'
import { direction, openPumpPair } from '../../bench/lib/pump-pair.mjs'

const dist = fileURLToPath(new URL('../../dist', import.meta.url))
const from = (file) => import(`${dist}/${file}`)
const { TlsRecordCipher } = await from('crypto/tls-record-cipher.js')
const { InboundSa } = await from('esp/inbound-sa.js')
const { OutboundSa } = await from('esp/outbound-sa.js')
const { silentLogger } = await from('log.js')
const { addressOf, nativeBuffer } = await from('native/memory.js')
const { packetBuffer } = await from('native/packet-memory.js')
const { RelayMetrics } = await from('relay/metrics.js')
const { DEFAULT_RELAY_LIMITS } = await from('relay/options.js')
const { RelayStream } = await from('relay/stream.js')
const { DirectTransmit } = await from('transport/direct-transmit.js')
const { TlsStream } = await from('transport/tls-stream.js')
const { StreamDeframer, writeFrameLength } = await from('wire/stream-framing.js')

const PAYLOAD = 1348
const INNER_LENGTH = PAYLOAD + 52
const ROOM = INNER_LENGTH + 64
const PACKETS = 8000
/** One batch of a stream: as many whole packets as one read brings. */
const BATCH = 80
const WARM_UP_ROUNDS = 100
const ROUNDS = 10
const SPI = 0x3333

/**
 * @param {() => number} work says how many packets it dealt with
 * @param {() => void} prepare is not counted
 * @returns {number} bytes for each packet
 */
function measure(work, prepare = () => undefined) {
  let least = Number.POSITIVE_INFINITY
  for (let round = 0; round < WARM_UP_ROUNDS; round++) {
    prepare()
    work()
  }
  for (let round = 0; round < ROUNDS; round++) {
    prepare()
    globalThis.gc()
    const before = process.memoryUsage()
    const packets = work()
    const after = process.memoryUsage()
    const bytes = after.heapUsed - before.heapUsed + after.external - before.external
    least = Math.min(least, bytes / packets)
  }
  return Math.round(least * 10) / 10
}

/** A stream that takes everything and brings what it is given; a real one makes one system call for each. */
class MemoryStream {
  fd = -1
  more = false
  pending = false
  unsent = false
  onGone
  source
  left = 0

  read({ buffer }, at = 0) {
    if (this.left-- <= 0) return -11
    buffer.set(this.source, at)
    return this.source.length
  }
  write(_address, length) {
    return length
  }
  push() {
    return 0
  }
  end() {}
  destroy() {}
  describe() {}
}

// --- ESP

const inner = packetBuffer(INNER_LENGTH)
const ipv4 = [
  0x45,
  0,
  INNER_LENGTH >> 8,
  INNER_LENGTH & 255,
  0,
  1,
  0x40,
  0,
  64,
  6,
  0,
  0,
  10,
  1,
  0,
  2,
  10,
  1,
  0,
  1
]
inner.set(ipv4)
const sealed = Buffer.from(new ArrayBuffer(PACKETS * ROOM))
const outbound = new OutboundSa(direction(SPI, 'x'), { bytes: (length) => new Uint8Array(length) })
const inbound = new InboundSa(direction(SPI, 'x'))
const sealedLength = outbound.sealedLength(INNER_LENGTH)

function encrypt() {
  for (let index = 0; index < PACKETS; index++)
    if (outbound.seal(inner, 0, INNER_LENGTH, 4, sealed, index * ROOM) !== sealedLength)
      throw new Error('A packet was not sealed')
  return PACKETS
}

function decrypt() {
  for (let index = 0; index < PACKETS; index++)
    if (inbound.open(sealed, index * ROOM, sealedLength) < 0) throw new Error('A packet was not opened')
  return PACKETS
}

// --- both pumps

const pair = await openPumpPair({ dist, payload: PAYLOAD, frames: 15 })

function pumpOut() {
  pair.sendBatch()
  return pair.transport.count
}

function pumpIn() {
  const before = pair.gateway.pump.stats.packetsIn
  pair.receiveBatch()
  const packets = pair.gateway.pump.stats.packetsIn - before
  if (packets !== pair.transport.count) throw new Error('Packets were lost')
  return packets
}

// --- frames

const transmit = new DirectTransmit(new MemoryStream(), false, {
  onBlocked: () => undefined,
  onSent: () => undefined,
  onError: () => undefined
})

function frameOut() {
  for (let sent = 0; sent < PACKETS; sent++) {
    if (transmit.reserve(sealedLength) < 0) throw new Error('There was no room')
    transmit.commit(sealedLength)
    if (sent % BATCH === BATCH - 1) transmit.flush()
  }
  transmit.flush()
  return PACKETS
}

/** Frames as one read brings them; the SPI is that of ESP. */
const chunk = packetBuffer(BATCH * (sealedLength + 2))
for (let index = 0; index < BATCH; index++) {
  const at = index * (sealedLength + 2)
  writeFrameLength(chunk, at, sealedLength)
  chunk.set([0, 0, 0x33, 0x33], at + 2)
}
const chunkBuffer = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length)
const deframer = new StreamDeframer()
let framesIn = 0
const sink = {
  onIke: () => undefined,
  onEsp: () => {
    framesIn++
    return 1
  }
}

function frameIn() {
  framesIn = 0
  for (let reads = 0; reads < PACKETS / BATCH; reads++)
    deframer.push(chunkBuffer, sink, 0, chunkBuffer.length)
  if (framesIn !== PACKETS) throw new Error('Frames were lost')
  return PACKETS
}

// --- TLS, whose records hold eleven packets each

const secret = () => Buffer.alloc(32, 7)
const SUITE = 'TLS_AES_128_GCM_SHA256'
const tcp = new MemoryStream()
const keys = {
  reading: new TlsRecordCipher(SUITE, secret(), 0, 'open'),
  writing: new TlsRecordCipher(SUITE, secret(), 0, 'seal')
}
const tls = new TlsStream(tcp, keys, Buffer.alloc(0), { show: undefined, over: () => undefined })
const peer = new TlsRecordCipher(SUITE, secret(), 0, 'seal')
const RECORDS = 7
const RECORD_CONTENT = 16_384
const chunkAddress = addressOf(chunkBuffer)
const received = packetBuffer(131_072)
const memory = {
  buffer: Buffer.from(received.buffer, received.byteOffset, received.length),
  address: addressOf(received)
}
const CALLS = 40
const records = Array.from({ length: CALLS }, () => nativeBuffer(RECORDS * (RECORD_CONTENT + 22)))
const PACKETS_A_CALL = (RECORDS * RECORD_CONTENT) / (sealedLength + 2)

function tlsOut() {
  for (let calls = 0; calls < CALLS; calls++)
    if (tls.write(chunkAddress, RECORDS * RECORD_CONTENT) !== RECORDS * RECORD_CONTENT)
      throw new Error('A record was not sealed')
  return CALLS * PACKETS_A_CALL
}

function sealRecords() {
  for (const target of records) {
    const address = addressOf(target)
    for (let at = 0; at < target.length; )
      at += peer.seal(23, chunkAddress, RECORD_CONTENT, target, address, at)
  }
}

function tlsIn() {
  for (const sealedRecords of records) {
    tcp.source = sealedRecords
    tcp.left = 1
    if (tls.read(memory) !== RECORDS * RECORD_CONTENT) throw new Error('Records were not opened')
  }
  return CALLS * PACKETS_A_CALL
}

// --- the relay

const lane = {
  ...{ waitingBytes: 0, drained: true, sent: 0 },
  ...{ start() {}, pause() {}, resume() {}, end() {}, destroy() {} },
  send(_buffer, length) {
    lane.sent += length
  }
}
const leg = {
  ...{ local: { address: '127.0.0.1', port: 1 }, blocked: false, bytes: 0 },
  queue(_buffer, _offset, length) {
    leg.bytes += length
  },
  ...{ flush() {}, close() {} }
}
let laneEvents
const relayed = new RelayStream(
  (events) => {
    laneEvents = events
    return lane
  },
  { address: '198.51.100.9', port: 50_000 },
  {
    ...{ limits: DEFAULT_RELAY_LIMITS, metrics: new RelayMetrics(), log: silentLogger },
    ...{ now: () => 0, openLeg: () => leg }
  },
  () => undefined
)
relayed.start()

function relayToServer() {
  leg.bytes = 0
  for (let reads = 0; reads < PACKETS / BATCH; reads++) laneEvents.onBytes(chunkBuffer, 0, chunkBuffer.length)
  if (leg.bytes !== PACKETS * sealedLength) throw new Error('Packets were lost')
  return PACKETS
}

function relayToClient() {
  lane.sent = 0
  for (let sent = 0; sent < PACKETS; sent++) {
    relayed.onDatagram(chunkBuffer, (sent % BATCH) * (sealedLength + 2) + 2, sealedLength)
    if (sent % BATCH === BATCH - 1) relayed.onBatchEnd()
  }
  relayed.onBatchEnd()
  if (lane.sent !== PACKETS * (sealedLength + 2)) throw new Error('Packets were lost')
  return PACKETS
}

process.stdout.write(
  `${JSON.stringify({
    encrypt: measure(encrypt),
    decrypt: measure(decrypt, encrypt),
    pumpOut: measure(pumpOut),
    pumpIn: measure(pumpIn, pumpOut),
    frameOut: measure(frameOut),
    frameIn: measure(frameIn),
    tlsOut: measure(tlsOut),
    tlsIn: measure(tlsIn, sealRecords),
    relayToServer: measure(relayToServer),
    relayToClient: measure(relayToClient)
  })}\n`
)
