import { describe, expect, test } from 'vitest'
import { TlsContentType, TlsRecordCipher } from '../../../src/crypto/tls-record-cipher.ts'
import { libc } from '../../../src/native/libc.ts'
import { Errno } from '../../../src/native/libc-constants.ts'
import { addressOf, nativeBuffer } from '../../../src/native/memory.ts'
import type { DirectStream } from '../../../src/transport/direct-stream.ts'
import type { ReceiveMemory } from '../../../src/transport/receive-memory.ts'
import { TlsStream } from '../../../src/transport/tls-stream.ts'

const SUITE = 'TLS_AES_128_GCM_SHA256'
const toServer = () => Buffer.alloc(32, 1)
const toClient = () => Buffer.alloc(32, 2)

class FakeTcp implements DirectStream {
  readonly fd = -1
  more = false
  readonly pending = false
  readonly unsent = false
  onGone: (() => void) | undefined
  /** What there is to read; a read never crosses from one to the next. */
  readonly arriving: Buffer[] = []
  atEnd: number = -Errno.EAGAIN
  readonly sent: Buffer[] = []
  /** Bytes that are still taken. */
  room = Number.POSITIVE_INFINITY
  ended = false
  destroyed = 0

  read({ buffer }: ReceiveMemory, at = 0): number {
    const chunk = this.arriving.shift()
    if (chunk === undefined) return this.atEnd
    buffer.set(chunk, at)
    return chunk.length
  }
  write(address: number, length: number): number {
    const taken = Math.min(length, this.room)
    if (taken === 0) return -Errno.EAGAIN
    this.room -= taken
    this.sent.push(copyFrom(address, taken))
    return taken
  }
  push(): number {
    return 0
  }
  end(): void {
    this.ended = true
  }
  destroy(): void {
    this.destroyed++
  }
  describe(): undefined {}
}

function copyFrom(address: number, length: number): Buffer {
  const copy = nativeBuffer(length)
  libc().memmove(addressOf(copy), address, length)
  return copy
}

/** The other end, record by record. */
class Peer {
  readonly sealing = new TlsRecordCipher(SUITE, toClient(), 0, 'seal')
  readonly opening = new TlsRecordCipher(SUITE, toServer(), 0, 'open')

  record(type: number, content: Uint8Array): Buffer {
    const source = nativeBuffer(content.length)
    source.set(content)
    const record = nativeBuffer(content.length + 22)
    const length = this.sealing.seal(type, addressOf(source), source.length, record, addressOf(record), 0)
    return record.subarray(0, length)
  }

  data(text: string): Buffer {
    return this.record(TlsContentType.APPLICATION_DATA, Buffer.from(text))
  }

  /** Contents of the records, each with its type behind it. */
  open(bytes: Buffer): Buffer[] {
    const contents: Buffer[] = []
    for (let at = 0; at < bytes.length; ) {
      const length = 5 + bytes.readUInt16BE(at + 3)
      const record = nativeBuffer(length)
      bytes.copy(record, 0, at, at + length)
      const content = nativeBuffer(length)
      const opened = this.opening.open(addressOf(record), length, addressOf(content))
      expect(opened).toBeGreaterThan(0)
      contents.push(content.subarray(0, opened))
      const last = contents.at(-1)
      if (last?.[last.length - 1] === TlsContentType.HANDSHAKE && last[0] === 24) this.opening.update()
      at += length
    }
    return contents
  }
}

const memory = (() => {
  const buffer = nativeBuffer(131_072)
  return { buffer, address: addressOf(buffer) }
})()

function setUp({ writeSequence = 0, head = Buffer.alloc(0) as Uint8Array } = {}) {
  const tcp = new FakeTcp()
  const shown: Buffer[] = []
  const tickets = { over: 0, show: (record: Buffer) => void shown.push(record) }
  const keys = {
    reading: new TlsRecordCipher(SUITE, toClient(), 0, 'open'),
    writing: new TlsRecordCipher(SUITE, toServer(), writeSequence, 'seal')
  }
  const stream = new TlsStream(tcp, keys, head, { show: tickets.show, over: () => tickets.over++ })
  const readText = () => {
    const count = stream.read(memory)
    return count > 0 ? memory.buffer.toString('latin1', 0, count) : count
  }
  const write = (bytes: Buffer) => {
    const source = nativeBuffer(bytes.length)
    source.set(bytes)
    return stream.write(addressOf(source), source.length)
  }
  return { tcp, stream, shown, tickets, readText, write, peer: new Peer() }
}

const { ALERT, APPLICATION_DATA, HANDSHAKE } = TlsContentType

