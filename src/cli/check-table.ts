/**
 * The result of a check for people: a sentence, and a table of what it rests on.
 * @module
 */
import type { AuthenticationEvidence } from '../check/authenticate.ts'
import type { BandwidthEvidence } from '../check/bandwidth.ts'
import type { CheckDocument } from '../check/document.ts'
import type { ProposalEvidence } from '../check/proposals.ts'
import type {
  IcmpEvidence,
  RoundTrip,
  StreamEvidence,
  UdpEvidence,
  UdpPortEvidence
} from '../diagnosis/evidence.ts'
import { certificateProblem, shortName } from '../diagnosis/paths.ts'
import type { Mark } from './reporter.ts'

/** One row: what was looked at, how it stands, and a few words. */
interface CheckRow {
  readonly what: string
  readonly mark: Mark
  readonly text: string
}

/** @param shown how a mark looks */
export function checkLines(document: CheckDocument, shown: (mark: Mark) => string): string[] {
  const { verdict, findings } = document
  const rows = checkRows(document)
  const width = Math.max(...rows.map(({ what }) => what.length))
  const notes = findings.map(({ level, message, hint }) => {
    const mark = { info: 'info', warning: 'warn', problem: 'bad' } as const
    return `${shown(mark[level])} ${message}${hint === null ? '' : ` ${hint}`}`
  })
  return [
    `${verdict.sentence}.`,
    ...(verdict.hint === null ? [] : [verdict.hint]),
    '',
    ...rows.map(({ what, mark, text }) => `  ${what.padEnd(width)}  ${shown(mark)} ${text}`),
    ...(notes.length === 0 ? [] : ['', ...notes])
  ]
}

const KIND_NAMES = { tcp: 'TCP', tls: 'TLS' } as const

function checkRows(document: CheckDocument): CheckRow[] {
  return [
    ...nameRows(document),
    ...networkRows(document),
    ...document.udp.flatMap((udp) => udpRows(udp)),
    ...document.streams.map(streamRow),
    ...portalRows(document),
    ...depthRows(document)
  ]
}

function row(what: string, mark: Mark, parts: readonly (string | null | false)[]): CheckRow {
  return { what, mark, text: parts.filter((part) => typeof part === 'string' && part !== '').join(', ') }
}

function nameRows({ dns }: CheckDocument): CheckRow[] {
  if (dns === null || dns.outcome === 'literal') return []
  if (dns.outcome !== 'resolved') return [row('Name', 'bad', [dns.message])]
  const honesty = {
    honest: null,
    unknown: null,
    hijacked: 'the name server gives false answers',
    'rewrites-missing-names': 'the name server invents addresses for missing names'
  }[dns.honesty]
  const addresses = dns.addresses.map(({ address }) => address).join(' ')
  const took = dns.elapsedMs === null ? null : ms(dns.elapsedMs)
  return [row('Name', dns.honesty === 'hijacked' ? 'bad' : 'ok', [addresses, took, honesty])]
}

function networkRows({ network }: CheckDocument): CheckRow[] {
  if (network === null) return []
  return (['ipv4', 'ipv6'] as const).map((family) => {
    const { available, address, scope } = network[family]
    const what = family === 'ipv4' ? 'IPv4' : 'IPv6'
    return available
      ? row(what, 'ok', [address, scope === 'public' ? null : scope])
      : row(what, 'info', ['none'])
  })
}

function udpRows({ address, ike, natT, nat, large }: UdpEvidence): CheckRow[] {
  const ports = ike.port === natT.port ? [natT] : [ike, natT]
  const rows = ports.map((port) => udpPortRow(port, address))
  if (nat !== null) {
    const mapping =
      nat.mappedPorts.length === 0
        ? null
        : `seen at ${nat.publicAddress} ${nat.mappedPorts.map(({ gatewayPort, port }) => `port ${port} by ${gatewayPort}`).join(', ')}`
    const varies = nat.mappingVaries === true && 'depends on the destination'
    rows.push(row('NAT', 'info', [nat.present ? 'between here and the gateway' : 'none', mapping, varies]))
  }
  if (large !== null) {
    const black = large.pathMtu !== null && large.pathMtu < large.linkMtu
    const mark = black || large.fragments === 'lost' ? 'warn' : 'ok'
    const whole =
      large.pathMtu === null
        ? 'no large packet passes in one piece'
        : `${large.pathMtu} bytes pass in one piece`
    const fragments =
      large.fragments === 'unknown'
        ? null
        : large.fragments === 'pass'
          ? 'fragments pass'
          : 'fragments are lost'
    rows.push(row('Packet size', mark, [whole, fragments]))
  }
  return rows
}

function udpPortRow(
  { port, outcome, reason, icmp, answer, rtt }: UdpPortEvidence,
  address: string
): CheckRow {
  const what = `UDP ${port}`
  switch (outcome) {
    case 'answered':
      return row(what, 'ok', [
        address,
        'IKE answers',
        rtt === null ? null : shownRtt(rtt),
        answer?.offerWasReal === true &&
          answer.kind !== 'accepted' &&
          `it says ${answer.notify ?? answer.kind}`
      ])
    case 'silent':
      return row(what, 'bad', [address, 'no answer'])
    case 'rejected':
      return row(what, 'bad', [address, icmp === null ? reason : shownIcmp(icmp, address)])
    case 'failed':
      return row(what, 'bad', [address, reason])
    case 'skipped':
      return row(what, 'info', [address, 'not asked'])
  }
}

