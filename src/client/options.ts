/**
 * Everything a client session needs to know, resolved: files read, names parsed, defaults filled in.
 * @module
 */
import type { PortalSettings } from '../diagnosis/portal-settings.ts'
import type { LocalAuth, RemoteAuth } from '../ike/auth/types.ts'
import type { Identity, IkeTimers } from '../ike/types.ts'
import type { LadderTimings } from '../transport/ladder-types.ts'
import type { SocketSettings } from '../transport/socket-settings.ts'
import type { TransportKind } from '../wire/endpoint.ts'
import type { Proposal, TrafficSelector } from '../wire/ike-message.ts'
import type { CaptureOptions } from './captures.ts'

export interface TransportPorts {
  readonly ike: number
  readonly natT: number
  readonly tcp: number
  readonly tls: number
}

export interface OuterTlsOptions {
  /** SNI and, with `verify`, the name to check; defaults to the server's name. */
  readonly name: string | undefined
  readonly verify: boolean
  /** PEM; empty: the system's. */
  readonly ca: readonly string[]
}

export type ProxySetting =
  | { readonly kind: 'environment' }
  | { readonly kind: 'none' }
  | { readonly kind: 'url'; readonly url: string }

/** The way to the gateway: all that is needed to open a transport. */
export interface TransportOptions {
  /** As the user typed it: a name or an address. */
  readonly server: string
  /** Rungs of the ladder, best first. */
  readonly order: readonly TransportKind[]
  readonly ports: TransportPorts
  readonly tls: OuterTlsOptions
  readonly proxy: ProxySetting
  readonly sockets?: SocketSettings | undefined
  /** Who is asked about captive portals. */
  readonly portal: PortalSettings
}

export interface ConnectOptions extends TransportOptions {
  /** Names the session's state and control files. */
  readonly sessionName: string
  readonly localIdentity: Identity
  readonly remoteIdentity: Identity
  readonly localAuth: LocalAuth
  readonly remoteAuth: RemoteAuth
  readonly ikeProposals: readonly Proposal[]
  readonly espProposals: readonly Proposal[]
  /** Empty: the virtual addresses. */
  readonly localTs: readonly TrafficSelector[]
  readonly remoteTs: readonly TrafficSelector[]
  readonly interfaceName: string | undefined
  /** Undefined: computed from the path. */
  readonly mtu: number | undefined
  readonly netns: string | undefined
  readonly routes: boolean
  readonly dns: boolean
  readonly script: string | undefined
  /** Bringing up is given up after this long; Infinity with `--persist`. */
  readonly timeoutMs: number
  /** The same for a session that lost its gateway. */
  readonly reconnectTimeoutMs: number
  readonly timers: Partial<IkeTimers>
  readonly timings: SessionTimings
  readonly ladder: Partial<LadderTimings>
  /** The user that the session becomes once the tunnel is up. */
  readonly setuid: string | undefined
  /** The gateway is told to end all other sessions of this identity. */
  readonly initialContact: boolean
  /** A lost session may be resumed with a ticket, without authentication (RFC 5723). */
  readonly resume: boolean
  /** Gateways may send us to others (RFC 5685). */
  readonly redirect: boolean
  /** Holds the process id as long as the session runs. */
  readonly pidFile: string | undefined
  /** Files for what is on the wire, and for what is in the tunnel. */
  readonly capture: CaptureOptions
  /** Directory for Wireshark key tables. */
  readonly keyDirectory: string | undefined
  readonly rememberNetworks: boolean
}

/** How a running session watches and changes its path, in milliseconds. Every figure is an option. */
export interface SessionTimings {
  /** On a stream, UDP is probed after this long, then at growing intervals up to the maximum. */
  readonly udpProbeFirstMs: number
  readonly udpProbeMaxMs: number
  /** How long a probe or a moved session may wait for its answer. */
  readonly udpProbeAnswerMs: number
  readonly moveAnswerMs: number
  /** Traffic goes out and nothing comes back for this long: ask with a liveness check. */
  readonly silenceMs: number
  /** The same for a packet or two. */
  readonly sparseSilenceMs: number
  /** No answer to that for this long on UDP: try the streams. */
  readonly livenessAnswerMs: number
  /** Liveness is answered but no ESP comes back for this long: the path does not carry ESP. */
  readonly espSilenceMs: number
  /** The same where somebody inside is silent who used to answer. */
  readonly witnessSilenceMs: number
  /** The same after a change of path that IKE has followed. */
  readonly movedSilenceMs: number
  /** Pauses between attempts to move the session that failed at once. */
  readonly moveRetriesMs: readonly number[]
  /** After this long without success a fresh IKE SA is sought beside further attempts to move. */
  readonly moveGiveUpMs: number
  /** Pauses between attempts to come back when nothing works. */
  readonly retryFirstMs: number
  readonly retryMaxMs: number
  /** The old path is kept this long after the new one carried traffic. */
  readonly lingerMs: number
}

/**
 * Sources: RFC 9329 sections 5.1 and 7.1 for what is done; the figures keep the outage of inner connections below their
 * fourth retransmission (0.2 + 0.4 + 0.8 s after the first loss), while a lost liveness check still has its own
 * retransmission (0.5 s) before the path is given up.
 */
export const DEFAULT_SESSION_TIMINGS: SessionTimings = {
  udpProbeFirstMs: 10_000,
  udpProbeMaxMs: 300_000,
  udpProbeAnswerMs: 1_500,
  moveAnswerMs: 1_500,
  silenceMs: 450,
  sparseSilenceMs: 1_500,
  livenessAnswerMs: 650,
  espSilenceMs: 2_500,
  witnessSilenceMs: 1_500,
  movedSilenceMs: 800,
  moveRetriesMs: [250, 500, 1_000],
  moveGiveUpMs: 3_000,
  retryFirstMs: 500,
  retryMaxMs: 30_000,
  lingerMs: 500
}
