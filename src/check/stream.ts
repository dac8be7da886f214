/**
 * One stream transport on one way: does it open, is the RFC 9329 prefix taken, does IKE answer inside?
 * @module
 */

import type { TransportOpener } from '../client/open-transport.ts'
import type { Clock } from '../clock.ts'
import type { RandomSource } from '../crypto/types.ts'
import type { StreamEvidence, TlsEvidence } from '../diagnosis/evidence.ts'
import { tlsInfoOf } from '../transport/tls.ts'
import type { Transport, TransportFailure } from '../transport/types.ts'
import type { Proposal } from '../wire/ike-message.ts'
import { Bell } from './bell.ts'
import { answerEvidence, type InitAnswer, InitProbe, REFUSABLE_OFFER } from './init-probe.ts'
import { roundTrip } from './round-trip.ts'

/** Round trips that are measured, with questions that leave nothing behind. */
const SAMPLES = 3
/** A gateway that is silent about what it does not like has so long until it is asked a real question. */
const REFUSABLE_MS = 700
const CLOSE_GRACE_MS = 200

/** Which of several streams asks the one real question, if any is to. */
export interface RealQuestion {
  /** Settles when it is known whether a real question has been answered elsewhere. */
  readonly wanted: Promise<boolean>
  claimed: boolean
}

export interface StreamCheckOptions {
  readonly clock: Clock
  readonly random: RandomSource
  readonly signal: AbortSignal
  readonly proposals: readonly Proposal[]
  readonly opener: TransportOpener
  readonly openTimeoutMs: number
  /** An open stream without an answer to IKE_SA_INIT counts as silent. */
  readonly answerTimeoutMs: number
  /** For opening and asking together. */
  readonly totalMs: number
  /** `connect` would refuse an outer certificate that does not verify. */
  readonly verify: boolean
  readonly anchorsGiven: boolean
  readonly real: RealQuestion
}

export interface StreamTarget {
  readonly transport: 'tcp' | 'tls'
  readonly via: string | null
  /** An address, or a name where a proxy resolves it. */
  readonly address: string
  readonly port: number
}

/** Never rejects. */
export async function checkStream(
  target: StreamTarget,
  options: StreamCheckOptions
): Promise<StreamEvidence> {
  const { clock, opener, signal, openTimeoutMs } = options
  const startedAt = clock.now()
  const candidate = { kind: target.transport, address: target.address }
  const opened = await opener.open(candidate, signal, openTimeoutMs)
  const openMs = Math.round((clock.now() - startedAt) * 100) / 100
  const nothing = { ...target, openMs: null, prefixAccepted: null, answer: null, rtt: null, tls: null }
  if (!('transport' in opened)) {
    const { code, message } = opened.failure
    // Given up because time was up: that is how it looks from here.
    const reason = code === 'closed' ? 'timeout' : code
    return { ...nothing, outcome: 'failed', reason, message }
  }
  const tls = tlsEvidence(opened.transport, options.anchorsGiven)
  if (options.verify && tls?.authorized === false) {
    void opened.transport.close(CLOSE_GRACE_MS)
    const message = `the certificate is not trusted (${tls.problem})`
    return { ...nothing, openMs, tls, outcome: 'failed', reason: 'tls-untrusted', message }
  }
  const left = Math.max(REFUSABLE_MS, options.totalMs - openMs)
  const talk = new StreamTalk(opened.transport, {
    ...options,
    answerTimeoutMs: Math.min(left, options.answerTimeoutMs)
  })
  const heard = await talk.run()
  return { ...nothing, openMs, tls, ...heard }
}

type Heard = Pick<StreamEvidence, 'outcome' | 'reason' | 'message' | 'prefixAccepted' | 'answer' | 'rtt'>

class StreamTalk {
  readonly #transport: Transport
  readonly #options: StreamCheckOptions
  readonly #bell: Bell
  readonly #samples: number[] = []
  readonly #open: { readonly probe: InitProbe; readonly sentAt: number }[] = []
  #answer: InitAnswer | undefined
  #failure: TransportFailure | undefined

