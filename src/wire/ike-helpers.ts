/**
 * Small tools over decoded messages: making notifies, finding payloads, SPIs as bytes.
 * @module
 */
import { PayloadType, ProtocolId } from './ike-constants.ts'
import type { NotifyPayload, Payload, UnknownPayload } from './ike-message.ts'

const NO_BYTES = new Uint8Array(0)
export const IKE_SPI_LENGTH = 8
export const ESP_SPI_LENGTH = 4

/** A notify; protocol and SPI only for those about an existing Child SA (RFC 7296 section 3.10). */
export function notify(
  notifyType: number,
  data: Uint8Array = NO_BYTES,
  about: { readonly protocolId: number; readonly spi: Uint8Array } = {
    protocolId: ProtocolId.NONE,
    spi: NO_BYTES
  }
): NotifyPayload {
  return { type: PayloadType.NOTIFY, protocolId: about.protocolId, spi: about.spi, notifyType, data }
}

/** The interface of payloads of type `T`; where one interface serves two types (IDi, IDr), narrowed to `T`. */
export type PayloadOf<T extends Payload['type']> = Payload extends infer P
  ? P extends { readonly type: infer U }
    ? T extends U
      ? P & { readonly type: T }
      : never
    : never
  : never

/** The first payload of a type, or undefined. */
export function findPayload<T extends Payload['type']>(
  payloads: readonly Payload[],
  type: T
): PayloadOf<T> | undefined {
  return findPayloads(payloads, type)[0]
}

/** Every payload of a type, in order. */
export function findPayloads<T extends Payload['type']>(
  payloads: readonly Payload[],
  type: T
): PayloadOf<T>[] {
  return payloads.filter((payload): payload is Payload & PayloadOf<T> => payload.type === type)
}

/** The first notify of a type, or undefined. */
export function findNotify(payloads: readonly Payload[], notifyType: number): NotifyPayload | undefined {
  return findNotifies(payloads, notifyType)[0]
}

/** Every notify of a type, or all notifies, in order. */
export function findNotifies(payloads: readonly Payload[], notifyType?: number): NotifyPayload[] {
  return payloads.filter(
    (payload): payload is NotifyPayload =>
      payload.type === PayloadType.NOTIFY && (notifyType === undefined || payload.notifyType === notifyType)
  )
}

/** The first unknown payload with the critical bit: UNSUPPORTED_CRITICAL_PAYLOAD answers it (RFC 7296 section 2.5). */
export function findUnsupportedCritical(payloads: readonly Payload[]): UnknownPayload | undefined {
  return payloads.find((payload): payload is UnknownPayload => payload.type === 'unknown' && payload.critical)
}

/** An IKE SPI as 8 bytes. */
export function spiToBytes(spi: bigint): Uint8Array {
  const bytes = new Uint8Array(IKE_SPI_LENGTH)
  new DataView(bytes.buffer).setBigUint64(0, spi)
  return bytes
}

/** The IKE SPI in 8 bytes, or undefined if there are not exactly 8. */
export function spiFromBytes(bytes: Uint8Array): bigint | undefined {
  if (bytes.length !== IKE_SPI_LENGTH) return undefined
  return new DataView(bytes.buffer, bytes.byteOffset, IKE_SPI_LENGTH).getBigUint64(0)
}

/** An ESP SPI as 4 bytes. */
export function espSpiToBytes(spi: number): Uint8Array {
  const bytes = new Uint8Array(ESP_SPI_LENGTH)
  new DataView(bytes.buffer).setUint32(0, spi)
  return bytes
}

/** The ESP SPI in 4 bytes, or undefined if there are not exactly 4. */
export function espSpiFromBytes(bytes: Uint8Array): number | undefined {
  if (bytes.length !== ESP_SPI_LENGTH) return undefined
  return new DataView(bytes.buffer, bytes.byteOffset, ESP_SPI_LENGTH).getUint32(0)
}
