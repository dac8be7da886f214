/**
 * Which ways to the gateway work, in one word and in a few: the part of the judgement that is about transports.
 * @module
 */
import type { TransportKind } from '../wire/endpoint.ts'
import type { Evidence, StreamEvidence, TlsEvidence, UdpEvidence, UdpPortEvidence } from './evidence.ts'
import type { BestPath } from './verdict.ts'

/**
 * IKE_SA_INIT leaves on port 500 and everything after it on 4500 (RFC 7296 section 2.23): UDP is of use where both are answered.
 */
export function udpWorks({ ike, natT }: UdpEvidence): boolean {
  return ike.outcome === 'answered' && natT.outcome === 'answered'
}

/** Would `connect` take this way, proxy setting and all? */
export function isUsed(evidence: Evidence, stream: StreamEvidence): boolean {
  return stream.via === evidence.proxy
}

/** What `connect` would come up over; null: nothing works. */
export function bestPath(evidence: Evidence): BestPath | null {
  for (const kind of evidence.order) {
    const path = kind === 'udp' ? bestUdp(evidence) : bestStream(evidence, kind, true)
    if (path !== null) return path
  }
  return null
}

/** A stream that works, but not with the settings that `connect` would use. */
export function otherPath(evidence: Evidence): BestPath | null {
  for (const kind of evidence.order) {
    const path = kind === 'udp' ? null : bestStream(evidence, kind, false)
    if (path !== null) return path
  }
  return null
}

function bestUdp({ udp }: Evidence): BestPath | null {
  const found = udp.find(udpWorks)
  if (found === undefined) return null
  const { address, natT } = found
  return { transport: 'udp', via: null, address, port: natT.port, rttMs: natT.rtt?.minMs ?? null }
}

function bestStream(evidence: Evidence, kind: TransportKind, used: boolean): BestPath | null {
  const found = evidence.streams.find(
    (stream) =>
      stream.transport === kind && stream.outcome === 'answered' && isUsed(evidence, stream) === used
  )
  if (found === undefined) return null
  const { via, address, port, rtt } = found
  return { transport: kind, via, address, port, rttMs: rtt?.minMs ?? null }
}

const NAMES: Readonly<Record<TransportKind, string>> = { udp: 'UDP', tcp: 'TCP', tls: 'TLS' }

/** `UDP`, `TCP 4500`, `TLS 443 through http://proxy:3128`. */
export function pathName({ transport, port, via }: Pick<BestPath, 'transport' | 'port' | 'via'>): string {
  const through = via === null ? '' : ` through ${via}`
  return transport === 'udp' ? 'UDP' : `${NAMES[transport]} ${port}${through}`
}

/** `connect` would offer nothing that the gateway takes. */
export function refusesOffer({ udp, streams }: Evidence): boolean {
  const answers = [
    ...udp.flatMap(({ ike, natT }) => [ike.answer, natT.answer]),
    ...streams.map(({ answer }) => answer)
  ]
  if (answers.some((answer) => answer?.kind === 'accepted')) return false
  return answers.some((answer) => answer?.offerWasReal === true && answer.kind === 'no-proposal-chosen')
}

/** How UDP stands, as a clause; null: it works, or was not asked. */
export function udpTrouble({ udp, order }: Evidence): string | null {
  if (!order.includes('udp') || udp.length === 0 || udp.some(udpWorks)) return null
  const half = udp.find(({ ike, natT }) => ike.outcome === 'answered' || natT.outcome === 'answered')
  if (half !== undefined) {
    const { ike, natT } = half
    return ike.outcome === 'answered'
      ? `UDP ${natT.port} is blocked, only ${ike.port} passes`
      : `UDP ${ike.port} is blocked, only ${natT.port} passes`
  }
  const ports = udp.flatMap(({ ike, natT }) => [ike, natT]).filter(({ outcome }) => outcome !== 'skipped')
  const rejected = ports.find(({ outcome }) => outcome === 'rejected')
  if (rejected !== undefined) return `UDP is refused${refuser(rejected, udp)}`
  if (ports.some(({ reason }) => reason === 'permission-denied'))
    return "UDP may not be sent: this machine's own firewall forbids it"
  if (ports.length > 0 && ports.every(({ reason }) => reason === 'network-unreachable'))
    return 'there is no route for UDP'
  return 'UDP is blocked on this network'
}

