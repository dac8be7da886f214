/**
 * The packets of EAP-MSCHAPv2 (type 26; draft-kamath-pppext-eap-mschapv2-02): type data as bytes and back.
 *
 * Every packet but the two acknowledgements of the peer is `OpCode | MS-CHAPv2-ID | MS-Length | ...`; the
 * acknowledgements are the OpCode alone.
 * @module
 */
import { CHALLENGE_LENGTH, NT_RESPONSE_LENGTH } from './mschapv2.ts'

export const MschapOpCode = { CHALLENGE: 1, RESPONSE: 2, SUCCESS: 3, FAILURE: 4, CHANGE_PASSWORD: 7 } as const

/** Error codes of a Failure packet (RFC 2759 section 6). */
export const MschapError = {
  RESTRICTED_LOGON_HOURS: 646,
  ACCT_DISABLED: 647,
  PASSWD_EXPIRED: 648,
  NO_DIALIN_PERMISSION: 649,
  AUTHENTICATION_FAILURE: 691,
  CHANGING_PASSWORD: 709
} as const

const HEADER_LENGTH = 4
/** Peer-Challenge, 8 reserved bytes, NT-Response, Flags. */
const RESPONSE_VALUE_LENGTH = CHALLENGE_LENGTH + 8 + NT_RESPONSE_LENGTH + 1

export type MschapPacket =
  | {
      readonly opCode: typeof MschapOpCode.CHALLENGE
      readonly id: number
      readonly challenge: Uint8Array
      readonly name: Uint8Array
    }
  | {
      readonly opCode: typeof MschapOpCode.RESPONSE
      readonly id: number
      readonly peerChallenge: Uint8Array
      readonly ntResponse: Uint8Array
      readonly name: Uint8Array
    }
  /** With its text from a server; without from a peer, which only acknowledges. */
  | {
      readonly opCode: typeof MschapOpCode.SUCCESS | typeof MschapOpCode.FAILURE
      readonly id: number
      readonly message: string
    }

/** @returns undefined for what is malformed or has another OpCode */
export function decodeMschapPacket(data: Uint8Array): MschapPacket | undefined {
  const opCode = data[0]
  if (opCode === undefined) return undefined
  const isResult = opCode === MschapOpCode.SUCCESS || opCode === MschapOpCode.FAILURE
  if (isResult && data.length < HEADER_LENGTH) return { opCode, id: 0, message: '' }
  if (data.length < HEADER_LENGTH) return undefined
  const id = data[1] ?? 0
  // MS-Length is not needed to find the fields, and some servers get it wrong: the EAP length bounds everything.
  const body = data.subarray(HEADER_LENGTH)
  if (isResult) return { opCode, id, message: new TextDecoder().decode(body) }
  if (opCode === MschapOpCode.CHALLENGE) {
    if (body[0] !== CHALLENGE_LENGTH || body.length < 1 + CHALLENGE_LENGTH) return undefined
    return {
      opCode,
      id,
      challenge: copyOf(body.subarray(1, 1 + CHALLENGE_LENGTH)),
      name: copyOf(body.subarray(1 + CHALLENGE_LENGTH))
    }
  }
  if (opCode !== MschapOpCode.RESPONSE) return undefined
  if (body[0] !== RESPONSE_VALUE_LENGTH || body.length < 1 + RESPONSE_VALUE_LENGTH) return undefined
  const ntResponseStart = 1 + CHALLENGE_LENGTH + 8
  return {
    opCode,
    id,
    peerChallenge: copyOf(body.subarray(1, 1 + CHALLENGE_LENGTH)),
    ntResponse: copyOf(body.subarray(ntResponseStart, ntResponseStart + NT_RESPONSE_LENGTH)),
    name: copyOf(body.subarray(1 + RESPONSE_VALUE_LENGTH))
  }
}

export function encodeMschapChallenge(id: number, challenge: Uint8Array, name: string): Uint8Array {
  return encode(MschapOpCode.CHALLENGE, id, [
    Uint8Array.of(CHALLENGE_LENGTH),
    challenge,
    new TextEncoder().encode(name)
  ])
}

export function encodeMschapResponse(
  id: number,
  peerChallenge: Uint8Array,
  response: Uint8Array,
  name: string
): Uint8Array {
  return encode(MschapOpCode.RESPONSE, id, [
    Uint8Array.of(RESPONSE_VALUE_LENGTH),
    peerChallenge,
    new Uint8Array(8),
    response,
    Uint8Array.of(0),
    new TextEncoder().encode(name)
  ])
}

/** A server's Success or Failure with its text. */
export function encodeMschapResult(
  opCode: typeof MschapOpCode.SUCCESS | typeof MschapOpCode.FAILURE,
  id: number,
  message: string
): Uint8Array {
  return encode(opCode, id, [new TextEncoder().encode(message)])
}

/** `S=<40 hex digits> M=<text>` of a Success: the 20 bytes, or undefined. */
export function parseAuthenticatorResponse(message: string): Uint8Array | undefined {
  const hex = /(?:^|\s)S=([0-9A-Fa-f]{40})/.exec(message)?.[1]
  if (hex === undefined) return undefined
  return Uint8Array.from({ length: 20 }, (_, index) =>
    Number.parseInt(hex.slice(index * 2, index * 2 + 2), 16)
  )
}

export interface MschapFailure {
  readonly error: number
  readonly retryAllowed: boolean
  /** What the next response must be computed over. */
  readonly challenge: Uint8Array | undefined
  readonly text: string
}

/** `E=<error> R=<0|1> C=<32 hex digits> V=3 M=<text>` (RFC 2759 section 6); absent fields are allowed. */
export function parseMschapFailure(message: string): MschapFailure {
  const challengeHex = /(?:^|\s)C=([0-9A-Fa-f]{32})(?:\s|$)/.exec(message)?.[1]
  return {
    error: Number(/(?:^|\s)E=(\d{1,10})(?:\s|$)/.exec(message)?.[1] ?? 0),
    retryAllowed: /(?:^|\s)R=1(?:\s|$)/.test(message),
    challenge:
      challengeHex === undefined
        ? undefined
        : Uint8Array.from({ length: CHALLENGE_LENGTH }, (_, index) =>
            Number.parseInt(challengeHex.slice(index * 2, index * 2 + 2), 16)
          ),
    text: /(?:^|\s)M=(.*)$/s.exec(message)?.[1] ?? ''
  }
}

/** A copy also of a Buffer, whose slice() is a view: packets' memory may be used again. */
function copyOf(bytes: Uint8Array): Uint8Array {
  return Uint8Array.from(bytes)
}

function encode(opCode: number, id: number, fields: readonly Uint8Array[]): Uint8Array {
  const length = fields.reduce((sum, field) => sum + field.length, HEADER_LENGTH)
  const bytes = new Uint8Array(length)
  new DataView(bytes.buffer).setUint16(2, length)
  bytes[0] = opCode
  bytes[1] = id
  let offset = HEADER_LENGTH
  for (const field of fields) {
    bytes.set(field, offset)
    offset += field.length
  }
  return bytes
}
