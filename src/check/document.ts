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
import { ExitCode } from '../errors.ts'
import type { Depth } from './depth.ts'

export const CHECK_SCHEMA_VERSION = 1

export interface CheckDocument extends Omit<Evidence, 'dns' | 'portal'>, Depth {
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

export interface CheckMoment {
  readonly time: Date
  readonly durationMs: number
}

export function checkDocument(
  evidence: Evidence,
  verdict: Verdict,
  depth: Depth,
  { time, durationMs }: CheckMoment
): CheckDocument {
  const { server, order, proxy, complete, network, dns, udp, streams, portal } = evidence
  return {
    schemaVersion: CHECK_SCHEMA_VERSION,
    time: time.toISOString(),
    server,
    durationMs: Math.round(durationMs),
    complete,
    verdict: verdictInDepth(verdict, depth),
    findings: verdict.findings,
    order,
    proxy,
    network,
    dns: dns === null ? null : { ...dns, honesty: verdict.dns },
    udp,
    streams,
    portal: { ...verdict.portal, api: portal?.api ?? null, probe: portal?.probe ?? null },
    ...depth
  }
}

/** A gateway that is reached and lets nobody in is no success: the exit code is that of `connect`. */
function verdictInDepth(verdict: Verdict, { authentication }: Depth): CheckDocument['verdict'] {
  const { code, works, sentence, hint, exitCode, best } = verdict
  const base = { code, works, sentence, hint, exitCode, best }
  if (authentication === null) return base
  if (authentication.outcome === 'failed') {
    const why = (authentication.message ?? 'authentication failed').replace(/\.$/, '')
    const { hint: advice, exitCode: failure } = authentication
    return { ...base, sentence: `${sentence}; but: ${why}`, hint: advice, exitCode: failure }
  }
  const esp = authentication.esp?.outcome
  const passes =
    esp === 'passes' ? ' and ESP passes' : esp === 'silent' ? ', but nothing came back through ESP' : ''
  return { ...base, sentence: `${sentence}; authentication works${passes}`, exitCode: ExitCode.ok }
}
