/**
 * One IKE_SA_INIT that asks a question and is never continued (RFC 7296 section 1.2): its bytes, and what an answer says.
 * No I/O.
 *
 * A question leaves a half-open IKE SA at the gateway when it is accepted, and gateways bound those for each address. So
 * wherever the answer itself is all that counts, `refusableOffer` is sent: an offer that nobody accepts, which is
 * answered with NO_PROPOSAL_CHOSEN and forgotten. A repetition of an accepted question, bit for bit, costs the gateway
 * nothing either: it repeats its answer (section 2.1).
 * @module
 */
import { startKeyExchange } from '../crypto/key-exchange.ts'
import { formatChosenSuite, proposalGroups } from '../crypto/proposal.ts'
import type { RandomSource } from '../crypto/types.ts'
import type { InitAnswerEvidence, InitAnswerKind } from '../diagnosis/evidence.ts'
import { InternalError } from '../errors.ts'
import { MAX_COOKIE_LENGTH, NONCE_LENGTH } from '../ike/options.ts'
import { readUint16List, supportNotifies } from '../ike/tasks/init-common.ts'
import { equalBytes, natDetectionHash } from '../ike/tasks/natd.ts'
import type { Endpoint } from '../wire/endpoint.ts'
import { decodeHeader, decodeMessage, encodeMessage } from '../wire/ike-codec.ts'
import {
  ExchangeType,
  FIRST_STATUS_NOTIFY,
  IntegrityId,
  KeyExchangeId,
  NotifyType,
  nameOf,
  PayloadType,
  PrfId,
  ProtocolId,
  TransformType
} from '../wire/ike-constants.ts'
import {
  findNotifies,
  findNotify,
  findPayload,
  IKE_SPI_LENGTH,
  notify,
  spiFromBytes
} from '../wire/ike-helpers.ts'
import type { Payload, Proposal } from '../wire/ike-message.ts'

/** The last transform number of the range for private use (RFC 7296 section 3.3.2): nobody's cipher. */
const NOBODYS_CIPHER = 65_535
/** A status notify from the range for private use (RFC 7296 section 3.10.1), which everybody ignores. */
const PADDING_NOTIFY = 65_432
/** IKE header; then each payload's own. */
const NOTIFY_PAYLOAD_OVERHEAD = 8

/** An offer that no gateway accepts, so that it leaves no state there. */
export const REFUSABLE_OFFER: readonly Proposal[] = [
  {
    number: 1,
    protocolId: ProtocolId.IKE,
    spi: new Uint8Array(0),
    transforms: [
      { type: TransformType.ENCR, id: NOBODYS_CIPHER },
      { type: TransformType.INTEG, id: IntegrityId.HMAC_SHA2_256_128 },
      { type: TransformType.PRF, id: PrfId.HMAC_SHA2_256 },
      { type: TransformType.KE, id: KeyExchangeId.CURVE25519 }
    ]
  }
]

export interface InitQuestion {
  readonly proposals: readonly Proposal[]
  /** What is offered is what a session would offer. */
  readonly real: boolean
  readonly remote: Endpoint
  /** Of the KE payload; the first group that is offered. */
  readonly group?: number | undefined
  /** A cookie is brought back; as for a question that is real. */
  readonly followCookie?: boolean | undefined
  /** In place of one that is made for that group. */
  readonly publicValue?: Uint8Array | undefined
  /** The message is made at least so long. */
  readonly lengthBytes?: number | undefined
}

export interface InitAnswer extends InitAnswerEvidence {
  /** The gateway's hash of the address and port that it sees us at (RFC 7296 section 2.23). */
  readonly seenAs: Uint8Array | undefined
  /** Its hashes of its own address. */
  readonly itself: readonly Uint8Array[]
  readonly spiR: bigint
  /** INVALID_KE_PAYLOAD: the group that it would have instead. */
  readonly wantedGroup: number | undefined
}

