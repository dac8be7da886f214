/**
 * Looks at the data plane's counters a few times a second, so that the hot path keeps none of this: feeds the path judge,
 * the outage meter and the IKE engine's liveness timers, and says when the path is no good any more.
 * @module
 */
import type { Clock } from './ike-driver.ts'
import { OutageMeter } from './outage-meter.ts'
import { PathJudge, type PathJudgeTimings, type PathVerdict } from './path-judge.ts'

/** Totals since the tunnel came up. */
export interface TrafficCounters {
  /** Authenticated ESP packets. */
  readonly espPacketsIn: number
  readonly espPacketsOut: number
  /** Inner packets sent that a living peer would answer: TCP, echo requests, DNS. May fall behind for a moment. */
  readonly expectingOut: number
}

export interface WatchdogEvents {
  onTraffic(traffic: { readonly received: boolean; readonly sent: boolean }): void
  onVerdict(verdict: PathVerdict): void
  /** The first traffic after a change of path, or nothing was waiting for any. */
  onPathConfirmed(outageMs: number): void
  /** ESP arrives again on the path that was given up, and not left yet. */
  onRevived(): void
}

const TICK_MS = 100
/** A change of path that no traffic confirms is over after this long. */
const SETTLE_MS = 1_000

export class Watchdog {
  readonly judge: PathJudge
  readonly #meter = new OutageMeter()
  readonly #clock: Clock
  readonly #counters: () => TrafficCounters
  readonly #events: WatchdogEvents
  #last: TrafficCounters
  #timer: { cancel(): void } | undefined
  #changedAt = 0
  #silentSince: number | undefined
  #expectingSeen: number
  #everCarried = false
  /** Something is being done about the last verdict. */
  #held = false

  constructor(
    clock: Clock,
    timings: PathJudgeTimings,
    counters: () => TrafficCounters,
    events: WatchdogEvents
  ) {
    this.#clock = clock
    this.judge = new PathJudge(timings)
    this.#counters = counters
    this.#events = events
    this.#last = counters()
    this.#expectingSeen = this.#last.expectingOut
  }

  /** True once any authenticated ESP has arrived, over whatever path. */
  get everCarried(): boolean {
    return this.#everCarried
  }

  start(): void {
    this.#held = false
    this.#schedule()
  }

  /** Goes on looking, without a verdict until the next `start`. */
  hold(): void {
    this.#held = true
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }

  /** Nothing can be sent any more: the outage begins, even if nobody has noticed yet. */
  pathLost(): void {
    this.#meter.lost(this.#clock.now())
  }

  /** The tunnel's traffic goes another way from now on. */
  pathChanged(): void {
    this.#meter.changed()
    this.judge.reset()
    this.#changedAt = this.#clock.now()
  }

  #schedule(): void {
    this.#timer ??= this.#clock.setTimer(TICK_MS, () => {
      this.#timer = undefined
      // Whoever is told of something may stop it.
      this.#schedule()
      this.#tick()
    })
  }

  #tick(): void {
    const now = this.#clock.now()
    const current = this.#counters()
    const arrived = current.espPacketsIn - this.#last.espPacketsIn
    const received = arrived > 0
    const sent = current.espPacketsOut > this.#last.espPacketsOut
    const expecting = Math.max(0, current.expectingOut - this.#expectingSeen)
    this.#expectingSeen += expecting
    this.#last = current
    if (expecting > 0) {
      this.judge.sent(now, expecting)
      this.#meter.sent(now)
    }
    if (received) {
      this.#everCarried = true
      this.judge.received(now, arrived)
      const outageMs = this.#meter.received(now)
      if (outageMs !== undefined) this.#events.onPathConfirmed(outageMs)
      else if (this.#held) this.#events.onRevived()
    }
    if (this.#meter.waiting && now - this.#changedAt >= SETTLE_MS && expecting === 0) {
      this.#meter.settle()
      this.#events.onPathConfirmed(0)
    }
    if (received || sent) this.#events.onTraffic({ received, sent })
    const verdict = this.#held ? undefined : this.judge.verdict(now)
    if (verdict === 'ask') {
      this.judge.asked(now)
      // The answer may come after the move: what was silent until then belongs to the outage.
      this.#silentSince = this.judge.silentSince
    } else if (verdict !== undefined && this.#silentSince !== undefined) this.#meter.lost(this.#silentSince)
    if (verdict !== undefined) this.#events.onVerdict(verdict)
  }
}
