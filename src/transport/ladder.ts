/**
 * The fallback ladder: which transport to open when, on which to speak IKE, and when to give one up for the next
 * (RFC 9329 sections 5.1 and 7.1).
 *
 * Sans-IO: inputs carry the time in milliseconds of a monotonic clock; outputs are drained with `poll()`, then
 * `nextTimeout()` says when to call `timeout(now)`. Invariants: IKE runs on at most one stream at a time; UDP that
 * was given up is listened to until something is established, and takes the session back when it answers; an answer
 * that no other transport would change ends the climb.
 * @module
 */
import {
  AuthenticationError,
  ConfigurationError,
  DataError,
  IkestreamError,
  InputError,
  InternalError,
  ProtocolError,
  SystemError,
  UsageError
} from '../errors.ts'
import { LadderClimb } from './ladder-climb.ts'
import { buildRungs, hasIke, isStream } from './ladder-rung.ts'
import {
  DEFAULT_LADDER_TIMINGS,
  type LadderInput,
  type LadderOutput,
  type LadderTimings
} from './ladder-types.ts'
import type { TransportFailure } from './types.ts'

/** Whether another transport could not change this outcome of IKE. */
export function isDefinitive(error: IkestreamError): boolean {
  return [
    AuthenticationError,
    ProtocolError,
    ConfigurationError,
    DataError,
    InputError,
    UsageError,
    SystemError,
    InternalError
  ].some((family) => error instanceof family)
}

const ESP_SILENT: TransportFailure = {
  code: 'esp-silent',
  message: 'IKE passes but no ESP packet comes back'
}

export class Ladder {
  readonly #timings: LadderTimings
  #climb: LadderClimb
  #order: LadderInput['order'] = []

  constructor(timings: Partial<LadderTimings> = {}) {
    this.#timings = { ...DEFAULT_LADDER_TIMINGS, ...timings }
    this.#climb = new LadderClimb(0, [], this.#timings)
  }

  /** True when there is nothing more to do: ESP confirmed, exhausted, fatal, or stopped. */
  get over(): boolean {
    return this.#climb.over
  }

  poll(): LadderOutput | undefined {
    return this.#climb.journal.poll()
  }

  /** When to call `timeout`; undefined: only inputs matter now. */
  nextTimeout(): number | undefined {
    return this.#climb.nextTimeout()
  }

