/**
 * From what a portal's API and a web probe said to one word (RFC 8908 section 5, RFC 8910 section 2).
 * @module
 */
import type { Evidence } from './evidence.ts'
import type { Verdict } from './verdict.ts'

/** Whether anything at all came back from somewhere beyond this machine. */
export function anythingPasses({ udp, streams, dns }: Evidence): boolean {
  if (dns?.outcome === 'resolved' || dns?.outcome === 'not-found') return true
  if (dns?.knownName?.outcome === 'resolved' || dns?.knownName?.outcome === 'not-found') return true
  if (udp.some(({ ike, natT }) => [ike, natT].some(({ outcome }) => outcome === 'answered'))) return true
  return streams.some(({ outcome, openMs }) => outcome === 'answered' || openMs !== null)
}

/** No network, or none with a route: nothing was even sent. */
export function isOffline(evidence: Evidence): boolean {
  const { network, udp, streams } = evidence
  if (network !== null) return !network.ipv4.available && !network.ipv6.available
  // `connect` does not look at routes: there it shows in that every rung says so.
  const tried = [...udp.flatMap(({ ike, natT }) => [ike, natT]), ...streams].filter(
    ({ outcome }) => outcome !== 'skipped'
  )
  return tried.length > 0 && tried.every(({ reason }) => reason === 'network-unreachable')
}

/** The portal's own API has the first word (it knows), then the web probe. */
export function portalState(evidence: Evidence): Verdict['portal'] {
  if (isOffline(evidence)) return { state: 'offline', url: null }
  const { api, probe } = evidence.portal ?? { api: null, probe: null }
  if (api?.outcome === 'answered' && api.captive === true)
    return { state: 'portal', url: api.userPortalUrl ?? probe?.portalUrl ?? null }
  switch (probe?.outcome) {
    case 'portal-redirect':
    case 'portal-page':
    case 'login-required':
      return { state: 'portal', url: probe.portalUrl ?? probe.url }
    case 'expected':
      return { state: 'open', url: null }
    case 'unexpected':
      return { state: 'suspected', url: probe.url }
    case 'silent':
    case 'refused':
    case 'name-failed':
    case 'unreachable':
      if (apiSaysOpen(evidence)) return { state: 'open', url: null }
      return { state: anythingPasses(evidence) ? 'walled' : 'unknown', url: null }
    default:
      return { state: apiSaysOpen(evidence) ? 'open' : 'unknown', url: null }
  }
}

function apiSaysOpen({ portal }: Evidence): boolean {
  const api = portal?.api
  return api?.outcome === 'unrestricted' || (api?.outcome === 'answered' && api.captive === false)
}
