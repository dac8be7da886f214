/**
 * IKE_SA_INIT as it comes in: the one exchange that is neither encrypted nor authenticated (RFC 7296 sections 1.2,
 * 2.1, 2.5). It changes a session only while that is what the session waits for.
 * @module
 */
import type { Path } from '../wire/endpoint.ts'
import { encodeMessage } from '../wire/ike-codec.ts'
import { ExchangeType, NotifyType, nameOf } from '../wire/ike-constants.ts'
import { formatIkeHeader, formatIkeMessage } from '../wire/ike-format.ts'
import { findUnsupportedCritical, notify } from '../wire/ike-helpers.ts'
import type { IkeHeader, Payload } from '../wire/ike-message.ts'
import type { IkeSa, InboundMessage } from './ike-sa.ts'
import { type Decoded, emitPackets } from './messenger.ts'
import { checkPayloads } from './payload-rules.ts'
import { finishTask } from './scheduler.ts'
import type { SessionState } from './session-state.ts'
import { answerInit } from './tasks/init-response.ts'
import { equalBytes } from './tasks/natd.ts'
import { answerResume } from './tasks/resume-response.ts'

/** IKE_SA_INIT, and the exchange that stands for it when a session is resumed (RFC 5723 section 4.3.2). */
export function isInit(exchangeType: number): boolean {
  return exchangeType === ExchangeType.IKE_SA_INIT || exchangeType === ExchangeType.IKE_SESSION_RESUME
}

export function receiveInit(state: SessionState, bytes: Uint8Array, decoded: Decoded, path: Path): void {
  const { header, payloads } = decoded.message
  const problem = checkPayloads(header.exchangeType, header.isResponse, payloads)
  if (problem !== undefined) {
    state.log('debug', `dropped ${formatIkeHeader(header)}: ${problem}`)
    return
  }
  const message: InboundMessage = { header, payloads, raw: Uint8Array.from(bytes) }
  if (header.isResponse) receiveResponse(state, message)
  else receiveRequest(state, message, path)
}

function receiveResponse(state: SessionState, message: InboundMessage): void {
  const sa = state.current
  const task = sa?.active
  const { header, payloads } = message
  if (sa === undefined || task?.name !== 'init' || header.fromInitiator) return
  if (header.spiI !== sa.localSpi || header.messageId !== 0) return
  if (sa.exchanges.outstandingExchange !== header.exchangeType) return
  if (findUnsupportedCritical(payloads) !== undefined) {
    state.log('debug', `dropped ${formatIkeHeader(header)}: unknown critical payload`)
    return
  }
  state.log('debug', `received ${formatIkeMessage(message)}`)
  const outcome = task.process(sa, message)
  if (outcome !== 'ignore') finishTask(state, sa, task, outcome)
}

function receiveRequest(state: SessionState, message: InboundMessage, path: Path): void {
  const { header, payloads } = message
  if (state.config.role !== 'responder' || !header.fromInitiator || header.messageId !== 0) return
  const known = state.sas[0]
  if (known !== undefined) {
    repeatAnswer(state, known, message, path)
    return
  }
  if (header.spiI === 0n || header.spiR !== 0n) return
  state.log('debug', `received ${formatIkeMessage(message)}`)
  state.path = path
  const critical = findUnsupportedCritical(payloads)
  if (critical !== undefined) {
    const data = Uint8Array.of(critical.payloadType)
    refuse(state, header, notify(NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD, data), path)
    return
  }
  const isResumption = header.exchangeType === ExchangeType.IKE_SESSION_RESUME
  const answer = isResumption ? answerResume(state, message, path) : answerInit(state, message, path)
  if (answer.kind === 'refuse') {
    state.log(
      'info',
      `refused ${nameOf(ExchangeType, header.exchangeType)}: ${nameOf(NotifyType, answer.error.notifyType)}`
    )
    refuse(state, header, answer.error, path)
    return
  }
  const { sa } = answer
  state.current = sa
  sa.advance('init')
  const reply = sendUnprotected(state, sa.header(header.exchangeType, true, 0), answer.payloads, path)
  sa.exchanges.storeResponse([reply])
  answer.complete(reply, message.raw)
  state.after('half-open', 0, state.config.timers.halfOpenTimeoutMs)
}

/** The first request once more, octet by octet: its answer got lost. Anything else with its SPI is not for us. */
function repeatAnswer(state: SessionState, sa: IkeSa, message: InboundMessage, path: Path): void {
  const isRepeated = sa.init !== undefined && equalBytes(sa.init.remoteMessage, message.raw)
  if (isRepeated && sa.state === 'CONNECTING' && sa.exchanges.expectedRequestId === 1) {
    emitPackets(state, sa.exchanges.storedResponse, path)
  }
}

/** An error that leaves no state behind: SPIr stays zero. */
function refuse(state: SessionState, request: IkeHeader, error: Payload, path: Path): void {
  sendUnprotected(state, { ...request, fromInitiator: false, isResponse: true }, [error], path)
}

function sendUnprotected(
  state: SessionState,
  header: IkeHeader,
  payloads: readonly Payload[],
  path: Path
): Uint8Array {
  const message = encodeMessage({ header: { ...header, majorVersion: 2, minorVersion: 0 }, payloads })
  state.log('debug', `sending ${formatIkeMessage({ header, payloads })}`)
  state.emit({ type: 'send', path, message })
  return message
}
