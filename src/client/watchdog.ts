/**
 * Looks at the data plane's counters a few times a second, so that the hot path keeps none of this: feeds the path judge,
 * the outage meter and the IKE engine's liveness timers, and says when the path is no good any more.
 * @module
 */

import { HINT_INTERVAL_MS } from '../ike/options.ts'
import type { Clock } from './ike-driver.ts'
import { OutageMeter } from './outage-meter.ts'
import { PathJudge, type PathJudgeTimings, type PathVerdict } from './path-judge.ts'

/** Totals since the tunnel came up. */
export interface TrafficCounters {
  /** Authenticated ESP packets. */
  readonly espPacketsIn: number
  /** Those of them that came over the transport in use. */
  readonly espPacketsHere: number
  readonly espPacketsOut: number
  /** Inner packets sent that a living peer would answer: TCP, echo requests, DNS. May fall behind for a moment. */
  readonly expectingOut: number
  /** The same without questions of ours. */
  readonly trafficOut: number
  /** Is there somebody inside who used to answer questions, and who was asked and does not? */
  readonly witness: 'none' | 'answers' | 'silent'
  /** The transport in use takes nothing. */
  readonly blocked: boolean
}

export interface WatchdogEvents {
  onTraffic(traffic: { readonly received: boolean; readonly sent: boolean }): void
  /** Ask the peer whether it lives. */
  onAsk(): void
  /** Ask somebody inside the tunnel. */
  onProbe(isFirst: boolean): void
  onVerdict(verdict: Exclude<PathVerdict, 'ask'>): void
  /** ESP arrives over the path in use. */
  onCarried(): void
  /** The first traffic after a change of path, or nothing was waiting for any. */
  onPathConfirmed(outageMs: number): void
  /** ESP arrives again on the path that was given up, and not left yet. */
  onRevived(): void
}

const TICK_MS = 100
/** Questions to those inside come in series, as long as nothing arrives: as many as prove something. */
const PROBES = 3
const PROBE_INTERVAL_MS = 400
/** A change of network comes as several hints; some networks are never at rest. */
const SUSPECT_INTERVAL_MS = 3_000
/** Without anybody who answers such questions, whoever is heard is asked at once, then after this long, then ever less often. */
const FIRST_SEEK_MS = 10_000
const MAX_SEEK_MS = 1_800_000
/** A change of path that no traffic confirms is over after this long. */
const SETTLE_MS = 1_000

export class Watchdog {
  readonly judge: PathJudge
  readonly #meter = new OutageMeter()
  readonly #clock: Clock
  readonly #look: () => TrafficCounters
  readonly #events: WatchdogEvents
  #last: TrafficCounters
  #timer: { cancel(): void } | undefined
  #changedAt = 0
  #silentSince: number | undefined
  #expectingSeen: number
  #everCarried = false
  /** Something is being done about the last verdict. */
  #held = false
  #probesLeft = 0
  #nextProbeAt = 0
  #seekAt = 0
  #suspectedAt = Number.NEGATIVE_INFINITY
  #hintedAt = Number.NEGATIVE_INFINITY
  #seekMs = FIRST_SEEK_MS

