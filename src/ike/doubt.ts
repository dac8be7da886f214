/**
 * What a failover leaves in doubt (RFC 6311 section 8.3). A synchronisation of Message IDs buries the exchange that was
 * under way: what the answer to it made, a Child SA or an IKE SA, may be known to the end that answered alone.
 *
 * Invariant: in doubt that end goes on with what both know for sure, the SA that was to be replaced, and keeps the new
 * one ready. What the peer does next shows which of the two it goes on with; nobody has to guess.
 * @module
 */
import { ExchangeType, NotifyType, PayloadType, ProtocolId } from '../wire/ike-constants.ts'
import { espSpiFromBytes, findNotify, findPayloads } from '../wire/ike-helpers.ts'
import type { Payload } from '../wire/ike-message.ts'
import { selectorsContain } from '../wire/traffic-selectors.ts'
import type { ChildSa } from './child-sa.ts'
import type { IkeSa, InboundMessage, MadeByAnswer } from './ike-sa.ts'
import { DOUBT_PATIENCE_MS, REKEY_RETRY_MS } from './options.ts'
import type { SessionState } from './session-state.ts'
import { ChildDeleteTask, isIkeDelete } from './tasks/delete.ts'
import { adoptIkeSa } from './tasks/ike-rekey.ts'

/** Message IDs of this IKE SA were synchronised, or are about to be: what was not confirmed until now is in doubt. */
export function raiseDoubt(state: SessionState, sa: IkeSa): void {
  const made = sa.unconfirmed
  sa.unconfirmed = undefined
  if (made !== undefined) {
    const child = made.what === 'child' ? state.childByNumber(made.number) : undefined
    const next = made.what === 'ike' ? state.ikeSaByNumber(made.number) : undefined
    // Where both ends rekeyed at once, what the peer asked for may be the redundant one: the peer will delete it.
    if (child?.isLive) doubtChild(state, sa, made, child)
    else if (next !== undefined && (sa.successor ?? next) === next) doubtIkeSa(state, sa, made, next)
  }
  if (sa.doubted.length > 0) state.after('doubt', sa.number, DOUBT_PATIENCE_MS)
}

/**
 * An authentic message came on this IKE SA: if it was in doubt whether the peer knows it, that is over.
 * @param isWeak a synchronisation, or a DELETE: does not say that the peer would go on with it
 */
export function noteUse(state: SessionState, sa: IkeSa, isWeak: boolean): void {
  for (const old of state.sas) {
    if (old.unconfirmed?.number === sa.number) old.unconfirmed = undefined
    const made = old.doubted.find(({ number }) => number === sa.number)
    if (made === undefined || (isWeak && made.isContested)) continue
    state.settleDoubt(old, made)
    state.log('info', 'the peer uses the new IKE SA')
    adoptIkeSa(state, old, sa)
  }
}

/** A fresh request of the peer: it has gone on from its last one, and shows what it knows. */
export function weighRequest(state: SessionState, sa: IkeSa, request: InboundMessage): void {
  sa.unconfirmed = undefined
  for (const made of [...sa.doubted]) {
    const child = made.what === 'child' ? state.childByNumber(made.number) : undefined
    if (made.what === 'ike') weighIkeSa(state, sa, made, request.payloads)
    else if (child?.isKnown !== true) state.settleDoubt(sa, made)
    else if (request.header.exchangeType === ExchangeType.CREATE_CHILD_SA)
      weighCreateChild(state, sa, made, child, request.payloads)
    else weighDelete(state, sa, made, child, request.payloads)
  }
}

/** Nobody has shown anything for long: the peer is told that the new one goes, in case that it does know it. */
export function onDoubtExpired(state: SessionState, sa: IkeSa): void {
  for (const made of [...sa.doubted]) {
    const child = made.what === 'child' ? state.childByNumber(made.number) : undefined
    if (made.what === 'ike') deny(state, sa, made)
    else state.settleDoubt(sa, made)
    // Without one to fall back to, it stays.
    if (child?.replaces === undefined) continue
    retryRekeying(state, child.replaces)
    state.enqueue(sa, new ChildDeleteTask(state, [child], 'unknown to the peer'))
  }
}

