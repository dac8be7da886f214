/**
 * Targets of what transports receive: RFC 9329 streams, datagrams, ESP, the kernel's control messages, both faces of the relay.
 * @module
 */
import { Duplex } from 'node:stream'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { createPacketCipher, espSuite } from '../../../src/crypto/packet-cipher.ts'
import { InboundSa, OpenResult } from '../../../src/esp/inbound-sa.ts'
import { OutboundSa } from '../../../src/esp/outbound-sa.ts'
import { silentLogger } from '../../../src/log.ts'
import { MessageHeader } from '../../../src/native/message-header.ts'
import { decodeSockaddr, encodeSockaddr } from '../../../src/native/sockaddr.ts'
import { RelayMetrics } from '../../../src/relay/metrics.ts'
import { openLane } from '../../../src/relay/open-lane.ts'
import { DEFAULT_RELAY_LIMITS } from '../../../src/relay/options.ts'
import { RelayStream } from '../../../src/relay/stream.ts'
import type { UdpLeg } from '../../../src/relay/udp-leg.ts'
import { decodeQueuedError } from '../../../src/transport/icmp-error.ts'
import { StreamTransport } from '../../../src/transport/stream.ts'
import { acceptStream, awaitPrefix } from '../../../src/transport/stream-accept.ts'
import { addressFromBytes } from '../../../src/wire/address.ts'
import { classifyDatagram, DatagramKind, withNonEspMarker } from '../../../src/wire/non-esp-marker.ts'
import { DeframeStatus, frameIke, STREAM_PREFIX, StreamDeframer } from '../../../src/wire/stream-framing.ts'
import { ALL_SUITES, GCM_128, type SuiteIds, saParameters } from '../../support/esp-parameters.ts'
import { recordedEsp, recordedMessages } from '../corpus.ts'
import type { FuzzRandom } from '../random.ts'
import { bounded, type FuzzTarget, fromHex, holds } from '../target.ts'

const join = (...parts: readonly Uint8Array[]): Uint8Array => Uint8Array.from(Buffer.concat(parts))

function espFrame(packet: Uint8Array): Uint8Array {
  return join(Uint8Array.of((packet.length + 2) >>> 8, packet.length + 2), packet)
}

/** Streams as both ends send them, with everything that may stand in one. */
function streams(): Uint8Array[] {
  const messages = recordedMessages().filter(({ length }) => length < 700)
  const { esp } = recordedEsp()
  const odd = fromHex('000300ff0002000600000000000400000007ffffffffff')
  return [
    join(STREAM_PREFIX, ...messages.slice(0, 3).map(frameIke), ...esp.slice(0, 4).map(espFrame)),
    join(STREAM_PREFIX, espFrame(esp[5] ?? odd), odd, frameIke(messages[4] ?? odd)),
    join(STREAM_PREFIX, Uint8Array.of(0, 3, 0xff, 0, 2), ...messages.slice(5, 8).map(frameIke)),
    join(...messages.slice(8, 10).map(frameIke), ...esp.slice(6, 9).map(espFrame)),
    fromHex('16030100c8010000c40303'),
    Uint8Array.from(Buffer.from('GET / HTTP/1.1\r\nHost: a\r\n\r\n'))
  ]
}

/** Splits at random, into anything from single bytes to one piece. */
function chunked(bytes: Uint8Array, random: FuzzRandom): Uint8Array[] {
  const chunks: Uint8Array[] = []
  const most = [1, 3, 20, 200, 70_000][random.below(5)] ?? 1
  for (let at = 0; at < bytes.length; ) {
    const size = 1 + random.below(most)
    chunks.push(bytes.slice(at, at + size))
    at += size
  }
  return chunks
}

interface Deframed {
  readonly status: number
  readonly said: string
}

/** What a deframer makes of chunks; delivered bytes are spoiled, as decryption in place does. */
function deframe(chunks: readonly Uint8Array[]): Deframed {
  const deframer = new StreamDeframer()
  let said = ''
  const take = (kind: string) => (buffer: Uint8Array, offset: number, length: number) => {
    holds(length > 0 && offset + length <= buffer.length, 'a message lies inside of its buffer')
    said += `${kind}${Buffer.from(buffer.subarray(offset, offset + length)).toString('latin1')}|`
    buffer.fill(0xa5, offset, offset + length)
  }
  for (const chunk of chunks) {
    deframer.push(chunk, { onIke: take('ike '), onEsp: take('esp ') })
    chunk.fill(0x5a)
  }
  const { malformed, keepalives } = deframer
  return { status: deframer.status, said: `${said}${malformed} ${keepalives}` }
}

