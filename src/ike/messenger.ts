/**
 * Between messages and packets: seals what tasks and responders made and emits it; opens what came in.
 * @module
 */

import type { Path } from '../wire/endpoint.ts'
import { decodePayloads, encodeMessage, type MessageResult } from '../wire/ike-codec.ts'
import { PayloadType } from '../wire/ike-constants.ts'
import { formatIkeMessage } from '../wire/ike-format.ts'
import type { EncryptedFragmentPayload, EncryptedPayload, Payload } from '../wire/ike-message.ts'
import type { Packets } from './exchange-manager.ts'
import type { Draft, IkeSa } from './ike-sa.ts'
import { MARKER_AND_UDP_OVERHEAD } from './options.ts'
import type { SessionState } from './session-state.ts'

const IPV4_HEADER_LENGTH = 20
const IPV6_HEADER_LENGTH = 40

/** `undefined`: there is no path to send on; else whether it is a stream. */
export function reliability(state: SessionState): boolean | undefined {
  return state.path === undefined || state.pathLost ? undefined : state.path.reliable
}

/** Largest IKE message for a path; undefined: no limit (streams: RFC 9329 section 7.5, or no RFC 7383 at the peer). */
export function maxMessageLength(state: SessionState, path: Path | undefined): number | undefined {
  if (path === undefined || path.reliable || !state.features.fragmentation) return undefined
  const ipHeader = path.remote.address.includes(':') ? IPV6_HEADER_LENGTH : IPV4_HEADER_LENGTH
  return state.config.fragmentSize - ipHeader - MARKER_AND_UDP_OVERHEAD
}

/** Starts an exchange: takes the window and sends the request. */
export function sendRequest(state: SessionState, sa: IkeSa, draft: Draft): void {
  const { exchangeType, payloads, outer = [], isSync = false } = draft
  const header = sa.header(exchangeType, false, isSync ? 0 : sa.exchanges.nextRequestId)
  logSent(state, header, payloads)
  const maxLength = isSync ? undefined : maxMessageLength(state, state.path)
  const packets = sa.protection?.seal(header, payloads, maxLength, outer) ?? []
  if (isSync) sa.exchanges.beginSync(state.now, exchangeType, packets, reliability(state))
  else sa.exchanges.begin(state.now, exchangeType, packets, reliability(state))
  emitPackets(state, packets, state.path)
  armRetransmission(state, sa)
}

/** Sends IKE_SA_INIT, or what stands for it: a request without protection; @returns its bytes, which AUTH signs. */
export function sendInitRequest(
  state: SessionState,
  sa: IkeSa,
  { exchangeType, payloads }: Draft
): Uint8Array {
  // SPIr is zero in every request of this exchange, whatever an answer to an earlier one said.
  const header = { ...sa.header(exchangeType, false, 0), spiR: 0n }
  logSent(state, header, payloads)
  const message = encodeMessage({ header, payloads })
  sa.exchanges.restart(state.now, exchangeType, [message], reliability(state))
  emitPackets(state, [message], state.path)
  armRetransmission(state, sa)
  return message
}

/** Answers a request and keeps the answer for its duplicates. */
export function sendResponse(
  state: SessionState,
  sa: IkeSa,
  request: { readonly exchangeType: number; readonly messageId: number },
  payloads: readonly Payload[],
  path: Path
): void {
  const header = sa.header(request.exchangeType, true, request.messageId)
  logSent(state, header, payloads)
  const packets = sa.protection?.seal(header, payloads, maxMessageLength(state, path)) ?? []
  sa.exchanges.storeResponse(packets)
  emitPackets(state, packets, path)
}

export function emitPackets(state: SessionState, packets: Packets, path: Path | undefined): void {
  if (path === undefined || (state.pathLost && path.id === state.path?.id)) return
  for (const message of packets) state.emit({ type: 'send', path, message })
}

/** Keeps the session's timer in step with the exchange manager's deadline. */
export function armRetransmission(state: SessionState, sa: IkeSa): void {
  const { deadline } = sa.exchanges
  if (deadline === undefined) state.timers.clear('retransmit', sa.number)
  else state.timers.set('retransmit', sa.number, deadline)
}

/** A message whose header and cleartext payloads are sound. */
export type Decoded = Extract<MessageResult, { ok: true }>

export type Opened =
  /** A whole message. */
  | { readonly kind: 'message'; readonly payloads: readonly Payload[] }
  /** Authentic, and more fragments are needed. */
  | { readonly kind: 'fragment' }
  /** Authentic, and malformed inside. */
  | { readonly kind: 'malformed'; readonly problem: string }
  /** Not authentic, or of no use: as if it had not come. */
  | { readonly kind: 'dropped' }

/** Opens a protected message; a fragment that completes its message yields the whole. */
export function openMessage(state: SessionState, sa: IkeSa, bytes: Uint8Array, decoded: Decoded): Opened {
  const encrypted = decoded.message.payloads.at(-1)
  const { encryptedOffset } = decoded
  if (encrypted === undefined || encryptedOffset === undefined) return { kind: 'dropped' }
  if (encrypted.type === PayloadType.SK) return openWhole(sa, bytes, encryptedOffset, encrypted)
  if (encrypted.type !== PayloadType.SKF) return { kind: 'dropped' }
  return openFragment(state, sa, bytes, encryptedOffset, encrypted, decoded.message.header)
}

/** Whether a message is authentic, without regard to its contents. */
export function isAuthentic(sa: IkeSa, bytes: Uint8Array, decoded: Decoded): boolean {
  const encrypted = decoded.message.payloads.at(-1)
  if (encrypted === undefined || decoded.encryptedOffset === undefined) return false
  if (encrypted.type !== PayloadType.SK && encrypted.type !== PayloadType.SKF) return false
  return sa.protection?.open(bytes, decoded.encryptedOffset, encrypted) !== undefined
}

function openWhole(sa: IkeSa, bytes: Uint8Array, offset: number, encrypted: EncryptedPayload): Opened {
  const plaintext = sa.protection?.open(bytes, offset, encrypted)
  if (plaintext === undefined) return { kind: 'dropped' }
  return decodeInner(encrypted.firstInner, plaintext)
}

function openFragment(
  state: SessionState,
  sa: IkeSa,
  bytes: Uint8Array,
  offset: number,
  encrypted: EncryptedFragmentPayload,
  header: { readonly isResponse: boolean; readonly messageId: number }
): Opened {
  const { fragmentNumber, totalFragments, firstInner } = encrypted
  const { messageId } = header
  const reassembler = header.isResponse ? sa.responseFragments : sa.requestFragments
  if (!reassembler.wants(messageId, fragmentNumber, totalFragments)) return { kind: 'dropped' }
  const plaintext = sa.protection?.open(bytes, offset, encrypted)
  if (plaintext === undefined) return { kind: 'dropped' }
  const whole = reassembler.add(state.now, {
    messageId,
    fragmentNumber,
    totalFragments,
    firstInner,
    plaintext
  })
  return whole === undefined ? { kind: 'fragment' } : decodeInner(whole.firstInner, whole.plaintext)
}

function decodeInner(firstInner: number, plaintext: Uint8Array): Opened {
  const result = decodePayloads(firstInner, plaintext)
  plaintext.fill(0)
  if (result.ok) return { kind: 'message', payloads: result.value }
  return { kind: 'malformed', problem: result.error.message }
}

function logSent(
  state: SessionState,
  header: Parameters<typeof formatIkeMessage>[0]['header'],
  payloads: readonly Payload[]
): void {
  state.log('debug', `sending ${formatIkeMessage({ header, payloads })}`)
}
