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
 * A path that has carried ESP is not doubted for the silence of whoever is inside: hosts that do not answer are common. It takes a
 * witness: somebody who used to answer, was asked, and is silent now (`inner-probes.ts`). That also decides about a download that stops in
 * full flow, which leaves nothing unanswered: its receiver only acknowledges what arrives.
 *
 * Every figure is for a near peer: the round trip, as measured by IKE, comes on top.
 * @module
 */
export interface PathJudgeTimings {
  readonly silenceMs: number
  /** The same for a packet or two. */
  readonly sparseSilenceMs: number
  readonly livenessAnswerMs: number
  readonly espSilenceMs: number
  /** The same where a witness is silent. */
  readonly witnessSilenceMs: number
  /** The same on a path to which only IKE may have followed. */
  readonly movedSilenceMs: number
}

export type PathVerdict =
  /** Ask the peer: `asked` follows. */
  | 'ask'
  /** The liveness check was not answered in time. */
  | 'peer-silent'
  /** The peer answers IKE, but no ESP comes back. */
  | 'esp-silent'

/** Behind a hint that the peer has lost the SA, a genuine answer has this long. */
const HINT_GRACE_MS = 250
const MAX_PATIENCE_FACTOR = 128
/** Fewer unanswered packets than this prove nothing. */
const MIN_UNANSWERED_PACKETS = 3
/** So many packets within `FLOW_WINDOW_MS` are a flow: about 1 Mbit/s. */
const FLOW_PACKETS = 40
const FLOW_WINDOW_MS = 500
/** A round trip longer than this is a measurement that went wrong. */
const MAX_RTT_MS = 3_000

export class PathJudge {
  readonly #timings: PathJudgeTimings
  #firstUnansweredAt: number | undefined
  #unanswered = 0
  #unansweredTraffic = 0
  #askedAt: number | undefined
  /** Since when something was missing when the peer was asked. */
  #doubtedSince: number | undefined
  #hintedAt: number | undefined
  #answered = false
  #patience = 1
  #carried = false
  #lastReceivedAt = 0
  #windowStartedAt = 0
  #windowPackets = 0
  /** A flow was coming in, and nothing has come since. */
  #inFlow = false
  #blockedSince: number | undefined
  #isMoved = false
  #isResigned = false
  #rttMs = 0

  constructor(timings: PathJudgeTimings) {
    this.#timings = timings
  }

  /** True once authenticated ESP has arrived since the last `reset`. */
  get carriesEsp(): boolean {
    return this.#carried
  }

  /** Not only questions of ours: the inner traffic itself waits for answers. */
  get trafficUnanswered(): boolean {
    return this.#unansweredTraffic >= MIN_UNANSWERED_PACKETS
  }

  /** `packets` that expect an answer were sent; `traffic` of them are not ours. */
  sent(now: number, packets: number, traffic = packets): void {
    this.#unansweredTraffic += traffic
    if (packets === 0) return
    this.#firstUnansweredAt ??= now
    this.#unanswered += packets
  }

  /** The transport takes nothing: what has to be sent waits, and cannot be missed. */
  blocked(now: number, isBlocked: boolean): void {
    this.#blockedSince = isBlocked ? (this.#blockedSince ?? now) : undefined
  }