/** Who says no: the gateway itself, or somebody on the way. */
function refuser({ icmp }: UdpPortEvidence, udp: readonly UdpEvidence[]): string {
  if (icmp === null || icmp.from === null) return ''
  const what = icmp.name.replaceAll('-', ' ')
  const isGateway = udp.some(({ address }) => address === icmp.from)
  return isGateway ? ` by the gateway itself (${what})` : ` by ${icmp.from} (${what})`
}

/** How one stream transport stands with the settings in use, as a clause; null: it works, or was not asked. */
export function streamTrouble(evidence: Evidence, kind: 'tcp' | 'tls'): string | null {
  const streams = evidence.streams.filter(
    (stream) => stream.transport === kind && stream.outcome !== 'skipped' && isUsed(evidence, stream)
  )
  const [first] = streams
  if (first === undefined || streams.some(({ outcome }) => outcome === 'answered')) return null
  const name = pathName(first)
  // What says most: a certificate of somebody else, then something that listens, then the rest.
  const telling =
    streams.find(looksIntercepted) ?? streams.find(({ outcome }) => outcome === 'silent') ?? first
  if (looksIntercepted(telling)) return `${name} is intercepted${issuedBy(telling)}`
  if (telling.outcome === 'silent') return `${name} opens, but nobody speaks IKE there`
  return `${name} ${failureClause(telling)}`
}

function failureClause({ reason, message }: StreamEvidence): string {
  switch (reason) {
    case 'connection-refused':
      return 'is refused'
    case 'timeout':
      return 'is blocked'
    case 'connection-reset':
      return 'is cut off'
    case 'network-unreachable':
      return 'has no route'
    case 'permission-denied':
      return "is forbidden by this machine's own firewall"
    case 'proxy-auth-required':
      return 'fails: the proxy wants credentials'
    case 'proxy-refused':
      return 'is refused by the proxy'
    case 'proxy-unreachable':
      return 'fails: the proxy cannot be reached'
    case 'tls-untrusted':
      return 'shows a certificate that is not trusted'
    case 'tls-error':
      return 'does not get through the TLS handshake'
    case 'closed-by-peer':
      return 'is closed as soon as IKE is spoken'
    default:
      return `fails (${reason ?? message ?? 'no reason given'})`
  }
}

/** Problems of a certificate that a gateway's own may have as well: its clock, its name, its operator's neglect. */
const INNOCENT_PROBLEMS = /EXPIRED|NOT_YET_VALID|ALTNAME/

/**
 * Somebody else's certificate? Sure where the user named the gateway's CAs and none of them issued it. Likely where its
 * issuer is unknown here and nobody inside speaks IKE. A gateway with a certificate of its own making looks the
 * same until IKE is answered.
 */
export function looksIntercepted({ tls, outcome }: StreamEvidence): boolean {
  if (tls === null || tls.authorized || INNOCENT_PROBLEMS.test(tls.problem ?? '')) return false
  return tls.anchorsGiven || outcome !== 'answered'
}

export function issuedBy({ tls }: StreamEvidence): string {
  const issuer = tls === null ? '' : shortName(tls.issuer)
  return issuer === '' ? '' : ` by ${issuer}`
}

/** The most telling part of a distinguished name: its organisation, else its common name. */
export function shortName(name: string): string {
  const part = (type: string): string | undefined =>
    new RegExp(`(?:^|, )${type}=([^,]+)`).exec(name)?.[1]?.trim()
  const [organisation, common] = [part('O'), part('CN')]
  if (organisation === undefined) return common ?? name
  return common === undefined || common === organisation ? organisation : `${organisation} (${common})`
}

/** What is wrong with a certificate, in a few words; OpenSSL's and Node's own code where there are none. */
export function certificateProblem({ problem }: TlsEvidence): string {
  if (problem === null) return 'no reason given'
  if (/SELF_SIGNED_CERT$|DEPTH_ZERO/.test(problem)) return 'it is self-signed'
  if (/UNABLE_TO_(VERIFY|GET_ISSUER)|SELF_SIGNED_CERT_IN_CHAIN/.test(problem))
    return 'its CA is not known here'
  if (/EXPIRED/.test(problem)) return 'it has expired'
  if (/NOT_YET_VALID/.test(problem)) return 'it is not valid yet'
  return /ALTNAME/.test(problem) ? 'it is for another name' : problem
}
