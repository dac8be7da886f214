/**
 * Between a TCP socket and Node's TLS: hands records over one at a time and counts them, so that the connection can be taken
 * over once the handshake is done.
 *
 * Node does the handshake with all its checks; afterwards records are ours (`tls-stream.ts`). What that takes is the secrets
 * of both directions, which Node tells as it would for a key log, and how many records each side has used up under them.
 *
 * Invariant: the next record is given to Node only after it has dealt with the one before, in a turn of its own.
 * @module
 */
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { TLS_HEADER_LENGTH, TlsContentType } from '../crypto/tls-record-cipher.ts'

/** Lines of a key log (draft-ietf-tls-keylogfile): label, client random, secret. */
const KEY_LOG_LINE = /^(\S+) [0-9a-f]+ ([0-9a-f]+)\s*$/i
const SECRETS = { CLIENT_TRAFFIC_SECRET_0: 'client', SERVER_TRAFFIC_SECRET_0: 'server' } as const
const NO_SECRETS = { client: undefined, server: undefined }
/**
 * Read ahead of Node, at most, and what one more read brings: it gets a record each turn, which may be a tiny one. The longest
 * that a header can announce fits twice.
 */
const MAX_WAITING = 131_072
/** Turns of the loop in which Node has written nothing, after which it has nothing more to write. */
const QUIET_TURNS = 3

const taps = new WeakMap<TLSSocket, TlsTap>()
/** Node tells secrets while it deals with a record: so they belong to the tap whose record that is. */
let feeding: TlsTap | undefined

/** The tap under a TLS connection; undefined: it has none. */
export function tapOf(socket: TLSSocket): TlsTap | undefined {
  return taps.get(socket)
}

/** To be called with what Node's `keylog` event says. */
export function noteKeyLog(line: Buffer, socket: TLSSocket): void {
  if (feeding === undefined) return
  taps.set(socket, feeding)
  feeding.noteSecret(line)
}

export class TlsTap extends Duplex {
  readonly socket: Socket
  readonly isServer: boolean
  #secrets: { client: Buffer | undefined; server: Buffer | undefined } = { ...NO_SECRETS }
  /** Bytes that Node has not been given yet. */
  #waiting: Buffer = Buffer.alloc(0)
  #scheduled = false
  /** Node's buffer is full: it takes more after its next `_read`. */
  #isFull = false
  /** Records in each direction since the peer's Finished. */
  #fed = 0
  #written = 0
  /** Of the record that is being written: bytes of it so far, and in all as soon as its header is there. */
  readonly #header = Buffer.alloc(TLS_HEADER_LENGTH)
  #headerLength = 0
  #bodyLeft = 0
  #writes = 0
  /** No longer record by record: the connection stays with Node. */
  #passing = false
  #released = false

