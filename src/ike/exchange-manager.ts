/**
 * Message IDs, the window of one, retransmission and stored responses of one IKE SA (RFC 7296 sections 2.1 to 2.3,
 * RFC 9329 section 6.2). Knows packets and numbers, nothing of their contents.
 *
 * Invariants: at most one request is outstanding in each direction; a request keeps its bytes until it is answered
 * or abandoned; only the last response is stored.
 * @module
 */
import type { RandomSource } from '../crypto/types.ts'
import { ExchangeType } from '../wire/ike-constants.ts'
import { FIRST_AUTH_ID } from './options.ts'
import type { IkeTimers } from './types.ts'

/** One IKE message: a single packet, or its fragments in order. */
export type Packets = readonly Uint8Array[]

interface OutstandingRequest {
  readonly messageId: number
  /** False for a synchronisation (RFC 6311): its Message ID 0 says nothing about the window. */
  readonly inWindow: boolean
  readonly exchangeType: number
  packets: Packets
  lastSentAt: number
  /** Retransmissions since the path was last changed. */
  tries: number
  onStreamSince: number
}

export type RequestKind =
  /** The next one: process it and call `storeResponse`. */
  | 'new'
  /** Answered already: send the stored response again. */
  | 'answered'
  /** Being processed: say nothing. */
  | 'in-progress'
  /** Outside the window: drop. */
  | 'outside'

export type TimeoutAction = 'retransmit' | 'failed' | 'idle'

export const MAX_MESSAGE_ID = 0xffff_ffff

export class ExchangeManager {
  readonly #timers: IkeTimers
  readonly #random: RandomSource
  #nextRequestId = 0
  #expectedRequestId = 0
  #outstanding: OutstandingRequest | undefined
  #deadline: number | undefined
  #inProgress = false
  #response: Packets = []

  constructor(timers: IkeTimers, random: RandomSource) {
    this.#timers = timers
    this.#random = random
  }

  /** The Message ID of our next request. */
  get nextRequestId(): number {
    return this.#nextRequestId
  }

  /** The Message ID that the peer's next request must have. */
  get expectedRequestId(): number {
    return this.#expectedRequestId
  }

  get outstandingId(): number | undefined {
    return this.#outstanding?.messageId
  }

  /** The highest Message ID that a request of ours has had; -1 before the first. */
  get highestUsedId(): number {
    const request = this.#outstanding
    return request?.inWindow === true ? request.messageId : this.#nextRequestId - 1
  }

  /** How often the outstanding request has been repeated on its path. */
  get repetitions(): number {
    return this.#outstanding?.tries ?? 0
  }

  get outstandingExchange(): number | undefined {
    return this.#outstanding?.exchangeType
  }

  /** The packets of the outstanding request, bit for bit as they were sent. */
  get outstandingPackets(): Packets {
    return this.#outstanding?.packets ?? []
  }

  /** When `timeout` wants to be called. */
  get deadline(): number | undefined {
    return this.#deadline
  }

  /** False once the Message IDs are used up: the IKE SA must be rekeyed or closed (RFC 7296 section 2.2). */
  get hasMessageIds(): boolean {
    return this.#nextRequestId < MAX_MESSAGE_ID
  }

  /** Takes a request on its way. `reliable`: it goes over a stream; undefined: there is no path at the moment. */
  begin(now: number, exchangeType: number, packets: Packets, reliable: boolean | undefined): void {
    this.#take(now, { exchangeType, packets, messageId: this.#nextRequestId, inWindow: true }, reliable)
  }

  /** A synchronisation request, which has Message ID 0 (RFC 6311 section 5.1). It takes the window all the same. */
  beginSync(now: number, exchangeType: number, packets: Packets, reliable: boolean | undefined): void {
    this.#take(now, { exchangeType, packets, messageId: 0, inWindow: false }, reliable)
  }

  /** IKE_SA_INIT, the first or one more with Message ID 0 after COOKIE or INVALID_KE_PAYLOAD (RFC 7296 section 2.6). */
  restart(now: number, exchangeType: number, packets: Packets, reliable: boolean | undefined): void {
    this.abandon()
    this.begin(now, exchangeType, packets, reliable)
  }

