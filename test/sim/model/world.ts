/**
 * What every part of a simulated world shares: its time, its chance, its record, and what an invariant calls when it is broken.
 * @module
 */
import { SeededRandom } from '../../support/seeded-random.ts'
import { WorldClock } from './clock.ts'
import type { FaultCounts, FaultKind } from './faults.ts'
import { Trace } from './trace.ts'

/** An invariant that did not hold. */
export class Violation extends Error {
  readonly invariant: string

  constructor(invariant: string, message: string) {
    super(`${invariant}: ${message}`)
    this.invariant = invariant
  }
}

export class World {
  readonly clock = new WorldClock()
  readonly trace = new Trace()
  readonly faults: FaultCounts = {}
  /** Of the network; every machine has its own, so that one more packet does not change their keys. */
  readonly random: SeededRandom
  /** The first that was seen. */
  violation: Violation | undefined
  readonly #seed: number

  constructor(seed: number) {
    this.#seed = seed
    this.random = new SeededRandom(seed)
  }

  /** Randomness of its own for part of the world. */
  randomFor(part: number): SeededRandom {
    return new SeededRandom(Math.imul(this.#seed, 0x9e3779b1) + part)
  }

  get now(): number {
    return this.clock.now()
  }

  fault(kind: FaultKind, detail: string | number = ''): void {
    this.faults[kind] = (this.faults[kind] ?? 0) + 1
    this.trace.add(this.now, kind, detail)
  }

  note(what: string, detail: string | number = ''): void {
    this.trace.add(this.now, what, detail)
  }

  /** An invariant is broken. Never throws: whoever calls may be called by the code under test. */
  broken(invariant: string, message: string): void {
    if (this.violation !== undefined) return
    this.violation = new Violation(invariant, message)
    this.trace.add(this.now, 'BROKEN', this.violation.message)
  }

  chance(probability: number): boolean {
    return probability > 0 && this.random.fraction() < probability
  }

  between(least: number, most: number): number {
    return least + this.random.fraction() * (most - least)
  }

  pick<T>(items: readonly [T, ...T[]]): T {
    return items[this.random.integer(items.length)] ?? items[0]
  }
}
