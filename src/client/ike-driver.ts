/**
 * Runs one `IkeSession` against real time and real transports: feeds inputs, drains outputs, keeps one timer.
 *
 * Invariants: every input is followed by a complete drain; at most one timer is armed; after `dispose()` nothing
 * reaches the session any more. Knows nothing of ladders, TUN devices or users.
 * @module
 */
import type { Clock } from '../clock.ts'
import type { IkeSession } from '../ike/session.ts'
import type { IkeOutput } from '../ike/types.ts'
import type { Logger } from '../log.ts'
import type { Transport } from '../transport/types.ts'
import type { Path } from '../wire/endpoint.ts'
import { FrameFate } from '../wire/frame-fate.ts'

export { type Clock, systemClock } from '../clock.ts'

/** Outputs that are not handled by the driver itself. */
export type IkeEvent = Exclude<IkeOutput, { type: 'send' | 'wait' | 'log' }>

export class IkeDriver {
  readonly session: IkeSession
  readonly #clock: Clock
  readonly #log: Logger
  /** Whoever owns the session now. */
  onEvent: (event: IkeEvent, driver: IkeDriver) => void
  readonly #transports = new Map<number, Transport>()
  #timer: { cancel(): void } | undefined
  #draining = false
  #disposed = false

  constructor(
    session: IkeSession,
    clock: Clock,
    log: Logger,
    onEvent: (event: IkeEvent, driver: IkeDriver) => void
  ) {
    this.session = session
    this.#clock = clock
    this.#log = log
    this.onEvent = onEvent
  }

  get disposed(): boolean {
    return this.#disposed
  }

  /** Lets the session use this transport's paths; messages that come in on them go to `receive`. */
  attach(transport: Transport): void {
    for (const path of pathsOf(transport)) this.#transports.set(path.id, transport)
  }

  detach(transport: Transport): void {
    for (const path of pathsOf(transport)) this.#transports.delete(path.id)
  }

  transportOf(path: Path): Transport | undefined {
    return this.#transports.get(path.id)
  }

  /** Applies one input and drains everything that follows from it. */
  input(apply: (session: IkeSession, now: number) => void): void {
    if (this.#disposed) return
    apply(this.session, this.#clock.now())
    this.#drain()
  }

  /** @returns what it says about a stream that it came on */
  receive(message: Uint8Array, path: Path): FrameFate {
    let fate: FrameFate = FrameFate.UNKNOWN
    this.input((session, now) => {
      fate = session.receive(now, message, path)
    })
    return fate
  }

  /** No more inputs, no more timers. The session's own end (DELETE) is the caller's concern. */
  dispose(): void {
    this.#disposed = true
    this.#timer?.cancel()
    this.#timer = undefined
    this.#transports.clear()
  }

  #drain(): void {
    // An event handler may call input() again: the outer loop then picks up what that produced.
    if (this.#draining) return
    this.#draining = true
    try {
      for (;;) {
        if (this.#disposed) return
        const output = this.session.poll()
        if (output === undefined) break
        this.#handle(output)
      }
    } finally {
      this.#draining = false
    }
    this.#arm()
  }

  #handle(output: IkeOutput): void {
    switch (output.type) {
      case 'send': {
        const transport = this.#transports.get(output.path.id)
        if (transport === undefined) this.#log.log('debug', 'IKE message for a path that is gone')
        else transport.sendIke(output.message, output.path)
        return
      }
      case 'wait':
        void output.until.then(
          () => this.input((session, now) => session.resume(now)),
          () => this.input((session, now) => session.resume(now))
        )
        return
      case 'log':
        this.#log.log(output.level, output.message, output.fields)
        return
      default:
        this.onEvent(output, this)
    }
  }

  #arm(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    if (this.#disposed) return
    const at = this.session.nextTimeout()
    if (at === undefined) return
    this.#timer = this.#clock.setTimer(at - this.#clock.now(), () => {
      this.#timer = undefined
      this.input((session, now) => session.timeout(now))
    })
  }
}

function pathsOf(transport: Transport): Path[] {
  const { path } = transport
  return path.natT === undefined ? [path] : [path, path.natT]
}
