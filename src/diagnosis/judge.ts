/**
 * The judge: from evidence to a verdict that a person understands. Pure; the same for `check`, and for `connect` when it has
 * failed on every rung.
 * @module
 */
import { ExitCode } from '../errors.ts'
import { dnsHonesty } from './dns-honesty.ts'
import type { Evidence } from './evidence.ts'
import { findings } from './findings.ts'
import {
  bestPath,
  isUsed,
  otherPath,
  pathName,
  refusesOffer,
  streamTrouble,
  udpTrouble,
  udpWorks
} from './paths.ts'
import { isOffline, portalState } from './portal-state.ts'
import type { BestPath, Verdict, VerdictCode } from './verdict.ts'

type Opinion = Pick<Verdict, 'code' | 'sentence' | 'hint' | 'exitCode'>

export function judge(evidence: Evidence): Verdict {
  const best = bestPath(evidence)
  const portal = portalState(evidence)
  const dns = dnsHonesty(evidence.dns)
  const opinion = best === null ? whyNot(evidence, portal, dns) : reachable(evidence, best)
  const verdict = { ...opinion, works: best !== null, best, portal, dns }
  return { ...verdict, findings: findings(evidence, verdict) }
}

function opinion(code: VerdictCode, exitCode: ExitCode, sentence: string, hint: string | null): Opinion {
  return { code, exitCode, sentence: capitalised(sentence), hint }
}

// --- something works

function reachable(evidence: Evidence, best: BestPath): Opinion {
  const better = evidence.order.slice(0, evidence.order.indexOf(best.transport))
  const troubles = better
    .map((kind) => (kind === 'udp' ? udpTrouble(evidence) : streamTrouble(evidence, kind)))
    .filter((trouble) => trouble !== null)
  const rtt = best.rttMs === null ? '' : `, ${shownMs(best.rttMs)}`
  const works = `${pathName(best)} works${rtt}`
  const end = refusesOffer(evidence)
    ? 'but the gateway accepts none of the suites that connect would offer'
    : 'connect will use it'
  const sentence = [...troubles, works, end].join('; ')
  return opinion('reachable', ExitCode.ok, sentence, null)
}

/** Whole milliseconds, but for what is quicker than ten. */
export function shownMs(ms: number): string {
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`
}

// --- nothing works: the cause that explains most comes first

function whyNot(evidence: Evidence, portal: Verdict['portal'], dns: Verdict['dns']): Opinion {
  return (
    offline(evidence) ??
    behindPortal(portal) ??
    nameTrouble(evidence, dns) ??
    familyTrouble(evidence) ??
    proxyTrouble(evidence) ??
    unfinished(evidence) ??
    halfOfUdp(evidence) ??
    noIke(evidence) ??
    refused(evidence) ??
    silence(evidence, portal)
  )
}

function offline(evidence: Evidence): Opinion | null {
  if (!isOffline(evidence)) return null
  return opinion(
    'offline',
    ExitCode.unreachable,
    'this machine has no way to the gateway: no network is connected, or none leads there',
    'Connect to a network first; `ip route` shows where packets can go.'
  )
}

function behindPortal({ state, url }: Verdict['portal']): Opinion | null {
  if (state !== 'portal') return null
  const at = url === null ? '' : ` at ${url}`
  return opinion(
    'captive-portal',
    ExitCode.captivePortal,
    `a captive portal is in the way${at}: nothing passes before somebody has logged in there`,
    url === null
      ? 'Open any http:// page in a browser, log in, and try again.'
      : `Open ${url} in a browser, log in, and try again.`
  )
}

function nameTrouble({ dns, server, streams }: Evidence, honesty: Verdict['dns']): Opinion | null {
  if (dns === null || dns.outcome === 'resolved' || dns.outcome === 'literal') return null
  // A proxy may know names that nobody else knows; then it is the proxy that matters.
  if (streams.some(({ via, openMs }) => via !== null && openMs !== null)) return null
  if (dns.outcome === 'not-found') {
    return opinion(
      'name-not-found',
      ExitCode.noHost,
      honesty === 'hijacked'
        ? `the name ${server} is not found, by a name server that does not tell the truth`
        : `the name ${server} does not exist`,
      'Check the spelling, or give the server by its address.'
    )
  }
  return opinion(
    'name-lookup-failed',
    ExitCode.noHost,
    dns.outcome === 'timeout'
      ? `the name ${server} cannot be looked up: no name server answers`
      : `the name ${server} cannot be looked up`,
    'Check that this machine has a working DNS server, or give the server by its address.'
  )
}

/** The gateway has addresses of one family, and this machine a route for the other. */
function familyTrouble({ network, dns, udp, streams }: Evidence): Opinion | null {
  if (network === null || dns === null || dns.addresses.length === 0) return null
  const families = new Set(dns.addresses.map(({ family }) => family))
  if (families.size > 1) return null
  const [only] = families
  const has = (family: 4 | 6): boolean => (family === 4 ? network.ipv4 : network.ipv6).available
  if (only === undefined || has(only)) return null
  if (udp.some(({ ike }) => ike.outcome !== 'failed') || streams.some(({ via }) => via !== null)) return null
  const [theirs, ours] = only === 4 ? ['IPv4', 'IPv6'] : ['IPv6', 'IPv4']
  return opinion(
    'no-route',
    ExitCode.unreachable,
    `the gateway has ${theirs} addresses only, and this machine has ${ours} only`,
    dns.nat64 === true
      ? 'This network has a NAT64: give the gateway by its name, through a name server with DNS64.'
      : `A gateway with an ${ours} address, or a network with ${theirs}, is needed.`
  )
}

function proxyTrouble(evidence: Evidence): Opinion | null {
  const { proxy, streams } = evidence
  const other = otherPath(evidence)
  if (other !== null) {
    const works = `${pathName(other)} works`
    return other.via === null
      ? opinion(
          'only-without-proxy',
          ExitCode.unreachable,
          `nothing works through the proxy ${proxy ?? ''}, but ${works} without it`,
          'Connect with --no-proxy.'
        )
      : opinion(
          'only-through-proxy',
          ExitCode.unreachable,
          `nothing works directly, but ${works}`,
          `Connect with --proxy ${other.via}.`
        )
  }
  if (proxy === null) return null
  const through = streams.filter((stream) => isUsed(evidence, stream) && stream.outcome === 'failed')
  const telling = through.find(({ reason }) => reason?.startsWith('proxy-'))
  if (telling === undefined || through.some(({ reason }) => !reason?.startsWith('proxy-'))) return null
  return opinion(
    'proxy-problem',
    ExitCode.unreachable,
    `${udpClause(evidence)}the proxy does not lead to the gateway: ${telling.message ?? telling.reason}`,
    telling.reason === 'proxy-auth-required'
      ? 'Put user name and password into the proxy URL, in HTTPS_PROXY rather than on the command line.'
      : "Check the proxy setting; the proxy may allow port 443 only (--tls-port 443), or none of the gateway's."
  )
}

function udpClause(evidence: Evidence): string {
  const trouble = udpTrouble(evidence)
  return trouble === null ? '' : `${trouble}, and `
}

function unfinished({ complete }: Evidence): Opinion | null {
  if (complete) return null
  return opinion(
    'unfinished',
    ExitCode.temporary,
    'time was up before everything had its chance, and nothing has answered so far',
    'Give it longer with --timeout.'
  )
}

function halfOfUdp(evidence: Evidence): Opinion | null {
  const half = evidence.udp.find(
    (udp) => !udpWorks(udp) && [udp.ike, udp.natT].some(({ outcome }) => outcome === 'answered')
  )
  if (half === undefined) return null
  const rest = remainingTroubles(evidence)
  const only500 = half.ike.outcome === 'answered'
  return opinion(
    'udp-incomplete',
    ExitCode.unreachable,
    `${udpTrouble(evidence) ?? 'UDP is incomplete'}${rest === '' ? '' : `; ${rest}`}`,
    only500
      ? `Everything behind the first exchange needs UDP ${half.natT.port}, or a stream: ask for one of them to be opened.`
      : `Connect with --udp-port ${half.natT.port}: then IKE begins on the port that passes.`
  )
}

/** Something listens there that is no gateway. */
function noIke(evidence: Evidence): Opinion | null {
  const { streams, server } = evidence
  if (!streams.some((stream) => stream.outcome === 'silent' && isUsed(evidence, stream))) return null
  const rest = [udpTrouble(evidence), remainingTroubles(evidence)].filter(
    (text) => text !== null && text !== ''
  )
  const intercepted = rest.some((text) => text?.includes('intercepted'))
  return opinion(
    'no-ike',
    ExitCode.unreachable,
    rest.join('; '),
    intercepted
      ? 'The network reads along in TLS and lets no IKE pass: use another network, or ask for an exception for the gateway.'
      : `Something answers for ${server}, but no IKE gateway with TCP encapsulation: check address and ports, or put \`ikestream relay\` in front of it.`
  )
}

