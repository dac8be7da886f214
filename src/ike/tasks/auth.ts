import { AuthenticationError, IkestreamError, InternalError } from '../../errors.ts'
import {
  CertEncoding,
  ConfigType,
  ExchangeType,
  FIRST_STATUS_NOTIFY,
  NotifyType,
  PayloadType
} from '../../wire/ike-constants.ts'
import { findNotifies, findPayload, notify } from '../../wire/ike-helpers.ts'
import type { NotifyPayload, Payload, Proposal } from '../../wire/ike-message.ts'
import {
  certificatePayloads,
  certificateRequest,
  createAuth,
  createEapAuth,
  verifyAuth,
  verifyEapAuth
} from '../auth/authenticator.ts'
import { noteAuthLifetime } from '../auth-lifetime.ts'
import { EapPeer } from '../eap/peer.ts'
import type { EapStep } from '../eap/types.ts'
import { errorOfNotify, protocolViolation } from '../failures.ts'
import type { Draft, IkeSa, InboundMessage, Task, TaskOutcome } from '../ike-sa.ts'
import { MAX_AUTH_ROUNDS } from '../options.ts'
import { protectedRedirect, redirected } from '../redirect.ts'
import { isResumedAuth, noteTicket, resumedAuth, sameIdentity, ticketRequest } from '../resumption.ts'
import type { SessionState } from '../session-state.ts'
import type { InitiatorConfig, SessionTicket } from '../types.ts'
import { readFirstChild } from './auth-child.ts'
import {
  abilityNotifies,
  announceEstablished,
  authKey,
  certificatesIn,
  espSuiteOf,
  localOctets,
  markAuthenticated,
  noteAbilities,
  remoteOctets,
  secured
} from './auth-common.ts'
import { espOffer, installChild } from './child.ts'
import { configRequestPayload, readAssignedConfig } from './config.ts'
import { SIGNATURE_HASHES } from './init-common.ts'

export interface AuthHooks {
  /** Both ends are who they say, and there is a Child SA. */
  established(): void
  /** Established, and worth nothing: delete the IKE SA, then end with this error. */
  giveUp(error: IkestreamError): void
  /** The gateway could not be believed: tell it, and end with this error. */
  reject(error: IkestreamError): void
}

/** A session is resumed (RFC 5723): the ticket stands for both ends' credentials. */
export interface AuthResumption {
  readonly ticket: SessionTicket
  /** It was not accepted after all: sets the session up from scratch. */
  startOver(why: string): void
}

type Phase = 'first' | 'eap' | 'last'

export class AuthTask implements Task {
  readonly name = 'auth'
  readonly #state: SessionState
  readonly #config: InitiatorConfig
  readonly #hooks: AuthHooks
  readonly #resumption: AuthResumption | undefined
  readonly #spiIn: number
  readonly #offer: Proposal[]
  #phase: Phase = 'first'
  #rounds = 0
  #eap: EapPeer | undefined
  #eapReply: Uint8Array | undefined
  /** The MSK; undefined with `#phase` `last`: the method derived none. */
  #msk: Uint8Array | undefined

  /** @param resumption the ticket that IKE_SESSION_RESUME was answered for */
  constructor(state: SessionState, config: InitiatorConfig, hooks: AuthHooks, resumption?: AuthResumption) {
    this.#state = state
    this.#config = config
    this.#hooks = hooks
    this.#resumption = resumption
    this.#spiIn = state.newEspSpi()
    this.#offer = espOffer(config.espProposals, this.#spiIn, false)
    if (config.localAuth.method === 'eap' && resumption === undefined) {
      this.#eap = new EapPeer(config.localAuth.credentials, state.environment.random)
    }
  }

  /** Our AUTH is on its way: what comes next is the end of authentication. */
  get isDecisive(): boolean {
    return this.#phase === 'last' || (this.#phase === 'first' && this.#eap === undefined)
  }

