/**
 * When an IKE SA is rekeyed and when it ends (RFC 7296 section 2.8: each end enforces its own policy, with jitter).
 * @module
 */
import type { IkeSa } from '../ike-sa.ts'
import type { SessionState } from '../session-state.ts'

export function scheduleIkeSa(state: SessionState, sa: IkeSa): void {
  sa.establishedAt = state.now
  const { ikeLifetimeMs, rekeyMargin } = state.config.timers
  if (ikeLifetimeMs <= 0) return
  state.after('ike-rekey', sa.number, ikeLifetimeMs * (1 - rekeyMargin * state.randomFraction()))
  state.after('ike-expire', sa.number, ikeLifetimeMs)
}
