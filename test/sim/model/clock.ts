/**
 * The time of a simulated world, and that of each machine in it. Between two events everything that promises have made ready is
 * run, so that asynchronous code comes to rest before time goes on.
 * @module
 */
import type { Clock } from '../../../src/clock.ts'

interface Entry {
  readonly at: number
  readonly order: number
  callback: (() => void) | undefined
}

export interface Timer {
  cancel(): void
}

/** A queue of events in order of time, then of arming. */
export class WorldClock implements Clock {
  /** Cancelled entries stay until their time comes. */
  readonly #heap: Entry[] = []
  #now = 1_000
  #order = 0
  #armed = 0
  /** Events that were fired. */
  steps = 0

  now(): number {
    return this.#now
  }

  /** Timers that would still fire. */
  get armed(): number {
    return this.#armed
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    if (Number.isNaN(delayMs)) throw new RangeError('a timer needs a delay')
    const entry: Entry = { at: this.#now + Math.max(0, delayMs), order: ++this.#order, callback }
    this.#push(entry)
    this.#armed++
    return {
      cancel: () => {
        if (entry.callback === undefined) return
        entry.callback = undefined
        this.#armed--
      }
    }
  }

  /**
   * Moves time on, firing what is due in order.
   * @param afterStep called when everything that followed from an event is done
   * @returns whether the condition came to hold within `limitMs`
   */
  async run(limitMs: number, isDone: () => boolean, afterStep: () => void): Promise<boolean> {
    const limit = this.#now + limitMs
    for (;;) {
      // A turn of the event loop empties the queue of microtasks, however long their chains are.
      await new Promise((resolve) => setImmediate(resolve))
      afterStep()
      if (isDone()) return true
      const next = this.#next(limit)
      if (next === undefined) break
      this.#now = next.at
      const { callback } = next
      next.callback = undefined
      this.#armed--
      this.steps++
      callback?.()
    }
    this.#now = limit
    return false
  }

  #next(limit: number): Entry | undefined {
    for (;;) {
      const first = this.#heap[0]
      if (first === undefined || (first.callback !== undefined && first.at > limit)) return undefined
      this.#pop()
      if (first.callback !== undefined) return first
    }
  }

  #push(entry: Entry): void {
    const heap = this.#heap
    let at = heap.push(entry) - 1
    while (at > 0) {
      const above = (at - 1) >> 1
      const parent = heap[above]
      if (parent === undefined || isBefore(parent, entry)) break
      heap[at] = parent
      at = above
    }
    heap[at] = entry
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let at = 0
    for (;;) {
      let below = 2 * at + 1
      let child = heap[below]
      const right = heap[below + 1]
      if (child !== undefined && right !== undefined && isBefore(right, child)) {
        child = right
        below++
      }
      if (child === undefined || isBefore(last, child)) break
      heap[at] = child
      at = below
    }
    heap[at] = last
  }
}

function isBefore(a: Entry, b: Entry): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}

interface HostTimer {
  dueAt: number
  readonly callback: () => void
  timer: Timer | undefined
}

/**
 * The clock of one machine (or process) in the world. It can be stopped: nothing is called until it goes on. Whoever asks it for the
 * time afterwards sees a leap, as ikestream's own clock makes one after a sleep that it was told of.
 */
export class HostClock implements Clock {
  readonly #world: WorldClock
  readonly #timers = new Set<HostTimer>()
  #stoppedAt: number | undefined
  #isDead = false

  constructor(world: WorldClock) {
    this.#world = world
  }

  now(): number {
    return this.#world.now()
  }

  get isRunning(): boolean {
    return this.#stoppedAt === undefined && !this.#isDead
  }

  get armed(): number {
    return this.#timers.size
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const one: HostTimer = { dueAt: this.now() + Math.max(0, delayMs), callback, timer: undefined }
    if (this.#isDead) return { cancel: () => undefined }
    this.#timers.add(one)
    if (this.isRunning) this.#arm(one)
    return { cancel: () => this.#drop(one) }
  }

  /** Nothing runs from now on. */
  stop(): void {
    if (!this.isRunning) return
    this.#stoppedAt = this.now()
    for (const one of this.#timers) one.timer?.cancel()
  }

  /** @param isAsleep its timers stood still, too; else those that are overdue fire at once */
  goOn(isAsleep: boolean): void {
    if (this.#stoppedAt === undefined) return
    const pausedMs = this.now() - this.#stoppedAt
    this.#stoppedAt = undefined
    for (const one of this.#timers) {
      if (isAsleep) one.dueAt += pausedMs
      this.#arm(one)
    }
  }

  /** The process is no more: none of its timers fires. */
  die(): void {
    for (const one of [...this.#timers]) this.#drop(one)
    this.#isDead = true
  }

  #arm(one: HostTimer): void {
    one.timer = this.#world.setTimer(one.dueAt - this.now(), () => {
      this.#timers.delete(one)
      one.callback()
    })
  }

  #drop(one: HostTimer): void {
    one.timer?.cancel()
    this.#timers.delete(one)
  }
}
