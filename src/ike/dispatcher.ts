/**
 * What happens with one received IKE message: whose it is, whether it is authentic, request or response, and who
 * answers or processes it (RFC 7296 sections 2.1 to 2.3, 2.21).
 *
 * Invariant: until a message is proved authentic it changes nothing. IKE_SA_INIT, which cannot be, changes a session
 * only while that is what it waits for.
 * @module
 */
import type { IkestreamError } from '../errors.ts'
import type { Path } from '../wire/endpoint.ts'
import { FrameFate } from '../wire/frame-fate.ts'
import { decodeMessage } from '../wire/ike-codec.ts'
import { ExchangeType, NotifyType, PayloadType, ProtocolId } from '../wire/ike-constants.ts'
import { formatIkeHeader, formatIkeMessage } from '../wire/ike-format.ts'
import { findPayload, findUnsupportedCritical, notify } from '../wire/ike-helpers.ts'
import type { Payload } from '../wire/ike-message.ts'
import { noteUse, weighRequest } from './doubt.ts'
import { invalidSyntax, unsupportedCritical } from './failures.ts'
import { Hints } from './hints.ts'
import type { IkeSa, InboundMessage } from './ike-sa.ts'
import { isInit, receiveInit } from './init-dispatcher.ts'
import { type Decoded, emitPackets, isAuthentic, openMessage, sendResponse } from './messenger.ts'
import { CLOSE_PATIENCE_MS } from './options.ts'
import { checkPayloads } from './payload-rules.ts'
import { finishTask } from './scheduler.ts'
import type { SessionState } from './session-state.ts'
import { type AuthAnswer, AuthResponder } from './tasks/auth-response.ts'
import { answerCreateChild } from './tasks/create-child-response.ts'
import { isIkeDelete } from './tasks/delete.ts'
import { answerIkeRekey, followCollision } from './tasks/ike-rekey.ts'
import { answerInformational, isAddressUpdate } from './tasks/informational.ts'
import { receiveSync } from './tasks/message-id-sync.ts'
import { followPath, syncPath } from './tasks/path.ts'

/** A response that waits for something outside (TLS inside EAP). */
interface PendingAnswer {
  readonly sa: IkeSa
  readonly messageId: number
  readonly path: Path
}

export class Dispatcher {
  readonly #state: SessionState
  #auth: AuthResponder | undefined
  #pending: PendingAnswer | undefined
  readonly #hints: Hints

  constructor(state: SessionState) {
    this.#state = state
    this.#hints = new Hints(state)
  }

  /** @returns what it says about a stream that it came on */
  receive(bytes: Uint8Array, path: Path): FrameFate {
    const state = this.#state
    const decoded = decodeMessage(bytes)
    if (!decoded.ok) {
      state.log('debug', `dropped an IKE message: ${decoded.error.message}`)
      return FrameFate.BROKEN
    }
    const { header } = decoded.message
    if (isInit(header.exchangeType)) {
      receiveInit(state, bytes, decoded, path)
      return FrameFate.UNKNOWN
    }
    if (decoded.encryptedOffset === undefined) {
      this.#hints.receive(decoded, path)
      return FrameFate.UNKNOWN
    }
    const sa = state.sas.find(
      (candidate) =>
        candidate.isInitiator !== header.fromInitiator &&
        candidate.spiI === header.spiI &&
        candidate.spiR === header.spiR
    )
    if (sa === undefined || sa.protection === undefined) {
      state.log('debug', `dropped ${formatIkeHeader(header)}: no IKE SA has its SPIs`)
      return FrameFate.STRANGE
    }
    return header.isResponse
      ? this.#receiveResponse(sa, bytes, decoded)
      : this.#receiveRequest(sa, bytes, decoded, path)
  }

