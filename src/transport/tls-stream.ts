/**
 * TLS 1.3 after its handshake, as a direct stream: records are sealed and opened here, straight from and into the memory of
 * the caller (RFC 8446 section 5), many to a system call.
 *
 * Invariants: nothing is told before it is authentic; a record that is not, and whatever does not belong here, ends the stream;
 * between calls a stream holds one incomplete record at most, and what the socket would not take.
 * @module
 */
import {
  TLS_HEADER_LENGTH,
  TLS_MAX_CIPHERTEXT,
  TLS_MAX_CONTENT,
  TLS_RECORD_OVERHEAD,
  TlsContentType,
  type TlsRecordCipher
} from '../crypto/tls-record-cipher.ts'
import { Errno } from '../native/libc-constants.ts'
import { addressOf, nativeBuffer } from '../native/memory.ts'
import type { DirectStream } from './direct-stream.ts'
import { type ReceiveMemory, STREAM_RECEIVE_BYTES } from './receive-memory.ts'

/** Records under one key, after which ours is changed: far below what AES-GCM bears (RFC 8446 section 5.5). */
const RECORDS_PER_KEY = 2 ** 23
/** Content of one `write` at most; it takes less at a time than it is given. */
const WRITE_CONTENT = 16 * TLS_MAX_CONTENT
const SEALED_BYTES = 17 * (TLS_MAX_CONTENT + TLS_RECORD_OVERHEAD)
const ALERT_LENGTH = 2
const CLOSE_NOTIFY = 0
const USER_CANCELED = 90
const HandshakeType = { NEW_SESSION_TICKET: 4, KEY_UPDATE: 24 } as const
const HANDSHAKE_HEADER_LENGTH = 4
/** Longest message after the handshake that is put together: a ticket. */
const MAX_HANDSHAKE_LENGTH = 65_536
/**
 * Records in a row without content, after which the stream is given up: a ticket or two and a change of keys are usual. Each
 * costs us more than the peer, and nothing else bounds them.
 */
const MAX_USELESS_RECORDS = 32
const NO_BYTES: Uint8Array = new Uint8Array(0)

/** Shared by all streams: what is in them is used up before a call returns. */
let shared: { readonly received: Buffer; readonly sealed: Buffer } | undefined

export interface TlsKeys {
  readonly reading: TlsRecordCipher
  readonly writing: TlsRecordCipher
}

/** Who had the connection before, and makes sessions of tickets. */
export interface TicketKeeper {
  /** A whole record with session tickets, as it came; only while nothing else has come. Undefined: not wanted. */
  readonly show: ((record: Buffer) => void) | undefined
  /** No more tickets will be shown. Called once. */
  over(): void
}

export class TlsStream implements DirectStream {
  #tickets: TicketKeeper | undefined
  readonly #tcp: DirectStream
  readonly #keys: TlsKeys
  readonly #received: Buffer
  readonly #receivedAddress: number
  readonly #sealed: Buffer
  readonly #sealedAddress: number
  readonly #small = nativeBuffer(8)
  /** The beginning of a record that is not whole. */
  #partial: Uint8Array
  /** What the socket has not taken of sealed records. */
  #unsent: Buffer = nativeBuffer(0)
  /** Of messages of the handshake protocol that came in parts. */
  #handshake: Uint8Array = NO_BYTES
  /** What a read ends with once everything before was told: 0 is the peer's end. */
  #outcome: number | undefined
  #problem: string | undefined
  #more = false
  /** In a row, without content. */
  #uselessRecords = 0
  /** Keys of ours that were asked for while something waited: one change is enough for any number (RFC 8446 section 4.6.3). */
  #owesKeys = false

  /** @param head bytes of the socket that were read before */
  constructor(tcp: DirectStream, keys: TlsKeys, head: Uint8Array, tickets: TicketKeeper) {
    this.#tcp = tcp
    this.#tickets = tickets
    if (tickets.show === undefined) this.#endTickets()
    this.#keys = keys
    this.#partial = head
    shared ??= { received: nativeBuffer(STREAM_RECEIVE_BYTES), sealed: nativeBuffer(SEALED_BYTES) }
    this.#received = shared.received
    this.#receivedAddress = addressOf(shared.received)
    this.#sealed = shared.sealed
    this.#sealedAddress = addressOf(shared.sealed)
  }

  get fd(): number {
    return this.#tcp.fd
  }

  get onGone(): (() => void) | undefined {
    return this.#tcp.onGone
  }

  set onGone(told: (() => void) | undefined) {
    this.#tcp.onGone = told
  }

