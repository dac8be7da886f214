/**
 * The service manager's end of sd_notify: a Unix datagram socket that takes what it is sent.
 * @module
 */
import { rm } from 'node:fs/promises'
import { checked, libc } from '../../src/native/libc.ts'
import { AddressFamily, SocketType } from '../../src/native/libc-constants.ts'
import { addressOf, nativeBuffer } from '../../src/native/memory.ts'
import { type Watch, watch } from '../../src/native/poller.ts'
import { encodeUnixSockaddr } from '../../src/native/sockaddr.ts'
import { waitUntil } from './wait-until.ts'

const MAX_MESSAGE = 4096

export class NotifySocket {
  /** A path, or `@` and a name in the abstract namespace: what NOTIFY_SOCKET says. */
  readonly address: string
  /** All lines so far, without those that are different each time. */
  readonly lines: string[] = []
  readonly #fd: number
  readonly #watch: Watch
  readonly #buffer = nativeBuffer(MAX_MESSAGE)

  constructor(address: string) {
    this.address = address
    const type = SocketType.DGRAM | SocketType.CLOEXEC | SocketType.NONBLOCK
    this.#fd = checked('socket', libc().socket(AddressFamily.UNIX, type, 0))
    const sockaddr = encodeUnixSockaddr(address)
    checked('bind', libc().bind(this.#fd, addressOf(sockaddr), sockaddr.length))
    this.#watch = watch(this.#fd, { readable: true }, () => this.#receive())
  }

  /** Sends itself something, behind all that has been sent to it. */
  say(line: string): void {
    const fd = checked('socket', libc().socket(AddressFamily.UNIX, SocketType.DGRAM | SocketType.CLOEXEC, 0))
    const sockaddr = encodeUnixSockaddr(this.address)
    checked('connect', libc().connect(fd, addressOf(sockaddr), sockaddr.length))
    const text = nativeBuffer(line.length)
    text.write(line)
    checked('send', libc().send(fd, addressOf(text), text.length, 0))
    libc().close(fd)
  }

  count(line: string): number {
    return this.lines.filter((one) => one === line).length
  }

  async hears(line: string | RegExp, times = 1): Promise<void> {
    const fits = (one: string): boolean => (typeof line === 'string' ? one === line : line.test(one))
    const enough = () => this.lines.filter(fits).length >= times
    await waitUntil(`${times} times ${line} among\n${this.lines.join('\n')}`, enough)
  }

  async close(): Promise<void> {
    this.#watch.close()
    libc().close(this.#fd)
    if (!this.address.startsWith('@')) await rm(this.address, { force: true })
  }

  #receive(): void {
    const length = libc().recv(this.#fd, addressOf(this.#buffer), MAX_MESSAGE, 0)
    if (length <= 0) return
    const text = this.#buffer.toString('utf8', 0, length)
    this.lines.push(...text.split('\n').filter((line) => line !== '' && !line.startsWith('MONOTONIC_USEC=')))
  }
}