  constructor(socket: Socket, isServer: boolean) {
    super({ allowHalfOpen: true })
    this.socket = socket
    this.isServer = isServer
    socket.on('data', this.#onData)
    socket.on('end', this.#onEnd)
    socket.on('error', this.#onError)
    socket.on('close', this.#onClose)
  }

  /** Records since the peer's Finished, both directions; undefined: it cannot be told, or a record is on its way just now. */
  get sequences(): { readonly read: number; readonly written: number } | undefined {
    if (this.#passing || this.#headerLength > 0 || this.#bodyLeft > 0) return undefined
    // A client has sent nothing but its Finished, which is under an older key.
    return { read: this.#fed, written: this.isServer ? this.#written : 0 }
  }

  /** The secrets of both directions, once; undefined: not TLS 1.3. */
  takeSecrets(): { readonly client: Buffer; readonly server: Buffer } | undefined {
    const { client, server } = this.#secrets
    this.#secrets = { ...NO_SECRETS }
    return client === undefined || server === undefined ? undefined : { client, server }
  }

  noteSecret(line: Buffer): void {
    const [, label = '', secret = ''] = KEY_LOG_LINE.exec(line.toString('latin1')) ?? []
    if (!Object.hasOwn(SECRETS, label)) return
    const side = SECRETS[label as keyof typeof SECRETS]
    this.#secrets[side] = Buffer.from(secret, 'hex')
    // The keys for reading change with the peer's Finished.
    if ((side === 'client') === this.isServer) this.#fed = this.#written = 0
  }

  /** Resolves when Node has had the time to write what it wants to. */
  async settled(): Promise<void> {
    for (let quiet = 0, seen = this.#writes; quiet < QUIET_TURNS; quiet++) {
      await new Promise(setImmediate)
      if (seen !== this.#writes || this.writableLength > 0) quiet = 0
      seen = this.#writes
      if (this.destroyed) return
    }
  }

  /** The connection stays with Node. */
  pass(): void {
    this.#passing = true
    this.#feedAll()
    this.#throttle()
  }

  /** Node gets and sends nothing more, and its end is not the socket's. @returns what it was not given */
  release(): Buffer {
    this.#released = true
    this.socket.off('data', this.#onData)
    this.socket.off('end', this.#onEnd)
    this.socket.off('error', this.#onError)
    this.socket.off('close', this.#onClose)
    const rest = this.#waiting
    this.#waiting = Buffer.alloc(0)
    return rest
  }

  /** After `release`: lets Node have a look at a record all the same. */
  show(record: Buffer): void {
    this.push(record)
  }

  override _read(): void {
    this.#isFull = false
    this.#throttle()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.#released) {
      done()
      return
    }
    this.#writes++
    this.#count(chunk)
    this.socket.write(chunk, done)
  }

  override _final(done: (error?: Error | null) => void): void {
    if (!this.#released) this.socket.end()
    done()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (!this.#released) this.socket.destroy()
    done(error)
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#waiting = this.#waiting.length === 0 ? chunk : Buffer.concat([this.#waiting, chunk])
    if (this.#passing) this.#feedAll()
    else this.#schedule()
    this.#throttle()
  }

  readonly #onEnd = (): void => {
    this.#passing = true
    this.#feedAll()
    this.push(null)
  }

  readonly #onError = (error: Error): void => {
    this.destroy(error)
  }

  readonly #onClose = (): void => {
    this.destroy()
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      if (this.#released || this.#passing || this.destroyed) return
      if (this.#feedOne()) this.#schedule()
      this.#throttle()
    })
  }

  /** @returns whether there was a whole record */
  #feedOne(): boolean {
    if (this.#waiting.length < TLS_HEADER_LENGTH) return false
    const end = TLS_HEADER_LENGTH + this.#waiting.readUInt16BE(3)
    if (this.#waiting.length < end) return false
    const record = this.#waiting.subarray(0, end)
    this.#waiting = this.#waiting.subarray(end)
    if (record[0] === TlsContentType.APPLICATION_DATA) this.#fed++
    this.#feed(record)
    return true
  }

  #feedAll(): void {
    const all = this.#waiting
    this.#waiting = Buffer.alloc(0)
    if (all.length > 0) this.#feed(all)
  }

  #feed(bytes: Buffer): void {
    feeding = this
    try {
      this.#isFull = !this.push(bytes)
    } finally {
      feeding = undefined
    }
  }

  #throttle(): void {
    if (this.#released) return
    if (this.#isFull || this.#waiting.length > MAX_WAITING) this.socket.pause()
    else this.socket.resume()
  }

  #count(chunk: Buffer): void {
    for (let at = 0; at < chunk.length; ) {
      if (this.#bodyLeft === 0 && this.#headerLength < TLS_HEADER_LENGTH) {
        this.#header[this.#headerLength++] = chunk[at++] ?? 0
        if (this.#headerLength === TLS_HEADER_LENGTH) this.#bodyLeft = this.#header.readUInt16BE(3)
      } else {
        const taken = Math.min(this.#bodyLeft, chunk.length - at)
        this.#bodyLeft -= taken
        at += taken
      }
      if (this.#headerLength < TLS_HEADER_LENGTH || this.#bodyLeft > 0) continue
      if (this.#header[0] === TlsContentType.APPLICATION_DATA) this.#written++
      this.#headerLength = 0
    }
  }
}
