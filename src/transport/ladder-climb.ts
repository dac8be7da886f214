/**
 * How rungs move: whose turn it is, what lasted too long, what takes whose place. The inputs are in `ladder.ts`.
 *
 * Invariants: every change is followed by `advance`, which brings everything up to `now`; IKE runs on at most one
 * stream at a time.
 * @module
 */
import type { TransportKind } from '../wire/endpoint.ts'
import { LadderJournal } from './ladder-journal.ts'
import {
  compareStreams,
  hasIke,
  isActive,
  isCandidate,
  isLastResort,
  isStream,
  type RungState,
  staggerMs
} from './ladder-rung.ts'
import type { AbandonReason, LadderOutput, LadderTimings } from './ladder-types.ts'
import type { TransportFailure, TransportFailureCode } from './types.ts'

const SILENCE: ReadonlySet<TransportFailureCode> = new Set(['ike-silent', 'ike-auth-silent', 'esp-silent'])

export class LadderClimb {
  readonly timings: LadderTimings
  readonly journal = new LadderJournal()
  readonly states: readonly RungState[]
  /** The rung on which an IKE SA is up. */
  established: RungState | undefined
  /** When the ladder is climbed from the bottom beside what is remembered. */
  coldAt: number | undefined
  /** Until when streams that were opened for nothing are kept. */
  holdUntil: number | undefined
  over = false
  readonly #silent = new Map<TransportKind, number>()
  readonly #groups: number
  /** The group whose turn it is, and since when; -1: only what is remembered. */
  #group = -1
  #groupAt = 0
  /** When the last stream lost its turn: the next may wait for a better one from here. */
  #freeAt = 0

  constructor(now: number, states: readonly RungState[], timings: LadderTimings) {
    this.timings = timings
    this.states = states
    this.#groups = (states.at(-1)?.group ?? -1) + 1
    this.journal.startedAt = now
  }

  /** When to call `timeout`; undefined: only inputs matter now. */
  nextTimeout(): number | undefined {
    if (this.over) return undefined
    const times = [this.coldAt, this.holdUntil, this.#preOpenAt(), this.#preferUntil()]
    for (const state of this.states) times.push(state.deadline, state.doubtUntil)
    const pending = times.filter((time) => time !== undefined)
    return pending.length === 0 ? undefined : Math.min(...pending)
  }

  advance(now: number): void {
    if (this.over) return
    for (const state of this.states) {
      if ((state.doubtUntil ?? Infinity) <= now) this.#beginAnew(now, state)
      if ((state.deadline ?? Infinity) <= now) this.#expire(now, state)
    }
    if (this.holdUntil !== undefined && now >= this.holdUntil) this.#releaseHeld(now)
    if (this.established !== undefined) return
    if (this.coldAt !== undefined && now >= this.coldAt) this.enterGroup(now, 0)
    if ((this.#preOpenAt() ?? Infinity) <= now) this.#schedule(now, this.#group + 1)
    while (this.#groupIsOver() && this.#group + 1 < this.#groups) this.enterGroup(now, this.#group + 1)
    for (const state of this.states)
      if (state.phase === 'waiting' && (state.deadline ?? Infinity) <= now) this.open(now, state)
    this.#startBestStream(now)
    this.#checkExhausted(now)
  }

  /** What lasted too long. */
  #expire(now: number, state: RungState): void {
    const { udpLastMs, streamLastMs } = this.timings
    const alternative = this.states.some((other) => other !== state && isCandidate(other))
    switch (state.phase) {
      case 'opening':
        this.journal.close(state.rung)
        this.fail(now, state, { code: 'timeout', message: 'The connection did not open in time' })
        return
      case 'ike': {
        const lastAt = state.ikeAt + (isStream(state) ? streamLastMs : udpLastMs)
        if (!alternative && now < lastAt) state.deadline = lastAt
        else if (isStream(state))
          this.fail(now, state, { code: 'ike-silent', message: 'IKE_SA_INIT was not answered' })
        else this.#giveUpUdp(now, state, 'timeout', 'IKE_SA_INIT was not answered', lastAt)
        return
      }
      case 'answered':
        if (!alternative) state.deadline = undefined
        else if (isStream(state))
          this.fail(now, state, { code: 'ike-auth-silent', message: 'IKE_AUTH was not answered' })
        else this.#giveUpUdp(now, state, 'ike-auth-silent', 'IKE_AUTH was not answered', now + udpLastMs)
        return
      case 'late':
        state.deadline = undefined
    }
  }

  /** There is a reason to think that the first IKE_AUTH will not be answered. What has come later may wait for a person. */
  doubt(now: number, state: RungState): void {
    if (state.phase !== 'answered' || state.proven || state.reopensLeft === 0) return
    state.doubtUntil ??= now + this.timings.authDoubtMs
  }

  /** The gateway has forgotten the session, it seems, or cannot be reached from where we were. The old one is listened to while it is dismissed. */
  #beginAnew(now: number, state: RungState): void {
    state.doubtUntil = undefined
    if (state.phase !== 'answered') return
    this.discard(state, 'forgotten')
    this.open(now, state)
  }

  #giveUpUdp(
    now: number,
    state: RungState,
    code: TransportFailureCode,
    message: string,
    until: number
  ): void {
    this.journal.report(now, state.rung, 'failed', code, message)
    state.phase = 'late'
    state.deadline = until > now ? until : undefined
    this.#freeAt = now
  }

  enterGroup(now: number, group: number): void {
    this.#group = group
    this.#groupAt = now
    this.#freeAt = now
    this.coldAt = undefined
    this.#schedule(now, group)
  }

  #schedule(now: number, group: number): void {
    for (const state of this.states) {
      if (state.group !== group || state.phase !== 'waiting' || state.deadline !== undefined) continue
      const siblings = this.states.filter((other) => other.rank === state.rank).length
      state.deadline = now + state.index * staggerMs(this.timings, siblings)
    }
  }

