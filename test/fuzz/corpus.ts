/**
 * Real messages: what is recorded in `test/vectors`, as the fuzz targets take it.
 * @module
 */

import ikeVectors from '../vectors/ike-messages.json' with { type: 'json' }
import espVectors from '../vectors/strongswan-esp.json' with { type: 'json' }
import sessionVectors from '../vectors/strongswan-ike-sessions.json' with { type: 'json' }
import { fromHex } from './target.ts'

/** Whole IKE messages of strongSwan, of every session. */
export function recordedMessages(): Uint8Array[] {
  const sessions = sessionVectors.sessions.flatMap(({ messages }) => messages.map(([, hex]) => hex ?? ''))
  const all = new Set([...ikeVectors.messages.map(({ hex }) => hex), ...sessions])
  return [...all].map(fromHex)
}

/** Chains of payloads as they stand inside SK, with the type of the first. */
export function recordedChains(): { readonly firstType: number; readonly bytes: Uint8Array }[] {
  return ikeVectors.inner.map(({ firstType, hex }) => ({ firstType, bytes: fromHex(hex) }))
}

/** ESP packets, and the inner packets that they carried. */
export function recordedEsp(): { readonly esp: Uint8Array[]; readonly inner: Uint8Array[] } {
  const packets = espVectors.suites.flatMap((suite) => suite.packets)
  return { esp: packets.map(({ esp }) => fromHex(esp)), inner: packets.map(({ inner }) => fromHex(inner)) }
}
