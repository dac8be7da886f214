/**
 * The EAP server inside IKE_AUTH (RFC 3748, RFC 7296 section 2.16): how a responder authenticates users.
 *
 * Offers its methods in order of preference and follows a Nak to the next one that both sides have. Nothing that a
 * peer sends throws, and rounds are bounded.
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
import type { EapServerConfig } from '../auth/types.ts'
import { MschapV2Server } from './mschapv2-server.ts'
import {
  decodeEapPacket,
  type EapPacket,
  eapMethodName,
  encodeEapRequest,
  encodeEapResult
} from './packet.ts'
import { TlsServer } from './tls-server.ts'
import type { EapStep, ServerMethod, ServerMethodStep } from './types.ts'

const MAX_ROUNDS = 256
const MAX_IDENTITY_LENGTH = 253

export class EapServer {
  readonly #config: EapServerConfig
  readonly #random: RandomSource
  /** Methods not yet refused by the peer. */
  #candidates: number[]
  #method: ServerMethod | undefined
  /** The first request of a method is the only one that a Nak may answer. */
  #mayNak = false
  #identifier: number
  #lastRequest: Uint8Array | undefined
  #lastResponse: Uint8Array | undefined
  #claimedIdentity: string | undefined
  #provenIdentity: string | undefined
  #pending = false
  #rounds = 0
  #ended = false

  /** @throws ConfigurationError when no method can run with this configuration */
  constructor(config: EapServerConfig, random: RandomSource) {
    this.#config = config
    this.#random = random
    this.#candidates = config.methods.filter((type) => this.#canServe(type))
    this.#identifier = random.bytes(1)[0] ?? 0
    if (this.#candidates.length === 0) {
      throw new ConfigurationError('eap-no-method', 'The gateway has no EAP method that it could run.', {
        hint: 'Configure users with passwords for EAP-MSCHAPv2, or a certificate for EAP-TLS.'
      })
    }
  }

  /** What the peer proved to be; before that, what it claims to be. */
  get identity(): string | undefined {
    return this.#provenIdentity ?? this.#claimedIdentity
  }

  /** The method in use. */
  get method(): number | undefined {
    return this.#method?.type
  }

  /** The first packet: a request for the identity. */
  start(): Uint8Array {
    return this.#request(EapType.IDENTITY, new Uint8Array(0))
  }

  /** Takes one EAP packet of the peer. Never throws. */
  receive(bytes: Uint8Array): EapStep {
    if (this.#ended) return this.#fail(outOfPlace('a packet after the end'))
    if (this.#pending) return this.#fail(outOfPlace('a packet before the last was answered'))
    const packet = decodeEapPacket(bytes)
    if (packet === undefined) return this.#fail(outOfPlace('a malformed packet'))
    if (packet.code !== EapCode.RESPONSE) return this.#fail(outOfPlace('something other than a response'))
    if (packet.identifier !== this.#identifier) {
      const repeated = this.#lastResponse !== undefined && sameBytes(bytes, this.#lastResponse)
      if (repeated && this.#lastRequest !== undefined) return { kind: 'reply', packet: this.#lastRequest }
      return this.#fail(outOfPlace('a response to another request'))
    }
    this.#rounds++
    if (this.#rounds > MAX_ROUNDS) return this.#fail(outOfPlace(`more than ${MAX_ROUNDS} responses`))
    this.#lastResponse = Uint8Array.from(bytes)
    return this.#process(packet)
  }

  /** Goes on after `pending`. */
  continue(): EapStep {
    const method = this.#method
    if (!this.#pending || method === undefined || this.#ended) {
      return this.#fail(new InternalError('eap-state', 'EAP was continued while it was not waiting.'))
    }
    this.#pending = false
    return this.#take(method, method.resume())
  }

  /** Drops what is kept of the method. Safe to call twice. */
  dispose(): void {
    this.#ended = true
    this.#method?.dispose()
    this.#lastRequest = undefined
  }

  #process(packet: EapPacket): EapStep {
    if (this.#claimedIdentity === undefined) return this.#takeIdentity(packet)
    const method = this.#method
    if (method === undefined) return this.#fail(outOfPlace('a response before any method'))
    if (packet.type === EapType.NAK && this.#mayNak) return this.#followNak(packet.data)
    if (packet.type !== method.type) return this.#fail(outOfPlace('a response of another type'))
    this.#mayNak = false
    return this.#take(method, method.process(packet.data))
  }

  #takeIdentity(packet: EapPacket): EapStep {
    if (packet.type !== EapType.IDENTITY) return this.#fail(outOfPlace('no identity'))
    // RFC 3748 section 5.1: options may follow a NUL.
    const end = packet.data.indexOf(0)
    const name = end < 0 ? packet.data : packet.data.subarray(0, end)
    if (name.length > MAX_IDENTITY_LENGTH) return this.#fail(outOfPlace('an identity that is too long'))
    this.#claimedIdentity = new TextDecoder().decode(name)
    return this.#beginMethod(this.#candidates[0])
  }

  #followNak(wanted: Uint8Array): EapStep {
    const refused = this.#method?.type
    this.#method?.dispose()
    this.#method = undefined
    this.#candidates = this.#candidates.filter((type) => type !== refused)
    return this.#beginMethod(
      this.#candidates.find((type) => wanted.includes(type)),
      wanted
    )
  }

  #beginMethod(type: number | undefined, wanted?: Uint8Array): EapStep {
    const method = type === undefined ? undefined : this.#createMethod(type)
    if (method === undefined) return this.#fail(noCommonMethod(this.#config.methods, wanted))
    this.#method = method
    this.#mayNak = true
    return { kind: 'reply', packet: this.#request(method.type, method.begin()) }
  }

  #canServe(type: number): boolean {
    return type === EapType.MSCHAPV2 || (type === EapType.TLS && this.#config.tls !== undefined)
  }

  #createMethod(type: number): ServerMethod | undefined {
    if (type === EapType.MSCHAPV2) {
      return new MschapV2Server((user) => this.#config.passwordOf(user), this.#random)
    }
    if (type === EapType.TLS && this.#config.tls !== undefined) {
      return new TlsServer(this.#config.tls, this.#claimedIdentity ?? '')
    }
    return undefined
  }

  #take(method: ServerMethod, step: ServerMethodStep): EapStep {
    switch (step.kind) {
      case 'send':
        return { kind: 'reply', packet: this.#request(method.type, step.data) }
      case 'pending':
        this.#pending = true
        return step
      case 'failure':
        return this.#fail(step.error)
      case 'success': {
        this.#provenIdentity = step.identity
        const packet = encodeEapResult(EapCode.SUCCESS, this.#identifier)
        this.dispose()
        return { kind: 'success', msk: step.msk, packet }
      }
    }
  }

  #request(type: number, data: Uint8Array): Uint8Array {
    this.#identifier = (this.#identifier + 1) & 0xff
    this.#lastRequest = encodeEapRequest(this.#identifier, type, data)
    return this.#lastRequest
  }

  #fail(error: IkestreamError): EapStep {
    this.dispose()
    return { kind: 'failure', error, packet: encodeEapResult(EapCode.FAILURE, this.#identifier) }
  }
}

function outOfPlace(what: string): IkestreamError {
  return new ProtocolError('eap-protocol', `The peer broke the EAP protocol: ${what}.`)
}

function noCommonMethod(offered: readonly number[], wanted: Uint8Array | undefined): IkestreamError {
  const here = offered.map(eapMethodName).join(', ')
  const there = Array.from(wanted ?? [], eapMethodName)
    .slice(0, 8)
    .join(', ')
  return new AuthenticationError(
    'eap-no-common-method',
    `The peer refused ${here}${there === '' || there === 'EAP type 0' ? '' : ` and wants ${there}`}.`,
    { hint: 'Give the client credentials for a method that this gateway offers.' }
  )
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index])
}