  /** Goes on with an answer that had to wait. */
  resume(): void {
    const pending = this.#pending
    if (pending === undefined || this.#auth === undefined) return
    this.#pending = undefined
    this.#sendAuthAnswer(pending.sa, pending.messageId, this.#auth.resume(), pending.path)
  }

  dispose(): void {
    this.#auth?.dispose()
  }

  // ---- responses

  #receiveResponse(sa: IkeSa, bytes: Uint8Array, decoded: Decoded): FrameFate {
    const state = this.#state
    const { header } = decoded.message
    const task = sa.active
    if (task === undefined || !sa.exchanges.expectsResponse(header.messageId, header.exchangeType)) {
      state.log('debug', `dropped ${formatIkeHeader(header)}: not waited for`)
      return FrameFate.UNKNOWN
    }
    const opened = openMessage(state, sa, bytes, decoded)
    if (opened.kind === 'dropped') {
      state.log('debug', `dropped ${formatIkeHeader(header)}: not authentic`)
      return FrameFate.BROKEN
    }
    state.noteReceived()
    noteUse(state, sa, task.name === 'counter-sync')
    if (opened.kind === 'fragment') return FrameFate.GOOD
    const problem =
      opened.kind === 'malformed' ? opened.problem : this.#problemIn(header, opened.payloads, true)
    if (opened.kind === 'malformed' || problem !== undefined) {
      // Nothing may be sent about a bad response; the state of both ends cannot be trusted any more (section 2.21).
      this.#failOn(invalidSyntax(problem ?? 'it cannot be decoded'))
      return FrameFate.GOOD
    }
    const { payloads } = opened
    const critical = findUnsupportedCritical(payloads)
    if (critical !== undefined) {
      this.#failOn(unsupportedCritical(critical.payloadType))
      return FrameFate.GOOD
    }
    state.log('debug', `received ${formatIkeMessage({ header, payloads })}`)
    finishTask(state, sa, task, task.process(sa, { header, payloads, raw: bytes }))
    return FrameFate.GOOD
  }

  // ---- requests

  #receiveRequest(sa: IkeSa, bytes: Uint8Array, decoded: Decoded, path: Path): FrameFate {
    const state = this.#state
    const { header } = decoded.message
    if (state.config.role === 'initiator' && !state.established) {
      // A gateway's first request may overtake its last IKE_AUTH response: it will come again.
      state.log('debug', `dropped ${formatIkeHeader(header)}: not authenticated yet`)
      return FrameFate.UNKNOWN
    }
    if (header.messageId === 0 && state.established && receiveSync(state, sa, bytes, decoded, path))
      return FrameFate.UNKNOWN
    const kind = sa.exchanges.classifyRequest(header.messageId)
    if (sa.awaitsSync && !this.#mayAnswerUnsynchronised(sa, bytes, decoded, path)) return FrameFate.UNKNOWN
    if (kind === 'answered') {
      this.#repeatAnswer(sa, bytes, decoded, path)
      return FrameFate.UNKNOWN
    }
    if (kind !== 'new') {
      state.log('debug', `dropped ${formatIkeHeader(header)}: ${kind}`)
      return FrameFate.UNKNOWN
    }
    const opened = openMessage(state, sa, bytes, decoded)
    if (opened.kind === 'dropped') {
      state.log('debug', `dropped ${formatIkeHeader(header)}: not authentic`)
      return FrameFate.BROKEN
    }
    state.noteReceived()
    if (opened.kind === 'fragment') return FrameFate.GOOD
    sa.exchanges.accept()
    if (opened.kind === 'malformed') {
      this.#rejectRequest(sa, header, notify(NotifyType.INVALID_SYNTAX), path, invalidSyntax(opened.problem))
      return FrameFate.GOOD
    }
    this.#answerRequest(sa, { header, payloads: opened.payloads, raw: bytes }, path)
    return FrameFate.GOOD
  }

  /**
   * After a failover, until Message IDs are synchronised, a request may be old or new: nothing of it is believed but that
   * there is somebody (RFC 6311 section 8.1), who is asked to synchronise where it came from. What was answered before
   * may be answered again.
   */
  #mayAnswerUnsynchronised(sa: IkeSa, bytes: Uint8Array, decoded: Decoded, path: Path): boolean {
    const { messageId } = decoded.message.header
    if (!isAuthentic(sa, bytes, decoded)) return false
    syncPath(this.#state, sa, path)
    return sa.exchanges.classifyRequest(messageId) === 'answered'
  }