  #groupIsOver(): boolean {
    if (this.#group < 0) return false
    return !this.states.some(
      (state) =>
        state.group === this.#group && (isActive(state) || (isCandidate(state) && !isLastResort(state)))
    )
  }

  /** When the streams behind UDP are to be opened beside it; undefined: not, or they already are. */
  #preOpenAt(): number | undefined {
    if (this.established !== undefined || this.#group < 0) return undefined
    const unscheduled = this.states.some(
      (state) =>
        state.group === this.#group + 1 &&
        isStream(state) &&
        state.phase === 'waiting' &&
        state.deadline === undefined
    )
    return unscheduled ? this.#groupAt + this.timings.streamOpenAtMs : undefined
  }

  /** Streams whose turn it may be, best first. */
  #streams(): RungState[] {
    return this.states
      .filter((state) => isStream(state) && isCandidate(state) && state.group <= this.#group)
      .sort(compareStreams(this.#silent))
  }

  /** Until when the best stream that is open waits for a better one; undefined: there is no such wait. */
  #preferUntil(): number | undefined {
    if (this.established !== undefined || this.states.some(isActive)) return undefined
    const streams = this.#streams()
    const open = streams.find((state) => state.phase === 'open')
    if (open === undefined || open === streams[0]) return undefined
    return Math.max(this.#freeAt, open.openedAt) + this.timings.streamPreferMs
  }

  #startBestStream(now: number): void {
    if (this.states.some(isActive)) return
    const streams = this.#streams()
    const best = streams[0]
    if (best?.phase === 'parked') this.open(now, best)
    const open = streams.find((state) => state.phase === 'open')
    if (open !== undefined && (open === best || now >= (this.#preferUntil() ?? now))) this.startIke(now, open)
  }

  #checkExhausted(now: number): void {
    if (this.states.some((state) => isActive(state) || (isCandidate(state) && !isLastResort(state)))) return
    const resorts = this.states.filter(isLastResort)
    for (const state of resorts) this.open(now, state)
    if (resorts.length > 0) return
    if (this.states.some((state) => state.phase === 'late' && state.deadline !== undefined)) return
    this.finish(now, { type: 'exhausted', reports: this.journal.failures() })
  }

  open(now: number, state: RungState): void {
    if (this.journal.mentions(state.rung)) state.reopensLeft--
    else this.journal.report(now, state.rung, 'trying', null, '')
    state.phase = 'opening'
    state.deadline = now + this.timings.streamOpenMs
    this.journal.put({ type: 'open', rung: state.rung })
  }

  startIke(now: number, state: RungState): void {
    const { streamIkeMs, udpGiveUpMs, udpLeastMs } = this.timings
    this.journal.put({ type: 'start-ike', rung: state.rung, resume: state.resume })
    state.phase = 'ike'
    state.resume = false
    state.doubtUntil = undefined
    state.proven = false
    state.ikeAt = now
    state.deadline = isStream(state)
      ? now + streamIkeMs
      : Math.max(this.#groupAt + udpGiveUpMs, now + udpLeastMs)
  }

  mayTakeSession(state: RungState): boolean {
    return state.phase === 'ike' || (state.phase === 'late' && !state.returned)
  }

  /** UDP that answers ends what goes on elsewhere; a stream that answers leaves UDP its chance. */
  takeSession(state: RungState): void {
    if (state.phase === 'late') state.returned = true
    state.phase = 'answered'
    if (isStream(state)) return
    for (const other of this.states) {
      if (other === state) continue
      if (hasIke(other)) this.supersede(other)
      else if (!isStream(other) && (other.phase === 'waiting' || other.phase === 'opening')) this.park(other)
    }
  }

  /** UDP need not wait for its turn, nor does what worked here before; unless a session is well under way. */
  startsAtOnce(state: RungState): boolean {
    if (isStream(state) && !state.rung.remembered) return false
    return !this.states.some(
      (other) =>
        other !== state &&
        isActive(other) &&
        (other.phase === 'answered' || (isStream(other) === isStream(state) && isStream(state)))
    )
  }

  /** Sets a rung aside while another one of its transport has the session. */
  park(state: RungState): void {
    if (state.phase !== 'waiting') this.journal.close(state.rung)
    state.phase = 'parked'
    state.deadline = undefined
  }

  supersede(state: RungState): void {
    this.discard(state, 'superseded')
    state.phase = state.reopensLeft > 0 ? 'parked' : 'failed'
  }

  /** Ends the rung's IKE session, if it has one, and its connection. */
  discard(state: RungState, reason: AbandonReason): void {
    if (hasIke(state)) this.journal.abandon(state.rung, reason)
    this.journal.close(state.rung)
    state.deadline = undefined
    state.resume = false
  }

  fail(now: number, state: RungState, failure: TransportFailure): void {
    const { transport } = state.rung
    if (SILENCE.has(failure.code)) this.#silent.set(transport, (this.#silent.get(transport) ?? 0) + 1)
    // What was given up has been reported then.
    if (state.phase !== 'late') this.journal.report(now, state.rung, 'failed', failure.code, failure.message)
    if (hasIke(state)) this.discard(state, SILENCE.has(failure.code) ? 'silent' : 'failed')
    state.phase = 'failed'
    state.deadline = undefined
    this.#freeAt = now
    if (!isStream(state) && !SILENCE.has(failure.code)) this.#unpark(state.rank)
    // The next address need not wait any longer (RFC 8305 section 5).
    const next = this.states.find(
      (other) => other.rank === state.rank && other.phase === 'waiting' && other.deadline !== undefined
    )
    if (next !== undefined) next.deadline = now
    if (this.#group < 0 && this.established === undefined) this.enterGroup(now, 0)
  }

  /** The session of another address ended for reasons that need not hold for these. */
  #unpark(rank: number): void {
    for (const state of this.states) {
      if (state.rank !== rank || state.phase !== 'parked') continue
      state.phase = 'waiting'
      state.deadline = this.#groupAt
    }
  }

  loseEstablished(now: number, state: RungState, failure: TransportFailure): void {
    this.established = undefined
    this.holdUntil = undefined
    this.fail(now, state, failure)
    if (this.#group >= 0) this.#schedule(now, this.#group)
    this.advance(now)
  }

  /** Closes the streams that were opened and not used; they may be opened again. */
  #releaseHeld(now: number): void {
    this.holdUntil = undefined
    for (const state of this.states) {
      if (state.phase !== 'opening' && state.phase !== 'open') continue
      this.discard(state, 'superseded')
      state.phase = 'parked'
      this.journal.conclude(now, state.rung)
    }
  }

  finish(now: number, verdict: LadderOutput | undefined): void {
    this.#releaseHeld(now)
    for (const state of this.states) if (state !== this.established && hasIke(state)) this.supersede(state)
    for (const state of this.states) if (state !== this.established) this.journal.conclude(now, state.rung)
    this.over = true
    if (verdict !== undefined) this.journal.put(verdict)
  }

  find(id: number): RungState | undefined {
    return this.states.find((state) => state.rung.id === id)
  }
}
