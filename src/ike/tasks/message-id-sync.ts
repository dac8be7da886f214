/**
 * The peer's side of Message ID and replay counter synchronisation with a cluster (RFC 6311 section 5; where its examples
 * in appendix A say otherwise, section 5.1 holds).
 *
 * A synchronisation request has Message ID 0 whatever the window says. It is believed only when it raises the
 * cluster's Message ID; a repetition of the last one, octet by octet, is answered again.
 * @module
 */

import type { Path } from '../../wire/endpoint.ts'
import { ExchangeType, NotifyType, PayloadType } from '../../wire/ike-constants.ts'
import { findNotifies, findNotify, notify } from '../../wire/ike-helpers.ts'
import type { Payload } from '../../wire/ike-message.ts'
import { noteUse, raiseDoubt } from '../doubt.ts'
import type { IkeSa } from '../ike-sa.ts'
import { armRetransmission, type Decoded, emitPackets, openMessage } from '../messenger.ts'
import type { SessionState } from '../session-state.ts'
import { type MessageIdSync, readMessageIdSync, writeMessageIdSync } from './counter-sync-data.ts'
import { equalBytes } from './natd.ts'

/** @returns whether the message was meant to be a synchronisation request, and as such has been dealt with */
export function receiveSync(
  state: SessionState,
  sa: IkeSa,
  bytes: Uint8Array,
  decoded: Decoded,
  path: Path
): boolean {
  const { header, payloads } = decoded.message
  if (header.exchangeType !== ExchangeType.INFORMATIONAL || !state.features.messageIdSync) return false
  // It must not be fragmented (RFC 7383 section 3).
  if (payloads.at(-1)?.type !== PayloadType.SK) return false
  if (sa.lastSync !== undefined && equalBytes(sa.lastSync.request, bytes)) {
    emitPackets(state, sa.lastSync.response, path)
    return true
  }
  const opened = openMessage(state, sa, bytes, decoded)
  if (opened.kind !== 'message') return false
  if (findNotify(opened.payloads, NotifyType.IKEV2_MESSAGE_ID_SYNC) === undefined) return false
  const request = soundRequest(opened.payloads)
  if (request === undefined || request.sends <= highestSeen(sa)) {
    state.log('debug', 'dropped a Message ID synchronisation: old, or malformed')
    return true
  }
  state.noteReceived()
  noteUse(state, sa, true)
  const answer = synchronise(state, sa, request)
  noteReplayCounterSync(state, opened.payloads)
  const response = sa.protection?.seal(sa.header(header.exchangeType, true, 0), [answer]) ?? []
  sa.lastSync = { request: Uint8Array.from(bytes), response }
  emitPackets(state, response, path)
  return true
}

/** Nothing but the two notifies, each once at most (section 5.1). */
function soundRequest(payloads: readonly Payload[]): MessageIdSync | undefined {
  const [sync, ...others] = findNotifies(payloads, NotifyType.IKEV2_MESSAGE_ID_SYNC)
  const counters = findNotifies(payloads, NotifyType.IPSEC_REPLAY_COUNTER_SYNC)
  if (sync === undefined || others.length > 0 || counters.length > 1) return undefined
  return payloads.length === 1 + counters.length ? readMessageIdSync(sync.data) : undefined
}

/** "The highest value it has seen from the cluster", in synchronisations too, and in parts of messages (section 5.1). */
function highestSeen(sa: IkeSa): number {
  return Math.max(sa.exchanges.expectedRequestId - 1, sa.requestFragments.messageId, sa.syncedTo ?? -1)
}

/** Takes over the cluster's counters; @returns the answer */
function synchronise(state: SessionState, sa: IkeSa, request: MessageIdSync): Payload {
  const { exchanges } = sa
  sa.syncedTo = request.sends
  const nextRequestId = Math.max(request.expects, exchanges.highestUsedId + 1)
  // A synchronisation of ours goes on: both ends failed over at once (appendix A.4).
  const interrupted = sa.active?.name === 'counter-sync' ? undefined : sa.active
  exchanges.synchronise(nextRequestId, request.sends)
  armRetransmission(state, sa)
  sa.requestFragments.reset()
  if (interrupted !== undefined) {
    sa.responseFragments.reset()
    sa.active = undefined
    // Section 9 of RFC 6311: do not wait for what is pending; its purpose is pursued under a new Message ID.
    if (interrupted.interrupted?.(sa)) sa.queue.unshift(interrupted)
    else interrupted.dispose?.()
  }
  raiseDoubt(state, sa)
  state.log('info', 'Message IDs synchronised with the cluster', { nextRequestId, expects: request.sends })
  const answer = { nonce: request.nonce, sends: nextRequestId, expects: request.sends }
  return notify(NotifyType.IKEV2_MESSAGE_ID_SYNC, writeMessageIdSync(answer))
}

/** IPSEC_REPLAY_COUNTER_SYNC: 4 bytes, or 8 with ESN (section 6.4). */
export function noteReplayCounterSync(state: SessionState, payloads: readonly Payload[]): void {
  const data = findNotify(payloads, NotifyType.IPSEC_REPLAY_COUNTER_SYNC)?.data
  if (!state.features.replayCounterSync || (data?.length !== 4 && data?.length !== 8)) return
  const view = new DataView(data.buffer, data.byteOffset, data.length)
  const delta = data.length === 8 ? view.getBigUint64(0) : BigInt(view.getUint32(0))
  state.emit({ type: 'replay-counter-sync', delta })
}
