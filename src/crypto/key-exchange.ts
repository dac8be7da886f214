/**
 * Ephemeral key exchange by transform number (transform type 4; RFC 7296 section 3.4).
 *
 * Private keys come from the caller's random source alone, so that a seeded run repeats exactly.
 * @module
 */
import { KeyExchangeId } from '../wire/ike-constants.ts'
import { P256, P384, P521, startEcp } from './key-exchange-ecp.ts'
import { MODP_2048, MODP_3072, MODP_4096, startModp } from './key-exchange-modp.ts'
import { startMontgomery, X448, X25519 } from './key-exchange-montgomery.ts'
import type { KeyExchange, RandomSource } from './types.ts'

interface GroupEntry {
  readonly publicLength: number
  start(random: RandomSource): KeyExchange
}

function montgomery(group: number, curve: typeof X25519): readonly [number, GroupEntry] {
  return [group, { publicLength: curve.length, start: (random) => startMontgomery(group, curve, random) }]
}
function ecp(group: number, curve: typeof P256): readonly [number, GroupEntry] {
  return [group, { publicLength: 2 * curve.length, start: (random) => startEcp(group, curve, random) }]
}
function modp(group: number, parameters: typeof MODP_2048): readonly [number, GroupEntry] {
  return [group, { publicLength: parameters.length, start: (random) => startModp(group, parameters, random) }]
}

const GROUPS: ReadonlyMap<number, GroupEntry> = new Map([
  montgomery(KeyExchangeId.CURVE25519, X25519),
  montgomery(KeyExchangeId.CURVE448, X448),
  ecp(KeyExchangeId.ECP_256, P256),
  ecp(KeyExchangeId.ECP_384, P384),
  ecp(KeyExchangeId.ECP_521, P521),
  modp(KeyExchangeId.MODP_2048, MODP_2048),
  modp(KeyExchangeId.MODP_3072, MODP_3072),
  modp(KeyExchangeId.MODP_4096, MODP_4096)
])

/** Makes our half of a key exchange in `group`; undefined when the group is not spoken here. */
export function startKeyExchange(group: number, random: RandomSource): KeyExchange | undefined {
  return GROUPS.get(group)?.start(random)
}

/** Bytes of a public value in `group` (RFC 7296 section 3.4); undefined when the group is not spoken here. */
export function keyExchangePublicLength(group: number): number | undefined {
  return GROUPS.get(group)?.publicLength
}