  constructor(transport: Transport, options: StreamCheckOptions) {
    this.#transport = transport
    this.#options = options
    this.#bell = new Bell(options.clock, options.signal)
    transport.setHandlers({
      onIke: (message) => this.#receive(message),
      onClose: (failure) => {
        this.#failure = failure
        this.#bell.ring()
      },
      onEsp() {},
      onEspBatchEnd() {},
      onWritable() {}
    })
  }

  async run(): Promise<Heard> {
    const { answerTimeoutMs } = this.#options
    await this.#ask(false, Math.min(REFUSABLE_MS, answerTimeoutMs))
    if (this.#answer === undefined) await this.#ask(true, Math.max(0, answerTimeoutMs - REFUSABLE_MS))
    for (let count = 1; count < SAMPLES && this.#mayGoOn; count++) await this.#ask(false, REFUSABLE_MS)
    await this.#askReal()
    const heard = this.#heard()
    await this.#transport.close(CLOSE_GRACE_MS)
    return heard
  }

  get #mayGoOn(): boolean {
    return this.#answer !== undefined && this.#failure === undefined && !this.#options.signal.aborted
  }

  /** Only where UDP got no answer to what a session would offer, and on one stream alone: it is remembered for a while. */
  async #askReal(): Promise<void> {
    const { real, answerTimeoutMs } = this.#options
    if (!this.#mayGoOn || this.#answer?.offerWasReal === true) return
    if (!(await real.wanted) || real.claimed || !this.#mayGoOn) return
    real.claimed = true
    await this.#ask(true, answerTimeoutMs)
  }

  async #ask(real: boolean, timeoutMs: number): Promise<void> {
    if (this.#failure !== undefined || this.#options.signal.aborted || timeoutMs <= 0) return
    const { clock, random, proposals, signal } = this.#options
    const { path } = this.#transport
    const question = { proposals: real ? proposals : REFUSABLE_OFFER, real, remote: path.remote }
    const entry = { probe: new InitProbe(question, random), sentAt: clock.now() }
    this.#open.push(entry)
    this.#transport.sendIke(entry.probe.message, path)
    const until = clock.now() + timeoutMs
    const done = (): boolean => !this.#open.includes(entry) || this.#failure !== undefined || signal.aborted
    while (!done() && clock.now() < until) await this.#bell.wait(until)
  }

  #receive(message: Uint8Array): void {
    for (const entry of this.#open) {
      const outcome = entry.probe.receive(message)
      if (outcome.type === 'ignored') continue
      if (this.#answer?.offerWasReal !== true || outcome.answer.offerWasReal) this.#answer = outcome.answer
      if (outcome.type === 'again') this.#transport.sendIke(entry.probe.message, this.#transport.path)
      else {
        this.#samples.push(this.#options.clock.now() - entry.sentAt)
        this.#open.splice(this.#open.indexOf(entry), 1)
      }
      this.#bell.ring()
      return
    }
  }

  #heard(): Heard {
    const failure = this.#failure
    if (this.#answer !== undefined) {
      const answer = answerEvidence(this.#answer)
      const rtt = roundTrip(this.#samples)
      return { outcome: 'answered', reason: null, message: null, prefixAccepted: true, answer, rtt }
    }
    const nothing = { answer: null, rtt: null }
    if (failure === undefined || failure.code === 'closed') {
      const message = 'IKE_SA_INIT was not answered'
      return { ...nothing, outcome: 'silent', reason: 'ike-silent', message, prefixAccepted: true }
    }
    const { code: reason, message } = failure
    // It was open: whoever listens there does not want this.
    return { ...nothing, outcome: 'silent', reason, message, prefixAccepted: false }
  }
}

function tlsEvidence(transport: Transport, anchorsGiven: boolean): TlsEvidence | null {
  const info = tlsInfoOf(transport)
  if (info === undefined) return null
  const { protocol, authorized, authorizationError, issuer, subject, fingerprint } = info
  return {
    protocol,
    authorized,
    problem: authorizationError ?? null,
    issuer,
    subject,
    fingerprint,
    anchorsGiven
  }
}
