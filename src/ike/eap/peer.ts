/**
 * The EAP peer inside IKE_AUTH (RFC 3748, RFC 7296 section 2.16): what an initiator answers to the gateway's requests.
 *
 * Requests arrive over an authenticated IKE SA, one at a time, and each must be answered; so what RFC 3748 lets a peer
 * discard in silence ends the conversation here. Nothing that a server sends throws, and rounds are bounded.
 * @module
 */
import type { RandomSource } from '../../crypto/types.ts'
import {
  AuthenticationError,
  ConfigurationError,
  type IkestreamError,
  InternalError,
  ProtocolError
} from '../../errors.ts'
import { EapCode, EapType } from '../../wire/ike-constants.ts'
import type { EapCredentials } from '../auth/types.ts'
import { GtcPeer } from './gtc.ts'
import { Md5ChallengePeer } from './md5-challenge.ts'
import { MschapV2Peer } from './mschapv2-peer.ts'
import { decodeEapPacket, type EapPacket, eapMethodName, encodeEapResponse } from './packet.ts'
import { showPeerText } from './peer-text.ts'
import { TlsPeer } from './tls-peer.ts'
import type { EapStep, MethodStep, PeerMethod } from './types.ts'

/** Requests answered before giving up; 64 KiB of TLS in small fragments take about 130 of them. */
const MAX_ROUNDS = 256
/** The server's notifications kept for the user. */
const MAX_NOTIFICATIONS = 8

export interface EapPeerOptions {
  /**
   * Only methods that derive a key and prove the server as well. Needed when nothing else authenticates the gateway
   * (RFC 5998 section 4).
   */
  readonly mutualOnly?: boolean
}

export class EapPeer {
  readonly #credentials: EapCredentials
  readonly #random: RandomSource
  readonly #mutualOnly: boolean
  readonly #notifications: string[] = []
  #method: PeerMethod | undefined
  #lastRequest: Uint8Array | undefined
  #lastReply: Uint8Array | undefined
  /** Identifier of the request that a pending method answers. */
  #pendingIdentifier: number | undefined
  #refusedTypes: number[] = []
  #rounds = 0
  #ended = false

  constructor(credentials: EapCredentials, random: RandomSource, options: EapPeerOptions = {}) {
    this.#credentials = credentials
    this.#random = random
    this.#mutualOnly = options.mutualOnly ?? false
  }

  /** The method that the gateway chose and this peer takes part in. */
  get method(): number | undefined {
    return this.#method?.type
  }

  /** True once a method runs that derives an MSK: AUTH must then be keyed with it. */
  get mskRequired(): boolean {
    return this.#method?.derivesKey ?? false
  }

  /** What the server wanted the user to read, made safe to print. */
  get notifications(): readonly string[] {
    return this.#notifications
  }

  /**
   * Why the method was refused, once the server has said so: for a gateway that ends with a notify where EAP-Failure
   * belongs.
   */
  get refusal(): IkestreamError | undefined {
    return this.#method?.refusal()
  }

