/**
 * A session as people and monitors see it: the words of strongSwan's `list-sas`, in camel case.
 * @module
 */
import { type AlgorithmNames, algorithmNames } from '../crypto/algorithm-names.ts'
import { formatChosenSuite } from '../crypto/proposal.ts'
import { formatTrafficSelector } from '../wire/traffic-selectors.ts'
import { formatIdentity } from './auth/identity.ts'
import type { ChildSa } from './child-sa.ts'
import type { IkeSa } from './ike-sa.ts'
import type { ChildSaState, IkeSaState } from './lifecycle.ts'
import type { SessionState } from './session-state.ts'

export interface ChildSaInfo {
  readonly uniqueid: number
  readonly childId: number
  readonly state: ChildSaState
  readonly spiIn: string
  readonly spiOut: string
  readonly suite: string
  readonly algorithms: AlgorithmNames
  readonly installTimeMs: number
  /** Until rekeying begins, and until the keys are given up; undefined: never. */
  readonly rekeyTimeMs: number | undefined
  readonly lifeTimeMs: number | undefined
  readonly localTs: readonly string[]
  readonly remoteTs: readonly string[]
}

export interface IkeSaInfo {
  readonly uniqueid: number
  readonly state: IkeSaState
  readonly initiator: boolean
  readonly initiatorSpi: string
  readonly responderSpi: string
  readonly suite: string | undefined
  readonly algorithms: AlgorithmNames | undefined
  readonly establishedMs: number | undefined
  readonly rekeyTimeMs: number | undefined
  readonly lifeTimeMs: number | undefined
  /** Message IDs of the next request in either direction. */
  readonly nextRequestId: number
  readonly expectedRequestId: number
  readonly tasksQueued: readonly string[]
  readonly tasksActive: readonly string[]
}

export interface SessionInfo extends IkeSaInfo {
  readonly role: 'initiator' | 'responder'
  readonly localId: string | undefined
  readonly remoteId: string | undefined
  readonly localHost: string | undefined
  readonly localPort: number | undefined
  readonly remoteHost: string | undefined
  readonly remotePort: number | undefined
  readonly transport: 'udp' | 'tcp' | 'tls' | undefined
  readonly natLocal: boolean
  readonly natRemote: boolean
  readonly mobike: boolean
  readonly cluster: boolean
  readonly virtualIps: readonly string[]
  /** Since something authentic last came from the peer, IKE or ESP. */
  readonly lastHeardMs: number | undefined
  /** Of the last exchange that was made to measure it, or of IKE_SA_INIT. */
  readonly rttMs: number | undefined
  /** Replaced IKE SAs that are not deleted yet. */
  readonly predecessors: readonly IkeSaInfo[]
  readonly childSas: readonly ChildSaInfo[]
}

export function sessionInfo(state: SessionState, now: number): SessionInfo {
  const { path, current, features } = state
  return {
    ...(current === undefined ? NO_IKE_SA : ikeSaInfo(state, current, now)),
    role: state.config.role,
    localId: state.localIdentity && formatIdentity(state.localIdentity),
    remoteId: state.remoteIdentity && formatIdentity(state.remoteIdentity),
    localHost: path?.local.address,
    localPort: path?.local.port,
    remoteHost: path?.remote.address,
    remotePort: path?.remote.port,
    transport: path?.transport,
    natLocal: state.natLocal,
    natRemote: state.natRemote,
    mobike: features.mobike,
    cluster: features.messageIdSync,
    virtualIps: state.assigned?.addresses.map(({ address }) => address) ?? [],
    lastHeardMs: state.established ? now - state.lastReceivedAt : undefined,
    rttMs: state.rttMs,
    predecessors: state.sas.filter((sa) => sa !== current).map((sa) => ikeSaInfo(state, sa, now)),
    childSas: [...state.children.values()].map((child) => childSaInfo(state, child, now))
  }
}

const NO_IKE_SA: IkeSaInfo = {
  uniqueid: 0,
  state: 'DESTROYED',
  initiator: false,
  initiatorSpi: '',
  responderSpi: '',
  suite: undefined,
  algorithms: undefined,
  establishedMs: undefined,
  rekeyTimeMs: undefined,
  lifeTimeMs: undefined,
  nextRequestId: 0,
  expectedRequestId: 0,
  tasksQueued: [],
  tasksActive: []
}

function ikeSaInfo(state: SessionState, sa: IkeSa, now: number): IkeSaInfo {
  return {
    uniqueid: sa.number,
    state: sa.state,
    initiator: sa.isInitiator,
    initiatorSpi: hex(sa.spiI),
    responderSpi: hex(sa.spiR),
    suite: sa.security && formatChosenSuite(sa.security.chosen, 'ike'),
    algorithms: sa.security && algorithmNames(sa.security.chosen),
    establishedMs: sa.establishedAt === undefined ? undefined : now - sa.establishedAt,
    rekeyTimeMs: until(state.timers.at('ike-rekey', sa.number), now),
    lifeTimeMs: until(state.timers.at('ike-expire', sa.number), now),
    nextRequestId: sa.exchanges.nextRequestId,
    expectedRequestId: sa.exchanges.expectedRequestId,
    tasksQueued: [...sa.queue, ...sa.deferred.map(({ task }) => task)].map(({ name }) => name),
    tasksActive: sa.active === undefined ? [] : [sa.active.name]
  }
}

function childSaInfo(state: SessionState, child: ChildSa, now: number): ChildSaInfo {
  return {
    uniqueid: child.number,
    childId: child.childId,
    state: child.state,
    spiIn: child.spiIn.toString(16).padStart(8, '0'),
    spiOut: child.spiOut.toString(16).padStart(8, '0'),
    suite: formatChosenSuite(child.chosen, 'esp'),
    algorithms: algorithmNames(child.chosen),
    installTimeMs: now - child.installedAt,
    rekeyTimeMs: until(state.timers.at('child-rekey', child.number), now),
    lifeTimeMs: until(state.timers.at('child-expire', child.number), now),
    localTs: child.localTs.map(formatTrafficSelector),
    remoteTs: child.remoteTs.map(formatTrafficSelector)
  }
}

function until(at: number | undefined, now: number): number | undefined {
  return at === undefined ? undefined : Math.max(0, at - now)
}

function hex(spi: bigint): string {
  return spi.toString(16).padStart(16, '0')
}
