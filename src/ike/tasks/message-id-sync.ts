/**
 * The peer's side of Message ID and replay counter synchronisation with a cluster (RFC 6311 section 5).
 *
 * A synchronisation request has Message ID 0 whatever the window says. It is believed only when it raises the
 * cluster's Message ID; a repetition of the last one, octet by octet, is answered again.
 * @module
 */

import type { Path } from '../../wire/endpoint.ts'
import { ExchangeType, NotifyType, PayloadType } from '../../wire/ike-constants.ts'
import { findNotify, notify } from '../../wire/ike-helpers.ts'
import type { Payload } from '../../wire/ike-message.ts'
import type { IkeSa } from '../ike-sa.ts'
import { concat } from '../keymat.ts'
import { armRetransmission, type Decoded, emitPackets, openMessage } from '../messenger.ts'
import type { SessionState } from '../session-state.ts'
import { equalBytes } from './natd.ts'

const SYNC_LENGTH = 12

/** @returns whether the message was a synchronisation request, and as such has been dealt with */
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
  if (opened.kind !== 'message' || !isMessageIdSync(opened.payloads)) return false
  const answer = synchroniseMessageIds(state, sa, opened.payloads)
  if (answer === undefined) {
    state.log('debug', 'dropped a Message ID synchronisation: old, or malformed')
    return true
  }
  state.noteReceived()
  armRetransmission(state, sa)
  const response = sa.protection?.seal(sa.header(header.exchangeType, true, 0), answer) ?? []
  sa.lastSync = { request: Uint8Array.from(bytes), response }
  emitPackets(state, response, path)
  return true
}

/** Whether an INFORMATIONAL request is one: nothing but the two notifies, the first of them there (section 5.1). */
function isMessageIdSync(payloads: readonly Payload[]): boolean {
  const allowed: readonly number[] = [NotifyType.IKEV2_MESSAGE_ID_SYNC, NotifyType.IPSEC_REPLAY_COUNTER_SYNC]
  return (
    findNotify(payloads, NotifyType.IKEV2_MESSAGE_ID_SYNC) !== undefined &&
    payloads.every((payload) => payload.type === PayloadType.NOTIFY && allowed.includes(payload.notifyType))
  )
}

/**
 * Takes over the cluster's counters.
 * @returns the payloads of the response, or undefined: drop the request silently
 */
function synchroniseMessageIds(
  state: SessionState,
  sa: IkeSa,
  payloads: readonly Payload[]
): Payload[] | undefined {
  const data = findNotify(payloads, NotifyType.IKEV2_MESSAGE_ID_SYNC)?.data
  if (!state.features.messageIdSync || data?.length !== SYNC_LENGTH) return undefined
  const view = new DataView(data.buffer, data.byteOffset, SYNC_LENGTH)
  const clusterSends = view.getUint32(4)
  const clusterExpects = view.getUint32(8)
  const { exchanges } = sa
  // "M1 is lower than or equal to the highest value it has seen from the cluster" (section 5.1).
  if (clusterSends < exchanges.expectedRequestId || clusterSends <= (sa.syncedTo ?? -1)) return undefined
  sa.syncedTo = clusterSends
  const nextRequestId = Math.max(clusterExpects, highestUsed(sa) + 1)
  const interrupted = sa.active
  exchanges.synchronise(nextRequestId, clusterSends)
  sa.requestFragments.reset()
  sa.responseFragments.reset()
  sa.active = undefined
  // Section 9 of RFC 6311: do not wait for what is pending; its purpose is pursued under a new Message ID.
  if (interrupted?.interrupted?.(sa)) sa.queue.unshift(interrupted)
  else interrupted?.dispose?.()
  state.log('info', 'Message IDs synchronised with the cluster', { nextRequestId, expects: clusterSends })
  noteReplayCounterSync(state, payloads)
  const reply = new Uint8Array(8)
  const replyView = new DataView(reply.buffer)
  replyView.setUint32(0, nextRequestId)
  replyView.setUint32(4, clusterSends)
  return [notify(NotifyType.IKEV2_MESSAGE_ID_SYNC, concat(data.subarray(0, 4), reply))]
}

/** IPSEC_REPLAY_COUNTER_SYNC: 4 bytes, or 8 with ESN (section 6.4). */
export function noteReplayCounterSync(state: SessionState, payloads: readonly Payload[]): void {
  const data = findNotify(payloads, NotifyType.IPSEC_REPLAY_COUNTER_SYNC)?.data
  if (!state.features.replayCounterSync || (data?.length !== 4 && data?.length !== 8)) return
  const view = new DataView(data.buffer, data.byteOffset, data.length)
  const delta = data.length === 8 ? view.getBigUint64(0) : BigInt(view.getUint32(0))
  state.emit({ type: 'replay-counter-sync', delta })
}

function highestUsed(sa: IkeSa): number {
  return sa.exchanges.outstandingId ?? sa.exchanges.nextRequestId - 1
}
