/**
 * EAP-MSCHAPv2 on the responder's side. A wrong password may be corrected once (error 691 with R=1, then R=0); a user
 * who does not exist costs the same work and gets the same answers as one with another password.
 * @module
 */
import { equalInConstantTime } from '../../crypto/legacy-hash.ts'
import type { RandomSource } from '../../crypto/types.ts'
import { AuthenticationError, InternalError, ProtocolError } from '../../errors.ts'
import type { Secret } from '../../secret.ts'
import { EapType } from '../../wire/ike-constants.ts'
import {
  authenticatorResponse,
  CHALLENGE_LENGTH,
  mschapMsk,
  ntPasswordHash,
  ntResponse,
  withoutDomain
} from './mschapv2.ts'
import {
  decodeMschapPacket,
  encodeMschapChallenge,
  encodeMschapResult,
  MschapError,
  MschapOpCode,
  type MschapPacket
} from './mschapv2-packets.ts'
import { showPeerText } from './peer-text.ts'
import type { ServerMethod, ServerMethodStep } from './types.ts'

/** How often a response may be wrong before R=0. */
const MAX_ATTEMPTS = 2
const SERVER_NAME = 'ikestream'

type State = 'challenged' | 'accepted' | 'refused'
type ResponsePacket = Extract<MschapPacket, { opCode: typeof MschapOpCode.RESPONSE }>

export class MschapV2Server implements ServerMethod {
  readonly type = EapType.MSCHAPV2
  readonly #passwordOf: (user: string) => Secret | undefined
  readonly #random: RandomSource
  /** Stands in for the password of a user who does not exist. */
  readonly #decoy: Uint8Array
  #state: State = 'challenged'
  #challenge: Uint8Array
  #id: number
  #attempts = 0
  #user = ''
  #msk: Uint8Array | undefined

  constructor(passwordOf: (user: string) => Secret | undefined, random: RandomSource) {
    this.#passwordOf = passwordOf
    this.#random = random
    this.#challenge = random.bytes(CHALLENGE_LENGTH)
    this.#decoy = random.bytes(CHALLENGE_LENGTH)
    this.#id = random.bytes(1)[0] ?? 0
  }

  begin(): Uint8Array {
    return encodeMschapChallenge(this.#id, this.#challenge, SERVER_NAME)
  }

  process(data: Uint8Array): ServerMethodStep {
    const packet = decodeMschapPacket(data)
    if (packet === undefined) return malformed('a malformed packet')
    if (packet.opCode === MschapOpCode.RESPONSE && this.#state === 'challenged') return this.#check(packet)
    if (packet.opCode === MschapOpCode.SUCCESS && this.#state === 'accepted') {
      return { kind: 'success', msk: this.#msk, identity: this.#user }
    }
    // After R=1 a peer may give up at once; after R=0 this is all that it may do.
    if (packet.opCode === MschapOpCode.FAILURE && this.#attempts > 0 && this.#state !== 'accepted') {
      return { kind: 'failure', error: wrongCredentials(this.#user) }
    }
    if (packet.opCode === MschapOpCode.FAILURE && this.#state === 'accepted') {
      return { kind: 'failure', error: refusedByPeer(this.#user) }
    }
    return malformed('a packet that does not belong here')
  }

  resume(): ServerMethodStep {
    return {
      kind: 'failure',
      error: new InternalError('eap-state', 'EAP-MSCHAPv2 was resumed but never waits.')
    }
  }

  dispose(): void {
    this.#decoy.fill(0)
  }

  #check(packet: ResponsePacket): ServerMethodStep {
    this.#attempts++
    this.#user = new TextDecoder().decode(packet.name)
    const secret = this.#lookUp(this.#user)
    const passwordHash = ntPasswordHash(secret?.reveal() ?? this.#decoy)
    const exchange = {
      authenticatorChallenge: this.#challenge,
      peerChallenge: packet.peerChallenge,
      userName: this.#user
    }
    // Everything is computed for both outcomes, so that time does not tell which names exist.
    const correct = equalInConstantTime(ntResponse(exchange, passwordHash), packet.ntResponse)
    const proof = authenticatorResponse(exchange, passwordHash, packet.ntResponse)
    const msk = mschapMsk(passwordHash, packet.ntResponse)
    passwordHash.fill(0)
    if (!correct || secret === undefined) {
      msk.fill(0)
      return this.#refuse()
    }
    this.#state = 'accepted'
    this.#msk = msk
    const message = `S=${upperHex(proof)} M=Welcome`
    return { kind: 'send', data: encodeMschapResult(MschapOpCode.SUCCESS, packet.id, message) }
  }

  #lookUp(user: string): Secret | undefined {
    const stripped = withoutDomain(user)
    return this.#passwordOf(user) ?? (stripped === user ? undefined : this.#passwordOf(stripped))
  }

  #refuse(): ServerMethodStep {
    const retry = this.#attempts < MAX_ATTEMPTS
    this.#state = retry ? 'challenged' : 'refused'
    this.#challenge = this.#random.bytes(CHALLENGE_LENGTH)
    const message = [
      `E=${MschapError.AUTHENTICATION_FAILURE}`,
      `R=${retry ? 1 : 0}`,
      `C=${upperHex(this.#challenge)}`,
      'V=3',
      'M=Authentication failed'
    ].join(' ')
    const data = encodeMschapResult(MschapOpCode.FAILURE, this.#id, message)
    this.#id = (this.#id + 1) & 0xff
    return { kind: 'send', data }
  }
}

function upperHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0'))
    .join('')
    .toUpperCase()
}

function malformed(what: string): ServerMethodStep {
  return {
    kind: 'failure',
    error: new ProtocolError('eap-malformed', `The peer's EAP-MSCHAPv2 went wrong: ${what}.`)
  }
}

function wrongCredentials(user: string): AuthenticationError {
  return new AuthenticationError(
    'eap-wrong-credentials',
    `The peer gave a wrong user name or password (as ${JSON.stringify(showPeerText(user))}).`,
    { hint: 'Check the name and the password in the users file and on the client.' }
  )
}

function refusedByPeer(user: string): AuthenticationError {
  return new AuthenticationError(
    'eap-refused-by-peer',
    `The peer ${JSON.stringify(showPeerText(user))} did not believe the gateway's proof of its password.`,
    { hint: 'Check that the users file holds the same password as the client.' }
  )
}
