/**
 * The Captive Portal API (RFC 8908): what the network itself says about being captive.
 * @module
 */
import { systemCode } from '../transport/failure.ts'
import type { PortalApiEvidence } from './evidence.ts'
import { UNRESTRICTED } from './portal-settings.ts'
import type { FoundPortalApi } from './portal-sources.ts'
import { smallGet } from './small-get.ts'
import { webUrl } from './web-url.ts'

const MEDIA_TYPE = 'application/captive+json'

export type PortalStatus = Pick<
  PortalApiEvidence,
  'captive' | 'userPortalUrl' | 'venueInfoUrl' | 'canExtendSession' | 'secondsRemaining' | 'bytesRemaining'
>

const NOTHING: PortalStatus = {
  captive: null,
  userPortalUrl: null,
  venueInfoUrl: null,
  canExtendSession: null,
  secondsRemaining: null,
  bytesRemaining: null
}

/**
 * Reads the answer of section 5. Unknown keys, and optional ones of a wrong type, are ignored.
 * @returns undefined when it is no JSON object, or lacks `captive`
 */
export function parsePortalStatus(text: string): PortalStatus | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  const field = (name: string): unknown => (value as Readonly<Record<string, unknown>>)[name]
  const captive = field('captive')
  if (typeof captive !== 'boolean') return undefined
  return {
    captive,
    userPortalUrl: webUrl(field('user-portal-url')),
    venueInfoUrl: webUrl(field('venue-info-url')),
    canExtendSession: flag(field('can-extend-session')),
    secondsRemaining: count(field('seconds-remaining')),
    bytesRemaining: count(field('bytes-remaining'))
  }
}

function flag(value: unknown): boolean | null {
  return typeof value === 'boolean' ? value : null
}

function count(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : null
}

/** Never rejects. The server has to prove its name (section 4.1); one that cannot is as good as none. */
export async function askPortalApi(
  { url, source }: FoundPortalApi,
  timeoutMs: number,
  signal: AbortSignal
): Promise<PortalApiEvidence> {
  const base = { ...NOTHING, url, source, message: null }
  if (url === UNRESTRICTED) return { ...base, outcome: 'unrestricted' }
  try {
    const { status, body } = await smallGet(new URL(url), {
      headers: { Accept: MEDIA_TYPE },
      timeoutMs,
      signal
    })
    if (status !== 200) return { ...base, outcome: 'failed', message: `status ${status}` }
    const parsed = parsePortalStatus(body)
    if (parsed === undefined) return { ...base, outcome: 'failed', message: 'no answer of RFC 8908' }
    return { ...base, ...parsed, outcome: 'answered' }
  } catch (error) {
    const message = systemCode(error) || (error instanceof Error ? error.message : String(error))
    return { ...base, outcome: 'failed', message }
  }
}
