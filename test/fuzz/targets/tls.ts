/**
 * Targets of TLS records that are read without Node, and of finding the boundary of frames again in a stream that was corrupted.
 * @module
 */
import { TlsContentType, TlsRecordCipher } from '../../../src/crypto/tls-record-cipher.ts'
import { Errno } from '../../../src/native/libc-constants.ts'
import { addressOf, nativeBuffer } from '../../../src/native/memory.ts'
import type { DirectStream } from '../../../src/transport/direct-stream.ts'
import type { ReceiveMemory } from '../../../src/transport/receive-memory.ts'
import { TlsStream } from '../../../src/transport/tls-stream.ts'
import { BoundarySearch, RECOGNISABLE_LENGTH, SearchOutcome } from '../../../src/wire/boundary-search.ts'
import { CorruptionWatch } from '../../../src/wire/corruption-watch.ts'
import type { FrameFate } from '../../../src/wire/frame-fate.ts'
import { recognisesIke } from '../../../src/wire/recognise-ike.ts'
import { frameIke } from '../../../src/wire/stream-framing.ts'
import { recordedMessages } from '../corpus.ts'
import type { FuzzRandom } from '../random.ts'
import { type FuzzTarget, holds } from '../target.ts'

const SUITE = 'TLS_AES_128_GCM_SHA256'
/** What one read of a transport has room for. */
const MEMORY_BYTES = 131_072
/** A socket that does not take everything at once. */
const ROOM = 300

class FakeTcp implements DirectStream {
  readonly fd = -1
  more = false
  readonly pending = false
  readonly unsent = false
  onGone: (() => void) | undefined
  arriving: Uint8Array[] = []
  sentBytes = 0

  read({ buffer }: ReceiveMemory, at = 0): number {
    const chunk = this.arriving.shift()
    if (chunk === undefined) return -Errno.EAGAIN
    buffer.set(chunk, at)
    return chunk.length
  }
  write(_address: number, length: number): number {
    const taken = Math.min(length, ROOM - this.sentBytes)
    if (taken <= 0) return -Errno.EAGAIN
    this.sentBytes += taken
    return taken
  }
  push(): number {
    return 0
  }
  end(): void {}
  destroy(): void {}
  describe(): undefined {}
}

/** The other end: seals whatever it is told to. */
class Peer {
  readonly #cipher = new TlsRecordCipher(SUITE, Buffer.alloc(32, 2), 0, 'seal')
  readonly #content = nativeBuffer(512)
  readonly #record = nativeBuffer(600)

