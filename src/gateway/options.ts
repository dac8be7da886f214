/**
 * Everything a gateway needs to know, resolved: files read, names parsed. Every figure has its source beside it.
 * @module
 */
import type { KeyObject } from 'node:crypto'
import type { TrustStore } from '../crypto/certificate.ts'
import type { TicketKey } from '../ike/ticket-vault.ts'
import type { Identity, IkeTimers } from '../ike/types.ts'
import type { Secret } from '../secret.ts'
import type { SocketSettings } from '../transport/socket-settings.ts'
import type { Cidr } from '../wire/cidr.ts'
import type { Proposal } from '../wire/ike-message.ts'
import type { ClusterOptions } from './cluster-options.ts'

export interface GatewayPorts {
  readonly ike: number
  readonly natT: number
  readonly tcp: number
  readonly tls: number
}

export const DEFAULT_GATEWAY_PORTS: GatewayPorts = { ike: 500, natT: 4500, tcp: 4500, tls: 443 }
export const DEFAULT_POOLS = ['10.99.0.0/24', 'fd00:99::/64'] as const

/** A certificate with its key; proves the gateway in IKE, in EAP-TLS and in the outer TLS. */
export interface GatewayCertificate {
  /** DER, leaf first. */
  readonly chain: readonly Uint8Array[]
  readonly key: KeyObject
}

export interface GatewayLimits {
  /** Stream connections in all, and of one address (IPv6: /64). */
  readonly maxConnections: number
  readonly maxConnectionsPerAddress: number
  /** From accepting to the whole prefix, with the TLS handshake in between: 5 s, as libreswan has it. */
  readonly prefixTimeoutMs: number
  /** A connection on which no IKE SA began or came back is closed (RFC 9329 section 6.1: "a few seconds"). */
  readonly noSessionTimeoutMs: number
  /** A connection that was replaced and is silent is closed (RFC 9329 section 6.1). */
  readonly replacedIdleMs: number
  /** A client that sends nothing for so long is asked whether it lives: else its address would be lost for hours. 0: never. */
  readonly idleLivenessMs: number
  /** How long `close` waits for the peers' answers to DELETE. */
  readonly closePatienceMs: number
}

export const DEFAULT_GATEWAY_LIMITS: GatewayLimits = {
  maxConnections: 4096,
  maxConnectionsPerAddress: 128,
  prefixTimeoutMs: 5_000,
  noSessionTimeoutMs: 10_000,
  replacedIdleMs: 30_000,
  idleLivenessMs: 120_000,
  closePatienceMs: 2_000
}

/** IKE SAs that are not authenticated yet: in all, of one address, and how many there may be before cookies are asked for. */
export const DEFAULT_MAX_HALF_OPEN = 1024
export const MAX_HALF_OPEN_PER_ADDRESS = 64
export const COOKIE_THRESHOLD = 32
/**
 * Puzzles (RFC 8019) from half of the room for half-open IKE SAs on. 14 bits take a client less than a second (table 2 there), and the
 * gateway four hashes.
 */
export const PUZZLE_SHARE = 0.5
export const PUZZLE_DIFFICULTY = 14

export interface GatewayOptions {
  /** Addresses; empty: all of this machine. */
  readonly listen: readonly string[]
  readonly ports: GatewayPorts
  readonly udp: boolean
  readonly tcp: boolean
  readonly tls: boolean
  readonly identity: Identity
  readonly certificate: GatewayCertificate
  /** Where clients find the CA of the certificate, if it was made here. */
  readonly cafile: string | undefined
  readonly psk: Secret | undefined
  readonly users: ReadonlyMap<string, Secret>
  /** Trust anchors for clients with certificates, in IKE or in EAP-TLS. */
  readonly clientTrust: TrustStore | undefined
  /** Virtual addresses; the first host of each is the gateway's own. */
  readonly pools: readonly Cidr[]
  readonly dns: readonly string[]
  /** Domains that these name servers answer for; empty: everything. */
  readonly dnsDomains: readonly string[]
  /** What clients may reach; empty: everything. */
  readonly localTs: readonly Cidr[]
  readonly interfaceName: string | undefined
  readonly ikeProposals: readonly Proposal[]
  readonly espProposals: readonly Proposal[]
  readonly timers: Partial<IkeTimers>
  /** Clients have to authenticate anew before this is over (RFC 4478); undefined: never. */
  readonly authLifetimeMs?: number | undefined
  /** Keys of session tickets (RFC 5723), the first seals; undefined: none are given. */
  readonly ticketKeys?: readonly [TicketKey, ...TicketKey[]] | undefined
  /** Where clients are sent, and when: new ones, or those that are there, on `redirect` alone (RFC 5685). */
  readonly redirect?: { readonly to: string; readonly at: 'init' | 'auth' | 'request' } | undefined
  readonly cookies: 'auto' | 'always' | 'never'
  readonly maxHalfOpen: number
  readonly sockets?: SocketSettings | undefined
  readonly limits: Partial<GatewayLimits>
  /** Undefined: it is alone. */
  readonly cluster?: ClusterOptions | undefined
}
