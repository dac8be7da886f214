/**
 * Tells the service manager that started this process how it goes: sd_notify(3), datagrams to the Unix socket in NOTIFY_SOCKET.
 *
 * A hint only: nothing here ever fails. Text is one line, whatever a peer has put into it.
 * @module
 */
import { isAbsolute } from 'node:path'
import { type Logger, silentLogger } from '../log.ts'
import { checked, libc, SystemCallError } from '../native/libc.ts'
import { AddressFamily, Errno, MessageFlag, SocketType } from '../native/libc-constants.ts'
import { addressOf, nativeBuffer } from '../native/memory.ts'
import { encodeUnixSockaddr } from '../native/sockaddr.ts'

const VARIABLES = ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID'] as const
/** More says nothing more to people. */
const MAX_STATUS_LENGTH = 400
/** A manager that is busy with other things takes no messages for a moment. */
const RETRY_MS = 250
const RETRIES = 40

export interface ServiceState {
  /** The service is up, or up again after `reloading`. */
  readonly ready?: boolean
  readonly reloading?: boolean
  readonly stopping?: boolean
  /** It is alive; see `watchdogMs`. */
  readonly watchdog?: boolean
  /** For people. */
  readonly status?: string
}

export class ServiceManager {
  /** Within this time the manager wants to hear that the service is alive; undefined: it does not. */
  readonly watchdogMs: number | undefined
  readonly #address: Buffer
  readonly #log: Logger

  private constructor(address: Buffer, watchdogMs: number | undefined, log: Logger) {
    this.#address = address
    this.watchdogMs = watchdogMs
    this.#log = log
  }

  /**
   * The manager that is named in the environment, if there is one. Its variables are taken out, so that no child speaks for
   * this process.
   */
  static fromEnvironment(
    env: NodeJS.ProcessEnv = process.env,
    log: Logger = silentLogger,
    pid = process.pid
  ): ServiceManager | undefined {
    const [socket, microseconds, watched] = VARIABLES.map((name) => env[name])
    for (const name of VARIABLES) delete env[name]
    if (socket === undefined || !(isAbsolute(socket) || socket.startsWith('@'))) return undefined
    try {
      const mine = watched === undefined || watched === String(pid)
      return new ServiceManager(encodeUnixSockaddr(socket), mine ? toMs(microseconds) : undefined, log)
    } catch (error) {
      log.log('debug', 'The service manager cannot be told anything', { error: String(error) })
      return undefined
    }
  }

  tell(state: ServiceState): void {
    this.#tell(state, RETRIES)
  }

  #tell(state: ServiceState, retries: number): void {
    try {
      this.#send(Buffer.from(`${linesOf(state).join('\n')}\n`))
    } catch (error) {
      this.#log.log('debug', 'The service manager was not told', { error: String(error) })
      const full = error instanceof SystemCallError && error.errno === Errno.EAGAIN
      // A sign of life would be stale; everything else is waited for by somebody.
      if (!full || state.watchdog === true || retries === 0) return
      setTimeout(() => this.#tell(state, retries - 1), RETRY_MS).unref()
    }
  }

  #send(message: Buffer): void {
    const c = libc()
    const type = SocketType.DGRAM | SocketType.CLOEXEC | SocketType.NONBLOCK
    const fd = checked('socket', c.socket(AddressFamily.UNIX, type, 0))
    try {
      checked('connect', c.connect(fd, addressOf(this.#address), this.#address.length))
      const memory = nativeBuffer(message.length)
      memory.set(message)
      checked('send', c.send(fd, addressOf(memory), memory.length, MessageFlag.NOSIGNAL))
    } finally {
      c.close(fd)
    }
  }
}

function linesOf({ ready, reloading, stopping, watchdog, status }: ServiceState): string[] {
  const lines: string[] = []
  // Since version 253 systemd wants to know which reload an answer belongs to.
  if (reloading === true) lines.push('RELOADING=1', `MONOTONIC_USEC=${monotonicMicroseconds()}`)
  if (ready === true) lines.push('READY=1')
  if (stopping === true) lines.push('STOPPING=1')
  if (watchdog === true) lines.push('WATCHDOG=1')
  if (status !== undefined) lines.push(`STATUS=${oneLine(status)}`)
  return lines
}

function toMs(microseconds: string | undefined): number | undefined {
  const ms = Number(microseconds ?? 0) / 1000
  return ms > 0 && Number.isFinite(ms) ? ms : undefined
}

function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ').slice(0, MAX_STATUS_LENGTH)
}

/** CLOCK_MONOTONIC. */
function monotonicMicroseconds(): bigint {
  return process.hrtime.bigint() / 1000n
}
