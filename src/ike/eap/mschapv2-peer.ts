/**
 * EAP-MSCHAPv2 on the initiator's side. Succeeds only after the server proved that it knows the password too.
 * @module
 */
import type { RandomSource } from '../../crypto/types.ts'
import { AuthenticationError, type IkestreamError, ProtocolError } from '../../errors.ts'
import type { Secret } from '../../secret.ts'
import { EapType } from '../../wire/ike-constants.ts'
import {
  CHALLENGE_LENGTH,
  type MschapExchange,
  mschapMsk,
  ntPasswordHash,
  ntResponse,
  verifyAuthenticatorResponse
} from './mschapv2.ts'
import {
  decodeMschapPacket,
  encodeMschapResponse,
  MschapError,
  type MschapFailure,
  MschapOpCode,
  parseAuthenticatorResponse,
  parseMschapFailure
} from './mschapv2-packets.ts'
import { showPeerText } from './peer-text.ts'
import type { MethodStep, PeerMethod } from './types.ts'

interface SentResponse {
  readonly exchange: MschapExchange
  readonly response: Uint8Array
}

export class MschapV2Peer implements PeerMethod {
  readonly type = EapType.MSCHAPV2
  readonly derivesKey = true
  readonly #user: string
  readonly #password: Secret
  readonly #random: RandomSource
  #sent: SentResponse | undefined
  #msk: Uint8Array | undefined
  #refusal: IkestreamError | undefined

  constructor(user: string, password: Secret, random: RandomSource) {
    this.#user = user
    this.#password = password
    this.#random = random
  }

  get succeeded(): boolean {
    return this.#msk !== undefined
  }

  get msk(): Uint8Array | undefined {
    return this.#msk
  }

  process(data: Uint8Array): MethodStep {
    if (data[0] === MschapOpCode.CHANGE_PASSWORD) return this.#fail(passwordChangeError(this.#user))
    const packet = decodeMschapPacket(data)
    if (packet === undefined) return this.#fail(malformed('a malformed packet'))
    switch (packet.opCode) {
      case MschapOpCode.CHALLENGE:
        return this.#respond(packet.id, packet.challenge)
      case MschapOpCode.SUCCESS:
        return this.#verify(packet.message)
      case MschapOpCode.FAILURE:
        this.#refusal = refusalError(this.#user, parseMschapFailure(packet.message))
        // The same password again would fail again: acknowledge, and let the server end it.
        return { kind: 'send', data: Uint8Array.of(MschapOpCode.FAILURE) }
      default:
        return this.#fail(malformed('a response where a request belongs'))
    }
  }

  resume(): MethodStep {
    return this.#fail(malformed('nothing to wait for'))
  }

  refusal(): IkestreamError | undefined {
    return this.#refusal
  }

  dispose(): void {
    this.#sent = undefined
  }

  #respond(id: number, authenticatorChallenge: Uint8Array): MethodStep {
    if (this.#sent !== undefined || this.#refusal !== undefined) {
      return this.#fail(malformed('a second challenge'))
    }
    const peerChallenge = this.#random.bytes(CHALLENGE_LENGTH)
    const exchange = { authenticatorChallenge, peerChallenge, userName: this.#user }
    const passwordHash = ntPasswordHash(this.#password.reveal())
    const response = ntResponse(exchange, passwordHash)
    passwordHash.fill(0)
    this.#sent = { exchange, response }
    return { kind: 'send', data: encodeMschapResponse(id, peerChallenge, response, this.#user) }
  }

  #verify(message: string): MethodStep {
    const sent = this.#sent
    const received = parseAuthenticatorResponse(message)
    if (sent === undefined || this.#refusal !== undefined || this.#msk !== undefined) {
      return this.#fail(malformed('a success that nothing led to'))
    }
    const passwordHash = ntPasswordHash(this.#password.reveal())
    const proven =
      received !== undefined &&
      verifyAuthenticatorResponse(sent.exchange, passwordHash, sent.response, received)
    if (proven) this.#msk = mschapMsk(passwordHash, sent.response)
    passwordHash.fill(0)
    if (!proven) return this.#fail(serverUnprovenError())
    return { kind: 'send', data: Uint8Array.of(MschapOpCode.SUCCESS) }
  }

  #fail(error: IkestreamError): MethodStep {
    this.#msk = undefined
    return { kind: 'failure', error }
  }
}

function malformed(what: string): IkestreamError {
  return new ProtocolError('eap-malformed', `The gateway's EAP-MSCHAPv2 went wrong: ${what}.`, {
    hint: 'Ask the operator of the gateway; its EAP server does not follow the protocol.'
  })
}

function serverUnprovenError(): IkestreamError {
  return new AuthenticationError(
    'eap-server-unproven',
    'The gateway accepted the password but could not prove that it knows it, so it may be an impostor.',
    { hint: 'Do not connect from this network until the operator of the gateway has explained this.' }
  )
}

function passwordChangeError(user: string): IkestreamError {
  return new AuthenticationError(
    'eap-password-expired',
    `The password of ${JSON.stringify(user)} must be changed.`,
    {
      hint: "Change it with your organisation's own tools, then connect again."
    }
  )
}

function refusalError(user: string, failure: MschapFailure): IkestreamError {
  const who = JSON.stringify(user)
  switch (failure.error) {
    case MschapError.RESTRICTED_LOGON_HOURS:
      return new AuthenticationError('eap-logon-hours', `${who} may not log on at this time of day.`, {
        hint: 'Try again within your logon hours, or ask the operator of the gateway.'
      })
    case MschapError.ACCT_DISABLED:
      return new AuthenticationError('eap-account-disabled', `The account ${who} is disabled.`, {
        hint: 'Ask the operator of the gateway to enable it.'
      })
    case MschapError.PASSWD_EXPIRED:
    case MschapError.CHANGING_PASSWORD:
      return passwordChangeError(user)
    case MschapError.NO_DIALIN_PERMISSION:
      return new AuthenticationError('eap-not-permitted', `${who} is not allowed to use this VPN.`, {
        hint: 'Ask the operator of the gateway for the permission.'
      })
    default: {
      const said = showPeerText(failure.text)
      const detail = said === '' ? `error ${failure.error}` : `error ${failure.error}: ${said}`
      return new AuthenticationError(
        'eap-wrong-credentials',
        `The gateway refused the user name ${who} or its password (${detail}).`,
        { hint: 'Check --user and the password; some gateways want the name as DOMAIN\\user or user@domain.' }
      )
    }
  }
}
