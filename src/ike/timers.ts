/**
 * One table of named deadlines. No callbacks: whoever owns the table asks what is due and acts on the names.
 * @module
 */

export type TimerKind =
  | 'retransmit'
  | 'task-retry'
  | 'half-open'
  | 'init-doubt'
  | 'resume-silence'
  | 'puzzle'
  | 'liveness'
  | 'cluster-liveness'
  | 'ike-rekey'
  | 'ike-expire'
  | 'ike-replaced'
  | 'child-rekey'
  | 'child-expire'
  | 'child-replaced'
  | 'child-grace'
  | 'close'
  | 'reauth'
  | 'auth-expire'
  | 'lost-path'
  | 'doubt'

export interface Deadline {
  readonly kind: TimerKind
  /** What it is about: an IKE SA's or Child SA's local number; 0 for the session itself. */
  readonly subject: number
  /** Milliseconds of the monotonic clock. */
  readonly at: number
}

export class Timers {
  readonly #deadlines = new Map<string, Deadline>()

  /** Sets or moves a deadline; infinite ones are not kept. */
  set(kind: TimerKind, subject: number, at: number): void {
    if (Number.isFinite(at)) this.#deadlines.set(`${kind}:${subject}`, { kind, subject, at })
    else this.clear(kind, subject)
  }

  clear(kind: TimerKind, subject: number): void {
    this.#deadlines.delete(`${kind}:${subject}`)
  }

  at(kind: TimerKind, subject: number): number | undefined {
    return this.#deadlines.get(`${kind}:${subject}`)?.at
  }

  clearAll(): void {
    this.#deadlines.clear()
  }

  /** The earliest deadline, or undefined. */
  next(): number | undefined {
    let earliest: number | undefined
    for (const { at } of this.#deadlines.values()) if (earliest === undefined || at < earliest) earliest = at
    return earliest
  }

  /** Takes out the earliest deadline that is not later than `now`. */
  takeDue(now: number): Deadline | undefined {
    let due: Deadline | undefined
    for (const deadline of this.#deadlines.values()) {
      if (deadline.at <= now && (due === undefined || deadline.at < due.at)) due = deadline
    }
    if (due !== undefined) this.clear(due.kind, due.subject)
    return due
  }
}