/** What came of a datagram: an answer, a wish to be asked again (`message` has changed), or nothing to do with us. */
export type InitOutcome =
  | { readonly type: 'answer'; readonly answer: InitAnswer }
  | { readonly type: 'again'; readonly answer: InitAnswer }
  | { readonly type: 'ignored' }

const IGNORED: InitOutcome = { type: 'ignored' }

export class InitProbe {
  readonly spiI: bigint
  readonly #question: InitQuestion
  readonly #random: RandomSource
  readonly #nonce: Uint8Array
  #group: number
  #publicValue: Uint8Array
  #cookie: Uint8Array | undefined
  #message: Uint8Array
  #askedAgain = false

  constructor(question: InitQuestion, random: RandomSource) {
    this.#question = question
    this.#random = random
    this.spiI = spiFromBytes(random.bytes(IKE_SPI_LENGTH)) ?? 1n
    this.#nonce = random.bytes(NONCE_LENGTH)
    this.#group = question.group ?? proposalGroups(question.proposals)[0] ?? KeyExchangeId.CURVE25519
    this.#publicValue = question.publicValue ?? publicValueFor(this.#group, random)
    this.#message = this.#build()
  }

  /** The request as it is to be sent now. */
  get message(): Uint8Array {
    return this.#message
  }

  /** @param bytes one IKE message as it came, without non-ESP marker or stream length */
  receive(bytes: Uint8Array): InitOutcome {
    const head = decodeHeader(bytes)
    if (!head.ok || head.header.spiI !== this.spiI) return IGNORED
    if (head.header.majorVersion !== 2) return { type: 'answer', answer: bareAnswer('other-version') }
    const decoded = decodeMessage(bytes)
    if (!decoded.ok) return IGNORED
    const { header, payloads } = decoded.message
    const isAnswer =
      header.isResponse && header.exchangeType === ExchangeType.IKE_SA_INIT && header.messageId === 0
    if (!isAnswer) return IGNORED
    const answer = this.#read(payloads, header.spiR)
    return this.#askAgain(answer, payloads) ? { type: 'again', answer } : { type: 'answer', answer }
  }

