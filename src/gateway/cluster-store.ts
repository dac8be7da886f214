/**
 * What a standby knows of the active node's sessions: decoded, ready to go on with.
 *
 * Invariants: keys that are replaced or dropped are overwritten; what cannot be decoded is not kept.
 * @module
 */
import {
  decodeEspSnapshots,
  disposeEspSnapshot,
  type EspCounters,
  type EspSnapshot
} from '../esp/snapshot.ts'
import type { CookieSecrets } from '../ike/cookie.ts'
import type { MessageIds } from '../ike/session.ts'
import { disposeSnapshot, type SessionSnapshot } from '../ike/snapshot.ts'
import { decodeSnapshot } from '../ike/snapshot-codec.ts'
import type { ReplicaMessage } from './cluster-node.ts'
import type { SessionCounters, SessionRecord } from './cluster-protocol.ts'

/** One session of the other node. */
export interface StoredSession {
  readonly snapshot: SessionSnapshot
  readonly esp: readonly EspSnapshot[]
  /** When the session was told; its times count from then. */
  readonly toldAt: number
  /** When its counters were told last. */
  readonly countedAt: number
}

export interface StoreEvents {
  /** A session is there, or is there no longer: once each. What replaces another comes before that goes. */
  onPut(snapshot: SessionSnapshot): void
  onDrop(snapshot: SessionSnapshot): void
  onMalformed(problem: string): void
}

export class ClusterStore {
  readonly #events: StoreEvents
  readonly #sessions = new Map<number, StoredSession>()
  /** Told since `begin`; undefined outside of a copy. */
  #confirmed: Set<number> | undefined
  cookies: { readonly secrets: CookieSecrets; readonly toldAt: number } | undefined

  constructor(events: StoreEvents) {
    this.#events = events
  }

  get size(): number {
    return this.#sessions.size
  }

  apply(now: number, message: ReplicaMessage): void {
    switch (message.type) {
      case 'begin':
        this.#confirmed = new Set()
        return
      case 'put':
        this.#put(now, message.session, message.record)
        return
      case 'drop':
        this.#drop(message.session)
        return
      case 'counters':
        for (const counters of message.sessions) this.#count(now, counters)
        return
      case 'cookies':
        this.cookies = { secrets: message.secrets, toldAt: now }
        return
      case 'complete':
        for (const session of [...this.#sessions.keys()])
          if (this.#confirmed?.has(session) === false) this.#drop(session)
        this.#confirmed = undefined
    }
  }

  /** Everything, which is the caller's from now on; nothing is left. */
  take(): StoredSession[] {
    const all = [...this.#sessions.values()]
    this.#sessions.clear()
    this.#confirmed = undefined
    return all
  }

  /** Forgets everything. */
  clear(): void {
    for (const session of [...this.#sessions.keys()]) this.#drop(session)
    this.#confirmed = undefined
  }

  #put(now: number, session: number, record: SessionRecord): void {
    const snapshot = decodeSnapshot(record.ike)
    const esp = decodeEspSnapshots(record.esp)
    if (!snapshot.ok || !esp.ok) {
      const error = snapshot.ok ? esp : snapshot
      this.#events.onMalformed(error.ok ? '' : error.error.message)
      return
    }
    const before = this.#sessions.get(session)
    this.#confirmed?.add(session)
    this.#sessions.set(session, { snapshot: snapshot.value, esp: esp.value, toldAt: now, countedAt: now })
    this.#events.onPut(snapshot.value)
    if (before === undefined) return
    disposeStored(before)
    this.#events.onDrop(before.snapshot)
  }

  #drop(session: number): void {
    const stored = this.#sessions.get(session)
    if (stored === undefined) return
    this.#sessions.delete(session)
    disposeStored(stored)
    this.#events.onDrop(stored.snapshot)
  }

  #count(now: number, { session, messageIds, esp }: SessionCounters): void {
    const stored = this.#sessions.get(session)
    if (stored === undefined) return
    this.#sessions.set(session, {
      ...stored,
      snapshot: withMessageIds(stored.snapshot, messageIds),
      esp: stored.esp.map((one) => withCounters(one, esp)),
      countedAt: now
    })
  }
}

function withMessageIds(snapshot: SessionSnapshot, messageIds: readonly MessageIds[]): SessionSnapshot {
  const sas = snapshot.sas.map((sa) => {
    const told = messageIds.find(({ number }) => number === sa.number)
    if (told === undefined) return sa
    const { nextRequestId, expectedRequestId } = told
    // The stored answer was to an earlier request.
    const response = expectedRequestId === sa.expectedRequestId ? sa.response : []
    return { ...sa, nextRequestId, expectedRequestId, response }
  })
  return { ...snapshot, sas }
}

function withCounters(snapshot: EspSnapshot, counters: readonly EspCounters[]): EspSnapshot {
  const told = counters.find(({ spiIn }) => spiIn === snapshot.inbound.spi)
  if (told === undefined) return snapshot
  return {
    inbound: { ...snapshot.inbound, sequence: told.received },
    outbound: { ...snapshot.outbound, sequence: told.sent }
  }
}

function disposeStored({ snapshot, esp }: StoredSession): void {
  disposeSnapshot(snapshot)
  for (const one of esp) disposeEspSnapshot(one)
}
