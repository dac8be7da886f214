/**
 * From the options of `ikestream check` to a document.
 * @module
 */
import { randomBytes } from 'node:crypto'
import { type CheckEnvironment, type CheckOptions, check } from '../check/check.ts'
import { type DepthWish, lookDeeper } from '../check/depth.ts'
import { type CheckDocument, checkDocument } from '../check/document.ts'
import { systemClock } from '../clock.ts'
import { judge } from '../diagnosis/judge.ts'
import { SystemCommandRunner } from '../host/commands.ts'
import type { Logger } from '../log.ts'
import type { GivenSecrets } from './credentials.ts'
import { readInput } from './files.ts'
import type { OptionValues } from './option-values.ts'
import type { OutputFlags } from './output-options.ts'
import { type ConnectFlags, ladderTimings, proposals, resolveOptions } from './resolve-options.ts'
import { transportSettings } from './transport-settings.ts'

export interface CheckFlags extends OutputFlags, ConnectFlags {
  readonly publicAddress?: string
  readonly proposals?: boolean
  readonly auth?: boolean
  /** Seconds; true: as long as usual. */
  readonly bandwidth?: number | true
  readonly innerHost?: string
  /** Seconds; true: as often as usual. */
  readonly watch?: number | true
}

/** What a script waits for without a word of its own. */
export const DEFAULT_TIMEOUT_S = 5
export const DEFAULT_BANDWIDTH_S = 3

/** Everything that a check needs to know, so that it can be repeated. */
export interface CheckPlan {
  readonly options: CheckOptions
  readonly wish: DepthWish
}

/** @throws UsageError, ConfigurationError, InputError, DataError */
export async function planCheck(
  server: string,
  profileName: string | undefined,
  effective: OptionValues,
  flags: CheckFlags,
  log: Logger,
  secrets?: GivenSecrets
): Promise<CheckPlan> {
  const options: CheckOptions = {
    server,
    ...transportSettings(effective, log),
    ikeProposals: proposals(effective, 'ike'),
    ladder: ladderTimings(effective),
    publicAddress: flags.publicAddress,
    ikeCa: effective.list('cafile').map((path) => readInput(path, 'The CA file').toString()),
    timeoutMs: timeoutSeconds(effective) * 1000
  }
  // Bandwidth is measured through a tunnel, which somebody has to be let into.
  const authenticates = flags.auth === true || flags.bandwidth !== undefined
  const bandwidthS = flags.bandwidth === true ? DEFAULT_BANDWIDTH_S : flags.bandwidth
  return {
    options,
    wish: {
      proposals: flags.proposals === true,
      session: authenticates
        ? await resolveOptions(server, profileName, effective, flags, log, secrets)
        : undefined,
      bandwidthMs: bandwidthS === undefined ? undefined : bandwidthS * 1000,
      innerHost: flags.innerHost
    }
  }
}

/** The time that a profile gives a session to come up says nothing about a check. */
function timeoutSeconds(effective: OptionValues): number {
  const isMeant = ['option', 'environment'].includes(effective.source('timeout'))
  return (isMeant ? effective.number('timeout') : undefined) ?? DEFAULT_TIMEOUT_S
}

export async function runPlan(
  { options, wish }: CheckPlan,
  log: Logger,
  signal: AbortSignal
): Promise<CheckDocument> {
  const time = new Date()
  const startedAt = systemClock.now()
  const environment: CheckEnvironment = {
    clock: systemClock,
    random: { bytes: (length) => randomBytes(length) },
    runner: new SystemCommandRunner(log.child('host')),
    variables: process.env,
    signal
  }
  const evidence = await check(options, environment)
  const verdict = judge(evidence)
  const depth = await lookDeeper(wish, options, { evidence, verdict }, { ...environment, log })
  return checkDocument(evidence, verdict, depth, { time, durationMs: systemClock.now() - startedAt })
}
