/**
 * The IKE engine's contract with its driver: what goes in, what comes out (RFC 7296; sans-IO).
 *
 * Inputs are method calls on `IkeSession` with the current time in milliseconds of a monotonic clock. Outputs are
 * drained with `poll()` until it returns undefined; `nextTimeout()` then says when to call `timeout(now)`. The
 * engine touches no socket, timer, clock or random generator of its own.
 * @module
 */
import type { TrustStore } from '../crypto/certificate.ts'
import type { RandomSource } from '../crypto/types.ts'
import type { IkestreamError } from '../errors.ts'
import type { ChildSaParameters } from '../esp/types.ts'
import type { LogFields, LogLevel } from '../log.ts'
import type { Path } from '../wire/endpoint.ts'
import type { ConfigAttributeValue, Proposal, TrafficSelector } from '../wire/ike-message.ts'
import type { LocalAuth, RemoteAuth } from './auth/types.ts'
import type { TicketVault } from './ticket-vault.ts'

/** An ID payload's contents (RFC 7296 section 3.5). */
export interface Identity {
  readonly idType: number
  readonly data: Uint8Array
}

/** Everything time-related, in milliseconds; every figure is an option. */
export interface IkeTimers {
  /** First retransmission on UDP, then times `retransmitBase` up to `retransmitTries`; jitter is a fraction of each. */
  readonly retransmitTimeoutMs: number
  readonly retransmitBase: number
  readonly retransmitTries: number
  readonly retransmitJitter: number
  /** The slow retransmission kept on streams for relays (RFC 9329 section 6.2 permits it), and after how long a request fails. */
  readonly streamRetransmitMs: number
  /** The same before the peer was heard at all: the first retransmission of IKE_SA_INIT and of the first IKE_AUTH on a stream. */
  readonly streamFirstRetransmitMs: number
  readonly streamRequestTimeoutMs: number
  /** Liveness check after this long of sending without receiving (RFC 7296 section 2.4); 0: never. */
  readonly livenessMs: number
  /** Cluster peers: INFORMATIONAL after this long of silence in both directions (RFC 9329 section 7.4); 0: never. */
  readonly clusterLivenessMs: number
  readonly ikeLifetimeMs: number
  readonly childLifetimeMs: number
  readonly childLifetimeBytes: number
  readonly childLifetimePackets: number
  /** Rekeying starts at a random point in the first half of the last `rekeyMargin` (fraction) of a lifetime. */
  readonly rekeyMargin: number
  readonly natKeepaliveMs: number
  readonly halfOpenTimeoutMs: number
}

/** What an initiator needs to resume a session (RFC 5723 section 5). Holds a key: whoever has it disposes of it. */
export interface SessionTicket {
  /** As the responder gave it. */
  readonly opaque: Uint8Array
  /** In the time of `now`. */
  readonly expiresAt: number
  readonly localIdentity: Identity
  readonly remoteIdentity: Identity
  /** The suite of the IKE SA that it was given for, and its SK_d. */
  readonly chosen: Proposal
  readonly skD: Uint8Array
}

/** What an initiator asks for in CFG_REQUEST, and what came back. */
export interface ConfigRequest {
  readonly ipv4: boolean
  readonly ipv6: boolean
  readonly dns: boolean
  /** Addresses to ask for again (after a fresh IKE SA). */
  readonly preferred?: readonly string[] | undefined
}
export interface AssignedConfig {
  readonly addresses: readonly { readonly address: string; readonly prefixLength: number }[]
  readonly dns: readonly string[]
  readonly dnsDomains: readonly string[]
  /** INTERNAL_IP4_SUBNET and INTERNAL_IP6_SUBNET, as CIDR. Advisory (RFC 7296 section 3.15.2). */
  readonly subnets: readonly string[]
}

interface CommonConfig {
  readonly ikeProposals: readonly Proposal[]
  readonly espProposals: readonly Proposal[]
  readonly timers: IkeTimers
  /** Largest IP packet that an IKE message or fragment may make on UDP (RFC 7383); default 1280. */
  readonly fragmentSize: number
  readonly mobike: boolean
  /** RFC 6311: offer, or as a responder agree to, synchronisation of Message IDs and replay counters; or of one of them. */
  readonly haSync: boolean | 'message-ids' | 'replay-counters'
}