  #read(payloads: readonly Payload[], spiR: bigint): InitAnswer {
    const error = findNotifies(payloads).find(({ notifyType }) => notifyType < FIRST_STATUS_NOTIFY)
    const base = {
      ...bareAnswer(kindOf(payloads, error?.notifyType)),
      offerWasReal: this.#question.real,
      spiR
    }
    if (base.kind !== 'accepted') {
      const [wantedGroup] =
        base.kind === 'invalid-ke-payload' && error !== undefined ? readUint16List(error.data) : []
      const name = error === undefined ? null : nameOf(NotifyType, error.notifyType, 'NOTIFY')
      return { ...base, notify: name, wantedGroup }
    }
    const chosen = findPayload(payloads, PayloadType.SA)?.proposals[0]
    return {
      ...base,
      suite: chosen === undefined ? null : formatChosenSuite(chosen, 'ike'),
      fragmentation: findNotify(payloads, NotifyType.IKEV2_FRAGMENTATION_SUPPORTED) !== undefined,
      seenAs: findNotify(payloads, NotifyType.NAT_DETECTION_DESTINATION_IP)?.data,
      itself: findNotifies(payloads, NotifyType.NAT_DETECTION_SOURCE_IP).map(({ data }) => data)
    }
  }

  /** A cookie is brought back, and another group used, once: the real answer then says more. */
  #askAgain(answer: InitAnswer, payloads: readonly Payload[]): boolean {
    const { real, followCookie = real } = this.#question
    if (answer.kind === 'cookie') {
      if (!followCookie || this.#cookie !== undefined) return false
      const cookie = findNotify(payloads, NotifyType.COOKIE)?.data
      if (cookie === undefined || cookie.length === 0 || cookie.length > MAX_COOKIE_LENGTH) return false
      this.#cookie = cookie
      this.#message = this.#build()
      return true
    }
    if (!real || answer.kind !== 'invalid-ke-payload' || this.#askedAgain) return false
    const group = answer.wantedGroup
    if (group === undefined || !proposalGroups(this.#question.proposals).includes(group)) return false
    this.#askedAgain = true
    this.#group = group
    this.#publicValue = publicValueFor(group, this.#random)
    this.#message = this.#build()
    return true
  }

  #build(): Uint8Array {
    const { proposals, remote, lengthBytes } = this.#question
    const header = {
      spiI: this.spiI,
      spiR: 0n,
      majorVersion: 2,
      minorVersion: 0,
      exchangeType: ExchangeType.IKE_SA_INIT,
      fromInitiator: true,
      isResponse: false,
      messageId: 0
    }
    const nowhere = { address: '0.0.0.0', port: 0 }
    const payloads: Payload[] = [
      ...(this.#cookie === undefined ? [] : [notify(NotifyType.COOKIE, this.#cookie)]),
      { type: PayloadType.SA, proposals },
      { type: PayloadType.KE, group: this.#group, data: this.#publicValue },
      { type: PayloadType.NONCE, data: this.#nonce },
      // False on purpose, as a session's is: every gateway then answers as it would answer a session.
      notify(NotifyType.NAT_DETECTION_SOURCE_IP, natDetectionHash(this.spiI, 0n, nowhere)),
      notify(NotifyType.NAT_DETECTION_DESTINATION_IP, natDetectionHash(this.spiI, 0n, remote)),
      ...supportNotifies()
    ]
    const bytes = encodeMessage({ header, payloads })
    const missing = (lengthBytes ?? 0) - bytes.length
    if (missing <= 0) return bytes
    const padding = notify(PADDING_NOTIFY, new Uint8Array(Math.max(0, missing - NOTIFY_PAYLOAD_OVERHEAD)))
    return encodeMessage({ header, payloads: [...payloads, padding] })
  }
}

/** Does the gateway see us at `endpoint`? */
export function isSeenAt(answer: InitAnswer, spiI: bigint, endpoint: Endpoint): boolean {
  const hash = natDetectionHash(spiI, answer.spiR, endpoint)
  return answer.seenAs !== undefined && equalBytes(answer.seenAs, hash)
}

/** Does the gateway say that it is at `endpoint`? */
export function isItself(answer: InitAnswer, spiI: bigint, endpoint: Endpoint): boolean {
  const hash = natDetectionHash(spiI, answer.spiR, endpoint)
  return answer.itself.some((data) => equalBytes(data, hash))
}

/** What of an answer is told. */
export function answerEvidence({
  kind,
  notify,
  suite,
  offerWasReal,
  fragmentation
}: InitAnswer): InitAnswerEvidence {
  return { kind, notify, suite, offerWasReal, fragmentation }
}

function bareAnswer(kind: InitAnswerKind): InitAnswer {
  return {
    kind,
    notify: null,
    suite: null,
    offerWasReal: false,
    fragmentation: null,
    seenAs: undefined,
    itself: [],
    spiR: 0n,
    wantedGroup: undefined
  }
}

function kindOf(payloads: readonly Payload[], error: number | undefined): InitAnswerKind {
  if (findNotify(payloads, NotifyType.COOKIE) !== undefined) return 'cookie'
  if (error === NotifyType.INVALID_KE_PAYLOAD) return 'invalid-ke-payload'
  if (error === NotifyType.NO_PROPOSAL_CHOSEN) return 'no-proposal-chosen'
  if (error === NotifyType.INVALID_MAJOR_VERSION) return 'other-version'
  if (error !== undefined) return 'other-error'
  return findPayload(payloads, PayloadType.SA) === undefined ? 'other-error' : 'accepted'
}

/** The private value is not needed: nothing is ever derived from it. */
function publicValueFor(group: number, random: RandomSource): Uint8Array {
  const exchange = startKeyExchange(group, random)
  if (exchange === undefined)
    throw new InternalError('no-key-exchange', 'The probe offers a key exchange group that cannot be used.')
  const value = Uint8Array.from(exchange.publicValue)
  exchange.dispose()
  return value
}