const streamFrames: FuzzTarget = {
  name: 'stream-frames',
  covers: ['wire/stream-framing.ts#StreamDeframer'],
  weight: 1,
  maxLength: 70_000,
  corpus: streams,
  open: () => (input, random) => {
    // Behind the prefix, where there is one.
    const start = STREAM_PREFIX.every((byte, index) => byte === input[index]) ? STREAM_PREFIX.length : 0
    const whole = deframe([input.slice(start)])
    const pieces = deframe(chunked(input.slice(start), random))
    holds(whole.said === pieces.said, 'it does not matter where a stream is cut')
    holds(whole.status === pieces.status, 'nor for what becomes of it')
    holds(whole.status !== DeframeStatus.STOPPED, 'nobody stopped it')
  }
}

const datagrams: FuzzTarget = {
  name: 'datagram-kind',
  covers: ['wire/non-esp-marker.ts#classifyDatagram'],
  weight: 15,
  corpus: () => [...recordedMessages().map(withNonEspMarker), ...recordedEsp().esp, Uint8Array.of(0xff)],
  open: () => (input) => {
    const kind = classifyDatagram(input, 0, input.length)
    const isMarked = input.length >= 4 && input.subarray(0, 4).every((byte) => byte === 0)
    holds(kind !== DatagramKind.ESP || (!isMarked && input.length >= 8), 'ESP has an SPI')
    holds(kind !== DatagramKind.IKE || (isMarked && input.length >= 32), 'IKE has a marker and a header')
  }
}

class MemoryStream extends Duplex {
  override _read(): void {}
  override _write(_chunk: Buffer, _encoding: string, done: () => void): void {
    done()
  }
}

const ENDPOINT = { address: '198.51.100.9', port: 50_000 }

const relayStream: FuzzTarget = {
  name: 'relay-stream',
  covers: [
    'relay/stream.ts#RelayStream',
    'relay/client-queue.ts#ClientQueue',
    'transport/stream-accept.ts#awaitPrefix'
  ],
  maxLength: 20_000,
  corpus: streams,
  open: () => async (input, random) => {
    let sent = 0
    const leg: UdpLeg = {
      local: { address: '127.0.0.1', port: 1 },
      blocked: false,
      queue: (buffer, offset, length) => {
        holds(classifyDatagram(buffer, offset, length) >= DatagramKind.IKE, 'only IKE and ESP are relayed')
        sent += length
      },
      flush: () => undefined,
      close: () => undefined
    }
    const stream = new MemoryStream()
    let handedOver = 0
    let ends = 0
    const prefixed = awaitPrefix(stream, { prefixTimeoutMs: 60_000 }, (head) => {
      const context = {
        limits: DEFAULT_RELAY_LIMITS,
        metrics: new RelayMetrics(),
        log: silentLogger,
        now: () => 0,
        openLeg: () => leg
      }
      const relay = new RelayStream(
        (events) => openLane(stream, head, events).lane,
        ENDPOINT,
        context,
        () => ends++
      )
      relay.start()
      return relay
    })
    for (const chunk of chunked(input, random)) stream.push(Buffer.from(chunk))
    await nextTurn()
    if (!input.subarray(0, 6).every((byte, index) => byte === STREAM_PREFIX[index]) || input.length < 6)
      stream.push(null)
    const result = await prefixed
    if (result.outcome === 'other-protocol') {
      for await (const chunk of result.stream) handedOver += (chunk as Buffer).length
      holds(handedOver === input.length, 'a web server is handed all that was said')
    }
    if (result.outcome !== 'accepted') return
    const datagram = Buffer.from(input)
    result.taken.onDatagram(datagram, 0, datagram.length)
    result.taken.onBatchEnd()
    holds(sent <= input.length, 'a relay sends no more than it received')
    result.taken.destroy()
    // Streams end in the turns of the event loop after this one.
    await nextTurn()
    holds(ends === 1, 'a stream ends once')
  }
}