  /** Takes one EAP packet of the gateway. Never throws. */
  receive(bytes: Uint8Array): EapStep {
    if (this.#ended) return this.#fail(outOfPlace('a packet after the end'))
    if (this.#pendingIdentifier !== undefined)
      return this.#fail(outOfPlace('a packet before the last was answered'))
    const packet = decodeEapPacket(bytes)
    if (packet === undefined) return this.#fail(outOfPlace('a malformed packet'))
    switch (packet.code) {
      case EapCode.REQUEST:
        return this.#answer(bytes, packet)
      case EapCode.SUCCESS:
        return this.#succeed()
      case EapCode.FAILURE:
        return this.#fail(this.#method?.refusal() ?? this.#rejectionError())
      default:
        return this.#fail(outOfPlace('a response instead of a request'))
    }
  }

  /** Goes on after `pending`. */
  continue(): EapStep {
    const identifier = this.#pendingIdentifier
    const method = this.#method
    if (identifier === undefined || method === undefined || this.#ended) {
      return this.#fail(new InternalError('eap-state', 'EAP was continued while it was not waiting.'))
    }
    this.#pendingIdentifier = undefined
    return this.#take(method.type, identifier, method.resume())
  }

  /** Drops what is kept of the method. Safe to call twice. */
  dispose(): void {
    this.#ended = true
    this.#method?.dispose()
    this.#lastReply = undefined
  }

  #answer(bytes: Uint8Array, packet: EapPacket): EapStep {
    if (
      this.#lastReply !== undefined &&
      this.#lastRequest !== undefined &&
      sameBytes(bytes, this.#lastRequest)
    ) {
      return { kind: 'reply', packet: this.#lastReply }
    }
    this.#rounds++
    if (this.#rounds > MAX_ROUNDS) return this.#fail(outOfPlace(`more than ${MAX_ROUNDS} requests`))
    this.#lastRequest = Uint8Array.from(bytes)
    const { type, identifier } = packet
    if (type === EapType.IDENTITY) {
      if (this.#method !== undefined) return this.#fail(outOfPlace('an identity request inside a method'))
      return this.#reply(identifier, EapType.IDENTITY, new TextEncoder().encode(this.#credentials.user))
    }
    if (type === EapType.NOTIFICATION) {
      if (this.#notifications.length < MAX_NOTIFICATIONS) this.#notifications.push(showPeerText(packet.data))
      return this.#reply(identifier, EapType.NOTIFICATION, new Uint8Array(0))
    }
    if (type === undefined || type === EapType.NAK)
      return this.#fail(outOfPlace('a request of no known kind'))
    return this.#runMethod(type, identifier, packet.data)
  }

  #runMethod(type: number, identifier: number, data: Uint8Array): EapStep {
    if (this.#method === undefined) {
      if (!this.#usableTypes().includes(type)) return this.#nak(type, identifier)
      this.#method = this.#createMethod(type)
    }
    const method = this.#method
    if (method === undefined) return this.#nak(type, identifier)
    if (method.type !== type) {
      return this.#fail(outOfPlace(`${eapMethodName(type)} in the middle of ${eapMethodName(method.type)}`))
    }
    return this.#take(type, identifier, method.process(data, identifier))
  }

  /** RFC 3748 section 5.3.1: the types that are wanted instead, 0 for none. */
  #nak(type: number, identifier: number): EapStep {
    this.#refusedTypes.push(type)
    const wanted = this.#usableTypes()
    return this.#reply(identifier, EapType.NAK, Uint8Array.from(wanted.length === 0 ? [0] : wanted))
  }

  /** In order of preference. */
  #usableTypes(): number[] {
    const types: number[] = this.#credentials.tls === undefined ? [] : [EapType.TLS]
    if (this.#credentials.password !== undefined) {
      types.push(EapType.MSCHAPV2)
      if (!this.#mutualOnly) types.push(EapType.GTC, EapType.MD5_CHALLENGE)
    }
    return types
  }

  #createMethod(type: number): PeerMethod | undefined {
    const { user, password, tls } = this.#credentials
    if (tls !== undefined && type === EapType.TLS) return new TlsPeer(tls)
    if (password !== undefined) {
      if (type === EapType.MSCHAPV2) return new MschapV2Peer(user, password, this.#random)
      if (type === EapType.GTC) return new GtcPeer(password)
      if (type === EapType.MD5_CHALLENGE) return new Md5ChallengePeer(password)
    }
    return undefined
  }

  #take(type: number, identifier: number, step: MethodStep): EapStep {
    switch (step.kind) {
      case 'send':
        return this.#reply(identifier, type, step.data)
      case 'pending':
        this.#pendingIdentifier = identifier
        return step
      case 'failure':
        return this.#fail(step.error)
    }
  }

  #reply(identifier: number, type: number, data: Uint8Array): EapStep {
    this.#lastReply = encodeEapResponse(identifier, type, data)
    return { kind: 'reply', packet: this.#lastReply }
  }

  #succeed(): EapStep {
    const method = this.#method
    if (method === undefined || !method.succeeded) {
      return this.#fail(
        new AuthenticationError(
          'eap-early-success',
          'The gateway declared EAP successful before the method had come to its end.',
          { hint: 'This may be an attempt to skip authentication; ask the operator of the gateway.' }
        )
      )
    }
    const msk = method.msk
    this.dispose()
    return { kind: 'success', msk }
  }

  #fail(error: IkestreamError): EapStep {
    this.dispose()
    return { kind: 'failure', error }
  }

  #rejectionError(): IkestreamError {
    const user = JSON.stringify(this.#credentials.user)
    if (this.#method !== undefined) {
      return new AuthenticationError(
        'eap-rejected',
        `The gateway rejected ${user} with ${eapMethodName(this.#method.type)}.`,
        {
          hint: 'Check the user name and its password or certificate, and whether the account may use this VPN.'
        }
      )
    }
    if (this.#refusedTypes.length === 0) {
      return new AuthenticationError('eap-rejected', `The gateway rejected the user name ${user}.`, {
        hint: 'Check --user; some gateways want the name as DOMAIN\\user or user@domain.'
      })
    }
    const offered = [...new Set(this.#refusedTypes)].slice(0, 8).map(eapMethodName).join(', ')
    const here = this.#usableTypes().map(eapMethodName).join(', ')
    return new ConfigurationError(
      'eap-no-common-method',
      `The gateway wants ${offered}, and the credentials here allow ${here === '' ? 'no EAP method' : here}.`,
      { hint: 'EAP-TLS needs --certificate and --sslkey; the other methods need a password.' }
    )
  }
}

function outOfPlace(what: string): IkestreamError {
  return new ProtocolError('eap-protocol', `The gateway broke the EAP protocol: ${what}.`, {
    hint: 'Ask the operator of the gateway; its EAP server does not follow RFC 3748.'
  })
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index])
}
