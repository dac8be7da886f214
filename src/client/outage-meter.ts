/**
 * Measures what the inner traffic saw of a change of path: from the first packet that was not answered to the first
 * that arrived on the new path (sans-IO).
 * @module
 */
export class OutageMeter {
  #silentSince: number | undefined
  #pending = false
  /** The path was given up. */
  #isLost = false
  /** The outage of a path that was given up and came back by itself. */
  #healedMs: number | undefined

  /** Packets that expect an answer went out. */
  sent(now: number): void {
    this.#silentSince ??= now
  }

  /**
   * Authenticated ESP arrived.
   * @returns the outage in milliseconds if a change of path was waiting for it
   */
  received(now: number): number | undefined {
    const outageMs = this.#silentSince === undefined ? undefined : now - this.#silentSince
    const wasPending = this.#pending
    const healedMs = this.#healedMs
    this.#silentSince = undefined
    if (wasPending) this.settle()
    else if (this.#isLost) this.#healedMs ??= outageMs
    return wasPending ? (healedMs ?? outageMs ?? 0) : undefined
  }

  /** The path turned out to be dead, since then. */
  lost(since: number): void {
    this.#isLost = true
    this.#silentSince = Math.min(since, this.#silentSince ?? since)
  }

  /** A change of path was made: the next arrival ends the outage. */
  changed(): void {
    this.#pending = true
  }

  get waiting(): boolean {
    return this.#pending
  }

  /** Nothing arrived, and nothing had to: the change is over. */
  settle(): void {
    this.#pending = false
    this.#isLost = false
    this.#healedMs = undefined
    this.#silentSince = undefined
  }
}
