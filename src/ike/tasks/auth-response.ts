/**
 * IKE_AUTH from the responder's side, over as many rounds as EAP takes (RFC 7296 sections 1.2, 2.16, 2.21.2).
 * @module
 */
import { IkestreamError, InternalError } from '../../errors.ts'
import { AuthMethod, ConfigType, NotifyType, PayloadType } from '../../wire/ike-constants.ts'
import { findNotify, findPayload, notify } from '../../wire/ike-helpers.ts'
import type { Payload } from '../../wire/ike-message.ts'
import {
  certificatePayloads,
  createAuth,
  createEapAuth,
  verifyAuth,
  verifyEapAuth
} from '../auth/authenticator.ts'
import { formatIdentity } from '../auth/identity.ts'
import { authLifetimeNotify, limitAuthentication } from '../auth-lifetime.ts'
import { EapServer } from '../eap/server.ts'
import type { EapStep } from '../eap/types.ts'
import { protocolViolation, unknownPeer } from '../failures.ts'
import type { IkeSa, InboundMessage } from '../ike-sa.ts'
import { MAX_AUTH_ROUNDS } from '../options.ts'
import { redirected, redirectNotify } from '../redirect.ts'
import { isResumedAuth, resumedAuth, sameIdentity, ticketAnswer } from '../resumption.ts'
import type { SessionState } from '../session-state.ts'
import type { TicketContents } from '../ticket-vault.ts'
import type { Identity, ResponderAuthentication, ResponderConfig } from '../types.ts'
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
import { type ChildAgreement, chooseChild, espOffer, installChild, selectorLimits } from './child.ts'
import { configReplyPayload } from './config.ts'
import { SIGNATURE_HASHES } from './init-common.ts'

export type AuthAnswer =
  | { readonly kind: 'reply'; readonly payloads: readonly Payload[] }
  /** The last answer: the session ends with this error once it is sent. */
  | {
      readonly kind: 'fail'
      readonly reason: 'authentication-failed' | 'redirected'
      readonly payloads: readonly Payload[]
      readonly error: IkestreamError
    }
  /** Call `resume` when the promise has resolved. */
  | { readonly kind: 'wait'; readonly until: Promise<void> }

type Phase = 'first' | 'eap' | 'last' | 'over'

export class AuthResponder {
  readonly #state: SessionState
  readonly #config: ResponderConfig
  #phase: Phase = 'first'
  #rounds = 0
  #eap: EapServer | undefined
  #msk: Uint8Array | undefined
  #rules: ResponderAuthentication | undefined
  /** The first request holds what the last response answers: CP, SA, TSi, TSr. */
  #first: readonly Payload[] = []

  constructor(state: SessionState, config: ResponderConfig) {
    this.#state = state
    this.#config = config
  }