  /** Begins a climb, once. */
  start(now: number, input: LadderInput): void {
    const climb = new LadderClimb(now, buildRungs(input), this.#timings)
    this.#climb = climb
    this.#order = [...new Set(input.order)]
    const known = climb.states.find((state) => state.rung.remembered && isStream(state))
    if (known === undefined || known.group === 0) climb.enterGroup(now, 0)
    else {
      climb.coldAt = now + this.#timings.rememberedMs
      climb.open(now, known)
    }
    climb.advance(now)
  }

  timeout(now: number): void {
    this.#climb.advance(now)
  }

  opened(now: number, id: number): void {
    const state = this.#climb.find(id)
    if (state === undefined) return
    if (this.#climb.over || state.phase !== 'opening') {
      // It was given up while it opened.
      this.#climb.journal.close(state.rung)
      return
    }
    state.phase = 'open'
    state.deadline = undefined
    state.openedAt = now
    if (this.#climb.established === undefined) {
      if (state.resume || this.#climb.startsAtOnce(state)) this.#climb.startIke(now, state)
      else if (!isStream(state)) this.#climb.park(state)
    }
    this.#climb.advance(now)
  }

  openFailed(now: number, id: number, failure: TransportFailure): void {
    const state = this.#climb.find(id)
    if (this.#climb.over || state?.phase !== 'opening') return
    this.#climb.fail(now, state, failure)
    this.#climb.advance(now)
  }

  /** IKE_SA_INIT was answered (a cookie request or INVALID_KE_PAYLOAD counts). */
  ikeAnswered(now: number, id: number): void {
    const state = this.#climb.find(id)
    if (this.#climb.over || state === undefined || this.#climb.established !== undefined) return
    if (!this.#climb.mayTakeSession(state)) return
    this.#climb.takeSession(state)
    state.deadline = now + (isStream(state) ? this.#timings.streamAuthMs : this.#timings.udpAuthMs)
    this.#climb.journal.report(now, state.rung, 'answered', null, '')
    this.#climb.advance(now)
  }

  /** A message of IKE_AUTH or later came in: the path works, from here the engine's own timers decide. */
  ikeProgress(now: number, id: number): void {
    const state = this.#climb.find(id)
    if (this.#climb.over || state === undefined || this.#climb.established !== undefined) return
    if (this.#climb.mayTakeSession(state)) this.#climb.takeSession(state)
    state.doubtUntil = undefined
    state.proven = true
    if (state.phase === 'answered') state.deadline = undefined
    this.#climb.advance(now)
  }

  /**
   * Somebody says, and nobody has proved it, that the gateway does not know the session whose IKE_AUTH is outstanding. If the gateway stays
   * silent, a new one begins; as often as a connection may be opened again, so that whoever makes this up gains no more than by
   * swallowing or answering IKE_SA_INIT.
   */
  ikeDoubted(now: number, id: number): void {
    const state = this.#climb.find(id)
    if (!this.#climb.over && state !== undefined) this.#climb.doubt(now, state)
  }

  /** The network is another one: a session that is half set up may have been left behind on the old one. */
  networkChanged(now: number): void {
    if (!this.#climb.over) for (const state of this.#climb.states) this.#climb.doubt(now, state)
  }

  ikeEstablished(now: number, id: number): void {
    const state = this.#climb.find(id)
    if (this.#climb.over || state === undefined || this.#climb.established !== undefined || !hasIke(state))
      return
    for (const other of this.#climb.states) {
      if (other === state) continue
      if (hasIke(other)) this.#climb.supersede(other)
      if (other.phase === 'waiting') other.deadline = undefined
    }
    state.phase = 'established'
    state.deadline = undefined
    this.#climb.established = state
    this.#climb.coldAt = undefined
    this.#climb.holdUntil = now + this.#timings.holdMs
    const probeLater = this.#order.slice(0, state.rank)
    this.#climb.journal.put({
      type: 'chosen',
      rung: state.rung,
      probeLater,
      elapsedMs: now - this.#climb.journal.startedAt
    })
  }

  /** The IKE session failed, or ended before it was established. */
  ikeFailed(now: number, id: number, reason: TransportFailure | IkestreamError): void {
    const state = this.#climb.find(id)
    if (this.#climb.over || state === undefined || !hasIke(state)) return
    if (!(reason instanceof IkestreamError)) this.#climb.fail(now, state, reason)
    else if (isDefinitive(reason)) {
      this.#climb.journal.report(now, state.rung, 'failed', 'ike-rejected', reason.message)
      this.#climb.finish(now, { type: 'fatal', rung: state.rung, error: reason })
    } else
      this.#climb.fail(now, state, {
        code: isStream(state) ? 'ike-silent' : 'timeout',
        message: reason.message
      })
    this.#climb.advance(now)
  }

  /** ESP came back: the climb is over. */
  espConfirmed(now: number, id: number): void {
    if (!this.#climb.over && this.#climb.established?.rung.id === id) this.#climb.finish(now, undefined)
  }

  /** IKE passes but ESP does not: on UDP that holds for every address. */
  espSilent(now: number, id: number): void {
    const state = this.#climb.established
    if (this.#climb.over || state?.rung.id !== id) return
    if (!isStream(state))
      for (const other of this.#climb.states)
        if (other !== state && !isStream(other)) {
          other.phase = 'failed'
          other.deadline = undefined
        }
    this.#climb.loseEstablished(now, state, ESP_SILENT)
  }

  /** The transport ended by itself. */
  closed(now: number, id: number, failure: TransportFailure): void {
    const state = this.#climb.find(id)
    if (this.#climb.over || state === undefined) return
    if (state === this.#climb.established) {
      this.#climb.loseEstablished(now, state, failure)
      return
    }
    // A gateway need not keep a silent connection for long: libreswan closes it after 5 s.
    if (state.phase === 'open' && state.reopensLeft > 0) state.phase = 'parked'
    else if (state.phase === 'opening' || state.phase === 'open' || hasIke(state))
      this.#climb.fail(now, state, failure)
    this.#climb.advance(now)
  }

  /**
   * The peer closed the stream behind an answer (INVALID_KE_PAYLOAD, COOKIE) to which the IKE session has a further
   * request (RFC 9329 section 6.3): opens a new connection for that session.
   */
  reopen(now: number, id: number): void {
    const state = this.#climb.find(id)
    if (this.#climb.over || state === undefined || !isStream(state)) return
    if (state.phase !== 'ike' && state.phase !== 'answered') return
    if (state.reopensLeft === 0)
      this.#climb.fail(now, state, {
        code: 'closed-by-peer',
        message: 'The gateway keeps closing the connection'
      })
    else {
      state.resume = true
      this.#climb.journal.close(state.rung)
      this.#climb.open(now, state)
    }
    this.#climb.advance(now)
  }

  /** Gives everything up without a verdict. */
  stop(now: number): void {
    if (this.#climb.over) return
    const state = this.#climb.established
    if (state !== undefined) this.#climb.discard(state, 'stopped')
    this.#climb.established = undefined
    this.#climb.finish(now, undefined)
  }
}
