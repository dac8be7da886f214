/**
 * A session as `ikestream status` shows it: one plain document, which schema/status.schema.json describes.
 *
 * SAs have the words and units of strongSwan's `list-sas`, in camel case: whole seconds where that has seconds. Everything
 * else says its unit in its name. Fields are only ever added.
 * @module
 */
import type { AlgorithmNames } from '../crypto/algorithm-names.ts'
import type { DataPathFacts } from '../dataplane/facts.ts'
import type { DropCounters } from '../dataplane/stats.ts'
import type { ChildSaInfo, IkeSaInfo, SessionInfo } from '../ike/session-info.ts'
import type { TransportKind } from '../wire/endpoint.ts'
import type { StreamFaults } from '../wire/frame-fate.ts'
import type { OuterTls } from './events.ts'
import type { Link } from './link.ts'
import type { ConnectOptions } from './options.ts'
import { outerTls } from './outer-tls.ts'
import type { RungRecord, SessionHistory, SessionPhase } from './session-history.ts'
import type { ChildTraffic, TunnelReport } from './tunnel.ts'

export interface ChildSaStatus {
  readonly uniqueid: number
  /** Stays the same over rekeyings. */
  readonly reqid: number
  readonly state: string
  readonly mode: 'TUNNEL'
  readonly protocol: 'ESP'
  /** ESP is always encapsulated: in UDP, or in a stream. */
  readonly encap: true
  readonly spiIn: string
  readonly spiOut: string
  readonly encrAlg: string | null
  readonly encrKeysize: number | null
  readonly integAlg: string | null
  /** Of the key exchange that made it; null when its keys come from the IKE SA's. */
  readonly dhGroup: string | null
  readonly esn: boolean
  readonly bytesIn: number
  readonly packetsIn: number
  readonly bytesOut: number
  readonly packetsOut: number
  /** Seconds until rekeying begins and until the keys are given up; null: never. */
  readonly rekeyTime: number | null
  readonly lifeTime: number | null
  /** Seconds since it was installed. */
  readonly installTime: number
  readonly localTs: readonly string[]
  readonly remoteTs: readonly string[]
}

export interface IkeSaStatus {
  readonly uniqueid: number
  readonly version: 2
  readonly state: string
  readonly localHost: string | null
  readonly localPort: number | null
  readonly localId: string | null
  readonly remoteHost: string | null
  readonly remotePort: number | null
  readonly remoteId: string | null
  readonly initiator: boolean
  readonly initiatorSpi: string
  readonly responderSpi: string
  readonly natLocal: boolean
  readonly natRemote: boolean
  readonly natAny: boolean
  readonly encrAlg: string | null
  readonly encrKeysize: number | null
  readonly integAlg: string | null
  readonly prfAlg: string | null
  readonly dhGroup: string | null
  /** Seconds since it was established; null: not yet. */
  readonly established: number | null
  readonly rekeyTime: number | null
  readonly lifeTime: number | null
  readonly localVips: readonly string[]
  readonly tasksQueued: readonly string[]
  readonly tasksActive: readonly string[]
  readonly childSas: readonly ChildSaStatus[]
}

export interface PathChange {
  /** RFC 3339. */
  readonly time: string
  readonly from: TransportKind
  readonly to: TransportKind
  readonly reason: string
  readonly outageMs: number
}