/** Everything is refused, at once and by name: a firewall, or a gateway that is not running. */
function refused(evidence: Evidence): Opinion | null {
  const tried = [
    ...evidence.udp.flatMap(({ ike, natT }) => [ike, natT]),
    ...evidence.streams.filter((stream) => isUsed(evidence, stream))
  ].filter(({ outcome }) => outcome !== 'skipped')
  const refusals = new Set(['port-unreachable', 'connection-refused', 'connection-reset'])
  if (tried.length === 0 || !tried.every(({ reason }) => reason !== null && refusals.has(reason))) return null
  return opinion(
    'refused',
    ExitCode.unreachable,
    `the host ${evidence.server} refuses everything: ${troubles(evidence)}`,
    'The gateway is not running there, or a firewall answers in its name.'
  )
}

function silence(evidence: Evidence, { state, url }: Verdict['portal']): Opinion {
  const all = troubles(evidence)
  if (state === 'walled') {
    return opinion(
      'walled',
      ExitCode.unreachable,
      `this network lets almost nothing out: neither the gateway nor the web answers (${all})`,
      'A proxy may be the only way out: --proxy. Or it is not a network for the Internet.'
    )
  }
  const hint =
    state === 'suspected'
      ? `A web page answers differently than expected (${url ?? 'the probe'}): there may be a portal to log in to.`
      : state === 'open'
        ? 'The Internet is reachable from here: check the address, whether the gateway is up, and try another network.'
        : 'Check the address and the network; a proxy (--proxy) may be the only way out.'
  return opinion(
    'gateway-silent',
    ExitCode.unreachable,
    `the gateway answers over no transport: ${all}`,
    hint
  )
}

function remainingTroubles(evidence: Evidence): string {
  return (['tcp', 'tls'] as const)
    .map((kind) => streamTrouble(evidence, kind))
    .filter((trouble) => trouble !== null)
    .join('; ')
}

function troubles(evidence: Evidence): string {
  const udp = udpTrouble(evidence)
  const streams = remainingTroubles(evidence)
  const all = [udp, streams].filter((text) => text !== null && text !== '').join('; ')
  return all === '' ? 'nothing could be tried' : all
}

function capitalised(sentence: string): string {
  return sentence.slice(0, 1).toUpperCase() + sentence.slice(1)
}
