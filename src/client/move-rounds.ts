/**
 * Offers the IKE SA to the gateway over every path, in rounds that something more recent may cut short.
 * @module
 */
import { Bell } from './bell.ts'
import { OPEN_TIMEOUT_MS } from './connector.ts'
import type { Link } from './link.ts'
import type { LinkKeeper } from './link-keeper.ts'
import type { Candidate } from './openings.ts'
import type { Move } from './path-mover.ts'
import type { SessionEnvironment } from './session-environment.ts'

export interface RoundResult {
  readonly move: Move | undefined
  /** A stream was opened: somebody is there, although the SA was not answered. */
  readonly reached: boolean
  /** It ended early: another round is due at once. */
  readonly outdated: boolean
}

export class MoveRounds {
  /** Rings when a pause between rounds makes no sense any more. */
  readonly dueNow = new Bell()
  readonly #environment: SessionEnvironment
  readonly #keeper: LinkKeeper
  /** The path that was given up: has it come back, and did the SA answer there? */
  #old: 'dead' | 'revived' | 'silent' = 'dead'

  /**
   * @param news the network is another one, or somebody wants it tried at once
   * @param revived ESP arrives again on the path that was given up
   */
  constructor(environment: SessionEnvironment, keeper: LinkKeeper, news: Bell, revived: Bell) {
    this.#environment = environment
    this.#keeper = keeper
    news.listen(() => this.dueNow.ring())
    revived.listen(() => {
      if (this.#old !== 'dead') return
      this.#old = 'revived'
      this.dueNow.ring()
    })
  }

  /** Another path was given up: what was heard of the one before is forgotten. */
  begin(): void {
    this.#old = 'dead'
  }

  async round(
    link: Link,
    candidates: readonly Candidate[],
    signal: AbortSignal,
    limitMs: number
  ): Promise<RoundResult> {
    const { clock, open } = this.#environment
    const round = new AbortController()
    let outdated = false
    let reached = false
    const timer = clock.setTimer(limitMs, () => round.abort())
    const unlisten = this.dueNow.listen(() => {
      outdated = true
      round.abort()
    })
    const limit = AbortSignal.any([signal, round.signal])
    try {
      if (this.#old === 'revived') {
        // It need not be left at all.
        const move = await this.#keeper.move(link, [link.candidate], signal, async () => link)
        if (move !== undefined) return { move, reached, outdated }
        this.#old = 'silent'
      }
      const move = await this.#keeper.move(link, candidates, limit, async (candidate) => {
        const opened = await open(candidate, limit, OPEN_TIMEOUT_MS)
        if ('transport' in opened && candidate.kind !== 'udp') reached = true
        return opened
      })
      return { move, reached, outdated }
    } finally {
      timer.cancel()
      unlisten()
    }
  }
}