  #answerRequest(sa: IkeSa, request: InboundMessage, path: Path): void {
    const state = this.#state
    const { header, payloads } = request
    state.log('debug', `received ${formatIkeMessage(request)}`)
    const critical = findUnsupportedCritical(payloads)
    if (critical !== undefined) {
      const data = Uint8Array.of(critical.payloadType)
      this.#reply(sa, header, [notify(NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD, data)], path)
      return
    }
    const problem = this.#problemIn(header, payloads, false)
    if (problem !== undefined) {
      this.#rejectRequest(sa, header, notify(NotifyType.INVALID_SYNTAX), path, invalidSyntax(problem))
      return
    }
    if (header.exchangeType === ExchangeType.IKE_AUTH) {
      this.#answerAuth(sa, request, path)
      return
    }
    if (state.established) followPath(state, path, isAddressUpdate(payloads))
    if (!isIkeDelete(payloads)) followCollision(state, sa)
    noteUse(state, sa, isIkeDelete(payloads))
    weighRequest(state, sa, request)
    if (header.exchangeType === ExchangeType.INFORMATIONAL) {
      const answer = answerInformational(state, sa, request, path)
      this.#reply(sa, header, answer.payloads, path)
      answer.afterSending?.()
      return
    }
    const isIkeRekey =
      findPayload(payloads, PayloadType.SA)?.proposals.every(
        ({ protocolId }) => protocolId === ProtocolId.IKE
      ) ?? false
    if (!isIkeRekey) {
      this.#reply(sa, header, answerCreateChild(state, sa, request), path)
      return
    }
    const answer = answerIkeRekey(state, sa, request)
    this.#reply(sa, header, answer.payloads, path)
    answer.afterSending?.()
  }

  #answerAuth(sa: IkeSa, request: InboundMessage, path: Path): void {
    const state = this.#state
    if (state.config.role !== 'responder' || sa.state !== 'CONNECTING') {
      this.#reply(sa, request.header, [notify(NotifyType.INVALID_SYNTAX)], path)
      return
    }
    // From here on the peer's address is where its IKE_AUTH came from: the NAT traversal port (section 2.23).
    state.path = path
    state.authPath ??= path
    this.#auth ??= new AuthResponder(state, state.config)
    this.#sendAuthAnswer(sa, request.header.messageId, this.#auth.respond(sa, request), path)
  }

  #sendAuthAnswer(sa: IkeSa, messageId: number, answer: AuthAnswer, path: Path): void {
    const state = this.#state
    if (answer.kind === 'wait') {
      this.#pending = { sa, messageId, path }
      state.emit({ type: 'wait', until: answer.until })
      return
    }
    this.#reply(sa, { exchangeType: ExchangeType.IKE_AUTH, messageId }, answer.payloads, path)
    if (answer.kind === 'reply') return
    // The answer may get lost: stay a little to repeat it, then end.
    sa.advance('delete-sent')
    state.timers.clear('half-open', 0)
    state.closing = { reason: answer.reason, error: answer.error }
    state.after('close', 0, CLOSE_PATIENCE_MS)
  }

  /** A duplicate of the last request gets the same answer, where it came from (section 2.1, RFC 7383 section 2.6.1). */
  #repeatAnswer(sa: IkeSa, bytes: Uint8Array, decoded: Decoded, path: Path): void {
    const encrypted = decoded.message.payloads.at(-1)
    if (encrypted?.type === PayloadType.SKF && encrypted.fragmentNumber !== 1) return
    if (!isAuthentic(sa, bytes, decoded)) return
    this.#state.log('debug', `repeating the answer to ${formatIkeHeader(decoded.message.header)}`)
    emitPackets(this.#state, sa.exchanges.storedResponse, path)
  }

  #problemIn(
    header: InboundMessage['header'],
    payloads: readonly Payload[],
    isResponse: boolean
  ): string | undefined {
    // INFORMATIONAL may come early: the initiator could not believe us (section 2.21.2).
    const isForSetup =
      header.exchangeType === ExchangeType.IKE_AUTH || header.exchangeType === ExchangeType.INFORMATIONAL
    const isEarly = !this.#state.established && !isForSetup
    if (isEarly && this.#state.closing === undefined) return 'it came before authentication'
    return checkPayloads(header.exchangeType, isResponse, payloads)
  }

  #reply(
    sa: IkeSa,
    request: { readonly exchangeType: number; readonly messageId: number },
    payloads: readonly Payload[],
    path: Path
  ): void {
    // Authentication may have ended the session in between.
    if (!sa.isDead) sendResponse(this.#state, sa, request, payloads, path)
  }

  /** INVALID_SYNTAX is the end of the IKE SA at both ends (section 2.21.3). */
  #rejectRequest(
    sa: IkeSa,
    header: InboundMessage['header'],
    error: Payload,
    path: Path,
    reason: IkestreamError
  ): void {
    this.#reply(sa, header, [error], path)
    this.#failOn(reason)
  }

  #failOn(error: IkestreamError): void {
    this.#state.log('error', error.message)
    this.#state.end('protocol-error', error)
  }
}
