/**
 * Child SAs for tests: every suite, with keys of bytes that count up.
 * @module
 */
import { createHash } from 'node:crypto'
import { espSuite } from '../../src/crypto/packet-cipher.ts'
import type { RandomSource } from '../../src/crypto/types.ts'
import type { ChildSaParameters, EspSaParameters } from '../../src/esp/types.ts'
import { EncryptionId, IntegrityId } from '../../src/wire/ike-constants.ts'
import type { TrafficSelector } from '../../src/wire/ike-message.ts'

export interface SuiteIds {
  readonly encryptionId: number
  readonly encryptionKeyBits: number
  readonly integrityId: number
}

/** Every ESP suite that can be negotiated, by name. */
export const ALL_SUITES: readonly (readonly [string, SuiteIds])[] = [
  ...[128, 192, 256].map((bits) => [`AES-GCM-${bits}`, suite(EncryptionId.AES_GCM_16, bits, 0)] as const),
  ['ChaCha20-Poly1305', suite(EncryptionId.CHACHA20_POLY1305, 256, 0)],
  ...[128, 192, 256].flatMap((bits) =>
    (['HMAC_SHA1_96', 'HMAC_SHA2_256_128', 'HMAC_SHA2_384_192', 'HMAC_SHA2_512_256'] as const).map(
      (name) => [`AES-CBC-${bits} ${name}`, suite(EncryptionId.AES_CBC, bits, IntegrityId[name])] as const
    )
  )
]

export const GCM_128 = suite(EncryptionId.AES_GCM_16, 128, 0)

function suite(encryptionId: number, encryptionKeyBits: number, integrityId: number): SuiteIds {
  return { encryptionId, encryptionKeyBits, integrityId }
}

/** Keys of their own for every call: the receiver overwrites them. The same seed gives the same keys. */
export function saParameters(
  ids: SuiteIds,
  options: { spi?: number; esn?: boolean; seed?: number } = {}
): EspSaParameters {
  const { encryptionKeyLength, integrityKeyLength } = espSuite(ids)
  const seed = options.seed ?? 1
  return {
    ...ids,
    spi: options.spi ?? 0x11223344,
    esn: options.esn ?? false,
    encryptionKey: Uint8Array.from({ length: encryptionKeyLength }, (_, index) => (seed + index) & 0xff),
    integrityKey: Uint8Array.from({ length: integrityKeyLength }, (_, index) => (0x80 + seed + index) & 0xff)
  }
}

/** The two halves of one Child SA: `left` and `right` fit together. */
export function childPair(
  options: {
    ids?: SuiteIds
    esn?: boolean
    childId?: number
    generation?: number
    leftTs?: readonly TrafficSelector[]
    rightTs?: readonly TrafficSelector[]
  } = {}
): { readonly left: ChildSaParameters; readonly right: ChildSaParameters } {
  const ids = options.ids ?? GCM_128
  const generation = options.generation ?? 1
  const toRight = () =>
    saParameters(ids, { spi: 0x1000 + generation, esn: options.esn ?? true, seed: 2 * generation })
  const toLeft = () =>
    saParameters(ids, { spi: 0x2000 + generation, esn: options.esn ?? true, seed: 2 * generation + 1 })
  const leftTs = options.leftTs ?? EVERYTHING
  const rightTs = options.rightTs ?? EVERYTHING
  const childId = options.childId ?? 1
  return {
    left: { childId, inbound: toLeft(), outbound: toRight(), localTs: leftTs, remoteTs: rightTs },
    right: { childId, inbound: toRight(), outbound: toLeft(), localTs: rightTs, remoteTs: leftTs }
  }
}

export const EVERYTHING: readonly TrafficSelector[] = ([4, 6] as const).map((family) => ({
  family,
  protocol: 0,
  startPort: 0,
  endPort: 65535,
  startAddress: new Uint8Array(family === 4 ? 4 : 16),
  endAddress: new Uint8Array(family === 4 ? 4 : 16).fill(0xff)
}))

/** Bytes from a hash chain: the same in every run. */
export function seededRandom(seed: string): RandomSource {
  let state = createHash('sha256').update(seed).digest()
  return {
    bytes(length) {
      const out = new Uint8Array(length)
      for (let at = 0; at < length; at += state.length) {
        state = createHash('sha256').update(state).digest()
        out.set(state.subarray(0, length - at), at)
      }
      return out
    }
  }
}

export function hexBytes(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text.replaceAll(/\s/g, ''), 'hex'))
}