export interface InitiatorConfig extends CommonConfig {
  readonly role: 'initiator'
  readonly localIdentity: Identity
  /** Sent as IDr and required of the gateway. */
  readonly remoteIdentity: Identity
  readonly localAuth: LocalAuth
  readonly remoteAuth: RemoteAuth
  readonly configRequest: ConfigRequest | undefined
  /** Proposed TSi and TSr; TSi of 0/0 and ::/0 when a virtual address is asked for. */
  readonly localTs: readonly TrafficSelector[]
  readonly remoteTs: readonly TrafficSelector[]
  /** Says that there is no other IKE SA of ours with the responder, which then ends all that it still has (RFC 7296 section 2.4). */
  readonly initialContact?: boolean | undefined
  /** Tickets are asked for (RFC 5723); `ticket`: tried first. */
  readonly resumption?: { readonly ticket: SessionTicket | undefined } | undefined
  /** Redirection is offered and followed (RFC 5685); `from`: the address of the gateway that sent us here. */
  readonly redirect?: { readonly from: string | undefined } | undefined
}

export interface ResponderConfig extends CommonConfig {
  readonly role: 'responder'
  readonly policy: ResponderPolicy
  /** How long an authentication holds (RFC 4478); undefined: for as long as the IKE SA is rekeyed. */
  readonly authLifetimeMs?: number | undefined
  /** Gives and takes tickets (RFC 5723); undefined: there are none. */
  readonly tickets?: TicketVault | undefined
  /** Clients that follow are sent elsewhere: before or after they are authenticated (RFC 5685 sections 3 and 6). */
  readonly redirect?: { readonly to: string; readonly at: 'init' | 'auth' } | undefined
  /** With `auto`, from so many half-open IKE SAs on, puzzles of this difficulty (RFC 8019); undefined: never. */
  readonly puzzles?: { readonly threshold: number; readonly difficulty: number } | undefined
  readonly cookies: 'auto' | 'always' | 'never'
  /** Half-open IKE SAs above which `auto` asks for cookies, and above which new ones are refused. */
  readonly cookieThreshold: number
  readonly maxHalfOpen: number
  readonly maxHalfOpenPerAddress: number
}

/** Decisions of a responder that depend on who asks. All synchronous and free of I/O. */
export interface ResponderPolicy {
  /**
   * How to prove who we are, and what to demand of this initiator; undefined: AUTHENTICATION_FAILED.
   * `kind` is what its first IKE_AUTH asks for: an AUTH payload with a shared key or a signature, or none (EAP).
   */
  authenticationFor(
    initiator: Identity,
    wantedResponder: Identity | undefined,
    kind: 'psk' | 'certificate' | 'eap'
  ): ResponderAuthentication | undefined
  /** Addresses for an authenticated peer; undefined: INTERNAL_ADDRESS_FAILURE. */
  assign(peer: string, request: readonly ConfigAttributeValue[]): AssignedConfig | undefined
  release(peer: string, config: AssignedConfig): void
  /** May whoever has proved to be this peer, by this method, still come in? Asked of sessions that are resumed; default: yes. */
  admits?(peer: string, method: 'psk' | 'certificate' | 'eap'): boolean
  /** Who signs initiators' certificates: named in CERTREQ (RFC 7296 section 1.2), without which many clients send none. */
  readonly clientTrust?: TrustStore | undefined
  /** What this responder lets the peer reach; the engine intersects it with the offer (RFC 7296 section 2.9). */
  readonly localTs: readonly TrafficSelector[]
  /** What a peer without an assigned address may send from; undefined: nothing. */
  readonly remoteTs?: readonly TrafficSelector[] | undefined
}
export interface ResponderAuthentication {
  readonly localIdentity: Identity
  readonly localAuth: LocalAuth
  readonly remoteAuth: RemoteAuth
}

export interface IkeEnvironment {
  readonly random: RandomSource
  /** Wall-clock time for certificate validity, milliseconds since 1970. */
  readonly wallClockMs: () => number
}

/** Key material of an IKE SA for Wireshark's `ikev2_decryption_table`; only produced when asked for. */
export interface IkeKeyLog {
  readonly spiI: bigint
  readonly spiR: bigint
  readonly skEi: Uint8Array
  readonly skEr: Uint8Array
  readonly skAi: Uint8Array
  readonly skAr: Uint8Array
  readonly encryptionId: number
  readonly encryptionKeyBits: number
  readonly integrityId: number
}

