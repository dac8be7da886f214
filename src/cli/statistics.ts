/**
 * What SIGUSR1 shows: a line for people on standard error, and a `statistics` event with `--json`.
 * @module
 */
import type { SessionStatus } from '../client/session-status.ts'
import type { Reporter } from './reporter.ts'

export function showStatistics(reporter: Reporter, status: SessionStatus): void {
  const { bytesIn, packetsIn, bytesOut, packetsOut, dropped } = status.traffic
  const lost = Object.values(dropped).reduce((sum, count) => sum + count, 0)
  reporter.writeError(
    `received ${packetsIn} packets, ${bytesIn} bytes; sent ${packetsOut} packets, ${bytesOut} bytes; dropped ${lost} packets\n`
  )
  const { state, transport, connectedAt, liveness } = status
  const durationMs = connectedAt === null ? 0 : Date.now() - Date.parse(connectedAt)
  reporter.event({
    event: 'statistics',
    ...{ state, transport, bytesIn, packetsIn, bytesOut, packetsOut, dropped },
    ...{ lastHeardMs: liveness.lastHeardMs, rttMs: liveness.rttMs, durationMs }
  })
}
