/**
 * `check` for programs: over which transports this machine reaches the gateway, and what is in the way.
 * @module
 */
import type { CheckDocument } from '../check/document.ts'
import { planCheck, runPlan } from '../cli/check-run.ts'
import { type GatewaySettings, understand } from './settings.ts'

export interface CheckSettings extends GatewaySettings {
  /** This machine's address on the Internet, if it is known. */
  readonly publicAddress?: string | undefined
  /** Also finds out which IKE suites the gateway accepts. */
  readonly proposals?: boolean | undefined
  /** Also authenticates, sees whether ESP passes, and disconnects. */
  readonly auth?: boolean | undefined
  /** Also measures through the tunnel, for so many seconds. */
  readonly bandwidth?: number | undefined
  /** A host behind the gateway that answers pings. */
  readonly innerHost?: string | undefined
}

const OWN_NAMES = ['publicAddress', 'proposals', 'auth', 'bandwidth', 'innerHost']

/**
 * Changes nothing, and needs neither root nor (without `auth`) credentials.
 * @returns the document of `ikestream check --json`; that nothing works is a result, too
 * @throws IkestreamError for settings that cannot work, or the signal's reason
 */
export async function check(settings: CheckSettings): Promise<CheckDocument> {
  const {
    signal = new AbortController().signal,
    publicAddress,
    proposals,
    auth,
    bandwidth,
    innerHost
  } = settings
  signal.throwIfAborted()
  const { server, profileName, values, secrets, log } = understand(settings, OWN_NAMES)
  const flags = {
    nonInter: true,
    ...(publicAddress !== undefined && { publicAddress }),
    ...(proposals !== undefined && { proposals }),
    ...(auth !== undefined && { auth }),
    ...(bandwidth !== undefined && { bandwidth }),
    ...(innerHost !== undefined && { innerHost })
  }
  const document = await runPlan(
    await planCheck(server, profileName, values, flags, log, secrets),
    log,
    signal
  )
  signal.throwIfAborted()
  return document
}