  /**
   * The path changed: the request is due on it at once (RFC 4555 section 3.5, RFC 9329 section 6.2) and its
   * retransmission begins anew.
   */
  pathChanged(now: number, reliable: boolean | undefined): void {
    if (this.#outstanding === undefined) return
    this.#outstanding.tries = 0
    this.#outstanding.lastSentAt = now
    this.#outstanding.onStreamSince = now
    this.#arm(now, reliable)
  }

  /** Says what to do now that `deadline` has come. */
  timeout(now: number, reliable: boolean | undefined): TimeoutAction {
    const request = this.#outstanding
    if (request === undefined || this.#deadline === undefined || now < this.#deadline) return 'idle'
    const { retransmitTries, streamRequestTimeoutMs } = this.#timers
    const failed = reliable
      ? now >= request.onStreamSince + streamRequestTimeoutMs
      : request.tries >= retransmitTries
    if (failed) {
      this.#deadline = undefined
      return 'failed'
    }
    request.tries++
    request.lastSentAt = now
    this.#arm(now, reliable)
    return 'retransmit'
  }

  /** True when this is the response that is waited for. */
  expectsResponse(messageId: number, exchangeType: number): boolean {
    return this.#outstanding?.messageId === messageId && this.#outstanding.exchangeType === exchangeType
  }

  /** Milliseconds since the outstanding request was last sent. */
  roundTripMs(now: number): number {
    return now - (this.#outstanding?.lastSentAt ?? now)
  }

  /** The outstanding request was answered. */
  complete(): void {
    const counts = this.#outstanding?.inWindow !== false
    this.abandon()
    if (counts) this.#nextRequestId++
  }

  /** Gives the outstanding request up without using its answer. */
  abandon(): void {
    this.#outstanding = undefined
    this.#deadline = undefined
  }

  classifyRequest(messageId: number): RequestKind {
    if (messageId === this.#expectedRequestId) return this.#inProgress ? 'in-progress' : 'new'
    // The response to the one before is only forgotten when the next one is answered.
    if (messageId === this.#expectedRequestId - 1 && !this.#inProgress) return 'answered'
    return 'outside'
  }

  /** The request with the expected Message ID is being processed. */
  accept(): void {
    this.#inProgress = true
  }

  storeResponse(packets: Packets): void {
    this.#inProgress = false
    this.#response = packets
    this.#expectedRequestId++
  }

  get storedResponse(): Packets {
    return this.#response
  }

  /** Goes on where another member of a cluster was. */
  resumeAt(nextRequestId: number, expectedRequestId: number, response: Packets): void {
    this.#nextRequestId = nextRequestId
    this.#expectedRequestId = expectedRequestId
    this.#response = response
  }

  /** Message IDs of ours below this one count as used. */
  skipTo(nextRequestId: number): void {
    this.#nextRequestId = nextRequestId
  }

  /**
   * RFC 6311 section 5.1: continue with these Message IDs, forgetting what was outstanding in the window. A
   * synchronisation of our own goes on (both ends failed over at once).
   */
  synchronise(nextRequestId: number, expectedRequestId: number): void {
    if (this.#outstanding?.inWindow === true) this.abandon()
    this.#nextRequestId = nextRequestId
    this.#expectedRequestId = expectedRequestId
    this.#inProgress = false
    this.#response = []
  }

  #take(
    now: number,
    request: Pick<OutstandingRequest, 'messageId' | 'inWindow' | 'exchangeType' | 'packets'>,
    reliable: boolean | undefined
  ): void {
    this.#outstanding = {
      ...request,
      lastSentAt: now,
      tries: 0,
      onStreamSince: now
    }
    this.#arm(now, reliable)
  }

  #arm(now: number, reliable: boolean | undefined): void {
    const request = this.#outstanding
    if (request === undefined || reliable === undefined) {
      this.#deadline = undefined
      return
    }
    const { retransmitTimeoutMs, retransmitBase, streamRequestTimeoutMs } = this.#timers
    if (reliable) {
      const { streamRetransmitMs, streamFirstRetransmitMs } = this.#timers
      const pause = isFirstContact(request) ? streamFirstRetransmitMs : streamRetransmitMs
      const at = now + pause * 2 ** request.tries
      this.#deadline = Math.min(at, request.onStreamSince + streamRequestTimeoutMs)
      return
    }
    this.#deadline = now + this.#jittered(retransmitTimeoutMs * retransmitBase ** request.tries)
  }

  #jittered(delayMs: number): number {
    const [sample = 0] = this.#random.bytes(1)
    return delayMs * (1 + this.#timers.retransmitJitter * (sample / 255))
  }
}

/** Nothing that the peer has proved to have said can have come yet. */
function isFirstContact({ exchangeType, messageId }: OutstandingRequest): boolean {
  if (exchangeType === ExchangeType.IKE_AUTH) return messageId === FIRST_AUTH_ID
  return exchangeType === ExchangeType.IKE_SA_INIT || exchangeType === ExchangeType.IKE_SESSION_RESUME
}
