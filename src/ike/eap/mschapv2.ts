/**
 * The computations of MS-CHAPv2 (RFC 2759 section 8) and its session key (RFC 3079 section 3), both roles.
 *
 * Passwords are hashed as UTF-16LE. User names enter the challenge hash without a leading `DOMAIN\` (RFC 2759
 * section 4), in UTF-8, which is the same as ASCII for the names that the RFC knows.
 * @module
 */
import { equalInConstantTime, sha1 } from '../../crypto/legacy-hash.ts'
import { desEncrypt } from './des.ts'
import { md4 } from './md4.ts'

export const CHALLENGE_LENGTH = 16
export const NT_RESPONSE_LENGTH = 24
/** What IKEv2 gets: two 16-byte keys and 32 zero bytes. */
const MSK_LENGTH = 64

const text = new TextEncoder()
const AUTHENTICATOR_MAGIC_1 = text.encode('Magic server to client signing constant')
const AUTHENTICATOR_MAGIC_2 = text.encode('Pad to make it do more than one iteration')
const MASTER_KEY_MAGIC = text.encode('This is the MPPE Master Key')
const CLIENT_SEND_MAGIC = text.encode(
  'On the client side, this is the send key; on the server side, it is the receive key.'
)
const CLIENT_RECEIVE_MAGIC = text.encode(
  'On the client side, this is the receive key; on the server side, it is the send key.'
)
const SHS_PAD_1 = new Uint8Array(40)
const SHS_PAD_2 = new Uint8Array(40).fill(0xf2)

/** What both sides know of one exchange, besides the password. */
export interface MschapExchange {
  readonly authenticatorChallenge: Uint8Array
  readonly peerChallenge: Uint8Array
  readonly userName: string
}

/** `DOMAIN\user` is hashed as `user`. */
export function withoutDomain(userName: string): string {
  return userName.slice(userName.lastIndexOf('\\') + 1)
}

/** NtPasswordHash() over a password in UTF-8: 16 bytes. Text that is not UTF-8 is read with replacement characters. */
export function ntPasswordHash(passwordUtf8: Uint8Array): Uint8Array {
  const password = new TextDecoder('utf-8', { ignoreBOM: true }).decode(passwordUtf8)
  const utf16 = new Uint8Array(password.length * 2)
  const view = new DataView(utf16.buffer)
  for (let index = 0; index < password.length; index++) {
    view.setUint16(index * 2, password.charCodeAt(index), true)
  }
  const hash = md4(utf16)
  utf16.fill(0)
  return hash
}

/** ChallengeHash(): 8 bytes (RFC 2759 section 8.2). */
export function challengeHash(exchange: MschapExchange): Uint8Array {
  const name = text.encode(withoutDomain(exchange.userName))
  return sha1(exchange.peerChallenge, exchange.authenticatorChallenge, name).subarray(0, 8)
}

/** GenerateNTResponse(): 24 bytes (RFC 2759 section 8.1). */
export function ntResponse(exchange: MschapExchange, passwordHash: Uint8Array): Uint8Array {
  const challenge = challengeHash(exchange)
  const keys = new Uint8Array(21)
  keys.set(passwordHash)
  const response = new Uint8Array(NT_RESPONSE_LENGTH)
  for (const part of [0, 1, 2]) {
    response.set(desEncrypt(challenge, keys.subarray(part * 7, part * 7 + 7)), part * 8)
  }
  keys.fill(0)
  return response
}

/** GenerateAuthenticatorResponse() without the `S=`: 20 bytes (RFC 2759 section 8.7). */
export function authenticatorResponse(
  exchange: MschapExchange,
  passwordHash: Uint8Array,
  response: Uint8Array
): Uint8Array {
  const digest = sha1(md4(passwordHash), response, AUTHENTICATOR_MAGIC_1)
  return sha1(digest, challengeHash(exchange), AUTHENTICATOR_MAGIC_2)
}

/** Whether the server proved that it knows the password. */
export function verifyAuthenticatorResponse(
  exchange: MschapExchange,
  passwordHash: Uint8Array,
  response: Uint8Array,
  received: Uint8Array
): boolean {
  return equalInConstantTime(authenticatorResponse(exchange, passwordHash, response), received)
}

/**
 * The MSK: MasterReceiveKey, MasterSendKey as the server sees them (RFC 3079 section 3.3), and 32 zero bytes.
 * The key that the server receives with comes first: this is the order of RADIUS' MS-MPPE keys, and of every IKEv2 peer.
 */
export function mschapMsk(passwordHash: Uint8Array, response: Uint8Array): Uint8Array {
  const master = masterKey(md4(passwordHash), response)
  const msk = new Uint8Array(MSK_LENGTH)
  msk.set(asymmetricStartKey(master, CLIENT_SEND_MAGIC), 0)
  msk.set(asymmetricStartKey(master, CLIENT_RECEIVE_MAGIC), 16)
  master.fill(0)
  return msk
}

/** GetMasterKey() of RFC 3079 section 3.4: 16 bytes. */
export function masterKey(passwordHashHash: Uint8Array, response: Uint8Array): Uint8Array {
  return sha1(passwordHashHash, response, MASTER_KEY_MAGIC).subarray(0, 16)
}

/** GetAsymmetricStartKey() of RFC 3079 section 3.4 for 128-bit keys. */
function asymmetricStartKey(master: Uint8Array, magic: Uint8Array): Uint8Array {
  return sha1(master, SHS_PAD_1, magic, SHS_PAD_2).subarray(0, 16)
}
