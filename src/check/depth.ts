/**
 * What is looked at on demand, behind the check itself: suites, authentication, ESP, bandwidth.
 * @module
 */
import { TransportOpener } from '../client/open-transport.ts'
import type { ConnectOptions } from '../client/options.ts'
import type { Evidence } from '../diagnosis/evidence.ts'
import type { Verdict } from '../diagnosis/verdict.ts'
import type { Logger } from '../log.ts'
import { TlsSessionCache } from '../transport/tls.ts'
import { type AuthenticationEvidence, authenticate } from './authenticate.ts'
import type { BandwidthEvidence } from './bandwidth.ts'
import type { CheckEnvironment, CheckOptions } from './check.ts'
import { InitAsker } from './init-asker.ts'
import { findProposals, type ProposalEvidence } from './proposals.ts'

export interface DepthWish {
  readonly proposals: boolean
  /** What a session would need to know; undefined: nobody is authenticated. */
  readonly session: ConnectOptions | undefined
  /** Undefined: bandwidth is not measured. */
  readonly bandwidthMs: number | undefined
  readonly innerHost: string | undefined
}

export interface Depth {
  readonly proposals: ProposalEvidence | null
  readonly authentication: AuthenticationEvidence | null
  readonly bandwidth: BandwidthEvidence | null
}

/** About a hundred and fifty questions at twenty-five a second, with room for a slow gateway. */
const PROPOSALS_TIMEOUT_MS = 20_000
const OPEN_TIMEOUT_MS = 3_000

/** Nothing is looked at where nothing works. */
export async function lookDeeper(
  wish: DepthWish,
  options: CheckOptions,
  { evidence, verdict }: { readonly evidence: Evidence; readonly verdict: Verdict },
  environment: CheckEnvironment & { readonly log: Logger }
): Promise<Depth> {
  const { best } = verdict
  if (best === null) return { proposals: null, authentication: null, bandwidth: null }
  const { bandwidthMs, innerHost } = wish
  const proposals = wish.proposals ? await askProposals(best, options, environment) : null
  const deep =
    wish.session === undefined
      ? undefined
      : await authenticate(wish.session, evidence, best, { ...environment, bandwidthMs, innerHost })
  return {
    proposals,
    authentication: deep?.authentication ?? null,
    bandwidth: deep?.bandwidth ?? null
  }
}

async function askProposals(
  best: NonNullable<Verdict['best']>,
  options: CheckOptions,
  { clock, random, signal }: CheckEnvironment
): Promise<ProposalEvidence> {
  const tooLate = new AbortController()
  const timer = clock.setTimer(PROPOSALS_TIMEOUT_MS, () => tooLate.abort())
  const asker = new InitAsker(best, {
    clock,
    random,
    signal: AbortSignal.any([signal, tooLate.signal]),
    opener: new TransportOpener(options, new TlsSessionCache()),
    openTimeoutMs: OPEN_TIMEOUT_MS
  })
  try {
    return await findProposals(asker)
  } finally {
    timer.cancel()
    asker.close()
  }
}
