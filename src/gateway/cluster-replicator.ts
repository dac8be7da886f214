/**
 * The active node's half of replication: tells the standby of every session that has changed, and holds back what the
 * session says until the standby knows (sans-IO).
 *
 * Invariants: no IKE message leaves that follows from a state which the standby, if there is one, does not have; so a takeover
 * never knows less than the client. Message IDs and ESP sequence numbers that move by themselves are told now and then; no
 * sequence number is used that a standby, present or lost, would use when it takes over. What a session says keeps its order.
 * @module
 */
import { createHash } from 'node:crypto'
import type { ChildSa } from '../esp/sad.ts'
import { disposeEspSnapshot, encodeEspSnapshots, espCounters, takeEspSnapshot } from '../esp/snapshot.ts'
import type { IkeSession } from '../ike/session.ts'
import { disposeSnapshot } from '../ike/snapshot.ts'
import { encodeSnapshot, type SnapshotBytes } from '../ike/snapshot-codec.ts'
import type { Path } from '../wire/endpoint.ts'
import type { ClusterMessage, SessionCounters } from './cluster-protocol.ts'
import { SEQUENCE_JUMP } from './cluster-takeover.ts'

export interface ReplicatorSurroundings {
  /** To the standby. */
  tell(message: ClusterMessage): void
  /** To the client. */
  send(message: Uint8Array, path: Path, session: IkeSession | undefined): void
  /** All sessions, half-open ones included. */
  sessions(): readonly IkeSession[]
  /** A session's Child SAs as the data plane has them, and a number that changes with every packet. */
  dataOf(session: IkeSession): { readonly children: readonly ChildSa[]; readonly activity: number }
}

/** A session that the standby knows. */
interface Told {
  readonly number: number
  /** Of the lasting part of what it was told: the part itself holds keys. */
  digest: string
  /** Of the last `put`. */
  serial: number
  activity: number
  /** Message IDs may have moved since they were told. */
  isStale: boolean
  /** Last sequence number that it was told, by inbound SPI. */
  sent: Map<number, bigint>
}

interface HeldMessage {
  readonly message: Uint8Array
  readonly path: Path
  readonly serial: number
  readonly since: number
}

/** Sessions in one COUNTERS message: keeps frames far below their bound. */
const COUNTERS_PER_MESSAGE = 256
/** From here on an SA that a lost standby knows is rekeyed; from there on it is given up. */
const SEQUENCE_SOFT_LIMIT = SEQUENCE_JUMP / 2n
const SEQUENCE_HARD_LIMIT = SEQUENCE_JUMP - SEQUENCE_JUMP / 16n

export class ClusterReplicator {
  readonly #around: ReplicatorSurroundings
  readonly #told = new Map<IkeSession, Told>()
  readonly #held = new Map<IkeSession, HeldMessage[]>()
  /** Said since the last `settle`, in order. */
  #said: { message: Uint8Array; path: Path; session: IkeSession | undefined }[] = []
  readonly #touched = new Set<IkeSession>()
  #hasStandby = false
  #acknowledged = 0
  #serial = 0
  #lastNumber = 0

  constructor(around: ReplicatorSurroundings) {
    this.#around = around
  }