  record(type: number, content: Uint8Array): Uint8Array {
    this.#content.set(content)
    const { length } = content
    const sealed = this.#cipher.seal(
      type,
      addressOf(this.#content),
      length,
      this.#record,
      addressOf(this.#record),
      0
    )
    // As a peer that means it would.
    if (type === TlsContentType.HANDSHAKE && content[0] === 24) this.#cipher.update()
    return Uint8Array.from(this.#record.subarray(0, sealed))
  }

  dispose(): void {
    this.#cipher.dispose()
  }
}

const DATA = TlsContentType.APPLICATION_DATA
const { HANDSHAKE, ALERT } = TlsContentType
/** Type, length, content: a record that a peer seals; of the type 0 the content is sent as it is. */
const command = (type: number, ...content: number[]): number[] => [type, content.length, ...content]

const tlsRecords: FuzzTarget = {
  name: 'tls-records',
  covers: ['transport/tls-stream.ts#TlsStream', 'crypto/tls-record-cipher.ts#TlsRecordCipher'],
  weight: 0.5,
  maxLength: 3000,
  corpus: () => [
    Uint8Array.from([...command(DATA, 1, 2, 3), ...command(HANDSHAKE, 24, 0, 0, 1, 1), ...command(DATA, 4)]),
    Uint8Array.from([
      ...command(HANDSHAKE, 4, 0, 0, 3),
      ...command(HANDSHAKE, 1, 2, 3, 24, 0, 0, 1, 0),
      ...command(DATA, 5)
    ]),
    Uint8Array.from([...command(DATA), ...command(DATA, 0, 0, 0), ...command(ALERT, 1, 0)]),
    Uint8Array.from([...command(DATA, 7), ...command(0, 23, 3, 3, 0, 40, 1, 2, 3), ...command(ALERT, 2, 40)])
  ],
  open: () => {
    const buffer = nativeBuffer(MEMORY_BYTES)
    const memory = { buffer, address: addressOf(buffer) }
    return (input, random) => {
      const tcp = new FakeTcp()
      const peer = new Peer()
      const keys = {
        reading: new TlsRecordCipher(SUITE, Buffer.alloc(32, 2), 0, 'open'),
        writing: new TlsRecordCipher(SUITE, Buffer.alloc(32, 1), 0, 'seal')
      }
      const stream = new TlsStream(tcp, keys, new Uint8Array(0), {
        show: () => undefined,
        over: () => undefined
      })
      let said = 0
      const bytes: number[] = []
      for (let at = 0; at + 2 <= input.length; ) {
        const [type = 0, length = 0] = input.subarray(at, at + 2)
        const content = input.subarray(at + 2, at + 2 + length)
        bytes.push(...(type === 0 ? content : peer.record(type, content)))
        if (type === DATA) said += content.length
        at += 2 + length
      }
      tcp.arriving = pieces(Uint8Array.from(bytes), random)
      readAll(stream, memory, tcp, said)
      stream.destroy()
      peer.dispose()
    }
  }
}

function pieces(bytes: Uint8Array, random: FuzzRandom): Uint8Array[] {
  const found: Uint8Array[] = []
  for (let at = 0; at < bytes.length; ) {
    const size = 1 + random.below(400)
    found.push(bytes.slice(at, at + size))
    at += size
  }
  return found
}

function readAll(stream: TlsStream, memory: ReceiveMemory, tcp: FakeTcp, said: number): void {
  let told = 0
  for (let reads = 0; reads < 4_000; reads++) {
    const count = stream.read(memory)
    if (count > 0) told += count
    else if (count !== -Errno.EAGAIN) {
      holds(stream.read(memory) === count, 'what has ended stays ended')
      break
    } else if (tcp.arriving.length === 0) break
  }
  holds(told <= said, 'no more is told than was said')
  holds(tcp.sentBytes <= ROOM, 'a socket takes no more than it has room for')
  // Whatever else waits is one answer: it fits, and then nothing is left.
  tcp.sentBytes = 0
  stream.push()
  holds(!stream.unsent, 'answers that wait are few')
}

const SPIS = { initiator: 0x1122334455667788n, responder: 0x99aabbccddeeff00n }

/** A frame that is recognised, and is authentic when its last byte is 1. */
function known(last: number): Uint8Array {
  const message = Buffer.alloc(60)
  message.writeBigUInt64BE(SPIS.initiator, 0)
  message.writeBigUInt64BE(SPIS.responder, 8)
  message[59] = last
  return frameIke(message)
}

const boundary: FuzzTarget = {
  name: 'boundary-search',
  covers: [
    'wire/boundary-search.ts#BoundarySearch',
    'wire/recognise-ike.ts#recognisesIke',
    'wire/corruption-watch.ts#CorruptionWatch'
  ],
  weight: 0.5,
  maxLength: 20_000,
  corpus: () => [
    Uint8Array.from([1, 2, 3, ...known(0), ...known(1), 9, 9]),
    Uint8Array.from([...known(0), ...known(0), 0, 0, 0, ...known(1)]),
    Uint8Array.from(frameIke(recordedMessages()[0] ?? new Uint8Array(28)))
  ],
  dictionary: [known(1), known(0), known(1).slice(0, 24)],
  open: () => (input, random) => {
    const search = new BoundarySearch()
    let checks = 0
    let outcome: number = SearchOutcome.MORE
    const judge = {
      recognise: (buffer: Uint8Array, offset: number): boolean => {
        holds(offset + RECOGNISABLE_LENGTH <= buffer.length, 'there is enough to recognise a message by')
        return (
          recognisesIke(
            buffer,
            offset,
            (spiI, spiR) => spiI === SPIS.initiator && spiR === SPIS.responder
          ) === true
        )
      },
      verify: (frame: Uint8Array): boolean => {
        checks++
        return frame[frame.length - 1] === 1
      }
    }
    for (const piece of pieces(input, random)) {
      holds(search.add(piece) <= piece.length, 'no more is taken than is there')
      outcome = search.find(judge)
      if (outcome !== SearchOutcome.MORE) break
    }
    holds(checks <= 64, 'few integrity checks are made')
    if (outcome >= 0) {
      holds(outcome <= input.length, 'a boundary lies inside')
      const watch = new CorruptionWatch()
      for (const byte of search.rest(outcome).subarray(0, 50)) watch.judge((byte % 5) as FrameFate, byte)
    }
  }
}

export const TLS_TARGETS: readonly FuzzTarget[] = [tlsRecords, boundary]