export interface SessionStatus {
  readonly name: string
  /** What runs it: the command, or a program that uses the library. */
  readonly runBy: 'connect' | 'exec' | 'api'
  readonly pid: number
  readonly state: SessionPhase | 'disconnecting'
  readonly server: string
  readonly startedAt: string
  readonly connectedAt: string | null
  readonly reconnects: number
  /** The path in use; null while there is none. */
  readonly transport: TransportKind | null
  readonly via: string | null
  readonly gateway: string | null
  readonly gatewayId: string | null
  readonly localId: string | null
  readonly outerTls: OuterTls | null
  readonly interface: string
  readonly netns: string | null
  readonly mtu: number
  readonly virtualIps: readonly string[]
  readonly dns: readonly string[]
  /** Who was told of the name servers. */
  readonly dnsMode: string | null
  readonly ikeSuite: string | null
  readonly espSuite: string | null
  readonly mobike: boolean
  readonly cluster: boolean
  readonly resumption: {
    /** The IKE SA in use was resumed with a ticket. */
    readonly resumed: boolean
    /** How long it may be resumed from now on; null: there is no ticket. */
    readonly ticketValidMs: number | null
  }
  readonly liveness: {
    /** Since anything authentic came from the gateway. */
    readonly lastHeardMs: number | null
    readonly rttMs: number | null
    /** How long it may be silent under traffic until it is asked; 0: never. */
    readonly intervalMs: number
  }
  /** Of packets inside the tunnel. */
  readonly traffic: {
    readonly bytesIn: number
    readonly packetsIn: number
    readonly bytesOut: number
    readonly packetsOut: number
    readonly dropped: Readonly<DropCounters>
  }
  /** What was wrong with the frames of TCP and TLS connections, since the session began. */
  readonly streams: Readonly<StreamFaults>
  readonly dataPath: DataPathFacts
  /** What was tried at the last climb of the ladder, and what became of it. */
  readonly rungs: readonly RungRecord[]
  /** The oldest first. */
  readonly pathChanges: readonly PathChange[]
  /** What could not be set as asked. */
  readonly notes: readonly string[]
  /** The current IKE SA first, then those that it has replaced and that are not deleted yet. */
  readonly ikeSas: readonly IkeSaStatus[]
}

export interface StatusParts {
  readonly options: ConnectOptions
  readonly runBy: SessionStatus['runBy']
  readonly history: SessionHistory
  readonly link: Link | undefined
  readonly stopping: boolean
  readonly tunnel: TunnelReport
  readonly streamFaults: Readonly<StreamFaults>
  /** In the clock of the session. */
  readonly now: number
}

export function sessionStatus(parts: StatusParts): SessionStatus {
  const { options, history, link, tunnel } = parts
  const { transport } = tunnel
  const info = link?.driver.session.info(parts.now)
  const { bytesIn, packetsIn, bytesOut, packetsOut, dropped } = tunnel.traffic
  return {
    name: options.sessionName,
    runBy: parts.runBy,
    pid: process.pid,
    state: stateOf(parts),
    server: options.server,
    startedAt: rfc3339(history.startedAtMs),
    connectedAt: history.connectedAtMs === undefined ? null : rfc3339(history.connectedAtMs),
    reconnects: history.reconnects,
    transport: transport?.kind ?? null,
    via: transport?.via ?? null,
    gateway: transport?.path.remote.address ?? null,
    gatewayId: info?.remoteId ?? null,
    localId: info?.localId ?? null,
    outerTls: transport === undefined ? null : outerTls(transport),
    interface: tunnel.interface,
    netns: options.netns ?? null,
    mtu: tunnel.mtu,
    virtualIps: info?.virtualIps ?? [],
    dns: tunnel.dns,
    dnsMode: tunnel.dnsMode,
    ikeSuite: info?.suite ?? null,
    espSuite: info?.childSas[0]?.suite ?? null,
    mobike: info?.mobike ?? false,
    cluster: info?.cluster ?? false,
    resumption: {
      resumed: link?.info.byTicket ?? false,
      ticketValidMs:
        link?.ticket === undefined ? null : Math.max(0, Math.round(link.ticket.expiresAt - parts.now))
    },
    liveness: {
      lastHeardMs: rounded(info?.lastHeardMs),
      rttMs: rounded(info?.rttMs, 2),
      intervalMs: options.timers.livenessMs ?? 0
    },
    traffic: { bytesIn, packetsIn, bytesOut, packetsOut, dropped: { ...dropped } },
    streams: { ...parts.streamFaults },
    dataPath: tunnel.dataPath,
    rungs: history.rungs,
    pathChanges: history.pathChanges.map(({ atMs, ...change }) => ({ time: rfc3339(atMs), ...change })),
    notes: tunnel.notes,
    ikeSas: info === undefined ? [] : ikeSas(info, tunnel.children)
  }
}

