/**
 * The document of `check --json`: the verdict, what it rests on, and what was looked at on demand. Its shape is
 * schema/check.schema.json.
 * @module
 */
import type { Evidence, PortalEvidence } from '../diagnosis/evidence.ts'
import type {
  BestPath,
  DnsHonesty,
  Finding,
  PortalState,
  Verdict,
  VerdictCode
} from '../diagnosis/verdict.ts'

export const CHECK_SCHEMA_VERSION = 1

export interface CheckDocument extends Omit<Evidence, 'dns' | 'portal'> {
  readonly schemaVersion: typeof CHECK_SCHEMA_VERSION
  /** RFC 3339. */
  readonly time: string
  readonly durationMs: number
  readonly verdict: {
    readonly code: VerdictCode
    readonly works: boolean
    readonly sentence: string
    readonly hint: string | null
    readonly exitCode: number
    readonly best: BestPath | null
  }
  readonly findings: readonly Finding[]
  readonly dns: (NonNullable<Evidence['dns']> & { readonly honesty: DnsHonesty }) | null
  readonly portal: { readonly state: PortalState; readonly url: string | null } & PortalEvidence
}

export function checkDocument(
  evidence: Evidence,
  verdict: Verdict,
  { time, durationMs }: { readonly time: Date; readonly durationMs: number }
): CheckDocument {
  const { code, works, sentence, hint, exitCode, best, findings } = verdict
  const { server, order, proxy, complete, network, dns, udp, streams, portal } = evidence
  return {
    schemaVersion: CHECK_SCHEMA_VERSION,
    time: time.toISOString(),
    server,
    durationMs: Math.round(durationMs),
    complete,
    verdict: { code, works, sentence, hint, exitCode, best },
    findings,
    order,
    proxy,
    network,
    dns: dns === null ? null : { ...dns, honesty: verdict.dns },
    udp,
    streams,
    portal: { ...verdict.portal, api: portal?.api ?? null, probe: portal?.probe ?? null }
  }
}
