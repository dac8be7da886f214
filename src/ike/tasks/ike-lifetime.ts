/**
 * When SAs are rekeyed, and when an IKE SA ends (RFC 7296 section 2.8: each end enforces its own policy, with jitter).
 * @module
 */
import type { IkeSa } from '../ike-sa.ts'
import type { SessionState } from '../session-state.ts'

/**
 * When to begin rekeying what has this lifetime: in the last `rekeyMargin` of it, but never in that one's second half. A request and its
 * answer may get lost a few times, and traffic goes on over the old SA until the new one is known to both ends (section 2.8).
 */
export function rekeyAfterMs(state: SessionState, lifetimeMs: number): number {
  return lifetimeMs * (1 - (state.config.timers.rekeyMargin * (1 + state.randomFraction())) / 2)
}

export function scheduleIkeSa(state: SessionState, sa: IkeSa): void {
  sa.establishedAt = state.now
  const { ikeLifetimeMs } = state.config.timers
  if (ikeLifetimeMs <= 0) return
  state.after('ike-rekey', sa.number, rekeyAfterMs(state, ikeLifetimeMs))
  state.after('ike-expire', sa.number, ikeLifetimeMs)
}