  respond(sa: IkeSa, request: InboundMessage): AuthAnswer {
    this.#rounds++
    if (this.#rounds > MAX_AUTH_ROUNDS) return this.#fail(protocolViolation('endless IKE_AUTH'))
    switch (this.#phase) {
      case 'first':
        return this.#respondFirst(sa, request.payloads)
      case 'eap': {
        const packet = findPayload(request.payloads, PayloadType.EAP)?.packet
        if (packet === undefined || this.#eap === undefined) return this.#fail(protocolViolation('no EAP'))
        return this.#takeStep(this.#eap.receive(packet))
      }
      case 'last':
        return this.#respondLast(sa, request.payloads)
      case 'over':
        return this.#fail(protocolViolation('IKE_AUTH after the end of authentication'))
    }
  }

  resume(): AuthAnswer {
    if (this.#eap === undefined) return this.#fail(protocolViolation('no EAP to go on with'))
    return this.#takeStep(this.#eap.continue())
  }

  dispose(): void {
    this.#eap?.dispose()
    this.#msk?.fill(0)
  }

  #respondFirst(sa: IkeSa, payloads: readonly Payload[]): AuthAnswer {
    const id = findPayload(payloads, PayloadType.IDi)
    if (id === undefined) return this.#fail(protocolViolation('IKE_AUTH without IDi'))
    const identity: Identity = { idType: id.idType, data: id.data }
    const { resumedFrom } = this.#state
    if (resumedFrom !== undefined) return this.#resume(sa, identity, resumedFrom, payloads)
    this.#state.peerMethod = kindOf(payloads)
    const wanted = findPayload(payloads, PayloadType.IDr)
    const rules = this.#config.policy.authenticationFor(
      identity,
      wanted === undefined ? undefined : { idType: wanted.idType, data: wanted.data },
      kindOf(payloads)
    )
    this.#state.remoteIdentity = identity
    this.#state.peerName = formatIdentity(identity)
    if (rules === undefined) return this.#fail(unknownPeer(this.#state.peerName))
    this.#rules = rules
    this.#first = payloads
    this.#state.localIdentity = rules.localIdentity
    try {
      return rules.remoteAuth.method === 'eap' ? this.#beginEap(sa, payloads) : this.#checkAuth(sa, payloads)
    } catch (error) {
      // A key that cannot sign for this peer, an EAP server without methods: ours to mend, but no reason to fall.
      if (!(error instanceof IkestreamError) || error instanceof InternalError) throw error
      return this.#fail(error)
    }
  }

  /** The ticket stands for the credentials of both ends (RFC 5723 section 4.3.3). */
  #resume(sa: IkeSa, identity: Identity, ticket: TicketContents, payloads: readonly Payload[]): AuthAnswer {
    const state = this.#state
    const auth = findPayload(payloads, PayloadType.AUTH)
    const wanted = findPayload(payloads, PayloadType.IDr)
    const isSame =
      sameIdentity(identity, ticket.initiator) &&
      (wanted === undefined || sameIdentity(wanted, ticket.responder)) &&
      findPayload(payloads, PayloadType.CERT) === undefined
    state.peerName = ticket.peerName
    if (!isSame || auth === undefined || !isResumedAuth(sa, identity, auth))
      return this.#fail(protocolViolation('the client does not know its ticket'))
    if (this.#config.policy.admits?.(ticket.peerName, ticket.method) === false)
      return this.#fail(unknownPeer(ticket.peerName))
    state.remoteIdentity = identity
    state.localIdentity = ticket.responder
    state.peerMethod = ticket.method
    state.isByTicket = true
    this.#first = payloads
    this.#config.tickets?.spend(ticket.serial)
    state.log('info', 'the peer has resumed its session')
    const proof: Payload[] = [
      { type: PayloadType.IDr, ...ticket.responder },
      resumedAuth(sa, ticket.responder)
    ]
    return this.#redirect(proof) ?? { kind: 'reply', payloads: [...proof, ...this.#establish(sa)] }
  }

  #checkAuth(sa: IkeSa, payloads: readonly Payload[]): AuthAnswer {
    const auth = findPayload(payloads, PayloadType.AUTH)
    const identity = this.#state.remoteIdentity
    const rules = this.#rules
    if (auth === undefined || identity === undefined || rules === undefined) {
      return this.#fail(protocolViolation('IKE_AUTH without AUTH from a peer that may not use EAP'))
    }
    const verdict = verifyAuth(
      rules.remoteAuth,
      { prf: secured(sa).security.prf, octets: remoteOctets(sa, identity) },
      {
        method: auth.method,
        data: auth.data,
        identity,
        certificates: certificatesIn(payloads),
        atMs: this.#state.environment.wallClockMs(),
        acceptedHashes: SIGNATURE_HASHES,
        purpose: 'client'
      }
    )
    if (!verdict.ok) return this.#fail(verdict.error)
    this.#state.log('info', 'the peer has proved its identity', { by: verdict.detail })
    const proof = this.#proof(sa, rules)
    return this.#redirect(proof) ?? { kind: 'reply', payloads: [...proof, ...this.#establish(sa)] }
  }

