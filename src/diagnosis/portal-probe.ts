/**
 * The web probe: a plain HTTP request whose true answer is known. Whoever answers otherwise stands in between.
 *
 * Privacy: one GET without cookies and without a name of ours, to one URL that the user may choose. The default is the one
 * that every Firefox asks; `--no-portal` asks nobody.
 * @module
 */
import { randomBytes } from 'node:crypto'
import { isIP } from 'node:net'
import { failureOf, systemCode } from '../transport/failure.ts'
import type { PortalProbeEvidence } from './evidence.ts'
import { DEFAULT_PORTAL_URL } from './portal-settings.ts'
import { type SmallResponse, smallGet } from './small-get.ts'
import { webUrl } from './web-url.ts'

/** A server of one's own may prove that it is the genuine one, by repeating what it was sent. */
const CHALLENGE_HEADER = 'x-ikestream-challenge'
export const RESPONSE_HEADER = 'x-ikestream-response'

/** What genuine servers of this kind answer: Mozilla, NetworkManager, Apple, Microsoft. Else: 204 with nothing in it. */
const GENUINE_BODIES: readonly RegExp[] = [
  /^success\s*$/,
  /^NetworkManager is online/,
  /^<HTML><HEAD><TITLE>Success<\/TITLE><\/HEAD><BODY>Success<\/BODY><\/HTML>\s*$/i,
  /^Microsoft Connect Test\s*$/
]

type Reading = Pick<PortalProbeEvidence, 'outcome' | 'portalUrl'>

/** What an answer to the probe says. Pure. */
export function readProbeAnswer(
  url: URL,
  challenge: string,
  { status, headers, body }: Omit<SmallResponse, 'address'>
): Reading {
  const repeated = headers[RESPONSE_HEADER]
  if (repeated === `response ${challenge}`) return { outcome: 'expected', portalUrl: null }
  if (status === 511) return { outcome: 'login-required', portalUrl: pageTarget(body, url) }
  if (status >= 300 && status < 400) return readRedirect(url, headers['location'])
  if (status === 204 && body === '') return { outcome: 'expected', portalUrl: null }
  if (status === 200 && GENUINE_BODIES.some((pattern) => pattern.test(body)))
    return { outcome: 'expected', portalUrl: null }
  if (status === 200 && looksLikeLogin(body))
    return { outcome: 'portal-page', portalUrl: pageTarget(body, url) }
  return { outcome: 'unexpected', portalUrl: null }
}

/** A server of one's own may lead from http to https or to another path of its own; only a portal leads elsewhere. */
function readRedirect(url: URL, location: string | undefined): Reading {
  const target = webUrl(location, url)
  if (target === null || new URL(target).hostname === url.hostname)
    return { outcome: 'unexpected', portalUrl: null }
  return { outcome: 'portal-redirect', portalUrl: target }
}

/** A page instead of a word: a form, a refresh to somewhere, or the markup of a wireless service provider (WISPr). */
function looksLikeLogin(body: string): boolean {
  return /<form[\s>]|<WISPAccessGatewayParam|http-equiv\s*=\s*["']?refresh|window\.location|location\.(href|replace)/i.test(
    body
  )
}

/** Where a page leads without being asked, if it says so. */
function pageTarget(body: string, base: URL): string | null {
  const login = /<LoginURL>\s*(?:<!\[CDATA\[)?([^<\]]+)/i.exec(body)?.[1]
  for (const candidate of [login, ...tagTargets(body)]) {
    const target = candidate === undefined ? null : webUrl(candidate.replaceAll('&amp;', '&').trim(), base)
    if (target !== null) return target
  }
  return null
}

/**
 * A tag or an attribute of it. Neither pattern can look at a character more than a few times, whatever the page holds: a
 * stranger wrote it.
 */
const TAG = /<(a|meta)\s([^<>]{0,2048})>/gi
const ATTRIBUTE = /([^\s"'<>=/]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'<>]+))/g

/** The first refresh to somewhere, and the first link. */
function tagTargets(body: string): (string | undefined)[] {
  let refresh: string | undefined
  let link: string | undefined
  for (const [, tag = '', text = ''] of body.matchAll(TAG)) {
    const attributes = attributesOf(text)
    if (tag.toLowerCase() === 'a') link ??= attributes.get('href')
    else if (attributes.get('http-equiv')?.toLowerCase() === 'refresh')
      refresh ??= /url\s*=\s*["']?([^"'\s]+)/i.exec(attributes.get('content') ?? '')?.[1]
    if (refresh !== undefined && link !== undefined) break
  }
  return [refresh, link]
}

function attributesOf(text: string): ReadonlyMap<string, string> {
  const found = new Map<string, string>()
  for (const [, name = '', ...values] of text.matchAll(ATTRIBUTE))
    found.set(name.toLowerCase(), values.find((value) => value !== undefined) ?? '')
  return found
}

/** Never rejects. */
export async function probePortal(
  urlText: string,
  timeoutMs: number,
  signal: AbortSignal
): Promise<PortalProbeEvidence> {
  const url = new URL(urlText)
  const challenge = randomBytes(16).toString('hex')
  const startedAt = performance.now()
  const elapsedMs = (): number => Math.round((performance.now() - startedAt) * 100) / 100
  const base = { url: url.href, status: null, portalUrl: null, address: null, message: null }
  try {
    // Nobody but a server of one's own would know what to do with it.
    const headers = url.href === DEFAULT_PORTAL_URL ? {} : { [CHALLENGE_HEADER]: challenge }
    const response = await smallGet(url, { headers, timeoutMs, signal })
    const { status, address } = response
    return { ...base, ...readProbeAnswer(url, challenge, response), status, address, elapsedMs: elapsedMs() }
  } catch (error) {
    return { ...base, ...readFailure(error, url), elapsedMs: elapsedMs() }
  }
}

function readFailure(error: unknown, url: URL): Pick<PortalProbeEvidence, 'outcome' | 'message'> {
  const code = systemCode(error)
  const message = error instanceof Error && error.message !== '' ? error.message : code
  if (/^E(NOTFOUND|AI_|REFUSED|SERVFAIL|TIMEOUT|CANCELLED)/.test(code) && isIP(url.hostname) === 0)
    return { outcome: 'name-failed', message }
  // With several addresses tried, Node says so in one error that holds the others.
  const [first] = error instanceof AggregateError ? error.errors : [error]
  const { code: reason } = failureOf(systemCode(first), url.host)
  if (reason === 'connection-refused' || reason === 'connection-reset') return { outcome: 'refused', message }
  return { outcome: reason === 'network-unreachable' ? 'unreachable' : 'silent', message }
}