  constructor(clock: Clock, timings: PathJudgeTimings, look: () => TrafficCounters, events: WatchdogEvents) {
    this.#clock = clock
    this.judge = new PathJudge(timings)
    this.#look = look
    this.#events = events
    this.#last = look()
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

  /**
   * The tunnel's traffic goes another way from now on.
   * @param isMoved with an SA that came from another path
   */
  pathChanged(isMoved: boolean): void {
    this.#meter.changed()
    this.judge.reset(isMoved)
    this.#changedAt = this.#clock.now()
    this.#seekMs = FIRST_SEEK_MS
    this.#seekAt = this.#changedAt
    this.#probe()
  }

  /** The peer is asked whether it lives, and has to answer soon. */
  ask(): void {
    this.judge.asked(this.#clock.now())
    this.#probe()
    this.#events.onAsk()
  }

  /** The path is about to change: what has arrived until now came over the one before. */
  settle(): void {
    const arrived = this.#look().espPacketsHere - this.#last.espPacketsHere
    if (arrived <= 0) return
    const { espPacketsIn, espPacketsHere } = this.#last
    this.#last = {
      ...this.#last,
      espPacketsIn: espPacketsIn + arrived,
      espPacketsHere: espPacketsHere + arrived
    }
    this.#arrived(this.#clock.now(), arrived)
  }

  /** The peer is being asked, for whatever reason: it has to answer soon. */
  asking(): void {
    if (!this.#held && !this.judge.isAsked) this.judge.asked(this.#clock.now())
  }

  /** Something about the network is not as it was, or ICMP says so: the peer is asked, though not at every hint. */
  suspect(): void {
    const now = this.#clock.now()
    if (this.#held || this.judge.isAsked || now - this.#suspectedAt < SUSPECT_INTERVAL_MS) return
    this.#suspectedAt = now
    this.ask()
  }

  /** Somebody says that the peer has lost an SA: only the peer can tell, but it need not be given as long as otherwise. */
  hinted(about: 'ike' | 'esp'): void {
    const now = this.#clock.now()
    if (!this.#held && !this.judge.isAsked && now - this.#hintedAt >= HINT_INTERVAL_MS) {
      this.#hintedAt = now
      this.ask()
    }
    if (about === 'ike') this.judge.hinted(now)
  }

  #probe(): void {
    this.#probesLeft = PROBES - 1
    this.#nextProbeAt = this.#clock.now() + PROBE_INTERVAL_MS
    this.#events.onProbe(true)
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
    const current = this.#look()
    const arrived = current.espPacketsHere - this.#last.espPacketsHere
    const received = current.espPacketsIn > this.#last.espPacketsIn
    const sent = current.espPacketsOut > this.#last.espPacketsOut
    const expecting = Math.max(0, current.expectingOut - this.#expectingSeen)
    this.#expectingSeen += expecting
    this.judge.sent(now, expecting, current.trafficOut - this.#last.trafficOut)
    this.#last = current
    if (expecting > 0) this.#meter.sent(now)
    this.judge.blocked(now, current.blocked)
    if (arrived > 0) this.#arrived(now, arrived)
    if (this.#meter.waiting && now - this.#changedAt >= SETTLE_MS && expecting === 0) {
      this.#meter.settle()
      this.#events.onPathConfirmed(0)
    }
    if (received || sent) this.#events.onTraffic({ received, sent })
    this.#probeAgain(now)
    if (arrived > 0 && current.witness === 'none') this.#seekWitness(now)
    if (!this.#held) this.#judge(now, current.witness === 'silent')
  }

  #arrived(now: number, packets: number): void {
    this.#everCarried = true
    this.#probesLeft = 0
    this.judge.received(now, packets)
    const outageMs = this.#meter.received(now)
    this.#events.onCarried()
    if (outageMs !== undefined) this.#events.onPathConfirmed(outageMs)
    else if (this.#held) this.#events.onRevived()
  }

  /** While all is well: who answers now will be believed later. */
  #seekWitness(now: number): void {
    if (now < this.#seekAt) return
    this.#seekAt = now + this.#seekMs
    this.#seekMs = Math.min(this.#seekMs * 2, MAX_SEEK_MS)
    this.#events.onProbe(true)
  }

  #probeAgain(now: number): void {
    if (this.#probesLeft === 0 || now < this.#nextProbeAt) return
    this.#probesLeft--
    this.#nextProbeAt = now + PROBE_INTERVAL_MS
    this.#events.onProbe(false)
  }

  #judge(now: number, witnessSilent: boolean): void {
    const verdict = this.judge.verdict(now, witnessSilent)
    if (verdict === 'ask') {
      // The answer may come after the move: what was silent until then belongs to the outage.
      this.#silentSince = this.judge.silentSince
      this.ask()
      return
    }
    if (verdict === undefined) return
    if (this.#silentSince !== undefined) this.#meter.lost(this.#silentSince)
    this.#events.onVerdict(verdict)
  }
}