  get more(): boolean {
    return this.#more || this.pending
  }

  get pending(): boolean {
    return this.#outcome !== undefined
  }

  get unsent(): boolean {
    return this.#unsent.length > 0
  }

  /** Records are smaller once opened, so that what one read of the socket brings always fits. */
  read(memory: ReceiveMemory): number {
    if (this.#outcome !== undefined) return this.#outcome
    const held = this.#takeHeld()
    const room = this.#received.length - held
    const count =
      room === 0 ? 0 : this.#tcp.read({ buffer: this.#received, address: this.#receivedAddress }, held)
    this.#more = count === room
    if (count <= 0 && room > 0 && held === 0) return this.#settle(count, 0)
    const total = this.#open(memory, held + Math.max(0, count))
    return room > 0 && count <= 0 ? this.#settle(count, total) : this.#settle(-Errno.EAGAIN, total)
  }

  write(address: number, length: number): number {
    const pushed = this.push()
    if (pushed < 0) return pushed
    const taken = Math.min(length, WRITE_CONTENT)
    let end = this.#owesKeys ? this.#keyUpdate(0) : 0
    this.#owesKeys = false
    for (let at = 0; at < taken; at += TLS_MAX_CONTENT) {
      end = this.#changeKey(end)
      end = this.#seal(
        TlsContentType.APPLICATION_DATA,
        address + at,
        Math.min(TLS_MAX_CONTENT, taken - at),
        end
      )
      if (end < 0) return this.#fail('a record could not be encrypted')
    }
    const sent = this.#send(end)
    return sent < 0 ? sent : taken
  }

  push(): number {
    const { length } = this.#unsent
    if (length === 0) return 0
    const count = this.#tcp.write(addressOf(this.#unsent), length)
    if (count > 0) this.#unsent = count === length ? nativeBuffer(0) : copyOf(this.#unsent, count, length)
    if (count < 0) return count
    return count === length ? 0 : -Errno.EAGAIN
  }

  end(): void {
    this.#small[0] = 1
    this.#small[1] = CLOSE_NOTIFY
    const end = this.#seal(TlsContentType.ALERT, addressOf(this.#small), ALERT_LENGTH, 0)
    if (end > 0 && !this.unsent) this.#send(end)
    this.#tcp.end()
  }

  destroy(): void {
    this.#outcome ??= -Errno.EBADF
    this.#endTickets()
    this.#keys.reading.dispose()
    this.#keys.writing.dispose()
    this.#unsent = nativeBuffer(0)
    this.#tcp.destroy()
  }

  describe(errno: number): string | undefined {
    return errno === Errno.EPROTO ? this.#problem : undefined
  }