const streamTransport: FuzzTarget = {
  name: 'stream-transport',
  covers: ['transport/stream.ts#StreamTransport', 'transport/stream-accept.ts#acceptStream'],
  weight: 0.2,
  maxLength: 20_000,
  corpus: streams,
  open: () => async (input, random) => {
    const stream = new MemoryStream()
    const options = { local: ENDPOINT, remote: ENDPOINT, prefixTimeoutMs: 60_000 }
    const accepting = acceptStream(stream, 'tcp', options)
    for (const chunk of chunked(input, random)) stream.push(Buffer.from(chunk))
    stream.push(null)
    const accepted = await accepting
    if (accepted.outcome === 'accepted') {
      let taken = 0
      let closes = 0
      const { transport } = accepted
      holds(transport instanceof StreamTransport, 'what was accepted is a stream')
      await new Promise<void>((resolve) => {
        transport.setHandlers({
          onIke: (message) => {
            taken += message.length
          },
          onEsp: (_buffer, _offset, length) => {
            taken += length
          },
          onEspBatchEnd: () => undefined,
          onWritable: () => undefined,
          onClose: () => {
            closes++
            resolve()
          }
        })
      })
      holds(taken <= input.length, 'no more comes out than went in')
      holds(closes === 1, 'the end is told once')
      await transport.close(0)
    }
    stream.destroy()
  }
}

const ESP_SPI = 0x11223344

/** What one of our outbound SAs sends: the only packets that may be opened. */
function sealedPackets(ids: SuiteIds, seed: number): Uint8Array[] {
  const outbound = new OutboundSa(saParameters(ids, { spi: ESP_SPI, seed }), {
    bytes: (n) => new Uint8Array(n).fill(9)
  })
  const inner = recordedEsp().inner.filter(({ length }) => length < 400)
  return inner.slice(0, 6).map((packet) => {
    const sealed = new Uint8Array(outbound.sealedLength(packet.length))
    const next = (packet[0] ?? 0) >>> 4 === 4 ? 4 : 41
    outbound.seal(packet, 0, packet.length, next, sealed, 0)
    return sealed
  })
}

const espOpen: FuzzTarget = {
  name: 'esp-open',
  covers: ['esp/inbound-sa.ts#InboundSa', 'crypto/packet-cipher.ts#createPacketCipher'],
  weight: 6,
  episode: 500,
  corpus: () => sealed().flat(),
  open: () => {
    const suites = ALL_SUITES.map(([, ids], index) => {
      const genuine = new Set(sealed()[index]?.map((packet) => Buffer.from(packet).toString('latin1')))
      return { genuine, sa: new InboundSa(saParameters(ids, { spi: ESP_SPI, seed: seedOf(index) }), 64) }
    })
    return (input, random) => {
      const one = suites[random.below(suites.length)]
      if (one === undefined) return
      const { sa, genuine } = one
      const key = Buffer.from(input).toString('latin1')
      const before = [sa.window.top, sa.packets, sa.bytes].join()
      const buffer = new Uint8Array(input.length + 32).fill(0xee)
      buffer.set(input, 16)
      const result = sa.open(buffer, 16, input.length)
      holds(result < 0 || genuine.has(key), 'only what was sealed is opened')
      const after = [sa.window.top, sa.packets, sa.bytes].join()
      holds(genuine.has(key) || after === before, 'what is not authentic changes nothing')
      if (result >= 0) {
        holds(
          sa.innerOffset >= 16 && sa.innerOffset + result <= 16 + input.length,
          'the inner packet lies inside'
        )
        holds(sa.open(Buffer.from(input), 0, input.length) === OpenResult.replay, 'no packet is taken twice')
      }
      holds(
        [...buffer.subarray(0, 16), ...buffer.subarray(16 + input.length)].every((byte) => byte === 0xee),
        'nothing outside is written'
      )
    }
  }
}

let sealedOnce: readonly (readonly Uint8Array[])[] | undefined

/** Keys of their own: an HMAC would else be good under several ciphers. */
const seedOf = (suite: number): number => 1 + 7 * suite

/** Of each suite. */
function sealed(): readonly (readonly Uint8Array[])[] {
  sealedOnce ??= ALL_SUITES.map(([, ids], index) => sealedPackets(ids, seedOf(index)))
  return sealedOnce
}

/** What RFC 4303 section 2.4 and 2.6 say of the contents of an authentic packet: length of the inner packet, or why not. */
function naiveUnwrap(plain: Uint8Array): number {
  const bytes = [...plain]
  const next = bytes.pop() ?? 0
  const padding = bytes.pop() ?? 0
  if (padding > bytes.length) return OpenResult.malformed
  const pad = padding === 0 ? [] : bytes.splice(-padding)
  if (pad.some((byte, index) => byte !== index + 1)) return OpenResult.malformed
  if (next === 59) return OpenResult.dummy
  if (next !== 4 && next !== 41) return OpenResult.unsupported
  const version = (bytes[0] ?? 0) >> 4
  const least = next === 4 ? 20 : 40
  if (version !== (next === 4 ? 4 : 6) || bytes.length < least) return OpenResult.malformed
  const field = next === 4 ? 2 : 4
  const length = ((bytes[field] ?? 0) << 8) + (bytes[field + 1] ?? 0) + (next === 4 ? 0 : 40)
  return length < least || length > bytes.length ? OpenResult.malformed : length
}