  build(sa: IkeSa): Draft | undefined {
    this.#rounds++
    if (this.#rounds > MAX_AUTH_ROUNDS) {
      this.#hooks.reject(protocolViolation(`IKE_AUTH took more than ${MAX_AUTH_ROUNDS} requests`))
      return undefined
    }
    try {
      const solution = this.#phase === 'first' ? sa.puzzleSolution : undefined
      const outer = solution === undefined ? [] : [{ type: PayloadType.PS, data: solution } as const]
      return { exchangeType: ExchangeType.IKE_AUTH, payloads: this.#requestPayloads(sa), outer }
    } catch (error) {
      if (!(error instanceof IkestreamError) || error instanceof InternalError) throw error
      this.#hooks.reject(error)
      return undefined
    }
  }

  process(sa: IkeSa, response: InboundMessage): TaskOutcome {
    const { payloads } = response
    const refusal = this.#refusalIn(payloads)
    if (refusal !== undefined) return this.#end(errorOfNotify(refusal.notifyType, this.#config))
    switch (this.#phase) {
      case 'first':
        return this.#processFirst(sa, payloads)
      case 'eap':
        return this.#processEap(payloads)
      case 'last':
        return this.#processLast(sa, payloads)
    }
  }

  resume(): TaskOutcome {
    return this.#eap === undefined ? 'done' : this.#takeStep(this.#eap.continue())
  }

  dispose(): void {
    this.#eap?.dispose()
    this.#msk?.fill(0)
  }

  #requestPayloads(sa: IkeSa): Payload[] {
    switch (this.#phase) {
      case 'first':
        return this.#firstRequest(sa)
      case 'eap':
        return [{ type: PayloadType.EAP, packet: this.#eapReply ?? new Uint8Array(0) }]
      case 'last':
        return [this.#eapAuthPayload(sa)]
    }
  }

  #firstRequest(sa: IkeSa): Payload[] {
    const config = this.#config
    const { localIdentity, remoteIdentity, localAuth, remoteAuth, configRequest } = config
    const state = this.#state
    state.authPath = state.path
    if (this.#resumption !== undefined) return this.#resumingRequest(sa, this.#resumption.ticket)
    state.localIdentity = localIdentity
    const certificateAuthorities: Payload[] =
      remoteAuth.method === 'certificate'
        ? [
            {
              type: PayloadType.CERTREQ,
              encoding: CertEncoding.X509_SIGNATURE,
              authorities: certificateRequest(remoteAuth.trust)
            }
          ]
        : []
    return [
      { type: PayloadType.IDi, ...localIdentity },
      ...certificatePayloads(localAuth),
      ...certificateAuthorities,
      { type: PayloadType.IDr, ...remoteIdentity },
      ...(localAuth.method === 'eap' ? [] : [this.#authPayload(sa)]),
      ...(configRequest === undefined ? [] : [configRequestPayload(configRequest)]),
      { type: PayloadType.SA, proposals: this.#offer },
      { type: PayloadType.TSi, selectors: config.localTs },
      { type: PayloadType.TSr, selectors: config.remoteTs },
      ...(config.initialContact === true ? [notify(NotifyType.INITIAL_CONTACT)] : []),
      ...abilityNotifies(state, undefined),
      ...ticketRequest(state)
    ]
  }

  /** No certificates: both identities are those of the ticket (RFC 5723 section 4.3.3). */
  #resumingRequest(sa: IkeSa, { localIdentity, remoteIdentity }: SessionTicket): Payload[] {
    const { configRequest, localTs, remoteTs } = this.#config
    const state = this.#state
    state.localIdentity = localIdentity
    return [
      { type: PayloadType.IDi, ...localIdentity },
      { type: PayloadType.IDr, ...remoteIdentity },
      resumedAuth(sa, localIdentity),
      ...(configRequest === undefined ? [] : [configRequestPayload(configRequest)]),
      { type: PayloadType.SA, proposals: this.#offer },
      { type: PayloadType.TSi, selectors: localTs },
      { type: PayloadType.TSr, selectors: remoteTs },
      ...abilityNotifies(state, undefined),
      ...ticketRequest(state)
    ]
  }

  #authPayload(sa: IkeSa): Payload {
    const { localAuth, localIdentity } = this.#config
    const { prf } = secured(sa).security
    const octets = localOctets(sa, localIdentity)
    const auth = createAuth(localAuth, { prf, octets, peerHashes: this.#state.features.signatureHashes })
    return { type: PayloadType.AUTH, ...auth }
  }

  #eapAuthPayload(sa: IkeSa): Payload {
    const octets = localOctets(sa, this.#config.localIdentity)
    const eapKey = this.#msk ?? authKey(sa, true)
    return { type: PayloadType.AUTH, ...createEapAuth({ prf: secured(sa).security.prf, octets, eapKey }) }
  }

  /** An error in place of authentication; beside AUTH it is about the Child SA only (section 2.21.2). */
  #refusalIn(payloads: readonly Payload[]): NotifyPayload | undefined {
    if (findPayload(payloads, PayloadType.AUTH) !== undefined) return undefined
    return findNotifies(payloads).find(({ notifyType }) => notifyType < FIRST_STATUS_NOTIFY)
  }

  #processFirst(sa: IkeSa, payloads: readonly Payload[]): TaskOutcome {
    const id = findPayload(payloads, PayloadType.IDr)
    const auth = findPayload(payloads, PayloadType.AUTH)
    if (id === undefined || auth === undefined) {
      return this.#reject(protocolViolation('the gateway did not authenticate itself in IKE_AUTH'))
    }
    const identity = { idType: id.idType, data: id.data }
    if (this.#resumption !== undefined) {
      const isSame = sameIdentity(identity, this.#resumption.ticket.remoteIdentity)
      if (!isSame || !isResumedAuth(sa, identity, auth))
        return this.#reject(protocolViolation('the gateway did not prove that it knows the ticket'))
      this.#state.remoteIdentity = identity
      this.#state.isByTicket = true
      this.#state.log('info', 'the session was resumed with a ticket')
      return this.#finish(sa, payloads)
    }
    const verdict = verifyAuth(
      this.#config.remoteAuth,
      { prf: secured(sa).security.prf, octets: remoteOctets(sa, identity) },
      {
        method: auth.method,
        data: auth.data,
        identity,
        certificates: certificatesIn(payloads),
        expectedIdentity: this.#config.remoteIdentity,
        atMs: this.#state.environment.wallClockMs(),
        acceptedHashes: SIGNATURE_HASHES,
        purpose: 'server'
      }
    )
    if (!verdict.ok) return this.#reject(verdict.error)
    this.#state.remoteIdentity = identity
    this.#state.log('info', 'the gateway has proved its identity', { by: verdict.detail })
    if (this.#eap === undefined) return this.#finish(sa, payloads)
    const elsewhere = protectedRedirect(this.#state, payloads)
    if (elsewhere !== undefined) {
      // There is no IKE SA yet that would have to be deleted (RFC 5685 section 6).
      this.#state.end('redirected', redirected(this.#state, elsewhere, 'auth'))
      return 'done'
    }
    this.#phase = 'eap'
    return this.#processEap(payloads)
  }

  #processEap(payloads: readonly Payload[]): TaskOutcome {
    const packet = findPayload(payloads, PayloadType.EAP)?.packet
    if (packet === undefined || this.#eap === undefined) {
      return this.#reject(protocolViolation('the gateway went on without the EAP that it owed'))
    }
    return this.#takeStep(this.#eap.receive(packet))
  }

  #takeStep(step: EapStep): TaskOutcome {
    switch (step.kind) {
      case 'reply':
        this.#eapReply = step.packet
        return 'again'
      case 'pending':
        this.#state.emit({ type: 'wait', until: step.ready })
        return 'waiting'
      case 'success':
        this.#msk = step.msk
        this.#phase = 'last'
        return 'again'
      case 'failure':
        return this.#end(step.error)
    }
  }

  #processLast(sa: IkeSa, payloads: readonly Payload[]): TaskOutcome {
    const auth = findPayload(payloads, PayloadType.AUTH)
    const identity = this.#state.remoteIdentity
    if (auth === undefined || identity === undefined) {
      return this.#reject(protocolViolation('the gateway did not confirm the key from EAP'))
    }
    const context = {
      prf: secured(sa).security.prf,
      octets: remoteOctets(sa, identity),
      eapKey: this.#msk ?? authKey(sa, false)
    }
    const verdict = verifyEapAuth(context, auth)
    return verdict.ok ? this.#finish(sa, payloads) : this.#reject(verdict.error)
  }

  #finish(sa: IkeSa, payloads: readonly Payload[]): TaskOutcome {
    const state = this.#state
    noteAbilities(state, payloads)
    noteAuthLifetime(state, payloads)
    noteTicket(state, sa, payloads)
    const reply = findPayload(payloads, PayloadType.CP)
    if (reply?.cfgType === ConfigType.CFG_REPLY) state.assigned = readAssignedConfig(reply)
    markAuthenticated(state, sa)
    const elsewhere = protectedRedirect(state, payloads)
    if (elsewhere !== undefined) {
      this.#hooks.giveUp(redirected(state, elsewhere, 'auth'))
      return 'done'
    }
    const child = readFirstChild(state, this.#config, sa, payloads, this.#offer, this.#spiIn)
    if (child instanceof IkestreamError) {
      announceEstablished(state, sa, undefined)
      this.#hooks.giveUp(child)
      return 'done'
    }
    announceEstablished(state, sa, espSuiteOf(child))
    state.useOutbound(installChild(state, sa, child))
    this.#hooks.established()
    return 'done'
  }

  /** A ticket that turns out to be worth nothing is no reason to give up. */
  #startedOver(error: IkestreamError): boolean {
    this.#resumption?.startOver(error.message)
    return this.#resumption !== undefined
  }

  #end(error: IkestreamError): TaskOutcome {
    if (this.#startedOver(error)) return 'done'
    this.#state.end(error instanceof AuthenticationError ? 'authentication-failed' : 'rejected', error)
    return 'done'
  }

  #reject(error: IkestreamError): TaskOutcome {
    if (this.#startedOver(error)) return 'done'
    this.#hooks.reject(error)
    return 'done'
  }
}