  #endTickets(): void {
    this.#tickets?.over()
    this.#tickets = undefined
  }

  // --- reading

  /** The incomplete record of last time goes to the front of what is read now. @returns its length */
  #takeHeld(): number {
    const held = Math.min(this.#partial.length, this.#received.length)
    this.#received.set(this.#partial.subarray(0, held))
    this.#partial = this.#partial.subarray(held)
    return held
  }

  /** @returns what was read; what it ended with is kept for the next time if there was something */
  #settle(count: number, total: number): number {
    const transient = count === -Errno.EAGAIN || count === -Errno.EINTR
    if (!transient) this.#outcome ??= count
    if (total > 0) return total
    return this.#outcome ?? count
  }

  /** Opens every whole record of `received[0, end)`. @returns bytes of content */
  #open(memory: ReceiveMemory, end: number): number {
    let at = 0
    let total = 0
    while (this.#outcome === undefined && end - at >= TLS_HEADER_LENGTH) {
      const length = ((this.#received[at + 3] ?? 0) << 8) | (this.#received[at + 4] ?? 0)
      if (this.#received[at] !== TlsContentType.APPLICATION_DATA || length > TLS_MAX_CIPHERTEXT) {
        this.#fail('the peer sent what is no record of its')
        break
      }
      const recordLength = TLS_HEADER_LENGTH + length
      if (end - at < recordLength) break
      total += this.#openRecord(memory, total, at, recordLength)
      at += recordLength
    }
    // In front of what could not be looked at yet, if there is any.
    const rest = this.#received.subarray(at, end)
    this.#partial = this.#partial.length === 0 ? Uint8Array.from(rest) : Buffer.concat([rest, this.#partial])
    return total
  }

  /** @returns bytes of content that stand at `memory.buffer[to]` now */
  #openRecord(memory: ReceiveMemory, to: number, at: number, recordLength: number): number {
    const { buffer, address } = memory
    const opened = this.#keys.reading.open(this.#receivedAddress + at, recordLength, address + to)
    if (opened < 0) {
      this.#fail('a record is not authentic')
      return 0
    }
    let last = to + opened - 1
    while (last > to && buffer[last] === 0) last--
    const type = buffer[last]
    const length = last - to
    this.#uselessRecords =
      type === TlsContentType.APPLICATION_DATA && length > 0 ? 0 : this.#uselessRecords + 1
    if (this.#uselessRecords > MAX_USELESS_RECORDS) {
      this.#fail(`the peer sent ${this.#uselessRecords} records without content`)
      return 0
    }
    if (type === TlsContentType.APPLICATION_DATA) {
      this.#endTickets()
      return length
    }
    if (type === TlsContentType.ALERT) this.#alert(buffer[to + 1] ?? 0, length)
    else if (type === TlsContentType.HANDSHAKE) {
      const content = buffer.subarray(to, last)
      if (content[0] === HandshakeType.NEW_SESSION_TICKET)
        this.#tickets?.show?.(Buffer.from(this.#received.subarray(at, at + recordLength)))
      this.#takeHandshake(content)
    } else this.#fail(`a record of the unknown type ${type}`)
    return 0
  }

  #alert(description: number, length: number): void {
    if (length === ALERT_LENGTH && description === CLOSE_NOTIFY) this.#outcome ??= 0
    else if (length !== ALERT_LENGTH || description !== USER_CANCELED)
      this.#fail(`the peer ended TLS with alert ${description}`)
  }

  #takeHandshake(content: Uint8Array): void {
    let messages: Uint8Array = Buffer.concat([this.#handshake, content])
    while (messages.length >= HANDSHAKE_HEADER_LENGTH) {
      const [type, high = 0, middle = 0, low = 0] = messages
      const end = HANDSHAKE_HEADER_LENGTH + ((high << 16) | (middle << 8) | low)
      if (end > MAX_HANDSHAKE_LENGTH) return void this.#fail('a message of the handshake is too long')
      if (messages.length < end) break
      if (type === HandshakeType.KEY_UPDATE) {
        // What is behind it in the same record would be under the wrong key.
        if (end !== HANDSHAKE_HEADER_LENGTH + 1 || messages.length !== end)
          return void this.#fail('a malformed change of keys')
        this.#keys.reading.update()
        if (messages[HANDSHAKE_HEADER_LENGTH] === 1) this.#answerKeyUpdate()
      } else if (type !== HandshakeType.NEW_SESSION_TICKET)
        return void this.#fail(`a message of type ${type} after the handshake`)
      messages = messages.subarray(end)
    }
    this.#handshake = Uint8Array.from(messages)
  }

  // --- writing

  /** @returns where the record ends in the buffer of sealed records, or -1 */
  #seal(type: number, address: number, length: number, at: number): number {
    const sealed = this.#keys.writing.seal(type, address, length, this.#sealed, this.#sealedAddress, at)
    return sealed < 0 ? -1 : at + sealed
  }

  /** Our next key, in time (RFC 8446 section 4.6.3). */
  #changeKey(at: number): number {
    return this.#keys.writing.sequence < RECORDS_PER_KEY ? at : this.#keyUpdate(at)
  }

  #keyUpdate(at: number): number {
    this.#small.set([HandshakeType.KEY_UPDATE, 0, 0, 1, 0])
    const end = this.#seal(TlsContentType.HANDSHAKE, addressOf(this.#small), HANDSHAKE_HEADER_LENGTH + 1, at)
    if (end >= 0) this.#keys.writing.update()
    return Math.max(at, end)
  }

  #answerKeyUpdate(): void {
    if (this.unsent) this.#owesKeys = true
    else this.#send(this.#keyUpdate(0))
  }

  /** Sends `sealed[0, end)`; what finds no room is kept. @returns 0, or an errno, negative */
  #send(end: number): number {
    const count = this.#tcp.write(this.#sealedAddress, end)
    if (count < 0 && count !== -Errno.EAGAIN && count !== -Errno.EINTR) return count
    const sent = Math.max(0, count)
    if (sent < end) this.#unsent = copyOf(this.#sealed, sent, end)
    return 0
  }

  #fail(problem: string): number {
    this.#problem ??= problem
    this.#outcome = -Errno.EPROTO
    return -Errno.EPROTO
  }
}

function copyOf(source: Buffer, start: number, end: number): Buffer {
  return ownCopy(source.subarray(start, end))
}

function ownCopy(bytes: Uint8Array): Buffer {
  const copy = nativeBuffer(bytes.length)
  copy.set(bytes)
  return copy
}
