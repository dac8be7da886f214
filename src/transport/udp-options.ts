/**
 * How a UDP transport is opened.
 * @module
 */
import type { SocketSettings } from './socket-settings.ts'

export interface UdpOptions {
  /** IPv4 or IPv6 in text form. */
  readonly remoteAddress: string
  /** 500 (RFC 7296 section 2); the same as `natTPort`: everything on one socket, with the marker from the start. */
  readonly ikePort?: number | undefined
  /** 4500 (RFC 3947). */
  readonly natTPort?: number | undefined
  readonly localAddress?: string | undefined
  /** Binds to this device (SO_BINDTODEVICE); not possible with Node's own datagrams, and ignored there. */
  readonly interface?: string | undefined
  readonly signal?: AbortSignal | undefined
  /** False: never UDP_SEGMENT nor UDP_GRO. */
  readonly offload?: boolean | undefined
  readonly sockets?: SocketSettings | undefined
}

export const DEFAULT_IKE_PORT = 500
export const DEFAULT_NAT_T_PORT = 4500
