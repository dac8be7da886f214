/**
 * Readiness of raw descriptors (TUN devices, UDP sockets) for Node's main loop: one epoll instance for the whole
 * process, waited for by one thread of libuv's pool.
 *
 * Level-triggered: a callback that leaves data behind is called again. While there is work, readiness is asked
 * without blocking from `setImmediate`, so that a busy descriptor costs no thread switches; the thread waits only
 * when nothing is ready. The process can exit as soon as nothing is watched.
 * @module
 */
import { checked, libc } from './libc.ts'
import { EPOLL_CLOEXEC, EpollEvent, EpollOp, EventfdFlag } from './libc-constants.ts'
import { addressOf, nativeBuffer, writePointer } from './memory.ts'

export interface Interest {
  readonly readable?: boolean
  readonly writable?: boolean
}

/** `readable` and `writable` are both true when the descriptor has an error or was hung up: the next call tells. */
export type ReadinessCallback = (readable: boolean, writable: boolean) => void

export interface Watch {
  /** Replaces the interest; nothing set means paused. */
  modify(interest: Interest): void
  /** Stops watching; the callback is not called any more. Must come before the descriptor is closed. */
  close(): void
}

const MAX_EVENTS = 64
/** `struct epoll_event` is packed on x64 only. */
const EVENT_LENGTH = process.arch === 'x64' ? 12 : 16
const EVENT_DATA_AT = process.arch === 'x64' ? 4 : 8

interface Entry {
  readonly fd: number
  readonly callback: ReadinessCallback
  events: number
}

class Poller {
  readonly #epollFd: number
  readonly #wakeFd: number
  readonly #events = nativeBuffer(MAX_EVENTS * EVENT_LENGTH)
  readonly #eventsAddress = addressOf(this.#events)
  readonly #control = nativeBuffer(EVENT_LENGTH)
  readonly #controlAddress = addressOf(this.#control)
  readonly #wakeValue = nativeBuffer(8)
  /** Keyed by a number that is never used again, so that an event for a closed watch finds nothing. */
  readonly #entries = new Map<number, Entry>()
  readonly #roundTrips: (() => void)[] = []
  #nextKey = 1
  #state: 'idle' | 'waiting' | 'spinning' = 'idle'
  /** How long the main loop itself may wait for descriptors; 0: never, that is for the pool's thread. */
  inlineMs = 0