/** Suites in strongSwan's keywords, for people and for JSON. */
export interface EstablishedInfo {
  readonly spiI: bigint
  readonly spiR: bigint
  readonly localIdentity: string
  readonly remoteIdentity: string
  readonly ikeSuite: string
  readonly espSuite: string | undefined
  readonly config: AssignedConfig | undefined
  /** The peer sent IKEV2_MESSAGE_ID_SYNC_SUPPORTED. */
  readonly cluster: boolean
  readonly mobike: boolean
  readonly natLocal: boolean
  readonly natRemote: boolean
  /** Taken over from another member of a cluster, not set up here. */
  readonly resumed: boolean
  /** Resumed with a ticket (RFC 5723): nobody was authenticated anew. */
  readonly byTicket: boolean
}

export type IkeOutput =
  /** Put this IKE message on the wire. */
  | { readonly type: 'send'; readonly path: Path; readonly message: Uint8Array }
  /** IKE_SA_INIT was answered: the rung of the ladder works so far. */
  | { readonly type: 'init-answered'; readonly path: Path; readonly rttMs: number }
  | { readonly type: 'established'; readonly info: EstablishedInfo; readonly path: Path }
  /** Install both directions; receive at once. Send on it only after `child-outbound` (RFC 7296 section 2.8). */
  | { readonly type: 'child-up'; readonly child: ChildSaParameters; readonly replaces: number | undefined }
  /** From now on send on the Child SA with this inbound SPI. */
  | { readonly type: 'child-outbound'; readonly spiIn: number }
  /** Remove both directions of this Child SA. */
  | { readonly type: 'child-down'; readonly spiIn: number; readonly spiOut: number; readonly reason: string }
  | { readonly type: 'rekeyed'; readonly what: 'ike' | 'child'; readonly spi: string }
  | { readonly type: 'liveness'; readonly outcome: 'alive' | 'dead'; readonly rttMs: number | undefined }
  /** Traffic of the SA belongs on this path from now on (initiator: the move was answered; responder: the peer moved). */
  | { readonly type: 'path-changed'; readonly path: Path }
  /** The peer is asked whether it lives; `liveness` tells what became of that. */
  | { readonly type: 'asking' }
  /**
   * Somebody, unauthenticated, says that the peer knows nothing of the IKE SA (in answer to what is outstanding) or of the Child SA that we
   * send on. Nothing has changed; the peer is being asked (RFC 7296 section 2.21.4). Before the IKE SA is established: the first IKE_AUTH
   * is outstanding, and repeated as ever.
   */
  | { readonly type: 'hint'; readonly about: 'ike' | 'esp'; readonly path: Path }
  /** The authentication is about to lose its validity: a fresh IKE SA is needed, while this one still works (RFC 4478). */
  | { readonly type: 'reauthenticate' }
  /** What the IKE SA in use may be resumed with from now on; undefined: nothing. Whoever takes it disposes of the one before. */
  | { readonly type: 'ticket'; readonly ticket: SessionTicket | undefined }
  /** A puzzle of the gateway's is being solved (RFC 8019): that takes its time. */
  | { readonly type: 'working' }
  /** The gateway wants us at another one (RFC 5685 section 5); this IKE SA works on. */
  | { readonly type: 'redirect'; readonly to: string }
  /** RFC 6311: add this to every outbound ESP sequence number. */
  | { readonly type: 'replay-counter-sync'; readonly delta: bigint }
  /** IKE SPIs of ours that a responder must route here, as they come and go. */
  | { readonly type: 'spi-claimed' | 'spi-released'; readonly spi: bigint }
  /** Something outside must finish (TLS inside EAP): call `resume(now)` when it has. */
  | { readonly type: 'wait'; readonly until: Promise<void> }
  | { readonly type: 'keys'; readonly keys: IkeKeyLog }
  | { readonly type: 'log'; readonly level: LogLevel; readonly message: string; readonly fields?: LogFields }
  /** The end, exactly once. No error: closed as asked, or deleted by the peer (`reason` tells). */
  | { readonly type: 'closed'; readonly reason: IkeCloseReason; readonly error: IkestreamError | undefined }

export type IkeCloseReason =
  | 'requested'
  | 'deleted-by-peer'
  | 'timeout'
  | 'authentication-failed'
  | 'rejected'
  | 'protocol-error'
  | 'expired'
  | 'redirected'
  | 'replaced'
  | 'handed-over'
