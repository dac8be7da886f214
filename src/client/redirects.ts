/**
 * Follows gateways that send their clients to another one (RFC 5685).
 *
 * Trust: nothing but the address changes. The new gateway must prove the identity that the user asked for, to which the
 * same trust anchors, secrets and TLS name apply (section 3: the same PAD entry). A redirection in IKE_SA_INIT is not
 * authenticated: whoever is on the way can make one up, as he can drop our packets; it costs a detour, which is bounded.
 * Nothing of it is remembered beyond the SA that comes of it: whenever that is lost, the gateway that the user named is asked
 * again (section 11).
 * @module
 */
import { isIP } from 'node:net'
import { ProtocolError } from '../errors.ts'
import type { RedirectedError } from '../ike/redirect.ts'
import type { ClientEvent } from './events.ts'
import type { Clock } from './ike-driver.ts'

/** MAX_REDIRECTS and REDIRECT_LOOP_DETECT_PERIOD (RFC 5685 section 7). */
const MAX_REDIRECTS = 5
const LOOP_DETECT_PERIOD_MS = 300_000

/** Where a gateway sent us. */
export interface Destination {
  /** An address or a name, as the gateway said it. */
  readonly host: string
  readonly addresses: readonly string[]
  /** The address of the gateway that said so, for REDIRECTED_FROM. */
  readonly from: string
}

export interface RedirectSurroundings {
  readonly clock: Clock
  readonly lookUp: (host: string, signal: AbortSignal) => Promise<readonly string[]>
  readonly onEvent: (event: ClientEvent) => void
}

export class Redirects {
  readonly #around: RedirectSurroundings
  /** When redirections of this period were followed. */
  #followedAt: readonly number[] = []

  constructor(around: RedirectSurroundings) {
    this.#around = around
  }

  /** @throws ProtocolError when this leads nowhere, ResolveError */
  async follow({ to, phase, from }: RedirectedError, signal: AbortSignal): Promise<Destination> {
    const { clock, lookUp, onEvent } = this.#around
    const now = clock.now()
    this.#followedAt = this.#followedAt.filter((at) => now - at < LOOP_DETECT_PERIOD_MS)
    if (this.#followedAt.length >= MAX_REDIRECTS)
      throw new ProtocolError(
        'redirect-loop',
        `The gateways have sent us from one to the other ${MAX_REDIRECTS} times; ${to} is one too many.`,
        { hint: "Tell the gateway's operator, or stay where you are with --no-redirect." }
      )
    this.#followedAt = [...this.#followedAt, now]
    onEvent({ event: 'redirected', from, to, phase })
    const addresses = isIP(to) === 0 ? await lookUp(to, signal) : [to]
    const usable = addresses.filter(isUnicast)
    if (usable.length === 0)
      throw new ProtocolError('redirect-refused', `The gateway sent us to ${to}, where no gateway can be.`, {
        hint: "Tell the gateway's operator, or stay where you are with --no-redirect."
      })
    return { host: to, addresses: usable, from }
  }
}

/** Nobody's own services, no groups, no "any": those are no gateways, whoever says so. */
function isUnicast(address: string): boolean {
  if (isIP(address) === 4) {
    const first = Number(address.split('.')[0])
    return first !== 0 && first !== 127 && first < 224
  }
  return !/^(::1?$|ff|fe[89ab])/i.test(address)
}