  constructor() {
    const c = libc()
    this.#epollFd = checked('epoll_create1', c.epollCreate1(EPOLL_CLOEXEC))
    this.#wakeFd = checked('eventfd', c.eventfd(0, EventfdFlag.CLOEXEC | EventfdFlag.NONBLOCK))
    this.#wakeValue.writeUInt32LE(1)
    this.#change(EpollOp.ADD, this.#wakeFd, 0, EpollEvent.IN)
    // The C library joins libuv's threads when the process ends, and would wait forever for one that waits here.
    process.on('exit', () => this.#wake())
  }

  /** Resolves once the thread that waits for descriptors and the main loop have both had their turn. */
  roundTrip(): Promise<void> {
    return new Promise((resolve) => {
      this.#roundTrips.push(resolve)
      if (this.#state === 'idle') this.#answer()
      else this.#signal()
    })
  }

  watch(fd: number, interest: Interest, callback: ReadinessCallback): Watch {
    const key = this.#nextKey++
    const entry: Entry = { fd, callback, events: eventsOf(interest) }
    if (entry.events !== 0) this.#change(EpollOp.ADD, fd, key, entry.events)
    this.#entries.set(key, entry)
    this.#start()
    return {
      modify: (next) => {
        const events = eventsOf(next)
        if (events === entry.events || !this.#entries.has(key)) return
        // Without interest it is taken out altogether: epoll reports errors even where nothing was asked for.
        const operation = events === 0 ? EpollOp.DEL : entry.events === 0 ? EpollOp.ADD : EpollOp.MOD
        entry.events = events
        this.#change(operation, fd, key, events)
      },
      close: () => {
        if (!this.#entries.delete(key)) return
        if (entry.events !== 0) this.#change(EpollOp.DEL, fd, key, 0)
        if (this.#entries.size === 0) this.#wake()
      }
    }
  }

  #change(operation: number, fd: number, key: number, events: number): void {
    this.#control.writeUInt32LE(events >>> 0, 0)
    writePointer(this.#control, EVENT_DATA_AT, key)
    checked('epoll_ctl', libc().epollCtl(this.#epollFd, operation, fd, this.#controlAddress))
  }

  #wake(): void {
    if (this.#state === 'waiting') this.#signal()
  }

  #signal(): void {
    libc().write(this.#wakeFd, addressOf(this.#wakeValue), 8)
  }

  #answer(): void {
    for (const resolve of this.#roundTrips.splice(0)) resolve()
  }

  #start(): void {
    if (this.#state !== 'idle') return
    if (this.inlineMs > 0) {
      this.#state = 'spinning'
      setImmediate(this.#spin)
      return
    }
    this.#state = 'waiting'
    libc().epollWaitAsync(this.#epollFd, this.#eventsAddress, MAX_EVENTS, -1, (error, count) => {
      this.#state = 'idle'
      this.#handle(error === null ? count : 0)
    })
  }

  #handle(count: number): void {
    if (count <= 0) {
      // Nothing was ready, or a signal interrupted the wait.
      if (this.#entries.size > 0) this.#start()
      else this.#answer()
      return
    }
    this.#state = 'spinning'
    setImmediate(this.#spin)
    this.#dispatch(count)
  }

  readonly #spin = (): void => {
    this.#state = 'idle'
    if (this.#entries.size === 0) {
      this.#answer()
      return
    }
    this.#handle(libc().epollWait(this.#epollFd, this.#eventsAddress, MAX_EVENTS, this.inlineMs))
  }

  #dispatch(count: number): void {
    for (let index = 0; index < count; index++) {
      const at = index * EVENT_LENGTH
      const key = this.#events.readUInt32LE(at + EVENT_DATA_AT)
      if (key === 0) {
        libc().read(this.#wakeFd, addressOf(this.#wakeValue), 8)
        this.#wakeValue.writeUInt32LE(1)
        this.#answer()
        continue
      }
      const entry = this.#entries.get(key)
      if (entry === undefined) continue
      const events = this.#events.readUInt32LE(at)
      const broken = (events & (EpollEvent.ERR | EpollEvent.HUP)) !== 0
      const readable = broken || (events & EpollEvent.IN) !== 0
      const writable = broken || (events & EpollEvent.OUT) !== 0
      if (readable || writable) entry.callback(readable, writable)
    }
  }
}

function eventsOf(interest: Interest): number {
  return (interest.readable === true ? EpollEvent.IN : 0) | (interest.writable === true ? EpollEvent.OUT : 0)
}

let poller: Poller | undefined

/**
 * Calls `callback` on the main loop whenever the non-blocking descriptor is ready for what is asked. Keeps the
 * process alive until it is closed.
 * @throws NativeUnavailableError, SystemCallError
 */
export function watch(fd: number, interest: Interest, callback: ReadinessCallback): Watch {
  poller ??= new Poller()
  return poller.watch(fd, interest, callback)
}

/**
 * Resolves once whoever waits for descriptors has answered: at once where nothing is watched, never if that thread is stuck, or
 * does not get to run because all others of the pool are.
 */
export function pollerRoundTrip(): Promise<void> {
  return poller?.roundTrip() ?? Promise.resolve()
}

/**
 * From now on the main loop waits for descriptors itself, for at most this long at a time. That saves two thread switches each time
 * something becomes ready, at the price that everything else in the process (Node's own timers and streams) may wait that long: for a
 * process that does nothing but carry packets.
 * @throws NativeUnavailableError, SystemCallError
 */
export function waitInline(sliceMs: number): void {
  poller ??= new Poller()
  poller.inlineMs = sliceMs
}
