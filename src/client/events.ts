/**
 * What a session tells its face: the events of `connect --json`, one to one. (`error` is made by the command line, from
 * what the session rejects with.)
 * Field names are part of the command-line contract.
 * @module
 */
import type { TransportKind } from '../wire/endpoint.ts'

export type RungOutcome = 'trying' | 'answered' | 'failed' | 'skipped'

export interface RungEvent {
  readonly event: 'rung'
  readonly transport: TransportKind
  /** Proxy URL without credentials, or null. */
  readonly via: string | null
  readonly address: string
  readonly outcome: RungOutcome
  /** Stable code: why it failed or was skipped; null otherwise. */
  readonly reason: string | null
  /** One sentence for people. */
  readonly message: string | null
  readonly elapsedMs: number
}
/** A captive portal is in the way, and the session keeps trying. */
export interface PortalEvent {
  readonly event: 'portal'
  /** Where to log in; null: it does not say. */
  readonly url: string | null
  readonly message: string
  readonly hint: string | null
}
export interface OuterTls {
  readonly protocol: string
  /** The certificate chains to the trust anchors in use and carries the expected name. */
  readonly authorized: boolean
  /** Stable code of what is wrong with it. */
  readonly problem: string | null
  readonly issuer: string
}
export interface ConnectedEvent {
  readonly event: 'connected'
  readonly transport: TransportKind
  readonly via: string | null
  readonly gateway: string
  readonly gatewayId: string
  readonly virtualIps: readonly string[]
  readonly dns: readonly string[]
  readonly interface: string
  readonly mtu: number
  readonly remoteTs: readonly string[]
  readonly ikeSuite: string
  readonly espSuite: string
  readonly cluster: boolean
  /** Of the TLS around the stream, which proves nothing about the gateway; null on UDP and TCP. */
  readonly outerTls: OuterTls | null
  readonly elapsedMs: number
}
export interface PathChangedEvent {
  readonly event: 'path-changed'
  readonly from: TransportKind
  readonly to: TransportKind
  readonly reason: string
  /** How long the inner traffic saw nothing arrive. */
  readonly outageMs: number
}
export interface RekeyedEvent {
  readonly event: 'rekeyed'
  readonly what: 'ike' | 'child'
  readonly spi: string
}
export interface LivenessEvent {
  readonly event: 'liveness'
  readonly outcome: 'alive' | 'dead'
  readonly rttMs: number | null
}
export interface ReconnectingEvent {
  readonly event: 'reconnecting'
  readonly reason: string
  readonly bytesIn: number
  readonly bytesOut: number
  readonly durationMs: number
}
/** The gateway sends us to another one (RFC 5685). */
export interface RedirectedEvent {
  readonly event: 'redirected'
  /** Address of the gateway that says so. */
  readonly from: string
  /** Address or name of the other one. */
  readonly to: string
  /** In IKE_SA_INIT (not authenticated), in IKE_AUTH, or in the middle of a session. */
  readonly phase: 'init' | 'auth' | 'session'
}
/** A session that was lost goes on with a ticket: nobody had to authenticate (RFC 5723). */
export interface ResumedEvent {
  readonly event: 'resumed'
  readonly gateway: string
}
export interface DisconnectedEvent {
  readonly event: 'disconnected'
  readonly reason: string
  readonly bytesIn: number
  readonly bytesOut: number
  readonly durationMs: number
}
export type ClientEvent =
  | RungEvent
  | PortalEvent
  | ConnectedEvent
  | PathChangedEvent
  | RekeyedEvent
  | LivenessEvent
  | ReconnectingEvent
  | RedirectedEvent
  | ResumedEvent
  | DisconnectedEvent
