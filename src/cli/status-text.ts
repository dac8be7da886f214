/**
 * The status of a session as lines for people.
 * @module
 */
import type { ChildSaStatus, IkeSaStatus, SessionStatus } from '../client/session-status.ts'
import type { Facility } from '../native/speedups.ts'
import { TRANSPORT_NAMES } from './progress-report.ts'
import { bytes, counted, duration } from './units.ts'

const LABEL_WIDTH = 12

/** Bytes a second, measured between two looks. */
export interface Rates {
  readonly inPerSecond: number
  readonly outPerSecond: number
}

/** @param nowMs milliseconds since 1970 */
export function statusLines(status: SessionStatus, nowMs: number, rates?: Rates): string[] {
  const sections: readonly (readonly [label: string, lines: readonly string[]])[] = [
    ['gateway', gatewayLines(status)],
    ['tunnel', tunnelLines(status)],
    ['traffic', trafficLines(status, rates)],
    ['liveness', livenessLines(status)],
    ['IKE SA', status.ikeSas.map(ikeLine)],
    ['Child SA', status.ikeSas.flatMap(({ childSas }) => childSas.map(childLine))],
    ['data path', dataPathLines(status)],
    ['tried', status.rungs.map(rungLine)],
    ['paths', status.pathChanges.map(pathLine)],
    ['notes', status.notes],
    ['process', [`${status.pid} (${status.runBy})`]]
  ]
  return [headline(status, nowMs), ...sections.flatMap(([label, lines]) => labelled(label, lines))]
}

function labelled(label: string, lines: readonly string[]): string[] {
  return lines.map((line, index) => `  ${(index === 0 ? label : '').padEnd(LABEL_WIDTH)}${line}`)
}

function headline(
  { name, state, transport, via, connectedAt, startedAt }: SessionStatus,
  nowMs: number
): string {
  if (state !== 'connected' || transport === null || connectedAt === null)
    return `${name}: ${state}, begun ${ago(nowMs - Date.parse(startedAt))}`
  const through = via === null ? '' : ` through ${via}`
  return `${name}: connected over ${TRANSPORT_NAMES[transport]}${through} for ${duration(nowMs - Date.parse(connectedAt))}`
}

function gatewayLines(status: SessionStatus): string[] {
  const { server, gateway, gatewayId, localId, cluster, mobike, resumption } = status
  if (gateway === null) return [server]
  const flags = [mobike ? 'MOBIKE' : '', cluster ? 'cluster' : '', resumption.resumed ? 'resumed' : '']
  const features = flags.filter((text) => text !== '')
  const proved = `${gateway}${gatewayId === null ? '' : ` (${gatewayId})`}`
  return [[proved, ...(localId === null ? [] : [`as ${localId}`]), ...features].join(', ')]
}

function tunnelLines({ interface: device, netns, mtu, virtualIps, dns, dnsMode }: SessionStatus): string[] {
  const where = netns === null ? device : `${device} in ${netns}`
  const lines = [[where, ...virtualIps, `MTU ${mtu}`].join(', ')]
  if (dns.length > 0) lines.push(`DNS ${dns.join(', ')}${dnsMode === null ? '' : ` (${dnsMode})`}`)
  return lines
}

function trafficLines({ traffic, streams }: SessionStatus, rates: Rates | undefined): string[] {
  const { bytesIn, packetsIn, bytesOut, packetsOut, dropped } = traffic
  const line = (what: string, count: number, packets: number, perSecond: number | undefined): string =>
    `${bytes(count)} ${what} (${counted(packets, 'packet')})${perSecond === undefined ? '' : `, ${bytes(perSecond)}/s`}`
  const lost = Object.entries(dropped).filter(([, count]) => count > 0)
  const faults = Object.entries(streams).filter(([, count]) => count > 0)
  return [
    line('in', bytesIn, packetsIn, rates?.inPerSecond),
    line('out', bytesOut, packetsOut, rates?.outPerSecond),
    ...(lost.length === 0
      ? []
      : [`dropped: ${lost.map(([why, count]) => `${count} ${words(why)}`).join(', ')}`]),
    ...(faults.length === 0
      ? []
      : [`streams: ${faults.map(([what, count]) => `${count} ${words(what)}`).join(', ')}`])
  ]
}