  /** Since when the standby owes an acknowledgement that a client waits for. */
  get waitingSince(): number | undefined {
    let oldest: number | undefined
    for (const [first] of this.#held.values())
      if (first !== undefined && (oldest === undefined || first.since < oldest)) oldest = first.since
    return oldest
  }

  /** A session wants this sent; `settle` decides when. */
  say(message: Uint8Array, path: Path, session: IkeSession | undefined): void {
    this.#said.push({ message, path, session })
    if (session !== undefined) this.#touched.add(session)
  }

  /** Something happened to the session; `settle` looks what has changed. */
  touch(session: IkeSession): void {
    this.#touched.add(session)
  }

  /** The engine is at rest: replicates what has changed, and sends or holds what was said. */
  settle(now: number): void {
    if (this.#hasStandby) for (const session of this.#touched) this.#replicate(session, now)
    this.#touched.clear()
    const said = this.#said
    this.#said = []
    for (const { message, path, session } of said) {
      const held = session === undefined ? undefined : this.#held.get(session)
      const own = session === undefined ? 0 : (this.#told.get(session)?.serial ?? 0)
      const serial = Math.max(own, held?.at(-1)?.serial ?? 0)
      const mustWait = this.#hasStandby && serial > this.#acknowledged
      if (session === undefined || !mustWait) this.#around.send(message, path, session)
      else this.#held.set(session, [...(held ?? []), { message, path, serial, since: now }])
    }
  }

  /** A standby is there: tells it everything. */
  copy(now: number): void {
    this.#hasStandby = true
    this.#told.clear()
    this.#around.tell({ type: 'begin' })
    for (const session of this.#around.sessions()) this.#replicate(session, now)
    this.#around.tell({ type: 'complete', serial: ++this.#serial })
  }

  acknowledged(serial: number): void {
    this.#acknowledged = Math.max(this.#acknowledged, serial)
    for (const [session, messages] of this.#held) {
      const ready = messages.filter((one) => one.serial <= this.#acknowledged)
      const rest = messages.slice(ready.length)
      if (rest.length === 0) this.#held.delete(session)
      else this.#held.set(session, rest)
      for (const { message, path } of ready) this.#around.send(message, path, session)
    }
  }

  /** There is no standby any more: nothing has to wait for it. */
  standbyLost(): void {
    this.#hasStandby = false
    this.acknowledged(this.#serial)
  }

  /** Message IDs and sequence numbers of the sessions where they have moved. */
  tellCounters(): void {
    if (!this.#hasStandby) return
    const changed: SessionCounters[] = []
    for (const [session, told] of this.#told) {
      const { children, activity } = this.#around.dataOf(session)
      if (activity === told.activity && !told.isStale) continue
      told.activity = activity
      told.isStale = false
      const esp = children.map(espCounters)
      for (const { spiIn, sent } of esp) told.sent.set(spiIn, sent)
      changed.push({ session: told.number, messageIds: session.messageIds(), esp })
    }
    for (let at = 0; at < changed.length; at += COUNTERS_PER_MESSAGE)
      this.#around.tell({ type: 'counters', sessions: changed.slice(at, at + COUNTERS_PER_MESSAGE) })
  }

  /**
   * SAs that a lost standby knows too, and that come near to the sequence numbers which it would use if it, out of our sight,
   * had taken over.
   */
  overstretched(): { readonly session: IkeSession; readonly spiIn: number; readonly isOver: boolean }[] {
    if (this.#hasStandby) return []
    return [...this.#told].flatMap(([session, { sent }]) =>
      this.#around.dataOf(session).children.flatMap(({ inbound, outbound }) => {
        const told = sent.get(inbound.spi)
        const ahead = told === undefined ? 0n : outbound.sequence - told
        if (ahead < SEQUENCE_SOFT_LIMIT) return []
        return [{ session, spiIn: inbound.spi, isOver: ahead >= SEQUENCE_HARD_LIMIT }]
      })
    )
  }

  /** Forgets all sessions; nothing that they said leaves any more. */
  clear(): void {
    this.#told.clear()
    this.#held.clear()
    this.#said = []
    this.#touched.clear()
    this.#hasStandby = false
  }

  #replicate(session: IkeSession, now: number): void {
    const known = this.#told.get(session)
    const snapshot = session.snapshot(now)
    if (snapshot === undefined) {
      if (known !== undefined) this.#drop(session, known)
      return
    }
    const ike = encodeSnapshot(snapshot)
    disposeSnapshot(snapshot)
    // With the SPIs of the data plane: should that lag behind the engine, its keys are told as soon as they are there.
    const spis = this.#around.dataOf(session).children.map(({ inbound }) => inbound.spi)
    const digest = createHash('sha256').update(ike.lasting).update(spis.join()).digest('base64')
    if (known?.digest === digest) known.isStale = true
    else this.#put(session, known, digest, ike)
    ike.lasting.fill(0)
  }

  #put(session: IkeSession, known: Told | undefined, digest: string, ike: SnapshotBytes): void {
    const { children, activity } = this.#around.dataOf(session)
    const number = known?.number ?? ++this.#lastNumber
    const serial = ++this.#serial
    const snapshots = children.map(takeEspSnapshot)
    const sent = new Map(snapshots.map(({ inbound, outbound }) => [inbound.spi, outbound.sequence]))
    const esp = encodeEspSnapshots(snapshots)
    for (const one of snapshots) disposeEspSnapshot(one)
    this.#told.set(session, { number, digest, serial, activity, isStale: false, sent })
    this.#around.tell({ type: 'put', serial, session: number, record: { ike, esp } })
    esp.fill(0)
  }

  #drop(session: IkeSession, { number }: Told): void {
    this.#told.delete(session)
    this.#around.tell({ type: 'drop', serial: ++this.#serial, session: number })
  }
}