  #beginEap(sa: IkeSa, payloads: readonly Payload[]): AuthAnswer {
    const rules = this.#rules
    if (rules?.remoteAuth.method !== 'eap' || findPayload(payloads, PayloadType.AUTH) !== undefined) {
      return this.#fail(protocolViolation('AUTH from a peer that must use EAP'))
    }
    this.#eap = new EapServer(rules.remoteAuth.server, this.#state.environment.random)
    this.#phase = 'eap'
    const packet = this.#eap.start()
    return { kind: 'reply', payloads: [...this.#proof(sa, rules), { type: PayloadType.EAP, packet }] }
  }

  #takeStep(step: EapStep): AuthAnswer {
    switch (step.kind) {
      case 'reply':
        return { kind: 'reply', payloads: [{ type: PayloadType.EAP, packet: step.packet }] }
      case 'pending':
        return { kind: 'wait', until: step.ready }
      case 'success': {
        this.#msk = step.msk
        this.#phase = 'last'
        this.#state.peerName = this.#eap?.identity ?? this.#state.peerName
        const packet = step.packet ?? new Uint8Array(0)
        return { kind: 'reply', payloads: [{ type: PayloadType.EAP, packet }] }
      }
      case 'failure': {
        // EAP-Failure says it all: no AUTHENTICATION_FAILED beside it (section 2.21).
        const { packet, error } = step
        if (packet === undefined) return this.#fail(error)
        this.#phase = 'over'
        const reason = 'authentication-failed'
        return { kind: 'fail', reason, payloads: [{ type: PayloadType.EAP, packet }], error }
      }
    }
  }

  #respondLast(sa: IkeSa, payloads: readonly Payload[]): AuthAnswer {
    const auth = findPayload(payloads, PayloadType.AUTH)
    const { remoteIdentity, localIdentity } = this.#state
    if (auth === undefined || remoteIdentity === undefined || localIdentity === undefined) {
      return this.#fail(protocolViolation('no AUTH after EAP'))
    }
    const { prf } = secured(sa).security
    const received = {
      prf,
      octets: remoteOctets(sa, remoteIdentity),
      eapKey: this.#msk ?? authKey(sa, false)
    }
    const verdict = verifyEapAuth(received, auth)
    if (!verdict.ok) return this.#fail(verdict.error)
    const own = { prf, octets: localOctets(sa, localIdentity), eapKey: this.#msk ?? authKey(sa, true) }
    const proof: Payload = { type: PayloadType.AUTH, ...createEapAuth(own) }
    return this.#redirect([proof]) ?? { kind: 'reply', payloads: [proof, ...this.#establish(sa)] }
  }

