/**
 * A timer finer than the event loop's, whose timers count in whole milliseconds: a timerfd (timerfd_create(2)) that the poller waits
 * for. It fires a few ten microseconds late when the machine is idle.
 * @module
 */
import { checked, libc } from './libc.ts'
import { CLOCK_MONOTONIC, TimerfdFlag } from './libc-constants.ts'
import { addressOf, nativeBuffer, writePointer } from './memory.ts'
import { type Watch, watch } from './poller.ts'

const NANOSECONDS_PER_SECOND = 1e9
const NANOSECONDS_PER_MS = 1e6
const FIRST_EXPIRY_AT = 16
const SPEC_LENGTH = 32

export class FineTimer {
  readonly #fd: number
  readonly #watch: Watch
  readonly #spec = nativeBuffer(SPEC_LENGTH)
  readonly #specAddress = addressOf(this.#spec)
  readonly #count = nativeBuffer(8)
  readonly #countAddress = addressOf(this.#count)
  #closed = false

  /**
   * Keeps the process alive until it is closed.
   * @throws NativeUnavailableError, SystemCallError
   */
  constructor(callback: () => void) {
    const flags = TimerfdFlag.CLOEXEC | TimerfdFlag.NONBLOCK
    this.#fd = checked('timerfd_create', libc().timerfdCreate(CLOCK_MONOTONIC, flags))
    this.#watch = watch(this.#fd, { readable: true }, () => {
      // Armed anew since it expired: then there is nothing to read.
      if (libc().read(this.#fd, this.#countAddress, 8) === 8) callback()
    })
  }

  /** Fires once after this long, fractions of a millisecond included; what was armed before is forgotten. */
  arm(delayMs: number): void {
    if (this.#closed) return
    // All zeros would stop the timer.
    const nanoseconds = Math.max(1, Math.round(delayMs * NANOSECONDS_PER_MS))
    writePointer(this.#spec, FIRST_EXPIRY_AT, Math.floor(nanoseconds / NANOSECONDS_PER_SECOND))
    writePointer(this.#spec, FIRST_EXPIRY_AT + 8, nanoseconds % NANOSECONDS_PER_SECOND)
    checked('timerfd_settime', libc().timerfdSettime(this.#fd, 0, this.#specAddress, 0))
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#watch.close()
    libc().close(this.#fd)
  }
}
