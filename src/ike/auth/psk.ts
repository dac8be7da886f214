/**
 * AUTH by shared key (RFC 7296 sections 2.15, 2.16): with a pre-shared key, with the MSK of an EAP method, or with
 * SK_pi and SK_pr after an EAP method that derives no key.
 * @module
 */
import { equalInConstantTime } from '../../crypto/legacy-hash.ts'
import type { Prf } from '../../crypto/types.ts'

const KEY_PAD = new TextEncoder().encode('Key Pad for IKEv2')

/**
 * `prf(prf(secret, "Key Pad for IKEv2"), octets)`.
 * @param secret the shared secret, the MSK, or the signer's SK_p
 * @param octets what `signedOctets` made for the signer
 */
export function sharedKeyAuth(prf: Prf, secret: Uint8Array, octets: Uint8Array): Uint8Array {
  const key = prf.compute(secret, KEY_PAD)
  const auth = prf.compute(key, octets)
  key.fill(0)
  return auth
}

/** Whether AUTH data was made with this secret, compared in constant time. */
export function verifySharedKeyAuth(
  prf: Prf,
  secret: Uint8Array,
  octets: Uint8Array,
  received: Uint8Array
): boolean {
  return equalInConstantTime(sharedKeyAuth(prf, secret, octets), received)
}