  /** The peer has proved who it is, and is wanted elsewhere (RFC 5685 section 6). */
  #redirect(proof: readonly Payload[]): AuthAnswer | undefined {
    const { redirect } = this.#config
    if (redirect?.at !== 'auth' || !this.#state.followsRedirects) return undefined
    this.#phase = 'over'
    this.#state.log('info', 'the peer is sent to another gateway', { to: redirect.to })
    const error = redirected(this.#state, redirect.to, 'auth')
    return { kind: 'fail', reason: 'redirected', payloads: [...proof, redirectNotify(redirect.to)], error }
  }

  /** IDr, CERT and AUTH of this end. */
  #proof(sa: IkeSa, rules: ResponderAuthentication): Payload[] {
    const { localIdentity, localAuth } = rules
    const { prf } = secured(sa).security
    const octets = localOctets(sa, localIdentity)
    const auth = createAuth(localAuth, { prf, octets, peerHashes: this.#state.features.signatureHashes })
    return [
      { type: PayloadType.IDr, ...localIdentity },
      ...certificatePayloads(localAuth),
      { type: PayloadType.AUTH, ...auth }
    ]
  }

  /** Authentication is over: addresses and the first Child SA, whose failure leaves the IKE SA (section 2.21.2). */
  #establish(sa: IkeSa): Payload[] {
    const state = this.#state
    this.#phase = 'over'
    noteAbilities(state, this.#first)
    state.initialContact = findNotify(this.#first, NotifyType.INITIAL_CONTACT) !== undefined
    markAuthenticated(state, sa)
    limitAuthentication(state)
    const abilities = [
      ...abilityNotifies(state, this.#first),
      ...authLifetimeNotify(state),
      ...ticketAnswer(state, sa, this.#first)
    ]
    const { reply, failed } = this.#assign()
    if (failed) {
      announceEstablished(state, sa, undefined)
      return [notify(NotifyType.INTERNAL_ADDRESS_FAILURE), ...abilities]
    }
    const { agreement, payloads } = this.#agreeOnChild(sa)
    announceEstablished(state, sa, agreement === undefined ? undefined : espSuiteOf(agreement))
    if (agreement !== undefined) state.useOutbound(installChild(state, sa, agreement))
    return [...reply, ...payloads, ...abilities]
  }

  #assign(): { reply: Payload[]; failed: boolean } {
    const request = findPayload(this.#first, PayloadType.CP)
    if (request?.cfgType !== ConfigType.CFG_REQUEST) return { reply: [], failed: false }
    const assigned = this.#config.policy.assign(this.#state.peerName, request.attributes)
    if (assigned === undefined) return { reply: [], failed: true }
    this.#state.assigned = assigned
    return { reply: [configReplyPayload(assigned)], failed: false }
  }

  #agreeOnChild(sa: IkeSa): { agreement: ChildAgreement | undefined; payloads: Payload[] } {
    const state = this.#state
    const offer = findPayload(this.#first, PayloadType.SA)
    const tsI = findPayload(this.#first, PayloadType.TSi)
    const tsR = findPayload(this.#first, PayloadType.TSr)
    // Without SA and selectors the initiator wants a childless IKE SA (RFC 6023).
    if (offer === undefined || tsI === undefined || tsR === undefined) {
      return { agreement: undefined, payloads: [] }
    }
    const proposals = { proposals: offer.proposals, ke: undefined }
    const selectors = { peerTs: tsI.selectors, ownTs: tsR.selectors }
    const choice = chooseChild(state, { ...proposals, ...selectors }, selectorLimits(state), false)
    if (!choice.ok) return { agreement: undefined, payloads: [choice.error] }
    const spiIn = state.newEspSpi()
    const { init } = secured(sa)
    return {
      agreement: {
        chosen: choice.chosen,
        spiOut: choice.spiOut,
        localTs: choice.localTs,
        remoteTs: choice.remoteTs,
        spiIn,
        nonceI: init.remoteNonce,
        nonceR: init.localNonce,
        sharedSecret: undefined,
        isInitiator: false
      },
      payloads: [
        { type: PayloadType.SA, proposals: espOffer([choice.chosen], spiIn, false) },
        { type: PayloadType.TSi, selectors: choice.remoteTs },
        { type: PayloadType.TSr, selectors: choice.localTs }
      ]
    }
  }

  #fail(error: IkestreamError): AuthAnswer {
    this.#phase = 'over'
    this.#state.log('warn', `authentication of the peer failed: ${error.message}`, { code: error.code })
    const payloads = [notify(NotifyType.AUTHENTICATION_FAILED)]
    return { kind: 'fail', reason: 'authentication-failed', payloads, error }
  }
}

function kindOf(payloads: readonly Payload[]): 'psk' | 'certificate' | 'eap' {
  const auth = findPayload(payloads, PayloadType.AUTH)
  if (auth === undefined) return 'eap'
  return auth.method === AuthMethod.SHARED_KEY_MIC ? 'psk' : 'certificate'
}
