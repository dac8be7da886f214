/**
 * What was seen on a network, compared with what its table says. Pure.
 * @module
 */

import { type ExpectedCheck, type ExpectedConnect, type LabNetwork, SPEED_CLASSES } from './networks.ts'
import { LOGIN_URL } from './plan.ts'
import type { LabSettings } from './settings.ts'
import type { SeenCheck, SeenClient, SeenConnect } from './trial.ts'

/** One thing that is not as expected. */
export interface Difference {
  readonly what: string
  readonly expected: string
  readonly seen: string
}

const EXIT_CODES: Readonly<Record<string, number>> = { reachable: 0, 'captive-portal': 80 }
const UNREACHABLE = 69

/** The exit code of a check with this verdict. */
export function checkExitCode({ verdict }: ExpectedCheck): number {
  return EXIT_CODES[verdict] ?? UNREACHABLE
}

export function compareCheck(network: LabNetwork, settings: LabSettings, seen: SeenCheck): Difference[] {
  const { check: expected } = network.expected
  const pairs: [what: string, expected: unknown, seen: unknown][] = [
    ['verdict', expected.verdict, seen.verdict],
    ['exit code', checkExitCode(expected), seen.exitCode],
    ['transport', expected.over, seen.over],
    ['through', throughWhat(network, expected.over), scheme(seen.via)],
    ['findings', expected.findings.join(', '), seen.findings.join(', ')],
    ['portal', expected.portal, seen.portal],
    ['portal address', expected.portal === 'portal' ? LOGIN_URL : null, seen.portalUrl]
  ]
  if (expected.findsMtu === true) pairs.push(['path MTU', settings.mtu, seen.pathMtu])
  const leastMs = 2 * (settings.delayMs ?? 0)
  const rtt = seen.rttMs !== null && seen.rttMs < leastMs ? `${seen.rttMs} ms` : 'possible'
  return differences('check', [...pairs, ['round trip', 'possible', rtt]])
}

/** @param slack what the time bounds are multiplied by; Infinity: none */
export function compareConnect(network: LabNetwork, seen: SeenConnect, slack: number): Difference[] {
  const { connect: expected } = network.expected
  const pairs: [what: string, expected: unknown, seen: unknown][] =
    'over' in expected
      ? [
          ['transport', expected.over, seen.over ?? seen.error],
          ['through', throughWhat(network, expected.over), scheme(seen.via)],
          ['exit code', 0, seen.exitCode],
          ...trafficPairs(seen)
        ]
      : [
          ['error', expected.error, seen.error],
          ['exit code', expected.exitCode, seen.exitCode],
          ...portalPair(expected, seen)
        ]
  const limitMs = SPEED_CLASSES[expected.within] * slack
  const inTime = seen.elapsedMs <= limitMs ? expected.within : `${(seen.elapsedMs / 1000).toFixed(1)} s`
  return differences('connect', [...pairs, ['time', expected.within, inTime]])
}

/** Of another client only: is there a tunnel with traffic, and should there be one? */
export function compareClient({ expected }: LabNetwork, seen: SeenClient): Difference[] {
  const wanted = 'over' in expected.connect
  const passes = seen.pings && seen.downloads
  if (wanted === passes) return []
  const why = seen.pings ? 'pings pass, a download does not' : 'no tunnel'
  return [
    {
      what: 'client: traffic',
      expected: wanted ? 'passes' : 'no tunnel',
      seen: passes ? 'passes' : why
    }
  ]
}

function trafficPairs({ traffic }: SeenConnect): [string, unknown, unknown][] {
  if (traffic === null) return []
  const { pings, downloads, uploads, survivesIdle } = traffic
  return [
    ['ping', true, pings],
    ['download', true, downloads],
    ['upload', true, uploads],
    ...(survivesIdle === null
      ? []
      : ([['after a silence', true, survivesIdle]] as [string, unknown, unknown][]))
  ]
}

/** The error has to say where to log in. */
function portalPair(
  expected: Extract<ExpectedConnect, { error: string }>,
  { message }: SeenConnect
): [string, unknown, unknown][] {
  if (expected.error !== 'captive-portal') return []
  return [['portal address', LOGIN_URL, message?.includes(LOGIN_URL) === true ? LOGIN_URL : message]]
}

function throughWhat({ proxy }: LabNetwork, over: string | null): string | null {
  if (proxy === undefined || over === null) return null
  return proxy === 'http' ? 'http' : 'socks5'
}

function scheme(via: string | null): string | null {
  return via === null ? null : via.slice(0, via.indexOf(':'))
}

function differences(
  who: string,
  pairs: readonly (readonly [what: string, expected: unknown, seen: unknown])[]
): Difference[] {
  return pairs
    .filter(([, expected, seen]) => expected !== seen)
    .map(([what, expected, seen]) => ({
      what: `${who}: ${what}`,
      expected: String(expected ?? 'none'),
      seen: String(seen ?? 'none')
    }))
}
