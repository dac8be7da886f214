/**
 * The words of a verdict.
 * @module
 */
import type { ExitCode } from '../errors.ts'
import type { TransportKind } from '../wire/endpoint.ts'

/** The one word that a script looks at first. */
export type VerdictCode =
  | 'reachable'
  | 'captive-portal'
  | 'offline'
  | 'no-route'
  | 'name-not-found'
  | 'name-lookup-failed'
  | 'proxy-problem'
  | 'only-without-proxy'
  | 'only-through-proxy'
  | 'udp-incomplete'
  | 'no-ike'
  | 'refused'
  | 'walled'
  | 'gateway-silent'
  | 'unfinished'

/** How the tunnel would come up. */
export interface BestPath {
  readonly transport: TransportKind
  readonly via: string | null
  readonly address: string
  readonly port: number
  readonly rttMs: number | null
}

export interface Finding {
  /** Stable, kebab-case. */
  readonly code: string
  readonly level: 'info' | 'warning' | 'problem'
  /** One sentence. */
  readonly message: string
  /** What to do about it. */
  readonly hint: string | null
}

/**
 * `open`: the Internet answers. `portal`: one has to log in. `suspected`: an answer that is not the expected one. `walled`: no web, but
 * something else passes. `offline`: nothing does. `unknown`: not asked, or no telling.
 */
export type PortalState = 'open' | 'portal' | 'suspected' | 'walled' | 'offline' | 'unknown'

/** Do the name server's answers bear the known truth? */
export type DnsHonesty = 'honest' | 'rewrites-missing-names' | 'hijacked' | 'unknown'

export interface Verdict {
  readonly code: VerdictCode
  /** At least one transport works, with the settings that `connect` would use. */
  readonly works: boolean
  /** One sentence that a person understands, without a full stop. */
  readonly sentence: string
  readonly hint: string | null
  readonly exitCode: ExitCode
  readonly best: BestPath | null
  readonly portal: { readonly state: PortalState; readonly url: string | null }
  readonly dns: DnsHonesty
  readonly findings: readonly Finding[]
}
