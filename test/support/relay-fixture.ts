/**
 * What relay tests need: messages of any size, a UDP server that records what it gets, and a TCP client that cuts frames
 * on its own (an implementation independent of the one under test).
 * @module
 */
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram'
import { connect, type NetConnectOpts, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type ConnectionOptions, connect as tlsConnect } from 'node:tls'
import { waitUntil } from './wait-until.ts'

export const PREFIX = Buffer.from('IKETCP')
const MARKER = Buffer.alloc(4)

/** An IKE header (RFC 7296 section 3.1) with a correct Length, then filler. @param length at least 28 */
export function ikeMessage(length: number, tag = 0): Buffer {
  const message = Buffer.alloc(length, tag & 0xff)
  message.writeBigUInt64BE(0x1122_3344_0000_0000n + BigInt(tag), 0)
  message[16] = 33
  message[17] = 0x20
  message[18] = 34
  message.writeUInt32BE(length, 24)
  return message
}

/** @param length at least 8 */
export function espPacket(length: number, sequence = 1): Buffer {
  const packet = Buffer.alloc(length, 0xe5)
  packet.writeUInt32BE(0xc0de_0001, 0)
  packet.writeUInt32BE(sequence, 4)
  return packet
}

export const withMarker = (message: Buffer): Buffer => Buffer.concat([MARKER, message])

/** Length and body, as RFC 9329 section 3 draws it. */
export function frame(body: Buffer): Buffer {
  const length = Buffer.alloc(2)
  length.writeUInt16BE(body.length + 2)
  return Buffer.concat([length, body])
}

export const ikeFrame = (message: Buffer): Buffer => frame(withMarker(message))

/** Stands for the IKEv2 server. */
export class FakeServer {
  readonly received: { readonly bytes: Buffer; readonly from: RemoteInfo }[] = []
  readonly #socket: UdpSocket
  #closed = false

  private constructor(socket: UdpSocket) {
    this.#socket = socket
    socket.on('message', (bytes, from) => this.received.push({ bytes, from }))
    socket.on('error', () => {})
  }

  static async open(address = '127.0.0.1', port = 0): Promise<FakeServer> {
    const socket = createSocket({ type: address.includes(':') ? 'udp6' : 'udp4', recvBufferSize: 4_000_000 })
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject)
      socket.bind(port, address, () => resolve())
    })
    return new FakeServer(socket)
  }

  get port(): number {
    return this.#socket.address().port
  }

  async expect(count: number): Promise<Buffer[]> {
    await waitUntil(`${count} datagrams`, () => this.received.length >= count)
    return this.received.map(({ bytes }) => bytes)
  }

  /** Sends to where the last datagram came from. */
  async reply(...datagrams: Buffer[]): Promise<void> {
    const last = this.received.at(-1)
    if (last === undefined) throw new Error('nobody has sent anything')
    await this.send(last.from, ...datagrams)
  }

  async send(to: RemoteInfo, ...datagrams: Buffer[]): Promise<void> {
    const sent = datagrams.map(
      (datagram) =>
        new Promise<void>((resolve) => this.#socket.send(datagram, to.port, to.address, () => resolve()))
    )
    await Promise.all(sent)
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await new Promise<void>((resolve) => this.#socket.close(() => resolve()))
  }
}

/** The client's end of a stream. */
export class StreamClient {
  readonly stream: Duplex
  readonly socket: Socket
  closed = false
  received: Buffer = Buffer.alloc(0)

  constructor(socket: Socket) {
    this.socket = socket
    this.stream = socket
    socket.on('error', () => {})
    socket.on('close', () => {
      this.closed = true
    })
    socket.on('data', (chunk: Buffer) => {
      this.received = Buffer.concat([this.received, chunk])
    })
  }

  static tcp(port: number, options: Partial<NetConnectOpts> = {}): Promise<StreamClient> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host: '127.0.0.1', port, noDelay: true, ...options } as NetConnectOpts)
      socket.once('error', reject)
      socket.once('connect', () => resolve(new StreamClient(socket)))
    })
  }

  static tls(port: number, options: ConnectionOptions = {}): Promise<StreamClient> {
    return new Promise((resolve, reject) => {
      const socket = tlsConnect({ host: '127.0.0.1', port, rejectUnauthorized: false, ...options })
      socket.once('error', reject)
      socket.once('secureConnect', () => resolve(new StreamClient(socket)))
    })
  }

  write(...parts: Buffer[]): void {
    this.stream.write(Buffer.concat(parts))
  }

  /** Bodies of the whole frames so far. */
  frames(): Buffer[] {
    const bodies: Buffer[] = []
    let at = 0
    while (at + 2 <= this.received.length) {
      const length = this.received.readUInt16BE(at)
      if (length < 2) throw new Error(`a frame of length ${length}`)
      if (at + length > this.received.length) break
      bodies.push(this.received.subarray(at + 2, at + length))
      at += length
    }
    return bodies
  }

  async expect(count: number): Promise<Buffer[]> {
    return waitUntil(`${count} frames`, () => {
      const frames = this.frames()
      return frames.length >= count && frames
    })
  }

  async expectClosed(): Promise<void> {
    await waitUntil('the stream to close', () => this.closed)
  }

  destroy(): void {
    this.stream.destroy()
  }
}
