/**
 * What else is worth knowing about a network, one sentence each: also where something works.
 * @module
 */
import type { Evidence, StreamEvidence, UdpEvidence } from './evidence.ts'
import {
  certificateProblem,
  issuedBy,
  isUsed,
  looksIntercepted,
  pathName,
  refusesOffer,
  shortName,
  udpWorks
} from './paths.ts'
import type { Finding, Verdict } from './verdict.ts'

/** An IPv6 link must carry so much (RFC 8200 section 5); ESP needs some of it. */
const COMFORTABLE_MTU = 1400

export function findings(evidence: Evidence, verdict: Omit<Verdict, 'findings'>): readonly Finding[] {
  const all = [
    ...portalFindings(evidence, verdict),
    ...dnsFindings(evidence, verdict),
    ...familyFindings(evidence),
    ...evidence.udp.flatMap((udp) => udpFindings(udp)),
    ...evidence.streams.flatMap((stream) => streamFindings(evidence, stream)),
    ...offerFindings(evidence)
  ]
  // Two addresses of one gateway have the same certificate.
  return all.filter(({ message }, index) => all.findIndex((other) => other.message === message) === index)
}

function finding(
  code: string,
  level: Finding['level'],
  message: string,
  hint: string | null = null
): Finding {
  return { code, level, message, hint }
}

function portalFindings(
  { portal }: Evidence,
  { portal: { state, url }, works }: Omit<Verdict, 'findings'>
): Finding[] {
  const found: Finding[] = []
  const api = portal?.api
  if (state === 'portal' && works) {
    found.push(
      finding(
        'captive-portal',
        'warning',
        `A captive portal is in the way of the web${url === null ? '' : ` (${url})`}; the gateway is reached all the same.`
      )
    )
  }
  if (state === 'suspected') {
    found.push(
      finding(
        'captive-portal-suspected',
        'warning',
        `The web probe was answered by something unexpected${statusText(portal?.probe?.status)}.`,
        'A captive portal or a filter may be in the way: open a page in a browser.'
      )
    )
  }
  if (state === 'walled' && works)
    found.push(finding('walled', 'info', 'The web does not answer from here, the gateway does.'))
  if (api?.outcome === 'failed')
    found.push(
      finding(
        'captive-portal-api',
        'info',
        `The network's captive portal API does not answer: ${api.message}.`
      )
    )
  if (api?.captive === false && api.secondsRemaining !== null)
    found.push(
      finding(
        'captive-portal-session',
        'info',
        `The captive portal lets this machine out for another ${Math.round(api.secondsRemaining / 60)} min.`
      )
    )
  return found
}

function statusText(status: number | null | undefined): string {
  return status == null ? '' : ` (status ${status})`
}

function dnsFindings({ dns, server }: Evidence, verdict: Omit<Verdict, 'findings'>): Finding[] {
  if (dns === null) return []
  const found: Finding[] = []
  if (verdict.dns === 'hijacked')
    found.push(
      finding(
        'dns-hijacked',
        'problem',
        "This network's name server gives false answers.",
        'Give the gateway by its address; a captive portal often does this before the login.'
      )
    )
  if (verdict.dns === 'rewrites-missing-names')
    found.push(
      finding(
        'dns-rewrites',
        'warning',
        "This network's name server invents addresses for names that do not exist."
      )
    )
  const inside = dns.addresses.find(({ scope }) => scope !== 'public')
  if (dns.outcome === 'resolved' && inside !== undefined && looksPublic(server))
    found.push(
      finding(
        'private-address',
        verdict.works ? 'info' : 'warning',
        `${server} has the ${inside.scope} address ${inside.address} here.`,
        verdict.works
          ? null
          : 'Outside of its own network it should have a public one: is this answer genuine?'
      )
    )
  if (dns.nat64 === true) found.push(finding('nat64', 'info', 'This network has a NAT64 for IPv4 addresses.'))
  return found
}

/** A name that anybody may look up, as far as its look goes (RFC 6761, RFC 6762, RFC 8375 and .internal excepted). */
function looksPublic(name: string): boolean {
  return (
    name.includes('.') && !/\.(test|local|localhost|invalid|example|internal|lan|home\.arpa)\.?$/i.test(name)
  )
}

