/**
 * The cluster's side of RFC 6311: a member that has taken over agrees with the peer on Message IDs, and asks it to skip
 * ESP sequence numbers (section 5).
 *
 * One request a failover and IKE SA, repeated bit for bit until it is answered; before that the member begins nothing else.
 * @module
 */
import { ExchangeType, NotifyType, PayloadType } from '../../wire/ike-constants.ts'
import { notify } from '../../wire/ike-helpers.ts'
import type { NotifyPayload } from '../../wire/ike-message.ts'
import { MAX_MESSAGE_ID } from '../exchange-manager.ts'
import type { Draft, IkeSa, InboundMessage, Task, TaskOutcome } from '../ike-sa.ts'
import { MESSAGE_ID_JUMP } from '../options.ts'
import type { SessionState } from '../session-state.ts'
import { type MessageIdSync, readMessageIdSync, writeMessageIdSync } from './counter-sync-data.ts'

/** What the peer is asked to add to its outgoing sequence numbers; `esn`: its Child SAs have extended ones. */
export interface ReplayDelta {
  readonly delta: bigint
  readonly esn: boolean
}

/** IKEV2_MESSAGE_ID_SYNC, with IPSEC_REPLAY_COUNTER_SYNC if the peer knows that, too. */
export class MessageIdSyncTask implements Task {
  readonly name = 'counter-sync'
  readonly #state: SessionState
  readonly #replay: ReplayDelta | undefined
  #sent: MessageIdSync | undefined

  constructor(state: SessionState, replay: ReplayDelta | undefined) {
    this.#state = state
    this.#replay = replay
  }

  build(sa: IkeSa): Draft {
    const { exchanges } = sa
    const nonce = this.#state.environment.random.bytes(4)
    // M1 must be larger than any value that has been used; P1 may be what we know, the peer takes the higher one.
    const sends = Math.min(exchanges.nextRequestId + MESSAGE_ID_JUMP, MAX_MESSAGE_ID)
    exchanges.skipTo(sends)
    sa.announcedId = sends
    this.#sent = {
      nonce: new DataView(nonce.buffer, nonce.byteOffset).getUint32(0),
      sends,
      expects: exchanges.expectedRequestId
    }
    const payloads = [notify(NotifyType.IKEV2_MESSAGE_ID_SYNC, writeMessageIdSync(this.#sent))]
    if (this.#replay !== undefined) payloads.push(replaySync(this.#replay))
    return { exchangeType: ExchangeType.INFORMATIONAL, payloads, isSync: true }
  }

  process(sa: IkeSa, response: InboundMessage): TaskOutcome {
    const sent = this.#sent
    const [payload, ...others] = response.payloads
    const isOurs =
      payload?.type === PayloadType.NOTIFY && payload.notifyType === NotifyType.IKEV2_MESSAGE_ID_SYNC
    const answer = isOurs && others.length === 0 ? readMessageIdSync(payload.data) : undefined
    // The answer to another request, or one that would take a counter back: as if it had not come (section 5.1).
    const fits =
      sent !== undefined &&
      answer?.nonce === sent.nonce &&
      answer.expects >= sent.sends &&
      answer.sends >= sent.expects
    if (!fits) return 'ignore'
    const state = this.#state
    const { exchanges } = sa
    exchanges.synchronise(
      Math.max(answer.expects, exchanges.nextRequestId),
      Math.max(answer.sends, exchanges.expectedRequestId)
    )
    sa.awaitsSync = false
    state.pendingReplayDelta = 0n
    sa.requestFragments.reset()
    state.log('info', 'Message IDs synchronised with the peer', {
      nextRequestId: exchanges.nextRequestId,
      expects: exchanges.expectedRequestId
    })
    state.tellPath()
    return 'done'
  }
}

/** IPSEC_REPLAY_COUNTER_SYNC alone, in an exchange like any other (section 5, case 2). */
export class ReplaySyncTask implements Task {
  readonly name = 'replay-sync'
  readonly #replay: ReplayDelta

  constructor(replay: ReplayDelta) {
    this.#replay = replay
  }

  build(): Draft {
    return { exchangeType: ExchangeType.INFORMATIONAL, payloads: [replaySync(this.#replay)] }
  }

  process(): TaskOutcome {
    return 'done'
  }

  interrupted(): boolean {
    return true
  }
}

function replaySync({ delta, esn }: ReplayDelta): NotifyPayload {
  const data = new Uint8Array(esn ? 8 : 4)
  const view = new DataView(data.buffer)
  if (esn) view.setBigUint64(0, delta)
  else view.setUint32(0, Number(delta))
  return notify(NotifyType.IPSEC_REPLAY_COUNTER_SYNC, data)
}
