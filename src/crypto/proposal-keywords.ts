/**
 * The words of proposals: strongSwan's keywords for the transforms that ikestream speaks, and the nearest of them to
 * a word that is none.
 * @module
 */
import {
  EncryptionId,
  EsnId,
  IntegrityId,
  KeyExchangeId,
  PrfId,
  TransformType
} from '../wire/ike-constants.ts'
import type { Transform } from '../wire/ike-message.ts'

const { ENCR, PRF, INTEG, KE, ESN } = TransformType

function aes(id: number, keyLengthBits: number): Transform {
  return { type: ENCR, id, keyLengthBits }
}

/** The first keyword of a transform is the one it is shown with. */
const KEYWORDS: ReadonlyMap<string, Transform> = new Map<string, Transform>([
  ['aes128gcm16', aes(EncryptionId.AES_GCM_16, 128)],
  ['aes192gcm16', aes(EncryptionId.AES_GCM_16, 192)],
  ['aes256gcm16', aes(EncryptionId.AES_GCM_16, 256)],
  ['aes128gcm', aes(EncryptionId.AES_GCM_16, 128)],
  ['aes192gcm', aes(EncryptionId.AES_GCM_16, 192)],
  ['aes256gcm', aes(EncryptionId.AES_GCM_16, 256)],
  ['aes128gcm128', aes(EncryptionId.AES_GCM_16, 128)],
  ['aes192gcm128', aes(EncryptionId.AES_GCM_16, 192)],
  ['aes256gcm128', aes(EncryptionId.AES_GCM_16, 256)],
  ['chacha20poly1305', { type: ENCR, id: EncryptionId.CHACHA20_POLY1305 }],
  ['aes128', aes(EncryptionId.AES_CBC, 128)],
  ['aes192', aes(EncryptionId.AES_CBC, 192)],
  ['aes256', aes(EncryptionId.AES_CBC, 256)],
  ['aes', aes(EncryptionId.AES_CBC, 128)],
  ['sha256', { type: INTEG, id: IntegrityId.HMAC_SHA2_256_128 }],
  ['sha384', { type: INTEG, id: IntegrityId.HMAC_SHA2_384_192 }],
  ['sha512', { type: INTEG, id: IntegrityId.HMAC_SHA2_512_256 }],
  ['sha1', { type: INTEG, id: IntegrityId.HMAC_SHA1_96 }],
  ['sha2_256', { type: INTEG, id: IntegrityId.HMAC_SHA2_256_128 }],
  ['sha2_384', { type: INTEG, id: IntegrityId.HMAC_SHA2_384_192 }],
  ['sha2_512', { type: INTEG, id: IntegrityId.HMAC_SHA2_512_256 }],
  ['sha', { type: INTEG, id: IntegrityId.HMAC_SHA1_96 }],
  ['prfsha256', { type: PRF, id: PrfId.HMAC_SHA2_256 }],
  ['prfsha384', { type: PRF, id: PrfId.HMAC_SHA2_384 }],
  ['prfsha512', { type: PRF, id: PrfId.HMAC_SHA2_512 }],
  ['prfsha1', { type: PRF, id: PrfId.HMAC_SHA1 }],
  ['x25519', { type: KE, id: KeyExchangeId.CURVE25519 }],
  ['curve25519', { type: KE, id: KeyExchangeId.CURVE25519 }],
  ['x448', { type: KE, id: KeyExchangeId.CURVE448 }],
  ['curve448', { type: KE, id: KeyExchangeId.CURVE448 }],
  ['ecp256', { type: KE, id: KeyExchangeId.ECP_256 }],
  ['ecp384', { type: KE, id: KeyExchangeId.ECP_384 }],
  ['ecp521', { type: KE, id: KeyExchangeId.ECP_521 }],
  ['modp2048', { type: KE, id: KeyExchangeId.MODP_2048 }],
  ['modp3072', { type: KE, id: KeyExchangeId.MODP_3072 }],
  ['modp4096', { type: KE, id: KeyExchangeId.MODP_4096 }],
  ['modpnone', { type: KE, id: KeyExchangeId.NONE }],
  ['noesn', { type: ESN, id: EsnId.NO_ESN }],
  ['esn', { type: ESN, id: EsnId.ESN }]
])

/** The transform that a keyword stands for, in lower case; undefined when it is none. */
export function transformOfKeyword(keyword: string): Transform | undefined {
  return KEYWORDS.get(keyword)
}

/** The keyword that a transform is shown with; `type:id` (and bits) when it has none. */
export function keywordOfTransform(transform: Transform): string {
  for (const [keyword, known] of KEYWORDS) if (sameTransform(known, transform)) return keyword
  const bits = transform.keyLengthBits === undefined ? '' : `/${transform.keyLengthBits}`
  return `${transform.type}:${transform.id}${bits}`
}

/** Same type, ID and KEY LENGTH, and no attribute that either side does not understand. */
export function sameTransform(a: Transform, b: Transform): boolean {
  return (
    a.type === b.type &&
    a.id === b.id &&
    a.keyLengthBits === b.keyLengthBits &&
    a.otherAttributes !== true &&
    b.otherAttributes !== true
  )
}

/** A word of this length that begins a keyword is taken for its abbreviation. */
const MIN_PREFIX = 4

/** The keyword that `word` begins, or that has the fewest edits to it; undefined when none is near enough to be what was meant. */
export function nearestKeyword(word: string): string | undefined {
  let best =
    word.length < MIN_PREFIX ? undefined : [...KEYWORDS.keys()].find((keyword) => keyword.startsWith(word))
  if (best !== undefined) return best
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1
  for (const keyword of KEYWORDS.keys()) {
    // As many edits are needed at least: a long word is not compared with all of them.
    if (Math.abs(word.length - keyword.length) >= bestDistance) continue
    const distance = editDistance(word, keyword)
    if (distance < bestDistance) {
      best = keyword
      bestDistance = distance
    }
  }
  return best
}

/** Levenshtein distance. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let row = 1; row <= a.length; row++) {
    const current = [row]
    for (let column = 1; column <= b.length; column++) {
      const substitution = (previous[column - 1] ?? 0) + (a[row - 1] === b[column - 1] ? 0 : 1)
      current.push(Math.min(substitution, (previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1))
    }
    previous = current
  }
  return previous[b.length] ?? 0
}