function livenessLines({ liveness: { lastHeardMs, rttMs } }: SessionStatus): string[] {
  if (lastHeardMs === null) return []
  const rtt = rttMs === null ? '' : `, round trip ${rttMs} ms`
  return [`heard ${ago(lastHeardMs)}${rtt}`]
}

function ikeLine(sa: IkeSaStatus): string {
  const parts = [sa.state, algorithms(sa.encrAlg, sa.encrKeysize, sa.integAlg, sa.prfAlg, sa.dhGroup)]
  parts.push(`SPIs ${sa.initiatorSpi}_i ${sa.responderSpi}_r`)
  if (sa.rekeyTime !== null) parts.push(`rekeying in ${duration(sa.rekeyTime * 1000)}`)
  if (sa.natAny) parts.push(natText(sa))
  return parts.filter((part) => part !== '').join(', ')
}

/** What a gateway says of its own side may be a pretence, so that everybody encapsulates. */
function natText({ natLocal, natRemote }: IkeSaStatus): string {
  if (natLocal && natRemote) return 'NAT in front of us, and the gateway says it has one, too'
  return natLocal ? 'NAT in front of us' : 'the gateway says that it is behind NAT'
}

function childLine(sa: ChildSaStatus): string {
  const parts = [sa.state, algorithms(sa.encrAlg, sa.encrKeysize, sa.integAlg, null, sa.dhGroup)]
  parts.push(`SPIs ${sa.spiIn}_in ${sa.spiOut}_out`)
  if (sa.rekeyTime !== null) parts.push(`rekeying in ${duration(sa.rekeyTime * 1000)}`)
  parts.push(`${sa.localTs.join(' ')} to ${sa.remoteTs.join(' ')}`)
  return parts.filter((part) => part !== '').join(', ')
}

function algorithms(encrAlg: string | null, keysize: number | null, ...others: (string | null)[]): string {
  if (encrAlg === null) return ''
  const cipher = keysize === null ? encrAlg : `${encrAlg}-${keysize}`
  return [cipher, ...others.filter((name) => name !== null)].join('/')
}

/** What is in use in one line, and a line for each thing that is not, with the reason. */
function dataPathLines({ dataPath: { cipher, tun, transport } }: SessionStatus): string[] {
  const facilities: readonly (readonly [name: string, facility: Facility | null])[] = [
    ['OpenSSL called directly', cipher.libcrypto],
    ['TUN checksums', tun.checksum],
    ['TUN super-packets of TCP', tun.tcp],
    ['TUN super-packets of UDP', tun.udp],
    ['UDP segmentation', transport?.udpSegmentation ?? null],
    ['UDP coalescing', transport?.udpCoalescing ?? null],
    ['streams without Node', transport?.directStream ?? null]
  ]
  const on = facilities.filter(([, facility]) => facility?.inUse === true).map(([name]) => name)
  const control = transport?.congestionControl ?? null
  if (control !== null) on.push(`TCP ${control}`)
  const off = facilities.flatMap(([name, facility]) =>
    facility === null || facility.inUse ? [] : [`without ${name}: ${facility.why ?? 'not known why'}`]
  )
  return [...(on.length === 0 ? [] : [on.join(', ')]), ...off]
}

function rungLine({
  transport,
  via,
  address,
  outcome,
  reason,
  message,
  elapsedMs
}: SessionStatus['rungs'][number]): string {
  const through = via === null ? '' : ` through ${via}`
  const why = outcome === 'answered' ? '' : `: ${message ?? reason ?? ''}`
  return `${TRANSPORT_NAMES[transport]} to ${address}${through} ${outcome}${why} (${(elapsedMs / 1000).toFixed(2)} s)`
}

function pathLine({ time, from, to, reason, outageMs }: SessionStatus['pathChanges'][number]): string {
  const move =
    from === to ? `back on ${TRANSPORT_NAMES[to]}` : `${TRANSPORT_NAMES[from]} → ${TRANSPORT_NAMES[to]}`
  return `${new Date(time).toLocaleTimeString('en-GB')} ${move} (${reason}), outage ${outageMs} ms`
}

function ago(ms: number): string {
  return ms < 1000 ? 'just now' : `${duration(ms)} ago`
}

/** `outsideSelectors` is `outside selectors`. */
function words(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)
}