function doubtChild(state: SessionState, sa: IkeSa, made: MadeByAnswer, child: ChildSa): void {
  noteDoubt(state, sa, made)
  const old = child.replaces
  // A new one has nothing to fall back to: it is sent on, and may be all that there is.
  if (old?.isKnown !== true) return
  state.timers.clear('child-replaced', old.number)
  old.advance('revived')
  state.useOutbound(old)
}

function doubtIkeSa(state: SessionState, old: IkeSa, made: MadeByAnswer, next: IkeSa): void {
  for (const kind of ['ike-rekey', 'ike-expire'] as const) state.timers.clear(kind, next.number)
  state.timers.clear('ike-replaced', old.number)
  // Otherwise it was never adopted: our own rekeying stood against it.
  const wasAdopted = old.advance('revived')
  noteDoubt(state, old, { ...made, isContested: !wasAdopted })
  if (!wasAdopted) return
  old.successor = undefined
  state.current = old
  state.inheritChildren(next, old)
  old.queue.push(...next.queue)
  next.queue = []
  old.doubted.push(...next.doubted)
  next.doubted = []
  state.timers.clear('doubt', next.number)
  const { ikeLifetimeMs } = state.config.timers
  if (ikeLifetimeMs > 0) state.after('ike-expire', old.number, ikeLifetimeMs)
}

function noteDoubt(state: SessionState, sa: IkeSa, made: MadeByAnswer): void {
  sa.doubted.push(made)
  state.log('info', 'the peer may not know of what its last request made', { what: made.what })
}

function weighIkeSa(state: SessionState, old: IkeSa, made: MadeByAnswer, payloads: readonly Payload[]): void {
  // Who knows the new IKE SA says nothing on the old one but that it is to go.
  if (!isIkeDelete(payloads)) {
    deny(state, old, made)
    return
  }
  state.settleDoubt(old, made)
  const next = state.ikeSaByNumber(made.number)
  if (next !== undefined) adoptIkeSa(state, old, next)
}

function weighCreateChild(
  state: SessionState,
  sa: IkeSa,
  made: MadeByAnswer,
  child: ChildSa,
  payloads: readonly Payload[]
): void {
  const named = espSpiFromBytes(findNotify(payloads, NotifyType.REKEY_SA)?.spi ?? new Uint8Array(0))
  const old = child.replaces
  if (old !== undefined) {
    // It asks for what it has been given already.
    if (named !== undefined && state.childByPeerSpi(named) === old) deny(state, sa, made)
    return
  }
  const asked = findPayloads(payloads, PayloadType.TSi)[0]?.selectors ?? []
  if (named !== undefined || asked.length === 0) return
  state.settleDoubt(sa, made)
  if (selectorsContain(asked, child.remoteTs))
    state.enqueue(sa, new ChildDeleteTask(state, [child], 'unknown to the peer'))
}

function weighDelete(
  state: SessionState,
  sa: IkeSa,
  made: MadeByAnswer,
  child: ChildSa,
  payloads: readonly Payload[]
): void {
  const named = findPayloads(payloads, PayloadType.DELETE)
    .filter(({ protocolId }) => protocolId === ProtocolId.ESP)
    .flatMap(({ spis }) => spis.map(espSpiFromBytes))
  const names = (one: ChildSa): boolean => named.includes(one.spiOut)
  // The end of the old one, or of the new one, which only those know who have got our answer.
  if (names(child) || (child.replaces !== undefined && names(child.replaces))) state.settleDoubt(sa, made)
}

/** The peer has shown that it does not know the new one: it vanishes without a word. */
function deny(state: SessionState, sa: IkeSa, made: MadeByAnswer): void {
  const old = made.what === 'child' ? state.childByNumber(made.number)?.replaces : undefined
  state.dropDoubted(sa, made)
  if (made.what === 'ike') state.after('ike-rekey', sa.number, REKEY_RETRY_MS)
  if (old !== undefined) retryRekeying(state, old)
}

/** Its own timer was cleared when it was replaced. */
function retryRekeying(state: SessionState, old: ChildSa): void {
  if (old.isLive) state.after('child-rekey', old.number, REKEY_RETRY_MS)
}