const espContents: FuzzTarget = {
  name: 'esp-contents',
  covers: ['esp/inbound-sa.ts#InboundSa'],
  weight: 3,
  corpus: () =>
    recordedEsp()
      .inner.slice(0, 30)
      .map((inner) => join(inner, Uint8Array.of(1, 2, 3, 3, (inner[0] ?? 0) >>> 4 === 4 ? 4 : 41))),
  open: () => {
    const { blockSize, ivLength, icvLength } = espSuite(GCM_128)
    const cipher = createPacketCipher(saParameters(GCM_128, { spi: ESP_SPI }), 'seal')
    const header = 8 + ivLength
    return (input) => {
      const plain = input.slice(0, input.length - (input.length % blockSize))
      if (plain.length < 2) return
      const packet = new Uint8Array(header + plain.length + icvLength)
      new DataView(packet.buffer).setUint32(0, ESP_SPI)
      packet[7] = 1
      packet.set(plain, header)
      cipher.seal(packet, header, plain.length, packet, 0, 0, 0)
      const sa = new InboundSa(saParameters(GCM_128, { spi: ESP_SPI }), 64)
      const result = sa.open(packet, 0, packet.length)
      sa.dispose()
      const expected = naiveUnwrap(plain)
      holds(result === expected, `the contents are read as by the twin (${result}, not ${expected})`)
      const inner = packet.subarray(sa.innerOffset, sa.innerOffset + Math.max(0, result))
      holds(
        Buffer.compare(inner, plain.subarray(0, inner.length)) === 0,
        'the inner packet is what was sealed'
      )
    }
  }
}

/** Control messages as `recvmsg` gives them: an extended error with its offender, the outer ECN field, a packet's destination. */
function controlMessages(): Uint8Array[] {
  const control = (level: number, type: number, data: Uint8Array) => {
    const bytes = Buffer.alloc(16 + ((data.length + 7) & ~7))
    bytes.writeUInt32LE(16 + data.length, 0)
    bytes.writeUInt32LE(level, 8)
    bytes.writeUInt32LE(type, 12)
    bytes.set(data, 16)
    return bytes
  }
  const error = (origin: number, type: number, code: number, offender: Uint8Array) => {
    const bytes = Buffer.alloc(16)
    bytes.writeUInt32LE(111, 0)
    bytes.set([origin, type, code], 4)
    bytes.writeUInt32LE(1400, 8)
    return join(bytes, offender)
  }
  const four = encodeSockaddr({ address: Uint8Array.of(203, 0, 113, 1), port: 0 })
  const six = encodeSockaddr({ address: new Uint8Array(16).fill(1), port: 0 })
  return [
    control(0, 11, error(2, 3, 3, four)),
    control(41, 25, error(3, 1, 4, six)),
    control(0, 11, error(1, 0, 0, new Uint8Array(16))),
    join(control(0, 1, Uint8Array.of(3)), control(0, 11, error(2, 3, 4, four))),
    join(control(17, 104, Uint8Array.of(0x78, 5, 0, 0)), control(0, 8, new Uint8Array(12)))
  ]
}

const recvmsgControl: FuzzTarget = {
  name: 'recvmsg-control',
  covers: [
    'native/message-header.ts#MessageHeader',
    'native/sockaddr.ts#decodeSockaddr',
    'transport/icmp-error.ts#decodeQueuedError'
  ],
  weight: 8,
  maxLength: 256,
  corpus: controlMessages,
  open: () => {
    const header = new MessageHeader(256)
    return (input) => {
      header.clearControl()
      const used = Math.max(16, input.length - (input.length % 8))
      header.addControl(0, 0, new Uint8Array(used - 16))
      // As the kernel would have written it: so many bytes, whatever they say.
      header.control.set(input.subarray(0, used))
      for (const [level, type] of [
        [0, 11],
        [41, 25],
        [0, 1],
        [17, 104],
        [0, 8]
      ] as const) {
        const at = header.findControl(level, type)
        if (at < 0) continue
        holds(at >= 16 && at <= used, 'control data lies inside')
        const error = decodeQueuedError(header, at)
        if (error !== undefined) bounded(error, input, 0, 400)
      }
      const address = decodeSockaddr(Buffer.from(input))
      if (address !== undefined) addressFromBytes(address.address)
    }
  }
}

export const STREAM_TARGETS: readonly FuzzTarget[] = [
  streamFrames,
  datagrams,
  relayStream,
  streamTransport,
  espOpen,
  espContents,
  recvmsgControl
]
