/**
 * Does one UDP port of the gateway answer IKE_SA_INIT, how quickly, and what stands in the way if it does not?
 * @module
 */
import type { Clock } from '../clock.ts'
import type { RandomSource } from '../crypto/types.ts'
import type { IcmpEvidence, UdpPortEvidence } from '../diagnosis/evidence.ts'
import type { IcmpError } from '../transport/icmp-error.ts'
import type { Proposal } from '../wire/ike-message.ts'
import { Bell } from './bell.ts'
import { answerEvidence, type InitAnswer, InitProbe, REFUSABLE_OFFER } from './init-probe.ts'
import { roundTrip } from './round-trip.ts'
import type { UdpAsker } from './udp-asker.ts'

/** When a question is sent, from the beginning: as a session's IKE_SA_INIT is (`DEFAULT_TIMERS` of the engine). */
const SEND_AT_MS: readonly number[] = [0, 500, 1500]
/** A gateway that wants a cookie or another group has so long to answer what it asked for. */
const ASKED_AGAIN_MS = 1_000
/** Round trips that are measured by repeating an answered question. */
const EXTRA_SAMPLES = 4
/** From the beginning, and none is begun later: on a very long way there are other questions to ask, too. */
const MEASURED_WITHIN_MS = 2_000
/** Between them, so that not all meet the same moment in which this process is busy. */
const SAMPLE_PAUSE_MS = 25
/** A repetition that is not answered within this, or three of the round trips so far, ends the measuring. */
const LEAST_SAMPLE_TIMEOUT_MS = 200
/** More than the way of a satellite. */
const MOST_SAMPLE_TIMEOUT_MS = 1_000
/** How unevenly a network may deliver. */
const STRAGGLER_MS = 50

export interface UdpPortOptions {
  readonly clock: Clock
  readonly random: RandomSource
  readonly signal: AbortSignal
  /** What a session would offer. */
  readonly proposals: readonly Proposal[]
  /** Without an answer this port counts as silent. */
  readonly giveUpMs: number
  /** The first question is one that leaves no state at the gateway; a real one follows only if that is not answered. */
  readonly refusableFirst: boolean
}

export interface UdpPortResult {
  readonly evidence: UdpPortEvidence
  readonly answer: InitAnswer | undefined
  /** The question that was answered. */
  readonly probe: InitProbe | undefined
}

/** @param asker stays open; its owner closes it */
export function askUdpPort(asker: UdpAsker, options: UdpPortOptions): Promise<UdpPortResult> {
  return new UdpPortExchange(asker, options).run()
}

class UdpPortExchange {
  readonly #asker: UdpAsker
  readonly #options: UdpPortOptions
  readonly #bell: Bell
  readonly #startedAt: number
  /** Until then answers to copies of a question may still come. */
  #quietAtMs = 0
  readonly #sentAt = new Map<InitProbe, number[]>()
  readonly #samples: number[] = []
  #answer: InitAnswer | undefined
  #answered: InitProbe | undefined
  /** Answered, but the gateway wants to be asked in another way. */
  #again = false
  #transmissions = 0

  constructor(asker: UdpAsker, options: UdpPortOptions) {
    this.#asker = asker
    this.#options = options
    this.#bell = new Bell(options.clock, options.signal)
    this.#startedAt = options.clock.now()
    asker.onError = () => this.#bell.ring()
  }

