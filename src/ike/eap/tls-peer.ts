/**
 * EAP-TLS on the initiator's side (RFC 5216; RFC 9190 for TLS 1.3).
 *
 * Succeeds once TLS is up and, with TLS 1.3, the server has sent its protected success indication.
 * @module
 */
import { createTlsEngine, type TlsEngine } from '../../crypto/tls-engine.ts'
import { AuthenticationError, type IkestreamError, ProtocolError } from '../../errors.ts'
import { EapType } from '../../wire/ike-constants.ts'
import type { EapTlsCredentials } from '../auth/types.ts'
import { showPeerText } from './peer-text.ts'
import { endsWithAlert, TlsFragments } from './tls-fragments.ts'
import { PROTECTED_SUCCESS, speaksTls13, tlsMsk } from './tls-keys.ts'
import type { MethodStep, PeerMethod } from './types.ts'

export class TlsPeer implements PeerMethod {
  readonly type = EapType.TLS
  readonly derivesKey = true
  readonly #credentials: EapTlsCredentials
  readonly #fragments = new TlsFragments('peer')
  #engine: TlsEngine | undefined
  #msk: Uint8Array | undefined
  #refusal: IkestreamError | undefined

  constructor(credentials: EapTlsCredentials) {
    this.#credentials = credentials
  }

  get succeeded(): boolean {
    return this.#msk !== undefined && !this.#fragments.sending && this.#engine?.state.phase === 'established'
  }

  get msk(): Uint8Array | undefined {
    return this.#msk
  }

  process(data: Uint8Array): MethodStep {
    const input = this.#fragments.receive(data)
    switch (input.kind) {
      case 'start':
        return this.#start()
      case 'malformed':
        return malformed(input.reason)
      case 'partial':
        return this.#fragments.sending ? malformed('data instead of an acknowledgement') : this.#send()
      case 'empty':
        return this.#engine === undefined ? malformed('an acknowledgement of nothing') : this.#send()
      case 'flight':
        if (this.#engine === undefined) return malformed('data before the start')
        if (this.#fragments.sending) return malformed('data instead of an acknowledgement')
        this.#engine.push(input.bytes)
        return { kind: 'pending', ready: this.#engine.settled() }
    }
  }

  resume(): MethodStep {
    const engine = this.#engine
    if (engine === undefined) return malformed('nothing to wait for')
    const flight = engine.pull()
    const { state } = engine
    if (state.phase === 'failed' || state.phase === 'closed') {
      this.#refusal = tlsFailure(state.phase === 'failed' ? state.reason : 'the session was closed')
      // A server that is told why can log it; it will answer with EAP-Failure.
      if (!endsWithAlert(flight)) return { kind: 'failure', error: this.#refusal }
    } else if (state.phase === 'established' && this.#msk === undefined && this.#isConfirmed(engine)) {
      this.#msk = tlsMsk(engine)
    }
    this.#fragments.queue(flight)
    return this.#send()
  }

  refusal(): IkestreamError | undefined {
    return this.#refusal
  }

  dispose(): void {
    this.#engine?.close()
  }

  #start(): MethodStep {
    if (this.#engine !== undefined) return malformed('a second start')
    const { certificateChain, privateKey, trustAnchors, serverName, maxTlsVersion } = this.#credentials
    this.#engine = createTlsEngine({
      role: 'client',
      cert: certificateChain,
      key: privateKey,
      ca: trustAnchors,
      serverName,
      maxVersion: maxTlsVersion
    })
    return { kind: 'pending', ready: this.#engine.settled() }
  }

  #isConfirmed(engine: TlsEngine): boolean {
    return !speaksTls13(engine) || engine.takeApplicationData()[0] === PROTECTED_SUCCESS
  }

  #send(): MethodStep {
    return { kind: 'send', data: this.#fragments.next() }
  }
}

function malformed(what: string): MethodStep {
  return {
    kind: 'failure',
    error: new ProtocolError('eap-malformed', `The gateway's EAP-TLS went wrong: ${what}.`, {
      hint: 'Ask the operator of the gateway; its EAP server does not follow RFC 5216.'
    })
  }
}

function tlsFailure(reason: string): IkestreamError {
  return new AuthenticationError('eap-tls-failed', `EAP-TLS failed: ${showPeerText(reason)}.`, {
    hint: "Check that the client certificate is valid and known to the EAP server, and that --cafile holds the server's CA."
  })
}
