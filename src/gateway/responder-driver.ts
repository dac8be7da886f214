/**
 * Runs an `IkeResponder` against real time: feeds inputs, drains outputs, keeps one timer.
 *
 * Invariants: every input is followed by a complete drain; at most one timer is armed; after `dispose` nothing reaches
 * the engine any more. A fault of the engine is told, and does not end the other sessions.
 * @module
 */
import type { Clock } from '../clock.ts'
import type { IkeResponder } from '../ike/responder.ts'
import type { RestoreInputs } from '../ike/restore.ts'
import type { IkeSession } from '../ike/session.ts'
import type { IkeOutput } from '../ike/types.ts'
import type { Logger } from '../log.ts'
import type { Path } from '../wire/endpoint.ts'
import { FrameFate } from '../wire/frame-fate.ts'

/** Outputs that are not handled by the driver itself. */
export type SessionEvent = Exclude<IkeOutput, { type: 'send' | 'wait' | 'log' }>

export interface ResponderDriverEvents {
  send(message: Uint8Array, path: Path, session: IkeSession | undefined): void
  onEvent(session: IkeSession, event: SessionEvent): void
  /** An input and all that followed from it are done. */
  onSettled?(): void
  /** A bug: the engine threw. */
  onFault(error: unknown): void
}

export class ResponderDriver {
  readonly #responder: IkeResponder
  readonly #clock: Clock
  readonly #log: Logger
  readonly #events: ResponderDriverEvents
  #timer: { cancel(): void } | undefined
  #draining = false
  #disposed = false

  constructor(responder: IkeResponder, clock: Clock, log: Logger, events: ResponderDriverEvents) {
    this.#responder = responder
    this.#clock = clock
    this.#log = log
    this.#events = events
  }

  get sessions(): readonly IkeSession[] {
    return this.#responder.sessions
  }

  /** @returns what it says about a stream that it came on */
  receive(message: Uint8Array, path: Path): FrameFate {
    let fate: FrameFate = FrameFate.UNKNOWN
    this.#apply((now) => {
      fate = this.#responder.receive(now, message, path)
    })
    return fate
  }

  knowsSpis(spiI: bigint, spiR: bigint): boolean {
    return this.#responder.knowsSpis(spiI, spiR)
  }

  /** ESP that belongs to nobody. */
  unknownEsp(spi: number, path: Path): void {
    this.#apply((now) => this.#responder.unknownEsp(now, spi, path))
  }

  /** Any other input to one of the sessions. */
  input(session: IkeSession, apply: (session: IkeSession, now: number) => void): void {
    this.#apply((now) => apply(session, now))
  }

  /** Goes on with a session of another member of the cluster. @returns false when that is not possible */
  adopt(inputs: RestoreInputs): boolean {
    let adopted = false
    this.#apply((now) => {
      adopted = this.#responder.adopt(now, inputs) !== undefined
    })
    return adopted
  }

  dispose(): void {
    this.#disposed = true
    this.#timer?.cancel()
    this.#timer = undefined
  }

  #apply(action: (now: number) => void): void {
    if (this.#disposed) return
    try {
      action(this.#clock.now())
    } catch (error) {
      this.#events.onFault(error)
    }
    this.#drain()
  }

  #drain(): void {
    // An event handler may make another input: the outer loop then picks up what that produced.
    if (this.#draining) return
    this.#draining = true
    try {
      for (;;) {
        const next = this.#disposed ? undefined : this.#responder.poll()
        if (next === undefined) break
        this.#handle(next.session, next.output)
      }
      this.#events.onSettled?.()
    } finally {
      this.#draining = false
    }
    this.#arm()
  }

  #handle(session: IkeSession | undefined, output: IkeOutput): void {
    switch (output.type) {
      case 'send':
        this.#events.send(output.message, output.path, session)
        return
      case 'log':
        this.#log.log(output.level, output.message, output.fields)
        return
      case 'wait': {
        if (session === undefined) return
        const resume = (): void => this.input(session, (one, now) => one.resume(now))
        void output.until.then(resume, resume)
        return
      }
      default:
        if (session !== undefined) this.#events.onEvent(session, output)
    }
  }

  #arm(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    if (this.#disposed) return
    const at = this.#responder.nextTimeout()
    if (at === undefined) return
    this.#timer = this.#clock.setTimer(at - this.#clock.now(), () => {
      this.#timer = undefined
      this.#apply((now) => this.#responder.timeout(now))
    })
  }
}
