/**
 * What an AUTH payload covers (RFC 7296 section 2.15).
 * @module
 */
import type { Prf } from '../../crypto/types.ts'
import type { Identity } from '../types.ts'

export interface SignedOctetsInput {
  /** The signer's own IKE_SA_INIT message as it was last sent, from the first byte of the IKE header, without non-ESP marker. */
  readonly message: Uint8Array
  /** The other end's nonce: the data of its Nonce payload. */
  readonly nonce: Uint8Array
  readonly prf: Prf
  /** SK_pi when the initiator signs, SK_pr when the responder does. */
  readonly skP: Uint8Array
  /** The signer's identity. */
  readonly identity: Identity
}

/** InitiatorSignedOctets or ResponderSignedOctets: `message | nonce | prf(SK_p, RestOfIDPayload)`. */
export function signedOctets(input: SignedOctetsInput): Uint8Array {
  const maced = input.prf.compute(input.skP, identityBody(input.identity))
  const octets = new Uint8Array(input.message.length + input.nonce.length + maced.length)
  octets.set(input.message, 0)
  octets.set(input.nonce, input.message.length)
  octets.set(maced, input.message.length + input.nonce.length)
  return octets
}

/** RestOfIDPayload: ID Type, three reserved zero bytes, identification data; without the generic payload header. */
function identityBody(identity: Identity): Uint8Array {
  const body = new Uint8Array(4 + identity.data.length)
  body[0] = identity.idType
  body.set(identity.data, 4)
  return body
}
