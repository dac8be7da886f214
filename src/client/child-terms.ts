/**
 * What was agreed on with a Child SA, without its keys: what the host and the tunnel's MTU follow from. It outlives the Child SA, since the
 * next one is asked for with the same.
 * @module
 */
import { cipherSuite } from '../crypto/cipher-suite.ts'
import type { CipherSuite } from '../crypto/types.ts'
import type { ChildSaParameters } from '../esp/types.ts'
import type { TrafficSelector } from '../wire/ike-message.ts'

export interface ChildTerms {
  readonly localTs: readonly TrafficSelector[]
  readonly remoteTs: readonly TrafficSelector[]
  /** Undefined: one that ESP cannot use. */
  readonly suite: CipherSuite | undefined
}

export function termsOf({ localTs, remoteTs, outbound }: ChildSaParameters): ChildTerms {
  const { encryptionId, encryptionKeyBits, integrityId } = outbound
  return { localTs, remoteTs, suite: cipherSuite(encryptionId, encryptionKeyBits, integrityId) }
}
