/**
 * What a session remembers of itself for `status`: what was tried and what became of it, and the changes of path lately. Fed
 * with the session's events; bounded however long it lives.
 * @module
 */
import type { ClientEvent, PathChangedEvent, RungEvent } from './events.ts'

/** Changes of path that are remembered. */
const MAX_PATH_CHANGES = 16
/** Rungs that are remembered: three transports to as many addresses as a gateway may have. */
const MAX_RUNGS = 32

export type SessionPhase = 'connecting' | 'connected' | 'reconnecting'

/** The last word on one rung of the last climb. */
export type RungRecord = Omit<RungEvent, 'event'>

export interface PathChangeRecord extends Omit<PathChangedEvent, 'event'> {
  /** Milliseconds since 1970. */
  readonly atMs: number
}

export class SessionHistory {
  readonly startedAtMs: number
  readonly #wallClockMs: () => number
  #phase: SessionPhase = 'connecting'
  #connectedAtMs: number | undefined
  #reconnects = 0
  /** By transport and address, the last one to change last. */
  #rungs = new Map<string, RungRecord>()
  readonly #pathChanges: PathChangeRecord[] = []

  constructor(wallClockMs: () => number) {
    this.#wallClockMs = wallClockMs
    this.startedAtMs = wallClockMs()
  }

  get phase(): SessionPhase {
    return this.#phase
  }

  get connectedAtMs(): number | undefined {
    return this.#connectedAtMs
  }

  /** How often the session had to begin anew. */
  get reconnects(): number {
    return this.#reconnects
  }

  get rungs(): readonly RungRecord[] {
    return [...this.#rungs.values()]
  }

  /** The oldest first. */
  get pathChanges(): readonly PathChangeRecord[] {
    return this.#pathChanges
  }

  note(event: ClientEvent): void {
    switch (event.event) {
      case 'rung':
        this.#noteRung(event)
        return
      case 'connected':
        this.#phase = 'connected'
        this.#connectedAtMs = this.#wallClockMs()
        return
      case 'reconnecting':
        this.#phase = 'reconnecting'
        this.#reconnects++
        this.#rungs.clear()
        return
      case 'path-changed': {
        const { event: _, ...change } = event
        this.#phase = 'connected'
        this.#pathChanges.push({ ...change, atMs: this.#wallClockMs() })
        if (this.#pathChanges.length > MAX_PATH_CHANGES) this.#pathChanges.shift()
        return
      }
      default:
    }
  }

  #noteRung({ event: _, ...rung }: RungEvent): void {
    const key = `${rung.transport} ${rung.address}`
    this.#rungs.delete(key)
    this.#rungs.set(key, rung)
    if (this.#rungs.size <= MAX_RUNGS) return
    for (const oldest of this.#rungs.keys()) {
      this.#rungs.delete(oldest)
      return
    }
  }
}
