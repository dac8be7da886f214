/**
 * Judges whether the path in use still carries the tunnel, from what goes out and what comes back (sans-IO).
 *
 * IKE that is answered proves nothing about ESP: gateways exist where one follows a change of path and the other
 * does not, and networks that pass one and drop the other. So ESP is judged by ESP: packets that expect an answer
 * (TCP, echo requests, DNS) went out, and no authenticated ESP came back.
 *
 * Two stages: after `silenceMs` of that the peer is asked with a liveness check (RFC 7296 section 2.4). No answer:
 * the path is dead. Answered, but still no ESP after `espSilenceMs`: the path does not carry ESP. A verdict that turns out
 * wrong (no other path does better either) makes the judge more patient, doubling up to `MAX_PATIENCE_FACTOR`.
 *
 * A path that has carried ESP is not doubted for the silence of whoever is inside: hosts that do not answer are common, networks
 * that begin to drop ESP and go on to pass IKE between the same two ports are not. The peer is asked again, ever less often.
 *
 * A download that stops in full flow leaves nothing unanswered: its receiver only acknowledges what arrives. So a flow
 * that breaks off is a reason to ask, too, but never to say more than that the peer is silent.
 * @module
 */

export interface PathJudgeTimings {
  readonly silenceMs: number
  readonly livenessAnswerMs: number
  readonly espSilenceMs: number
}

export type PathVerdict =
  /** Ask the peer: `asked` follows. */
  | 'ask'
  /** The liveness check was not answered in time. */
  | 'peer-silent'
  /** The peer answers IKE, but no ESP comes back. */
  | 'esp-silent'

const MAX_PATIENCE_FACTOR = 128
/** Fewer unanswered packets than this prove nothing. */
const MIN_UNANSWERED_PACKETS = 3
/** So many packets within `FLOW_WINDOW_MS` are a flow: about 1 Mbit/s. */
const FLOW_PACKETS = 40
const FLOW_WINDOW_MS = 500

export class PathJudge {
  readonly #timings: PathJudgeTimings
  #firstUnansweredAt: number | undefined
  #unanswered = 0
  #askedAt: number | undefined
  #answered = false
  #patience = 1
  #carried = false
  #lastReceivedAt = 0
  #windowStartedAt = 0
  #windowPackets = 0
  /** A flow was coming in, and nothing has come since. */
  #inFlow = false

  constructor(timings: PathJudgeTimings) {
    this.#timings = timings
  }

  /** True once authenticated ESP has arrived since the last `reset`. */
  get carriesEsp(): boolean {
    return this.#carried
  }

  /** `packets` that expect an answer were sent. */
  sent(now: number, packets: number): void {
    if (packets === 0) return
    this.#firstUnansweredAt ??= now
    this.#unanswered += packets
  }

  /** `packets` of authenticated ESP arrived. */
  received(now: number, packets: number): void {
    this.#carried = true
    this.#patience = 1
    this.#clear()
    if (now - this.#windowStartedAt > FLOW_WINDOW_MS) {
      this.#inFlow = this.#windowPackets >= FLOW_PACKETS
      this.#windowStartedAt = now
      this.#windowPackets = 0
    }
    this.#windowPackets += packets
    if (this.#windowPackets >= FLOW_PACKETS) this.#inFlow = true
    this.#lastReceivedAt = now
  }

  asked(now: number): void {
    this.#askedAt = now
    this.#answered = false
  }

  /** Any authenticated IKE answer: the peer lives on this path. */
  livenessAnswered(): void {
    this.#answered = true
    this.#inFlow = false
    this.#windowPackets = 0
  }

  /** A new path is in use: everything starts anew. */
  reset(): void {
    this.#carried = false
    this.#inFlow = false
    this.#windowPackets = 0
    this.#clear()
  }

  /** The last verdict led nowhere better: wait longer before the next. */
  wasWrong(): void {
    this.#patience = Math.min(this.#patience * 2, MAX_PATIENCE_FACTOR)
    this.#clear()
  }

  /** Since when answers, or the rest of a flow, have been missing. */
  get silentSince(): number | undefined {
    if (this.#unanswered >= MIN_UNANSWERED_PACKETS) return this.#firstUnansweredAt
    return this.#inFlow ? this.#lastReceivedAt : undefined
  }

  verdict(now: number): PathVerdict | undefined {
    const since = this.silentSince
    if (since === undefined) return undefined
    if (this.#askedAt === undefined) {
      return now - since >= this.#timings.silenceMs * this.#patience ? 'ask' : undefined
    }
    if (!this.#answered) {
      return now - this.#askedAt >= this.#timings.livenessAnswerMs ? 'peer-silent' : undefined
    }
    if (now - since < this.#timings.espSilenceMs * this.#patience) return undefined
    if (!this.#carried) return 'esp-silent'
    this.wasWrong()
    return undefined
  }

  #clear(): void {
    this.#firstUnansweredAt = undefined
    this.#unanswered = 0
    this.#askedAt = undefined
    this.#answered = false
  }
}
