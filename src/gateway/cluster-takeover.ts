/**
 * How far a node that takes over jumps, and what that makes of a stored session (RFC 6311 section 5.2).
 *
 * Invariants: no ESP sequence number is used that the other node may have used, since with AEADs it is the nonce; no packet is
 * taken that the other node may have taken, unless the client does not know how to skip numbers. What the client is asked to leave out
 * is never less than what all takeovers have written off of which it has not heard: it would be refused until a rekeying.
 * @module
 */
import type { EspSnapshot } from '../esp/snapshot.ts'
import type { RestoredEsp, RestoreInputs } from '../ike/restore.ts'
import { canSkipSequences } from '../ike/restore.ts'
import type { Path } from '../wire/endpoint.ts'
import type { StoredSession } from './cluster-store.ts'

/**
 * Added to our own sequence numbers: RFC 6311 section 5.2 names it. The other node keeps well below that (see
 * `ClusterReplicator.overstretched`), also if it lives on out of our sight.
 */
export const SEQUENCE_JUMP = 2n ** 30n
/**
 * Asked of the client for its own: more than it can have sent since the other node told its counters last. 16 million packets
 * are a minute at 250,000 a second; too little would only open the replay window a bit, too much wastes numbers.
 */
const REPLAY_DELTA = 2n ** 24n
/** Longer without news, and the client may have sent more. */
const FRESH_COUNTERS_MS = 30_000

/**
 * @param now the time of the takeover, on the clock of the store
 * @param path where the client was; `isOpen`: it can be reached there
 */
export function takeoverOf(
  now: number,
  { snapshot, esp, toldAt, countedAt }: StoredSession,
  path: Path,
  isOpen: boolean
): RestoreInputs {
  const writtenOff = now - countedAt > FRESH_COUNTERS_MS ? SEQUENCE_JUMP : REPLAY_DELTA
  const plain = new Map<number, RestoredEsp>(esp.map((one) => [one.inbound.spi, one]))
  const skips = canSkipSequences(snapshot, plain) && snapshot.features.messageIdSync
  return {
    snapshot,
    esp: new Map(esp.map((one) => [one.inbound.spi, jumped(one, skips ? writtenOff : 0n)])),
    path,
    isOpen,
    ageMs: now - toldAt,
    // The window of the other node stands above what it has written off itself.
    replayDelta: within(esp[0]?.inbound.esn ?? false, writtenOff + snapshot.pendingReplayDelta)
  }
}

const LAST_32 = 2n ** 32n - 1n
const LAST_64 = 2n ** 64n - 1n

function within(esn: boolean, sequence: bigint): bigint {
  const last = esn ? LAST_64 : LAST_32
  return sequence < last ? sequence : last
}

function later({ sequence, esn }: EspSnapshot['inbound'], by: bigint): bigint {
  return within(esn, sequence + by)
}

/** @param writtenOff the client will leave out so many numbers: until then nothing of it can be fresh */
function jumped({ inbound, outbound }: EspSnapshot, writtenOff: bigint): RestoredEsp {
  return {
    inbound: { ...inbound, sequence: later(inbound, writtenOff) },
    // Numbers that have run out are not begun again: nothing is sealed then until the SA is rekeyed.
    outbound: { ...outbound, sequence: later(outbound, SEQUENCE_JUMP) }
  }
}
