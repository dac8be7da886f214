/**
 * Readiness of raw descriptors (TUN devices, sockets) for Node's main loop: one epoll instance for the whole process, which
 * the loop itself waits for (libuv's `uv_poll_t`, through koffi). No other thread is in between: waking one up costs more
 * than a packet does.
 *
 * Level-triggered: a callback that leaves data behind is called again in the next turn of the loop. The process can exit as
 * soon as nothing is watched.
 * @module
 */
import { checked, koffi, libc, type PollHandle } from './libc.ts'
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
const READABLE = { readable: true } as const
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
  readonly #events = nativeBuffer(MAX_EVENTS * EVENT_LENGTH)
  readonly #eventsAddress = addressOf(this.#events)
  readonly #control = nativeBuffer(EVENT_LENGTH)
  readonly #controlAddress = addressOf(this.#control)
  /** Keyed by a number that is never used again, so that an event for a closed watch finds nothing. */
  readonly #entries = new Map<number, Entry>()
  readonly #handle: PollHandle
  /** An eventfd with key 0, for `roundTrip`. */
  readonly #bellFd: number
  readonly #bellValue = nativeBuffer(8)
  readonly #roundTrips: (() => void)[] = []
  #nextKey = 1
  #failure: { readonly error: unknown } | undefined

  constructor() {
    this.#epollFd = checked('epoll_create1', libc().epollCreate1(EPOLL_CLOEXEC))
    this.#bellFd = checked('eventfd', libc().eventfd(0, EventfdFlag.CLOEXEC | EventfdFlag.NONBLOCK))
    this.#change(EpollOp.ADD, this.#bellFd, 0, EpollEvent.IN)
    this.#handle = koffi().node.poll(this.#epollFd, READABLE, this.#onReady)
    this.#handle.stop()
  }

  /** Resolves once the main loop has been told of something to read that was put there for it. */
  roundTrip(): Promise<void> {
    if (this.#entries.size === 0) return Promise.resolve()
    return new Promise((resolve) => {
      this.#roundTrips.push(resolve)
      this.#bellValue.writeUInt32LE(1)
      libc().write(this.#bellFd, addressOf(this.#bellValue), 8)
    })
  }

  watch(fd: number, interest: Interest, callback: ReadinessCallback): Watch {
    const key = this.#nextKey++
    const entry: Entry = { fd, callback, events: eventsOf(interest) }
    if (entry.events !== 0) this.#change(EpollOp.ADD, fd, key, entry.events)
    this.#entries.set(key, entry)
    if (this.#entries.size === 1) this.#handle.start(READABLE, this.#onReady)
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
        if (this.#entries.size === 0) this.#handle.stop()
      }
    }
  }

  #change(operation: number, fd: number, key: number, events: number): void {
    this.#control.writeUInt32LE(events >>> 0, 0)
    writePointer(this.#control, EVENT_DATA_AT, key)
    checked('epoll_ctl', libc().epollCtl(this.#epollFd, operation, fd, this.#controlAddress))
  }

  /**
   * Called by the loop from outside of any JavaScript: nothing may be thrown, and promises and ticks would wait until
   * something else happens. An immediate in the same turn sees to both; packets are on their way by then.
   */
  readonly #onReady = (): void => {
    setImmediate(this.#afterwards)
    try {
      this.#dispatch()
    } catch (error) {
      this.#failure ??= { error }
    }
  }

  readonly #afterwards = (): void => {
    const failure = this.#failure
    this.#failure = undefined
    if (failure !== undefined) throw failure.error
  }

  #dispatch(): void {
    const count = libc().epollWait(this.#epollFd, this.#eventsAddress, MAX_EVENTS, 0)
    for (let index = 0; index < count; index++) {
      const at = index * EVENT_LENGTH
      const key = this.#events.readUInt32LE(at + EVENT_DATA_AT)
      if (key === 0) this.#answer()
      const entry = this.#entries.get(key)
      if (entry === undefined) continue
      const events = this.#events.readUInt32LE(at)
      const broken = (events & (EpollEvent.ERR | EpollEvent.HUP)) !== 0
      const readable = broken || (events & EpollEvent.IN) !== 0
      const writable = broken || (events & EpollEvent.OUT) !== 0
      if (readable || writable) entry.callback(readable, writable)
    }
  }

  #answer(): void {
    libc().read(this.#bellFd, addressOf(this.#bellValue), 8)
    for (const resolve of this.#roundTrips.splice(0)) resolve()
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

/** Resolves once the main loop has answered for the descriptors that it waits for; at once where nothing is watched. */
export function pollerRoundTrip(): Promise<void> {
  return poller?.roundTrip() ?? Promise.resolve()
}
