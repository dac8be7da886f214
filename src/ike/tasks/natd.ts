/**
 * NAT_DETECTION_SOURCE_IP and NAT_DETECTION_DESTINATION_IP (RFC 7296 section 2.23; over streams with the stream's
 * ports, RFC 9329 section 6.5).
 *
 * The data plane lives in user space and only speaks UDP-encapsulated ESP, so the source that we announce is false on
 * purpose: it makes every peer see a NAT and encapsulate.
 * @module
 */
import { sha1 } from '../../crypto/legacy-hash.ts'
import { addressToBytes } from '../../wire/address.ts'
import type { Endpoint, Path } from '../../wire/endpoint.ts'
import { NotifyType } from '../../wire/ike-constants.ts'
import { findNotifies, findNotify, notify, spiToBytes } from '../../wire/ike-helpers.ts'
import type { NotifyPayload, Payload } from '../../wire/ike-message.ts'

const NOWHERE: Endpoint = { address: '0.0.0.0', port: 0 }

/** `SHA1(SPIi | SPIr | IP | port)`. */
export function natDetectionHash(spiI: bigint, spiR: bigint, endpoint: Endpoint): Uint8Array {
  const address = addressToBytes(endpoint.address) ?? new Uint8Array(4)
  const port = Uint8Array.of(endpoint.port >>> 8, endpoint.port & 0xff)
  return sha1(spiToBytes(spiI), spiToBytes(spiR), address, port)
}

/** The two notifies for a message on `path`. */
export function natDetectionPayloads(spiI: bigint, spiR: bigint, path: Path): NotifyPayload[] {
  return [
    notify(NotifyType.NAT_DETECTION_SOURCE_IP, natDetectionHash(spiI, spiR, NOWHERE)),
    notify(NotifyType.NAT_DETECTION_DESTINATION_IP, natDetectionHash(spiI, spiR, path.remote))
  ]
}

export interface NatVerdict {
  /** The peer sees another address of ours than we do. */
  readonly local: boolean
  /** We see another address of the peer's than it does (or it says so on purpose). */
  readonly remote: boolean
}

/** @returns undefined when the peer sent no NAT detection: it does not do NAT traversal */
export function natVerdict(
  payloads: readonly Payload[],
  spiI: bigint,
  spiR: bigint,
  path: Path
): NatVerdict | undefined {
  const sources = findNotifies(payloads, NotifyType.NAT_DETECTION_SOURCE_IP)
  const destination = findNotify(payloads, NotifyType.NAT_DETECTION_DESTINATION_IP)
  if (sources.length === 0 || destination === undefined) return undefined
  const here = natDetectionHash(spiI, spiR, path.local)
  const there = natDetectionHash(spiI, spiR, path.remote)
  return {
    local: !equalBytes(destination.data, here),
    remote: !sources.some(({ data }) => equalBytes(data, there))
  }
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index])
}
