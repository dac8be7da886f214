/**
 * What the tasks around CREATE_CHILD_SA share: reading refusals, choosing groups, comparing nonces
 * (RFC 7296 sections 1.3, 2.8.1, 2.25).
 * @module
 */
import { startKeyExchange } from '../../crypto/key-exchange.ts'
import type { KeyExchange } from '../../crypto/types.ts'
import { FIRST_STATUS_NOTIFY, NotifyType, nameOf } from '../../wire/ike-constants.ts'
import { findNotifies } from '../../wire/ike-helpers.ts'
import type { NotifyPayload, Payload } from '../../wire/ike-message.ts'
import { stateOutOfSync } from '../failures.ts'
import type { IkeSa, TaskOutcome } from '../ike-sa.ts'
import {
  MAX_KE_RETRIES,
  TEMPORARY_FAILURE_DELAY_MS,
  TEMPORARY_FAILURE_GIVE_UP_MS,
  TEMPORARY_FAILURE_PAUSE_MS
} from '../options.ts'
import type { SessionState } from '../session-state.ts'
import { readUint16List } from './init-common.ts'

/** The error notify that stands in place of an SA, or undefined. */
export function refusalIn(payloads: readonly Payload[]): NotifyPayload | undefined {
  return findNotifies(payloads).find(({ notifyType }) => notifyType < FIRST_STATUS_NOTIFY)
}

/** TEMPORARY_FAILURE: later, with jitter; after minutes of it both ends no longer agree (section 2.25). */
export function waitOutTemporaryFailure(state: SessionState, sa: IkeSa): TaskOutcome {
  const isAnotherMatter = state.now - sa.temporaryFailureAt > TEMPORARY_FAILURE_PAUSE_MS
  if (isAnotherMatter || sa.temporaryFailureSince === undefined) sa.temporaryFailureSince = state.now
  sa.temporaryFailureAt = state.now
  if (state.now - sa.temporaryFailureSince >= TEMPORARY_FAILURE_GIVE_UP_MS) {
    state.end('protocol-error', stateOutOfSync())
    return 'done'
  }
  return { laterMs: TEMPORARY_FAILURE_DELAY_MS * (1 + state.randomFraction()) }
}

/** Our half of the key exchange of one CREATE_CHILD_SA, and the change of group after INVALID_KE_PAYLOAD. */
export class ExchangeKey {
  readonly #state: SessionState
  readonly #groups: readonly number[]
  #exchange: KeyExchange | undefined
  #retries = 0

  /** @param groups allowed groups; `first` is tried first; none: no PFS */
  constructor(state: SessionState, groups: readonly number[], first: number | undefined) {
    this.#state = state
    this.#groups = groups
    const group = first !== undefined && groups.includes(first) ? first : groups[0]
    if (group !== undefined) this.#exchange = startKeyExchange(group, state.environment.random)
  }

  get current(): KeyExchange | undefined {
    return this.#exchange
  }

  /** @returns false when the peer asks for a group that makes no sense, or too often */
  changeGroup(refusal: NotifyPayload): boolean {
    const [group] = readUint16List(refusal.data)
    this.#retries++
    if (group === undefined || group === this.#exchange?.group || !this.#groups.includes(group)) return false
    if (this.#retries > MAX_KE_RETRIES) return false
    this.#exchange?.dispose()
    this.#exchange = startKeyExchange(group, this.#state.environment.random)
    return this.#exchange !== undefined
  }

  /** A private value is used once: another attempt gets a new one in the same group. */
  renew(): void {
    const group = this.#exchange?.group
    this.#exchange?.dispose()
    this.#exchange = group === undefined ? undefined : startKeyExchange(group, this.#state.environment.random)
  }

  dispose(): void {
    this.#exchange?.dispose()
    this.#exchange = undefined
  }
}

/** The two nonces of an exchange. */
export interface NoncePair {
  readonly nonceI: Uint8Array
  readonly nonceR: Uint8Array
}

/**
 * Whether the SA that `ours` made is the redundant one: it holds the lowest of the four nonces (section 2.8.1).
 */
export function isRedundant(ours: NoncePair, theirs: NoncePair): boolean {
  return compareNonces(lower(ours), lower(theirs)) < 0
}

function lower(pair: NoncePair): Uint8Array {
  return compareNonces(pair.nonceI, pair.nonceR) <= 0 ? pair.nonceI : pair.nonceR
}

/** Octet by octet; of two where one is the beginning of the other, the shorter is lower. */
export function compareNonces(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length)
  for (let index = 0; index < length; index++) {
    const difference = (a[index] ?? 0) - (b[index] ?? 0)
    if (difference !== 0) return difference
  }
  return a.length - b.length
}

export function logRefusal(state: SessionState, what: string, refusal: NotifyPayload): void {
  state.log('warn', `the peer refused ${what}: ${nameOf(NotifyType, refusal.notifyType, 'NOTIFY')}`)
}
