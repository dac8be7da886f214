/**
 * Is there a captive portal? Its own API first, where the system knows it, beside the web probe.
 * @module
 */
import type { CommandRunner } from '../host/commands.ts'
import type { PortalApiEvidence, PortalEvidence } from './evidence.ts'
import { askPortalApi } from './portal-api.ts'
import { probePortal } from './portal-probe.ts'
import type { PortalSettings } from './portal-settings.ts'
import { findPortalApi } from './portal-sources.ts'

export interface PortalCheckOptions {
  readonly runner: CommandRunner
  readonly timeoutMs: number
  readonly signal: AbortSignal
}

/** @returns null when it is switched off. Never rejects. */
export async function checkPortal(
  settings: PortalSettings,
  options: PortalCheckOptions
): Promise<PortalEvidence | null> {
  if (!settings.enabled) return null
  const { timeoutMs, signal } = options
  const [api, probe] = await Promise.all([
    askApi(settings, options),
    probePortal(settings.url, timeoutMs, signal)
  ])
  return { api, probe }
}

async function askApi(
  { api }: PortalSettings,
  { runner, timeoutMs, signal }: PortalCheckOptions
): Promise<PortalApiEvidence | null> {
  const found = api === undefined ? await findPortalApi(runner) : { url: api, source: 'option' as const }
  return found === undefined ? null : askPortalApi(found, timeoutMs, signal)
}
