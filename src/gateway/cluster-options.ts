/**
 * What a node of a cluster needs to know beside its gateway's options, resolved; and the key of the link to the other node.
 * @module
 */
import { hkdfSync } from 'node:crypto'
import type { ServiceAddress } from '../host/service-addresses.ts'
import type { Secret } from '../secret.ts'
import type { Endpoint } from '../wire/endpoint.ts'

export interface ClusterOptions {
  /** Tells the two nodes apart. */
  readonly node: string
  /** Where this node takes the link, and where the other one does; mirrored on the other node. */
  readonly listen: Endpoint
  readonly peer: Endpoint
  /** Shared by the two nodes. */
  readonly secret: Secret
  readonly priority: number
  readonly preempt: boolean
  readonly heartbeatMs: number
  readonly deadMs: number
  readonly takeover: 'self' | 'external'
  /** They move with the work; one of them is what clients connect to. */
  readonly addresses: readonly ServiceAddress[]
}

/**
 * Heartbeats cost next to nothing. Half a second of silence is five of them, and leaves the other half of the second in which
 * inner connections should be carried again for the takeover and for the clients to find out.
 */
export const DEFAULT_HEARTBEAT_MS = 100
export const DEFAULT_DEAD_MS = 500
export const DEFAULT_PRIORITY = 100

const LINK_KEY_LENGTH = 32

/** The pre-shared key of the link's TLS. The caller overwrites it when it is done. */
export function linkKey(secret: Secret): Buffer {
  const material = secret.reveal()
  return Buffer.from(hkdfSync('sha256', material, 'ikestream cluster', 'link psk 1', LINK_KEY_LENGTH))
}
