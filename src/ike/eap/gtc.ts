/**
 * EAP-GTC (RFC 3748 section 5.6), peer only: the password in clear, inside the IKE SA's encryption, to a gateway that
 * has proved itself already. Proves nothing of the server and derives no key.
 * @module
 */
import type { IkestreamError } from '../../errors.ts'
import { InternalError } from '../../errors.ts'
import type { Secret } from '../../secret.ts'
import { EapType } from '../../wire/ike-constants.ts'
import type { MethodStep, PeerMethod } from './types.ts'

export class GtcPeer implements PeerMethod {
  readonly type = EapType.GTC
  readonly derivesKey = false
  readonly msk = undefined
  readonly #password: Secret
  #answered = false

  constructor(password: Secret) {
    this.#password = password
  }

  get succeeded(): boolean {
    return this.#answered
  }

  process(): MethodStep {
    this.#answered = true
    return { kind: 'send', data: Uint8Array.from(this.#password.reveal()) }
  }

  resume(): MethodStep {
    return { kind: 'failure', error: new InternalError('eap-state', 'EAP-GTC was resumed but never waits.') }
  }

  refusal(): IkestreamError | undefined {
    return undefined
  }

  dispose(): void {}
}
