/**
 * The shape of IKEv2 messages (RFC 7296 section 3): plain readonly data, no behaviour.
 * `ike-codec.ts` turns them into bytes and back; unknown payloads are kept as they came.
 *
 * IKE SPIs are 64-bit `bigint`s (0n: not yet known); ESP SPIs are 32-bit unsigned `number`s.
 * @module
 */
import type { PayloadType, ProtocolId } from './ike-constants.ts'

export interface IkeHeader {
  readonly spiI: bigint
  readonly spiR: bigint
  /** 2 and 0 for IKEv2. */
  readonly majorVersion: number
  readonly minorVersion: number
  readonly exchangeType: number
  /** The I flag: the sender is the original initiator of this IKE SA. */
  readonly fromInitiator: boolean
  /** The R flag: this message answers one with the same Message ID. */
  readonly isResponse: boolean
  readonly messageId: number
}

/** Transform attributes other than KEY LENGTH are kept in `otherAttributes` so that a proposal with one is never chosen. */
export interface Transform {
  readonly type: number
  readonly id: number
  /** Bits; absent for transforms with a fixed key length. */
  readonly keyLengthBits?: number | undefined
  readonly otherAttributes?: boolean | undefined
}

export interface Proposal {
  readonly number: number
  readonly protocolId: number
  /** Empty, 4 bytes (ESP) or 8 bytes (IKE rekey). */
  readonly spi: Uint8Array
  readonly transforms: readonly Transform[]
}

/** An inclusive range of addresses, ports and one protocol (RFC 7296 section 3.13.1). */
export interface TrafficSelector {
  readonly family: 4 | 6
  /** IP protocol number, 0: any. */
  readonly protocol: number
  readonly startPort: number
  readonly endPort: number
  /** 4 or 16 bytes. */
  readonly startAddress: Uint8Array
  readonly endAddress: Uint8Array
}

export interface ConfigAttributeValue {
  readonly type: number
  readonly value: Uint8Array
}

export interface SaPayload {
  readonly type: typeof PayloadType.SA
  readonly proposals: readonly Proposal[]
}
export interface KePayload {
  readonly type: typeof PayloadType.KE
  readonly group: number
  readonly data: Uint8Array
}
export interface IdPayload {
  readonly type: typeof PayloadType.IDi | typeof PayloadType.IDr
  readonly idType: number
  readonly data: Uint8Array
}
export interface CertPayload {
  readonly type: typeof PayloadType.CERT
  readonly encoding: number
  readonly data: Uint8Array
}
export interface CertReqPayload {
  readonly type: typeof PayloadType.CERTREQ
  readonly encoding: number
  /** Concatenated SHA-1 hashes of the SubjectPublicKeyInfo of trusted CAs. */
  readonly authorities: Uint8Array
}
export interface AuthPayload {
  readonly type: typeof PayloadType.AUTH
  readonly method: number
  readonly data: Uint8Array
}
export interface NoncePayload {
  readonly type: typeof PayloadType.NONCE
  readonly data: Uint8Array
}
export interface NotifyPayload {
  readonly type: typeof PayloadType.NOTIFY
  readonly protocolId: number
  /** Empty unless the notify is about an existing SA. */
  readonly spi: Uint8Array
  readonly notifyType: number
  readonly data: Uint8Array
}
export interface DeletePayload {
  readonly type: typeof PayloadType.DELETE
  readonly protocolId: ProtocolId
  /** Empty for the IKE SA itself. */
  readonly spis: readonly Uint8Array[]
}
export interface VendorIdPayload {
  readonly type: typeof PayloadType.VENDOR_ID
  readonly data: Uint8Array
}
/** Four keys (RFC 8019 section 8.2). */
export interface PuzzleSolutionPayload {
  readonly type: typeof PayloadType.PS
  readonly data: Uint8Array
}
export interface TsPayload {
  readonly type: typeof PayloadType.TSi | typeof PayloadType.TSr
  readonly selectors: readonly TrafficSelector[]
}
export interface ConfigPayload {
  readonly type: typeof PayloadType.CP
  readonly cfgType: number
  readonly attributes: readonly ConfigAttributeValue[]
}
export interface EapPayload {
  readonly type: typeof PayloadType.EAP
  /** One whole EAP packet (RFC 3748 section 4). */
  readonly packet: Uint8Array
}
/** SK as it came: `iv | ciphertext | padding | ICV`, with what is needed to open it. */
export interface EncryptedPayload {
  readonly type: typeof PayloadType.SK
  /** Type of the first payload inside. */
  readonly firstInner: number
  readonly body: Uint8Array
}
/** SKF (RFC 7383 section 2.5). */
export interface EncryptedFragmentPayload {
  readonly type: typeof PayloadType.SKF
  readonly firstInner: number
  readonly fragmentNumber: number
  readonly totalFragments: number
  readonly body: Uint8Array
}
/** A payload whose type is not known here, kept so that its critical bit can be answered (RFC 7296 section 2.5). */
export interface UnknownPayload {
  readonly type: 'unknown'
  readonly payloadType: number
  readonly critical: boolean
  readonly body: Uint8Array
}

export type Payload =
  | SaPayload
  | KePayload
  | IdPayload
  | CertPayload
  | CertReqPayload
  | AuthPayload
  | NoncePayload
  | NotifyPayload
  | DeletePayload
  | VendorIdPayload
  | PuzzleSolutionPayload
  | TsPayload
  | ConfigPayload
  | EapPayload
  | EncryptedPayload
  | EncryptedFragmentPayload
  | UnknownPayload

export interface IkeMessage {
  readonly header: IkeHeader
  readonly payloads: readonly Payload[]
}
