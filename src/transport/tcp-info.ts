/**
 * What the kernel knows about a TCP connection: TCP_INFO (linux/tcp.h), read into memory that is allocated once.
 * @module
 */
import { type Libc, libc } from '../native/libc.ts'
import { SocketLevel, TcpOption } from '../native/libc-constants.ts'
import { addressOf, nativeBuffer } from '../native/memory.ts'
import type { ConnectionInfo } from './stream-governor.ts'

/** Up to and including `tcpi_notsent_bytes`, which came with Linux 4.6. */
const LENGTH = 148
const TOTAL_RETRANSMITS_AT = 100
const NOT_SENT_AT = 144

export class TcpInfo implements ConnectionInfo {
  readonly #socket: { readonly fd: number }
  readonly #libc: Libc = libc()
  readonly #info = nativeBuffer(LENGTH)
  readonly #length = nativeBuffer(4)
  readonly #infoAddress = addressOf(this.#info)
  readonly #lengthAddress = addressOf(this.#length)

  /** @throws NativeUnavailableError */
  constructor(socket: { readonly fd: number }) {
    this.#socket = socket
  }

  read(): boolean {
    this.#length.writeUInt32LE(LENGTH)
    const { TCP } = SocketLevel
    return (
      this.#libc.getsockopt(this.#socket.fd, TCP, TcpOption.INFO, this.#infoAddress, this.#lengthAddress) ===
        0 && this.#length.readUInt32LE() >= LENGTH
    )
  }

  get retransmits(): number {
    return this.#info.readUInt32LE(TOTAL_RETRANSMITS_AT)
  }

  get bytesUnsent(): number {
    return this.#info.readUInt32LE(NOT_SENT_AT)
  }
}