function shownIcmp({ name, from }: IcmpEvidence, address: string): string {
  const what = name.replaceAll('-', ' ')
  if (from === null) return what
  return from === address ? `${what}, says the gateway itself` : `${what}, says ${from}`
}

function streamRow(stream: StreamEvidence): CheckRow {
  const { transport, port, via, address, outcome, message, reason, rtt, tls } = stream
  const what = `${KIND_NAMES[transport]} ${port}`
  const where = via === null ? address : `through ${via}`
  const certificate = tls === null ? null : certificateText(tls)
  if (outcome === 'answered')
    return row(what, 'ok', [where, 'IKE answers', rtt === null ? null : shownRtt(rtt), certificate])
  if (outcome === 'skipped') return row(what, 'info', [where, 'not asked'])
  if (outcome === 'silent') return row(what, 'bad', [where, 'opens, but no IKE answers', certificate])
  const words = via === null && reason !== null ? FAILURES[reason] : undefined
  return row(what, 'bad', [where, words ?? message ?? reason, certificate])
}

/** Where it is plain who refuses, few words do; what a proxy says is worth repeating. */
const FAILURES: Partial<Readonly<Record<NonNullable<StreamEvidence['reason']>, string>>> = {
  'connection-refused': 'refused',
  'connection-reset': 'cut off',
  'network-unreachable': 'no route',
  'permission-denied': "forbidden by this machine's own firewall",
  timeout: 'no answer'
}

function certificateText(tls: NonNullable<StreamEvidence['tls']>): string {
  const by = shortName(tls.issuer)
  const from = by === '' ? 'certificate' : `certificate from ${by}`
  return tls.authorized ? from : `${from}, not trusted (${certificateProblem(tls)})`
}

function portalRows({ portal: { state, url, probe } }: CheckDocument): CheckRow[] {
  const texts = {
    open: 'none, the web answers',
    portal: `log in at ${url ?? 'any web page'}`,
    suspected: `suspected: the web answers in an unexpected way${probe?.status == null ? '' : ` (status ${probe.status})`}`,
    walled: 'the web does not answer',
    offline: 'no network',
    unknown: 'not known'
  } as const
  const marks: Readonly<Record<typeof state, Mark>> = {
    open: 'ok',
    portal: 'bad',
    suspected: 'warn',
    walled: 'warn',
    offline: 'bad',
    unknown: 'info'
  }
  return [row('Portal', marks[state], [texts[state]])]
}

function depthRows({ proposals, authentication, bandwidth }: CheckDocument): CheckRow[] {
  return [
    ...(proposals === null ? [] : suiteRows(proposals)),
    ...(authentication === null ? [] : authenticationRows(authentication)),
    ...(bandwidth === null ? [] : [bandwidthRow(bandwidth)])
  ]
}

function suiteRows({ suites, recommended, complete, questions }: ProposalEvidence): CheckRow[] {
  const rows = suites.map(({ encryption, groups, prfs, integrities }) =>
    row('Suite', 'info', [
      encryption,
      integrities.length === 0 ? null : integrities.join(' '),
      prfs.join(' '),
      groups.join(' ')
    ])
  )
  const best =
    recommended === null
      ? row('Suites', 'bad', [`nothing that ikestream speaks (${questions} questions)`])
      : row('Suites', 'ok', [`--ike-proposal ${recommended}`])
  return [
    best,
    ...rows,
    ...(complete ? [] : [row('Suites', 'warn', ['the gateway stopped answering: there may be more'])])
  ]
}

function authenticationRows(authentication: AuthenticationEvidence): CheckRow[] {
  const { outcome, message, gatewayId, virtualIps, ikeSuite, espSuite, elapsedMs, esp } = authentication
  if (outcome === 'failed') return [row('Login', 'bad', [message])]
  const rows = [row('Login', 'ok', [gatewayId, virtualIps.join(' '), ikeSuite, ms(elapsedMs)])]
  if (esp === null) return rows
  const rtt = esp.rtt === null ? null : shownRtt(esp.rtt)
  const said = {
    passes: row('ESP', 'ok', [espSuite, esp.host === null ? 'passes' : `${esp.host} answers`, rtt]),
    silent: row('ESP', 'warn', [espSuite, 'nothing came back: no host inside answers, or ESP is lost']),
    untested: row('ESP', 'info', [espSuite, 'nobody inside to ask: name one with --inner-host'])
  }
  return [...rows, said[esp.outcome]]
}

function bandwidthRow({ mbitPerSecond, host, lossPercent, loadedRtt }: BandwidthEvidence): CheckRow {
  const loss = lossPercent === 0 ? null : `${lossPercent} % lost`
  const loaded = loadedRtt === null ? null : `${ms(loadedRtt.medianMs)} under load`
  return row('Bandwidth', 'info', [`${mbitPerSecond} Mbit/s to ${host} and back`, loss, loaded])
}

function shownRtt({ minMs, medianMs, samples }: RoundTrip): string {
  return samples < 2 || medianMs - minMs < 1 ? ms(minMs) : `${ms(minMs)} (median ${ms(medianMs)})`
}

function ms(value: number): string {
  return value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`
}
