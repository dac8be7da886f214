/**
 * Redirection to another gateway (RFC 5685): its notifies, and what a client is told with them.
 *
 * The engine of a client ends with a `RedirectedError` where the old gateway has no further part in it (IKE_SA_INIT, IKE_AUTH);
 * in the middle of a session it says `redirect` and goes on, until whoever drives it has something better.
 * @module
 */
import { ProtocolError } from '../errors.ts'
import { addressFromBytes, addressToBytes } from '../wire/address.ts'
import { isDomainName } from '../wire/domain-name.ts'
import { NotifyType } from '../wire/ike-constants.ts'
import { findNotify, notify } from '../wire/ike-helpers.ts'
import type { NotifyPayload, Payload } from '../wire/ike-message.ts'
import type { TaskOutcome } from './ike-sa.ts'
import { concat } from './keymat.ts'
import { MAX_NONCE_LENGTH, MIN_NONCE_LENGTH } from './options.ts'
import type { SessionState } from './session-state.ts'
import { equalBytes } from './tasks/natd.ts'

/** GW Identity Type (section 9.2). */
const GatewayIdType = { IPV4: 1, IPV6: 2, FQDN: 3 } as const
const HEAD_LENGTH = 2

/** When it came: IKE_SA_INIT is not authenticated. */
export type RedirectPhase = 'init' | 'auth' | 'session'

/** The gateway wants us at another one. */
export class RedirectedError extends ProtocolError {
  /** An address, or a domain name. */
  readonly to: string
  readonly phase: RedirectPhase
  /** The address of the gateway that says so. */
  readonly from: string

  constructor(to: string, phase: RedirectPhase, from: string) {
    super('redirected', `The gateway sends its clients to ${to}.`, {
      hint: 'Connect there, or allow redirection.'
    })
    this.to = to
    this.phase = phase
    this.from = from
  }
}

export interface Redirection {
  readonly to: string
  /** Of IKE_SA_INIT's request; empty anywhere else. */
  readonly nonce: Uint8Array
}

/** @returns undefined when it cannot be read, or names nothing that could be connected to */
export function readRedirect(data: Uint8Array): Redirection | undefined {
  const [type, length] = data
  if (length === undefined || data.length < HEAD_LENGTH + length) return undefined
  const identity = data.subarray(HEAD_LENGTH, HEAD_LENGTH + length)
  const nonce = data.subarray(HEAD_LENGTH + length)
  if (nonce.length > 0 && (nonce.length < MIN_NONCE_LENGTH || nonce.length > MAX_NONCE_LENGTH))
    return undefined
  const to = identityText(type, identity)
  return to === undefined ? undefined : { to, nonce }
}

function identityText(type: number | undefined, bytes: Uint8Array): string | undefined {
  if (type === GatewayIdType.FQDN) {
    const name = Buffer.from(bytes).toString('latin1')
    return isDomainName(name) ? name : undefined
  }
  const length = type === GatewayIdType.IPV4 ? 4 : type === GatewayIdType.IPV6 ? 16 : undefined
  return bytes.length === length ? addressFromBytes(bytes) : undefined
}

/** @param to an address or a domain name */
export function redirectNotify(to: string, nonce: Uint8Array = new Uint8Array(0)): NotifyPayload {
  return notify(NotifyType.REDIRECT, concat(gatewayIdentity(to), nonce))
}

function gatewayIdentity(host: string): Uint8Array {
  const address = addressToBytes(host)
  const type =
    address === undefined
      ? GatewayIdType.FQDN
      : address.length === 4
        ? GatewayIdType.IPV4
        : GatewayIdType.IPV6
  const identity = address ?? Buffer.from(host, 'latin1')
  return concat(Uint8Array.of(type, identity.length), identity)
}

export function redirected(state: SessionState, to: string, phase: RedirectPhase): RedirectedError {
  return new RedirectedError(to, phase, state.path?.remote.address ?? '')
}

/** For the first request: that we follow, and who sent us here if somebody did (sections 9.1 and 9.3). */
export function redirectSupport({ config }: SessionState): NotifyPayload[] {
  if (config.role !== 'initiator' || config.redirect === undefined) return []
  const { from } = config.redirect
  const isAddress = from !== undefined && addressToBytes(from) !== undefined
  return [
    notify(NotifyType.REDIRECT_SUPPORTED),
    ...(isAddress ? [notify(NotifyType.REDIRECTED_FROM, gatewayIdentity(from))] : [])
  ]
}

/** Responder: does whoever sent this IKE_SA_INIT follow? */
export function followsRedirects(payloads: readonly Payload[]): boolean {
  return [NotifyType.REDIRECT_SUPPORTED, NotifyType.REDIRECTED_FROM].some(
    (type) => findNotify(payloads, type) !== undefined
  )
}

/**
 * Initiator: REDIRECT answers the first request. Only who has seen that knows its nonce; anything else is as if it had not come
 * (section 3).
 */
export function followFirstAnswer(state: SessionState, data: Uint8Array, nonce: Uint8Array): TaskOutcome {
  const { config } = state
  const redirection = readRedirect(data)
  const isAnswer = redirection !== undefined && equalBytes(redirection.nonce, nonce)
  if (!isAnswer || config.role !== 'initiator' || config.redirect === undefined) return 'ignore'
  state.end('redirected', redirected(state, redirection.to, 'init'))
  return 'done'
}

/** Where these protected payloads want us to go; a nonce has no place in them (section 9.2). */
export function protectedRedirect(state: SessionState, payloads: readonly Payload[]): string | undefined {
  const { config } = state
  const data = findNotify(payloads, NotifyType.REDIRECT)?.data
  if (data === undefined || config.role !== 'initiator' || config.redirect === undefined) return undefined
  const redirection = readRedirect(data)
  if (redirection === undefined || redirection.nonce.length > 0) {
    state.log('info', 'ignored a redirection that cannot be read')
    return undefined
  }
  return redirection.to
}