  /** `packets` of authenticated ESP arrived. */
  received(now: number, packets: number): void {
    this.#carried = true
    this.#isResigned = false
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

  /** The peer was asked, because of the silence or for any other reason. */
  asked(now: number): void {
    this.#doubtedSince = this.silentSince ?? this.#firstUnansweredAt
    this.#askedAt = now
    this.#answered = false
  }

  /** The peer was asked and owes an answer. */
  get isAsked(): boolean {
    return this.#askedAt !== undefined && !this.#answered
  }

  /** Somebody says that the peer does not know the SA: if that is wrong, its own answer comes about now. */
  hinted(now: number): void {
    this.#hintedAt ??= now
  }

  /** Any authenticated IKE answer: the peer lives on this path. */
  livenessAnswered(rttMs?: number): void {
    if (rttMs !== undefined) this.noteRoundTrip(rttMs)
    this.#answered = true
    this.#hintedAt = undefined
    this.#forgetFlow()
    // Asked for another reason: all is well.
    if (this.#doubtedSince === undefined && this.#unanswered === 0) this.#clear()
  }

  noteRoundTrip(rttMs: number): void {
    if (rttMs <= MAX_RTT_MS) this.#rttMs = rttMs
  }

  /**
   * A new path is in use: everything starts anew.
   * @param isMoved the SA came from another path, and the peer's IKE has followed: its ESP need not
   */
  reset(isMoved = false): void {
    this.#carried = false
    this.#isMoved = isMoved
    this.#isResigned = false
    this.#forgetFlow()
    this.#clear()
  }

  /** The last verdict led nowhere better: wait longer before the next. */
  wasWrong(): void {
    this.#patience = Math.min(this.#patience * 2, MAX_PATIENCE_FACTOR)
    this.#clear()
  }

  /** ESP comes back over no path at all: nobody inside answers. That is not said again before something arrives. */
  resign(): void {
    this.#isResigned = true
    this.wasWrong()
  }

  /** Since when answers, or the rest of a flow, have been missing. */
  get silentSince(): number | undefined {
    if (this.#unanswered >= MIN_UNANSWERED_PACKETS) return this.#firstUnansweredAt
    if (this.#inFlow) return this.#lastReceivedAt
    return this.#blockedSince === undefined ? undefined : Math.max(this.#blockedSince, this.#lastReceivedAt)
  }

  /** @param witnessSilent somebody does not answer who used to */
  verdict(now: number, witnessSilent = false): PathVerdict | undefined {
    const { movedSilenceMs, livenessAnswerMs } = this.#timings
    if (this.#isMoved && this.#isSilent(now, movedSilenceMs)) return 'esp-silent'
    if (this.#askedAt === undefined) return this.#isTimeToAsk(now) ? 'ask' : undefined
    if (!this.#answered) {
      const untilMs = this.#askedAt + livenessAnswerMs + this.#rttMs
      const hintedMs = (this.#hintedAt ?? Number.POSITIVE_INFINITY) + HINT_GRACE_MS + this.#rttMs
      return now >= Math.min(untilMs, hintedMs) ? 'peer-silent' : undefined
    }
    return this.#espVerdict(now, witnessSilent)
  }

  #isTimeToAsk(now: number): boolean {
    const { silenceMs, sparseSilenceMs } = this.#timings
    const lasts = (since: number | undefined, ms: number): boolean =>
      since !== undefined && now - since >= (ms + this.#rttMs) * this.#patience
    return lasts(this.silentSince, silenceMs) || lasts(this.#firstUnansweredAt, sparseSilenceMs)
  }

  #espVerdict(now: number, witnessSilent: boolean): PathVerdict | undefined {
    const { espSilenceMs, witnessSilenceMs } = this.#timings
    const doubtedMs = now - (this.#doubtedSince ?? this.#firstUnansweredAt ?? now)
    if (witnessSilent && !this.#isResigned && doubtedMs >= (witnessSilenceMs + this.#rttMs) * this.#patience)
      return 'esp-silent'
    if (doubtedMs < (espSilenceMs + this.#rttMs) * this.#patience) return undefined
    if (!this.#carried && !this.#isResigned && this.#unanswered >= MIN_UNANSWERED_PACKETS) return 'esp-silent'
    if (this.#unanswered === 0) this.#clear()
    else this.wasWrong()
    return undefined
  }

  #isSilent(now: number, forMs: number): boolean {
    if (this.#carried || this.#isResigned || this.#unanswered < MIN_UNANSWERED_PACKETS) return false
    return now - (this.#firstUnansweredAt ?? now) >= (forMs + this.#rttMs) * this.#patience
  }

  #forgetFlow(): void {
    this.#inFlow = false
    this.#windowPackets = 0
  }

  #clear(): void {
    this.#firstUnansweredAt = undefined
    this.#unanswered = 0
    this.#unansweredTraffic = 0
    this.#askedAt = undefined
    this.#doubtedSince = undefined
    this.#hintedAt = undefined
    this.#answered = false
  }
}
