/**
 * What the ladder has to say: its queue of outputs, and the last word on each rung.
 * @module
 */
import type {
  AbandonReason,
  LadderOutput,
  Rung,
  RungOutcome,
  RungReason,
  RungReport
} from './ladder-types.ts'

export class LadderJournal {
  startedAt = 0
  readonly #outputs: LadderOutput[] = []
  /** In the order in which things were last said. */
  readonly #reports = new Map<number, RungReport>()

  poll(): LadderOutput | undefined {
    return this.#outputs.shift()
  }

  put(output: LadderOutput): void {
    this.#outputs.push(output)
  }

  close(rung: Rung): void {
    this.put({ type: 'close', rung })
  }

  abandon(rung: Rung, reason: AbandonReason): void {
    this.put({ type: 'abandon-ike', rung, reason })
  }

  report(now: number, rung: Rung, outcome: RungOutcome, reason: RungReason | null, message: string): void {
    const report = { rung, outcome, reason, message, elapsedMs: now - this.startedAt }
    this.#reports.delete(rung.id)
    this.#reports.set(rung.id, report)
    this.put({ type: 'report', ...report })
  }

  /** Whether anything was ever said of it. */
  mentions(rung: Rung): boolean {
    return this.#reports.has(rung.id)
  }

  /** Every `trying` finds its end. */
  conclude(now: number, rung: Rung): void {
    if (this.#reports.get(rung.id)?.outcome === 'trying') this.report(now, rung, 'skipped', 'not-needed', '')
  }

  failures(): readonly RungReport[] {
    return [...this.#reports.values()].filter((report) => report.outcome === 'failed')
  }
}
