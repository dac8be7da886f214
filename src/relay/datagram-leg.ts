/**
 * The UDP side of one stream with Node's own datagrams: for machines where the C library cannot be called. One system call
 * for each datagram.
 * @module
 */
import { createSocket, type Socket } from 'node:dgram'
import { isIPv6 } from 'node:net'
import type { Endpoint } from '../wire/endpoint.ts'
import type { UdpLeg, UdpLegHandlers, UdpLegOptions } from './udp-leg.ts'

/** Datagrams inside Node from which on the stream is asked to wait. */
const SEND_QUEUE_BYTES = 262_144

export class DatagramLeg implements UdpLeg {
  readonly #socket: Socket
  readonly #handlers: UdpLegHandlers
  #queuedBytes = 0
  #blocked = false
  #closed = false

  private constructor(socket: Socket, handlers: UdpLegHandlers) {
    this.#socket = socket
    this.#handlers = handlers
    socket.on('message', (message) => {
      if (this.#closed) return
      handlers.onDatagram(message, 0, message.length)
      handlers.onBatchEnd()
    })
    socket.on('error', (error: NodeJS.ErrnoException) => this.#report(error))
  }

  /** Resolves with a connected socket. */
  static open(options: UdpLegOptions, handlers: UdpLegHandlers): Promise<DatagramLeg> {
    const { remote, localAddress } = options
    const socket = createSocket(isIPv6(remote.address) ? 'udp6' : 'udp4')
    return new Promise((resolve, reject) => {
      const fail = (error: Error): void => {
        socket.close()
        reject(error)
      }
      socket.once('error', fail)
      socket.bind(0, localAddress, () => {
        socket.connect(remote.port, remote.address, () => {
          socket.off('error', fail)
          resolve(new DatagramLeg(socket, handlers))
        })
      })
    })
  }

  get local(): Endpoint {
    const { address, port } = this.#socket.address()
    return { address, port }
  }

  get blocked(): boolean {
    return this.#blocked
  }

  queue(buffer: Uint8Array, offset: number, length: number): void {
    if (this.#closed) return
    // the memory is the deframer's, and Node sends later
    const datagram = Buffer.from(buffer.subarray(offset, offset + length))
    this.#queuedBytes += length
    if (this.#queuedBytes > SEND_QUEUE_BYTES) this.#blocked = true
    this.#socket.send(datagram, (error) => this.#sent(length, error))
  }

  flush(): void {}

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#socket.close()
  }

  #sent(length: number, error: Error | null): void {
    this.#queuedBytes -= length
    if (this.#closed) return
    if (error !== null) this.#report(error)
    if (!this.#blocked || this.#queuedBytes > SEND_QUEUE_BYTES / 2) return
    this.#blocked = false
    this.#handlers.onWritable()
  }

  #report(error: NodeJS.ErrnoException): void {
    if (!this.#closed) this.#handlers.onError(error.code ?? error.message)
  }
}