function familyFindings({ udp, streams }: Evidence): Finding[] {
  const worked = new Map<4 | 6, boolean>()
  const note = (family: 4 | 6, works: boolean): void => {
    worked.set(family, works || worked.get(family) === true)
  }
  for (const entry of udp) note(entry.family, udpWorks(entry))
  for (const { address, via, outcome } of streams)
    if (via === null && outcome !== 'skipped') note(address.includes(':') ? 6 : 4, outcome === 'answered')
  const [four, six] = [worked.get(4), worked.get(6)]
  if (four === true && six === false)
    return [
      finding(
        'ipv6-broken',
        'warning',
        'The gateway has an IPv6 address, and does not answer over IPv6 from here.'
      )
    ]
  if (six === true && four === false)
    return [
      finding(
        'ipv4-broken',
        'warning',
        'The gateway has an IPv4 address, and does not answer over IPv4 from here.'
      )
    ]
  return []
}

function udpFindings({ address, ike, natT, nat, large }: UdpEvidence): Finding[] {
  const found: Finding[] = []
  if (ike.outcome !== 'answered' && natT.outcome === 'answered')
    found.push(
      finding(
        'udp-500-blocked',
        'warning',
        `UDP ${ike.port} to ${address} is blocked, ${natT.port} passes.`,
        `With --udp-port ${natT.port} everything goes over the port that passes.`
      )
    )
  if (ike.outcome === 'answered' && !['answered', 'skipped'].includes(natT.outcome))
    found.push(
      finding(
        'udp-4500-blocked',
        'warning',
        `UDP ${ike.port} to ${address} passes, ${natT.port} does not: IKE_AUTH and ESP would be lost.`
      )
    )
  if (large?.fragments === 'lost')
    found.push(
      finding(
        'fragments-lost',
        'warning',
        `IP fragments to ${address} are lost.`,
        'IKE fragments its own messages where both ends can (RFC 7383): nothing to do, unless the gateway cannot.'
      )
    )
  const pathMtu = large?.pathMtu ?? null
  if (large !== null && pathMtu !== null && pathMtu < large.linkMtu) {
    const silent = large.announcedMtu === null
    found.push(
      finding(
        silent ? 'path-mtu-black-hole' : 'path-mtu',
        pathMtu < COMFORTABLE_MTU || silent ? 'warning' : 'info',
        `Packets to ${address} pass up to ${pathMtu} bytes, the own link takes ${large.linkMtu}${silent ? '; larger ones vanish without a word' : ''}.`,
        silent ? `If large transfers stall, set --mtu ${Math.max(1280, pathMtu - 100)}.` : null
      )
    )
  }
  if (nat?.mappingVaries === true)
    found.push(
      finding(
        'nat-varies',
        'info',
        'The NAT gives one local port different outer ports for different destinations.'
      )
    )
  return found
}

function streamFindings(evidence: Evidence, stream: StreamEvidence): Finding[] {
  const { tls, outcome, reason, message, via } = stream
  const name = pathName(stream)
  if (looksIntercepted(stream)) {
    const sure = tls?.anchorsGiven === true
    return [
      finding(
        'tls-intercepted',
        outcome === 'answered' ? 'warning' : 'problem',
        `${name}: the certificate ${sure ? "is not the gateway's" : 'is not trusted here, and nobody inside speaks IKE'}; it was issued${issuedBy(stream)}${outcome === 'answered' ? '. IKE gets through all the same, and authenticates the gateway itself' : ''}.`
      )
    ]
  }
  if (tls !== null && !tls.authorized)
    return [
      finding(
        'tls-untrusted',
        'info',
        `${name}: the certificate from ${shortName(tls.issuer)} is not trusted here (${certificateProblem(tls)}); IKE authenticates the gateway itself.`
      )
    ]
  if (via !== null && reason?.startsWith('proxy-') === true && isUsed(evidence, stream))
    return [finding(reason, 'warning', `${name}: ${message ?? reason}.`)]
  return []
}

function offerFindings(evidence: Evidence): Finding[] {
  if (!refusesOffer(evidence)) return []
  return [
    finding(
      'no-proposal-chosen',
      'problem',
      'The gateway accepts none of the IKE suites that connect would offer.',
      'Find out what it takes with --proposals, and offer that with --ike-proposal.'
    )
  ]
}