describe('TLS after its handshake, reading', () => {
  test('content of many records comes at once, of cut ones when they are whole, also from what was read before', () => {
    const peer = new Peer()
    const early = peer.data('early ')
    const { tcp, readText } = setUp({ head: early.subarray(0, 9) })
    const records = Buffer.concat([
      early.subarray(9),
      peer.data('one '),
      peer.data(''),
      peer.data('two'),
      peer.data('later')
    ])
    const cut = records.length - 3
    tcp.arriving.push(records.subarray(0, cut), records.subarray(cut))
    expect(readText()).toBe('early one two')
    expect(readText()).toBe('later')
    expect(readText()).toBe(-Errno.EAGAIN)
  })

  test('is the same one byte at a time', () => {
    const { tcp, readText, peer } = setUp()
    const records = Buffer.concat([peer.data('one'), peer.data('two')])
    for (const byte of records) tcp.arriving.push(Buffer.of(byte))
    const seen = Array.from(records, () => readText())
    expect(seen.filter((text) => text !== -Errno.EAGAIN)).toEqual(['one', 'two'])
  })

  test('padding is taken off', () => {
    const { tcp, readText, peer } = setUp()
    tcp.arriving.push(
      peer.record(0, Buffer.from(`padded${String.fromCharCode(APPLICATION_DATA)}\0\0\0`, 'latin1'))
    )
    expect(readText()).toBe('padded')
  })

  test('tickets are shown as they came until there is data, and never after', () => {
    const { tcp, readText, shown, tickets, peer } = setUp()
    const ticket = peer.record(HANDSHAKE, Buffer.from([4, 0, 0, 2, 1, 2]))
    tcp.arriving.push(
      Buffer.concat([ticket, peer.data('x'), peer.record(HANDSHAKE, Buffer.from([4, 0, 0, 1, 9]))])
    )
    expect(readText()).toBe('x')
    expect(shown).toEqual([ticket])
    expect(tickets.over).toBe(1)
  })

  test('a change of keys is followed and, when asked for, answered with one of ours', () => {
    const { tcp, readText, write, peer } = setUp()
    tcp.arriving.push(
      peer.record(HANDSHAKE, Buffer.from([24, 0])),
      peer.record(HANDSHAKE, Buffer.from([0, 1, 1]))
    )
    peer.sealing.update()
    tcp.arriving.push(peer.data('under the new key'))
    expect([readText(), readText(), readText()]).toEqual([-Errno.EAGAIN, -Errno.EAGAIN, 'under the new key'])
    expect(write(Buffer.from('mine, too'))).toBe(9)
    expect(peer.open(Buffer.concat(tcp.sent)).map((content) => content.toString('latin1'))).toEqual([
      `\x18\0\0\x01\0${String.fromCharCode(HANDSHAKE)}`,
      `mine, too${String.fromCharCode(APPLICATION_DATA)}`
    ])
  })

  test('close_notify is the end, behind everything before it', () => {
    const { tcp, stream, readText, peer } = setUp()
    tcp.arriving.push(Buffer.concat([peer.data('last'), peer.record(ALERT, Buffer.from([1, 0]))]))
    expect(readText()).toBe('last')
    expect(stream.pending).toBe(true)
    expect([readText(), readText()]).toEqual([0, 0])
  })

  test("the socket's end is one, too, also in the middle of a record, and its errors are errors", () => {
    const { tcp, readText, peer } = setUp()
    tcp.arriving.push(Buffer.concat([peer.data('last'), peer.data('cut').subarray(0, 9)]))
    tcp.atEnd = 0
    expect([readText(), readText()]).toEqual(['last', 0])
    const other = setUp()
    other.tcp.atEnd = -Errno.ECONNRESET
    expect(other.readText()).toBe(-Errno.ECONNRESET)
    expect(other.stream.describe(Errno.ECONNRESET)).toBeUndefined()
  })

  test.each<[string, (peer: Peer) => Buffer, RegExp]>([
    ['a record that was changed', (peer) => damaged(peer.data('hello')), /not authentic/],
    ['what is no record', () => Buffer.from('HTTP/1.1 400 Bad Request'), /no record/],
    ['a record that is too long', () => Buffer.from([23, 3, 3, 0x41, 1, 0, 0]), /no record/],
    ['an alert', (peer) => peer.record(ALERT, Buffer.from([2, 40])), /alert 40/],
    ['an unknown type', (peer) => peer.record(99, Buffer.from('x')), /unknown type 99/],
    ['a record of nothing', (peer) => peer.record(0, Buffer.alloc(0)), /unknown type 0/],
    [
      'another message of the handshake',
      (peer) => peer.record(HANDSHAKE, Buffer.from([1, 0, 0, 0])),
      /type 1/
    ],
    [
      'data behind a change of keys',
      (peer) => peer.record(HANDSHAKE, Buffer.from([24, 0, 0, 1, 0, 4])),
      /malformed/
    ],
    [
      'a change of keys of two bytes',
      (peer) => peer.record(HANDSHAKE, Buffer.from([24, 0, 0, 2, 0, 0])),
      /malformed/
    ],
    ['an endless message', (peer) => peer.record(HANDSHAKE, Buffer.from([4, 0xff, 0, 0])), /too long/]
  ])('%s ends the stream, behind what was good', (_name, bad, sentence) => {
    const { tcp, stream, readText, peer } = setUp()
    tcp.arriving.push(Buffer.concat([peer.data('good'), bad(peer), Buffer.alloc(40)]))
    expect([readText(), readText()]).toEqual(['good', -Errno.EPROTO])
    expect(stream.describe(Errno.EPROTO)).toMatch(sentence)
  })
})

