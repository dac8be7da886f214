/**
 * What can go wrong with a peer, as errors that say what happened and what to do (exit codes 75, 76 and 77).
 * @module
 */
import { formatProposal, type ProposalKind } from '../crypto/proposal.ts'
import { AuthenticationError, type IkestreamError, ProtocolError, TemporaryError } from '../errors.ts'
import { NotifyType, nameOf } from '../wire/ike-constants.ts'
import type { Proposal } from '../wire/ike-message.ts'
import { formatTrafficSelectors } from '../wire/traffic-selectors.ts'
import { formatIdentity } from './auth/identity.ts'
import type { LocalAuth } from './auth/types.ts'
import type { InitiatorConfig } from './types.ts'

const OTHER_SIDE_LOGS = "Look into the gateway's log for its reason."

/** What an initiator asked for: errors name it. */
type Asked = Pick<InitiatorConfig, 'localIdentity' | 'localAuth' | 'espProposals' | 'remoteTs'>

/** How we authenticated, and what is worth checking then. */
const METHODS: Readonly<Record<LocalAuth['method'], readonly [name: string, hint: string]>> = {
  psk: [
    'pre-shared key',
    'Check --psk-file, and that the gateway has this key for this identity (--identity).'
  ],
  certificate: [
    'certificate',
    'The gateway has to trust the CA of --certificate, and to accept this identity (--identity).'
  ],
  eap: ['EAP', 'Check --user, and whether the gateway wants another identity (--identity).']
}

export function authenticationRejected({ localIdentity, localAuth }: Asked): AuthenticationError {
  const [method, hint] = METHODS[localAuth.method]
  const who = formatIdentity(localIdentity)
  return new AuthenticationError(
    'authentication-failed',
    `The gateway rejected our authentication as ${who} (${method}).`,
    { hint: `${hint} ${OTHER_SIDE_LOGS}` }
  )
}

/** A responder's view: the initiator told so itself. */
export function rejectedByInitiator(): AuthenticationError {
  return new AuthenticationError('rejected-by-initiator', 'The client did not believe our authentication.', {
    hint: 'Compare the identity, pre-shared key or certificate of this gateway with what the client expects.'
  })
}

/** For a responder's log: nobody is told more than AUTHENTICATION_FAILED. */
export function unknownPeer(identity: string): AuthenticationError {
  return new AuthenticationError('unknown-peer', `Nobody here is known as ${identity}.`, {
    hint: 'Compare the identity that the client sends with those that are configured.'
  })
}

export function noProposalChosen(kind: ProposalKind, offered: readonly Proposal[]): ProtocolError {
  const shown = offered.map((proposal) => formatProposal(proposal, kind)).join(', ')
  const hint =
    kind === 'ike'
      ? 'Find out what it accepts with "ikestream check <server> --proposals", and offer that with --ike-proposal.'
      : 'Offer what the gateway is configured for, with --esp-proposal (aes256-sha256, for example); ask its operator.'
  return new ProtocolError(
    'no-proposal-chosen',
    `The gateway accepts none of the ${kind.toUpperCase()} proposals that were offered: ${shown}.`,
    { hint }
  )
}

export function puzzleTooHard(difficulty: number, most: number): TemporaryError {
  return new TemporaryError(
    'puzzle-too-hard',
    `The gateway is overloaded and asks for a puzzle of ${difficulty} bits to be solved, which would take minutes; ${most} is the most.`,
    { hint: 'Try again later: the gateway may be under attack.' }
  )
}

export function invalidChoice(reason: string): ProtocolError {
  return new ProtocolError('invalid-choice', `The gateway's answer does not fit our offer: ${reason}.`)
}

export function trafficSelectorsUnacceptable({ remoteTs }: Pick<Asked, 'remoteTs'>): ProtocolError {
  return new ProtocolError(
    'ts-unacceptable',
    `The gateway does not allow the networks (traffic selectors) that were asked for: ${formatTrafficSelectors(remoteTs)}.`,
    { hint: 'Ask for other networks with --remote-ts, or for a virtual address if the gateway assigns one.' }
  )
}

export function internalAddressFailure(): ProtocolError {
  return new ProtocolError('internal-address-failure', 'The gateway assigned no virtual address.', {
    hint: 'Its address pool may be used up or not be meant for this identity. Ask its operator.'
  })
}

export function invalidSyntax(what: string): ProtocolError {
  return new ProtocolError('invalid-syntax', `The peer sent a malformed message: ${what}.`)
}

export function unsupportedCritical(payloadType: number): ProtocolError {
  return new ProtocolError(
    'unsupported-critical-payload',
    `The peer insists on payload type ${payloadType}, which is not known here.`
  )
}

export function protocolViolation(what: string): ProtocolError {
  return new ProtocolError('protocol-violation', `The peer broke the IKE protocol: ${what}.`)
}

export function refused(what: string, notifyType: number): ProtocolError {
  const name = nameOf(NotifyType, notifyType, 'NOTIFY')
  return new ProtocolError('refused', `The peer refused ${what}: ${name}.`, { hint: OTHER_SIDE_LOGS })
}

export function peerTimeout(exchange: string): TemporaryError {
  return new TemporaryError('ike-timeout', `The peer did not answer ${exchange} in time.`, {
    hint: 'It may be down or unreachable; try again, or another transport.'
  })
}

export function lifetimeExpired(what: string): TemporaryError {
  return new TemporaryError(
    'lifetime-expired',
    `The ${what} could not be renewed before its lifetime ended.`,
    {
      hint: 'Connect again.'
    }
  )
}

export function stateOutOfSync(): TemporaryError {
  return new TemporaryError('out-of-sync', 'The peer kept answering TEMPORARY_FAILURE for minutes.', {
    hint: 'Connect again.'
  })
}

export function initRetriesExhausted(): ProtocolError {
  return new ProtocolError(
    'init-loop',
    'The gateway kept asking for other cookies or key exchange groups without ever being content.',
    { hint: 'A NAT that changes our address with every packet does this; try a stream transport.' }
  )
}

/** The error for an error notify in answer to IKE_AUTH (RFC 7296 section 3.10.1), or after it. */
export function errorOfNotify(notifyType: number, asked: Asked): IkestreamError {
  switch (notifyType) {
    case NotifyType.AUTHENTICATION_FAILED:
      return authenticationRejected(asked)
    case NotifyType.NO_PROPOSAL_CHOSEN:
      return noProposalChosen('esp', asked.espProposals)
    case NotifyType.TS_UNACCEPTABLE:
    case NotifyType.SINGLE_PAIR_REQUIRED:
      return trafficSelectorsUnacceptable(asked)
    case NotifyType.INTERNAL_ADDRESS_FAILURE:
    case NotifyType.FAILED_CP_REQUIRED:
      return internalAddressFailure()
    case NotifyType.INVALID_SYNTAX:
      return unreadable()
    default:
      return refused('IKE_AUTH', notifyType)
  }
}

/** The peer says INVALID_SYNTAX. */
export function unreadable(): ProtocolError {
  return new ProtocolError('invalid-syntax', 'The peer could not read our message (INVALID_SYNTAX).', {
    hint: OTHER_SIDE_LOGS
  })
}
