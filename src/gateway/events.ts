/**
 * What a gateway tells its owner, as it stands in the JSON output.
 * @module
 */
import type { IkeCloseReason } from '../ike/types.ts'
import type { TransportKind } from '../wire/endpoint.ts'
import type { NodeRole } from './cluster-protocol.ts'

export interface ListeningAddress {
  /** `udp` on the NAT traversal port carries ESP, on the other one IKE only. */
  readonly transport: TransportKind
  readonly address: string
  readonly port: number
}

export type GatewayEvent =
  | {
      readonly event: 'listening'
      readonly listening: readonly ListeningAddress[]
      readonly identity: string
      readonly interface: string
      readonly pools: readonly string[]
      /** CA of the development certificate; null with a certificate of one's own. */
      readonly cafile: string | null
    }
  | {
      readonly event: 'client-up'
      /** Tells sessions apart for as long as the gateway runs. */
      readonly peer: number
      readonly identity: string
      readonly virtualIps: readonly string[]
      readonly transport: TransportKind
      /** `address:port`, or `[address]:port`. */
      readonly remote: string
      /** Taken over from the other node of a cluster. */
      readonly resumed: boolean
      /** Its session was resumed with a ticket (RFC 5723): it was not authenticated anew. */
      readonly ticket: boolean
    }
  | {
      readonly event: 'client-moved'
      readonly peer: number
      readonly identity: string
      readonly from: TransportKind
      readonly to: TransportKind
      readonly remote: string
    }
  | {
      readonly event: 'client-down'
      readonly peer: number
      readonly identity: string
      readonly reason: IkeCloseReason
      readonly bytesIn: number
      readonly bytesOut: number
    }
  | {
      readonly event: 'cluster'
      readonly node: string
      readonly role: NodeRole
      /** What has changed: `elected`, `peer-gone`, `ready` and so on. */
      readonly reason: string
      /** Counts takeovers. */
      readonly term: number
      /** The other node, while it is linked. */
      readonly peer: string | null
      /** It serves; or, as a standby, could go on with every session. */
      readonly ready: boolean
      readonly sessions: number
    }
  | { readonly event: 'error'; readonly code: string; readonly message: string }
