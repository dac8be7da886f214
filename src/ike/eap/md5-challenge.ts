/**
 * EAP-MD5 (RFC 3748 section 5.4), peer only. Proves nothing of the server and derives no key.
 * @module
 */
import { md5 } from '../../crypto/legacy-hash.ts'
import { type IkestreamError, InternalError, ProtocolError } from '../../errors.ts'
import type { Secret } from '../../secret.ts'
import { EapType } from '../../wire/ike-constants.ts'
import type { MethodStep, PeerMethod } from './types.ts'

export class Md5ChallengePeer implements PeerMethod {
  readonly type = EapType.MD5_CHALLENGE
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

  process(data: Uint8Array, identifier: number): MethodStep {
    const challengeLength = data[0] ?? 0
    if (challengeLength === 0 || data.length < 1 + challengeLength) {
      return {
        kind: 'failure',
        error: new ProtocolError('eap-malformed', 'The gateway sent a malformed EAP-MD5 challenge.', {
          hint: 'Ask the operator of the gateway; its EAP server does not follow the protocol.'
        })
      }
    }
    this.#answered = true
    const challenge = data.subarray(1, 1 + challengeLength)
    const value = md5(Uint8Array.of(identifier), this.#password.reveal(), challenge)
    return { kind: 'send', data: Uint8Array.of(value.length, ...value) }
  }

  resume(): MethodStep {
    return { kind: 'failure', error: new InternalError('eap-state', 'EAP-MD5 was resumed but never waits.') }
  }

  refusal(): IkestreamError | undefined {
    return undefined
  }

  dispose(): void {}
}