describe('TLS of a peer that wants to cost time and memory', () => {
  const KEY_UPDATE = Buffer.from([24, 0, 0, 1, 1])

  test('one answer to changes of keys waits, however many there are, and without data in between they end the stream', () => {
    const { tcp, stream, readText, peer } = setUp()
    // A peer that does not read.
    tcp.room = 0
    let outcome: string | number = -Errno.EAGAIN
    let changes = 0
    for (; changes < 10_000 && outcome === -Errno.EAGAIN; changes++) {
      tcp.arriving.push(peer.record(HANDSHAKE, KEY_UPDATE))
      peer.sealing.update()
      outcome = readText()
    }
    expect(outcome).toBe(-Errno.EPROTO)
    expect(changes).toBeLessThan(100)
    tcp.room = 1_000
    stream.push()
    expect(Buffer.concat(tcp.sent).length).toBeLessThan(100)
  })

  test('records without content, and messages in crumbs, end the stream', () => {
    for (const [type, content] of [
      [APPLICATION_DATA, Buffer.alloc(0)],
      [HANDSHAKE, Buffer.alloc(1, 4)]
    ] as const) {
      const { tcp, readText, peer } = setUp()
      let outcome: string | number = -Errno.EAGAIN
      let records = 0
      for (; records < 10_000 && outcome === -Errno.EAGAIN; records++) {
        tcp.arriving.push(peer.record(type, content))
        outcome = readText()
      }
      expect(outcome).toBe(-Errno.EPROTO)
      expect(records).toBeLessThan(100)
    }
  })

  test('with data in between they may go on', () => {
    const { tcp, readText, peer } = setUp()
    for (let round = 0; round < 500; round++) {
      tcp.arriving.push(peer.record(HANDSHAKE, KEY_UPDATE))
      expect(readText()).toBe(-Errno.EAGAIN)
      peer.sealing.update()
      tcp.arriving.push(peer.data('x'))
      expect(readText()).toBe('x')
    }
  })
})

describe('TLS after its handshake, writing', () => {
  test('a batch leaves in one write, in records of at most 16 KiB', () => {
    const { tcp, write, peer } = setUp()
    const bytes = Buffer.from(Array.from({ length: 40_000 }, (_, index) => index & 0xff))
    expect(write(bytes)).toBe(40_000)
    expect(tcp.sent).toHaveLength(1)
    const contents = peer.open(Buffer.concat(tcp.sent))
    expect(contents.map(({ length }) => length - 1)).toEqual([16_384, 16_384, 7232])
    expect(Buffer.concat(contents.map((content) => content.subarray(0, -1)))).toEqual(bytes)
  })

  test('what finds no room is kept, goes first, and nothing more is taken until it has left', () => {
    const { tcp, stream, write, peer } = setUp()
    tcp.room = 100
    expect(write(Buffer.alloc(30_000, 1))).toBe(30_000)
    expect(stream.unsent).toBe(true)
    expect(write(Buffer.from('more'))).toBe(-Errno.EAGAIN)
    tcp.room = 200
    expect(stream.push()).toBe(-Errno.EAGAIN)
    tcp.room = Number.POSITIVE_INFINITY
    expect(write(Buffer.from('more'))).toBe(4)
    expect(stream.unsent).toBe(false)
    const content = Buffer.concat(peer.open(Buffer.concat(tcp.sent)).map((part) => part.subarray(0, -1)))
    expect(content).toEqual(Buffer.concat([Buffer.alloc(30_000, 1), Buffer.from('more')]))
  })

  test('keys change in time', () => {
    const writeSequence = 2 ** 23 - 1
    const { tcp, write } = setUp({ writeSequence })
    const peer = { opening: new TlsRecordCipher(SUITE, toServer(), writeSequence, 'open') }
    for (const text of ['one', 'two', 'three']) write(Buffer.from(text))
    const contents = Peer.prototype.open.call(peer as Peer, Buffer.concat(tcp.sent))
    expect(contents.map((content) => content.toString('latin1', 0, content.length - 1))).toEqual([
      'one',
      '\x18\0\0\x01\0',
      'two',
      'three'
    ])
  })

  test('the end is close_notify, then the end of the socket', () => {
    const { tcp, stream, peer } = setUp()
    stream.end()
    expect(peer.open(Buffer.concat(tcp.sent))).toEqual([Buffer.from([1, 0, ALERT])])
    expect(tcp.ended).toBe(true)
  })

  test('nothing is read or written once it is destroyed, and tickets are over', () => {
    const { tcp, stream, readText, write, tickets, peer } = setUp()
    stream.destroy()
    tcp.arriving.push(peer.data('late'))
    expect(readText()).toBe(-Errno.EBADF)
    expect(write(Buffer.from('late'))).toBe(-Errno.EPROTO)
    expect(tcp.sent).toEqual([])
    expect([tcp.destroyed, tickets.over]).toEqual([1, 1])
  })
})

function damaged(record: Buffer): Buffer {
  const copy = Buffer.from(record)
  copy[8] = (copy[8] ?? 0) ^ 0x10
  return copy
}