/** A session whose path is gone is about to find another one, with or without beginning anew. */
function stateOf({ stopping, history, tunnel }: StatusParts): SessionStatus['state'] {
  if (stopping) return 'disconnecting'
  return history.phase === 'connected' && tunnel.transport === undefined ? 'reconnecting' : history.phase
}

function ikeSas(info: SessionInfo, traffic: ReadonlyMap<number, ChildTraffic>): IkeSaStatus[] {
  const children = info.childSas.map((child) => childSaStatus(child, traffic))
  return [
    ikeSaStatus(info, info, children),
    ...info.predecessors.map((predecessor) => ikeSaStatus(info, predecessor, []))
  ]
}

function ikeSaStatus(session: SessionInfo, sa: IkeSaInfo, childSas: readonly ChildSaStatus[]): IkeSaStatus {
  return {
    uniqueid: sa.uniqueid,
    version: 2,
    state: sa.state,
    localHost: session.localHost ?? null,
    localPort: session.localPort ?? null,
    localId: session.localId ?? null,
    remoteHost: session.remoteHost ?? null,
    remotePort: session.remotePort ?? null,
    remoteId: session.remoteId ?? null,
    initiator: sa.initiator,
    initiatorSpi: sa.initiatorSpi,
    responderSpi: sa.responderSpi,
    natLocal: session.natLocal,
    natRemote: session.natRemote,
    natAny: session.natLocal || session.natRemote,
    ...algorithms(sa.algorithms),
    prfAlg: sa.algorithms?.prfAlg ?? null,
    established: seconds(sa.establishedMs),
    rekeyTime: seconds(sa.rekeyTimeMs),
    lifeTime: seconds(sa.lifeTimeMs),
    localVips: session.virtualIps,
    tasksQueued: sa.tasksQueued,
    tasksActive: sa.tasksActive,
    childSas
  }
}

const NO_TRAFFIC: ChildTraffic = { packetsIn: 0, bytesIn: 0, packetsOut: 0, bytesOut: 0 }

function childSaStatus(child: ChildSaInfo, traffic: ReadonlyMap<number, ChildTraffic>): ChildSaStatus {
  const { bytesIn, packetsIn, bytesOut, packetsOut } =
    traffic.get(Number.parseInt(child.spiIn, 16)) ?? NO_TRAFFIC
  return {
    uniqueid: child.uniqueid,
    reqid: child.childId,
    state: child.state,
    mode: 'TUNNEL',
    protocol: 'ESP',
    encap: true,
    spiIn: child.spiIn,
    spiOut: child.spiOut,
    ...algorithms(child.algorithms),
    esn: child.algorithms.esn,
    bytesIn,
    packetsIn,
    bytesOut,
    packetsOut,
    rekeyTime: seconds(child.rekeyTimeMs),
    lifeTime: seconds(child.lifeTimeMs),
    installTime: Math.floor(child.installTimeMs / 1000),
    localTs: child.localTs,
    remoteTs: child.remoteTs
  }
}

function algorithms(names: AlgorithmNames | undefined) {
  return {
    encrAlg: names?.encrAlg ?? null,
    encrKeysize: names?.encrKeysize ?? null,
    integAlg: names?.integAlg ?? null,
    dhGroup: names?.dhGroup ?? null
  }
}

function seconds(ms: number | undefined): number | null {
  return ms === undefined ? null : Math.floor(ms / 1000)
}

function rounded(ms: number | undefined, digits = 0): number | null {
  return ms === undefined ? null : Number(ms.toFixed(digits))
}

function rfc3339(ms: number): string {
  return new Date(ms).toISOString()
}