  async run(): Promise<UdpPortResult> {
    const [first, later] = this.#questions()
    await this.#untilAnswered(first, later)
    if (this.#again) await this.#askAgain()
    await this.#measure()
    return { evidence: this.#evidence(), answer: this.#answer, probe: this.#answered }
  }

  #questions(): readonly [first: InitProbe, later: InitProbe] {
    const { proposals, random, refusableFirst } = this.#options
    const { remote } = this.#asker.socket
    const real = new InitProbe({ proposals, real: true, remote }, random)
    if (!refusableFirst) return [real, real]
    return [new InitProbe({ proposals: REFUSABLE_OFFER, real: false, remote }, random), real]
  }

  async #untilAnswered(first: InitProbe, later: InitProbe): Promise<void> {
    const { giveUpMs } = this.#options
    for (const probe of new Set([first, later])) this.#listen(probe)
    for (const [index, atMs] of SEND_AT_MS.entries()) {
      if (atMs >= giveUpMs) break
      await this.#waitUntil(this.#startedAt + atMs)
      if (this.#settled) return
      this.#send(index === 0 ? first : later)
    }
    await this.#waitUntil(this.#startedAt + giveUpMs)
  }

  #listen(probe: InitProbe): void {
    this.#asker.listen(probe, (outcome) => {
      // A late answer to the question that asks for nothing must not displace the real one.
      if (this.#answer?.offerWasReal === true && !outcome.answer.offerWasReal) return
      const sent = this.#sentAt.get(probe) ?? []
      const [only] = sent
      const now = this.#options.clock.now()
      // With two of the same on their way nobody knows which one was answered (RFC 6298 section 3).
      if (sent.length === 1 && only !== undefined && outcome.type === 'answer') this.#samples.push(now - only)
      // The answer to the last of them takes no longer than this one to the first has taken, at most.
      const last = sent.at(-1)
      if (sent.length > 1 && only !== undefined && last !== undefined)
        this.#quietAtMs = last + (now - only) + STRAGGLER_MS
      this.#answer = outcome.answer
      this.#answered = probe
      this.#again = outcome.type === 'again'
      this.#bell.ring()
    })
  }

  get #settled(): boolean {
    return this.#answer !== undefined || this.#asker.error !== undefined || this.#options.signal.aborted
  }

  async #waitUntil(atMs: number, done: () => boolean = () => this.#settled): Promise<void> {
    while (!done() && this.#options.clock.now() < atMs) await this.#bell.wait(atMs)
  }

  #send(probe: InitProbe): void {
    if (this.#answer === undefined) this.#transmissions++
    const { clock } = this.#options
    this.#sentAt.set(probe, [...(this.#sentAt.get(probe) ?? []), clock.now()])
    this.#asker.send(probe)
  }

  /** With the cookie, or in the group that was asked for. Where that stays without an answer, the first one stands. */
  async #askAgain(): Promise<void> {
    const { clock } = this.#options
    const probe = this.#answered
    for (let round = 0; this.#again && probe !== undefined && round < 2; round++) {
      this.#again = false
      this.#sentAt.set(probe, [])
      const before = this.#answer
      this.#send(probe)
      const until = clock.now() + ASKED_AGAIN_MS
      await this.#waitUntil(until, () => this.#answer !== before || this.#options.signal.aborted)
    }
  }

  /** An answered question, repeated bit for bit, is answered again and leaves nothing more behind (RFC 7296 section 2.1). */
  async #measure(): Promise<void> {
    const { clock, signal } = this.#options
    const probe = this.#answered
    if (probe === undefined) return
    // An answer to an earlier copy would be taken for a very quick one.
    await this.#waitUntil(this.#quietAtMs, () => signal.aborted)
    const another = (count: number): boolean =>
      count < EXTRA_SAMPLES && clock.now() - this.#startedAt < MEASURED_WITHIN_MS
    for (let count = 0; another(count) && !signal.aborted; count++) {
      await this.#waitUntil(clock.now() + SAMPLE_PAUSE_MS, () => signal.aborted)
      const before = this.#samples.length
      this.#sentAt.set(probe, [])
      const rtt = Math.min(...this.#samples, MOST_SAMPLE_TIMEOUT_MS)
      const patience = Math.min(Math.max(3 * rtt, LEAST_SAMPLE_TIMEOUT_MS), MOST_SAMPLE_TIMEOUT_MS)
      const answer = this.#answer
      this.#send(probe)
      await this.#waitUntil(
        clock.now() + patience,
        () => this.#samples.length > before || this.#answer !== answer || signal.aborted
      )
      if (this.#samples.length === before) return
    }
  }

  #evidence(): UdpPortEvidence {
    const { error, socket } = this.#asker
    const { port } = socket.remote
    const base = { port, rtt: roundTrip(this.#samples), transmissions: this.#transmissions }
    if (this.#answer !== undefined) {
      const answer = answerEvidence(this.#answer)
      return { ...base, outcome: 'answered', reason: null, icmp: null, answer }
    }
    if (error === undefined)
      return { ...base, outcome: 'silent', reason: 'timeout', icmp: null, answer: null }
    const icmp = error.icmp === undefined ? null : icmpEvidence(error.icmp)
    // Without an ICMP error in hand, a refused port is still one: nothing else makes a datagram fail so.
    const isRejected = icmp !== null || error.failure.code === 'port-unreachable'
    // The system has several words for it, by family and by kind: what exactly was said stands in `icmp`.
    const code =
      icmp !== null && icmp.name !== 'port-unreachable' ? 'network-unreachable' : error.failure.code
    return {
      ...base,
      outcome: isRejected ? 'rejected' : 'failed',
      reason: code,
      icmp,
      answer: null
    }
  }
}

function icmpEvidence({ family, type, code, name, from }: IcmpError): IcmpEvidence {
  return { family, type, code, name, from }
}
