/**
 * What the IKE engine hands to the data plane when a Child SA comes up (RFC 7296 section 2.17, RFC 4303).
 * @module
 */
import type { TrafficSelector } from '../wire/ike-message.ts'

/** One direction of a Child SA. Keys are owned by the receiver, which overwrites them when the SA ends. */
export interface EspSaParameters {
  /** 32-bit, never 0. */
  readonly spi: number
  readonly encryptionId: number
  readonly encryptionKeyBits: number
  /** `IntegrityId.NONE` for AEADs. */
  readonly integrityId: number
  /** For AEADs the key followed by the 4-byte salt. */
  readonly encryptionKey: Uint8Array
  readonly integrityKey: Uint8Array
  readonly esn: boolean
  /**
   * Numbers up to this one are used, or count as seen: another member of a cluster has had this SA before (RFC 6311). None by
   * default.
   */
  readonly sequence?: bigint
}

export interface ChildSaParameters {
  /** Local number that stays the same over rekeys of this Child SA. */
  readonly childId: number
  readonly inbound: EspSaParameters
  readonly outbound: EspSaParameters
  /** Seen from this end, whatever its role was in the exchange. */
  readonly localTs: readonly TrafficSelector[]
  readonly remoteTs: readonly TrafficSelector[]
}
